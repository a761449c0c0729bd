"""One self-contained HTML file: works offline, without scripts, in light and dark, and on paper."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anomalist.report import wording
from anomalist.report.calibration_plot import CalibrationPlot, calibration_plot
from anomalist.report.figures import (
    LARGE,
    SMALL,
    Figure,
    Range,
    detector_digest,
    heat_figure,
    heat_ranges,
    overlay_figure,
    scale_uri,
)
from anomalist.report.pages import LinkedClaim, linked, page_environment
from anomalist.report.pictures import load_layers
from anomalist.report.summary import by_urgency, outcome, summarise
from anomalist.types import Record
from anomalist.writing import write_whole

# What keeps a report of thousands of pictures small enough to mail. Beyond these numbers everything is still
# listed, with its numbers and reasons, but with a small picture or none.
MOST_LARGE_PICTURES = 200
MOST_NORMAL_THUMBNAILS = 500


@dataclass(frozen=True)
class Finding:
    """What the template shows of an anomalous or undecided picture."""

    anchor: str
    name: str
    record: Record
    thumbnail: Figure | None
    overlay: Figure | None
    heat: Figure | None
    heat_range: Range | None
    map_alone: bool
    plot: CalibrationPlot | None
    normals: int
    problems: tuple[str, ...]
    claims: tuple[LinkedClaim, ...]


@dataclass(frozen=True)
class Tile:
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
    urgent = by_urgency(records)
    flagged = [record for record in urgent if outcome(record) in ("anomalous", "undecided")]
    normal = [record for record in urgent if outcome(record) == "normal"]
    normal.sort(key=lambda record: not record.disagreements)
    page = _template().render(
        title=title or "Inspection report",
        summary=summary,
        headline=wording.headline(summary),
        lead=wording.lead(records, summary),
        facts=_facts(records, place),
        findings=list(_findings(flagged, named, folder, calibrations)),
        most_regions=max((len(record.regions) for record in flagged), default=0),
        tiles=[_tile(record, named[id(record)], folder, i) for i, record in enumerate(normal)],
        failures=[(named[id(record)], record) for record in urgent if outcome(record) == "error"],
        bases=_bases(urgent),
        versions=_unique(record.version for record in records),
        models=_unique(record.model for record in records if record.model),
        scale=scale_uri(),
    )
    return write_whole(target, page)


def _template() -> Any:  # noqa: ANN401 - jinja2 is imported late
    """Load the page, with the one script that may run in it."""
    environment = page_environment()
    script = environment.get_template("report.js").render()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment.globals["script"] = script
    # No other script runs, and nothing is loaded from elsewhere, should anything slip through.
    environment.globals["security"] = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    )
    return environment.get_template("report.html.j2")


def _findings(
    records: Sequence[Record],
    names: Mapping[int, str],
    folder: Path,
    calibrations: Mapping[str, Mapping[str, Any]],
) -> Iterator[Finding]:
    ranges = heat_ranges(records[:MOST_LARGE_PICTURES], folder)
    for index, record in enumerate(records):
        layers = load_layers(record, folder)
        heat_range = ranges.get(detector_digest(record))
        scores = _calibration_scores(record, calibrations)
        large = index < MOST_LARGE_PICTURES
        anchor = f"p{index + 1}"
        yield Finding(
            anchor=anchor,
            name=names[id(record)],
            record=record,
            thumbnail=overlay_figure(record, layers, heat_range, SMALL, labelled=False),
            overlay=overlay_figure(record, layers, heat_range, LARGE, labelled=True) if large else None,
            heat=heat_figure(layers, heat_range) if large else None,
            heat_range=heat_range,
            map_alone=layers.pixels is None,
            plot=calibration_plot(record, scores),
            normals=len(scores),
            problems=layers.problems,
            claims=tuple(linked(claim, _links(record, anchor)) for claim in record.claims),
        )


def _tile(record: Record, name: str, folder: Path, index: int) -> Tile:
    if index >= MOST_NORMAL_THUMBNAILS:
        return Tile(name, record, None, ())
    layers = load_layers(record, folder)
    return Tile(name, record, overlay_figure(record, layers, None, SMALL, labelled=True), layers.problems)


def _links(record: Record, anchor: str) -> dict[str, str]:
    """Say which anchor each citable id leads to."""
    links = {"score": f"{anchor}-score"}
    links |= {region.id: f"{anchor}-{region.id}" for region in record.regions}
    links |= {item.id: f"{anchor}-m{i}" for i, item in enumerate(record.recall, start=1)}
    return links


def _calibration_scores(record: Record, calibrations: Mapping[str, Mapping[str, Any]]) -> Sequence[float]:
    scores: Sequence[float] = (calibrations.get(record.profile_digest or "") or {}).get("scores") or ()
    return scores


def _facts(records: Sequence[Record], place: str) -> list[tuple[str, str]]:
    """List what was inspected, with what, and when, for the head of the page."""
    detectors = _unique(f"{r.detector.name} {r.detector.version}" for r in records if r.detector)
    rates = _unique(wording.percent(r.calibration.false_alarm_rate) for r in records if r.calibration)
    times = sorted(record.time for record in records if record.time)
    facts = [
        ("Inspected", place),
        ("Profile", ", ".join(_unique(r.profile for r in records if r.profile))),
        ("Detector", ", ".join(detectors)),
        ("Asked false-alarm rate", ", ".join(rates)),
        ("Time", wording.period(times)),
    ]
    return [(name, wording.printable(value)) for name, value in facts if value]


def _bases(records: Sequence[Record]) -> list[tuple[int, Record]]:
    """Give one record for each different basis of decisions, with how many rest on it."""
    groups: dict[tuple[object, ...], list[Record]] = {}
    for record in records:
        if outcome(record) != "error":
            basis = record.calibration and record.calibration.model_copy(update={"instability": 0.0})
            key = (record.profile, record.profile_digest, record.detector, record.policy, basis)
            groups.setdefault(key, []).append(record)
    return [(len(group), group[0]) for group in groups.values()]


def _unique(values: Iterable[str]) -> list[str]:
    return sorted(set(values))
