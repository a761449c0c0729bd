"""Detection metrics of a test set from its inspections; no model is needed.

Inspections are consumed one by one. Pictures that could not be judged enter no rate and no AUROC.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from pydantic import Field

from anomalist.eval.image_datasets import GOOD, LabelledImage, Split, load_mask
from anomalist.eval.metrics import Floats, Interval, average_precision, group_bootstrap, image_auroc
from anomalist.eval.pixel_metrics import (
    FPR_BOUNDS,
    GroupedPixels,
    PimoCurves,
    PixelCounts,
    PixelCurve,
    merge_counts,
)
from anomalist.types.common import BoolArray, FloatArray, Frozen
from anomalist.types.image import Calibration, Evidence, Inspection, is_alarm
from anomalist.vision.media.images import source_of


@dataclass(frozen=True)
class JudgedImage:
    """A test picture with its score."""

    item: LabelledImage
    score: float
    p_value: float | None
    undecided: bool
    calibration: Calibration | None


@dataclass
class PixelAccumulators:
    """Accumulated statistics of score maps for the pixel metrics."""

    curves: dict[str, PixelCurve] = field(default_factory=dict)
    grouped: GroupedPixels = field(default_factory=GroupedPixels)
    pimo: PimoCurves = field(default_factory=PimoCurves)

    def add(self, item: LabelledImage, score_map: FloatArray, truth: BoolArray) -> None:
        """Add one picture: score map float32 (H, W) and ground truth bool (H, W)."""
        self.curves.setdefault(item.defect, PixelCurve()).add(score_map, truth)
        self.grouped.add(score_map, truth, item.group)
        self.pimo.add(score_map, truth)

    def counts(self) -> dict[str, PixelCounts]:
        """Pixel counts by kind of defect, each with the good pictures; under "" those of all pictures."""
        parts = {kind: curve.counts() for kind, curve in self.curves.items()}
        good = [parts[GOOD]] if GOOD in parts else []
        pooled = {kind: merge_counts([*good, part]) for kind, part in parts.items() if kind != GOOD}
        return pooled | ({"": merge_counts(list(parts.values()))} if parts else {})


@dataclass
class CollectedScores:
    """Scores and pixel statistics collected from the inspections."""

    pixels: PixelAccumulators = field(default_factory=PixelAccumulators)
    judged: list[JudgedImage] = field(default_factory=list)
    detector: str | None = None
    first_error: str = ""
    empty_masks: int = 0


def collect_scores(parts: Split, inspections: Iterable[Inspection]) -> CollectedScores:
    """Match inspections with the test pictures and collect what the metrics need.

    Raises
    ------
    ValueError : an inspection of no test picture, or a second one of the same.
    DataError : an invalid mask.
    """
    pending = {source_of(item.path): item for item in parts.test}
    collected = CollectedScores()
    for inspection in inspections:
        record = inspection.record
        item = pending.pop(record.source, None)
        if item is None:
            raise ValueError(f"{record.source} was not asked for, or came twice")
        evidence = _usable_evidence(inspection)
        if evidence is None:
            collected.first_error = (
                collected.first_error or f"{item.name}: {record.error or 'no usable score'}"
            )
            continue
        collected.detector = evidence.detector.name
        undecided = record.label == "undecided"
        collected.judged.append(
            JudgedImage(item, evidence.score, evidence.p_value, undecided, evidence.calibration)
        )
        truth = _ground_truth(item, evidence.score_map)
        if truth is not None:
            collected.pixels.add(item, evidence.score_map, truth)
        elif item.mask is not None:
            collected.empty_masks += 1
    return collected


def _usable_evidence(inspection: Inspection) -> Evidence | None:
    evidence = inspection.evidence
    if inspection.record.status == "error" or evidence is None:
        return None
    usable = np.isfinite(evidence.score) and not np.isnan(evidence.score_map).any()
    return evidence if usable else None


def _ground_truth(item: LabelledImage, score_map: FloatArray) -> BoolArray | None:
    """Ground truth of the size of the map; None when the picture is left out of the pixel metrics."""
    if item.normal:
        return np.zeros(score_map.shape, dtype=np.bool_)
    if item.mask is None:
        return None
    height, width = score_map.shape
    mask = load_mask(item.mask, (height, width))
    return mask if mask.any() else None


class DetectionMetrics(Frozen):
    """Metrics of one test set; None where undefined."""

    image_auroc: float | None
    image_auroc_interval: Interval | None = Field(description="95 %, bootstrap over groups")
    image_average_precision: float | None
    image_auroc_by_defect: dict[str, float | None] = Field(description="against all test normals")
    image_auroc_by_defect_interval: dict[str, Interval | None] = Field(
        description="against all test normals, 95 %"
    )
    pixel_auroc: float | None
    pixel_auroc_interval: Interval | None = Field(description="95 %, bootstrap over groups, to 0.002")
    pixel_auroc_by_defect: dict[str, float | None] = Field(description="with all test normals")
    aupro: float | None = Field(description="per-region overlap up to 30 % false-positive rate")
    aupro_by_defect: dict[str, float | None] = Field(description="with all test normals")
    aupimo: float | None = Field(description="mean over defective pictures; rates of 1e-5 to 1e-4")
    aupimo_median: float | None
    aupimo_zero_rate: float | None = Field(description="share of defective pictures with an AUPIMO of 0")
    asked_false_alarm_rate: float | None
    false_alarm_rate: float | None = Field(description="share of test normals with p ≤ the given rate")
    false_alarm_rate_interval: Interval | None = Field(description="95 %, bootstrap over groups")
    undecided_rate: float | None
    undecided_rate_normals: float | None
    undecided_rate_defects: float | None
    n_train: int
    n_test: int = Field(description="pictures, including those that could not be judged")
    n_test_normals: int
    n_by_defect: dict[str, int]
    n_errors: int = Field(description="pictures that could not be judged; in no rate and no AUROC")
    n_empty_masks: int = Field(description="defective pictures with an empty mask, not in the pixel metrics")
    split: Literal["groups", "pictures"]
    detector: str | None
    notes: tuple[str, ...] = Field(description="why something is undefined or should be read with care")


def score_detection(parts: Split, inspections: Iterable[Inspection], seed: int = 0) -> DetectionMetrics:
    """Metrics from the inspections of the test pictures, which are consumed one by one.

    A picture without inspection, with an error, without evidence or with a score that is not finite could not
    be judged: it is counted in ``n_errors`` and enters nothing else.

    Parameters
    ----------
    parts : the split.
    inspections : of the test pictures in any order, their source as ``source_of(item.path)``.
    seed : of the bootstrap.

    Raises
    ------
    ValueError : an inspection of no test picture, or a second one of the same.
    DataError : an invalid mask.
    """
    collected = collect_scores(parts, inspections)
    normals = [row for row in collected.judged if row.item.normal]
    defects = [row for row in collected.judged if not row.item.normal]
    kinds = _count_by_kind(parts)
    rows_by_kind = {kind: [*normals, *(row for row in defects if row.item.defect == kind)] for kind in kinds}
    alarms = _false_alarms(normals)
    rate = next((row.calibration.false_alarm_rate for row in collected.judged if row.calibration), None)
    return DetectionMetrics(
        image_auroc=_ranking_metric(image_auroc, collected.judged),
        image_auroc_interval=_auroc_interval(collected.judged, seed),
        image_average_precision=_ranking_metric(average_precision, collected.judged),
        image_auroc_by_defect={
            kind: _ranking_metric(image_auroc, rows) for kind, rows in rows_by_kind.items()
        },
        image_auroc_by_defect_interval={
            kind: _auroc_interval(rows, seed) for kind, rows in rows_by_kind.items()
        },
        pixel_auroc_interval=collected.pixels.grouped.interval(seed),
        **_pixel_measures(collected.pixels, kinds),
        asked_false_alarm_rate=rate,
        false_alarm_rate=_mean(alarms),
        false_alarm_rate_interval=_rate_interval(alarms, normals, seed),
        undecided_rate=_mean([row.undecided for row in collected.judged]),
        undecided_rate_normals=_mean([row.undecided for row in normals]),
        undecided_rate_defects=_mean([row.undecided for row in defects]),
        n_train=len(parts.train),
        n_test=len(parts.test),
        n_test_normals=sum(item.normal for item in parts.test),
        n_by_defect=kinds,
        n_errors=len(parts.test) - len(collected.judged),
        n_empty_masks=collected.empty_masks,
        split="groups" if parts.grouped else "pictures",
        detector=collected.detector,
        notes=tuple(_notes(parts, collected, normals)),
    )


def _pixel_measures(pixels: PixelAccumulators, kinds: Iterable[str]) -> dict[str, Any]:
    counts = pixels.counts()
    aurocs = {kind: counted.auroc() for kind, counted in counts.items()}
    overlaps = {kind: counted.aupro() for kind, counted in counts.items()}
    areas = pixels.pimo.areas()
    return {
        "pixel_auroc": aurocs.get(""),
        "pixel_auroc_by_defect": {kind: aurocs.get(kind) for kind in kinds},
        "aupro": overlaps.get(""),
        "aupro_by_defect": {kind: overlaps.get(kind) for kind in kinds},
        "aupimo": None if areas is None else float(areas.mean()),
        "aupimo_median": None if areas is None else float(np.median(areas)),
        "aupimo_zero_rate": None if areas is None else float((areas == 0).mean()),
    }


def _ranking_metric(
    measure: Callable[[Floats, BoolArray], float | None], rows: Sequence[JudgedImage]
) -> float | None:
    scores, labels = _scores_and_labels(rows)
    return measure(scores, labels)


def _scores_and_labels(rows: Sequence[JudgedImage]) -> tuple[Floats, BoolArray]:
    scores = np.array([row.score for row in rows], dtype=np.float64)
    return scores, np.array([not row.item.normal for row in rows], dtype=np.bool_)


def _auroc_interval(rows: Sequence[JudgedImage], seed: int) -> Interval | None:
    scores, labels = _scores_and_labels(rows)
    names = [row.item.group for row in rows]
    return group_bootstrap(lambda drawn: image_auroc(scores[drawn], labels[drawn]), names, seed)


def _false_alarms(normals: Sequence[JudgedImage]) -> list[bool]:
    """Whether each normal has p ≤ the given rate; empty when p is missing or the rate out of reach."""
    alarms = []
    for row in normals:
        if row.p_value is None or row.calibration is None or not row.calibration.reachable:
            return []
        alarms.append(is_alarm(row.p_value, row.calibration.false_alarm_rate))
    return alarms


def _rate_interval(alarms: Sequence[bool], normals: Sequence[JudgedImage], seed: int) -> Interval | None:
    if not alarms:
        return None
    flags = np.array(alarms, dtype=np.float64)
    return group_bootstrap(
        lambda drawn: float(flags[drawn].mean()), [row.item.group for row in normals], seed
    )


def _mean(flags: Sequence[bool]) -> float | None:
    return sum(flags) / len(flags) if flags else None


def _count_by_kind(parts: Split) -> dict[str, int]:
    """Test pictures of each kind of defect, sorted by kind."""
    return dict(sorted(Counter(item.defect for item in parts.test if not item.normal).items()))


def _notes(parts: Split, collected: CollectedScores, normals: Sequence[JudgedImage]) -> Iterator[str]:
    if parts.train and not parts.grouped:
        yield "split by pictures: pictures of one object on both sides flatter the result"
    if not _count_by_kind(parts):
        yield "no defective pictures: AUROC is undefined"
    unmasked = sum(not item.normal and item.mask is None for item in parts.test)
    if unmasked:
        yield f"{unmasked} defective pictures have no mask and stay out of the pixel measures"
    failed = len(parts.test) - len(collected.judged)
    if failed:
        yield f"{failed} pictures could not be judged: {collected.first_error or 'they never came back'}"
    finest = collected.pixels.pimo.finest
    if finest is not None and finest > FPR_BOUNDS[0]:
        yield f"one pixel of the test normals is a rate of {finest:.1g}: AUPIMO needs {FPR_BOUNDS[0]:g}"
    if not normals:
        return
    calibration = normals[0].calibration
    if calibration is None:
        yield "no calibration: the measured false-alarm rate is undefined"
    elif not calibration.reachable:
        yield (
            f"a false-alarm rate of {calibration.false_alarm_rate:g} needs "
            f"{calibration.normals_needed} independent normals for calibration, "
            f"there are {calibration.groups}: the measured rate is undefined"
        )
