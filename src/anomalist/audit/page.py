"""Pages of the audit, each one self-contained HTML file: a decision, a period, and the map of probes.

A decision page replays the decision with the versions of then, for its pictures and for what its reasons are
worth; where that can't be done, it says why and shows what was recorded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from anomalist.agent.reasoning.recall import region_vector
from anomalist.audit.clip_necessity import ClipReasons, audit_clip_reasons
from anomalist.audit.decision import Step, decision_steps
from anomalist.audit.findings import Verification
from anomalist.audit.log import audit_folder
from anomalist.audit.necessity import ReasonsAudit, places_of_verdict, try_reasons
from anomalist.audit.probes import CONTRASTS, PLACES, SIZES, ProbeMap
from anomalist.audit.promises import Promise, calibration_scores, stored_profile, weigh_promises
from anomalist.audit.reading import LogEntry, Period, read_entries, verify_log
from anomalist.audit.replay import Replayer, decision_record, find_medium
from anomalist.audit.without import Without, verdicts_without
from anomalist.errors import AnomalistError
from anomalist.report.document import PageHead, render_html
from anomalist.report.expert_figures import draw_expert_maps
from anomalist.report.figures import (
    LARGE_SIDE,
    Figure,
    RecordArrays,
    colour_scale_uri,
    encode_figure,
    heat_figure,
    overlay_figure,
)
from anomalist.report.plots import CalibrationPlot, calibration_plot
from anomalist.report.wording import main_reason, number, percent, severity_word
from anomalist.storage.files import write_atomically
from anomalist.types.clip import ClipRecord
from anomalist.types.common import UInt8Array
from anomalist.types.image import Inspection, Record, Region, is_alarm
from anomalist.vision.media.images import load_image
from anomalist.vision.regions import crop_window

_CROP_SIDE = 200  # pixels, of crops side by side
_MAX_ALIKE = 3
_MAX_TESTED_SECONDS = 300  # of a clip, which is triaged a dozen times for its page
_RATES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)


@dataclass(frozen=True)
class Neighbour:
    """A crop beside that of the region, with words; ``figure`` is None where there is no picture."""

    words: str
    figure: Figure | None


@dataclass(frozen=True)
class DecisionView:
    """What a decision page shows beside its steps."""

    overlay: Figure | None
    heat: Figure | None
    heat_range: tuple[float, float] | None
    experts: tuple[tuple[str, Figure], ...]
    neighbours: tuple[Neighbour, ...]
    plot: CalibrationPlot | None
    normals: int
    reasons: ReasonsAudit | None
    rates: tuple[tuple[str, str], ...]
    problems: tuple[str, ...]
    clip_reasons: ClipReasons | None = None
    without: tuple[Without, ...] = ()


def write_decision_page(entry: LogEntry, target: Path, folder: Path | None = None) -> Path:
    """Write the page of one decision; returns its path.

    Raises DataError for an entry that is no decision, or where the file can't be written.
    """
    place = audit_folder() if folder is None else folder
    record = decision_record(entry)
    steps = decision_steps(entry, place)
    view = _decision_view(entry, record, place)
    page = {
        "steps": steps,
        "view": view,
        "record": record,
        "entry": entry,
        "scale": colour_scale_uri(),
        "versions": _versions(steps),
    }
    return write_atomically(target, render_html(_decision_head(entry, record), "decision.html.j2", page))


def _decision_head(entry: LogEntry, record: Record | ClipRecord) -> PageHead:
    name = Path(record.source).name
    facts = {
        "Entry": entry.id,
        "Time": entry.time[:19].replace("T", " ") + " UTC",
        "Judged against": str(record.profile if isinstance(record, Record) else record.scene),
    }
    label = record.label if record.judged else "not judged"
    if isinstance(record, Record):
        severity = f", {severity_word(record.severity or 0)}" if record.severity else ""
        kind = f", {record.kind}" if record.kind else ""
        facts |= {"Score": number(record.score), "p-value": number(record.p_value)}
        if record.calibration is not None:
            facts["False-alarm rate"] = percent(record.calibration.false_alarm_rate)
        lead = main_reason(record)
        headline = f"{name}: {label}{severity}{kind}"
    else:
        events = f"{len(record.events)} event{'' if len(record.events) == 1 else 's'}"
        headline = f"{name}: {label}, {events}"
        lead = record.error or record.why_undecided or ""
    return PageHead("Decision", headline, lead, tuple(facts.items()), (record.version,))


def _versions(steps: Iterable[Step]) -> tuple[tuple[str, str], ...]:
    return tuple(dict.fromkeys(pair for step in steps for pair in step.versions))


def _decision_view(entry: LogEntry, record: Record | ClipRecord, folder: Path) -> DecisionView:
    replayer = Replayer(folder)
    if isinstance(record, ClipRecord):
        return _clip_view(entry, record, replayer)
    problems: list[str] = []
    scores = calibration_scores(stored_profile(folder, str(record.profile), str(record.calibration_digest)))
    plot = calibration_plot(record, scores) if scores else None
    rates = tuple(_at_other_rates(record))
    try:
        inspector, inspection = replayer.inspect(entry)
    except AnomalistError as error:
        problems.append(f"The decision could not be taken again for this page: {error}")
        return DecisionView(None, None, None, (), (), plot, len(scores), None, rates, tuple(problems))
    if inspection.record.label != record.label:
        problems.append(
            f"Taken again, it is {inspection.record.label}: see anomalist audit replay {entry.id}"
        )
    media, evidence = inspection.media, inspection.evidence
    assert media is not None and evidence is not None  # what was inspected has both
    layers = RecordArrays(media.pixels, evidence.score_map, evidence.mask, ())
    top = max([float(evidence.score_map.max()), *(region.peak for region in evidence.regions)])
    heat_range = (float(np.median(evidence.score_map)), top)
    reasons = None
    regions = places_of_verdict(record, evidence)
    try:
        reasons = try_reasons(inspector, media, evidence, regions)
    except AnomalistError as error:
        problems.append(f"Its reasons could not be tested: {error}")
    crop = inspector.evidence_source.normal_crop
    neighbours = _neighbours(inspection, crop, entry, folder) if evidence.regions else ()
    return DecisionView(
        overlay=overlay_figure(inspection.record, layers, heat_range, LARGE_SIDE, labelled=True),
        heat=heat_figure(layers, heat_range),
        heat_range=heat_range,
        experts=draw_expert_maps(inspection.record, evidence.expert_maps),
        neighbours=tuple(neighbours),
        plot=plot,
        normals=len(scores),
        reasons=reasons,
        rates=rates,
        problems=tuple(problems),
        without=verdicts_without(entry, replayer),
    )


def _clip_view(entry: LogEntry, record: ClipRecord, replayer: Replayer) -> DecisionView:
    """What is tested of a clip; one that is long is left to the command that says so."""
    problems: list[str] = []
    reasons: ClipReasons | None = None
    less: tuple[Without, ...] = ()
    if record.events and (record.duration or 0) > _MAX_TESTED_SECONDS:
        problems.append(
            f"Its reasons were not tested for this page, as it is long: anomalist audit reasons {entry.id}"
        )
    elif record.events:
        try:
            reasons = audit_clip_reasons(entry, replayer)
            less = verdicts_without(entry, replayer)
        except AnomalistError as error:
            problems.append(f"Its reasons could not be tested: {error}")
    return DecisionView(
        None, None, None, (), (), None, 0, None, (), tuple(problems), clip_reasons=reasons, without=less
    )


def _at_other_rates(record: Record) -> Iterable[tuple[str, str]]:
    about, p = record.calibration, record.p_value
    if about is None or p is None:
        return
    lowest = 1 / (about.groups + 1)
    for rate in sorted({*_RATES, about.false_alarm_rate}):
        asked = " (asked)" if rate == about.false_alarm_rate else ""
        if rate < lowest * (1 - 1e-9):
            yield f"{percent(rate)}{asked}", "out of reach"
        else:
            yield f"{percent(rate)}{asked}", "alarm" if is_alarm(p, rate) else "no alarm"


def _neighbours(inspection: Inspection, crop: Any, entry: LogEntry, folder: Path) -> list[Neighbour]:  # noqa: ANN401
    """The leading region, the nearest normal patch, and the regions of the log that are most alike."""
    media, record = inspection.media, inspection.record
    assert media is not None
    region = record.regions[0]
    found = [Neighbour(f"{region.id} of this picture", _crop_figure(media.pixels, region))]
    normal = crop(media, region) if crop is not None else None
    words = "nearest normal patch" if normal is not None else "the nearest normal picture is gone"
    found.append(Neighbour(words, None if normal is None else _scaled(normal)))
    for similarity, other, alike in _similar_findings(region, entry, folder):
        try:
            pixels = load_image(find_medium(folder, other)).pixels
            figure = _crop_figure(pixels, alike)
        except AnomalistError:
            figure = None
        said = f"{alike.id} of {Path(other.source).name}, {other.label}, similarity {similarity:.2f}"
        found.append(Neighbour(said, figure))
    return found


def _similar_findings(region: Region, entry: LogEntry, folder: Path) -> list[tuple[float, Record, Region]]:
    """Leading regions of other anomalous pictures of the same profile, the most alike first."""
    mine = region_vector(region)
    profile = entry.content["record"].get("profile")
    own = entry.content["record"].get("sha256")
    best: dict[str, tuple[float, Record, Region]] = {}
    for other in read_entries(folder, kinds=["inspection"]):
        row = other.content.get("record") or {}
        if row.get("profile") != profile or row.get("label") != "anomalous" or row.get("sha256") == own:
            continue
        if not row.get("regions"):
            continue
        record = Record.model_validate(row)
        alike = float(region_vector(record.regions[0]) @ mine)
        best[str(record.sha256)] = (alike, record, record.regions[0])
    return sorted(best.values(), key=lambda each: -each[0])[:_MAX_ALIKE]


def _crop_figure(pixels: UInt8Array, region: Region) -> Figure:
    left, top, right, bottom = crop_window(region.box, (pixels.shape[0], pixels.shape[1]))
    return _scaled(pixels[top:bottom, left:right])


def _scaled(pixels: UInt8Array) -> Figure:
    from anomalist.vision.drawing import thumbnail

    return encode_figure(np.ascontiguousarray(thumbnail(np.ascontiguousarray(pixels), max_side=_CROP_SIDE)))


# A period


@dataclass(frozen=True)
class PeriodView:
    """What the page of a period shows."""

    counts: tuple[tuple[str, int], ...]
    promises: tuple[Promise, ...]
    verification: Verification
    alarms: tuple[tuple[str, str, str, str], ...]
    changes: tuple[tuple[str, str, str, str], ...]
    kinds: tuple[tuple[str, int], ...]


_MAX_ALARMS = 500
_CHANGES = ("rule", "setting", "learning", "feedback", "review", "tombstone")


def write_period_page(
    target: Path, folder: Path | None = None, *, profile: str = "", since: str = "", until: str = ""
) -> Path:
    """Write the page of a period: what was decided, promised and changed; returns its path.

    Raises DataError where there is no log, or the file can't be written.
    """
    place = audit_folder() if folder is None else folder
    outcomes: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    alarms, changes, first, last = [], [], "", ""
    period = Period(since, until)
    for entry in read_entries(place):
        if not period.holds(entry.time):
            continue
        record = entry.part("record")
        if profile and profile not in (
            record.get("profile"),
            record.get("scene"),
            entry.content.get("profile"),
        ):
            continue
        kinds[entry.kind] += 1
        first, last = first or entry.time, entry.time
        if entry.kind in ("inspection", "clip"):
            outcome = str(record.get("label") or "error") if entry.body is not None else "removed"
            outcomes[outcome] += 1
            if outcome in ("anomalous", "undecided"):
                what = str(record.get("kind") or record.get("why_undecided") or "")
                alarms.append(
                    (entry.id, _short(entry.time), Path(entry.source).name, f"{outcome}: {what}".rstrip(": "))
                )
        elif entry.kind in _CHANGES:
            changes.append((entry.id, _short(entry.time), entry.kind, _change_words(entry)))
    promises = weigh_promises(place, profile=profile, since=since, until=until)
    view = PeriodView(
        counts=tuple(
            (name, outcomes[name]) for name in ("anomalous", "undecided", "normal", "error", "removed")
        ),
        promises=promises,
        verification=verify_log(place),
        alarms=tuple(alarms[:_MAX_ALARMS]),
        changes=tuple(changes),
        kinds=tuple(kinds.most_common()),
    )
    decided = sum(outcomes.values())
    from anomalist import __version__

    head = PageHead(
        title="Audit of a period",
        headline=f"{decided:,} decisions, {outcomes['anomalous']:,} anomalous",
        lead=f"{_short(first)} to {_short(last)} UTC" if first else "Nothing was written in this period.",
        facts=tuple(
            {
                "Profile": profile or "all",
                "Log": view.verification.log,
                "Entries in the log": f"{view.verification.entries:,}",
            }.items()
        ),
        versions=(__version__,),
    )
    page = {"view": view, "shown": len(view.alarms), "of": len(alarms)}
    return write_atomically(target, render_html(head, "period.html.j2", page))


def _short(time: str) -> str:
    return time[:16].replace("T", " ")


def _change_words(entry: LogEntry) -> str:
    content: Mapping[str, Any] = entry.content
    if entry.body is None:
        return "removed"
    match entry.kind:
        case "rule":
            rule = content.get("rule") or {}
            return f"{content.get('what')} {rule.get('id')} version {rule.get('version')}: {rule.get('text')}"
        case "feedback":
            case = content.get("case") or {}
            undone = " (taken back)" if content.get("undone") else ""
            return f"{case.get('who')} on {Path(str(case.get('source'))).name}: {case.get('action')}{undone}"
        case "learning":
            return f"{content.get('name')} learned, {str(content.get('profile_digest'))[:12]}"
        case "tombstone":
            return f"{len(content.get('positions') or ())} contents removed: {content.get('why')}"
        case "review":
            return f"{Path(str(content.get('about'))).name} is {content.get('answer')}"
    return str(content.get("what") or "")


# Probes


@dataclass(frozen=True)
class Cell:
    """One cell of a map: its share as a number and a colour, and its interval in words."""

    share: float | None
    text: str
    detail: str


def write_probe_page(found: ProbeMap, target: Path) -> Path:
    """Write the map of what a profile misses as a page; returns its path."""
    grid = [[_cell(each) for each in row] for row in found.grid()]
    places = [[_cell(found.found(place=place)) for place in PLACES[at : at + 3]] for at in (0, 3, 6)]
    every = found.found()
    smallest = found.smallest_found()
    from anomalist import __version__

    head = PageHead(
        title="Blind probes",
        headline=f"{found.profile} finds {percent(every.share or 0)} of {len(found.probes)} painted defects",
        lead=f"At a false-alarm rate of {percent(found.rate)}. Of the same pictures without a defect, "
        f"{found.untouched} are alarms. The place is right for {found.located} of those found.",
        facts=tuple(
            {
                "Profile": f"{found.profile} {found.digest[:12]}",
                "Probes": str(len(found.probes)),
                "Normal pictures": str(found.untouched.of),
                "Seed": str(found.seed),
            }.items()
        ),
        versions=(__version__,),
    )
    page = {
        "grid": list(zip([percent(each) for each in reversed(CONTRASTS)], grid, strict=True)),
        "sizes": [percent(each) for each in SIZES],
        "places": places,
        "smallest": [(percent(at), None if size is None else percent(size)) for at, size in smallest.items()],
    }
    return write_atomically(target, render_html(head, "probes.html.j2", page))


def _cell(interval: Any) -> Cell:  # noqa: ANN401
    if interval.share is None:
        return Cell(None, "–", "no probe")
    return Cell(
        interval.share,
        f"{100 * interval.share:.0f} %",
        f"{100 * interval.low:.0f}–{100 * interval.high:.0f} %, n = {interval.of}",
    )


def probe_json(found: ProbeMap) -> dict[str, Any]:
    """The map as what JSON can hold, with every probe."""
    from dataclasses import asdict

    return {
        **asdict(found),
        "located": asdict(found.located),
        "sizes": SIZES,
        "contrasts": CONTRASTS,
        "grid": [
            {"size": size, "contrast": contrast, **asdict(found.found(size, contrast))}
            for contrast in CONTRASTS
            for size in SIZES
        ],
        "places": {place: asdict(found.found(place=place)) for place in PLACES},
        "smallest_found": {str(at): size for at, size in found.smallest_found().items()},
    }
