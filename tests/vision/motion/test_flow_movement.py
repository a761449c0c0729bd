"""Windows: integral sums equal the naive ones; perspective makes them larger further down."""

from __future__ import annotations

import numpy as np
import pytest

from anomalist.types.common import BoolArray, FloatArray
from anomalist.vision.motion.flow import (
    CELL_SIZE,
    BodyWindows,
    IntegralImages,
    Perspective,
    fit_perspective,
    foreground_blobs,
    grid_shape,
    integral_images,
)

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
