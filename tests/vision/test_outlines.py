"""Outlines of the places of an anomaly map, along the edges in the picture."""

import numpy as np

from anomalist.vision.outlines import outline_places
from anomalist.vision.regions import find_regions
from tests.vision.test_regions import SIDE, bump


def test_in_a_strip_only_what_is_near_a_place_is_its_surroundings() -> None:
    rng = np.random.default_rng(0)
    pixels = np.dstack([rng.normal(120, 4, (6000, 96)).astype(np.uint8)] * 3)
    pixels[4000:4060, 40:46] = 220
    score_map = np.zeros((6000, 96), np.float32)
    score_map[3990:4070, 34:52] = 5
    mask = outline_places(pixels, score_map, None, level=1, low=0)
    (region,) = find_regions(pixels, score_map, mask)
    x0, y0, x1, y1 = region.box
    assert abs(x0 - 40) <= 2 and abs(x1 - 46) <= 2
    assert abs(y0 - 4000) <= 2 and abs(y1 - 4060) <= 2


def test_an_outline_beside_the_peak_of_the_map_keeps_the_top_of_it() -> None:
    pixels = np.full((128, 128, 3), 120, np.uint8)
    pixels[60:68, 67:71] = 230  # stands out by colour, at the flank of the place
    score_map = bump(60, 64, 9, height=5)
    mask = outline_places(pixels, score_map, None, level=1, low=0)
    assert mask[64, 60]
    assert mask[61:67, 68:70].all()
    assert mask.sum() < 0.5 * (score_map > 2.5).sum()


def test_in_a_large_picture_a_defect_is_outlined_beside_the_peak_of_a_reduced_map() -> None:
    grey = 130 + 5 * np.random.default_rng(0).normal(size=(3000, 256))
    truth = np.zeros(grey.shape, bool)
    truth[1478:1500, 119:123] = True
    grey[truth] = 220
    rows, columns = np.ogrid[:3000, :256]
    score_map = np.exp(-(((rows - 1475) / 40) ** 2) - ((columns - 105) / 40) ** 2).astype(np.float32)
    picture = np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
    mask = outline_places(picture, score_map, None, level=0.1, low=0.0)
    assert mask[truth].mean() > 0.7
    assert mask.sum() < 1.5 * truth.sum()


def test_a_defect_that_lifts_the_whole_map_is_outlined_alone() -> None:
    grey = np.full((SIDE, SIDE), 120.0) + 4 * np.random.default_rng(0).normal(size=(SIDE, SIDE))
    grey[60:70, 40:80] = 40
    picture = np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
    mask = outline_places(picture, 90 + 60 * bump(60, 65, 16), None, level=1, low=0)
    assert mask[60:70, 40:80].mean() > 0.9
    assert mask.sum() < 600
    even = np.full((SIDE, SIDE), 90, np.float32)
    even[5, 5] = 91
    assert outline_places(picture, even, None, level=1, low=0).any()
