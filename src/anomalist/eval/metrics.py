"""Image-level metrics: AUROC, average precision, and a group bootstrap for intervals of any metric.

A metric that is undefined (one class only, nothing to average) is None, not 0.5 or 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from anomalist.types.common import BoolArray

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
