"""A detector: how far the brightness of a place is from the brightness of normal pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file

from anomalist.types.common import BoolArray, Box, FloatArray, UInt8Array
from anomalist.types.image import KnownKind, Region
from anomalist.vision.calibration import Partition
from anomalist.vision.detectors.base import DetectorOutput, NearestPatch

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
    def learn(
        cls,
        pictures: Sequence[FloatArray],
        groups: npt.NDArray[np.int64],
        partition: Partition,
        **settings: Any,  # noqa: ANN401
    ) -> Self:
        """Learn each fold from its own pictures; the project calibrates on the others."""
        chosen = (np.stack([pictures[i] for i in learning]) for learning, _ in partition.folds)
        return cls(np.array([(cells.mean(), cells.std() + 1) for cells in chosen], np.float32))

    def score(
        self, pictures: Sequence[UInt8Array], roi: BoolArray | None = None, fold: int | None = None
    ) -> list[DetectorOutput]:
        """Score by the greatest distance of a cell from the mean, in standard deviations."""
        scales = self.scales if fold is None else self.scales[fold : fold + 1]
        scored = []
        for picture in pictures:
            cells = self.prepare(picture)
            maps = np.stack([np.abs(cells - mean) / spread for mean, spread in scales])
            height, width = picture.shape[:2]
            whole = cv2.resize(maps.mean(0), (width, height), interpolation=cv2.INTER_LINEAR)
            scored.append(DetectorOutput(maps.max((1, 2)).astype(np.float64), whole.astype(np.float32)))
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
