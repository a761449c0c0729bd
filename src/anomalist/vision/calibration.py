"""From raw scores to p-values, with normal pictures only.

Split conformal where enough normals can be kept apart, CV+ (cross-fitted, approximate) where not; by groups
where pictures of one object belong together. See Vovk et al. 2005 (conformal p-values), Barber et al. 2021
(CV+) and Dunn et al. 2023 (groups).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from anomalist.types import Calibration

DEFAULT_RATE = 0.05
RESAMPLES = 1000
_TOLERANCE = 1e-9  # p-values are sums of 1/m_g: an exact tie with the asked rate is an alarm


def groups_needed(rate: float) -> int:
    """The smallest number of independent groups (or ungrouped normals) whose p-values can reach ``rate``."""
    return math.ceil(1 / rate - _TOLERANCE) - 1


@dataclass(frozen=True, eq=False)
class CalibrationSet:
    """Scores of normal pictures that the scoring model has not learned from.

    Parameters
    ----------
    scores : float64 (n,), of picture i under the model that did not see it.
    folds : int (n,), which of the K models that was; all 0 when one model was kept apart from all of them.
    groups : int (n,), pictures of the same object share a number; 0 to G − 1.
    seed : of the resampling behind `instability`.
    """

    scores: npt.NDArray[np.float64]
    folds: npt.NDArray[np.int64]
    groups: npt.NDArray[np.int64]
    seed: int = 0

    def __post_init__(self) -> None:
        n = len(self.scores)
        if n == 0 or self.scores.shape != self.folds.shape or self.scores.shape != self.groups.shape:
            raise ValueError(
                f"scores, folds and groups must be (n,) with n > 0, got {self.scores.shape}, "
                f"{self.folds.shape}, {self.groups.shape}"
            )
        if not np.isfinite(self.scores).all():
            raise ValueError("calibration scores must be finite")

    @property
    def method(self) -> Literal["split", "cv+"]:
        """How the scores were obtained."""
        return "cv+" if self.folds.max() > 0 else "split"

    @property
    def n_groups(self) -> int:
        """Number G of independent groups."""
        return int(self.groups.max()) + 1

    def p_value(self, scores: npt.ArrayLike) -> float:
        """Conformal p-value of one new picture.

        p = (1 + Σ_g (1/m_g) Σ_{i in g} 1[s_i ≥ s]) / (G + 1), where s is the new picture's score under the
        same fold's model as s_i. ``scores`` is float (K,), one a model. Without groups every m_g is 1.
        """
        return float((1 + self._exceeding(scores).sum()) / (self.n_groups + 1))

    def threshold(self, rate: float) -> float | None:
        """Score above which (strictly) p ≤ ``rate``; None when out of reach, approximate under CV+."""
        if self.n_groups < groups_needed(rate):
            return None
        budget = rate * (self.n_groups + 1) - 1 + _TOLERANCE
        falling = np.argsort(-self.scores, kind="stable")
        weights = np.cumsum(1 / np.bincount(self.groups)[self.groups[falling]])
        beyond = np.flatnonzero(weights > budget)
        return float(self.scores[falling[beyond[0]]]) if len(beyond) else -math.inf

    def instability(self, scores: npt.ArrayLike, rate: float) -> float:
        """Share of resamples of the calibration set, by whole groups, in which the decision flips.

        After ExCeeD (Perini et al. 2020), with the bootstrap in place of their Beta posterior.
        """
        exceeding = self._exceeding(scores)
        drawn = np.random.default_rng(self.seed).multinomial(
            self.n_groups, np.full(self.n_groups, 1 / self.n_groups), RESAMPLES
        )
        alarms = (1 + drawn @ exceeding) / (self.n_groups + 1) <= rate + _TOLERANCE
        alarm = self.p_value(scores) <= rate + _TOLERANCE
        return float(np.mean(alarms != alarm))

    def summary(self, scores: npt.ArrayLike, rate: float) -> Calibration:
        """What the record keeps of this calibration for one picture."""
        return Calibration(
            method=self.method,
            normals=len(self.scores),
            groups=self.n_groups,
            false_alarm_rate=rate,
            reachable=self.n_groups >= groups_needed(rate),
            normals_needed=groups_needed(rate),
            instability=self.instability(scores, rate),
            approximate=self.method == "cv+",
            seed=self.seed,
        )

    def _exceeding(self, scores: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Share of each group's pictures that score at least as high; float64 (G,)."""
        new = np.atleast_1d(np.asarray(scores, np.float64))
        if len(new) != int(self.folds.max()) + 1:
            raise ValueError(
                f"expected {int(self.folds.max()) + 1} scores, one a fold's model, got {len(new)}"
            )
        reached = np.bincount(self.groups, self.scores >= new[self.folds], self.n_groups)
        return reached / np.bincount(self.groups, minlength=self.n_groups)


@dataclass(frozen=True)
class Partition:
    """Which pictures each model learns from and which calibrate it.

    ``folds`` holds one (learn, calibrate) pair of index tuples a model.
    """

    folds: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]


def partition(
    groups: npt.NDArray[np.int64], seed: int, *, enough: int = 100, most_folds: int = 4
) -> Partition:
    """Divide normals by whole groups into learning and calibration.

    With ``enough`` pictures or more, about a quarter is kept for calibration: at least half as many groups
    again as the default rate needs, where that leaves half of the groups to learn from. With fewer pictures,
    or too few groups for that, cross-fitting: every group is left out once.

    ``groups`` is int (n,), numbered 0 to G − 1.
    """
    n_groups = int(groups.max()) + 1
    order = np.random.default_rng(seed).permutation(n_groups)
    wanted = max(round(n_groups / 4), groups_needed(DEFAULT_RATE) * 3 // 2)
    if len(groups) >= enough and wanted <= n_groups // 2:
        parts = [order[:wanted]]
    else:
        parts = np.array_split(order, min(most_folds, n_groups))
    everything = np.arange(len(groups))
    return Partition(
        tuple(
            (
                tuple(everything[~np.isin(groups, part)].tolist()),
                tuple(everything[np.isin(groups, part)].tolist()),
            )
            for part in parts
        )
    )
