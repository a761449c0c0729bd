"""Pixel-level metrics in bounded memory: pixel AUROC, AP, AUPRO, AUPIMO, peak, mask IoU, an interval.

Score maps of any size are taken one by one and not stored. A metric that is undefined (one class only,
nothing to average) is None, not 0.5 or 0. AUPRO: Bergmann et al., IJCV 129, 2021; AUPIMO: Bertoldo et al.,
BMVC 2024.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anomalist.eval.decision_metrics import best_f1
from anomalist.eval.metrics import Floats, Interval, group_bootstrap, value_at
from anomalist.types.common import BoolArray, FloatArray

Keys = npt.NDArray[np.uint32]

KEY_BITS = 24
"""Of a key, see `ordered_keys`."""
_BLOCK_BITS = 12  # of a key within a block of `SparseHistogram`


def ordered_keys(score_map: FloatArray, bits: int = KEY_BITS) -> Keys:
    """Integers of so many bits in the order of the float32 scores.

    IEEE 754 numbers of one sign sort as their bits; flipping all bits of the negative ones and the sign bit
    of the others puts both on one scale (Herf, "Radix tricks", 2001). Adding 0 merges −0 with 0. The lowest
    bits are dropped: with 24 bits, scores that differ by more than 2⁻¹⁵ (0.003 %) of their size get different
    keys, closer ones may be tied.

    Raises
    ------
    ValueError : the map holds NaN.
    """
    if np.isnan(score_map).any():
        raise ValueError("the score map holds NaN")
    raw = (np.ascontiguousarray(score_map, dtype=np.float32) + np.float32(0)).view(np.uint32)
    ordered = np.where(raw >> 31, ~raw, raw | np.uint32(1 << 31))
    return (ordered >> np.uint32(32 - bits)).astype(np.uint32)


def check_map_and_mask(score_map: FloatArray, mask: BoolArray) -> None:
    """Raise ValueError unless map and mask have the same shape (H, W)."""
    if score_map.shape != mask.shape or score_map.ndim != 2:
        raise ValueError(f"map and mask must have one shape (H, W), got {score_map.shape}, {mask.shape}")


def thin_to_quantiles(keys: Keys, limit: int) -> Keys:
    """Sorted keys of one picture, or ``limit`` evenly spaced quantiles where there are more.

    The share of keys above any threshold changes by less than 1/``limit``.
    """
    ranked = np.sort(keys, axis=None)
    if ranked.size <= limit:
        return ranked
    return ranked[((np.arange(limit) + 0.5) * (ranked.size / limit)).astype(np.intp)]


class SparseHistogram:
    """Sparse histogram with several columns: only blocks of 4,096 keys that occur take memory."""

    def __init__(self, columns: int) -> None:
        self._row_of = np.full(1 << (KEY_BITS - _BLOCK_BITS), -1, np.int64)
        self._sums = np.zeros((columns, 0, 1 << _BLOCK_BITS), np.float64)

    def add(self, column: int, keys: Keys, weights: float | Floats = 1.0) -> None:
        """Add a weight, one for all or one for each, at keys (n,)."""
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
        """Keys (K,) with a non-zero sum, in increasing order, and their sums (columns, K)."""
        columns, _, size = self._sums.shape
        blocks = np.flatnonzero(self._row_of >= 0)
        keys = ((blocks[:, None] << _BLOCK_BITS) + np.arange(size)).reshape(-1)
        sums = self._sums[:, self._row_of[blocks]].reshape(columns, -1)
        used = sums.any(axis=0)
        return keys[used].astype(np.uint32), sums[:, used]


@dataclass(frozen=True, eq=False)
class PixelCounts:
    """Pixel counts at each score that occurs.

    Parameters
    ----------
    keys : uint32 (K,), increasing; see `ordered_keys`.
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

    def average_precision(self) -> float | None:
        """Average precision over all pixels of all pictures, 0 to 1; None with one class only.

        The step-wise sum of `anomalist.eval.metrics.average_precision`.
        """
        normal, anomalous = self.sums[0, ::-1], self.sums[1, ::-1]
        if not normal.sum() or not anomalous.sum():
            return None
        hits = np.cumsum(anomalous)
        precision = hits / (hits + np.cumsum(normal))
        return float((precision * anomalous).sum() / anomalous.sum())

    def best_f1(self) -> float | None:
        """F1 over all pixels at the best threshold, found on the labels; None without an anomalous pixel."""
        return best_f1(self.sums[0], self.sums[1])

    def _area(self, gain: Floats, total: float, limit: float) -> float | None:
        """Area under cumulative ``gain / total`` over the false-positive rate up to ``limit``, normalised.

        Trapezoids: within a bin the curve is a straight line, which gives half credit for ties.
        """
        normals = self.sums[0].sum()
        if not normals or not total:
            return None
        fpr = np.concatenate(([0.0], np.cumsum(self.sums[0, ::-1]) / normals))
        height = np.concatenate(([0.0], np.cumsum(gain[::-1]) / total))
        at_limit = value_at(limit, fpr, height)
        keep = fpr <= limit
        x, y = np.append(fpr[keep], limit), np.append(height[keep], at_limit)
        return min(1.0, float(np.trapezoid(y, x)) / limit)  # sums of 1/area can pass 1 by rounding


