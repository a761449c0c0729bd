"""Anomaly detection benchmark: learn from normal pictures or none, inspect the rest, time it.

Contenders are detectors at each effort.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol, runtime_checkable

from pydantic import Field

from anomalist import __version__
from anomalist.agent.models.selection import EVIDENCE
from anomalist.composition import InspectionSettings, Measure
from anomalist.errors import DataError
from anomalist.eval.datasets.layouts import BrokenSet, LabelledSet
from anomalist.eval.datasets.leaks import find_leaks
from anomalist.eval.datasets.opening import open_image_sets
from anomalist.eval.image_datasets import Split, load_folder, split_dataset
from anomalist.eval.metrics import MeanStd, mean_std
from anomalist.eval.result_cache import ResultCache, content_key, files_digest
from anomalist.eval.saved_runs import SavedRun, ScoredPicture
from anomalist.eval.scoring import DetectionMetrics, score_detection
from anomalist.types.common import Frozen
from anomalist.types.image import Inspection
from anomalist.vision.detectors.base import Progress, no_progress
from anomalist.vision.evidence import EvidenceSource, ProfileEvidence, validated_rate
from anomalist.vision.media.images import source_of

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
    rate : false-alarm rate that is asked for; None for the default.
    workers : processes that inspect.
    measure : measures in place of these, see `InspectionSettings`.
    learns : whether it learns from normal pictures although it has no effort.
    made_by : whatever else its results depend on.
    """

    name: str
    make: EvidenceSourceFactory
    effort: str | None = None
    rate: float | None = None
    workers: int = 1
    learns: bool = False
    made_by: str = ""
    measure: Measure | None = None


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
                make = partial(make_profile_evidence, choice=ProfileChoice(name, effort, false_alarm_rate))
                found.setdefault((name, effort), Contender(name, make, effort, false_alarm_rate))
        elif name == UNLABELLED:
            found.setdefault((name, None), Contender(name, _make_unlabelled))
        else:
            found.setdefault((ZERO_SHOT, None), Contender(ZERO_SHOT, _make_zero_shot))
    return list(found.values())


@dataclass(frozen=True)
class ProfileChoice:
    """What a profile is learned with: detector, effort, asked rate, folder of labelled defects."""

    detector: str
    effort: str
    rate: float | None = None
    defects: Path | None = None


def make_profile_evidence(
    parts: Split, seed: int, folder: Path, progress: Progress, *, choice: ProfileChoice
) -> ProfileEvidence:
    """Learn a profile from the training part of a split; its parameters are those of a factory."""
    from anomalist.pipeline import learn

    profile = learn(
        [item.path for item in parts.train],
        profile=folder / "profile",
        groups={str(item.path): item.group for item in parts.train} if parts.grouped else None,
        detector=choice.detector,
        effort=choice.effort,
        seed=seed,
        defects=choice.defects,
        outliers="keep",
        progress=progress,
    )
    return ProfileEvidence(profile, validated_rate(profile, choice.rate))


def _make_zero_shot(parts: Split, seed: int, folder: Path, progress: Progress) -> EvidenceSource:
    from anomalist.vision.detectors.unsupervised import ZeroShotEvidence

    return ZeroShotEvidence()


def _make_unlabelled(parts: Split, seed: int, folder: Path, progress: Progress) -> EvidenceSource:
    from anomalist.vision.detectors.unsupervised import MutualEvidence

    return MutualEvidence([item.path for item in parts.test], seed, progress)


@dataclass(frozen=True)
class MeasuredCost:
    """What learning and inspecting cost where that was not done in this process, or not one by one."""

    learn_seconds: float
    ms_per_image: float
    peak_memory_mb: float | None


@runtime_checkable
class CostlySource(Protocol):
    """An evidence source that says itself what it cost, and whether it has anomaly maps."""

    cost: MeasuredCost

    @property
    def gives_maps(self) -> bool:
        """Whether its maps say where something is."""
        ...


