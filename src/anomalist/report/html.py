"""HTML report of inspected pictures: one self-contained file, and the Jinja2 set-up that all pages share.

Works offline, in light and dark, and on paper. The content security policy admits one inline script by
its hash (sorting and filtering of the list); the page is complete without it. The same records and files
give the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomalist.report import wording
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
from anomalist.report.plots import CalibrationPlot, calibration_plot
from anomalist.report.wording import outcome, sort_by_urgency, summarise
from anomalist.storage.files import write_atomically
from anomalist.types.common import Claim
from anomalist.types.image import Record

if TYPE_CHECKING:
    from jinja2 import Environment


@dataclass(frozen=True)
class LinkedClaim:
    """A claim split at its evidence ids: (text, anchor or None); then ids cited but not in the text."""

    pieces: tuple[tuple[str, str | None], ...]
    cited: tuple[tuple[str, str | None], ...]
    by_model: bool


def template_environment() -> Environment:
    """Jinja2 environment of all pages: autoescaped, and an undefined name is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("anomalist.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["w"] = wording
    environment.filters["number"] = wording.number
    environment.filters["percent"] = wording.percent
    environment.filters["printable"] = wording.printable
    return environment


def link_evidence(claim: Claim, links: Mapping[str, str]) -> LinkedClaim:
    """Link the evidence ids in the text of a claim; "score" is also a plain word and is not linked.

    ``links`` says to which anchor each id leads.
    """
    ids = [id_ for id_ in claim.evidence if id_ != "score"]
    pattern = "|".join(rf"(?<!\w){re.escape(id_)}(?!\w)" for id_ in sorted(ids, key=len, reverse=True))
    pieces = re.split(f"({pattern})", claim.text) if ids else [claim.text]
    named = set(pieces[1::2])
    return LinkedClaim(
        pieces=tuple((piece, links.get(piece) if i % 2 else None) for i, piece in enumerate(pieces)),
        cited=tuple((id_, links.get(id_)) for id_ in claim.evidence if id_ not in named),
        by_model=claim.source == "model",
    )


# What keeps a report of thousands of pictures small enough to mail. Beyond these numbers everything is still
# listed, with its numbers and reasons, but with a small picture or none.
MAX_LARGE_PICTURES = 200
MAX_NORMAL_THUMBNAILS = 500


@dataclass(frozen=True)
class FindingView:
    """What the template shows of an anomalous or undecided picture."""

    anchor: str
    name: str
    record: Record
    thumbnail: Figure | None
    overlay: Figure | None
    heat: Figure | None
    heat_range: HeatRange | None
    map_alone: bool
    plot: CalibrationPlot | None
    normals: int
    problems: tuple[str, ...]
    claims: tuple[LinkedClaim, ...]


@dataclass(frozen=True)
class NormalView:
    """What the template shows of a normal picture."""

    name: str
    record: Record
    thumbnail: Figure | None
    problems: tuple[str, ...]


def write_html(
    records: Sequence[Record],
    folder: Path,
    calibrations: Mapping[str, Mapping[str, Any]],
    target: Path,
    *,
    title: str | None = None,
) -> Path:
    """Write the report of a run. The same records and files give the same bytes.

    Parameters
    ----------
    records : what was inspected, in any order.
    folder : the run folder, which holds their maps and masks.
    calibrations : by profile digest; ``scores`` are those of the calibration normals.
    target : the HTML file, replaced if it is there.
    title : stands above the headline, "Inspection report" by default.

    Raises
    ------
    DataError
        If the file can't be written. Pictures, maps and masks that are gone or have changed are no error:
        the report says so where they would be.
    """
    summary = summarise(records)
    place, names = wording.short_names(records)
    named = dict(zip(map(id, records), names, strict=True))
    urgent = sort_by_urgency(records)
    flagged = [record for record in urgent if outcome(record) in ("anomalous", "undecided")]
    normal = [record for record in urgent if outcome(record) == "normal"]
    normal.sort(key=lambda record: not record.disagreements)
    page = _template().render(
        title=title or "Inspection report",
        summary=summary,
        headline=wording.headline(summary),
        lead=wording.lead(records, summary),
        facts=_header_facts(records, place),
        findings=list(_finding_views(flagged, named, folder, calibrations)),
        most_regions=max((len(record.regions) for record in flagged), default=0),
        tiles=[_normal_view(record, named[id(record)], folder, i) for i, record in enumerate(normal)],
        failures=[(named[id(record)], record) for record in urgent if outcome(record) == "error"],
        bases=_decision_bases(urgent),
        versions=_sorted_unique(record.version for record in records),
        models=_sorted_unique(record.model for record in records if record.model),
        scale=colour_scale_uri(),
    )
    return write_atomically(target, page)


def _template() -> Any:  # noqa: ANN401
    """Load the page, with the one script that may run in it."""
    environment = template_environment()
    script = environment.get_template("report.js").render()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment.globals["script"] = script
    # No other script runs, and nothing is loaded from elsewhere, should anything slip through.
    environment.globals["security"] = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    )
    return environment.get_template("report.html.j2")


