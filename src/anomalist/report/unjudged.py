"""What could not be judged: clips with an error, undecided ones, camera trouble. Never taken for normal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from pydantic import Field

from anomalist.clips import ClipRecord
from anomalist.report.triage_words import TROUBLES
from anomalist.types import Frozen

SHORTEST_GAP = 1.0
"""Seconds without a score from which on a stretch is told of; the first frame of a clip never has one."""

Span = tuple[float, float]
UnjudgedKind = Literal["error", "undecided", "camera", "no score"]
_ORDER: tuple[UnjudgedKind, ...] = ("error", "undecided", "camera", "no score")


class Unjudged(Frozen):
    """A clip, or stretches of one, about which nothing can be said."""

    source: str
    kind: UnjudgedKind
    why: str
    spans: tuple[Span, ...] = Field((), description="where nothing is known, seconds; none: all of it")


def unjudged_of(records: Sequence[ClipRecord]) -> tuple[Unjudged, ...]:
    """List all that could not be judged, the worst first; the order of the records doesn't matter."""
    found = [item for record in records for item in _of_clip(record)]
    return tuple(sorted(found, key=lambda item: (_ORDER.index(item.kind), item.source, item.why)))


def outcome(record: ClipRecord) -> Literal["normal", "anomalous", "undecided", "error"]:
    """Give the label of a clip, or "error" where there is none: a failure is never normal."""
    return record.label if record.status == "ok" and record.label is not None else "error"


def gaps(record: ClipRecord) -> list[Span]:
    """Where no score is known for longer than a moment, in order: from the curve, camera trouble included."""
    times = [time for time, _ in record.curve]
    ends = [*times[1:], duration_of(record)]
    silent = [(time, end) for (time, score), end in zip(record.curve, ends, strict=False) if score is None]
    silent += [(trouble.start, trouble.end) for trouble in record.troubles]
    told = [(trouble.start, trouble.end) for trouble in record.troubles]
    return [gap for gap in joined(silent) if gap[1] - gap[0] >= SHORTEST_GAP or _overlaps(gap, told)]


def joined(spans: Iterable[Span]) -> list[Span]:
    """Put together stretches that touch or overlap, in order."""
    done: list[Span] = []
    for start, end in sorted(spans):
        if done and start <= done[-1][1] + 1e-6:
            done[-1] = (done[-1][0], max(done[-1][1], end))
        else:
            done.append((start, end))
    return done


def duration_of(record: ClipRecord) -> float:
    """How long a clip is in seconds, as announced or as far as it was seen; 0 where nobody knows."""
    seen = [event.end for event in record.events] + [trouble.end for trouble in record.troubles]
    seen += [record.curve[-1][0]] if record.curve else []
    return max([record.duration or 0.0, *seen])


def _of_clip(record: ClipRecord) -> Iterable[Unjudged]:
    result = outcome(record)
    if result == "error":
        why = record.error or "There is no verdict, and no reason was recorded."
        yield Unjudged(source=record.source, kind="error", why=why)
    if result == "undecided":
        why = record.why_undecided or "No reason was recorded."
        yield Unjudged(source=record.source, kind="undecided", why=why, spans=tuple(gaps(record)))
        return
    for kind in sorted({trouble.kind for trouble in record.troubles}):
        spans = joined((t.start, t.end) for t in record.troubles if t.kind == kind)
        why = f"{TROUBLES[kind][0].upper()}{TROUBLES[kind][1:]}."
        yield Unjudged(source=record.source, kind="camera", why=why, spans=tuple(spans))
    told = [(trouble.start, trouble.end) for trouble in record.troubles]
    silent = tuple(gap for gap in gaps(record) if not _overlaps(gap, told))
    if silent:
        yield Unjudged(source=record.source, kind="no score", why="No score is known there.", spans=silent)


def _overlaps(span: Span, others: Iterable[Span]) -> bool:
    return any(start <= span[1] and span[0] <= end for start, end in others)
