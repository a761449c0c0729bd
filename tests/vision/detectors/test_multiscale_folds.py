"""Whole pictures and tiles of large ones: what is too small for the whole is seen in a tile."""

from __future__ import annotations

import numpy as np
import pytest

from anomalist.errors import MediaError
from anomalist.types.common import FloatArray, UInt8Array
from anomalist.vision.calibration import Partition
from anomalist.vision.detectors.base import LearningData, LearningSettings, no_progress
from anomalist.vision.detectors.multiscale import (
    TILE_SIDE,
    FoldModel,
    crop_tile,
    fold_maps,
    multiscale_image,
    tile_origins,
)
from anomalist.vision.detectors.surface import SurfaceDetector
from anomalist.vision.features.backbones import to_working_size
from anomalist.vision.features.extractor import FeatureExtractor
from tests.pictures import tile

HEIGHT, WIDTH = 832, 1024
AT = (301, 857)
"""Where the defect is: row and column."""


def smooth(seed: int, height: int = HEIGHT, width: int = WIDTH) -> UInt8Array:
    """A large picture of soft grain, like cast plastic."""
    import cv2

    noise = np.random.default_rng(seed).normal(0, 1, (height, width)).astype(np.float32)
    grain = cv2.GaussianBlur(noise, (0, 0), 4)
    grey = 140 + 8 * grain / grain.std() + 3 * noise
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, 2)


def nicked(seed: int) -> UInt8Array:
    """The same with a dark dot of 10 pixels across, in 1024×832."""
    import cv2

    picture = smooth(seed)
    cv2.circle(picture, AT[::-1], 5, (95, 95, 95), -1)
    return picture


@pytest.fixture(scope="module")
def large() -> SurfaceDetector:
    """Learned from three large pictures."""
    pictures = [SurfaceDetector.prepare(smooth(seed)) for seed in range(3)]
    data = LearningData(pictures, np.arange(3), Partition((((0, 1, 2), ()),)))
    return SurfaceDetector.learn(data, LearningSettings(effort="fast"), no_progress)


def maps_of(
    detector: SurfaceDetector, folds: list[FoldModel], pictures: list[UInt8Array]
) -> list[list[FloatArray]]:
    found = dict(fold_maps(detector.extractor, detector.heads, folds, pictures))
    return [found[index] for index in range(len(pictures))]


# --- what is kept -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [16, 64, 384, 768])
def test_of_a_small_picture_only_the_whole_is_kept(side: int) -> None:
    kept = multiscale_image(tile(1, side))
    assert kept.tiles == ()
    assert np.array_equal(kept.whole, to_working_size(tile(1, side)))


def test_of_a_large_picture_a_few_tiles_are_kept_too_and_always_the_same() -> None:
    kept, again, other = multiscale_image(smooth(0)), multiscale_image(smooth(0)), multiscale_image(smooth(1))
    assert [part.shape for part in kept.tiles] == [(TILE_SIDE, TILE_SIDE, 3)] * 4
    assert np.array_equal(np.stack(kept.tiles), np.stack(again.tiles))
    assert not np.array_equal(np.stack(kept.tiles), np.stack(other.tiles))
    whole = smooth(0)
    able = [crop_tile(whole, place) for place in tile_origins(whole.shape)]
    assert all(any(np.array_equal(part, one) for one in able) for part in kept.tiles)


def test_specks_are_refused() -> None:
    with pytest.raises(MediaError, match="At least 16"):
        multiscale_image(np.zeros((8, 100, 3), np.uint8))


# --- maps -------------------------------------------------------------------------------------------------


def test_a_small_defect_of_a_large_picture_is_found_at_its_place_and_stands_out_more(
    large: SurfaceDetector,
) -> None:
    import cv2

    (fold,) = large.fold_models
    assert fold.fine is not None
    (((bad,), (good,)), ((coarse,), _)) = (
        maps_of(large, [some], [nicked(50), smooth(50)]) for some in (fold, FoldModel(fold.whole))
    )
    row, column = np.unravel_index(bad.argmax(), bad.shape)
    assert bad.shape == good.shape == (HEIGHT, WIDTH)
    assert abs(row - AT[0]) <= 12 and abs(column - AT[1]) <= 12
    assert bad.max() > good.max() + 2
    enlarged = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
    assert bad.max() > enlarged.max() + 1
    assert (bad >= enlarged - 1e-4).all()  # tiles add, they never hide


def test_pictures_of_all_sizes_come_with_one_map_a_fold(large: SurfaceDetector) -> None:
    pictures = [tile(1), nicked(51), tile(2), tile(3, 400)]
    (fold,) = large.fold_models
    found = maps_of(large, [fold, FoldModel(fold.whole)], pictures)
    for picture, (with_tiles, without) in zip(pictures, found, strict=True):
        if picture.shape[0] < HEIGHT:
            assert with_tiles.shape == to_working_size(picture).shape[:2]
            assert np.array_equal(with_tiles, without)
        else:
            assert with_tiles.shape == without.shape == (HEIGHT, WIDTH)
            assert not np.array_equal(with_tiles, without)


def test_a_picture_gets_the_same_maps_alone_and_among_others(large: SurfaceDetector) -> None:
    pictures = [tile(number) for number in range(3)]
    together = maps_of(large, list(large.fold_models), pictures)
    for own, picture in zip(together, pictures, strict=True):
        assert own[0] == pytest.approx(maps_of(large, list(large.fold_models), [picture])[0][0], abs=1e-3)


def test_small_normals_teach_nothing_about_tiles(extractor: FeatureExtractor) -> None:
    pictures = [SurfaceDetector.prepare(tile(number)) for number in range(2)]
    data = LearningData(pictures, np.arange(2), Partition((((0, 1), ()),)))
    detector = SurfaceDetector.learn(data, LearningSettings(effort="fast"), no_progress)
    assert [fold.fine for fold in detector.fold_models] == [None]
    ((only,),) = maps_of(detector, list(detector.fold_models), [smooth(9, 800, 800)])
    assert np.isfinite(only).all()
