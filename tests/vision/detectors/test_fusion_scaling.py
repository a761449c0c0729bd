"""Maps brought to one scale by what is usual at each place."""

from __future__ import annotations

import numpy as np
import pytest

from anomalist.types.common import FloatArray
from anomalist.vision.detectors.fusion import GRID_CELLS, PositionScale, cell_peaks


def noise(n: int, seed: int = 0) -> FloatArray:
    return np.random.default_rng(seed).standard_normal((n, GRID_CELLS, GRID_CELLS)).astype(np.float32)


@pytest.mark.parametrize("shape", [(8, 8), (64, 64), (96, 32), (100, 75), (9, 15)])
def test_a_peak_is_seen_in_its_cell_only(shape: tuple[int, int]) -> None:
    for cell in [(0, 0), (3, 6), (7, 7)]:
        row, column = ((place + 0.5) * side / GRID_CELLS for place, side in zip(cell, shape, strict=True))
        score_map = np.zeros(shape, np.float32)
        score_map[int(row), int(column)] = 5
        peaks = cell_peaks(score_map)
        assert peaks.shape == (GRID_CELLS, GRID_CELLS)
        assert peaks.dtype == np.float32
        assert np.argwhere(peaks == 5).tolist() == [list(cell)]


def test_every_pixel_belongs_to_one_cell() -> None:
    for pixel in np.ndindex(11, 13):
        score_map = np.zeros((11, 13), np.float32)
        score_map[pixel] = 1
        assert cell_peaks(score_map).sum() == 1


@pytest.mark.parametrize("shape", [(1, 1), (2, 8), (7, 3)])
def test_maps_smaller_than_the_grid_repeat_their_pixels(shape: tuple[int, int]) -> None:
    score_map = np.arange(shape[0] * shape[1], dtype=np.float32).reshape(shape)
    peaks = cell_peaks(score_map)
    assert set(peaks.ravel().tolist()) == set(score_map.ravel().tolist())


def test_what_is_usual_at_a_place_is_taken_out() -> None:
    usual = np.zeros((GRID_CELLS, GRID_CELLS), np.float32)
    usual[2, 5] = 50  # an edge of the object that always stands out
    scale = PositionScale.fit(noise(400) + usual)
    scaled = scale.apply(usual)
    assert abs(scaled[2, 5]) < 3
    assert scale.apply(np.full_like(usual, 50))[5, 2] > 20


def test_normal_peaks_come_out_with_mean_0_and_spread_1() -> None:
    peaks = 3 + 2 * noise(500)
    scale = PositionScale.fit(peaks)
    scaled = np.stack([scale.apply(one) for one in peaks])
    assert scaled.mean() == pytest.approx(0, abs=0.02)
    assert scaled.std() == pytest.approx(1, abs=0.05)


def test_few_pictures_borrow_from_the_whole_grid() -> None:
    peaks = noise(2)
    peaks[:, 0, 0] = 30
    few, many = PositionScale.fit(peaks), PositionScale.fit(np.repeat(peaks, 100, 0))
    assert peaks.mean() < few.mean[0, 0] < 15 < many.mean[0, 0]


@pytest.mark.parametrize(
    "peaks", [noise(1), np.ones((5, GRID_CELLS, GRID_CELLS), np.float32), np.repeat(noise(1), 9, 0)]
)
def test_pictures_that_agree_by_chance_do_not_blow_the_scale_up(peaks: FloatArray) -> None:
    scale = PositionScale.fit(peaks)
    assert (scale.spread > 0).all()
    changed = scale.apply(peaks[0] + 1e-5)
    assert np.isfinite(changed).all()
    assert np.abs(changed - scale.apply(peaks[0])).max() < 1


@pytest.mark.parametrize("shape", [(8, 8), (64, 96), (5, 33)])
def test_a_map_keeps_its_size(shape: tuple[int, int]) -> None:
    scaled = PositionScale.fit(noise(20)).apply(np.zeros(shape, np.float32))
    assert scaled.shape == shape
    assert scaled.dtype == np.float32


# --- pictures that aren't aligned -------------------------------------------------------------------------


def test_one_scale_for_all_places_is_that_of_all_peaks_together() -> None:
    peaks = noise(40)
    peaks[:, 2, 5] += 50
    flat = PositionScale.flat(peaks)
    assert flat.mean.shape == flat.spread.shape == (GRID_CELLS, GRID_CELLS)
    assert flat.mean.dtype == flat.spread.dtype == np.float32
    assert flat.mean == pytest.approx(np.full((GRID_CELLS, GRID_CELLS), peaks.mean()), rel=1e-5)
    assert flat.spread == pytest.approx(np.full((GRID_CELLS, GRID_CELLS), peaks.std()), rel=1e-5)


@pytest.mark.parametrize("shape", [(8, 8), (64, 96), (5, 33)])
def test_one_scale_moves_all_places_alike(shape: tuple[int, int]) -> None:
    score_map = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    flat = PositionScale.flat(3 + 2 * noise(200))
    assert flat.apply(score_map) == pytest.approx((score_map - 3) / 2, abs=0.1)
    assert np.array_equal(flat.apply(score_map).argsort(None), score_map.argsort(None))
    turned = flat.apply(score_map[::-1, ::-1])[::-1, ::-1]
    assert turned == pytest.approx(flat.apply(score_map), abs=1e-5)


def test_one_scale_of_peaks_that_are_all_the_same_stays_finite() -> None:
    flat = PositionScale.flat(np.ones((3, GRID_CELLS, GRID_CELLS), np.float32))
    assert (flat.spread > 0).all()
    assert np.abs(flat.apply(np.ones((16, 16), np.float32))).max() == 0
