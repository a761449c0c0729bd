"""Usual: counts become limits at each place; where little was seen, the row and the whole stand in."""

from __future__ import annotations

import numpy as np
import pytest

from anomalist.types.common import FloatArray
from anomalist.vision.motion.flow import MotionGrid
from anomalist.vision.motion.measures import (
    DIRECTIONS,
    SPEED_BINS,
    SPEED_EDGES,
    count_frame,
    direction_index,
    empty_histograms,
    quantile_map,
)


def counts(place: tuple[int, int], speeds: list[float], grid: tuple[int, int] = (20, 30)) -> FloatArray:
    out = np.zeros((SPEED_BINS, *grid), np.float32)
    for speed in speeds:
        out[np.searchsorted(SPEED_EDGES, speed) - 1, place[0], place[1]] += 1
    return out


def test_with_much_seen_the_limit_is_the_quantile_there() -> None:
    speeds = np.random.default_rng(0).gamma(9, 2, 4000).tolist()
    got = quantile_map(counts((10, 15), speeds), SPEED_EDGES, 0.9)[10, 15]
    assert got == pytest.approx(float(np.quantile(speeds, 0.9)), rel=0.08)


def test_a_higher_share_is_a_higher_limit_everywhere() -> None:
    seen = counts((10, 15), [5.0, 8.0, 20.0] * 30)
    assert (quantile_map(seen, SPEED_EDGES, 0.98) >= quantile_map(seen, SPEED_EDGES, 0.5)).all()


def test_where_nothing_was_seen_the_row_stands_in() -> None:
    seen = counts((4, 5), [5.0] * 500) + counts((15, 5), [50.0] * 500)
    found = quantile_map(seen, SPEED_EDGES, 0.6)
    assert found[4, 29] < 12
    assert found[15, 29] > 30


def test_where_nothing_was_ever_seen_nothing_is_too_fast() -> None:
    assert (quantile_map(empty_histograms((4, 5)).speeds, SPEED_EDGES, 0.9) == SPEED_EDGES[-1]).all()


@pytest.mark.parametrize(
    ("velocity", "direction"),
    [((3, 0), 0), ((3, 3), 1), ((0, 3), 2), ((-3, 3), 3), ((-3, 0), 4), ((0, -3), 6), ((3, -0.1), 0)],
)
def test_directions_go_round_from_the_right(velocity: tuple[float, float], direction: int) -> None:
    assert direction_index(np.array(velocity, np.float32)) == direction
    assert 0 <= direction < DIRECTIONS


def test_only_what_is_taken_is_counted() -> None:
    taken = np.zeros((3, 4), np.float32)
    taken[1, 2] = 0.5
    velocity = np.zeros((3, 4, 2), np.float32)
    velocity[..., 0] = 7.0
    usual = count_frame(empty_histograms((3, 4)), MotionGrid(taken, velocity), MotionGrid(taken, velocity))
    assert usual.frames == 1
    assert usual.speeds.sum() == usual.sizes.sum() == usual.directions.sum() == 1
    assert usual.directions[0, 1, 2] == 1


def test_movement_of_the_wrong_shape_is_refused() -> None:
    with pytest.raises(TypeError, match="velocity"):
        MotionGrid(np.zeros((3, 4), np.float32), np.zeros((3, 4), np.float32))
