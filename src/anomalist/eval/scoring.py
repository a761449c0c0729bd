"""Detection metrics of a test set from its inspections; no model is needed.

Inspections are consumed one by one. Pictures that could not be judged enter no rate and no AUROC.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Any, Literal, TypeVar

import numpy as np
from pydantic import Field

from anomalist.errors import DataError
from anomalist.eval.decision_metrics import (
    SegmentationCounts,
    best_f1_of_scores,
    f1_score,
    selective_decision,
)
from anomalist.eval.image_datasets import GOOD, LabelledImage, Split
from anomalist.eval.metrics import (
    Floats,
    Interval,
    average_precision,
    group_bootstrap,
    image_auroc,
    recall_at_rate,
)
from anomalist.eval.pixel_metrics import (
    FPR_BOUNDS,
    GroupedPixels,
    PimoCurves,
    PixelCounts,
    PixelCurve,
    mask_iou,
    merge_counts,
    peak_inside,
)
from anomalist.types.common import BoolArray, FloatArray, Frozen, Label
from anomalist.types.image import Calibration, Evidence, Inspection, is_alarm
from anomalist.vision.media.images import source_of
from anomalist.vision.media.masks import MaskUse, listed

T = TypeVar("T")


@dataclass(frozen=True)
class Localisation:
    """Where a defect was pointed to, against its ground truth.

    Parameters
    ----------
    peak_inside : whether the first highest pixel of the anomaly map lies on the defect.
    truth_share : share of the picture that the defect covers, which is the chance of a random pixel.
    iou : of predicted mask and ground truth, 0 to 1.
    """

    peak_inside: bool
    truth_share: float
    iou: float


@dataclass(frozen=True)
class JudgedImage:
    """A test picture with its score, its label and the size of its predicted mask.

    Parameters
    ----------
    mask_pixels, pixels : of the predicted mask, and of the picture.
    localisation : of a defective picture with a ground truth that is not empty.
    """

    item: LabelledImage
    score: float
    p_value: float | None
    label: Label | None
    calibration: Calibration | None
    mask_pixels: int
    pixels: int
    localisation: Localisation | None

    @property
    def undecided(self) -> bool:
        """Whether nothing was decided."""
        return self.label == "undecided"


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
    segmentation: SegmentationCounts = field(default_factory=SegmentationCounts)
    detector: str | None = None
    first_error: str = ""
    empty_masks: int = 0
    masks_used: int = 0
    masks_left_out: list[str] = field(default_factory=list)

    def ground_truth(self, item: LabelledImage, shape: tuple[int, ...]) -> BoolArray | None:
        """Ground truth of the size of the map; None when the picture is left out of the pixel metrics.

        Counts the masks.
        """
        height, width = shape
        if item.normal:
            return np.zeros((height, width), np.bool_)
        if not item.marked:
            return None
        try:
            mask = item.truth((height, width))
        except DataError as error:
            self.masks_left_out.append(str(error))
            return None
        self.masks_used += bool(mask.any())
        self.empty_masks += not mask.any()
        return mask if mask.any() else None


def collect_scores(parts: Split, inspections: Iterable[Inspection]) -> CollectedScores:
    """Match inspections with the test pictures and collect what the metrics need.

    Raises
    ------
    ValueError : an inspection of no test picture, or a second one of the same.
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
        truth = collected.ground_truth(item, evidence.score_map.shape)
        collected.judged.append(_judged(item, record.label, evidence, truth))
        if truth is not None:
            collected.pixels.add(item, evidence.score_map, truth)
            collected.segmentation.add(evidence.mask, truth)
    return collected


def _judged(
    item: LabelledImage, label: Label | None, evidence: Evidence, truth: BoolArray | None
) -> JudgedImage:
    localisation = None
    if not item.normal and truth is not None:
        localisation = Localisation(
            peak_inside(evidence.score_map, truth), float(truth.mean()), mask_iou(evidence.mask, truth) or 0.0
        )
    return JudgedImage(
        item=item,
        score=evidence.score,
        p_value=evidence.p_value,
        label=label,
        calibration=evidence.calibration,
        mask_pixels=int(evidence.mask.sum()),
        pixels=evidence.mask.size,
        localisation=localisation,
    )


