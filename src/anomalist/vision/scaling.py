"""Bring maps of different kinds to one scale, place by place, so that they can be added.

An object's rim is always a little odd, its middle never: what counts is how a place compares with the same
place on normal pictures. Pictures need only be roughly aligned; where they are not, the grid evens out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from anomalist.types import FloatArray

GRID = 8
"""Cells a side."""
_PRIOR = 8.0  # how many pictures the whole grid's mean and spread weigh against a single cell's own


def cell_peaks(score_map: FloatArray) -> FloatArray:
    """Highest value in each cell of an 8×8 grid over a map; float32 (8, 8).

    ``score_map`` is float32 (H, W) with sides of at least 1; small maps repeat their pixels.
    """
    top = np.linspace(0, score_map.shape[0], GRID, endpoint=False).astype(int)
    left = np.linspace(0, score_map.shape[1], GRID, endpoint=False).astype(int)
    return np.asarray(np.maximum.reduceat(np.maximum.reduceat(score_map, top, 0), left, 1), np.float32)


@dataclass(frozen=True, eq=False)
class PositionScale:
    """Mean and spread of the cell peaks of normal pictures, float32 (8, 8) each."""

    mean: FloatArray
    spread: FloatArray

    @classmethod
    def fit(cls, peaks: FloatArray) -> PositionScale:
        """Estimate from the cell peaks of n normal pictures, float32 (n, 8, 8).

        Cells are drawn towards the whole grid's values, the more so the fewer pictures there are.
        """
        own = len(peaks) / (len(peaks) + _PRIOR)
        mean = own * peaks.mean(0) + (1 - own) * peaks.mean()
        variance = own * peaks.var(0) + (1 - own) * peaks.var(0).mean()
        # A few pictures that agree by chance must not make the scale explode.
        floor = max(float(peaks.var()) * 0.01, 1e-8)
        return cls(mean.astype(np.float32), np.sqrt(np.maximum(variance, floor)).astype(np.float32))

    @classmethod
    def flat(cls, peaks: FloatArray) -> PositionScale:
        """The same for pictures that aren't aligned: one mean and spread for all places."""
        shape, spread = peaks.shape[1:], max(float(peaks.std()), 1e-4)
        return cls(np.full(shape, peaks.mean(), np.float32), np.full(shape, spread, np.float32))

    def apply(self, score_map: FloatArray) -> FloatArray:
        """(map − mean) / spread, the grids enlarged smoothly to the map's size; float32 (H, W)."""
        import cv2

        size = (score_map.shape[1], score_map.shape[0])
        mean = cv2.resize(self.mean, size, interpolation=cv2.INTER_LINEAR)
        spread = cv2.resize(self.spread, size, interpolation=cv2.INTER_LINEAR)
        return np.asarray((score_map - mean) / spread, np.float32)
