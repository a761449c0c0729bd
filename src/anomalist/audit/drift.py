"""Anytime-valid test of drift: a conformal test martingale on the scores of pictures, one after the other.

Each score is ranked among those of the calibration normals and of all pictures before it. As long as new
pictures are like the normals, these smoothed p-values are independent and uniform, and the capital of a
player who bets against that reaches 1 / level with a probability of at most level, however long one looks
(Vovk, Gammerman and Shafer 2005; Ville's inequality). The bets are a mixture of power martingales ε pᵉ⁻¹, of
their mirror images for scores that are too low, and of both begun anew at every picture, so that a change is
found soon after it happens.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

LEVEL = 0.05
"""Probability of a false alarm over a whole run, at most."""
_POWERS = np.array([0.1, 0.3, 0.5, 0.7])
_STREAM = 2005
"""Keeps ties independent of scores that somebody drew by the same seed."""
_LATE = 0.01
"""Share of the waiting capital that begins to bet at each picture."""


@dataclass(frozen=True, eq=False)
class DriftTest:
    """What the martingale says.

    Parameters
    ----------
    log_capital : float64 (n,), natural logarithm of the capital after each score; 0 is where it starts.
    alarm : index of the first score at which the capital reached 1 / level; None where it never did.
    began : index from which the bets best explain the alarm, the likely moment of the change.
    """

    log_capital: npt.NDArray[np.float64]
    alarm: int | None
    began: int | None


def online_p_values(
    calibration: Sequence[float], scores: Sequence[float], seed: int = 0
) -> npt.NDArray[np.float64]:
    """Smoothed p-value of each score among the calibration scores and all scores before it, float64 (n,).

    Exactly uniform and independent while all are exchangeable; ties are broken at random, by the seed.
    """
    rng = np.random.default_rng([seed, _STREAM])
    seen = sorted(float(score) for score in calibration)
    found = np.empty(len(scores))
    for at, score in enumerate(map(float, scores)):
        first, last = bisect.bisect_left(seen, score), bisect.bisect_right(seen, score)
        above, tied = len(seen) - last, last - first
        found[at] = (above + rng.uniform() * (tied + 1)) / (len(seen) + 1)
        seen.insert(last, score)
    return found


def drift_test(p_values: Sequence[float] | npt.NDArray[np.float64], level: float = LEVEL) -> DriftTest:
    """Test at every picture whether p-values are still those of pictures like the normals.

    Parameters
    ----------
    p_values : (n,), of `online_p_values`, in order.
    level : probability of a false alarm, however many there are.
    """
    p = np.clip(np.asarray(p_values, np.float64), 1e-9, 1 - 1e-9)
    powers = np.concatenate([_POWERS, _POWERS])[:, None]
    sides = np.concatenate([np.tile(p, (len(_POWERS), 1)), np.tile(1 - p, (len(_POWERS), 1))])
    gains = np.log(powers) + (powers - 1) * np.log(sides)  # (bets, n)
    share = math.log(_LATE / len(powers))
    waiting = 0.0
    active = np.full(len(powers), -np.inf)
    capital = np.empty(len(p))
    for at in range(len(p)):
        active = np.logaddexp(active, waiting + share) + gains[:, at]
        waiting += math.log(1 - _LATE)
        capital[at] = np.logaddexp(np.logaddexp.reduce(active), waiting)
    reached = np.flatnonzero(capital >= math.log(1 / level))
    alarm = int(reached[0]) if len(reached) else None
    return DriftTest(capital, alarm, None if alarm is None else _beginning(gains[:, : alarm + 1]))


def _beginning(gains: npt.NDArray[np.float64]) -> int:
    """Index from which one of the bets would have won most, up to the alarm."""
    totals = np.cumsum(gains[:, ::-1], axis=1)[:, ::-1]
    return int(np.unravel_index(np.argmax(totals), totals.shape)[1])
