"""The same probabilities as `scipy.stats` gives."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from anomalist.querying.probabilities import binomial_tail, fisher_exact_p, hypergeometric_cdf


@pytest.mark.parametrize(
    ("hits", "trials", "rate"), [(0, 10, 0.1), (3, 100, 0.05), (88, 468, 0.05), (10, 10, 0.3)]
)
def test_the_tail_of_a_binomial_distribution(hits: int, trials: int, rate: float) -> None:
    assert binomial_tail(hits, trials, rate) == pytest.approx(stats.binom.sf(hits - 1, trials, rate))


@pytest.mark.parametrize(
    ("hits", "total", "marked", "drawn"), [(1, 300, 40, 50), (0, 20, 0, 5), (5, 5, 5, 5), (2, 9, 8, 6)]
)
def test_drawing_without_replacement(hits: int, total: int, marked: int, drawn: int) -> None:
    wanted = stats.hypergeom.cdf(hits, total, marked, drawn)
    assert hypergeometric_cdf(hits, total, marked, drawn) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("first", "second"), [((50, 167), (25, 167)), ((0, 5), (5, 5)), ((1, 1), (0, 3)), ((7, 14), (7, 14))]
)
def test_two_equal_shares(first: tuple[int, int], second: tuple[int, int]) -> None:
    table = np.array([[hits, size - hits] for hits, size in (first, second)])
    assert fisher_exact_p(first, second) == pytest.approx(stats.fisher_exact(table).pvalue)
