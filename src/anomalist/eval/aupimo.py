"""AUPIMO: how much of each defect is found at a false-positive rate that leaves normal pictures clean."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from anomalist.eval.metrics import Floats
from anomalist.eval.pixels import Keys, Tally, checked, ordered_keys, thinned
from anomalist.types import BoolArray, FloatArray

BOUNDS = (1e-5, 1e-4)
"""False-positive rates that are integrated over, those of the paper."""

_KEPT = 4096  # keys of a defect, 16 KB a picture


class PimoCurves:
    """The per-image overlap curves of many pictures, each added once and forgotten.

    Bertoldo, Ameln, Vaidya and Akçay, "AUPIMO: Redefining Visual Anomaly Detection Benchmarks with High Speed
    and Low Tolerance", BMVC 2024. A picture with a defect has the curve of its own recall, the share of the
    pixels of its mask at or above a threshold, against the false-positive rate at that threshold. That rate
    is shared by all pictures: the mean, over the normal pictures alone, of the share of each one's pixels at
    or above the threshold (``pimo_curves`` in the authors' code), so a large picture counts as much as a
    small one.

    Scores are told apart as finely as `ordered_keys` does. Of a defect with more than 4,096 pixels as many
    quantiles are kept, which changes its recall by less than 1/4096.
    """

    def __init__(self) -> None:
        self._normal = Tally(1)
        self._normals = 0
        self._largest = 0
        self._defects: list[Keys] = []

    def add(self, score_map: FloatArray, mask: BoolArray) -> None:
        """Take one picture.

        Parameters
        ----------
        score_map : float32 (H, W), higher is more anomalous, comparable between pictures.
        mask : bool (H, W), True on the defect; without any the picture is a normal one.

        Raises
        ------
        ValueError : shapes that differ, or a map that holds NaN.
        """
        checked(score_map, mask)
        keys = ordered_keys(score_map)
        if mask.any():
            self._defects.append(thinned(keys[mask], _KEPT))
            return
        self._normal.add(0, keys.ravel(), 1 / keys.size)
        self._normals += 1
        self._largest = max(self._largest, keys.size)

    @property
    def finest(self) -> float | None:
        """The lowest false-positive rate above 0 that the normal pictures can show: one pixel."""
        return 1 / (self._normals * self._largest) if self._normals else None

    def areas(self, bounds: tuple[float, float] = BOUNDS) -> Floats | None:
        """AUPIMO of each picture with a defect, in the order added.

        A(i) = 1 / ln(U/L) · ∫ T_i(F⁻¹(z)) d ln z over z from L to U: the recall T_i averaged over the
        logarithm of the shared false-positive rate F. Between two rates that occur, T_i is a straight line
        in F, which is what half credit for ties means; on such a line the integral has a closed form. (The
        authors' code sums trapezoids in ln F, the same in the limit of many normal pixels.)

        Parameters
        ----------
        bounds : (L, U), 0 < L < U ≤ 1.

        Returns
        -------
        float64 (n,), 0 to 1; a map that ranks at random gives (U − L) / ln(U/L), 4·10⁻⁵ at the default. None
        without a defect or when L is less than one pixel of the normal pictures.
        """
        low, high = bounds
        if not 0 < low < high <= 1:
            raise ValueError(f"bounds must be 0 < L < U ≤ 1, got {bounds}")
        if not self._defects or self.finest is None or self.finest > low:
            return None
        keys, (weights,) = self._normal.used()
        keys, rates = keys[::-1], np.cumsum(weights[::-1]) / self._normals
        rates[-1] = 1.0  # all pixels, whatever rounding says
        before = np.concatenate(([0.0], rates[:-1]))
        inside = (rates > low) & (before < high)
        keys, before, after = keys[inside], before[inside], rates[inside]
        start, end = np.maximum(before, low), np.minimum(after, high)
        areas = np.empty(len(self._defects))
        for number, defect in enumerate(self._defects):
            above = 1 - np.searchsorted(defect, keys, side="right") / defect.size
            reached = 1 - np.searchsorted(defect, keys, side="left") / defect.size
            slope = (reached - above) / (after - before)
            areas[number] = ((above - slope * before) * np.log(end / start) + slope * (end - start)).sum()
        return np.clip(areas / np.log(high / low), 0, 1, out=areas)


def aupimo(
    maps: Iterable[FloatArray], masks: Iterable[BoolArray], bounds: tuple[float, float] = BOUNDS
) -> Floats | None:
    """AUPIMO of each picture with a defect, float64 (n,); see `PimoCurves.areas`."""
    curves = PimoCurves()
    for score_map, mask in zip(maps, masks, strict=True):
        curves.add(score_map, mask)
    return curves.areas(bounds)
