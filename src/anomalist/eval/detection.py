"""Anomaly detection benchmark: learn from normal pictures or none, inspect the rest, time it.

Contenders are detectors at each effort. Tables show one result, or mean and standard deviation over seeds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from pydantic import Field

from anomalist import __version__
from anomalist.agent.models.selection import EVIDENCE
from anomalist.eval.image_datasets import Split, load_folder, split_dataset
from anomalist.eval.metrics import Interval, MeanStd, mean_std
from anomalist.eval.scoring import DetectionMetrics, score_detection
from anomalist.types.common import Frozen
from anomalist.types.image import Inspection
from anomalist.vision.detectors.base import Progress, no_progress
from anomalist.vision.evidence import EvidenceSource

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text


EvidenceSourceFactory = Callable[[Split, int, Path, Progress], EvidenceSource]
"""Makes an evidence source from a split, a seed, an empty folder to write to and a progress callback."""

ENSEMBLE, SURFACE, ZERO_SHOT, UNLABELLED = "ensemble", "surface", "zero-shot", "unlabelled"


@dataclass(frozen=True)
class Contender:
    """A detector configuration that is measured.

    Parameters
    ----------
    name : as it goes into results.
    make : makes the evidence source; its time counts as learning time.
    effort : of learning; None for detectors that don't learn from normal pictures.
    workers : processes that inspect.
    """

    name: str
    make: EvidenceSourceFactory
    effort: str | None = None
    workers: int = 1


def contenders(
    detectors: Sequence[str], efforts: Sequence[str], train_normals: int, false_alarm_rate: float | None
) -> list[Contender]:
    """Every detector at every effort that applies to it, each once.

    Parameters
    ----------
    detectors : "ensemble" and "surface" learn from normals, and without any are "zero-shot", which compares
        the patches of a picture with each other; "unlabelled" compares the test pictures with each other.
    efforts : of learning; for those that learn only.
    train_normals : number of normals to learn from.
    false_alarm_rate : None for the default.
    """
    found: dict[tuple[str, str | None], Contender] = {}
    for name in detectors:
        if name in (ENSEMBLE, SURFACE) and train_normals:
            for effort in efforts:
                make = partial(_make_profile_evidence, detector=name, effort=effort, rate=false_alarm_rate)
                found.setdefault((name, effort), Contender(name, make, effort))
        elif name == UNLABELLED:
            found.setdefault((name, None), Contender(name, _make_unlabelled))
        else:
            found.setdefault((ZERO_SHOT, None), Contender(ZERO_SHOT, _make_zero_shot))
    return list(found.values())


def _make_profile_evidence(
    parts: Split,
    seed: int,
    folder: Path,
    progress: Progress,
    *,
    detector: str,
    effort: str,
    rate: float | None,
) -> EvidenceSource:
    from anomalist.pipeline import learn
    from anomalist.vision.evidence import ProfileEvidence, validated_rate

    profile = learn(
        [item.path for item in parts.train],
        profile=folder / "profile",
        groups={str(item.path): item.group for item in parts.train} if parts.grouped else None,
        detector=detector,
        effort=effort,
        seed=seed,
        outliers="keep",
        progress=progress,
    )
    return ProfileEvidence(profile, validated_rate(profile, rate))


def _make_zero_shot(parts: Split, seed: int, folder: Path, progress: Progress) -> EvidenceSource:
    from anomalist.vision.detectors.unsupervised import ZeroShotEvidence

    return ZeroShotEvidence()


def _make_unlabelled(parts: Split, seed: int, folder: Path, progress: Progress) -> EvidenceSource:
    from anomalist.vision.detectors.unsupervised import MutualEvidence

    return MutualEvidence([item.path for item in parts.test], seed, progress)


class DetectionResult(DetectionMetrics):
    """`DetectionMetrics` with run time, memory and settings."""

    data: str = Field(description="name of the data folder")
    contender: str = Field(description="detector: ensemble, surface, zero-shot or unlabelled")
    seed: int
    effort: str | None = Field(description="of learning; None for detectors that don't learn from normals")
    learn_seconds: float
    ms_per_image: float | None = Field(description="wall time of inspecting")
    peak_memory_mb: float | None = Field(
        description="largest resident size of this process so far, 10⁶ bytes"
    )
    threads: int
    workers: int = Field(1, description="processes that inspected; then the time has their start in it")
    version: str = __version__


def evaluate_detection(
    data: Path,
    contender: Contender,
    *,
    train_normals: int,
    groups: Path | None = None,
    seed: int = 0,
    progress: Progress = no_progress,
) -> DetectionResult:
    """Train a contender on some of the good pictures of a folder and score it on the others.

    Parameters
    ----------
    data : folder with ``good/``, one folder for each kind of defect and ``ground_truth/``.
    contender : one that doesn't learn is tested on the same pictures as the others.
    train_normals : least number of good pictures to learn from; whole groups are taken.
    groups : CSV file ``image,group``; without it the split is by picture.
    seed : of the split, of learning and of the bootstrap.
    progress : called with the current step, the number done and the total.

    Raises AnomalistError where the folder, the groups or the false-alarm rate are invalid.
    """
    import torch

    from anomalist.pipeline import Inspector

    parts = split_dataset(load_folder(data, groups), train_normals, seed)
    if contender.effort is None:
        parts = replace(parts, train=())
    with TemporaryDirectory(prefix="anomalist-eval-") as folder:
        start = time.perf_counter()
        evidence = contender.make(parts, seed, Path(folder), progress)
        inspector = Inspector(evidence, model=EVIDENCE, memory=False, workers=contender.workers)
        learn_seconds = time.perf_counter() - start
        watch = _Stopwatch()
        inspections = watch.over(inspector.inspect_many(item.path for item in parts.test))
        metrics = score_detection(parts, _with_progress(inspections, len(parts.test), progress), seed)
    return DetectionResult(
        **dict(metrics),
        data=data.resolve().name,
        contender=contender.name,
        seed=seed,
        effort=contender.effort,
        learn_seconds=learn_seconds,
        ms_per_image=1000 * watch.seconds / watch.count if watch.count else None,
        peak_memory_mb=_peak_memory_mb(),
        threads=torch.get_num_threads(),
        workers=contender.workers,
    )


def compare_detection(
    data: Path,
    contenders: Sequence[Contender],
    *,
    train_normals: int,
    groups: Path | None = None,
    seeds: Sequence[int] = (0,),
    progress: Progress = no_progress,
) -> Iterator[DetectionResult]:
    """Measure every contender with every distinct seed; results are yielded one by one.

    See `evaluate_detection` for the parameters.
    """
    for contender in contenders:
        for seed in dict.fromkeys(seeds):
            yield evaluate_detection(
                data, contender, train_normals=train_normals, groups=groups, seed=seed, progress=progress
            )


def _with_progress(inspections: Iterator[Inspection], total: int, progress: Progress) -> Iterator[Inspection]:
    for done, inspection in enumerate(inspections, start=1):
        progress("inspecting", done, total)
        yield inspection


@dataclass
class _Stopwatch:
    """Measures the time spent inside an iterator, without that of its consumer."""

    seconds: float = 0.0
    count: int = 0

    def over(self, inspections: Iterator[Inspection]) -> Iterator[Inspection]:
        while True:
            start = time.perf_counter()
            inspection = next(inspections, None)
            self.seconds += time.perf_counter() - start
            if inspection is None:
                return
            self.count += 1
            yield inspection


def _peak_memory_mb() -> float | None:
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6  # bytes on macOS, KiB elsewhere


AVERAGED_METRICS = (
    "image_auroc", "image_average_precision", "pixel_auroc", "aupro", "aupimo", "aupimo_median",
    "aupimo_zero_rate", "peak_on_defect", "peak_chance", "mask_iou_median", "empty_mask_rate",
    "normal_mask_rate", "normal_pixel_rate", "false_alarm_rate", "found_at_asked_rate",
    "oracle_at_measured_rate", "oracle_at_asked_rate", "calibration_efficiency", "undecided_rate",
    "undecided_rate_normals", "undecided_rate_defects", "learn_seconds", "ms_per_image",
)  # fmt: skip
"""Fields of a result that are averaged over seeds."""

AVERAGED_METRICS_BY_DEFECT = (
    "image_auroc_by_defect",
    "pixel_auroc_by_defect",
    "aupro_by_defect",
    "peak_on_defect_by_defect",
    "peak_chance_by_defect",
    "mask_iou_median_by_defect",
    "empty_mask_rate_by_defect",
)
"""Fields with a number for each kind of defect that are averaged over seeds."""


class SeedSummary(Frozen):
    """The measures of one contender over its seeds; None where undefined for every seed."""

    data: str
    contender: str
    effort: str | None
    seeds: tuple[int, ...]
    measures: dict[str, MeanStd | None]
    by_defect: dict[str, dict[str, MeanStd | None]] = Field(description="measure, then kind of defect")


def group_runs_by_contender(results: Sequence[DetectionResult]) -> list[list[DetectionResult]]:
    """Results grouped by contender and effort, in order of first occurrence."""
    runs: dict[tuple[str, str | None], list[DetectionResult]] = {}
    for result in results:
        runs.setdefault((result.contender, result.effort), []).append(result)
    return list(runs.values())


def summarize_seeds(runs: Sequence[DetectionResult]) -> SeedSummary:
    """Mean and standard deviation of every measure over the runs of one contender, at least one."""
    kinds = sorted({kind for run in runs for kind in run.n_by_defect})
    return SeedSummary(
        data=runs[0].data,
        contender=runs[0].contender,
        effort=runs[0].effort,
        seeds=tuple(run.seed for run in runs),
        measures={name: mean_std([getattr(run, name) for run in runs]) for name in AVERAGED_METRICS},
        by_defect={
            name: {kind: mean_std([getattr(run, name).get(kind) for run in runs]) for kind in kinds}
            for name in AVERAGED_METRICS_BY_DEFECT
        },
    )


Result = DetectionResult


@dataclass(frozen=True)
class _Row:
    """One row of a table: how to get the value, format it, and describe its basis."""

    name: str
    value: Callable[[Result], float | None]
    form: Callable[[float | None], str]
    rests_on: Callable[[Result], str]
    interval: Callable[[Result], Interval | None] = lambda _: None


def render(results: Sequence[DetectionResult]) -> RenderableType:
    """Results as a table with notes below: one in detail, several in a column each.

    Several seeds of one contender get an extra column of means; with several contenders only means are shown.
    """
    return _single_table(results[0]) if len(results) == 1 else _comparison_table(results)


def _single_table(result: Result) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    title = Text(f"Detection on {result.data}: {result.detector or 'nothing judged'}")
    table = Table(title=title, show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column(style="dim")
    for row in _rows([result]):
        interval = row.interval(result)
        span = f"95 % interval {' to '.join(map(row.form, interval))}; " if interval else ""
        table.add_row(Text(row.name), row.form(row.value(result)), Text(span + row.rests_on(result)))
    return Group(table, *(Text(f"Note: {note}", style="yellow") for note in result.notes))


def _comparison_table(results: Sequence[Result]) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    contenders = group_runs_by_contender(results)
    columns = [[result] for result in results] if len(contenders) == 1 else []
    if not columns or len(results) > len(contenders):
        columns += contenders
    table = Table(title=Text(f"Detection on {results[0].data}"))
    table.add_column(style="bold")
    for runs in columns:
        table.add_column(Text(_heading(runs)), justify="right")
    for row in _rows(results):
        table.add_row(Text(row.name), *(_cell(row, runs) for runs in columns))
    notes = dict.fromkeys(
        f"Note: {_heading([result])}: {note}" for result in results for note in result.notes
    )
    return Group(table, *(Text(note, style="yellow") for note in notes))


def _heading(runs: Sequence[Result]) -> str:
    """Heading of a column: contender, effort, and seed or number of seeds."""
    run = f"seed {runs[0].seed}" if len(runs) == 1 else f"mean of {len(runs)} seeds"
    return " ".join(filter(None, (runs[0].contender, runs[0].effort, run)))


def _cell(row: _Row, runs: Sequence[Result]) -> Text:
    """A value with its interval below, or a mean with the standard deviation over seeds."""
    from rich.text import Text

    over = mean_std(row.value(run) for run in runs)
    cell = Text(row.form(over.mean if over else None))
    interval = row.interval(runs[0]) if len(runs) == 1 else None
    if interval:
        cell.append(f"\n{' to '.join(map(row.form, interval))}", "dim")
    elif over and over.std is not None:
        cell.append(f"\n± {row.form(over.std)}", "dim")
    return cell


def _rows(results: Sequence[Result]) -> Iterator[_Row]:
    yield _Row(
        "image AUROC", lambda r: r.image_auroc, _format_number, _pictures, lambda r: r.image_auroc_interval
    )
    for kind in sorted({kind for result in results for kind in result.n_by_defect}):
        yield _by_defect(kind)
    yield _Row(
        "pixel AUROC",
        lambda r: r.pixel_auroc,
        _format_number,
        lambda r: f"{r.n_empty_masks} empty masks left out",
        lambda r: r.pixel_auroc_interval,
    )
    yield _Row(
        "AUPRO", lambda r: r.aupro, _format_number, lambda _: "per-region overlap up to 30 % false positives"
    )
    yield _Row("AUPIMO", lambda r: r.aupimo, _format_number, _aupimo)
    yield _Row("peak on defect", lambda r: r.peak_on_defect, _format_percent, _peak)
    yield _Row("mask IoU", lambda r: r.mask_iou_median, _format_number, _masks)
    yield _Row("masks on normals", lambda r: r.normal_mask_rate, _format_percent, _normal_masks)
    yield _Row(
        "false alarms",
        lambda r: r.false_alarm_rate,
        _format_percent,
        lambda r: f"asked {_format_percent(r.asked_false_alarm_rate)}",
        lambda r: r.false_alarm_rate_interval,
    )
    yield _Row("found", lambda r: r.found_at_asked_rate, _format_percent, _found)
    yield _Row(
        "calibration efficiency",
        lambda r: r.calibration_efficiency,
        _format_number,
        lambda _: "found, divided by what the best threshold finds at the measured rate",
    )
    yield _Row("undecided", lambda r: r.undecided_rate, _format_percent, _undecided)
    yield _Row(
        "not judged",
        lambda r: r.n_errors,
        _format_with_unit(""),
        lambda _: "errors, in none of the figures above",
    )
    yield _Row("learning", lambda r: r.learn_seconds, _format_with_unit(" s"), _learning)
    yield _Row(
        "inspecting",
        lambda r: r.ms_per_image,
        _format_with_unit(" ms"),
        lambda r: f"a picture, {r.threads} threads",
    )
    yield _Row(
        "peak memory", lambda r: r.peak_memory_mb, _format_with_unit(" MB"), lambda r: f"version {r.version}"
    )


def _by_defect(kind: str) -> _Row:
    def rests_on(result: Result) -> str:
        pixels = _format_number(result.pixel_auroc_by_defect.get(kind))
        overlap = _format_number(result.aupro_by_defect.get(kind))
        peak = _format_percent(result.peak_on_defect_by_defect.get(kind))
        chance = _format_percent(result.peak_chance_by_defect.get(kind))
        iou = _format_number(result.mask_iou_median_by_defect.get(kind))
        empty = _format_percent(result.empty_mask_rate_by_defect.get(kind))
        return (
            f"{result.n_by_defect.get(kind, 0)} pictures; pixel AUROC {pixels}, AUPRO {overlap}; "
            f"peak on defect {peak}, chance {chance}; mask IoU {iou}, {empty} empty"
        )

    return _Row(
        f"  {kind}",
        lambda r: r.image_auroc_by_defect.get(kind),
        _format_number,
        rests_on,
        lambda r: r.image_auroc_by_defect_interval.get(kind),
    )


def _pictures(result: Result) -> str:
    normal = result.n_test_normals
    return f"{normal} normal, {result.n_test - normal} defective pictures, split by {result.split}"


def _aupimo(result: Result) -> str:
    median, missed = _format_number(result.aupimo_median), _format_percent(result.aupimo_zero_rate)
    return f"mean over defective pictures, median {median}, {missed} of them at 0"


def _peak(result: Result) -> str:
    return f"highest pixel of the map, chance {_format_percent(result.peak_chance)}"


def _masks(result: Result) -> str:
    return f"median over {result.masks.used} masks, {_format_percent(result.empty_mask_rate)} found empty"


def _normal_masks(result: Result) -> str:
    return f"{_format_percent(result.normal_pixel_rate)} of all pixels of normal pictures"


def _found(result: Result) -> str:
    measured, asked = map(_format_percent, (result.oracle_at_measured_rate, result.oracle_at_asked_rate))
    return f"best threshold: {measured} at the measured false-alarm rate, {asked} at the asked one"


def _undecided(result: Result) -> str:
    on_normals, on_defects = result.undecided_rate_normals, result.undecided_rate_defects
    return f"normals {_format_percent(on_normals)}, defects {_format_percent(on_defects)}"


def _learning(result: Result) -> str:
    effort = f", effort {result.effort}" if result.effort else ""
    return f"{result.n_train} good pictures{effort}, seed {result.seed}"


def _format_number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _format_percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.3g} %"


def _format_with_unit(unit: str) -> Callable[[float | None], str]:
    return lambda value: "-" if value is None else f"{value:.0f}{unit}"