class DetectionResult(DetectionMetrics):
    """`DetectionMetrics` with run time, memory and settings."""

    data: str = Field(description="name of the data folder")
    contender: str = Field(description="detector: ensemble, surface, zero-shot, unlabelled, or a peer")
    seed: int
    effort: str | None = Field(description="of learning; None for detectors that don't learn from normals")
    learn_seconds: float
    ms_per_image: float | None = Field(description="wall time of inspecting")
    peak_memory_mb: float | None = Field(
        description="largest resident size of the process meanwhile, or so far, 10⁶ bytes"
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
    parts = split_dataset(load_folder(data, groups), train_normals, seed)
    run = run_split(parts, contender, name=data.resolve().name, seed=seed, progress=progress)
    return DetectionResult.model_validate(run.result)


def run_split(
    parts: Split,
    contender: Contender,
    *,
    name: str,
    seed: int = 0,
    notes: Sequence[str] = (),
    progress: Progress = no_progress,
) -> SavedRun:
    """Train a contender on the training part of a split and score it on its test part.

    Leaks between the parts are looked for and noted.

    Parameters
    ----------
    name : of the data, as it goes into the result.
    notes : on the data.
    parts, contender, seed, progress : see `evaluate_detection`.
    """
    import torch

    from anomalist.pipeline import Inspector

    if contender.effort is None and not contender.learns:
        parts = replace(parts, train=())
    elif not parts.train:
        raise DataError(f"{name} has no normal picture to learn from.", "Take --train-normals 0: zero-shot.")
    leaks = find_leaks(parts)
    scored: list[ScoredPicture] = []
    _forget_peak_memory()
    with TemporaryDirectory(prefix="anomalist-eval-") as folder:
        start = time.perf_counter()
        evidence = contender.make(parts, seed, Path(folder), progress)
        inspector = Inspector(
            InspectionSettings(
                evidence,
                model=EVIDENCE,
                memory=False,
                workers=contender.workers if contender.measure is None else 1,
                measure=contender.measure,
            )
        )
        learn_seconds = time.perf_counter() - start
        told = evidence if isinstance(evidence, CostlySource) else None
        if told is not None and not told.gives_maps:
            notes = (*notes, "the detector gives no maps: measures of pixels and places are undefined")
            parts = replace(parts, test=tuple(replace(item, mask=None, outlines=()) for item in parts.test))
        watch = _Stopwatch()
        inspections = watch.over(inspector.inspect_many(item.path for item in parts.test))
        watched = _with_progress(inspections, len(parts.test), progress)
        metrics = score_detection(parts, _recorded(watched, parts, scored), seed)
    ms_per_image = 1000 * watch.seconds / watch.count if watch.count else None
    cost = MeasuredCost(learn_seconds, ms_per_image or 0.0, _peak_memory_mb()) if told is None else told.cost
    result = DetectionResult(
        **dict(metrics) | {"notes": (*notes, *leaks, *metrics.notes)},
        data=name,
        contender=contender.name,
        seed=seed,
        effort=contender.effort,
        learn_seconds=cost.learn_seconds,
        ms_per_image=cost.ms_per_image if watch.count else None,
        peak_memory_mb=cost.peak_memory_mb or _peak_memory_mb(),
        threads=torch.get_num_threads(),
        workers=contender.workers,
    )
    what = " ".join(filter(None, (name, contender.name, contender.effort, f"seed {seed}")))
    return SavedRun(
        benchmark="detection", name=what, result=result.model_dump(mode="json"), pictures=tuple(scored)
    )


def _recorded(
    inspections: Iterator[Inspection], parts: Split, scored: list[ScoredPicture]
) -> Iterator[Inspection]:
    """The inspections, and a row about each in ``scored``."""
    items = {source_of(item.path): item for item in parts.test}
    for inspection in inspections:
        if inspection.record.source in items:
            scored.append(ScoredPicture.of(items[inspection.record.source], inspection))
        yield inspection


def run_detection(
    data: Path,
    contenders: Sequence[Contender],
    *,
    train_normals: int | None,
    groups: Path | None = None,
    seeds: Sequence[int] = (0,),
    cache: ResultCache | None = None,
    progress: Progress = no_progress,
) -> Iterator[SavedRun]:
    """Run every contender with every distinct seed on every product; runs are yielded one by one.

    Parameters
    ----------
    data : a data set in any known layout, see `anomalist.eval.datasets`; with ``groups``, a folder with
        ``good/`` and one folder for each kind of defect.
    train_normals : good pictures to learn from; None takes those of the official split.
    cache : of runs on the same pictures and masks with the same settings and code: these are not made again.
    contenders, groups, seeds, progress : see `evaluate_detection`.
    """
    sets = open_sets(data, groups)
    for each in sets:
        name = set_name(data, each, sets)
        yield from run_set(
            each, name, contenders, train_normals=train_normals, seeds=seeds, cache=cache, progress=progress
        )


def set_name(data: Path, each: LabelledSet | BrokenSet, sets: Sequence[LabelledSet | BrokenSet]) -> str:
    """What one of the sets in a folder is called in results: by its product where there are several."""
    return data.resolve().name if len(sets) == 1 else f"{data.resolve().name}/{each.name}"


def run_set(
    each: LabelledSet,
    name: str,
    contenders: Sequence[Contender],
    *,
    train_normals: int | None,
    seeds: Sequence[int],
    cache: ResultCache | None,
    progress: Progress,
) -> Iterator[SavedRun]:
    """`run_detection` on one product, by its name in results."""
    for contender in contenders:
        for seed in dict.fromkeys(seeds):
            parts = each.split(train_normals, seed)
            key = _run_key(parts, contender, name, seed) if cache is not None else ""
            run = cache.get(key, SavedRun) if cache is not None else None
            if run is None:
                run = run_split(parts, contender, name=name, seed=seed, notes=each.notes, progress=progress)
                if cache is not None:
                    cache.put(key, run)
            yield run


def _run_key(parts: Split, contender: Contender, name: str, seed: int) -> str:
    """Key over everything that decides a run: pictures, masks, split, settings, backbone and code."""
    from anomalist.vision.features.dinov2 import find_dinov2

    tested = [(item.name, item.defect, item.group, item.outlines) for item in parts.test]
    learned = [(item.name, item.group) for item in parts.train]
    masks = [item.mask for item in parts.test if item.mask is not None]
    pictures = [item.path for item in (*parts.train, *parts.test)]
    asked = contender.name, contender.effort, contender.rate, contender.workers, contender.made_by
    settings = repr((*asked, seed, name, parts.grouped))
    backbone = find_dinov2()
    return content_key(
        "detection", settings, repr(backbone), repr(tested), repr(learned), files_digest([*pictures, *masks])
    )


def open_sets(data: Path, groups: Path | None) -> Sequence[LabelledSet]:
    """The labelled sets of a data set in any known layout, or of a folder with a table of groups."""
    if groups is None:
        return open_image_sets(data)[1]
    found = load_folder(data, groups)
    return [LabelledSet(data.resolve().name, found.items, grouped=True, unmatched=found.unmatched_masks)]


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


_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def _forget_peak_memory() -> None:
    """Start to measure the largest resident size anew, where the system can do that (Linux)."""
    with suppress(OSError):
        _RESET.write_text("5")


def _peak_memory_mb() -> float | None:
    with suppress(OSError, ValueError, StopIteration):
        lines = _STATUS.read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) * 1024 / 1e6
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6  # bytes on macOS, KiB elsewhere


AVERAGED_METRICS = (
    "image_auroc", "image_average_precision", "pixel_auroc", "pixel_average_precision", "seg_f1",
    "seg_f1_oracle", "image_f1", "image_f1_oracle", "coverage", "error_when_decided",
    "aupro", "aupimo", "aupimo_median",
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
