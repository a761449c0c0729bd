"""Outliers among normal pictures: defects that may resemble each other, and pictures of a second product."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pytest

from anomalist.types.common import BoolArray, FloatArray, UInt8Array
from anomalist.vision.detectors.base import no_progress
from anomalist.vision.detectors.ensemble import open_backbone_by
from anomalist.vision.detectors.token_memory import describe, unit_vectors
from anomalist.vision.features.backbones import to_working_size
from anomalist.vision.features.dinov2 import VisionTransformer
from anomalist.vision.outliers import (
    MIN_PICTURES,
    DescribedPictures,
    FoundOutlier,
    NormalsCheck,
    Outlier,
    describe_pictures,
    find_outliers,
    named_from,
    robust_z_scores,
    separate_cluster,
)
from tests.boards import board, noisy, spot
from tests.pictures import holed, tile

WIDTH = 16


def around(direction: int, count: int, seed: int = 0, spread: float = 0.05) -> FloatArray:
    """Unit vectors near one axis, float32 (count, WIDTH)."""
    rng = np.random.default_rng((seed, direction))
    return unit_vectors(np.eye(WIDTH)[direction] + rng.normal(0, spread, (count, WIDTH)))


def described(grids: Sequence[FloatArray], groups: npt.NDArray[np.int64] | None = None) -> DescribedPictures:
    """Pictures by patch tokens, float32 (n, n, WIDTH) each, whose class tokens are one cluster."""
    blank = np.zeros((8, 8, 3), np.uint8)
    return DescribedPictures(
        [blank] * len(grids),
        [grid.astype(np.float16) for grid in grids],
        around(0, len(grids)),
        np.arange(len(grids)) if groups is None else groups,
    )


def grid(seed: int, odd: int | None = None) -> FloatArray:
    """Patch tokens (8, 8, WIDTH) of a normal picture; of one with a defect in the direction ``odd``."""
    tokens = around(0, 64, seed + 1).reshape(8, 8, WIDTH)
    if odd is not None:
        tokens[3:5, 3:5] = around(odd, 4, seed, spread=0.01).reshape(2, 2, WIDTH)
    return tokens


_DESCRIBED: dict[tuple[bytes, tuple[int, ...], int], tuple[FloatArray, FloatArray]] = {}


@pytest.fixture(scope="module", autouse=True)
def _forgotten() -> Iterator[None]:
    yield
    _DESCRIBED.clear()


def remembering(
    backbone: VisionTransformer, pictures: Sequence[UInt8Array], side: int
) -> tuple[FloatArray, FloatArray]:
    """`describe`, each picture once for all tests."""
    keys = [(each.tobytes(), each.shape, side) for each in pictures]
    new = [i for i, key in enumerate(keys) if key not in _DESCRIBED]
    if new:
        for i, patches, token in zip(new, *describe(backbone, [pictures[i] for i in new], side), strict=True):
            _DESCRIBED[keys[i]] = patches, token
    found = [_DESCRIBED[key] for key in keys]
    return np.stack([patches for patches, _ in found]), np.stack([token for _, token in found])


def seen(pictures: Sequence[UInt8Array], roi: BoolArray | None = None) -> tuple[FoundOutlier, ...]:
    """What is found among pictures by the real networks."""
    working = [to_working_size(picture) for picture in pictures]
    groups = np.arange(len(pictures))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("anomalist.vision.outliers.describe", remembering)
        pictures_described = describe_pictures(open_backbone_by(None)(), working, groups, roi, no_progress)
    return find_outliers(pictures_described, seed=0)


# --- unlike the rest ----------------------------------------------------------------------------------------


def test_a_picture_with_foreign_patches_is_unlike_the_rest() -> None:
    found = find_outliers(described([grid(i) for i in range(30)] + [grid(99, odd=5)]), seed=0)
    assert [(each.picture, each.why) for each in found] == [(30, "unlike the rest")]
    assert found[0].measure > named_from(31)


def test_defects_that_resemble_each_other_do_not_hide_each_other() -> None:
    found = find_outliers(
        described([grid(i) for i in range(36)] + [grid(90 + i, odd=5) for i in range(4)]), 0
    )
    assert [each.picture for each in found] == [36, 37, 38, 39]


def test_pictures_of_one_defective_object_do_not_hide_each_other() -> None:
    grids = [grid(i) for i in range(30)] + [grid(99, odd=5)] * 2
    found = find_outliers(described(grids, np.array([*range(30), 30, 30])), seed=0)
    assert [each.picture for each in found] == [30, 31]


def test_among_normal_pictures_nothing_is_named() -> None:
    assert find_outliers(described([grid(i) for i in range(40)]), seed=0) == ()


def test_nothing_is_named_among_too_few_objects() -> None:
    grids = [grid(i) for i in range(MIN_PICTURES - 2)] + [grid(99, odd=5)]
    assert find_outliers(described(grids), seed=0) == ()


def test_the_scale_of_scores_is_not_moved_by_the_outliers() -> None:
    rng = np.random.default_rng(0)
    clean = np.exp(rng.normal(0, 0.2, (50, 2)))
    z = robust_z_scores(np.concatenate([clean, np.full((5, 2), 1e3)]))
    assert abs(np.median(z[:50])) < 0.3
    assert z[50:].min() > 20


def test_copies_that_differ_by_next_to_nothing_are_not_outliers() -> None:
    distances = 1 + np.random.default_rng(0).normal(0, 1e-4, (30, 2))
    distances[0] = 1.01
    assert robust_z_scores(distances).max() < 1


def test_few_normals_need_a_clearer_outlier_than_many() -> None:
    assert named_from(8) > named_from(20) > named_from(1000) > 3.5


@pytest.mark.usefixtures("in_full")
def test_a_hole_and_a_spot_are_found_in_real_pictures() -> None:
    found = seen([tile(i) for i in range(24)] + [holed(90), holed(91)])
    assert [each.picture for each in found] == [24, 25]
    boards = [noisy(board(), 3, i) for i in range(15)]
    assert [each.picture for each in seen([*boards, spot(boards[0], (250, 165), 12, 220)])] == [15]


@pytest.mark.usefixtures("in_full")
def test_what_lies_outside_the_region_of_interest_does_not_count() -> None:
    roi = np.zeros((64, 64), bool)
    roi[40:] = True
    assert seen([tile(i) for i in range(24)] + [holed(90)], roi) == ()


# --- a second product ---------------------------------------------------------------------------------------


def test_a_cluster_apart_is_found_whole_and_the_smaller_one_is_named() -> None:
    tokens = np.concatenate([around(0, 9), around(3, 40)])
    cluster = separate_cluster(tokens)
    assert cluster is not None and cluster.tolist() == list(range(9))


def test_of_two_halves_the_later_one_is_named() -> None:
    cluster = separate_cluster(np.concatenate([around(0, 20), around(3, 20)]))
    assert cluster is not None and cluster.tolist() == list(range(20, 40))


def test_a_stray_picture_does_not_hide_a_cluster() -> None:
    tokens = np.concatenate([around(0, 30), around(3, 8), around(6, 1)])
    cluster = separate_cluster(tokens)
    assert cluster is not None and set(range(30, 38)) <= set(cluster.tolist())


@pytest.mark.parametrize("tokens", [around(0, 60, spread=0.2), around(0, 4), around(0, 1)])
def test_one_cluster_is_not_divided(tokens: FloatArray) -> None:
    assert separate_cluster(tokens) is None


@pytest.mark.usefixtures("in_full")
@pytest.mark.parametrize("count", [4, 12])
def test_a_second_product_is_named_all_of_it(count: int) -> None:
    boards = [noisy(board(), 3, i)[::2, 40:280:2] for i in range(count)]
    found = seen([tile(i, 120) for i in range(24 - count)] + boards)
    assert [(each.picture, each.why) for each in found] == [
        (i, "second product") for i in range(24 - count, 24)
    ]
    assert all(each.measure > 0.5 for each in found)


@pytest.mark.usefixtures("in_full")
def test_three_products_leave_the_largest() -> None:
    dark = [noisy(board(dark=False), 3, i)[::2, 40:280:2] for i in range(6)]
    light = [noisy(board(), 3, i)[::2, 40:280:2] for i in range(6)]
    found = seen([*dark, *(tile(i, 120) for i in range(14)), *light])
    assert {each.picture for each in found} == {*range(6), *range(20, 26)}
    assert {each.why for each in found} == {"second product"}


@pytest.mark.usefixtures("in_full")
def test_defects_alone_are_no_second_product() -> None:
    found = seen([tile(i) for i in range(24)] + [holed(90 + i) for i in range(4)])
    assert {each.picture for each in found} == {24, 25, 26, 27}
    assert {each.why for each in found} == {"unlike the rest"}


# --- records ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("outliers", "pictures", "large"), [(2, 12, False), (3, 60, True), (3, 61, False)])
def test_a_few_outliers_are_not_a_large_share(outliers: int, pictures: int, large: bool) -> None:
    one = Outlier(source="a.png", sha256="ab", why="unlike the rest", measure=9.0)
    assert NormalsCheck(pictures=pictures, outliers=(one,) * outliers).is_large is large


def test_arrays_of_different_numbers_of_pictures_are_refused() -> None:
    blank = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(ValueError, match="2 pictures"):
        DescribedPictures([blank] * 2, [], around(0, 2), np.arange(2))
