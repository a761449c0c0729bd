"""The networks, run by onnxruntime, and what is computed of their outputs: novelty, isolation, tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from anomalist.edge.runner.kernels import linear_matrix, resize_area
from anomalist.vision.resampling import Size, cubic_matrix, resize_cubic, separable
from anomalist.vision.shift.arithmetic import Array

_TEMPERATURE = 0.07
_EXCLUSION_RADIUS = 3
_MIN_Z, _MAX_Z = -4.0, 12.0
_SIZE_MULTIPLE = 32
_MAX_STRETCH = 4


def open_session(file: Path) -> Any:  # noqa: ANN401
    """Open a network on the processor."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def clipped_z_score(distances: Array, mean: float, spread: float) -> Array:
    """Z-score of distances against those of normal patches, clipped to −4 … 12."""
    return np.asarray(np.clip((distances - mean) / (spread + 0.02), _MIN_Z, _MAX_Z), np.float32)


@lru_cache(maxsize=4)
def _near(height: int, width: int) -> Array:
    """Which patches of a grid are at most three apart, bool (n, n)."""
    rows, columns = (
        np.abs(np.arange(n)[:, None] - np.arange(n)[None]) <= _EXCLUSION_RADIUS for n in (height, width)
    )
    together = rows[:, None, :, None] & columns[None, :, None, :]
    return np.asarray(together.reshape(height * width, height * width))


