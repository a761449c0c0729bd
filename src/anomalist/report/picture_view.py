"""Report of inspected pictures: its document, and the figures and plots of report.html.

Sorting and filtering of the list is the page's one script; the page is complete without it. The same
records and files give the same bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from anomalist.report.document import (
    Column,
    DecisionBasis,
    Entry,
    LinkedClaim,
    MarkdownLayout,
    ReportDocument,
    decision_bases,
    header_facts,
    link_evidence,
    render_html,
    sorted_unique,
    unjudged_entries,
)
from anomalist.report.expert_figures import expert_figures
from anomalist.report.exports import PICTURE_EXPORTERS
from anomalist.report.figures import (
    LARGE_SIDE,
    SMALL_SIDE,
    Figure,
    HeatRange,
    colour_scale_uri,
    detector_digest,
    heat_figure,
    heat_ranges,
    load_record_arrays,
    overlay_figure,
)
from anomalist.report.input_changes import input_headline, input_sentences
from anomalist.report.plots import CalibrationPlot, calibration_plot
from anomalist.report.wording import (
    count,
    count_kinds,
    count_severities,
    explain_calibration,
    explain_no_calibration,
    explain_score,
    format_period,
    main_reason,
    number,
    outcome,
    percent,
    printable,
    severity_word,
    short_names,
    sort_by_urgency,
)
from anomalist.types.common import SEVERITIES, Frozen
from anomalist.types.image import Record

# What keeps a report of thousands of pictures small enough to mail. Beyond these numbers everything is still
# listed, with its numbers and reasons, but with a small picture or none.
MAX_LARGE_PICTURES = 200
MAX_NORMAL_THUMBNAILS = 500

PictureEntry = Entry[Record]

SUMMARY_FORMAT = 1


class Summary(Frozen):
    """Counts of one run. Each picture is counted once among the four outcomes."""

    pictures: int
    anomalous: int
    undecided: int
    normal: int
    errors: int = Field(description="pictures without a verdict")
    by_severity: dict[str, int] = Field(description="of the anomalous, the most severe first")
    by_kind: dict[str, int] = Field(description='of the anomalous, the most frequent first; "unnamed" is one')


class PictureReport(Frozen):
    """What ``report.json`` holds: the summary, and all records in the order given."""

    format: int = SUMMARY_FORMAT
    summary: Summary
    records: tuple[Record, ...]


@dataclass(frozen=True)
class FindingView:
    """What the page shows of an anomalous or undecided picture beside its entry."""

    entry: PictureEntry
    thumbnail: Figure | None
    overlay: Figure | None
    heat: Figure | None
    heat_range: HeatRange | None
    experts: tuple[tuple[str, Figure], ...]
    map_alone: bool
    plot: CalibrationPlot | None
    normals: int
    problems: tuple[str, ...]
    claims: tuple[LinkedClaim, ...]


@dataclass(frozen=True)
class NormalView:
    """What the page shows of a normal picture."""

    entry: PictureEntry
    thumbnail: Figure | None
    problems: tuple[str, ...]


@dataclass(frozen=True)
class PictureReportView:
    """View of a run of pictures.

    Parameters
    ----------
    calibrations : by profile digest, as `ImageRunFolder.calibrations` gives them; ``scores`` are those of the
        calibration normals, for the plots.
    """

    calibrations: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    stem: ClassVar[str] = "report"
    layout: ClassVar[MarkdownLayout[PictureEntry]] = MarkdownLayout(
        columns=(
            Column("picture", lambda entry: entry.name, code=True),
            Column("verdict", lambda entry: entry.outcome),
            Column("severity", lambda entry: severity_word(entry.severity)),
            Column("kind", lambda entry: entry.record.kind or "–"),
            Column("score", lambda entry: number(entry.record.score), numeric=True),
            Column("p", lambda entry: number(entry.record.p_value), numeric=True),
            Column("main reason", lambda entry: main_reason(entry.record)),
        ),
        entries_heading="Findings",
        unjudged_heading="Not inspected",
        page="report.html",
    )

    def document(
        self, records: Sequence[Record], title: str | None = None
    ) -> ReportDocument[PictureEntry, Summary]:
        """Say what the records hold, in any order; reads no file."""
        summary = summarise(records)
        urgent = sort_by_urgency(records)
        place, names = short_names(urgent)
        entries = tuple(_entries(urgent, names))
        return ReportDocument(
            title=title or "Inspection report",
            headline=input_headline(records) or headline(summary),
            lead=lead(records, summary),
            open_points="",
            counts=_counts_line(summary),
            place=place,
            records=tuple(records),
            summary=summary,
            facts=_header_facts(urgent, place),
            entries=entries,
            sections=entries,
            unjudged=unjudged_entries(records, entries),
            bases=_decision_bases(urgent),
            versions=sorted_unique(record.version for record in records),
            models=sorted_unique(record.model for record in records if record.model),
        )

    def page(self, document: ReportDocument[PictureEntry, Summary], folder: Path) -> str:
        """Render the HTML page, with pictures from the run folder.

        Pictures, maps and masks that are gone or have changed are no error: the page says so where they
        would be.
        """
        flagged = document.flagged
        normal = [entry for entry in document.entries if entry.outcome == "normal"]
        normal.sort(key=lambda entry: not entry.record.disagreements)
        page = {
            "findings": list(_finding_views(flagged, folder, self.calibrations)),
            "tiles": [_normal_view(entry, folder, place) for place, entry in enumerate(normal)],
            "most_regions": max((len(entry.record.regions) for entry in flagged), default=0),
            "scale": colour_scale_uri(),
        }
        return render_html(document, "report.html.j2", page, script="report.js" if flagged else None)

    def to_json(self, document: ReportDocument[PictureEntry, Summary]) -> str:
        """Give the text of report.json."""
        return PictureReport(summary=document.summary, records=document.records).model_dump_json(indent=1)

    def export(self, records: Sequence[Record], folder: Path) -> None:
        """Run all exporters of pictures.

        Raises DataError where a mask is missing or doesn't hold the regions of its record.
        """
        for exporter in PICTURE_EXPORTERS.values():
            exporter(records, folder)


def summarise(records: Sequence[Record]) -> Summary:
    """Count the records by outcome, and the anomalous ones by severity and kind."""
    outcomes = Counter(outcome(record) for record in records)
    anomalous = [record for record in records if outcome(record) == "anomalous"]
    return Summary(
        pictures=len(records),
        anomalous=outcomes["anomalous"],
        undecided=outcomes["undecided"],
        normal=outcomes["normal"],
        errors=outcomes["error"],
        by_severity=count_severities((record.severity or 0 for record in anomalous), SEVERITIES[0]),
        by_kind=count_kinds(record.kind or "unnamed" for record in anomalous),
    )


def headline(summary: Summary) -> str:
    """Say the outcome of the run in one sentence."""
    if not summary.pictures:
        return "No pictures were inspected"
    judged = summary.pictures - summary.errors
    if summary.anomalous:
        verb = "looks" if summary.anomalous == 1 else "look"
        return f"{summary.anomalous:,} of {count(judged, 'picture')} {verb} anomalous"
    if not judged:
        return "No picture could be inspected"
    if judged == 1:
        return "The picture looks normal" if summary.normal else "The picture could not be decided"
    if summary.normal == judged:
        return f"All {judged:,} pictures look normal"
    if summary.undecided == judged:
        return f"None of {judged:,} pictures could be decided"
    return f"None of {judged:,} pictures is called anomalous"


def lead(records: Sequence[Record], summary: Summary) -> str:
    """Say what to look at first and what stays open."""
    sentences = input_sentences(records)
    flagged = sort_by_urgency([record for record in records if outcome(record) == "anomalous"])
    if flagged and flagged[0].severity:
        worst = flagged[0]
        where = f" ({worst.regions[0].attributes.position})" if worst.regions else ""
        name = printable(Path(worst.source).name)
        sentences.append(
            f"The most severe is {name}: {severity_word(worst.severity)} {worst.kind or 'anomaly'}{where}."
        )
    open_records = [
        record for record in records if outcome(record) == "undecided" and not record.evidence.changed_input
    ]
    if open_records:
        verb = "needs" if len(open_records) == 1 else "need"
        sentences.append(f"{count(len(open_records), 'picture')} could not be decided and {verb} a person.")
        reasons = {record.why_undecided for record in open_records}
        if len(reasons) == 1 and len(open_records) > 1:
            sentences.append(printable(reasons.pop() or ""))
    if summary.errors:
        sentences.append(f"{count(summary.errors, 'file')} could not be inspected.")
    return " ".join(filter(None, sentences))


def _counts_line(summary: Summary) -> str:
    text = (
        f"{summary.anomalous:,} anomalous, {summary.undecided:,} undecided, {summary.normal:,} normal, "
        f"{summary.errors:,} not inspected."
    )
    if summary.by_severity:
        text += f" Severity: {', '.join(f'{n} {word}' for word, n in summary.by_severity.items())}."
        text += f" Kind: {', '.join(f'{n} × {kind}' for kind, n in summary.by_kind.items())}."
    return text


def _entries(urgent: Sequence[Record], names: Sequence[str]) -> Iterator[PictureEntry]:
    """Entries of records in their order; those that are flagged are numbered for their anchors."""
    flagged = 0
    for record, name in zip(urgent, names, strict=True):
        shown = outcome(record) in ("anomalous", "undecided")
        flagged += shown
        yield Entry(
            anchor=f"p{flagged}" if shown else "",
            name=name,
            record=record,
            severity=record.severity or 0,
            reason=main_reason(record),
            details=tuple(_finding_sentences(record)) if shown else (),
        )


def _finding_sentences(record: Record) -> Iterator[str]:
    if record.why_undecided:
        yield f"Undecided: {record.why_undecided}"
    for claim in record.claims:
        cited = [id_ for id_ in claim.evidence if id_ not in claim.text]
        yield claim.text + (f" ({', '.join(cited)})" if cited else "")
    for disagreement in record.disagreements:
        yield f"Disagreement: {disagreement}"
    yield " ".join(explain_score(record))
    yield f"Reasoned by {record.reasoner or 'nobody'}."


def _finding_views(
    entries: Sequence[PictureEntry], folder: Path, calibrations: Mapping[str, Mapping[str, Any]]
) -> Iterator[FindingView]:
    ranges = heat_ranges((entry.record for entry in entries[:MAX_LARGE_PICTURES]), folder)
    for index, entry in enumerate(entries):
        record = entry.record
        layers = load_record_arrays(record, folder)
        heat_range = ranges.get(detector_digest(record))
        scores = _calibration_scores(record, calibrations)
        large = index < MAX_LARGE_PICTURES
        links = _evidence_links(record, entry.anchor)
        yield FindingView(
            entry=entry,
            thumbnail=overlay_figure(record, layers, heat_range, SMALL_SIDE, labelled=False),
            overlay=overlay_figure(record, layers, heat_range, LARGE_SIDE, labelled=True) if large else None,
            heat=heat_figure(layers, heat_range) if large else None,
            heat_range=heat_range,
            experts=expert_figures(record, folder) if large else (),
            map_alone=layers.pixels is None,
            plot=calibration_plot(record, scores),
            normals=len(scores),
            problems=layers.problems,
            claims=tuple(link_evidence(claim, links) for claim in record.claims),
        )


def _normal_view(entry: PictureEntry, folder: Path, place: int) -> NormalView:
    if place >= MAX_NORMAL_THUMBNAILS:
        return NormalView(entry, None, ())
    layers = load_record_arrays(entry.record, folder)
    thumbnail = overlay_figure(entry.record, layers, None, SMALL_SIDE, labelled=True)
    return NormalView(entry, thumbnail, layers.problems)


def _evidence_links(record: Record, anchor: str) -> dict[str, str]:
    """Say which anchor each citable id leads to."""
    links = {"score": f"{anchor}-score", "input": f"{anchor}-score"}
    links |= {place.id: f"{anchor}-{place.id}" for place in record.places}
    links |= {item.id: f"{anchor}-m{i}" for i, item in enumerate(record.recall.items, start=1)}
    return links


def _calibration_scores(record: Record, calibrations: Mapping[str, Mapping[str, Any]]) -> Sequence[float]:
    scores: Sequence[float] = (calibrations.get(record.calibration_digest or "") or {}).get("scores") or ()
    return scores


def _header_facts(records: Sequence[Record], place: str) -> tuple[tuple[str, str], ...]:
    """List what was inspected, with what, and when."""
    detectors = sorted_unique(f"{r.detector.name} {r.detector.version}" for r in records if r.detector)
    rates = sorted_unique(percent(r.calibration.false_alarm_rate) for r in records if r.calibration)
    return header_facts(
        {
            "Inspected": place,
            "Profile": ", ".join(sorted_unique(r.profile for r in records if r.profile)),
            "Detector": ", ".join(detectors),
            "False-alarm rate": ", ".join(rates),
            "Time": format_period(sorted(record.time for record in records if record.time)),
        }
    )


def _decision_bases(records: Sequence[Record]) -> tuple[DecisionBasis[Record], ...]:
    def key(record: Record) -> tuple[object, ...]:
        # How often the normals reach its score, and how stable its decision is, are of the picture alone.
        basis = record.calibration and record.calibration.replace(instability=0.0, reached=None)
        return record.profile, record.calibration_digest, record.detector, record.policy, basis

    return decision_bases(records, key, _basis_sentence)


def _basis_sentence(record: Record) -> str:
    detector = f"{record.detector.name} {record.detector.version}" if record.detector else "unknown"
    if record.calibration:
        rate = percent(record.calibration.false_alarm_rate)
        which = "asked" if record.calibration.default_rate is None else "lowest supported"
        rests = f"{which} false-alarm rate {rate}; {explain_calibration(record.calibration)}"
    else:
        rests = f"calibration {explain_no_calibration(record)}"
    product = f", product {record.product.name}" if record.product else ""
    return f"Profile {record.profile or '–'}{product}, detector {detector}; {rests}"
