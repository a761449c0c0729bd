"""Comparison with the mean of the normal pictures: missing and extra."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from anomalist.vision.regions import find_regions
from anomalist.vision.shift.arithmetic import match_light
from anomalist.vision.shift.model import InputModel
from scripts.generated_parts import make_part


@pytest.mark.parametrize("product", ["plate", "cap", "label"])
def test_a_missing_thing_is_outlined_and_called_missing(
    product: str, model_of: Callable[[str], InputModel]
) -> None:
    for seed in range(2000, 2003):
        picture, mask = make_part(product, seed, "missing")
        comparison = model_of(product).assess(picture).comparison
        assert comparison is not None
        coarse = mask.astype(np.float32)  # a map that marks the place
        outlined = comparison.outline_missing(np.zeros_like(mask), coarse, level=0.5, low=0.0)
        assert (outlined & mask).sum() > 0.5 * outlined.sum()
        regions = find_regions(picture, coarse, outlined)
        largest = max(regions, key=lambda region: region.area)
        assert comparison.with_direction(largest, outlined).change == "missing"


def test_a_good_part_has_nothing_missing(model_of: Callable[[str], InputModel]) -> None:
    comparison = model_of("plate").assess(make_part("plate", 1000)[0]).comparison
    assert comparison is not None
    assert comparison.differs.mean() < 0.01


def test_light_is_matched_without_regard_to_what_differs() -> None:
    rng = np.random.default_rng(0)
    mean = rng.uniform(20, 200, (64, 64)).astype(np.float32)
    grey = 0.8 * mean + 12
    grey[:8, :8] = 255
    assert match_light(mean, grey) == pytest.approx((0.8, 12), abs=0.5)
    assert match_light(np.full((9, 9), 7, np.float32), np.full((9, 9), 9, np.float32)) == (1.0, 2.0)


def test_light_moves_no_more_than_the_pixels_do() -> None:
    rng = np.random.default_rng(3)
    mean = rng.uniform(20, 220, (96, 96)).astype(np.float32)
    grey = 0.9 * mean + 7 + rng.normal(0, 2, mean.shape)
    first = np.array(match_light(mean, grey))
    for _ in range(200):
        found = np.array(match_light(mean, grey + rng.normal(0, 1e-4, mean.shape)))
        assert np.abs((found - first) @ [100, 1]) < 2e-5


@pytest.mark.parametrize("product", ["plate", "woven"])
def test_a_line_of_one_pixel_is_compared_in_a_picture_that_is_wider_than_the_normals(
    product: str, model_of: Callable[[str], InputModel]
) -> None:
    wide = cv2.resize(make_part(product, 1000)[0], (258, 254))
    comparison = model_of(product).assess(wide).comparison
    assert comparison is not None
    for column in (64, 65):  # which fall on one of the narrower ones
        mask = np.zeros(wide.shape[:2], bool)
        mask[100:140, column] = True
        (line,) = find_regions(wide, mask.astype(np.float32), mask)
        assert comparison.with_direction(line, mask).box == line.box
