"""What is kept of inspections while they stream by, one used and let go at a time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from anomalist.eval.aupimo import PimoCurves
from anomalist.eval.datasets import GOOD, Item, Split, load_mask
from anomalist.eval.pixel_interval import GroupedPixels
from anomalist.eval.pixels import PixelCounts, PixelCurve, together
from anomalist.types import BoolArray, Calibration, Evidence, FloatArray, Inspection
from anomalist.vision.media import source_of


@dataclass(frozen=True)
class Judged:
    """A test picture that got a score."""

    item: Item
    score: float
    p_value: float | None
    undecided: bool
    calibration: Calibration | None


@dataclass
class Pixels:
    """What the pixel measures need of the maps seen so far."""

    curves: dict[str, PixelCurve] = field(default_factory=dict)
    grouped: GroupedPixels = field(default_factory=GroupedPixels)
    pimo: PimoCurves = field(default_factory=PimoCurves)

    def add(self, item: Item, score_map: FloatArray, truth: BoolArray) -> None:
        """Count one picture; map float32 and truth bool, (H, W) both."""
        self.curves.setdefault(item.defect, PixelCurve()).add(score_map, truth)
        self.grouped.add(score_map, truth, item.group)
        self.pimo.add(score_map, truth)

    def counts(self) -> dict[str, PixelCounts]:
        """Counts of the pictures of each kind of defect together with the good ones; under "" of all."""
        parts = {kind: curve.counts() for kind, curve in self.curves.items()}
        good = [parts[GOOD]] if GOOD in parts else []
        pooled = {kind: together([*good, part]) for kind, part in parts.items() if kind != GOOD}
        return pooled | ({"": together(list(parts.values()))} if parts else {})


@dataclass
class Seen:
    """What is kept of the inspections."""

    pixels: Pixels = field(default_factory=Pixels)
    judged: list[Judged] = field(default_factory=list)
    detector: str | None = None
    first_error: str = ""
    empty_masks: int = 0


def collect(parts: Split, inspections: Iterable[Inspection]) -> Seen:
    """Look up every inspection among the test pictures and keep what the measures need.

    Raises
    ------
    ValueError : an inspection that was not asked for, or the same one twice.
    DataError : a mask that can't be used.
    """
    waiting = {source_of(item.path): item for item in parts.test}
    seen = Seen()
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
        seen.judged.append(Judged(item, evidence.score, evidence.p_value, undecided, evidence.calibration))
        truth = _truth(item, evidence.score_map)
        if truth is not None:
            seen.pixels.add(item, evidence.score_map, truth)
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
