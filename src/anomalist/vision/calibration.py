"""Conformal calibration: from raw scores to p-values, with normal pictures only.

By the jackknife where the detector can leave each object out; else split conformal with enough normals, CV+
(cross-fitted) with fewer. By groups where several pictures show one object. Jackknife and CV+ are
approximate; after a jackknife p-values are interpolated (`conformal`). See Vovk et al. 2005 (conformal
p-values), Barber et al. 2021 (jackknife, CV+) and Dunn et al. 2023 (groups).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from anomalist.types.image import TIE_TOLERANCE, Calibration, is_alarm
from anomalist.vision.conformal import (
    falling_counts,
    interpolated_count,
    interpolated_thresholds,
    own_share,
)

DEFAULT_RATE = 0.05
"""False-alarm rate where none is asked for."""
LOWEST_USEFUL = 0.2
"""Rate above which few normals are not decided at: more than one normal in five would be an alarm."""
RESAMPLES = 1000
"""Bootstrap resamples behind `CalibrationSet.instability`."""
MIN_SPLIT_PICTURES = 100
"""Pictures from which some are held out for calibration (split conformal)."""
CV_FOLDS = 4
"""Folds of the cross-fitting of fewer pictures."""


def groups_needed(rate: float) -> int:
    """The smallest number of independent groups (or ungrouped normals) whose p-values can reach ``rate``."""
    return max(1, math.ceil(1 / (rate * (1 + TIE_TOLERANCE))) - 1)


def lowest_rate(groups: int) -> float:
    """The lowest false-alarm rate that this many groups support: the smallest p-value, 1 / (G + 1)."""
    return 1 / (groups + 1)


@dataclass(frozen=True, eq=False)
class CalibrationSet:
    """Scores of held-out normal pictures.

    Parameters
    ----------
    scores : float64 (n,), of picture i under the model that was fitted without it.
    folds : int64 (n,), number of that model, 0 to K − 1; all 0 when there is but one.
    groups : int64 (n,), pictures of the same object share a number; 0 to G − 1, none left out.
    seed : of the resampling behind `instability`.
    left_out : whether each score is that of one model without the pictures of the same object (jackknife).

    Raises
    ------
    ValueError : the arrays don't fit each other, or a score is not finite.
    """

    scores: npt.NDArray[np.float64]
    folds: npt.NDArray[np.int64]
    groups: npt.NDArray[np.int64]
    seed: int = 0
    left_out: bool = False

    def __post_init__(self) -> None:
        n = len(self.scores)
        if n == 0 or self.scores.shape != self.folds.shape or self.scores.shape != self.groups.shape:
            raise ValueError(
                f"scores, folds and groups must be (n,) with n > 0, got {self.scores.shape}, "
                f"{self.folds.shape}, {self.groups.shape}"
            )
        for name, numbers in (("folds", self.folds), ("groups", self.groups)):
            used = np.unique(numbers)
            if numbers.dtype.kind != "i" or not np.array_equal(used, np.arange(len(used))):
                raise ValueError(f"{name} must be whole numbers from 0 without gaps")
        if not np.isfinite(self.scores).all():
            raise ValueError("calibration scores must be finite")

    @property
    def method(self) -> Literal["split", "cv+", "jackknife"]:
        """How the scores were obtained."""
        return "jackknife" if self.left_out else "cv+" if self.n_folds > 1 else "split"

    @property
    def n_groups(self) -> int:
        """Number G of independent groups."""
        return int(self.groups.max()) + 1

    @property
    def n_folds(self) -> int:
        """Number K of models, each of which gives a new picture a score."""
        return int(self.folds.max()) + 1

    @property
    def lowest_rate(self) -> float:
        """The lowest false-alarm rate that its groups support."""
        return lowest_rate(self.n_groups)

    @property
    def rate_by_default(self) -> float:
        """The false-alarm rate to decide at where none is asked for.

        Where ``DEFAULT_RATE`` is out of reach, it is the lowest that the groups support, up to
        ``LOWEST_USEFUL``; beyond, the decision is left open, see `Calibration.reachable`.
        """
        lowest = self.lowest_rate
        return lowest if DEFAULT_RATE < lowest <= LOWEST_USEFUL else DEFAULT_RATE

    def p_value(self, scores: npt.ArrayLike) -> float:
        """Conformal p-value of one new picture, in (0, 1].

        p = (1 + Σ_g (1/m_g) Σ_{i in g} 1[s_i ≥ s]) / (G + 1), where s is the new picture's score under the
        same fold's model as s_i. ``scores`` is float (K,), one a model. Without groups every m_g is 1. After
        a jackknife, which is approximate anyway, it is linear between the s_i (`conformal`).
        """
        against = self._against(scores)
        if self.left_out:
            count = interpolated_count(float(against[0]), *self._falling, self.n_groups)
            return count / (self.n_groups + 1)
        reached = self.scores >= against
        return float((1 + self._weights[reached].sum()) / (self.n_groups + 1))

    def reached(self, scores: npt.ArrayLike) -> int:
        """How many calibration pictures score as high as a new one; ``scores`` as for `p_value`."""
        return int(np.count_nonzero(self.scores >= self._against(scores)))

    def threshold(self, rate: float) -> float | None:
        """Score above which (strictly) p ≤ ``rate``; None when out of reach.

        Under CV+ it is approximate: the calibration scores of all folds are taken as if from one model.
        """
        if self.n_groups < groups_needed(rate):
            return None
        if self.left_out:
            falling, counts = self._falling
            return float(interpolated_thresholds(falling[None], counts[None], self._budget(rate) + 1)[0])
        order = np.argsort(-self.scores, kind="stable")
        beyond = np.flatnonzero(np.cumsum(self._weights[order]) > self._budget(rate))
        return float(self.scores[order[beyond[0]]]) if len(beyond) else -math.inf

    def instability(self, scores: npt.ArrayLike, rate: float) -> float:
        """Share of resamples of the calibration set, by whole groups, in which the decision flips.

        After ExCeeD (Perini et al. 2020), with a smoothed bootstrap (Silverman & Young 1987) in place of
        their Beta posterior: a plain bootstrap never draws a score above the highest one there is, and would
        call the decision on a picture that scores just above it certain.
        """
        against = self._against(scores)
        if self.n_groups < groups_needed(rate):
            alarms = np.zeros(RESAMPLES, np.bool_)
        elif self.left_out:
            limits = interpolated_thresholds(*self._falling_resamples, self._budget(rate) + 1)
            alarms = against[0] > limits
        else:
            weights, resampled = self._resamples
            alarms = (weights * (resampled >= against)).sum(1) <= self._budget(rate)
        return float(np.mean(alarms != is_alarm(self.p_value(scores), rate)))

    def summary(self, scores: npt.ArrayLike, rate: float) -> Calibration:
        """Calibration as the record of one picture keeps it."""
        lowest = rate == self.lowest_rate > DEFAULT_RATE
        return Calibration(
            method=self.method,
            normals=len(self.scores),
            groups=self.n_groups,
            reached=self.reached(scores),
            false_alarm_rate=rate,
            reachable=self.n_groups >= groups_needed(rate),
            default_rate=DEFAULT_RATE if lowest else None,
            normals_needed=groups_needed(DEFAULT_RATE if lowest else rate),
            instability=self.instability(scores, rate),
            approximate=self.method != "split",
            seed=self.seed,
        )

    def _against(self, scores: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Score of the new picture under the model of each calibration score, float64 (n,)."""
        new = np.atleast_1d(np.asarray(scores, np.float64))
        if new.shape != (self.n_folds,):
            raise ValueError(f"expected {self.n_folds} scores, one a fold's model, got {new.shape}")
        return new[self.folds]

    def _budget(self, rate: float) -> float:
        """Largest weighted count of groups at or above the score of an alarm: p ≤ rate, solved for it."""
        return rate * (1 + TIE_TOLERANCE) * (self.n_groups + 1) - 1

    @cached_property
    def _weights(self) -> npt.NDArray[np.float64]:
        """1/m_g for each picture, float64 (n,)."""
        return np.asarray(1 / np.bincount(self.groups)[self.groups])

    @cached_property
    def _falling(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Scores in falling order with their counts, float64 (n,) each; see `falling_counts`."""
        return falling_counts(self.scores, self._weights, self._own_share)

    @cached_property
    def _own_share(self) -> float:
        return own_share(self.scores, self.groups, self._weights)

    @cached_property
    def _falling_resamples(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """The same of every resample, float64 (RESAMPLES, n) each."""
        weights, resampled = self._resamples
        return falling_counts(resampled, weights, self._own_share)

    @cached_property
    def _resamples(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Weight and jittered score of every picture in every resample, float64 (RESAMPLES, n) each.

        A group is drawn and jittered as a whole. The bandwidth is Silverman's rule of thumb (1986, eq. 3.31)
        with groups as the number of samples.
        """
        rng = np.random.default_rng(self.seed)
        drawn = rng.multinomial(self.n_groups, np.full(self.n_groups, 1 / self.n_groups), RESAMPLES)
        low, high = np.quantile(self.scores, [0.25, 0.75])
        bandwidth = 0.9 * min(float(self.scores.std()), float(high - low) / 1.34) * self.n_groups**-0.2
        jitter = bandwidth * rng.standard_normal((RESAMPLES, self.n_groups))
        return drawn[:, self.groups] * self._weights, self.scores + jitter[:, self.groups]


@dataclass(frozen=True)
class Partition:
    """Which pictures each model learns from and which calibrate it.

    ``folds`` holds one (learn, calibrate) pair of index tuples a model.
    """

    folds: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]


