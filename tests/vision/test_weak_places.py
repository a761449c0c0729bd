"""How far regions reach, and places beside them that reach the threshold."""

from __future__ import annotations

import numpy as np
import pytest

from anomalist.types.common import Box, FloatArray
from anomalist.types.image import Region
from anomalist.vision.regions import find_regions
from anomalist.vision.weak_places import MAX_WEAK_PLACES, find_weak_places, grown, reaches_of


def region_at(box: Box, peak: float) -> Region:
    """A region with this box."""
    values = np.zeros((80, 120), np.float32)
    values[box[1] : box[3], box[0] : box[2]] = peak
    (found,) = find_regions(np.zeros((80, 120, 3), np.uint8), values, values > 0)
    return found


def map_of(*bumps: tuple[Box, float]) -> FloatArray:
    """A map that is high in boxes."""
    values = np.zeros((80, 120), np.float32)
    for (x0, y0, x1, y1), height in bumps:
        values[y0:y1, x0:x1] = height
    return values


def test_a_region_reaches_as_far_as_what_is_connected_to_it_above_the_level() -> None:
    values = map_of(
        ((4, 20, 10, 40), 3), ((10, 20, 26, 40), 6), ((15, 25, 20, 30), 10), ((40, 50, 60, 60), 9)
    )
    region = region_at((16, 26, 19, 29), 10)
    assert reaches_of(values, [region])[0] == (10, 20, 26, 40)
    assert reaches_of(values, [region], 2.5)[0] == (4, 20, 26, 40)
    third, beside = region_at((45, 52, 50, 58), 9), region_at((15, 25, 20, 30), 6)
    for level in (None, 2.5):
        several = [region, third, beside, region]
        assert reaches_of(values, several, level) == [reaches_of(values, [r], level)[0] for r in several]
    everywhere = np.full_like(values, 8.0)
    everywhere[:30] = 0
    assert reaches_of(everywhere, [region_at((3, 40, 9, 45), 8)])[0] == (3, 40, 9, 45)


def test_weak_places_lie_beside_the_regions_and_reach_the_threshold() -> None:
    strong, second, third, low = (10, 10, 30, 30), (90, 60, 100, 70), (60, 5, 70, 15), (60, 60, 70, 70)
    values = map_of((strong, 10), (second, 4), (third, 5), (low, 1.5))
    regions = (region_at(strong, 10),)
    found = find_weak_places(values, None, regions, level=0.5, threshold=2.0)
    assert [(each.id, each.box, each.peak, each.position) for each in found] == [
        ("W1", third, 5.0, "top"),
        ("W2", second, 4.0, "lower right"),
    ]
    roi = np.ones(values.shape, np.bool_)
    roi[:, :80] = False
    assert [each.box for each in find_weak_places(values, roi, regions, level=0.5, threshold=2.0)] == [second]


@pytest.mark.parametrize(("regions", "threshold"), [(False, 2.0), (True, None), (True, 5.5)])
def test_nothing_is_weak_without_regions_or_a_threshold_that_it_reaches(
    regions: bool, threshold: float | None
) -> None:
    values = map_of(((10, 10, 30, 30), 10), ((90, 60, 100, 70), 5))
    given = (region_at((10, 10, 30, 30), 10),) if regions else ()
    assert find_weak_places(values, None, given, level=0.5, threshold=threshold) == ()


def test_what_touches_a_region_is_no_weak_place_and_few_are_listed() -> None:
    boxes = [(x, 60, x + 8, 68) for x in range(30, 120, 15)]
    values = map_of(((10, 10, 30, 30), 10), ((30, 15, 34, 30), 4))
    for number, box in enumerate(boxes):
        values += map_of((box, 3 + number / 10))
    found = find_weak_places(values, None, (region_at((10, 10, 30, 30), 10),), level=0.5, threshold=2.0)
    assert [each.box for each in found] == boxes[::-1][:MAX_WEAK_PLACES]


def test_what_surrounds_a_region_is_where_the_map_falls_off_and_no_place_beside_it() -> None:
    """A region so large for its picture that what is connected to it is not taken for its reach."""
    values = map_of(((0, 0, 100, 80), 3), ((40, 30, 60, 50), 10), ((110, 30, 118, 38), 4))
    found = find_weak_places(values, None, (region_at((40, 30, 60, 50), 10),), level=0.5, threshold=2.0)
    assert [each.box for each in found] == [(110, 30, 118, 38)]


def test_a_margin_stays_inside_the_picture() -> None:
    assert grown((0, 0, 10, 10), (80, 120)) == (0, 0, 14, 14)
    assert grown((50, 40, 90, 50), (80, 120)) == (36, 26, 104, 64)