@dataclass(frozen=True, eq=False)
class SurfaceFeatures:
    """What the trunk of SurfaceNet gives one picture, uint8 (H, W, 3) at working size.

    Parameters
    ----------
    levels : features for the head.
    descriptors : float32 (h, w, 64), unit vectors.
    own_logits : self-reference logits by the number of the head, as they are computed.
    """

    picture: Array
    levels: tuple[Array, ...]
    descriptors: Array
    own_logits: dict[int, Array] = field(default_factory=dict)

    @cached_property
    def _similar(self) -> Array:
        patches = self.descriptors.reshape(-1, self.descriptors.shape[-1])
        return np.asarray(patches @ patches.T)

    @cached_property
    def isolation(self) -> Array:
        """Dissimilarity of each patch to the others of its picture, float32 (h, w)."""
        similar = self._similar / np.float32(_TEMPERATURE)
        np.fill_diagonal(similar, -np.inf)
        most = similar.max(1, keepdims=True)
        most = np.where(np.isfinite(most), most, 0)
        with np.errstate(divide="ignore"):
            sums = np.log(np.exp(similar - most).sum(1)) + most[:, 0]
        others = max(1, len(similar) - 1)
        found = 1 - _TEMPERATURE * (sums - math.log(others))
        return np.asarray(found, np.float32).reshape(self.descriptors.shape[:2])

    def novelty_within(self) -> Array:
        """Novelty of each patch against the rest of its picture, taken as normal; float32 (h, w)."""
        height, width = self.descriptors.shape[:2]
        similar = np.where(_near(height, width), np.float32(-1), self._similar)
        count = max(1, len(similar) // 100)
        nearest = np.partition(similar, len(similar) - count, 1)[:, len(similar) - count :]
        distance = 2 - 2 * nearest.mean(1)
        return clipped_z_score(distance, float(distance.mean()), float(distance.std(ddof=1))).reshape(
            height, width
        )


class SurfaceNetwork:
    """SurfaceNet: one trunk and several heads."""

    def __init__(self, trunk: Path, heads: list[Path]) -> None:
        self._trunk = open_session(trunk)
        self._heads = [open_session(file) for file in heads]

    def features(self, picture: Array) -> SurfaceFeatures:
        """Run the trunk on a picture at working size."""
        values = picture.astype(np.float32) / np.float32(255)
        spread = float(values.std(ddof=1, dtype=np.float64))
        standard = (values - np.float32(values.mean(dtype=np.float64))) / np.float32(spread + 0.08)
        *levels, descriptors = self._trunk.run(None, {"picture": standard.transpose(2, 0, 1)[None]})
        grid = np.ascontiguousarray(descriptors[0].transpose(1, 2, 0))
        return SurfaceFeatures(picture, tuple(levels), grid)

    def logits(self, head: int, features: SurfaceFeatures, novelty: Array) -> Array:
        """Defect logit of every pixel by the novelty of patches, float32 (h, w)."""
        isolation = features.isolation
        within = np.clip(
            (isolation - isolation.mean()) / (isolation.std(ddof=1) + 0.02), _MIN_Z, _MAX_Z
        ).astype(np.float32)
        maps = np.stack([novelty / 4, np.ones_like(isolation), isolation, within / 4])[None]
        given = {f"level{number}": level for number, level in enumerate(features.levels)}
        (found,) = self._heads[head].run(None, given | {"novelty": maps.astype(np.float32)})
        return np.asarray(found[0])

    def self_reference_logits(self, head: int, features: SurfaceFeatures) -> Array:
        """Logits with only the picture itself as normal, at full and at half size together."""
        if head not in features.own_logits:
            features.own_logits[head] = self._self_reference_logits(head, features)
        return features.own_logits[head]

    def _self_reference_logits(self, head: int, features: SurfaceFeatures) -> Array:
        full = self.logits(head, features, features.novelty_within())
        sides = [max(_SIZE_MULTIPLE, round(n / 2 / _SIZE_MULTIPLE) * _SIZE_MULTIPLE) for n in full.shape]
        half = self.features(resize_area(features.picture, (sides[0], sides[1])))
        coarse = self.logits(head, half, half.novelty_within())
        rows, columns = (linear_matrix(*pair) for pair in zip(coarse.shape, full.shape, strict=True))
        return np.asarray(full + separable(coarse, rows, columns))


def unit_vectors(vectors: Array) -> Array:
    """Vectors along the last axis, brought to unit length; float32."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, 1e-6), np.float32)


class TokenNetwork:
    """A vision transformer whose patch tokens of several layers are averaged.

    Parameters
    ----------
    file : of the network.
    positions : float32 (n, n, d), embeddings of the positions it was trained with.
    class_position : float32 (d,).
    settings : ``patch``, ``mean``, ``std`` and ``layers``, the number of layers that it gives.
    """

    def __init__(
        self, file: Path, positions: Array, class_position: Array, settings: Mapping[str, Any]
    ) -> None:
        self._session = open_session(file)
        self._positions, self._class_position = positions, class_position
        self._patch: int = settings["patch"]
        self._mean, self._std = (np.array(settings[name], np.float32) for name in ("mean", "std"))

    def tokens(self, picture: Array, side: int) -> Array:
        """Unit tokens of a picture, uint8 (H, W, 3), brought to about ``side`` squared: float32 (h, w, d)."""
        resized = self._to_patches(picture, side)
        rows, columns = (length // self._patch for length in resized.shape[:2])
        values = (resized.astype(np.float32) / np.float32(255) - self._mean) / self._std
        given = {"picture": values.transpose(2, 0, 1)[None], "positions": self._embeddings((rows, columns))}
        layers = np.stack([unit_vectors(layer[0]) for layer in self._session.run(None, given)])
        return unit_vectors(layers.mean(0)).reshape(rows, columns, -1)

    def _to_patches(self, picture: Array, side: int) -> Array:
        height, width = picture.shape[:2]
        scale = side / math.sqrt(height * width)
        most = max(1, _MAX_STRETCH * side // self._patch)
        rows, columns = (min(most, max(1, round(length * scale / self._patch))) for length in (height, width))
        target = rows * self._patch, columns * self._patch
        if target == (height, width):
            return picture
        if target[0] * target[1] < width * height:
            return resize_area(picture, target)
        return resize_cubic(picture, target)

    def _embeddings(self, grid: Size) -> Array:
        """Embeddings of the positions of a grid and of the class token before them, (1, 1 + n, d)."""
        known = self._positions
        if grid != known.shape[:2]:
            rows, columns = (cubic_matrix(*pair) for pair in zip(known.shape[:2], grid, strict=True))
            known = separable(known, rows, columns)
        flat = known.reshape(-1, known.shape[-1])
        return np.concatenate([self._class_position[None], flat])[None].astype(np.float32)