def partition(groups: npt.NDArray[np.int64], seed: int) -> Partition:
    """Divide normals by whole groups into learning and calibration.

    With ``MIN_SPLIT_PICTURES`` pictures or more, about a quarter is held out for calibration: at least one
    and a half times the groups that the default rate needs, where that leaves half of the groups to learn
    from. Otherwise cross-fitting with ``CV_FOLDS`` models, each group left out once.

    ``groups`` is int (n,), numbered 0 to G − 1. Raises ValueError when there is only one.
    """
    n_groups = int(groups.max()) + 1
    if n_groups < 2:
        raise ValueError("one group can't be divided into learning and calibration")
    order = np.random.default_rng(seed).permutation(n_groups)
    kept = max(round(n_groups / 4), groups_needed(DEFAULT_RATE) * 3 // 2)
    if len(groups) >= MIN_SPLIT_PICTURES and kept <= n_groups // 2:
        parts = [order[:kept]]
    else:
        parts = np.array_split(order, min(CV_FOLDS, n_groups))
    apart = [np.isin(groups, part) for part in parts]
    return Partition(tuple((_indices(~mask), _indices(mask)) for mask in apart))


def leave_groups_out(groups: npt.NDArray[np.int64]) -> Partition:
    """All pictures learn and all calibrate: for a detector that leaves the object of each out by itself.

    Raises ValueError when there is only one group.
    """
    if int(groups.max()) < 1:
        raise ValueError("one group can't be left out of itself")
    everyone = tuple(range(len(groups)))
    return Partition(((everyone, everyone),))


def keep_all_apart(groups: npt.NDArray[np.int64]) -> Partition:
    """All pictures calibrate and none is learned from: for a model that comes from elsewhere."""
    return Partition((((), tuple(range(len(groups)))),))


def _indices(mask: npt.NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(np.flatnonzero(mask).tolist())
