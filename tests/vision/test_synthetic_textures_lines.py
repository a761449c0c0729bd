"""Lines and sizes that blemishes and defects are drawn with."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalist.types.common import FloatArray
from anomalist.vision.synthetic_textures import Rng, draw_line, log_uniform, random_walk

START = np.array([20.0, 30.0])
Seeds = st.integers(0, 2**32 - 1)


def rng(seed: int = 0) -> Rng:
    return np.random.default_rng(seed)


def line(points: list[tuple[float, float]], width: float, mask: FloatArray | None = None) -> FloatArray:
    mask = np.zeros((48, 64), np.float32) if mask is None else mask.copy()
    draw_line(mask, np.array(points), width)
    return mask


# --- sizes ------------------------------------------------------------------------------------------------


@given(Seeds, st.floats(1e-3, 1e3), st.floats(1, 1e3))
@settings(max_examples=50)
def test_sizes_lie_between_their_limits(seed: int, low: float, ratio: float) -> None:
    value = log_uniform(rng(seed), low, low * ratio)
    assert low * (1 - 1e-9) <= value <= low * ratio * (1 + 1e-9)
    assert value == log_uniform(rng(seed), low, low * ratio)


def test_every_octave_of_sizes_is_equally_likely() -> None:
    draw = rng()
    octaves = np.floor(np.log2([log_uniform(draw, 1, 16) for _ in range(4000)])).astype(int)
    assert np.bincount(octaves, minlength=4) == pytest.approx(np.full(4, 1000), abs=120)


# --- walks ------------------------------------------------------------------------------------------------


@given(Seeds, st.floats(0, 2), st.floats(0, 400), st.floats(-7, 7))
@settings(max_examples=50)
def test_a_walk_goes_on_in_steps_of_3_pixels(seed: int, wiggle: float, length: float, heading: float) -> None:
    points = random_walk(rng(seed), wiggle, length, START, heading)
    assert points.shape == (max(3, int(length / 3)), 2)
    assert np.linalg.norm(np.diff(points, axis=0, prepend=START[None]), axis=1) == pytest.approx(3)
    assert np.array_equal(points, random_walk(rng(seed), wiggle, length, START, heading))


@given(Seeds, st.floats(-3, 3))
@settings(max_examples=25)
def test_a_walk_that_begins_elsewhere_is_the_same_walk_shifted(seed: int, heading: float) -> None:
    shift = np.array([5.5, -7.25])
    here, there = (random_walk(rng(seed), 0.3, 90, start, heading) for start in (START, START + shift))
    assert there == pytest.approx(here + shift)


@pytest.mark.parametrize("heading", [0.0, 1.0, math.pi / 2, -2.5])
def test_without_wiggle_a_walk_keeps_about_its_heading(heading: float) -> None:
    along = np.array([math.cos(heading), math.sin(heading)])
    for seed in range(10):
        points = random_walk(rng(seed), 0.0, 15, START, heading)
        assert (points[-1] - START) @ along > 0.9 * 15


def test_the_more_wiggle_the_less_far_a_walk_gets() -> None:
    ways = [
        np.mean([np.linalg.norm(random_walk(rng(s), wiggle, 150, START, 0.0)[-1] - START) for s in range(30)])
        for wiggle in (0.0, 0.3, 1.5)
    ]
    assert ways == sorted(ways, reverse=True)
    assert ways[-1] < 0.5 * ways[0]


# --- lines ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [0.7, 1.0, 2.4, 4.0])
def test_a_line_covers_its_points_and_nothing_far_from_them(width: float) -> None:
    drawn = line([(10, 20), (50, 20)], width)
    assert drawn[20, 10:51] == pytest.approx(min(1.0, width))
    assert 0 <= drawn.min() <= drawn.max() <= 1
    reach = math.ceil(width / 2) + 1
    drawn[20 - reach : 21 + reach, 10 - reach : 51 + reach] = 0
    assert not drawn.any()


def test_a_line_thinner_than_a_pixel_is_fainter_and_a_thicker_one_covers_more() -> None:
    faint, thin, thick = (line([(10, 20), (50, 33)], width) for width in (0.5, 1.0, 3.0))
    assert faint == pytest.approx(0.5 * thin)
    assert thick.sum() > 2 * thin.sum()


@pytest.mark.parametrize("width", [0.8, 2.0])
def test_drawing_only_ever_adds(width: float) -> None:
    before = rng().uniform(0, 1, (48, 64)).astype(np.float32)
    after = line([(3, 40), (60, 5)], width, before)
    alone = line([(3, 40), (60, 5)], width)
    assert np.array_equal(after, np.maximum(before, alone))
    assert np.array_equal(line([(3, 40), (60, 5)], width, after), after)


def test_a_line_shifted_by_whole_pixels_is_the_same_line_shifted() -> None:
    here, there = line([(10, 10), (30.5, 25.25)], 1.5), line([(17, 14), (37.5, 29.25)], 1.5)
    assert np.array_equal(np.roll(here, (4, 7), (0, 1)), there)


def test_what_lies_outside_is_not_drawn() -> None:
    assert not line([(-50, -20), (-10, 80), (-30, 900)], 3).any()
