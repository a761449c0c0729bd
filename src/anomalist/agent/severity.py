"""How bad it would be: severity of regions and pictures by the policy, with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from anomalist.agent.claims import SCORE
from anomalist.agent.kinds import changed_kind
from anomalist.agent.policy import Policy, Zone
from anomalist.agent.wording import percent, with_article
from anomalist.types import SEVERITIES, Region

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
        return Severity(SEVERITIES.index(floor), "no single place stands out", (SCORE,))
    worst = max((region_severity(region, size, policy) for region in regions), key=lambda grade: grade.level)
    if len(regions) < policy.several_regions or worst.level == CRITICAL:
        return worst
    return Severity(
        worst.level + 1,
        f"{worst.reason}, and {len(regions)} regions together count one step more",
        (*worst.evidence, *(region.id for region in regions if region.id not in worst.evidence)),
    )


def region_severity(region: Region, size: tuple[int, int], policy: Policy) -> Severity:
    """Grade one region: area, then the floors of kind and zones, then the highest raise of its zones."""
    share = region.attributes.relative_size
    steps = (policy.area.moderate, policy.area.major, policy.area.critical)
    level = MINOR + sum(share >= step for step in steps)
    reason = f"{region.id} covers {percent(share)} of the inspected area"

    kind = changed_kind(region, size)
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


def _overlaps(region: Region, zone: Zone, size: tuple[int, int]) -> bool:
    """Say whether the box of a region and a zone share any area."""
    height, width = size
    x0, y0, x1, y1 = region.box
    left, top, right, bottom = zone.box
    return x0 < right * width and x1 > left * width and y0 < bottom * height and y1 > top * height
