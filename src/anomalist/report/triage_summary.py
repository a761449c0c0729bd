"""What a triage came to, in numbers and in one sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pydantic import Field

from anomalist.clips import ClipRecord
from anomalist.report.alerts import Alert
from anomalist.report.triage_words import clip_name, lasting, severity
from anomalist.report.unjudged import Unjudged, duration_of, gaps, outcome
from anomalist.report.wording import count, printable
from anomalist.types import Frozen

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
    silent = sum(end - start for record in records for start, end in gaps(record))
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
        footage_seconds=round(sum(map(duration_of, records)), 3),
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
        return f"{count(summary.events, 'event')} in {lasting(summary.footage_seconds)}, {merged}."
    return f"{lasting(summary.footage_seconds)} of footage." if summary.footage_seconds else ""


def open_points(summary: TriageSummary, unjudged: Sequence[Unjudged]) -> str:
    """Say what could not be judged; "" where all was."""
    sentences = []
    whole = sorted({clip_name(item.source) for item in unjudged if item.kind in ("error", "undecided")})
    if whole:
        names = printable(", ".join(whole[:3])) + (", …" if len(whole) > 3 else "")
        verb = "needs" if len(whole) == 1 else "need"
        sentences.append(f"{count(len(whole), 'clip')} could not be judged and {verb} a person: {names}.")
    if summary.unjudged_seconds >= 1:
        sentences.append(f"In all, {lasting(summary.unjudged_seconds)} could not be judged.")
    return " ".join(sentences)
