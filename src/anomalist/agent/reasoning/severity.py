"""Severity grading of regions, pictures and video events by the policy, each with the reason.

Regions are graded by area, kind and zone; events by kind, speed, duration, zone and the rules that they
match. Levels are indices into SEVERITIES, 1 to 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from anomalist.agent.reasoning.claims import SCORE_ID, citable_event_ids, filter_claims, quote_with_ids
from anomalist.agent.reasoning.policy import Policy, PolicyZone
from anomalist.agent.reasoning.wording import percent, reference_kind, regions_counted, with_article
from anomalist.types.clip import Event
from anomalist.types.common import SEVERITIES, Claim
from anomalist.types.image import Region
from anomalist.vision.motion.scene import Zone

MINOR, CRITICAL = 1, len(SEVERITIES) - 1


@dataclass(frozen=True)
class Severity:
    """A grade with its reason.

    Parameters
    ----------
    level : index into SEVERITIES, 1 to 4.
    reason : why, as the rest of a sentence.
    evidence : ids that the reason rests on.
    """

    level: int
    reason: str
    evidence: tuple[str, ...]

    @property
    def name(self) -> str:
        """One of SEVERITIES."""
        return SEVERITIES[self.level]


def picture_severity(regions: Sequence[Region], size: tuple[int, int], policy: Policy) -> Severity:
    """Grade a picture as if what was found is real: its worst region, one step more when there are several.

    Parameters
    ----------
    regions : by falling peak; may be empty ("diffuse change").
    size : (height, width) of the picture in pixels.
    policy : the rules.
    """
    if not regions:
        floor = policy.floors["diffuse change"]
        return Severity(SEVERITIES.index(floor), "no single place stands out", (SCORE_ID,))
    worst = max((region_severity(region, size, policy) for region in regions), key=lambda grade: grade.level)
    if len(regions) < policy.several_regions or worst.level == CRITICAL:
        return worst
    return Severity(
        worst.level + 1,
        f"{worst.reason}, and {regions_counted(regions)} regions together count one step more",
        (*worst.evidence, *(region.id for region in regions if region.id not in worst.evidence)),
    )


def region_severity(region: Region, size: tuple[int, int], policy: Policy) -> Severity:
    """Grade one region: area, then the floors of kind and zones, then the highest raise of its zones."""
    share = region.attributes.relative_size
    steps = (policy.area.moderate, policy.area.major, policy.area.critical)
    level = MINOR + sum(share >= step for step in steps)
    reason = f"{region.id} covers {percent(share)} of the inspected area"

    kind = reference_kind(region, size)
    floor = policy.floors[kind]
    if SEVERITIES.index(floor) > level:
        level = SEVERITIES.index(floor)
        reason = f"{region.id} looks like {with_article(kind)}, which the policy calls at least {floor}"

    zones = [zone for zone in policy.zones if _overlaps(region, zone, size)]
    for zone in zones:
        if zone.severity_at_least is not None and SEVERITIES.index(zone.severity_at_least) > level:
            level = SEVERITIES.index(zone.severity_at_least)
            reason = f'{region.id} lies in the zone "{zone.name}" (at least {zone.severity_at_least})'
    steepest = max(zones, key=lambda zone: zone.raise_by, default=None)
    if steepest is not None and steepest.raise_by and level < CRITICAL:
        raised = min(CRITICAL, level + steepest.raise_by)
        steps_word = "step" if raised - level == 1 else "steps"
        reason += f', raised by {raised - level} {steps_word} in the zone "{steepest.name}"'
        level = raised
    return Severity(level, reason, (region.id,))


def _overlaps(region: Region, zone: PolicyZone, size: tuple[int, int]) -> bool:
    """Say whether the box of a region and a zone share any area."""
    height, width = size
    x0, y0, x1, y1 = region.box
    left, top, right, bottom = zone.box
    return x0 < right * width and x1 > left * width and y0 < bottom * height and y1 > top * height


def event_severity(event: Event, zones: Sequence[Zone], policy: Policy) -> Severity:
    """Grade a video event: kind, then speed, then one step for long duration and for a watched zone.

    Never less than a rule asks for that surely holds.

    Parameters
    ----------
    event : with its tracks, and with what memory recalls of it.
    zones : of the scene.
    policy : the rules.
    """
    steps = policy.events
    floor = steps.floors[event.kind]
    level, reason = SEVERITIES.index(floor), f"the policy calls {event.kind} at least {floor}"
    ratio = max((track.speed_ratio for track in event.tracks[:1]), default=0.0)
    fast = 1 + (ratio >= steps.moderate_speed) + (ratio >= steps.major_speed)
    if event.kind == "speed" and fast > level:
        level, reason = fast, f"{ratio:.1f} times the usual speed there"
    lasting = event.end - event.start
    if lasting >= steps.long_seconds and level < CRITICAL:
        level, reason = level + 1, f"{reason}, one step more because it lasts {lasting:.0f} s"
    watched = [zone.name for zone in zones if zone.kind == "watch" and zone.name == event.zone]
    if watched and level < CRITICAL:
        level, reason = level + 1, f'{reason}, one step more in the zone "{watched[0]}"'
    asked = max(event.recalled, key=lambda item: item.severity, default=None)
    if asked is not None and asked.severity > level:
        reason = f"{asked.id} asks for at least {SEVERITIES[asked.severity]}"
        return Severity(asked.severity, reason, (event.id, asked.id))
    return Severity(level, reason, (event.id,))


def add_severity(event: Event, zones: Sequence[Zone], policy: Policy) -> Event:
    """The event with its severity, and its claims: what was measured, and why it is graded like this."""
    severity = event_severity(event, zones, policy)
    ids = (event.id, *(track.id for track in event.tracks))
    measured = [Claim(text=event.caption.text, evidence=ids)]
    if event.throughout:
        text = "It lasts from the first judged frame of the clip to the last."
        measured.append(Claim(text=text, evidence=(event.id,)))
    text = f"Severity {severity.name}: {severity.reason}."
    measured.append(Claim(text=text, evidence=severity.evidence))
    kept, dropped = filter_claims((*measured, *event.claims), citable_event_ids(event))
    return event.replace(
        severity=severity.level,
        claims=kept,
        dropped=(*event.dropped, *(quote_with_ids(claim.text, claim.evidence) for claim in dropped)),
    )
