"""Stretches: begin where the score rose, bridge short gaps, end at cuts; streaming equals the whole."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomalist.vision.motion.temporal import MAX_GAP, MIN_DURATION, HysteresisSegmenter, temporal_segments

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
