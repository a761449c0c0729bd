"""Optical flow over half a second: right in pixels a second, whatever the clock does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalist.types.common import BoolArray, FloatArray, UInt8Array
from anomalist.vision.motion.flow import (
    CELL_SIZE,
    FLOW_SPAN,
    BodyWindows,
    ChainedFlow,
    IntegralImages,
    Perspective,
    fit_perspective,
    foreground_blobs,
    grid_shape,
    integral_images,
)
from anomalist.vision.motion.scene import Scene
from tests.street import AWAY, NEAR, SIZE, Camera, body_height, grey_of, make_film

Way = tuple[float, float]


def seen(right: float, down: float) -> UInt8Array:
    """The still street, seen by a camera that is so many pixels further to the left and up."""
    return grey_of(make_film(0.1, camera=lambda _: Camera(right=-right, down=-down)))


def velocities(way: Way, times: list[float]) -> list[FloatArray]:
    following = ChainedFlow(*SIZE)
    return [following.velocity(seen(way[0] * time, way[1] * time), time) for time in times]


def middle(velocity: FloatArray) -> FloatArray:
    return np.asarray(np.median(velocity[20:-20, 20:-20], axis=(0, 1)), np.float32)


@pytest.mark.parametrize(
    "times", [[0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0.0, 0.05, 0.25, 0.3, 0.5, 0.62, 0.7], [5.0, 5.2, 5.4]]
)
def test_what_moves_evenly_has_its_speed_at_any_frame_rate(times: list[float]) -> None:
    for way in [(12.0, 0.0), (-12.0, 0.0), (0.0, 8.0), (0.0, -8.0), (9.0, -6.0), (0.0, 0.0)]:
        assert middle(velocities(way, times)[-1]) == pytest.approx(way, abs=0.7)


def test_the_first_picture_shows_no_motion() -> None:
    assert not velocities((12, 0), [3.0])[0].any()


def test_what_swings_to_and_fro_cancels_out() -> None:
    following = ChainedFlow(*SIZE)
    found = []
    for index in range(16):
        time = index / 10
        velocity = following.velocity(seen(2 * np.sin(2 * np.pi * time / FLOW_SPAN), 0), time)
        found.append(abs(middle(velocity)[0]))
    assert max(found[:4]) > 5
    assert max(found[6:]) < 1


@pytest.mark.parametrize("size", [(10, 384), (13, 384), (384, 20), (23, 40)])
def test_flow_is_found_in_narrow_strips(size: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 255, size, dtype=np.uint8)
    following = ChainedFlow(*size)
    following.velocity(picture, 0.0)
    velocity = following.velocity(np.roll(picture, 2, axis=1), 0.1)
    assert velocity.shape == (*size, 2)
    assert np.median(velocity[..., 0]) == pytest.approx(20, abs=2)


@pytest.mark.parametrize("size", [(16, 16), (384, 2), (1, 1)])
def test_pictures_too_small_to_measure_flow_in_are_no_error(size: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 255, size, dtype=np.uint8)
    following = ChainedFlow(*size)
    following.velocity(picture, 0.0)
    velocity = following.velocity(picture[:, ::-1].copy(), 0.1)
    assert velocity.shape == (*size, 2)
    assert np.isfinite(velocity).all()


def test_what_is_forgotten_says_nothing_about_motion() -> None:
    following = ChainedFlow(*SIZE)
    following.velocity(seen(0, 0), 0.0)
    following.reset()
    assert not following.velocity(seen(9, 0), 0.1).any()
    assert middle(following.velocity(seen(10, 0), 0.2)) == pytest.approx((10, 0), abs=1)


def test_a_mirrored_picture_moves_the_other_way() -> None:
    plain, mirrored = ChainedFlow(*SIZE), ChainedFlow(*SIZE)
    for time in (0.0, 0.1, 0.2):
        picture = seen(12 * time, 5 * time)
        there = plain.velocity(picture, time)
        back = mirrored.velocity(np.ascontiguousarray(picture[:, ::-1]), time)
    assert middle(back) == pytest.approx(middle(there) * [-1, 1], abs=0.5)


PERSPECTIVE = Perspective(at_top=8.0, slope=0.15, middle=20.0, aspect=0.5, bodies=100)


def _sums(mask: BoolArray, velocity: FloatArray) -> IntegralImages:
    return integral_images(mask, *(np.ascontiguousarray(velocity[..., axis]) for axis in (0, 1)))


def test_sums_over_windows_equal_the_naive_ones() -> None:
    rng = np.random.default_rng(0)
    mask, velocity = rng.random((58, 83)) < 0.4, rng.normal(0, 5, (58, 83, 2)).astype(np.float32)
    windows = BodyWindows(58, 83, PERSPECTIVE)
    rows, columns = CELL_SIZE * (np.arange(15) + 0.5), CELL_SIZE * (np.arange(21) + 0.5)
    tall = 0.75 * PERSPECTIVE.heights(rows)
    wide = np.maximum(1.1 * PERSPECTIVE.heights(rows) * 0.5, 6.0)

    got = windows.movement(_sums(mask, velocity))

    for row, column in ((0, 0), (3, 7), (14, 20), (7, 0)):
        y0, y1 = (int(np.clip(np.rint(rows[row] + s * tall[row] / 2), 0, 58)) for s in (-1, 1))
        x0, x1 = (int(np.clip(np.rint(columns[column] + s * wide[row] / 2), 0, 83)) for s in (-1, 1))
        inside, area = mask[y0:y1, x0:x1], (y1 - y0) * (x1 - x0)
        assert windows.area[row, column] == area
        assert got.occupancy[row, column] == pytest.approx(inside.sum() / area, rel=1e-5)
        mean = velocity[y0:y1, x0:x1][inside].sum(0) / (inside.sum() + 0.1 * area)
        assert got.velocity[row, column] == pytest.approx(mean, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("size", [(58, 83), (225, 400), (41, 42), (60, 80)])
def test_the_grid_covers_pictures_of_any_size(size: tuple[int, int]) -> None:
    mask, velocity = np.ones(size, np.bool_), np.ones((*size, 2), np.float32)
    movement = BodyWindows(*size, PERSPECTIVE).movement(_sums(mask, velocity))
    assert movement.occupancy.shape == grid_shape(*size)
    assert movement.occupancy.min() > 0


def test_the_speed_of_what_fills_its_window_is_its_own() -> None:
    velocity = np.zeros((60, 80, 2), np.float32)
    velocity[..., 0] = 11.0
    movement = BodyWindows(60, 80, PERSPECTIVE).movement(_sums(np.ones((60, 80), np.bool_), velocity))
    assert movement.occupancy == pytest.approx(1.0)
    assert movement.speed == pytest.approx(10.0)  # a tenth of stillness is averaged in
    assert movement.occupancy.shape == (60 // CELL_SIZE, 80 // CELL_SIZE)


def test_heights_follow_the_line_within_bounds() -> None:
    rows = np.array([-1000.0, 80.0, 1000.0])
    assert PERSPECTIVE.heights(rows) == pytest.approx([8.0, 20.0, 50.0])


def test_single_bodies_tell_the_perspective_among_groups_and_fragments() -> None:
    rng = np.random.default_rng(1)
    boxes = []
    for _ in range(900):
        row = int(rng.uniform(60, 200))
        tall = round((10 + 0.15 * row) * rng.choice([0.6, 1.0, 1.0, 1.0, 1.8], p=[0.1, 0.25, 0.25, 0.2, 0.2]))
        boxes.append((50, row - tall // 2, 50 + tall // 2, row - tall // 2 + tall))
    found = fit_perspective(boxes, 240)
    assert found.heights(np.array([80.0, 180.0])) == pytest.approx([22, 37], rel=0.15)


def test_too_few_bodies_give_a_guess_without_perspective() -> None:
    found = fit_perspective([(0, 0, 5, 10)] * 3, 240)
    assert found.slope == 0
    assert found.middle == 24


def test_blobs_at_the_border_and_specks_are_no_bodies() -> None:
    mask = np.zeros((60, 60), np.bool_)
    mask[0:20, 10:20] = mask[30:50, 30:40] = mask[55, 55] = True
    assert foreground_blobs(mask) == ((30, 30, 40, 50),)


def test_the_perspective_of_a_street_is_learned(street: Scene) -> None:
    rows = np.linspace(AWAY[0], NEAR[1], 8)
    real = np.array([body_height(row) for row in rows])
    assert street.manifest.perspective.heights(rows) == pytest.approx(real, rel=0.15)
    assert street.manifest.perspective.bodies > 50


@settings(max_examples=30)
@given(st.floats(8, 40), st.floats(-0.05, 0.3), st.integers(0, 9))
def test_a_line_is_found_again_and_heights_stay_in_bounds(top: float, slope: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.uniform(20, 220, 400)
    tall = np.maximum(top + slope * rows, 5) * rng.normal(1, 0.03, 400)
    boxes = [
        (10, round(y - h / 2), 10 + round(h / 2), round(y + h / 2)) for y, h in zip(rows, tall, strict=True)
    ]
    found = fit_perspective(boxes, 240)
    middle = np.array([120.0])
    assert found.heights(middle) == pytest.approx(np.maximum(top + slope * middle, 5), rel=0.12, abs=1)
    everywhere = found.heights(np.linspace(-1000, 1000, 50))
    assert everywhere.min() >= 4
    assert everywhere.max() <= max(2.5 * found.middle, 4) + 1e-3


def test_nobody_gives_a_flat_guess() -> None:
    guess = fit_perspective([], 200)
    assert guess == Perspective(at_top=20, slope=0, middle=20, aspect=0.5, bodies=0)
    assert set(guess.heights(np.array([0.0, 199.0])).tolist()) == {20.0}
