"""A triage as short Markdown, for a ticket or a message: the same order and reasons, no pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from anomalist.clips import ClipRecord
from anomalist.report.alerts import Alert
from anomalist.report.markdown import as_code, literal
from anomalist.report.triage_summary import open_points, summarise_triage, triage_headline, triage_lead
from anomalist.report.triage_words import clip_names, promise, severity, span, timing
from anomalist.report.unjudged import Unjudged
from anomalist.report.wording import count, printable
from anomalist.writing import write_whole

MOST_ROWS = 20
"""Alerts, and things not judged, that are listed; the rest is counted."""


def write_triage_markdown(
    records: Sequence[ClipRecord],
    alerts: Sequence[Alert],
    unjudged: Sequence[Unjudged],
    target: Path,
    *,
    title: str | None = None,
) -> Path:
    """Write headline, ranked alerts with their reasons, what was not judged, and what it rests on.

    Parameters
    ----------
    records, alerts, unjudged : as for `write_timeline`.
    target : the Markdown file (GitHub's tables), UTF-8, replaced if it is there.
    title : stands above the headline, "Video triage" by default.
    """
    summary = summarise_triage(records, alerts)
    _, names = clip_names(records)
    named = {record.source: as_code(name) for record, name in zip(records, names, strict=True)}
    lines = [f"# {literal(title or 'Video triage')}", "", f"**{triage_headline(summary)}.**"]
    lines += [*filter(None, (triage_lead(summary), literal(open_points(summary, unjudged)))), ""]
    if alerts:
        lines += ["## In this order", "", *_table(alerts[:MOST_ROWS], named), *_more(alerts), ""]
    if unjudged:
        lines += ["## Not judged", ""]
        lines += [
            f"- {named[item.source]}{_spans(item)}: {literal(item.why)}" for item in unjudged[:MOST_ROWS]
        ]
        lines += [*_more(unjudged), ""]
    lines += _basis(records)
    return write_whole(target, "\n".join(lines).rstrip() + "\n")


def _table(alerts: Sequence[Alert], named: Mapping[str, str]) -> Iterator[str]:
    yield "| rank | severity | clip | time | what | why it stands here |"
    yield "| ---: | --- | --- | --- | --- | --- |"
    for alert in alerts:
        cells = (
            alert.id[1:],
            severity(alert.severity),
            named[alert.source].replace("|", "\\|"),
            span(alert.start, alert.end),
            literal(alert.caption),
            literal(alert.reason),
        )
        yield f"| {' | '.join(cells)} |"


def _more(items: Sequence[object]) -> list[str]:
    rest = len(items) - MOST_ROWS
    return ["", f"And {rest:,} more in triage.html."] if rest > 0 else []


def _spans(item: Unjudged) -> str:
    return "".join(f" {span(start, end)}" for start, end in item.spans[:3]) + (
        " …" if len(item.spans) > 3 else ""
    )


def _basis(records: Sequence[ClipRecord]) -> Iterator[str]:
    sentences: dict[str, int] = {}
    for record in records:
        if record.status != "ok":
            continue
        rests = promise(record.calibration) if record.calibration else "No calibration."
        text = f"Scene {literal(record.scene or '–')}: {literal(rests)} {literal(timing(record))}"
        sentences[text] = sentences.get(text, 0) + 1
    if sentences:
        yield "## How this was decided"
        yield ""
        yield from (f"- {count(amount, 'clip')}. {printable(text)}" for text, amount in sentences.items())
