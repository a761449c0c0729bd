"""Ranking of pixels and overlap of regions, over many score maps of any size in bounded memory.

A measure that is undefined (one class only, nothing to average) is None, never 0.5 or 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anomalist.eval.metrics import Floats
from anomalist.types import BoolArray, FloatArray

Keys = npt.NDArray[np.uint32]

_KEY_BITS = 24
_BLOCK_BITS = 12


def ordered_keys(score_map: FloatArray) -> Keys:
    """Whole numbers of 24 bits that sort as the float32 numbers do.

    IEEE 754 numbers of one sign sort as their bits; flipping all bits of the negative ones and the sign bit
    of the others puts both on one scale (Herf, "Radix tricks", 2001). Adding 0 merges −0 with 0. The lowest
    eight bits are dropped: scores that differ by more than 2⁻¹⁵ (0.003 %) of their size are told apart,
    closer ones are tied.

    Raises
    ------
    ValueError : the map holds NaN.
    """
    if np.isnan(score_map).any():
        raise ValueError("the score map holds NaN")
    bits = (np.ascontiguousarray(score_map, dtype=np.float32) + np.float32(0)).view(np.uint32)
    ordered = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    return (ordered >> np.uint32(32 - _KEY_BITS)).astype(np.uint32)


def checked(score_map: FloatArray, mask: BoolArray) -> None:
    """Raise ValueError unless map and mask are of one shape (H, W)."""
    if score_map.shape != mask.shape or score_map.ndim != 2:
        raise ValueError(f"map and mask must have one shape (H, W), got {score_map.shape}, {mask.shape}")


def thinned(keys: Keys, limit: int) -> Keys:
    """Sorted keys of one picture, or ``limit`` evenly spaced quantiles of them where there are more.

    The share of keys above any threshold changes by less than 1/``limit``.
    """
    ranked = np.sort(keys, axis=None)
    if ranked.size <= limit:
        return ranked
    return ranked[((np.arange(limit) + 0.5) * (ranked.size / limit)).astype(np.intp)]


class Tally:
    """Sums by key, in several columns; only blocks of 4,096 neighbouring keys that occur take memory."""

    def __init__(self, columns: int) -> None:
        self._row_of = np.full(1 << (_KEY_BITS - _BLOCK_BITS), -1, np.int64)
        self._sums = np.zeros((columns, 0, 1 << _BLOCK_BITS), np.float64)

    def add(self, column: int, keys: Keys, weights: float | Floats = 1.0) -> None:
        """Add one weight for all keys (n,), or a weight for each."""
        blocks = keys >> _BLOCK_BITS
        seen = np.bincount(blocks, minlength=self._row_of.size) > 0
        fresh = np.flatnonzero(seen & (self._row_of < 0))
        if fresh.size:
            columns, rows, size = self._sums.shape
            self._row_of[fresh] = rows + np.arange(fresh.size)
            self._sums = np.concatenate((self._sums, np.zeros((columns, fresh.size, size))), axis=1)
        places = (self._row_of[blocks] << _BLOCK_BITS) | (keys & ((1 << _BLOCK_BITS) - 1))
        np.add.at(self._sums[column].reshape(-1), places, weights)

    def used(self) -> tuple[Keys, npt.NDArray[np.float64]]:
        """Keys (K,) with a sum that is not zero, rising, and their sums (columns, K)."""
        columns, _, size = self._sums.shape
        blocks = np.flatnonzero(self._row_of >= 0)
        keys = ((blocks[:, None] << _BLOCK_BITS) + np.arange(size)).reshape(-1)
        sums = self._sums[:, self._row_of[blocks]].reshape(columns, -1)
        used = sums.any(axis=0)
        return keys[used].astype(np.uint32), sums[:, used]


@dataclass(frozen=True, eq=False)
class PixelCounts:
    """What was counted at each score that occurs.

    Parameters
    ----------
    keys : uint32 (K,), rising; see `ordered_keys`.
    sums : float64 (3, K): normal pixels, anomalous pixels, and anomalous pixels each divided by the area of
        its region.
    regions : connected regions of the ground truth.
    """

    keys: Keys
    sums: npt.NDArray[np.float64]
    regions: int

    def auroc(self) -> float | None:
        """Area under the ROC curve over all pixels of all pictures, 0 to 1; None with one class only."""
        return self._area(self.sums[1], self.sums[1].sum(), limit=1.0)

    def aupro(self, fpr_limit: float = 0.3) -> float | None:
        """Area under the per-region overlap curve, up to ``fpr_limit`` and divided by it.

        The overlap at a threshold is the mean, over the connected regions of the ground truth, of the share
        of the region's pixels at or above it; the false-positive rate is over all normal pixels. Bergmann et
        al., "The MVTec Anomaly Detection Dataset", IJCV 129, 2021.

        Parameters
        ----------
        fpr_limit : false-positive rate to integrate to, in (0, 1].

        Returns
        -------
        0 to 1, or None without an anomalous region or without a normal pixel. A random map gives
        fpr_limit / 2, not 0.5.
        """
        if not 0 < fpr_limit <= 1:
            raise ValueError(f"fpr_limit must be in (0, 1], got {fpr_limit}")
        return self._area(self.sums[2], self.regions, fpr_limit)

    def _area(self, gain: Floats, total: float, limit: float) -> float | None:
        """Trapezoids under the cumulated ``gain / total`` against the false-positive rate, 0 to ``limit``.

        Within a bin the curve is a straight line, which is what half credit for ties means.
        """
        normals = self.sums[0].sum()
        if not normals or not total:
            return None
        fpr = np.concatenate(([0.0], np.cumsum(self.sums[0, ::-1]) / normals))
        height = np.concatenate(([0.0], np.cumsum(gain[::-1]) / total))
        at_limit = _value_at(limit, fpr, height)
        keep = fpr <= limit
        x, y = np.append(fpr[keep], limit), np.append(height[keep], at_limit)
        return min(1.0, float(np.trapezoid(y, x)) / limit)  # sums of 1/area can pass 1 by rounding


class PixelCurve:
    """Counts for pixel AUROC and AUPRO over many pictures; every map is added once and forgotten.

    No range of scores has to be known; see `ordered_keys` for how close scores are told apart. Normal
    pictures are added with an empty mask; their pixels count as normal.
    """

    def __init__(self) -> None:
        self._tally = Tally(3)
        self._regions = 0

    def add(self, score_map: FloatArray, mask: BoolArray) -> None:
        """Count the pixels of one picture.

        Parameters
        ----------
        score_map : float32 (H, W), higher is more anomalous, comparable between pictures.
        mask : bool (H, W), True where the picture is anomalous.

        Raises
        ------
        ValueError : shapes that differ, or a map that holds NaN.
        """
        from scipy.ndimage import label

        checked(score_map, mask)
        keys = ordered_keys(score_map)
        self._tally.add(0, keys[~mask])
        if not mask.any():
            return
        self._tally.add(1, keys[mask])
        # Eight neighbours make a region, as in the evaluation code of MVTec AD.
        regions, count = label(mask, structure=np.ones((3, 3), dtype=np.int8))
        inside = regions[mask]
        self._tally.add(2, keys[mask], 1 / np.bincount(inside)[inside])
        self._regions += count

    def counts(self) -> PixelCounts:
        """What was counted so far."""
        return PixelCounts(*self._tally.used(), self._regions)


def together(parts: Sequence[PixelCounts]) -> PixelCounts:
    """Counts over the pictures of all parts."""
    keys, places = np.unique(np.concatenate([part.keys for part in parts]), return_inverse=True)
    columns = np.concatenate([part.sums for part in parts], axis=1)
    sums = [np.bincount(places, column, minlength=keys.size) for column in columns]
    return PixelCounts(keys, np.stack(sums), sum(part.regions for part in parts))


def pixel_auroc(maps: Iterable[FloatArray], masks: Iterable[BoolArray]) -> float | None:
    """AUROC over all pixels of all pictures; see `PixelCounts.auroc`."""
    return _counts(maps, masks).auroc()


def aupro(maps: Iterable[FloatArray], masks: Iterable[BoolArray], fpr_limit: float = 0.3) -> float | None:
    """Area under the per-region overlap curve; see `PixelCounts.aupro`."""
    return _counts(maps, masks).aupro(fpr_limit)


def _counts(maps: Iterable[FloatArray], masks: Iterable[BoolArray]) -> PixelCounts:
    curve = PixelCurve()
    for score_map, mask in zip(maps, masks, strict=True):
        curve.add(score_map, mask)
    return curve.counts()


def _value_at(limit: float, x: Floats, y: Floats) -> float:
    """Height of the curve where its x leaves ``limit``: the highest point there, or between two points."""
    after = int(np.searchsorted(x, limit, side="right"))
    if after == x.size:
        return float(y[-1])
    share = (limit - x[after - 1]) / (x[after] - x[after - 1])
    return float(y[after - 1] + share * (y[after] - y[after - 1]))
