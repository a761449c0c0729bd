"""Position-wise Gaussians of the patch tokens of a product that always lies alike (PaDiM, Defard et al. 2021).

A memory bank does not know where a patch belongs: bare metal is normal, also where a hole should be. Here each
patch is compared with the means of the patches of all normals at its own place and those beside it, by a
Mahalanobis distance with one covariance for all places, relative to how far normals are off there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from anomalist.types.common import FloatArray

_RIDGE = 0.02  # of the mean variance, added to each
_COVARIANCE_TOKENS = 20_000  # residuals that the covariance is estimated from, at most
_REACH = 1  # patches to each side at which a token may have its place
_LEAST_SPREAD = 0.25  # of the median over places


@dataclass(frozen=True, eq=False)
class PositionMemory:
    """Means of the tokens at each place, and the covariance within places.

    Parameters
    ----------
    means : float32 (h, w, d), of whitened tokens.
    whitening : float32 (d, d), takes tokens to where normals vary alike in all directions.
    spread : float32 (h, w), usual distance of an unseen normal.
    count : of the normal pictures.
    learned : whitened tokens of the normals by number, float16 (h, w, d); only until they are left out no more.
    """

    means: FloatArray
    whitening: FloatArray
    spread: FloatArray
    count: int
    learned: Mapping[int, npt.NDArray[np.float16]] = field(default_factory=dict, repr=False)

    @classmethod
    def fit(cls, grids: Sequence[FloatArray], groups: npt.NDArray[np.int64], seed: int) -> PositionMemory:
        """Fit to the tokens of n pictures, float (h, w, d) each, of one shape; ``groups`` are their objects."""
        shape, count = grids[0].shape, len(grids)
        mean = np.zeros(shape, np.float64)
        for grid in grids:
            mean += grid
        mean /= count
        whitening = _whitening(grids, mean, seed)
        learned = {
            number: (grid.reshape(-1, shape[-1]).astype(np.float32) @ whitening)
            .reshape(shape)
            .astype(np.float16)
            for number, grid in enumerate(grids)
        }
        # As they are stored, so that a profile that was read scores as the one that was learned.
        means = (mean.reshape(-1, shape[-1]) @ whitening).reshape(shape).astype(np.float16).astype(np.float32)
        memory = cls(means, whitening, np.ones(shape[:2], np.float32), count, learned)
        chosen = np.random.default_rng((seed, 13)).permutation(count)[:64]
        unseen = [
            memory._distances(learned[number].astype(np.float32), np.flatnonzero(groups == groups[number]))
            for number in chosen
        ]
        return replace(memory, spread=_smoothed_spread(np.median(unseen, axis=0)))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What `of_arrays` reads."""
        means = self.means.astype(np.float16)
        count = np.array([self.count], np.int64)
        return {"means": means, "whitening": self.whitening, "spread": self.spread, "count": count}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> PositionMemory:
        """Restore what `arrays` gave."""
        means = arrays["means"].astype(np.float32)
        return cls(means, arrays["whitening"], arrays["spread"], int(arrays["count"][0]))

    def forget(self) -> PositionMemory:
        """The memory without what is needed to leave pictures out."""
        return replace(self, learned={})

    def distances(
        self, tokens: FloatArray, excluded: npt.NDArray[np.int32] | None = None
    ) -> FloatArray | None:
        """Distance of each token, float32 (h, w, d), relative to that of normals there; float32 (h, w).

        ``excluded`` pictures are left out; only after learning. None where the grid is of another shape.
        """
        if tokens.shape != self.means.shape:
            return None
        white = (tokens.reshape(-1, tokens.shape[-1]) @ self.whitening).reshape(tokens.shape)
        return np.asarray(self._distances(white, excluded) / self.spread, np.float32)

    def _distances(self, white: FloatArray, excluded: npt.NDArray[np.integer] | None) -> FloatArray:
        means = self.means if excluded is None else self._means_without(excluded)
        height, width = white.shape[:2]
        padded = np.pad(means, ((_REACH, _REACH), (_REACH, _REACH), (0, 0)), mode="edge")
        nearest = np.full((height, width), np.inf, np.float32)
        for down in range(2 * _REACH + 1):
            for across in range(2 * _REACH + 1):
                off = white - padded[down : down + height, across : across + width]
                np.minimum(nearest, np.einsum("ijk,ijk->ij", off, off), out=nearest)
        return np.asarray(np.sqrt(nearest), np.float32)

    def _means_without(self, excluded: npt.NDArray[np.integer]) -> FloatArray:
        gone = [self.learned[int(number)] for number in excluded if int(number) in self.learned]
        if not gone or len(gone) >= self.count:
            return self.means
        total = self.means * self.count - np.sum(gone, axis=0, dtype=np.float32)
        return np.asarray(total / (self.count - len(gone)), np.float32)


def _whitening(grids: Sequence[FloatArray], mean: npt.NDArray[np.float64], seed: int) -> FloatArray:
    """Matrix (d, d) for the covariance of the tokens about the mean of their place."""
    from scipy.linalg import solve_triangular

    rng, depth = np.random.default_rng((seed, 12)), mean.shape[-1]
    each = max(1, _COVARIANCE_TOKENS // len(grids))
    flat = mean.reshape(-1, depth)
    residuals = []
    for grid in grids:
        rows = rng.permutation(len(flat))[:each]
        residuals.append(grid.reshape(-1, depth)[rows] - flat[rows])
    joined = np.concatenate(residuals).astype(np.float64)
    covariance = joined.T @ joined / len(joined)
    ridge = max(_RIDGE * float(np.trace(covariance)) / depth, 1e-8)
    lower = np.linalg.cholesky(covariance + ridge * np.eye(depth))
    return np.asarray(solve_triangular(lower, np.eye(depth), lower=True).T, np.float32)


def _smoothed_spread(spread: FloatArray) -> FloatArray:
    import cv2

    smooth = cv2.GaussianBlur(spread.astype(np.float32), (0, 0), 1.0)
    return np.asarray(np.maximum(smooth, _LEAST_SPREAD * float(np.median(smooth))), np.float32)
