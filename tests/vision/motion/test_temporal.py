"""Smoothing: constants stay, the causal average never looks ahead, gaps and cuts separate."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomalist.types.clip import Mode
from anomalist.vision.motion.temporal import (
    MAX_GAP,
    MIN_DURATION,
    HysteresisSegmenter,
    smooth_scores,
    temporal_segments,
)

MODES: list[Mode] = ["causal", "offline"]
SERIES = st.lists(st.floats(-5, 5, width=32), min_size=2, max_size=40)


def curve(values: list[float], mode: Mode, cuts: list[bool] | None = None) -> np.ndarray:
    times = np.arange(len(values)) / 10
    marks = None if cuts is None else np.array(cuts)
    return smooth_scores(times, np.array(values, np.float32), mode, marks)


@pytest.mark.parametrize("mode", MODES)
def test_a_constant_stays_what_it_is(mode: Mode) -> None:
    assert curve([2.5] * 30, mode) == pytest.approx(2.5)


@given(values=SERIES, mode=st.sampled_from(MODES))
def test_it_stays_between_the_lowest_and_the_highest(values: list[float], mode: Mode) -> None:
    out = curve(values, mode)
    assert out.min() >= min(values) - 1e-4
    assert out.max() <= max(values) + 1e-4


@given(values=SERIES, later=SERIES)
def test_the_causal_average_does_not_know_the_future(values: list[float], later: list[float]) -> None:
    alone, followed = curve(values, "causal"), curve(values + later, "causal")
    assert np.array_equal(alone, followed[: len(values)])


@pytest.mark.parametrize("mode", MODES)
def test_what_was_not_judged_stays_unknown_and_spoils_nothing(mode: Mode) -> None:
    out = curve([1.0] * 5 + [float("nan")] * 3 + [1.0] * 5, mode)
    assert np.isnan(out[5:8]).all()
    assert out[[*range(5), *range(8, 13)]] == pytest.approx(1.0)


@pytest.mark.parametrize("mode", MODES)
def test_nothing_crosses_a_cut(mode: Mode) -> None:
    out = curve([0.0] * 10 + [4.0] * 10, mode, [i == 10 for i in range(20)])
    assert out[:10] == pytest.approx(0)
    assert out[10:] == pytest.approx(4)


def test_irregular_times_weigh_by_time_not_by_number() -> None:
    times = np.array([0.0, 0.01, 0.02, 0.03, 1.0])
    out = smooth_scores(times, np.array([0, 0, 0, 0, 3], np.float32), "offline")
    assert out[-1] == pytest.approx(3, abs=0.5)


SCORES = st.lists(st.floats(0, 3, allow_nan=False), min_size=1, max_size=120)


def found(scores: list[float], cuts: list[bool] | None = None) -> list[tuple[float, float]]:
    times = [i / 10 for i in range(len(scores))]
    return [(round(s.start, 6), round(s.end, 6)) for s in temporal_segments(times, scores, 1.0, cuts or [])]


@pytest.mark.parametrize(
    ("scores", "want"),
    [
        ([0.0] * 30, []),
        ([0.9] * 30, []),  # stays below the threshold
        ([0.0] * 10 + [1.2] * 10 + [0.0] * 10, [(1.0, 1.9)]),
        ([0.0] * 5 + [0.8] * 5 + [1.2] * 5 + [0.8] * 5 + [0.0] * 5, [(0.5, 1.9)]),  # what led to it belongs
        ([1.2] * 2 + [0.0] * 30, []),  # a flicker
        ([1.2] * 10 + [0.0] * 10 + [1.2] * 10, [(0.0, 2.9)]),  # a short gap
        ([1.2] * 10 + [0.0] * 20 + [1.2] * 10, [(0.0, 0.9), (3.0, 3.9)]),
        ([1.2] * 10 + [float("nan")] * 5 + [1.2] * 10, [(0.0, 2.4)]),
    ],
)
def test_stretches(scores: list[float], want: list[tuple[float, float]]) -> None:
    assert found(scores) == want


def test_a_cut_ends_a_stretch() -> None:
    scores, cuts = [1.2] * 20, [i == 10 for i in range(20)]
    assert found(scores, cuts) == [(0.0, 0.9), (1.0, 1.9)]


@given(scores=SCORES)
def test_they_are_in_order_apart_and_hold_their_peak(scores: list[float]) -> None:
    times = [i / 10 for i in range(len(scores))]
    every = temporal_segments(times, scores, 1.0)
    for stretch in every:
        assert stretch.start <= stretch.peak <= stretch.end
        assert stretch.end - stretch.start >= MIN_DURATION
        inside = [s for t, s in zip(times, scores, strict=True) if stretch.start <= t <= stretch.end]
        assert stretch.score == max(inside) > 1.0
    for before, after in pairwise(every):
        assert after.start - before.end > MAX_GAP


def test_it_is_open_as_soon_as_it_counts() -> None:
    machine = HysteresisSegmenter(1.0)
    opened = [i / 10 for i in range(20) if machine.push(i / 10, 1.5) is None and machine.open]
    assert opened[0] == pytest.approx(MIN_DURATION)
    assert machine.since == 0.0
