"""Markdown reports (GitHub tables) of pictures, of a triage, and of a conversation; no pictures in them.

For a ticket or a message: the same findings, order and reasons as the HTML. All text of records is
escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from anomalist.report import wording
from anomalist.report.alerts import Alert
from anomalist.report.clip_summary import (
    Unjudged,
    summarise_triage,
    triage_headline,
    triage_lead,
    unjudged_sentences,
)
from anomalist.report.clip_wording import (
    clip_names,
    explain_event_calibration,
    explain_timing,
    format_time_span,
    severity,
)
from anomalist.report.wording import Summary, count, outcome, printable, sort_by_urgency, summarise
from anomalist.storage.files import write_atomically
from anomalist.types.clip import ClipRecord
from anomalist.types.common import Answer, Claim
from anomalist.types.image import Record


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
    named = {id(record): code_span(name) for record, name in zip(records, names, strict=True)}
    urgent = sort_by_urgency(records)
    flagged = [record for record in urgent if outcome(record) in ("anomalous", "undecided")]
    failed = [record for record in urgent if outcome(record) == "error"]
    lines = [f"# {escape_markdown(title or 'Inspection report')}", "", f"**{wording.headline(summary)}.**"]
    lines += [escape_markdown(wording.lead(records, summary)), "", _counts_line(summary), ""]
    if flagged:
        lines += ["## Findings", "", *_findings_table(flagged, named), ""]
        for record in flagged:
            lines += _finding_lines(record, named[id(record)])
    if failed:
        lines += ["## Not inspected", ""]
        lines += [
            f"- {named[id(record)]}: {escape_markdown(record.error or 'no reason recorded')}"
            for record in failed
        ]
        lines += [""]
    lines += _calibration_lines(records)
    return write_atomically(target, "\n".join(lines).rstrip() + "\n")


def _counts_line(summary: Summary) -> str:
    text = (
        f"{summary.anomalous:,} anomalous, {summary.undecided:,} undecided, {summary.normal:,} normal, "
        f"{summary.errors:,} not inspected."
    )
    if summary.by_severity:
        text += " Severity: " + ", ".join(f"{n} {word}" for word, n in summary.by_severity.items()) + "."
        text += (
            " Kind: "
            + ", ".join(f"{n} × {escape_markdown(kind)}" for kind, n in summary.by_kind.items())
            + "."
        )
    return text


def _findings_table(records: Sequence[Record], named: dict[int, str]) -> Iterator[str]:
    yield "| picture | verdict | severity | kind | score | p | main reason |"
    yield "| --- | --- | --- | --- | ---: | ---: | --- |"
    for record in records:
        cells = (
            named[id(record)].replace("|", "\\|"),
            outcome(record),
            wording.severity_word(record),
            escape_markdown(record.kind or "–"),
            wording.number(record.score),
            wording.number(record.p_value),
            escape_markdown(wording.main_reason(record)),
        )
        yield f"| {' | '.join(cells)} |"


def _finding_lines(record: Record, name: str) -> Iterator[str]:
    yield f"### {name}"
    yield ""
    if record.why_undecided:
        yield f"- Undecided: {escape_markdown(record.why_undecided)}"
    for claim in record.claims:
        cited = [id_ for id_ in claim.evidence if id_ not in claim.text]
        yield f"- {escape_markdown(claim.text)}" + (
            f" ({escape_markdown(', '.join(cited))})" if cited else ""
        )
    for disagreement in record.disagreements:
        yield f"- Disagreement: {escape_markdown(disagreement)}"
    yield f"- {' '.join(wording.explain_score(record))}"
    yield f"- Reasoned by {escape_markdown(record.reasoner or 'nobody')}."
    yield ""


def _calibration_lines(records: Sequence[Record]) -> Iterator[str]:
    sentences: dict[str, None] = {}
    for record in records:
        if outcome(record) == "error":
            continue
        detector = f"{record.detector.name} {record.detector.version}" if record.detector else "unknown"
        basis = record.calibration
        rests = (
            f"asked false-alarm rate {wording.percent(basis.false_alarm_rate)}; "
            f"{wording.explain_calibration(basis)}"
            if basis
            else f"calibration {wording.explain_no_calibration(record)}"
        )
        sentences[
            f"- Profile {escape_markdown(record.profile or '–')}, "
            f"detector {escape_markdown(detector)}; {rests}"
        ] = None
    if sentences:
        yield "## How this was decided"
        yield ""
        yield from sentences


def escape_markdown(text: str) -> str:
    """Take Markdown's and HTML's special characters literally, on one line."""
    return re.sub(r"([\\`*_\[\]<>|~&#])", r"\\\1", wording.printable(text))


def code_span(name: str) -> str:
    """Show a file name as code, with a fence longer than any run of backticks in it."""
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", name)), default=0))
    return f"{fence} {name} {fence}" if len(fence) > 1 else f"`{name}`"


MAX_LISTED_ROWS = 20
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
    named = {record.source: code_span(name) for record, name in zip(records, names, strict=True)}
    lines = [f"# {escape_markdown(title or 'Video triage')}", "", f"**{triage_headline(summary)}.**"]
    lines += [
        *filter(None, (triage_lead(summary), escape_markdown(unjudged_sentences(summary, unjudged)))),
        "",
    ]
    if alerts:
        lines += [
            "## In this order",
            "",
            *_alerts_table(alerts[:MAX_LISTED_ROWS], named),
            *_more_line(alerts),
            "",
        ]
    if unjudged:
        lines += ["## Not judged", ""]
        lines += [
            f"- {named[item.source]}{_spans_text(item)}: {escape_markdown(item.why)}"
            for item in unjudged[:MAX_LISTED_ROWS]
        ]
        lines += [*_more_line(unjudged), ""]
    lines += _event_calibration_lines(records)
    return write_atomically(target, "\n".join(lines).rstrip() + "\n")


def _alerts_table(alerts: Sequence[Alert], named: Mapping[str, str]) -> Iterator[str]:
    yield "| rank | severity | clip | time | what | why it stands here |"
    yield "| ---: | --- | --- | --- | --- | --- |"
    for alert in alerts:
        cells = (
            alert.id[1:],
            severity(alert.severity),
            named[alert.source].replace("|", "\\|"),
            format_time_span(alert.start, alert.end),
            escape_markdown(alert.caption),
            escape_markdown(alert.reason),
        )
        yield f"| {' | '.join(cells)} |"


def _more_line(items: Sequence[object]) -> list[str]:
    rest = len(items) - MAX_LISTED_ROWS
    return ["", f"And {rest:,} more in triage.html."] if rest > 0 else []


def _spans_text(item: Unjudged) -> str:
    return "".join(f" {format_time_span(start, end)}" for start, end in item.spans[:3]) + (
        " …" if len(item.spans) > 3 else ""
    )


def _event_calibration_lines(records: Sequence[ClipRecord]) -> Iterator[str]:
    sentences: dict[str, int] = {}
    for record in records:
        if record.status != "ok":
            continue
        rests = explain_event_calibration(record.calibration) if record.calibration else "No calibration."
        scene, timing = escape_markdown(record.scene or "–"), escape_markdown(explain_timing(record))
        text = f"Scene {scene}: {escape_markdown(rests)} {timing}"
        sentences[text] = sentences.get(text, 0) + 1
    if sentences:
        yield "## How this was decided"
        yield ""
        yield from (f"- {count(amount, 'clip')}. {printable(text)}" for text, amount in sentences.items())


MAX_PARAGRAPH_SENTENCES = 4
"""Sentences; more are a list."""

MAX_CITED_IDS = 3
"""Ids that are named behind a sentence."""


def write_conversation(
    answers: Sequence[Answer], records: Sequence[Record], folder: Path, name: str
) -> tuple[Path, ...]:
    """Write ``conversation.md``, and ``report.md`` where there are pictures; returns their paths.

    Raises DataError when they can't be written.
    """
    lines = [f"# {escape_markdown(name)}", "", *conversation_lines(answers)]
    written = [write_atomically(folder / "conversation.md", "\n".join(lines).rstrip() + "\n")]
    if records:
        written.append(write_markdown(records, folder / "report.md"))
    return tuple(written)


def conversation_lines(answers: Sequence[Answer]) -> list[str]:
    """Questions as quotes, answers below them with the ids that each sentence rests on."""
    lines: list[str] = []
    for answer in answers:
        lines += [f"> {escape_markdown(answer.question)}", "", *answer_lines(answer), ""]
        for note in answer.notes:
            lines += [f"*{escape_markdown(note)}*", ""]
        if answer.dropped:
            lines += [f"*Left out, for lack of evidence: {len(answer.dropped)}*", ""]
    return lines


def answer_lines(answer: Answer) -> list[str]:
    """An answer as a paragraph, or as a list where it has many sentences; its options; what would help."""
    if answer.letter is not None or not answer.claims:
        told = " ".join(escape_markdown(text) for text in (answer.text, answer.helps) if text)
        options = [escape_markdown(f"{o.letter}: {o.text} ({o.probability:.0%})") for o in answer.options]
        return [told, *(["", *(f"- {option}" for option in options)] if options else [])]
    first, *others = map(_cited_sentence, answer.claims)
    helps = [escape_markdown(answer.helps)] if answer.helps else []
    if len(others) < MAX_PARAGRAPH_SENTENCES:
        return [" ".join([first, *others, *helps])]
    return [first, "", *(f"- {sentence}" for sentence in others), *(["", *helps] if helps else [])]


def _cited_sentence(claim: Claim) -> str:
    """A sentence with the ids that it does not name itself."""
    cited = [id for id in claim.evidence if id not in claim.text]
    if not cited:
        return escape_markdown(claim.text)
    more = f" and {len(cited) - MAX_CITED_IDS} more" if len(cited) > MAX_CITED_IDS else ""
    ids = "[" + ", ".join(cited[:MAX_CITED_IDS]) + more + "]"
    return f"{escape_markdown(claim.text)} {escape_markdown(ids)}"