class PixelCurve:
    """Pixel counts for AUROC and AUPRO over many pictures; score maps are not stored.

    The range of scores need not be known; see `ordered_keys` for the resolution. Normal pictures are added
    with an empty mask.
    """

    def __init__(self) -> None:
        self._histogram = SparseHistogram(3)
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

        check_map_and_mask(score_map, mask)
        keys = ordered_keys(score_map)
        self._histogram.add(0, keys[~mask])
        if not mask.any():
            return
        self._histogram.add(1, keys[mask])
        # 8-connectivity, as in the evaluation code of MVTec AD.
        regions, count = label(mask, structure=np.ones((3, 3), dtype=np.int8))
        inside = regions[mask]
        self._histogram.add(2, keys[mask], 1 / np.bincount(inside)[inside])
        self._regions += count

    def counts(self) -> PixelCounts:
        """The counts so far."""
        return PixelCounts(*self._histogram.used(), self._regions)


def merge_counts(parts: Sequence[PixelCounts]) -> PixelCounts:
    """Sum of pixel counts."""
    keys, places = np.unique(np.concatenate([part.keys for part in parts]), return_inverse=True)
    columns = np.concatenate([part.sums for part in parts], axis=1)
    sums = [np.bincount(places, column, minlength=keys.size) for column in columns]
    return PixelCounts(keys, np.stack(sums), sum(part.regions for part in parts))


def pixel_auroc(maps: Iterable[FloatArray], masks: Iterable[BoolArray]) -> float | None:
    """AUROC over all pixels of all pictures; see `PixelCounts.auroc`."""
    return _pixel_counts(maps, masks).auroc()


def aupro(maps: Iterable[FloatArray], masks: Iterable[BoolArray], fpr_limit: float = 0.3) -> float | None:
    """Area under the per-region overlap curve; see `PixelCounts.aupro`."""
    return _pixel_counts(maps, masks).aupro(fpr_limit)


def _pixel_counts(maps: Iterable[FloatArray], masks: Iterable[BoolArray]) -> PixelCounts:
    curve = PixelCurve()
    for score_map, mask in zip(maps, masks, strict=True):
        curve.add(score_map, mask)
    return curve.counts()


FPR_BOUNDS = (1e-5, 1e-4)
"""Bounds of the false-positive rate for AUPIMO, as in the paper."""

_KEYS_PER_DEFECT = 1 << 18  # keys stored for a defect, 1 MB per picture at most


_EXACT_BITS = 32  # of a key that no two different scores share
_MAX_TOP = 1 << 20  # highest normal pixels that are kept exactly, 12 MB


class _HighestKeys:
    """The highest keys that were added, with their weights, exactly; all of them up to ``_MAX_TOP``."""

    def __init__(self) -> None:
        self._keys = np.zeros(0, np.uint32)
        self._weights = np.zeros(0, np.float64)
        self._floor = 0
        self.complete = True

    def add(self, keys: Keys, weight: float) -> None:
        """Add keys (n,) of one weight."""
        high = keys[keys >= self._floor]
        self._keys = np.concatenate((self._keys, high))
        self._weights = np.concatenate((self._weights, np.full(high.size, weight)))
        if self._keys.size > 2 * _MAX_TOP:
            # Those that tie with the lowest that is kept go with it: what stays is whole.
            self._floor = int(np.partition(self._keys, -_MAX_TOP)[-_MAX_TOP]) + 1
            kept = self._keys >= self._floor
            self._keys, self._weights, self.complete = self._keys[kept], self._weights[kept], False

    def summed(self) -> tuple[Keys, Floats]:
        """Distinct keys, falling, and the sum of the weights of each."""
        keys, inverse = np.unique(self._keys, return_inverse=True)
        sums = np.asarray(np.bincount(inverse, self._weights, keys.size), np.float64)
        return keys[::-1], sums[::-1]


