"""The score of one clip over time, ready to draw: all positions are shares of the width and height."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from anomalist.clips import ClipRecord
from anomalist.report.triage_words import clock, severity, span
from anomalist.report.unjudged import duration_of, gaps
from anomalist.report.wording import count, number

WIDE, HIGH = 1000, 100
"""Size of the drawing that the curve's path is given in."""

MOST_POINTS = 500  # of a curve; peaks are kept
_TICKS = 6  # at most, between the first and the last
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
_HEADROOM = 1.08
_NARROWEST = 0.4  # per cent of the width: what is shorter could not be seen
_EDGE = 7.0  # per cent of the width next to an end, where no other tick has room


@dataclass(frozen=True)
class Mark:
    """A stretch or a moment: left edge and width in per cent, and its words."""

    left: float
    width: float
    text: str
    event: str = ""
    severity: int = 0
    top: float = 0.0


@dataclass(frozen=True)
class Timeline:
    """What the template draws."""

    line: str
    threshold: float | None
    threshold_text: str
    top_text: str
    events: tuple[Mark, ...]
    peaks: tuple[Mark, ...]
    silent: tuple[Mark, ...]
    ticks: tuple[Mark, ...]
    description: str


def timeline_of(record: ClipRecord) -> Timeline | None:
    """Lay out the curve, events and unjudged stretches of a clip; None where its length is unknown.

    The height is that of the highest score, or 1.5 times the threshold where nothing gets that high, so that
    a calm clip looks calm.
    """
    duration = duration_of(record)
    if not duration > 0:
        return None
    known = [score for _, score in record.curve if score is not None and math.isfinite(score)]
    threshold = record.threshold
    top = max([_HEADROOM * max(known, default=0.0), 1.5 * (threshold or 0.0), 1e-6])

    def left(time: float) -> float:
        return round(100 * min(max(time / duration, 0), 1), 2)

    def mark(start: float, end: float, text: str, event: str = "", level: int = 0) -> Mark:
        width = max(left(end) - left(start), _NARROWEST)
        return Mark(min(left(start), 100 - _NARROWEST), round(width, 2), text, event, level)

    events = [
        mark(e.start, e.end, f"{e.id}, {span(e.start, e.end)}, {severity(e.severity)}", e.id, e.severity)
        for e in record.events
    ]
    peaks = [
        Mark(
            left=left(e.peak),
            width=0,
            text=f"peak {clock(e.peak)}",
            event=e.id,
            severity=e.severity,
            top=round(100 * (1 - min(max(_height_at(record, e.peak, e.score) / top, 0), 1)), 2),
        )
        for e in record.events
    ]
    silent = [mark(start, end, f"not judged {span(start, end)}") for start, end in gaps(record)]
    return Timeline(
        line=_path(_thinned(record.curve), duration, top),
        threshold=None if threshold is None else round(100 * (1 - min(max(threshold / top, 0), 1)), 2),
        threshold_text="" if threshold is None else f"threshold {number(threshold, 2)}",
        top_text=number(max(known), 2) if known else "",
        events=tuple(events),
        peaks=tuple(peaks),
        silent=tuple(silent),
        ticks=_ticks(duration),
        description=_described(record, duration, known),
    )


def _height_at(record: ClipRecord, time: float, score: float) -> float:
    """The curve's height next to a time, so that a marker sits on it; the score where there is no curve."""
    near = [(abs(t - time), value) for t, value in record.curve if value is not None]
    return min(near)[1] if near else score


def _thinned(curve: Sequence[tuple[float, float | None]]) -> list[tuple[float, float | None]]:
    """The highest of every few points; a group counts as not judged only if none of it was."""
    size = math.ceil(len(curve) / MOST_POINTS) or 1
    groups = [curve[i : i + size] for i in range(0, len(curve), size)]
    return [max(group, key=lambda point: -math.inf if point[1] is None else point[1]) for group in groups]


def _path(curve: Sequence[tuple[float, float | None]], duration: float, top: float) -> str:
    """An SVG path that breaks off where nothing was judged."""
    steps, pen_down = [], False
    for time, score in curve:
        if score is None or not math.isfinite(score):
            pen_down = False
            continue
        x, y = WIDE * min(max(time / duration, 0), 1), HIGH * (1 - min(max(score / top, 0), 1))
        # A lone point is drawn as a dot: a line of no length with round ends.
        steps.append(f"{'L' if pen_down else 'M'}{x:.1f} {y:.1f}" + ("" if pen_down else "h0"))
        pen_down = True
    return "".join(steps)


def _ticks(duration: float) -> tuple[Mark, ...]:
    step = next((step for step in _STEPS if duration / step <= _TICKS), 86400 * math.ceil(duration / 518400))
    times = [step * i for i in range(1, math.ceil(duration / step))]
    places = [(100 * time / duration, clock(time)) for time in times]
    inner = [Mark(round(x, 2), 0, text) for x, text in places if _EDGE < x < 100 - _EDGE]
    return (Mark(0, 0, clock(0)), *inner, Mark(100, 0, clock(duration)))


def _described(record: ClipRecord, duration: float, known: Sequence[float]) -> str:
    parts = [f"Score over {clock(duration)}"]
    if known and record.threshold is not None:
        parts.append(f"highest {number(max(known), 2)}, threshold {number(record.threshold, 2)}")
    parts.append(count(len(record.events), "event"))
    if silent := gaps(record):
        parts.append(f"{count(len(silent), 'stretch', 'stretches')} not judged")
    return ", ".join(parts)