def _usable_evidence(inspection: Inspection) -> Evidence | None:
    evidence = inspection.evidence
    if inspection.record.status == "error" or evidence is None:
        return None
    usable = np.isfinite(evidence.score) and not np.isnan(evidence.score_map).any()
    return evidence if usable else None


def _mask_use(parts: Split, collected: CollectedScores) -> MaskUse:
    return MaskUse(
        used=collected.masks_used,
        left_out=tuple(collected.masks_left_out),
        without=tuple(item.name for item in parts.test if not item.normal and not item.marked),
        unmatched=parts.unmatched_masks,
    )


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
    pixel_average_precision: float | None = Field(description="over all pixels of all test pictures")
    aupro: float | None = Field(description="per-region overlap up to 30 % false-positive rate")
    aupro_by_defect: dict[str, float | None] = Field(description="with all test normals")
    aupimo: float | None = Field(description="mean over defective pictures; rates of 1e-5 to 1e-4")
    aupimo_median: float | None
    aupimo_zero_rate: float | None = Field(description="share of defective pictures with an AUPIMO of 0")
    peak_on_defect: float | None = Field(
        description="share of masked defective pictures with the highest pixel of the map on the defect"
    )
    peak_on_defect_by_defect: dict[str, float | None]
    peak_chance: float | None = Field(description="the same of a random pixel: mean share under the mask")
    peak_chance_by_defect: dict[str, float | None]
    mask_iou_median: float | None = Field(description="predicted mask and ground truth, masked defects")
    mask_iou_median_by_defect: dict[str, float | None]
    empty_mask_rate: float | None = Field(description="share of masked defects without a predicted mask")
    empty_mask_rate_by_defect: dict[str, float | None]
    seg_f1: float | None = Field(
        description="F1 over all pixels, of the predicted masks, as MVTec AD 2 has it"
    )
    seg_f1_oracle: float | None = Field(description="the same at the best threshold on the map")
    normal_mask_rate: float | None = Field(description="share of test normals with a predicted mask")
    normal_pixel_rate: float | None = Field(description="share of test normals' pixels in predicted masks")
    asked_false_alarm_rate: float | None
    false_alarm_rate: float | None = Field(description="share of test normals with p ≤ the given rate")
    false_alarm_rate_interval: Interval | None = Field(description="95 %, bootstrap over groups")
    found_at_asked_rate: float | None = Field(description="share of defects called anomalous")
    oracle_at_measured_rate: float | None = Field(
        description="share of defects above the best threshold on the score at the measured false-alarm rate"
    )
    oracle_at_asked_rate: float | None = Field(description="the same at the asked false-alarm rate")
    calibration_efficiency: float | None = Field(
        description="found at the asked rate by oracle at the measured rate; None where that finds nothing"
    )
    image_f1: float | None = Field(description="F1 of the labels; undecided ones aren't flagged")
    image_f1_oracle: float | None = Field(description="the same at the best threshold on the score")
    coverage: float | None = Field(description="share of the judged pictures that are decided")
    error_when_decided: float | None = Field(description="share of these that are decided wrongly")
    undecided_rate: float | None
    undecided_rate_normals: float | None
    undecided_rate_defects: float | None
    n_train: int
    n_test: int = Field(description="pictures, including those that could not be judged")
    n_test_normals: int
    n_by_defect: dict[str, int]
    n_errors: int = Field(description="pictures that could not be judged; in no rate and no AUROC")
    n_empty_masks: int = Field(
        description="defective pictures whose ground truth is empty, not in the pixel metrics"
    )
    masks: MaskUse = Field(description="of the defective test pictures")
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
        seg_f1=collected.segmentation.f1,
        asked_false_alarm_rate=rate,
        false_alarm_rate=_mean(alarms),
        false_alarm_rate_interval=_rate_interval(alarms, normals, seed),
        **_found_measures(collected.judged, _mean(alarms), rate),
        **_localisation_measures(defects, kinds),
        **_normal_mask_measures(normals),
        **_decision_measures(collected.judged),
        undecided_rate=_mean([row.undecided for row in collected.judged]),
        undecided_rate_normals=_mean([row.undecided for row in normals]),
        undecided_rate_defects=_mean([row.undecided for row in defects]),
        n_train=len(parts.train),
        n_test=len(parts.test),
        n_test_normals=sum(item.normal for item in parts.test),
        n_by_defect=kinds,
        n_errors=len(parts.test) - len(collected.judged),
        n_empty_masks=collected.empty_masks,
        masks=_mask_use(parts, collected),
        split="groups" if parts.grouped else "pictures",
        detector=collected.detector,
        notes=tuple(_notes(parts, collected, normals)),
    )


