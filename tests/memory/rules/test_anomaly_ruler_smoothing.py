from __future__ import annotations

import numpy as np
import pytest

from anomalist.memory.rules.anomaly_ruler import smooth_over_time

NAN = float("nan")


def scores(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


@pytest.mark.parametrize("mode", ["causal", "offline"])
def test_a_constant_stays_what_it_is_also_where_all_is_anomalous(mode: str) -> None:
    out = smooth_over_time(np.full(200, 0.3, np.float32), mode)  # type: ignore[arg-type]
    assert out == pytest.approx(0.3)
    assert out.dtype == np.float32


def test_causal_scores_do_not_change_when_the_future_does() -> None:
    rng = np.random.default_rng(0)
    one = rng.normal(size=100).astype(np.float32)
    other = one.copy()
    other[60:] += 5
    assert smooth_over_time(one, "causal")[:60] == pytest.approx(smooth_over_time(other, "causal")[:60])
    assert smooth_over_time(one, "offline")[50] < smooth_over_time(other, "offline")[50]


def test_a_caption_that_says_nothing_is_spoken_for_by_its_neighbours() -> None:
    assert smooth_over_time(scores(0.2, NAN, 0.2), "offline") == pytest.approx(0.2)
    causal = smooth_over_time(scores(NAN, 0.2, NAN), "causal")
    assert np.isnan(causal[0])
    assert causal[1:] == pytest.approx(0.2)
    assert np.isnan(smooth_over_time(scores(NAN, NAN), "offline")).all()


@pytest.mark.parametrize("mode", ["causal", "offline"])
def test_no_captions_no_scores(mode: str) -> None:
    assert len(smooth_over_time(scores(), mode)) == 0  # type: ignore[arg-type]


def test_a_slip_counts_less_than_what_goes_on() -> None:
    slip, long = np.zeros(200, np.float32), np.zeros(200, np.float32)
    slip[100], long[80:120] = 1, 1
    assert smooth_over_time(slip, "offline").max() < 0.1 < smooth_over_time(long, "offline").max()
