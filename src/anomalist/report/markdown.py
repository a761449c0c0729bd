"""The report as short Markdown, for a ticket or a message: the same findings, no pictures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from anomalist.report import wording
from anomalist.report.summary import Summary, by_urgency, outcome, summarise
from anomalist.types import Record
from anomalist.writing import write_whole


def write_markdown(records: Sequence[Record], target: Path, *, title: str | None = None) -> Path:
    """Write headline, findings with their reasons, failures, and what the decisions rest on.

    Parameters
    ----------
    records : what was inspected, in any order.
    target : the Markdown file (GitHub's tables), UTF-8, replaced if it is there.
    title : stands above the headline, "Inspection report" by default.
    """
    summary = summarise(records)
    _, names = wording.short_names(records)
    named = {id(record): as_code(name) for record, name in zip(records, names, strict=True)}
    urgent = by_urgency(records)
    flagged = [record for record in urgent if outcome(record) in ("anomalous", "undecided")]
    failed = [record for record in urgent if outcome(record) == "error"]
    lines = [f"# {literal(title or 'Inspection report')}", "", f"**{wording.headline(summary)}.**"]
    lines += [literal(wording.lead(records, summary)), "", _counts(summary), ""]
    if flagged:
        lines += ["## Findings", "", *_table(flagged, named), ""]
        for record in flagged:
            lines += _finding(record, named[id(record)])
    if failed:
        lines += ["## Not inspected", ""]
        lines += [
            f"- {named[id(record)]}: {literal(record.error or 'no reason recorded')}" for record in failed
        ]
        lines += [""]
    lines += _basis(records)
    return write_whole(target, "\n".join(lines).rstrip() + "\n")


def _counts(summary: Summary) -> str:
    text = (
        f"{summary.anomalous:,} anomalous, {summary.undecided:,} undecided, {summary.normal:,} normal, "
        f"{summary.errors:,} not inspected."
    )
    if summary.by_severity:
        text += " Severity: " + ", ".join(f"{n} {word}" for word, n in summary.by_severity.items()) + "."
        text += " Kind: " + ", ".join(f"{n} × {literal(kind)}" for kind, n in summary.by_kind.items()) + "."
    return text


def _table(records: Sequence[Record], named: dict[int, str]) -> Iterator[str]:
    yield "| picture | verdict | severity | kind | score | p | main reason |"
    yield "| --- | --- | --- | --- | ---: | ---: | --- |"
    for record in records:
        cells = (
            named[id(record)].replace("|", "\\|"),
            outcome(record),
            wording.severity_word(record),
            literal(record.kind or "–"),
            wording.number(record.score),
            wording.number(record.p_value),
            literal(wording.main_reason(record)),
        )
        yield f"| {' | '.join(cells)} |"


def _finding(record: Record, name: str) -> Iterator[str]:
    yield f"### {name}"
    yield ""
    if record.why_undecided:
        yield f"- Undecided: {literal(record.why_undecided)}"
    for claim in record.claims:
        cited = [id_ for id_ in claim.evidence if id_ not in claim.text]
        yield f"- {literal(claim.text)}" + (f" ({literal(', '.join(cited))})" if cited else "")
    for disagreement in record.disagreements:
        yield f"- Disagreement: {literal(disagreement)}"
    yield f"- {' '.join(wording.meaning(record))}"
    yield f"- Reasoned by {literal(record.reasoner or 'nobody')}."
    yield ""


def _basis(records: Sequence[Record]) -> Iterator[str]:
    sentences: dict[str, None] = {}
    for record in records:
        if outcome(record) == "error":
            continue
        detector = f"{record.detector.name} {record.detector.version}" if record.detector else "unknown"
        basis = record.calibration
        rests = (
            f"asked false-alarm rate {wording.percent(basis.false_alarm_rate)}; {wording.limits(basis)}"
            if basis
            else f"calibration {wording.uncalibrated(record)}"
        )
        sentences[f"- Profile {literal(record.profile or '–')}, detector {literal(detector)}; {rests}"] = None
    if sentences:
        yield "## How this was decided"
        yield ""
        yield from sentences


def literal(text: str) -> str:
    """Take Markdown's and HTML's special characters literally, on one line."""
    return re.sub(r"([\\`*_\[\]<>|~&#])", r"\\\1", wording.printable(text))


def as_code(name: str) -> str:
    """Show a file name as code, with a fence longer than any run of backticks in it."""
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", name)), default=0))
    return f"{fence} {name} {fence}" if len(fence) > 1 else f"`{name}`"
