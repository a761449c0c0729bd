"""Triage summary: counts of clips and alerts, the headline, and what could not be judged.

Not judged are clips with an error, undecided clips, camera trouble, and time spans without a score. None
of these is ever taken for normal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

from pydantic import Field

from anomalist.report.alerts import Alert
from anomalist.report.clip_wording import TROUBLES, clip_name, format_duration, severity
from anomalist.report.wording import count, printable
from anomalist.types.clip import ClipRecord
from anomalist.types.common import Frozen

MIN_GAP_SECONDS = 1.0
"""Shortest gap that is reported, seconds; the first frame of a clip never has a score."""

TimeSpan = tuple[float, float]
UnjudgedKind = Literal["error", "undecided", "camera", "no score"]
_KIND_ORDER: tuple[UnjudgedKind, ...] = ("error", "undecided", "camera", "no score")


class Unjudged(Frozen):
    """A clip, or stretches of one, about which nothing can be said."""

    source: str
    kind: UnjudgedKind
    why: str
    spans: tuple[TimeSpan, ...] = Field((), description="where nothing is known, seconds; none: all of it")


def find_unjudged(records: Sequence[ClipRecord]) -> tuple[Unjudged, ...]:
    """List all that could not be judged, the worst first; the order of the records doesn't matter."""
    found = [item for record in records for item in _unjudged_of_clip(record)]
    return tuple(sorted(found, key=lambda item: (_KIND_ORDER.index(item.kind), item.source, item.why)))


def outcome(record: ClipRecord) -> Literal["normal", "anomalous", "undecided", "error"]:
    """Give the label of a clip, or "error" where there is none: a failure is never normal."""
    return record.label if record.status == "ok" and record.label is not None else "error"


def unjudged_spans(record: ClipRecord) -> list[TimeSpan]:
    """Time spans without a score, in order: gaps of the curve, and camera trouble."""
    times = [time for time, _ in record.curve]
    ends = [*times[1:], clip_duration(record)]
    silent = [(time, end) for (time, score), end in zip(record.curve, ends, strict=False) if score is None]
    silent += [(trouble.start, trouble.end) for trouble in record.troubles]
    told = [(trouble.start, trouble.end) for trouble in record.troubles]
    return [gap for gap in merge_spans(silent) if gap[1] - gap[0] >= MIN_GAP_SECONDS or _overlaps(gap, told)]


def merge_spans(spans: Iterable[TimeSpan]) -> list[TimeSpan]:
    """Merge time spans that touch or overlap; sorted by start."""
    done: list[TimeSpan] = []
    for start, end in sorted(spans):
        if done and start <= done[-1][1] + 1e-6:
            done[-1] = (done[-1][0], max(done[-1][1], end))
        else:
            done.append((start, end))
    return done


def clip_duration(record: ClipRecord) -> float:
    """Duration of a clip in seconds, as its file says or as far as it was decoded; 0 where unknown."""
    seen = [event.end for event in record.events] + [trouble.end for trouble in record.troubles]
    seen += [record.curve[-1][0]] if record.curve else []
    return max([record.duration or 0.0, *seen])


def _unjudged_of_clip(record: ClipRecord) -> Iterable[Unjudged]:
    result = outcome(record)
    if result == "error":
        why = record.error or "There is no verdict, and no reason was recorded."
        yield Unjudged(source=record.source, kind="error", why=why)
    if result == "undecided":
        why = record.why_undecided or "No reason was recorded."
        yield Unjudged(source=record.source, kind="undecided", why=why, spans=tuple(unjudged_spans(record)))
        return
    for kind in sorted({trouble.kind for trouble in record.troubles}):
        spans = merge_spans((t.start, t.end) for t in record.troubles if t.kind == kind)
        why = f"{TROUBLES[kind][0].upper()}{TROUBLES[kind][1:]}."
        yield Unjudged(source=record.source, kind="camera", why=why, spans=tuple(spans))
    told = [(trouble.start, trouble.end) for trouble in record.troubles]
    silent = tuple(gap for gap in unjudged_spans(record) if not _overlaps(gap, told))
    if silent:
        yield Unjudged(source=record.source, kind="no score", why="No score is known there.", spans=silent)


