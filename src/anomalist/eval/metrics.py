"""Measures of detection: ranking of pictures, ranking of pixels, overlap of regions, intervals.

A measure that is undefined (one class only, nothing to average) is None, never 0.5 or 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from anomalist.types import BoolArray, FloatArray

Floats = npt.NDArray[np.floating[Any]]
Interval = tuple[float, float]

_KEY_BITS = 24


def image_auroc(scores: Floats, labels: BoolArray) -> float | None:
    """Area under the ROC curve: the share of (anomalous, normal) pairs in the right order, ties half.

    The Mann-Whitney statistic by midranks, (Σ ranks of the anomalous − P(P + 1)/2) / (P·N); Hanley and
    McNeil, "The meaning and use of the area under a ROC curve", Radiology 143, 1982.

    Parameters
    ----------
    scores : float (n,), higher is more anomalous; infinities allowed.
    labels : bool (n,), True is anomalous.

    Returns
    -------
    0 to 1, or None unless both classes are present.

    Raises
    ------
    ValueError : shapes that differ, or a score that is not a number.
    """
    _check_scores(scores, labels)
    positives = int(labels.sum())
    negatives = labels.size - positives
    if not positives or not negatives:
        return None
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    midranks = np.cumsum(counts) - (counts - 1) / 2
    rank_sum = midranks[inverse][labels].sum()
    return float((rank_sum - positives * (positives + 1) / 2) / (positives * negatives))


def average_precision(scores: Floats, labels: BoolArray) -> float | None:
    """Average precision, Σ (R_k − R_{k−1}) P_k over the distinct scores from high to low.

    The step-wise sum without interpolation (Boyd, Eng and Page, ECML PKDD 2013; the same as scikit-learn's).
    Pictures with equal scores enter together. Its value for a random order is the share of anomalies.

    Parameters
    ----------
    scores : float (n,), higher is more anomalous.
    labels : bool (n,), True is anomalous.

    Returns
    -------
    0 to 1, or None unless both classes are present.

    Raises
    ------
    ValueError : shapes that differ, or a score that is not a number.
    """
    _check_scores(scores, labels)
    positives = int(labels.sum())
    if not positives or positives == labels.size:
        return None
    distinct, inverse = np.unique(scores, return_inverse=True)
    flagged = np.bincount(inverse, minlength=distinct.size)[::-1]
    hits = np.bincount(inverse[labels], minlength=distinct.size)[::-1]
    precision = np.cumsum(hits) / np.cumsum(flagged)
    return float((precision * hits).sum() / positives)


class PixelCurve:
    """Pixel AUROC and AUPRO over many score maps of any size, in bounded memory.

    Every map is added once and forgotten. Pixels are counted by the upper 24 of the 32 bits of their score,
    in an order that follows the numbers, so no range has to be known: scores that differ by more than
    2⁻¹⁵ (0.003 %) of their size are told apart, closer ones count as tied. The three histograms reserve
    384 MB of address space, of which only the pages of scores that occur take memory (a few MB as a rule).

    Normal pictures are added with an empty mask; their pixels count as normal.
    """

    def __init__(self) -> None:
        bins = 1 << _KEY_BITS
        self._normal = np.zeros(bins, np.int64)
        self._anomalous = np.zeros(bins, np.int64)
        self._overlap = np.zeros(bins, np.float64)
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

        if score_map.shape != mask.shape or score_map.ndim != 2:
            raise ValueError(f"map and mask must have one shape (H, W), got {score_map.shape}, {mask.shape}")
        keys = _ordered_keys(score_map)
        np.add.at(self._normal, keys[~mask], 1)
        if not mask.any():
            return
        np.add.at(self._anomalous, keys[mask], 1)
        # Eight neighbours make a region, as in the evaluation code of MVTec AD.
        regions, count = label(mask, structure=np.ones((3, 3), dtype=np.int8))
        inside = regions[mask]
        np.add.at(self._overlap, keys[mask], 1 / np.bincount(inside)[inside])
        self._regions += count

    def auroc(self) -> float | None:
        """Area under the ROC curve over all pixels of all pictures, 0 to 1; None with one class only."""
        return self._area(self._anomalous, int(self._anomalous.sum()), limit=1.0)

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
        return self._area(self._overlap, self._regions, fpr_limit)

    def _area(self, gain: npt.NDArray[Any], total: int, limit: float) -> float | None:
        """Trapezoids under the cumulated ``gain / total`` against the false-positive rate, 0 to ``limit``.

        Within a bin the curve is a straight line, which is what half credit for ties means.
        """
        normals = int(self._normal.sum())
        if not normals or not total:
            return None
        used = np.flatnonzero((self._normal > 0) | (self._anomalous > 0))[::-1]
        fpr = np.concatenate(([0.0], np.cumsum(self._normal[used]) / normals))
        height = np.concatenate(([0.0], np.cumsum(gain[used]) / total))
        at_limit = _value_at(limit, fpr, height)
        keep = fpr <= limit
        x, y = np.append(fpr[keep], limit), np.append(height[keep], at_limit)
        return min(1.0, float(np.trapezoid(y, x)) / limit)  # sums of 1/area can pass 1 by rounding


def pixel_auroc(maps: Iterable[FloatArray], masks: Iterable[BoolArray]) -> float | None:
    """AUROC over all pixels of all pictures; see `PixelCurve.auroc`."""
    return _curve(maps, masks).auroc()


def aupro(maps: Iterable[FloatArray], masks: Iterable[BoolArray], fpr_limit: float = 0.3) -> float | None:
    """Area under the per-region overlap curve; see `PixelCurve.aupro`."""
    return _curve(maps, masks).aupro(fpr_limit)


def group_bootstrap(
    statistic: Callable[[npt.NDArray[np.intp]], float | None],
    groups: Sequence[str],
    seed: int,
    n: int = 1000,
) -> Interval | None:
    """95 % interval of a statistic when whole groups are drawn again with replacement.

    The percentile bootstrap over clusters (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993,
    chapter 13; Field and Welsh, JRSS B 69, 2007). Pictures of one object stay together, so the interval
    answers "other objects", not "other pictures of the same objects". It can't see what never happened: a
    rate of zero gives the interval (0, 0).

    Parameters
    ----------
    statistic : takes indices into the items (some repeated) and returns a number, or None if undefined.
    groups : the group of each item.
    seed : of the drawing.
    n : resamples.

    Returns
    -------
    (low, high), the 2.5th and 97.5th percentile of the resamples where the statistic is defined; None with
    fewer than two groups or when it is undefined in more than half of the resamples.
    """
    _, inverse = np.unique(np.asarray(groups), return_inverse=True)
    count = int(inverse.max()) + 1 if inverse.size else 0
    if count < 2:
        return None
    members = [np.flatnonzero(inverse == group) for group in range(count)]
    rng = np.random.default_rng(seed)
    drawn = (np.concatenate([members[g] for g in rng.integers(count, size=count)]) for _ in range(n))
    values = [value for value in map(statistic, drawn) if value is not None]
    if len(values) * 2 < n:
        return None
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)


def _curve(maps: Iterable[FloatArray], masks: Iterable[BoolArray]) -> PixelCurve:
    curve = PixelCurve()
    for score_map, mask in zip(maps, masks, strict=True):
        curve.add(score_map, mask)
    return curve


def _check_scores(scores: Floats, labels: BoolArray) -> None:
    if scores.ndim != 1 or scores.shape != labels.shape or labels.dtype != np.bool_:
        raise ValueError(
            f"scores must be float (n,) and labels bool (n,), got {scores.shape} and "
            f"{labels.dtype.name} {labels.shape}"
        )
    if np.isnan(scores).any():
        raise ValueError("a score is not a number")


def _ordered_keys(score_map: FloatArray) -> npt.NDArray[np.uint32]:
    """Unsigned keys that sort as the float32 numbers do.

    IEEE 754 numbers of one sign sort as their bits; flipping all bits of the negative ones and the sign bit
    of the others puts both on one scale (Herf, "Radix tricks", 2001). Adding 0 merges −0 with 0.
    """
    if np.isnan(score_map).any():
        raise ValueError("the score map holds NaN")
    bits = (np.ascontiguousarray(score_map, dtype=np.float32) + np.float32(0)).view(np.uint32)
    ordered = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    return (ordered >> np.uint32(32 - _KEY_BITS)).astype(np.uint32)


def _value_at(limit: float, x: Floats, y: Floats) -> float:
    """Height of the curve where its x leaves ``limit``: the highest point there, or between two points."""
    after = int(np.searchsorted(x, limit, side="right"))
    if after == x.size:
        return float(y[-1])
    share = (limit - x[after - 1]) / (x[after] - x[after - 1])
    return float(y[after - 1] + share * (y[after] - y[after - 1]))