def _pixel_measures(pixels: PixelAccumulators, kinds: Iterable[str]) -> dict[str, Any]:
    counts = pixels.counts()
    areas = pixels.pimo.areas()
    return {
        **_overall_and_by_kind("pixel_auroc", counts, kinds, lambda counted: counted.auroc()),
        **_overall_and_by_kind("aupro", counts, kinds, lambda counted: counted.aupro()),
        "pixel_average_precision": counts[""].average_precision() if "" in counts else None,
        "seg_f1_oracle": counts[""].best_f1() if "" in counts else None,
        "aupimo": None if areas is None else float(areas.mean()),
        "aupimo_median": None if areas is None else float(np.median(areas)),
        "aupimo_zero_rate": None if areas is None else float((areas == 0).mean()),
    }


def _found_measures(
    judged: Sequence[JudgedImage], measured: float | None, asked: float | None
) -> dict[str, float | None]:
    """What the labels find, and what the best threshold finds at the measured and at the asked rate."""
    scores, labels = _scores_and_labels(judged)
    at_measured, at_asked = (
        None if rate is None else recall_at_rate(scores, labels, rate) for rate in (measured, asked)
    )
    found = _mean([row.label == "anomalous" for row in judged if not row.item.normal])
    return {
        "found_at_asked_rate": found,
        "oracle_at_measured_rate": at_measured,
        "oracle_at_asked_rate": at_asked,
        "calibration_efficiency": found / at_measured if found is not None and at_measured else None,
    }


def _decision_measures(judged: Sequence[JudgedImage]) -> dict[str, float | None]:
    """F1 of the labels beside the best threshold's, and error and coverage of what is decided."""
    scores, labels = _scores_and_labels(judged)
    flagged = np.array([row.label == "anomalous" for row in judged], dtype=np.bool_)
    selective = selective_decision([row.label for row in judged], labels)
    return {
        "image_f1": f1_score(flagged, labels) if selective.coverage else None,
        "image_f1_oracle": best_f1_of_scores(scores, labels),
        "coverage": selective.coverage,
        "error_when_decided": selective.error,
    }


def _localisation_measures(defects: Sequence[JudgedImage], kinds: Iterable[str]) -> dict[str, Any]:
    """How well map and mask point to the defects that have a ground truth."""
    located: dict[str, list[tuple[JudgedImage, Localisation]]] = {}
    for row in defects:
        if row.localisation:
            for kind in ("", row.item.defect):
                located.setdefault(kind, []).append((row, row.localisation))
    return {
        **_overall_and_by_kind(
            "peak_on_defect", located, kinds, lambda rows: fmean(where.peak_inside for _, where in rows)
        ),
        **_overall_and_by_kind(
            "peak_chance", located, kinds, lambda rows: fmean(where.truth_share for _, where in rows)
        ),
        **_overall_and_by_kind(
            "mask_iou_median", located, kinds, lambda rows: median(where.iou for _, where in rows)
        ),
        **_overall_and_by_kind(
            "empty_mask_rate", located, kinds, lambda rows: fmean(not row.mask_pixels for row, _ in rows)
        ),
    }


def _normal_mask_measures(normals: Sequence[JudgedImage]) -> dict[str, float | None]:
    pixels = sum(row.pixels for row in normals)
    return {
        "normal_mask_rate": _mean([row.mask_pixels > 0 for row in normals]),
        "normal_pixel_rate": sum(row.mask_pixels for row in normals) / pixels if pixels else None,
    }


def _overall_and_by_kind(
    name: str, parts: Mapping[str, T], kinds: Iterable[str], measure: Callable[[T], float | None]
) -> dict[str, Any]:
    """A measure of the part of all pictures, under "", and of that of each kind; None where there is none."""
    values = {kind: measure(part) for kind, part in parts.items()}
    return {name: values.get(""), f"{name}_by_defect": {kind: values.get(kind) for kind in kinds}}


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
    masks = _mask_use(parts, collected)
    if masks.without:
        yield (
            f"{len(masks.without)} defective pictures have no mask and stay out of the pixel measures: "
            f"{listed(masks.without)}"
        )
    yield from masks.problems()
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
