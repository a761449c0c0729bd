"""A detector: how far the brightness of a place is from the brightness of normal pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import cv2
import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file

from anomalist.types.common import BoolArray, Box, FloatArray, UInt8Array
from anomalist.types.image import KnownKind, Region
from anomalist.vision.detectors.base import (
    DetectorOutput,
    LearningData,
    LearningSettings,
    NearestPatch,
    Progress,
)
from anomalist.vision.regions import resize_roi_to_grid

CELLS = 16
"""Pictures are compared on a grid of this many cells on each side."""


class BrightnessDetector:
    """Per fold: mean and standard deviation of the brightness of normal pictures, over all places."""

    name = "brightness"

    def __init__(self, scales: npt.NDArray[np.float32]) -> None:
        self.scales = scales  # float32 (K, 2): mean, standard deviation

    @property
    def folds(self) -> int:
        """Number of models."""
        return len(self.scales)

    @staticmethod
    def prepare(picture: UInt8Array) -> FloatArray:
        """Brightness of each cell, float32 (CELLS, CELLS), in [0, 255]."""
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
        return np.asarray(cv2.resize(grey, (CELLS, CELLS), interpolation=cv2.INTER_AREA))

    @classmethod
    def learn(cls, data: LearningData, settings: LearningSettings, progress: Progress) -> Self:
        """Learn each fold from its own pictures; the project calibrates on the others."""
        inside = _cells_that_count(data.roi)
        folds = [np.stack([data.pictures[i] for i in own])[:, inside] for own, _ in data.partition.folds]
        return cls(np.array([(cells.mean(), cells.std() + 1) for cells in folds], np.float32))

    def score(
        self, pictures: Sequence[UInt8Array], roi: BoolArray | None = None, fold: int | None = None
    ) -> list[DetectorOutput]:
        """Score by the greatest distance of a cell from the mean, in standard deviations."""
        scales = self.scales if fold is None else self.scales[fold : fold + 1]
        inside = _cells_that_count(roi)
        scored = []
        for picture in pictures:
            cells = self.prepare(picture)
            maps = np.stack([np.abs(cells - mean) / spread for mean, spread in scales])
            scores = maps[:, inside].max(1).astype(np.float64)
            size = picture.shape[1], picture.shape[0]
            whole = cv2.resize(maps.mean(0), size, interpolation=cv2.INTER_LINEAR)
            scored.append(DetectorOutput(scores, whole.astype(np.float32)))
        return scored

    def nearest_normal_patch(self, picture: UInt8Array, box: Box) -> NearestPatch | None:
        """No patch of a normal picture is kept."""
        return None

    def name_regions(self, picture: UInt8Array, regions: Sequence[Region]) -> list[KnownKind | None]:
        """Labelled defects are not learned from."""
        return [None] * len(regions)

    def save(self, file: Path) -> None:
        """Write the scales."""
        save_file({"scales": self.scales}, file)

    @classmethod
    def load(cls, file: Path) -> Self:
        """Read what `save` wrote."""
        return cls(load_file(file)["scales"])


def _cells_that_count(roi: BoolArray | None) -> BoolArray:
    inside = resize_roi_to_grid(roi, (CELLS, CELLS))
    return np.ones((CELLS, CELLS), np.bool_) if inside is None else inside
