"""Image-level metrics (AUROC, average precision, recall at a rate), and how far any metric varies.

It varies over groups (bootstrap) and over seeds (standard deviation).

A metric that is undefined (one class only, nothing to average) is None, not 0.5 or 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import fmean, stdev
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from anomalist.types.common import BoolArray, Frozen

Floats = npt.NDArray[np.floating[Any]]
Interval = tuple[float, float]


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


def recall_at_rate(scores: Floats, labels: BoolArray, rate: float) -> float | None:
    """Share of the anomalous that the best threshold finds which flags a share ``rate`` of the normals.

    The highest point of the ROC curve at that false-positive rate. At a rate of 0 the threshold is the
    highest normal score, and only what lies strictly above it is found. Equal scores can't be told apart by a
    threshold: where the rate cuts through them, the same part of the tied normals and of the tied anomalous
    is flagged, which is what drawing lots among them gives on average. Nothing else is interpolated: a rate
    between two that thresholds can reach gives the recall of the lower one.

    Parameters
    ----------
    scores : float (n,), higher is more anomalous; infinities allowed.
    labels : bool (n,), True is anomalous.
    rate : false-positive rate, 0 to 1.

    Returns
    -------
    0 to 1, or None unless both classes are present.

    Raises
    ------
    ValueError : shapes that differ, a score that is not a number, or a rate outside 0 to 1.
    """
    _check_scores(scores, labels)
    if not 0 <= rate <= 1:
        raise ValueError(f"rate must be in [0, 1], got {rate}")
    if not labels.any() or labels.all():
        return None
    distinct, inverse = np.unique(scores, return_inverse=True)
    normals, anomalous = (np.bincount(inverse[side], minlength=distinct.size) for side in (~labels, labels))
    shares = [np.concatenate(([0], np.cumsum(side[::-1]))) / side.sum() for side in (normals, anomalous)]
    return value_at(rate, *shares)


def value_at(limit: float, x: Floats, y: Floats) -> float:
    """Value of a curve at x = ``limit``: its highest point there, or linearly interpolated.

    Parameters
    ----------
    limit : at least x[0].
    x, y : float (n,), neither ever falls; where x stays the same, the curve is vertical.
    """
    after = int(np.searchsorted(x, limit, side="right"))
    if after == x.size:
        return float(y[-1])
    share = (limit - x[after - 1]) / (x[after] - x[after - 1])
    return float(y[after - 1] + share * (y[after] - y[after - 1]))


class MeanStd(Frozen):
    """A measure over the seeds for which it is defined."""

    mean: float
    std: float | None = Field(description="sample standard deviation; None of a single value")
    n: int = Field(description="seeds for which it is defined")


def mean_std(values: Iterable[float | None]) -> MeanStd | None:
    """Mean and sample standard deviation of the values that are defined; None without any."""
    defined = [value for value in values if value is not None]
    if not defined:
        return None
    return MeanStd(mean=fmean(defined), std=stdev(defined) if len(defined) > 1 else None, n=len(defined))


def group_bootstrap(
    statistic: Callable[[npt.NDArray[np.intp]], float | None],
    groups: Sequence[str],
    seed: int,
    n: int = 1000,
) -> Interval | None:
    """95 % interval of a statistic by the percentile bootstrap over whole groups.

    The cluster bootstrap (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13; Field
    and Welsh, JRSS B 69, 2007). Pictures of one object stay together, so that the interval is about other
    objects, not about other pictures of the same objects. A rate of zero gives the interval (0, 0).

    Parameters
    ----------
    statistic : takes indices into the items (some repeated) and returns a number, or None if undefined.
    groups : the group of each item.
    seed : of the resampling.
    n : number of resamples.

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


def _check_scores(scores: Floats, labels: BoolArray) -> None:
    if scores.ndim != 1 or scores.shape != labels.shape or labels.dtype != np.bool_:
        raise ValueError(
            f"scores must be float (n,) and labels bool (n,), got {scores.shape} and "
            f"{labels.dtype.name} {labels.shape}"
        )
    if np.isnan(scores).any():
        raise ValueError("a score is not a number")
