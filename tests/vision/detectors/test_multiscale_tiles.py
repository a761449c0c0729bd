"""Tiles of large pictures: every pixel is in one, seams don't show, and one tile is the whole."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalist.types.common import FloatArray, UInt8Array
from anomalist.vision.detectors.multiscale import (
    LARGE_PIXELS,
    MAX_TILED_PIXELS,
    TILE_OVERLAP,
    TILE_SIDE,
    TileOrigin,
    crop_tile,
    is_large,
    multiscale_image,
    sample_tiles,
    stitch_tiles,
    tile_origins,
    to_tiling_size,
)

Sides = st.integers(1, 90).map(lambda k: 32 * k)
"""Of fine pictures: multiples of 32, some smaller than a tile."""
RIM = TILE_OVERLAP // 4


def numbered(height: int, width: int) -> UInt8Array:
    """A picture whose pixels tell their place: row and column in steps of 8, uint8 (height, width, 3)."""
    rows, columns = np.mgrid[:height, :width] // 8
    return np.stack([rows % 256, columns % 256, rows // 256 * 16 + columns // 256], 2).astype(np.uint8)


def some_map(height: int, width: int, seed: int = 0) -> FloatArray:
    return np.random.default_rng(seed).normal(size=(height, width)).astype(np.float32)


# --- which pictures, and how large ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("height", "width", "large"),
    [(768, 768, False), (769, 768, True), (16, 36_000, False), (16, 40_000, True), (64, 64, False)],
)
def test_only_pictures_that_would_lose_detail_are_large(height: int, width: int, large: bool) -> None:
    assert LARGE_PIXELS == 768 * 768
    assert is_large(np.zeros((height, width, 3), np.uint8)) is large


@pytest.mark.parametrize(
    ("height", "width", "fine"),
    [
        (800, 1024, (800, 1024)),
        (1500, 2000, (1504, 1984)),
        (790, 1010, (800, 1024)),
        (16, 40_000, (32, 40_000)),
        (3000, 4000, (2464, 3264)),
    ],
)
def test_tiles_are_cut_at_full_size_but_for_huge_pictures(
    height: int, width: int, fine: tuple[int, int]
) -> None:
    found = to_tiling_size(np.zeros((height, width, 3), np.uint8))
    assert found.shape == (*fine, 3)
    assert found.dtype == np.uint8
    assert fine[0] * fine[1] <= 1.02 * MAX_TILED_PIXELS


def test_a_picture_that_fits_is_not_resampled() -> None:
    picture = numbered(800, 1024)
    assert to_tiling_size(picture) is picture


# --- where tiles lie --------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(Sides, Sides)
def test_tiles_cover_everything_overlap_and_stay_inside(height: int, width: int) -> None:
    found = tile_origins((height, width, 3))
    assert len(found) == len(set(found))
    for axis, length in enumerate((height, width)):
        starts = sorted({place[axis] for place in found})
        side = min(TILE_SIDE, length)
        assert starts[0] == 0
        assert starts[-1] + side == length
        assert all(start % 8 == 0 for start in starts)  # patches of neighbouring tiles lie on one grid
        overlaps = [first + side - second for first, second in pairwise(starts)]
        assert all(2 * RIM < TILE_OVERLAP - 8 <= overlap < side for overlap in overlaps)
    assert len(found) == len({top for top, _ in found}) * len({left for _, left in found})


@settings(max_examples=15)
@given(st.integers(1, 40).map(lambda k: 32 * k), st.integers(1, 40).map(lambda k: 32 * k))
def test_a_tile_is_the_part_of_the_picture_at_its_place(height: int, width: int) -> None:
    picture = numbered(height, width)
    for top, left in tile_origins(picture.shape):
        tile = crop_tile(picture, (top, left))
        assert tile.shape == (min(TILE_SIDE, height), min(TILE_SIDE, width), 3)
        assert tuple(tile[0, 0, :2]) == (top // 8 % 256, left // 8 % 256)


@pytest.mark.parametrize(("count", "kept"), [(0, 0), (1, 1), (4, 4), (12, 12), (100, 12)])
def test_tiles_are_drawn_without_repeats_and_hold_no_more_than_themselves(count: int, kept: int) -> None:
    picture = numbered(960, 1216)
    drawn = sample_tiles(picture, count, np.random.default_rng(3))
    corners = [(8 * int(tile[0, 0, 0]), 8 * int(tile[0, 0, 1])) for tile in drawn]
    assert len(drawn) == len(set(corners)) == kept
    assert set(corners) <= set(tile_origins(picture.shape))
    assert all(tile.base is None for tile in drawn)
    again = sample_tiles(picture, count, np.random.default_rng(3))
    assert all(np.array_equal(one, other) for one, other in zip(drawn, again, strict=True))


# --- joining maps -----------------------------------------------------------------------------------------


def joined_one_by_one(shape: tuple[int, int], maps: list[tuple[TileOrigin, FloatArray]]) -> FloatArray:
    """The highest of the layers that each tile alone makes, its rim cut off but at the picture's border."""
    layers = np.full((len(maps), *shape), -np.inf, np.float32)
    for layer, ((top, left), tile) in zip(layers, maps, strict=True):
        for row in range(tile.shape[0]):
            for column in (0, tile.shape[1] - 1):  # rows from end to end
                assert 0 <= top + row < shape[0] and 0 <= left + column < shape[1]
            start = RIM if left > 0 else 0
            stop = tile.shape[1] - (RIM if left + tile.shape[1] < shape[1] else 0)
            in_rim = (top > 0 and row < RIM) or (
                top + tile.shape[0] < shape[0] and row >= tile.shape[0] - RIM
            )
            if not in_rim:
                layer[top + row, left + start : left + stop] = tile[row, start:stop]
    return np.asarray(layers.max(0), np.float32)


