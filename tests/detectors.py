"""A detector that is small enough to follow by hand: how far a picture's grey is from the usual grey."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from anomalist.errors import MediaError
from anomalist.types.common import BoolArray, Box, UInt8Array
from anomalist.types.image import KnownKind, Region
from anomalist.vision.detectors.base import (
    DetectorOutput,
    LearningData,
    LearningSettings,
    NearestPatch,
    Progress,
)

NAME = f"{__name__}:GreyDetector"
SMALLEST = 4


class GreyDetector:
    """Each model is the mean grey of its learning pictures; the map is the distance to it at every pixel."""

    name = "grey"

    def __init__(self, means: npt.NDArray[np.float64]) -> None:
        self.means = means

    @property
    def folds(self) -> int:
        return len(self.means)

    @staticmethod
    def prepare(picture: UInt8Array) -> UInt8Array:
        if min(picture.shape[:2]) < SMALLEST:
            raise MediaError("The picture is too small.")
        return picture

    @classmethod
    def learn(cls, data: LearningData, settings: LearningSettings, progress: Progress) -> Self:
        means = [np.mean([data.pictures[i].mean() for i in learning]) for learning, _ in data.partition.folds]
        return cls(np.array(means, np.float64))

    def score(
        self, pictures: Sequence[UInt8Array], roi: BoolArray | None = None, fold: int | None = None
    ) -> list[DetectorOutput]:
        means = self.means if fold is None else self.means[fold : fold + 1]
        maps = [np.abs(self.prepare(p).mean(2)[None] - means[:, None, None]) for p in pictures]
        return [DetectorOutput(m.mean((1, 2)), m.mean(0).astype(np.float32)) for m in maps]

    def nearest_normal_patch(self, picture: UInt8Array, box: Box) -> NearestPatch | None:
        return None

    def name_regions(self, picture: UInt8Array, regions: Sequence[Region]) -> list[KnownKind | None]:
        return [None] * len(regions)

    def save(self, file: Path) -> None:
        from safetensors.numpy import save_file

        save_file({"means": self.means}, file)

    @classmethod
    def load(cls, file: Path) -> Self:
        from safetensors.numpy import load_file

        return cls(load_file(file)["means"])
