"""From the inspections of a test set to its measures; no model is needed, so a run can be scored again."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from pydantic import Field

from anomalist.eval.datasets import Item, Split, load_mask
from anomalist.eval.metrics import (
    Floats,
    Interval,
    PixelCurve,
    average_precision,
    group_bootstrap,
    image_auroc,
)
from anomalist.types import BoolArray, Calibration, Evidence, FloatArray, Frozen, Inspection
from anomalist.vision.media import source_of


class DetectionMetrics(Frozen):
    """What the inspections of one test set say. None is "undefined", never a stand-in value."""

    image_auroc: float | None
    image_auroc_interval: Interval | None = Field(description="95 %, bootstrap over groups")
    image_average_precision: float | None
    image_auroc_by_defect: dict[str, float | None] = Field(description="against all test normals")
    pixel_auroc: float | None
    aupro: float | None = Field(description="per-region overlap up to 30 % false-positive rate")
    asked_false_alarm_rate: float | None
    false_alarm_rate: float | None = Field(description="share of test normals with p ≤ the asked rate")
    false_alarm_rate_interval: Interval | None = Field(description="95 %, bootstrap over groups")
    undecided_rate: float | None
    undecided_rate_normals: float | None
    undecided_rate_defects: float | None
    n_train: int
    n_test: int = Field(description="pictures, with those that could not be judged")
    n_test_normals: int
    n_by_defect: dict[str, int]
    n_errors: int = Field(description="pictures that could not be judged; in no rate and no AUROC")
    n_empty_masks: int = Field(description="defective pictures left out of the pixel measures for it")
    split: Literal["groups", "pictures"]
    detector: str | None
    notes: tuple[str, ...] = Field(description="why something is undefined or should be read with care")


@dataclass(frozen=True)
class _Judged:
    """A test picture that got a score."""

    item: Item
    score: float
    p_value: float | None
    undecided: bool
    calibration: Calibration | None


def evaluate(parts: Split, inspections: Iterable[Inspection], seed: int = 0) -> DetectionMetrics:
    """Score the inspections of the test pictures; each is used once and let go.

    A picture with an error, without evidence or with a score that is not finite "could not be judged", and
    so could one that never came back: they are counted in ``n_errors`` and enter nothing else.

    Parameters
    ----------
    parts : the split; only ``parts.test`` is looked up.
    inspections : of the test pictures in any order, their source as ``source_of(item.path)``.
    seed : of the bootstrap.

    Raises
    ------
    ValueError : an inspection that was not asked for, or the same one twice.
    DataError : a mask that can't be used.
    """
    seen = _collect(parts, inspections)
    normals = [row for row in seen.judged if row.item.normal]
    defects = [row for row in seen.judged if not row.item.normal]
    alarms = _alarms(normals)
    rate = next((row.calibration.false_alarm_rate for row in seen.judged if row.calibration), None)
    return DetectionMetrics(
        image_auroc=_rank(image_auroc, seen.judged),
        image_auroc_interval=_auroc_interval(seen.judged, seed),
        image_average_precision=_rank(average_precision, seen.judged),
        image_auroc_by_defect={
            kind: _rank(image_auroc, [*normals, *(row for row in defects if row.item.defect == kind)])
            for kind in _kinds(parts)
        },
        pixel_auroc=seen.curve.auroc(),
        aupro=seen.curve.aupro(),
        asked_false_alarm_rate=rate,
        false_alarm_rate=_mean(alarms),
        false_alarm_rate_interval=_rate_interval(alarms, normals, seed),
        undecided_rate=_mean([row.undecided for row in seen.judged]),
        undecided_rate_normals=_mean([row.undecided for row in normals]),
        undecided_rate_defects=_mean([row.undecided for row in defects]),
        n_train=len(parts.train),
        n_test=len(parts.test),
        n_test_normals=sum(item.normal for item in parts.test),
        n_by_defect=_kinds(parts),
        n_errors=len(parts.test) - len(seen.judged),
        n_empty_masks=seen.empty_masks,
        split="groups" if parts.grouped else "pictures",
        detector=seen.detector,
        notes=tuple(_notes(parts, seen, normals)),
    )


@dataclass
class _Seen:
    """What is kept of the inspections while they stream by."""

    curve: PixelCurve = field(default_factory=PixelCurve)
    judged: list[_Judged] = field(default_factory=list)
    detector: str | None = None
    first_error: str = ""
    empty_masks: int = 0


def _collect(parts: Split, inspections: Iterable[Inspection]) -> _Seen:
    waiting = {source_of(item.path): item for item in parts.test}
    seen = _Seen()
    for inspection in inspections:
        record = inspection.record
        item = waiting.pop(record.source, None)
        if item is None:
            raise ValueError(f"{record.source} was not asked for, or came twice")
        evidence = _usable(inspection)
        if evidence is None:
            seen.first_error = seen.first_error or f"{item.name}: {record.error or 'no usable score'}"
            continue
        seen.detector = evidence.detector.name
        undecided = record.label == "undecided"
        seen.judged.append(_Judged(item, evidence.score, evidence.p_value, undecided, evidence.calibration))
        truth = _truth(item, evidence.score_map)
        if truth is not None:
            seen.curve.add(evidence.score_map, truth)
        elif item.mask is not None:
            seen.empty_masks += 1
    return seen


def _usable(inspection: Inspection) -> Evidence | None:
    evidence = inspection.evidence
    if inspection.record.status == "error" or evidence is None:
        return None
    usable = np.isfinite(evidence.score) and not np.isnan(evidence.score_map).any()
    return evidence if usable else None


def _truth(item: Item, score_map: FloatArray) -> BoolArray | None:
    """Ground truth at the size of the map; None when the picture stays out of the pixel measures."""
    if item.normal:
        return np.zeros(score_map.shape, dtype=np.bool_)
    if item.mask is None:
        return None
    height, width = score_map.shape
    mask = load_mask(item.mask, (height, width))
    return mask if mask.any() else None


def _rank(measure: Callable[[Floats, BoolArray], float | None], rows: Sequence[_Judged]) -> float | None:
    scores, labels = _columns(rows)
    return measure(scores, labels)


def _columns(rows: Sequence[_Judged]) -> tuple[Floats, BoolArray]:
    scores = np.array([row.score for row in rows], dtype=np.float64)
    return scores, np.array([not row.item.normal for row in rows], dtype=np.bool_)


def _auroc_interval(rows: Sequence[_Judged], seed: int) -> Interval | None:
    scores, labels = _columns(rows)
    names = [row.item.group for row in rows]
    return group_bootstrap(lambda drawn: image_auroc(scores[drawn], labels[drawn]), names, seed)


def _alarms(normals: Sequence[_Judged]) -> list[bool]:
    """Whether each normal has p ≤ the asked rate; empty when p is missing or the rate out of reach."""
    alarms = []
    for row in normals:
        if row.p_value is None or row.calibration is None or not row.calibration.reachable:
            return []
        rate = row.calibration.false_alarm_rate
        # p-values by groups are sums of fractions: an exact tie may miss the rate by a rounding error.
        alarms.append(row.p_value <= rate or math.isclose(row.p_value, rate))
    return alarms


def _rate_interval(alarms: Sequence[bool], normals: Sequence[_Judged], seed: int) -> Interval | None:
    if not alarms:
        return None
    flags = np.array(alarms, dtype=np.float64)
    return group_bootstrap(
        lambda drawn: float(flags[drawn].mean()), [row.item.group for row in normals], seed
    )


def _mean(flags: Sequence[bool]) -> float | None:
    return sum(flags) / len(flags) if flags else None


def _kinds(parts: Split) -> dict[str, int]:
    """Test pictures of each kind of defect, sorted by kind."""
    return dict(sorted(Counter(item.defect for item in parts.test if not item.normal).items()))


def _notes(parts: Split, seen: _Seen, normals: Sequence[_Judged]) -> Iterator[str]:
    if not parts.grouped:
        yield "split by pictures: pictures of one object on both sides flatter the result"
    if not _kinds(parts):
        yield "no defective pictures: AUROC is undefined"
    unmasked = sum(not item.normal and item.mask is None for item in parts.test)
    if unmasked:
        yield f"{unmasked} defective pictures have no mask and stay out of the pixel measures"
    failed = len(parts.test) - len(seen.judged)
    if failed:
        yield f"{failed} pictures could not be judged: {seen.first_error or 'they never came back'}"
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
