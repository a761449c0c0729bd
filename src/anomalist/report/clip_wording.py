"""Wording of clip reports: times, severities, scores and calibration in plain sentences.

The same in every report on video: the HTML templates call these functions as ``t``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from anomalist.report.wording import count, number, printable, short_names
from anomalist.types.clip import ClipRecord, Event, EventCalibration, TroubleKind
from anomalist.types.common import SEVERITIES

if TYPE_CHECKING:
    from anomalist.memory.ranking import RankAdjustment


TROUBLES: dict[TroubleKind, str] = {
    "black": "the picture was black",
    "covered": "the camera was covered",
    "frozen": "the picture was frozen",
    "moved": "the camera had been moved",
    "moving": "the camera was moving",
}


def format_time(seconds: float) -> str:
    """Write a time in a clip: "0:07", "12:30", "1:02:05"; parts of a second are cut off."""
    whole = int(max(seconds, 0) + 1e-6)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def format_time_span(start: float, end: float) -> str:
    """Write from when to when: "0:07–0:12"; one time where both are the same."""
    first, last = format_time(start), format_time(end)
    return first if first == last else f"{first}–{last}"


def format_duration(seconds: float) -> str:
    """Write how long something lasts: "8.9 s", "12 min 30 s", "1 h 2 min"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"


def severity(level: int) -> str:
    """Give the word for a severity; 0 is that of an event that no policy has graded."""
    return SEVERITIES[level] if level else "ungraded"


def clip_name(source: str) -> str:
    """Give the last part of a path or address."""
    return Path(source.rstrip("/")).name or source


def clip_names(records: Sequence[ClipRecord]) -> tuple[str, list[str]]:
    """Split sources into the folder that they share ("" if none) and what tells them apart."""
    if any("://" in record.source for record in records):  # addresses are not taken apart
        return "", [printable(record.source) for record in records]
    return short_names(records)


def explain_feedback(adjustment: RankAdjustment) -> str:
    """Say how feedback moves the rank, and because of what."""
    if abs(adjustment.value) < 0.005:
        return f"not moved by feedback ({adjustment.reason})"
    way = "up" if adjustment.value > 0 else "down"
    steps = number(abs(adjustment.value), 2)
    return f"{steps} {'step' if steps == '1' else 'of a step'} {way} by feedback ({adjustment.reason})"


def explain_event_rate(event: Event) -> str:
    """Say how often normal footage gets as high as an event."""
    if event.kind == "forbidden zone":
        return "Nothing may be in that zone, so this needs no comparison."
    if event.false_events_per_hour is None:
        return "No block of the normal footage kept for calibration got this high."
    return f"Normal footage gets this high about {number(event.false_events_per_hour, 2)} times an hour."


def explain_event_calibration(basis: EventCalibration) -> str:
    """Say what the threshold rests on and how far it can be trusted."""
    footage = (
        f"{count(basis.blocks, 'block')} of {number(basis.block_seconds)} s of normal footage "
        f"({format_duration(basis.footage_seconds)})"
    )
    rate = number(basis.promised_per_hour, 2)
    events = f"{rate} false {'event' if rate == '1' else 'events'} an hour"
    if basis.supported:
        return f"{footage}; promises at most {events}."
    return (
        f"{footage}; promises no fewer than {events}: learn from more footage for a stricter promise "
        f"(asked for: {number(basis.asked_per_hour, 2)})."
    )


def explain_timing(record: ClipRecord) -> str:
    """Say whether scores use the future, and how late they come."""
    if record.mode == "offline":
        return "Offline: each score also uses what comes after it in the clip, so it can't come live."
    late = f", {number(record.latency, 2)} s late" if record.latency else ""
    return f"Causal: each score uses only what came before{late}, as it would live."