def _overlaps(span: TimeSpan, others: Iterable[TimeSpan]) -> bool:
    return any(start <= span[1] and span[0] <= end for start, end in others)


TRIAGE_FORMAT = 1


class TriageSummary(Frozen):
    """Counts of one triage. Each clip is counted once among the four outcomes."""

    clips: int
    anomalous: int
    undecided: int
    normal: int
    errors: int = Field(description="clips without a verdict")
    events: int
    alerts: int
    by_severity: dict[str, int] = Field(description="of the alerts, the most severe first")
    by_kind: dict[str, int] = Field(description="of the alerts, the most frequent first")
    watched: int = Field(description="alerts that match what was asked to be watched for")
    footage_seconds: float = Field(description="of all clips whose length is known")
    unjudged_seconds: float = Field(description="of that, what could not be judged")


class TriageReport(Frozen):
    """What ``triage.json`` holds; the clips themselves are rows of ``clips.jsonl``."""

    format: int = TRIAGE_FORMAT
    summary: TriageSummary
    alerts: tuple[Alert, ...]
    unjudged: tuple[Unjudged, ...]


def summarise_triage(records: Sequence[ClipRecord], alerts: Sequence[Alert]) -> TriageSummary:
    """Count clips by outcome and alerts by severity and kind."""
    outcomes = Counter(outcome(record) for record in records)
    severities = Counter(alert.severity for alert in alerts)
    kinds = Counter(alert.kind for alert in alerts)
    silent = sum(end - start for record in records for start, end in unjudged_spans(record))
    return TriageSummary(
        clips=len(records),
        anomalous=outcomes["anomalous"],
        undecided=outcomes["undecided"],
        normal=outcomes["normal"],
        errors=outcomes["error"],
        events=sum(len(record.events) for record in records),
        alerts=len(alerts),
        by_severity={severity(level): severities[level] for level in sorted(severities, reverse=True)},
        by_kind=dict(sorted(kinds.items(), key=lambda pair: (-pair[1], pair[0]))),
        watched=sum(bool(alert.watched) for alert in alerts),
        footage_seconds=round(sum(map(clip_duration, records)), 3),
        unjudged_seconds=round(silent, 3),
    )


def triage_headline(summary: TriageSummary) -> str:
    """Say the outcome in one sentence without a full stop."""
    clips = count(summary.clips, "clip")
    if not summary.clips:
        return "No clips were looked at"
    if summary.alerts:
        worst, amount = next(iter(summary.by_severity.items()))
        if summary.alerts == 1:
            return f"1 thing to watch in {clips}, {worst}"
        those = "all" if amount == summary.alerts else f"{amount:,}"
        return f"{summary.alerts:,} things to watch in {clips}, {those} {worst}"
    judged = summary.clips - summary.errors - summary.undecided
    if not judged:
        return "The clip could not be judged" if summary.clips == 1 else f"None of {clips} could be judged"
    if judged == summary.clips:
        return f"Nothing stood out in {clips}"
    return f"Nothing stood out in {judged:,} of {clips}; the others could not be judged"


def triage_lead(summary: TriageSummary) -> str:
    """Say how much was looked at, and what was counted together."""
    if summary.events > summary.alerts:
        merged = "merged where they belong together, repeats counted"
        return f"{count(summary.events, 'event')} in {format_duration(summary.footage_seconds)}, {merged}."
    return f"{format_duration(summary.footage_seconds)} of footage." if summary.footage_seconds else ""


def unjudged_sentences(summary: TriageSummary, unjudged: Sequence[Unjudged]) -> str:
    """Say what could not be judged; "" where all was."""
    sentences = []
    whole = sorted({clip_name(item.source) for item in unjudged if item.kind in ("error", "undecided")})
    if whole:
        names = printable(", ".join(whole[:3])) + (", …" if len(whole) > 3 else "")
        verb = "needs" if len(whole) == 1 else "need"
        sentences.append(f"{count(len(whole), 'clip')} could not be judged and {verb} a person: {names}.")
    if summary.unjudged_seconds >= 1:
        sentences.append(f"In all, {format_duration(summary.unjudged_seconds)} could not be judged.")
    return " ".join(sentences)
