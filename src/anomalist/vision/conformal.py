"""Arithmetic of conformal p-values that are linear between the scores of normals, with numpy alone.

A step function of the score calls alarms at the largest k / (G + 1) at or under the asked rate, which with
few groups is far under it; and it counts a new picture as a whole group, though others of its group may score
lower. Here p is interpolated, and the new picture counts as much as pictures that score high share with
their own group. Where the density of the scores falls with the score, alarms still come at most at the rate.

The runner of an export has this module in its one file (`anomalist.edge.single_file`), so that both decide by
the same numbers: nothing else of the package may be imported here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[Any]

_HIGH = 0.2  # of the groups, by weight: pictures whose share of their own group counts


def own_share(scores: Numbers, groups: Numbers, weights: Numbers) -> float:
    """Mean share of the pictures of a group that score as high as one of them that scores high, in (0, 1].

    It is 1 without groups and for groups of equal scores. ``scores``, ``groups`` and ``weights`` are (n,).
    """
    falling = np.argsort(-scores, kind="stable")
    above = np.cumsum(weights[falling]) - weights[falling]
    high = falling[above <= _HIGH * weights.sum()]
    shares = [weights[i] * np.count_nonzero(scores[groups == groups[i]] >= scores[i]) for i in high]
    return float(np.average(shares, weights=weights[high]))


def falling_counts(scores: Numbers, weights: Numbers, own: float) -> tuple[Numbers, Numbers]:
    """Scores in falling order, and how many groups score as high as each, a new picture counted in.

    ``scores`` and ``weights`` are (…, n), what has no weight comes last, as −inf. ``own`` is that of
    `own_share`.
    """
    counted = np.where(weights > 0, scores, -np.inf)
    order = np.argsort(-counted, -1, kind="stable")
    falling = np.take_along_axis(counted, order, -1)
    weight = np.take_along_axis(weights, order, -1)
    reached = np.cumsum(weight, -1)
    above = reached - weight
    above[..., 1:][falling[..., 1:] == falling[..., :-1]] = 0  # equal ones have as many above them
    above = np.maximum.accumulate(above, -1)
    return falling, np.maximum(np.maximum(own + above, reached), 1.0)


def interpolated_count(score: float, falling: Numbers, counts: Numbers, groups: int) -> float:
    """How many of the groups and a new one score as high as it, 1 to ``groups`` + 1; p is that by groups + 1.

    ``falling`` and ``counts`` are (n,), of `falling_counts`.
    """
    reached = int(np.searchsorted(-falling, -score, "right"))
    if reached == 0:
        return 1.0
    upper, high = float(falling[reached - 1]), float(counts[reached - 1])
    if upper == score:
        return high
    if reached == len(falling):
        return groups + 1.0
    lower, low = float(falling[reached]), float(counts[reached])
    return low + (high - low) * (score - lower) / (upper - lower)


def interpolated_thresholds(falling: Numbers, counts: Numbers, allowed: float) -> Numbers:
    """Scores above which (strictly) the count is at most ``allowed``, at least 1; float64 (m,).

    ``falling`` and ``counts`` are (m, n), of `falling_counts`.
    """
    beyond = np.argmax(counts > allowed, -1)
    beyond = np.where((counts > allowed).any(-1), beyond, counts.shape[-1] - 1)
    rows = np.arange(len(falling))
    before = np.maximum(beyond - 1, 0)
    lower, upper = falling[rows, beyond], falling[rows, before]
    low, high = counts[rows, beyond], counts[rows, before]
    part = np.clip((low - allowed) / np.where(low > high, low - high, 1.0), 0.0, 1.0)
    last = np.isneginf(lower)  # nothing with a weight is lower
    between = np.where(last, upper, lower) + part * (upper - np.where(last, upper, lower))
    between = np.where(upper > lower, between, lower)
    below_all = np.nextafter(np.where(last, upper, lower), -np.inf)
    return np.asarray(np.where(last | (low <= allowed), below_all, between), np.float64)