class PimoCurves:
    """Per-image overlap (PIMO) curves of many pictures; score maps are not stored.

    Bertoldo, Ameln, Vaidya and Akçay, "AUPIMO: Redefining Visual Anomaly Detection Benchmarks with High Speed
    and Low Tolerance", BMVC 2024. A picture with a defect has the curve of its own recall, the share of the
    pixels of its mask at or above a threshold, against the false-positive rate at that threshold. That rate
    is shared by all pictures: the mean, over the normal pictures alone, of the share of each one's pixels at
    or above the threshold (``pimo_curves`` in the authors' code), so a large picture counts as much as a
    small one.

    Scores are exact, but beyond the highest million normal pixels their resolution is that of `ordered_keys`.
    Of a defect with more than 262,144 pixels, as many quantiles are stored, which changes its recall by less
    than 1/262144.
    """

    def __init__(self) -> None:
        self._normal = SparseHistogram(1)
        self._top = _HighestKeys()
        self._normals = 0
        self._largest = 0
        self._defects: list[Keys] = []

    def add(self, score_map: FloatArray, mask: BoolArray) -> None:
        """Add one picture.

        Parameters
        ----------
        score_map : float32 (H, W), higher is more anomalous, comparable between pictures.
        mask : bool (H, W), True on the defect; all False for a normal picture.

        Raises
        ------
        ValueError : shapes that differ, or a map that holds NaN.
        """
        check_map_and_mask(score_map, mask)
        keys = ordered_keys(score_map, _EXACT_BITS)
        if mask.any():
            self._defects.append(thin_to_quantiles(keys[mask], _KEYS_PER_DEFECT))
            return
        self._normal.add(0, keys.ravel() >> np.uint32(_EXACT_BITS - KEY_BITS), 1 / keys.size)
        self._top.add(keys.ravel(), 1 / keys.size)
        self._normals += 1
        self._largest = max(self._largest, keys.size)

    @property
    def finest(self) -> float | None:
        """The smallest false-positive rate above 0 that can occur: one pixel of the normal pictures."""
        return 1 / (self._normals * self._largest) if self._normals else None

    def areas(self, bounds: tuple[float, float] = FPR_BOUNDS) -> Floats | None:
        """AUPIMO of each picture with a defect, in the order added.

        A(i) = 1 / ln(U/L) · ∫ T_i(F⁻¹(z)) d ln z over z from L to U: the recall T_i averaged over the
        logarithm of the shared false-positive rate F. Between two rates that occur, T_i is linear in F, which
        gives half credit for ties; there the integral has a closed form. (The
        authors' code sums trapezoids in ln F, the same in the limit of many normal pixels.)

        Parameters
        ----------
        bounds : (L, U), 0 < L < U ≤ 1.

        Returns
        -------
        float64 (n,), 0 to 1; a random map gives (U − L) / ln(U/L), 4·10⁻⁵ at the default. None
        without a defect or when L is less than one pixel of the normal pictures.
        """
        low, high = bounds
        if not 0 < low < high <= 1:
            raise ValueError(f"bounds must be 0 < L < U ≤ 1, got {bounds}")
        if not self._defects or self.finest is None or self.finest > low:
            return None
        keys, rates, defects = self._rates(high)
        before = np.concatenate(([0.0], rates[:-1]))
        inside = (rates > low) & (before < high)
        keys, before, after = keys[inside], before[inside], rates[inside]
        start, end = np.maximum(before, low), np.minimum(after, high)
        areas = np.empty(len(defects))
        for number, defect in enumerate(defects):
            above = 1 - np.searchsorted(defect, keys, side="right") / defect.size
            reached = 1 - np.searchsorted(defect, keys, side="left") / defect.size
            slope = (reached - above) / (after - before)
            areas[number] = ((above - slope * before) * np.log(end / start) + slope * (end - start)).sum()
        return np.clip(areas / np.log(high / low), 0, 1, out=areas)

    def _rates(self, high: float) -> tuple[Keys, Floats, list[Keys]]:
        """Falling keys of normal pixels, the rate from each on, and the keys of defects to compare with them.

        They are exact where the highest normal pixels reach the rate ``high``.
        """
        keys, weights = self._top.summed()
        rates = np.cumsum(weights) / self._normals
        if self._top.complete or (rates.size and rates[-1] >= high):
            if self._top.complete:
                rates[-1] = 1.0  # exactly, despite rounding
            return keys, rates, self._defects
        keys, (weights,) = self._normal.used()
        rates = np.cumsum(weights[::-1]) / self._normals
        rates[-1] = 1.0
        coarse = [defect >> np.uint32(_EXACT_BITS - KEY_BITS) for defect in self._defects]
        return keys[::-1], rates, coarse


def aupimo(
    maps: Iterable[FloatArray], masks: Iterable[BoolArray], bounds: tuple[float, float] = FPR_BOUNDS
) -> Floats | None:
    """AUPIMO of each picture with a defect, float64 (n,); see `PimoCurves.areas`."""
    curves = PimoCurves()
    for score_map, mask in zip(maps, masks, strict=True):
        curves.add(score_map, mask)
    return curves.areas(bounds)


