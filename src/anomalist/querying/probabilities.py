"""Probabilities behind counts: of alarms from good parts, of accepting a lot, of two equal shares.

They use `scipy.special` alone: `scipy.stats` takes longer to import than a question takes to answer.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_TIE = 1 + 1e-7
"""Relative rounding with which tables count as equally likely."""


def binomial_tail(hits: int, trials: int, rate: float) -> float:
    """Probability of so many hits or more in ``trials``, each with probability ``rate``."""
    from scipy.special import bdtrc

    return float(bdtrc(hits - 1, trials, rate)) if hits else 1.0


def hypergeometric_cdf(hits: int, total: int, marked: int, drawn: int) -> float:
    """Probability of at most so many marked ones among ``drawn`` of ``total``, without replacement."""
    low, chances = _hypergeometric(total, marked, drawn)
    return float(min(1.0, chances[: max(0, hits - low + 1)].sum()))


def fisher_exact_p(first: tuple[int, int], second: tuple[int, int]) -> float:
    """Two-sided p-value of equal shares in two groups, each (hits, size), by Fisher's exact test."""
    total, marked = first[1] + second[1], first[0] + second[0]
    low, chances = _hypergeometric(total, marked, first[1])
    seen = chances[first[0] - low]
    return float(min(1.0, chances[chances <= seen * _TIE].sum()))


def _hypergeometric(total: int, marked: int, drawn: int) -> tuple[int, npt.NDArray[np.float64]]:
    """The smallest possible number of marked ones among those drawn, and the probabilities from it up."""
    from scipy.special import gammaln

    low, high = max(0, drawn + marked - total), min(marked, drawn)
    hits = np.arange(low, high + 1, dtype=np.float64)

    def log_choose(n: float, k: npt.NDArray[np.float64] | float) -> npt.NDArray[np.float64]:
        chosen: npt.NDArray[np.float64] = gammaln(n + 1) - gammaln(np.asarray(k) + 1) - gammaln(n - k + 1)
        return chosen

    logs = log_choose(marked, hits) + log_choose(total - marked, drawn - hits) - log_choose(total, drawn)
    return low, np.exp(logs)