@pytest.mark.parametrize("shape", [(64, 96), (384, 416), (800, 448), (704, 1056)])
def test_joining_is_that_of_a_simple_loop(shape: tuple[int, int]) -> None:
    where = tile_origins(shape)
    maps = [(p, some_map(min(TILE_SIDE, shape[0]), min(TILE_SIDE, shape[1]), k)) for k, p in enumerate(where)]
    joined = stitch_tiles(shape, iter(maps))
    assert joined.dtype == np.float32
    assert np.array_equal(joined, joined_one_by_one(shape, maps))
    assert np.array_equal(joined, stitch_tiles(shape, iter(maps[::-1])))  # in whatever order they come


@settings(max_examples=20)
@given(st.integers(1, 45).map(lambda k: 32 * k), st.integers(1, 45).map(lambda k: 32 * k))
def test_a_map_cut_into_tiles_and_joined_is_the_map(height: int, width: int) -> None:
    whole = some_map(height, width)
    tiles = ((p, whole[p[0] : p[0] + TILE_SIDE, p[1] : p[1] + TILE_SIDE]) for p in tile_origins(whole.shape))
    assert np.array_equal(stitch_tiles((height, width), tiles), whole)


@pytest.mark.parametrize("shape", [(32, 32), (384, 384), (64, 320)])
def test_one_tile_is_the_whole(shape: tuple[int, int]) -> None:
    assert tile_origins(shape) == [(0, 0)]
    only = some_map(*shape)
    assert np.array_equal(stitch_tiles(shape, iter([((0, 0), only)])), only)


def test_what_only_the_rim_of_a_tile_sees_does_not_count_inside_the_picture() -> None:
    shape = (384, 704)
    loud = np.zeros((384, 384), np.float32)
    loud[:, :3] = loud[:, -3:] = 9
    joined = stitch_tiles(shape, ((place, loud) for place in tile_origins(shape)))
    assert np.flatnonzero(joined.max(0)).tolist() == [0, 1, 2, 701, 702, 703]


@pytest.mark.parametrize(
    ("height", "width", "shape"),
    [
        (6400, 1536, (4256, 1024)),
        (12_800, 1536, (8544, 1024)),
        (1536, 12_800, (1024, 8544)),
        (16_000, 640, (16_000, 640)),
    ],
)
def test_the_resolution_of_a_strip_depends_on_its_width_and_not_on_its_length(
    height: int, width: int, shape: tuple[int, int]
) -> None:
    pixels = np.zeros((height, width, 3), np.uint8)
    assert to_tiling_size(pixels).shape[:2] == shape


def test_what_was_learned_before_strips_were_told_apart_keeps_its_resolution() -> None:
    pixels = np.zeros((12_800, 1536, 3), np.uint8)
    reduced = to_tiling_size(pixels, strips=False)
    assert reduced.shape[0] * reduced.shape[1] == pytest.approx(8_000_000, rel=0.03)


def test_more_tiles_are_kept_of_a_longer_strip() -> None:
    short, long = (np.zeros((length, 640, 3), np.uint8) for length in (6400, 25_600))
    assert len(multiscale_image(short).tiles) == 4
    assert len(multiscale_image(long).tiles) == 8