def peak_inside(score_map: FloatArray, truth: BoolArray) -> bool:
    """Whether the highest pixel of a map lies in the ground truth, without any tolerance.

    Parameters
    ----------
    score_map : float32 (H, W), higher is more anomalous; of several highest pixels the first in reading order
        counts.
    truth : bool (H, W), True on the defect.

    Raises
    ------
    ValueError : shapes that differ.
    """
    check_map_and_mask(score_map, truth)
    return bool(truth.flat[np.argmax(score_map)])


def mask_iou(one: BoolArray, other: BoolArray) -> float | None:
    """Intersection of two masks bool (H, W) by their union, 0 to 1; None when both are empty.

    Raises
    ------
    ValueError : shapes that differ.
    """
    if one.shape != other.shape:
        raise ValueError(f"masks must have one shape (H, W), got {one.shape}, {other.shape}")
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else None


_KEYS_PER_CLASS = 1024  # keys stored for each class, at most 8 KB per picture
_BINS = 1024  # of the histograms for the bootstrap


@dataclass(frozen=True, eq=False)
class _PictureQuantiles:
    """Quantiles of the keys of a picture's normal and anomalous pixels, and the numbers of these pixels."""

    group: str
    quantiles: tuple[Keys, Keys]
    pixels: tuple[int, int]


class GroupedPixels:
    """Histograms by group for the bootstrap interval of the pixel AUROC; score maps are not stored.

    Of each picture, at most 1,024 quantiles of the scores of each class are stored. For the bootstrap they
    are counted by group in 1,024 bins with about equally many normal pixels, so that a resample is a weighted
    sum of histograms. Both approximations together change the AUROC of a resample by less than 0.002.
    """

    def __init__(self) -> None:
        self._pictures: list[_PictureQuantiles] = []

    def add(self, score_map: FloatArray, mask: BoolArray, group: str) -> None:
        """Add one picture: score map float32 (H, W), ground truth bool (H, W), and its group."""
        check_map_and_mask(score_map, mask)
        keys = ordered_keys(score_map)
        quantiles = (
            thin_to_quantiles(keys[~mask], _KEYS_PER_CLASS),
            thin_to_quantiles(keys[mask], _KEYS_PER_CLASS),
        )
        anomalous = int(mask.sum())
        self._pictures.append(_PictureQuantiles(group, quantiles, (mask.size - anomalous, anomalous)))

    def interval(self, seed: int, n: int = 1000) -> Interval | None:
        """95 % interval of the AUROC over all pixels; see `group_bootstrap`."""
        names = sorted({picture.group for picture in self._pictures})
        if len(names) < 2:
            return None
        normal, anomalous = self._histograms(names)

        def auroc(drawn: npt.NDArray[np.intp]) -> float | None:
            times = np.bincount(drawn, minlength=len(names)).astype(np.float32)
            return _histogram_auroc(times @ normal, times @ anomalous)

        return group_bootstrap(auroc, names, seed, n)

    def _histograms(self, names: list[str]) -> tuple[FloatArray, FloatArray]:
        """Histograms of the normal and the anomalous pixels of every group, float32 (G, bins) each."""
        place = {name: number for number, name in enumerate(names)}
        edges = self._edges()
        counts = np.zeros((2, len(names), edges.size + 1), np.float32)
        for picture in self._pictures:
            for side, (quantiles, pixels) in enumerate(zip(picture.quantiles, picture.pixels, strict=True)):
                if pixels:
                    bins = np.searchsorted(edges, quantiles, side="right")
                    weight = pixels / quantiles.size
                    counts[side, place[picture.group]] += weight * np.bincount(bins, minlength=edges.size + 1)
        return counts[0], counts[1]

    def _edges(self) -> Keys:
        """Lower ends of the bins, with keys weighted by the pixels that they stand for."""
        keys = np.concatenate([picture.quantiles[0] for picture in self._pictures])
        if not keys.size:
            return keys
        sizes = np.array([picture.quantiles[0].size for picture in self._pictures])
        pixels = np.array([picture.pixels[0] for picture in self._pictures])
        weights = np.repeat(pixels / np.maximum(sizes, 1), sizes)
        rising = np.argsort(keys)
        reached = np.cumsum(weights[rising])
        places = np.searchsorted(reached, np.arange(_BINS) * (reached[-1] / _BINS), side="right")
        return np.unique(keys[rising[places]])


def _histogram_auroc(normal: Floats, anomalous: Floats) -> float | None:
    """AUROC from histograms by increasing score; ties count half."""
    normal, anomalous = normal.astype(np.float64), anomalous.astype(np.float64)
    pairs = normal.sum() * anomalous.sum()
    if not pairs:
        return None
    below = np.cumsum(normal) - normal / 2
    return float((anomalous * below).sum() / pairs)
