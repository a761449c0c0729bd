"""How bad an event would be: by what it is, how fast, how long and where, with the reason."""

from __future__ import annotations

from collections.abc import Sequence

from anomalist.agent.policy import EventSteps, Policy
from anomalist.clips import Event
from anomalist.types import SEVERITIES, Claim
from anomalist.vision.motion.zones import Zone

_CRITICAL = len(SEVERITIES) - 1


def with_severity(event: Event, zones: Sequence[Zone], policy: Policy) -> Event:
    """The event with its severity, and its claims: what was measured, and why it is graded like this."""
    level, reason = severity_of(event, zones, policy.events)
    ids = (event.id, *(track.id for track in event.tracks))
    claims = [
        Claim(text=event.caption.text, evidence=ids),
        Claim(text=f"Severity {SEVERITIES[level]}: {reason}.", evidence=(event.id, *_named(reason, event))),
    ]
    if event.throughout:
        text = "It lasts from the first judged frame of the clip to the last."
        claims.insert(1, Claim(text=text, evidence=(event.id,)))
    return event.model_copy(update={"severity": level, "claims": (*claims, *event.claims)})


def severity_of(event: Event, zones: Sequence[Zone], steps: EventSteps) -> tuple[int, str]:
    """Index into SEVERITIES (1 to 4), and the reason as the rest of a sentence.

    The floor of its kind, then speed, then one step more for a long event and for a zone to be watched;
    never less than a rule asks for that surely holds.
    """
    floor = steps.floors[event.kind]
    level, reason = SEVERITIES.index(floor), f"the policy calls {event.kind} at least {floor}"
    ratio = max((track.speed_ratio for track in event.tracks[:1]), default=0.0)
    fast = 1 + (ratio >= steps.moderate_speed) + (ratio >= steps.major_speed)
    if event.kind == "speed" and fast > level:
        level, reason = fast, f"{ratio:.1f} times the usual speed there"
    lasting = event.end - event.start
    if lasting >= steps.long_seconds and level < _CRITICAL:
        level, reason = level + 1, f"{reason}, one step more because it lasts {lasting:.0f} s"
    watched = [zone.name for zone in zones if zone.kind == "watch" and zone.name == event.zone]
    if watched and level < _CRITICAL:
        level, reason = level + 1, f'{reason}, one step more in the zone "{watched[0]}"'
    asked = max(event.recalled, key=lambda item: item.severity, default=None)
    if asked is not None and asked.severity > level:
        level, reason = asked.severity, f"{asked.id} asks for at least {SEVERITIES[asked.severity]}"
    return level, reason


def _named(reason: str, event: Event) -> tuple[str, ...]:
    """Ids of what was recalled that the reason names."""
    return tuple(item.id for item in event.recalled if reason.startswith(f"{item.id} "))