def _finding_views(
    records: Sequence[Record],
    names: Mapping[int, str],
    folder: Path,
    calibrations: Mapping[str, Mapping[str, Any]],
) -> Iterator[FindingView]:
    ranges = heat_ranges(records[:MAX_LARGE_PICTURES], folder)
    for index, record in enumerate(records):
        layers = load_record_arrays(record, folder)
        heat_range = ranges.get(detector_digest(record))
        scores = _calibration_scores(record, calibrations)
        large = index < MAX_LARGE_PICTURES
        anchor = f"p{index + 1}"
        yield FindingView(
            anchor=anchor,
            name=names[id(record)],
            record=record,
            thumbnail=overlay_figure(record, layers, heat_range, SMALL_SIDE, labelled=False),
            overlay=overlay_figure(record, layers, heat_range, LARGE_SIDE, labelled=True) if large else None,
            heat=heat_figure(layers, heat_range) if large else None,
            heat_range=heat_range,
            map_alone=layers.pixels is None,
            plot=calibration_plot(record, scores),
            normals=len(scores),
            problems=layers.problems,
            claims=tuple(link_evidence(claim, _evidence_links(record, anchor)) for claim in record.claims),
        )


def _normal_view(record: Record, name: str, folder: Path, index: int) -> NormalView:
    if index >= MAX_NORMAL_THUMBNAILS:
        return NormalView(name, record, None, ())
    layers = load_record_arrays(record, folder)
    return NormalView(
        name, record, overlay_figure(record, layers, None, SMALL_SIDE, labelled=True), layers.problems
    )


def _evidence_links(record: Record, anchor: str) -> dict[str, str]:
    """Say which anchor each citable id leads to."""
    links = {"score": f"{anchor}-score"}
    links |= {region.id: f"{anchor}-{region.id}" for region in record.regions}
    links |= {item.id: f"{anchor}-m{i}" for i, item in enumerate(record.recall.items, start=1)}
    return links


def _calibration_scores(record: Record, calibrations: Mapping[str, Mapping[str, Any]]) -> Sequence[float]:
    scores: Sequence[float] = (calibrations.get(record.profile_digest or "") or {}).get("scores") or ()
    return scores


def _header_facts(records: Sequence[Record], place: str) -> list[tuple[str, str]]:
    """List what was inspected, with what, and when, for the head of the page."""
    detectors = _sorted_unique(f"{r.detector.name} {r.detector.version}" for r in records if r.detector)
    rates = _sorted_unique(wording.percent(r.calibration.false_alarm_rate) for r in records if r.calibration)
    times = sorted(record.time for record in records if record.time)
    facts = [
        ("Inspected", place),
        ("Profile", ", ".join(_sorted_unique(r.profile for r in records if r.profile))),
        ("Detector", ", ".join(detectors)),
        ("Asked false-alarm rate", ", ".join(rates)),
        ("Time", wording.format_period(times)),
    ]
    return [(name, wording.printable(value)) for name, value in facts if value]


def _decision_bases(records: Sequence[Record]) -> list[tuple[int, Record]]:
    """Give one record for each different basis of decisions, with how many rest on it."""
    groups: dict[tuple[object, ...], list[Record]] = {}
    for record in records:
        if outcome(record) != "error":
            basis = record.calibration and record.calibration.replace(instability=0.0)
            key = (record.profile, record.profile_digest, record.detector, record.policy, basis)
            groups.setdefault(key, []).append(record)
    return [(len(group), group[0]) for group in groups.values()]


def _sorted_unique(values: Iterable[str]) -> list[str]:
    return sorted(set(values))
