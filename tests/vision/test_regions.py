from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from anomalist.types.common import BoolArray, FloatArray, UInt8Array
from anomalist.types.image import Region
from anomalist.vision import regions as module
from anomalist.vision.regions import component_areas, find_regions, label_components, occupied_bands, segment

SIDE = 128
HIGH, LOW = 0.5, 0.1
EIGHT = np.ones((3, 3))


def bump(x: float, y: float, sigma: float, height: float = 1.0, side: int = SIDE) -> FloatArray:
    rows, columns = np.mgrid[:side, :side]
    squared = (columns - x) ** 2 + (rows - y) ** 2
    return np.asarray(height * np.exp(-squared / (2 * sigma**2)), dtype=np.float32)


def empty(side: int = SIDE) -> FloatArray:
    return np.zeros((side, side), dtype=np.float32)


def cut(score_map: FloatArray, roi: BoolArray | None = None, min_area: int | None = None) -> BoolArray:
    return segment(score_map, roi, high=HIGH, low=LOW, min_area=min_area)


def some_map(seed: int, height: int = 48, width: int = 40) -> FloatArray:
    """A smooth random map with about as many quiet as loud places."""
    noise = np.random.default_rng(seed).normal(size=(height, width))
    smooth = ndimage.gaussian_filter(noise, 2.5)
    return np.asarray(smooth / smooth.std() * 0.3, dtype=np.float32)


def components(mask: BoolArray) -> int:
    return int(ndimage.label(mask, EIGHT)[1])


# segment


@pytest.mark.parametrize("score_map", [empty(), np.full((SIDE, SIDE), HIGH, np.float32), -bump(60, 60, 5)])
def test_a_map_that_stays_below_high_has_no_region(score_map: FloatArray) -> None:
    assert not cut(score_map).any()


def test_a_place_between_the_levels_needs_a_peak() -> None:
    score_map = bump(30, 30, 6, height=0.4) + bump(90, 90, 6, height=0.6)
    mask = cut(score_map)
    assert mask[90, 90]
    assert not mask[:60, :60].any()


def test_a_peak_keeps_its_half_height_and_loses_its_halo() -> None:
    score_map = bump(64, 64, 4, height=3) + bump(64, 64, 30, height=0.4)
    mask = cut(score_map)
    assert mask[64, 64]
    assert mask.sum() < 250  # the halo alone covers over 5,000 pixels above LOW
    assert (score_map > LOW).sum() > 5000


def test_a_large_even_region_stays_whole_even_with_a_lone_high_peak() -> None:
    random = np.random.default_rng(0)
    score_map = random.uniform(0, 0.08, (SIDE, SIDE)).astype(np.float32)
    truth = np.zeros((SIDE, SIDE), dtype=bool)
    truth[30:90, 20:110] = True
    score_map[truth] = random.uniform(0.45, 0.75, truth.sum())
    score_map[60, 60] = 5
    mask = cut(score_map)
    assert (mask == truth).mean() > 0.999


def test_a_weak_region_beside_a_strong_one_is_kept() -> None:
    score_map = empty()
    score_map[40:80, 40:80] = 0.7
    score_map[40:60, 40:60] = 0
    score_map[40:59, 40:59] = 10
    mask = cut(score_map)
    assert components(mask) == 2
    assert (mask == (score_map > 0)).all()


@pytest.mark.parametrize("slope", [0.0, 0.3, 1.0])
def test_a_line_one_pixel_wide_survives(slope: float) -> None:
    score_map = empty()
    x = np.arange(20, 100)
    score_map[(20 + slope * (x - 20)).astype(int), x] = 1
    mask = cut(score_map)
    assert mask.sum() == 80
    assert components(mask) == 1


def test_a_short_thin_line_survives_where_a_compact_speck_of_its_area_does_not() -> None:
    score_map = empty()
    score_map[20, 20:36] = 1
    score_map[80:84, 80:84] = 1
    mask = cut(score_map, min_area=20)
    assert mask[20, 20:36].all()
    assert not mask[80:84, 80:84].any()


def test_the_smallest_area_grows_with_the_picture() -> None:
    small, large = empty(64), empty(1024)
    small[30:33, 30:33] = large[30:33, 30:33] = 1
    assert cut(small).sum() == 9
    assert cut(large).sum() == 0
    assert cut(large, min_area=0).sum() == 9


def test_small_holes_are_filled_and_large_ones_stay() -> None:
    score_map = empty()
    score_map[20:100, 20:100] = 1
    score_map[30, 30] = 0
    score_map[60:80, 60:80] = 0
    mask = cut(score_map)
    assert mask[30, 30]
    assert not mask[60:80, 60:80].any()


def test_nothing_outside_the_roi_counts() -> None:
    roi = np.zeros((SIDE, SIDE), dtype=bool)
    roi[:, :64] = True
    score_map = bump(64, 40, 6, height=2) + bump(100, 100, 6, height=2)
    mask = cut(score_map, roi)
    assert mask[:, :64].any()
    assert not mask[:, 64:].any()


def test_an_empty_roi_has_no_region() -> None:
    assert not cut(bump(64, 64, 5), np.zeros((SIDE, SIDE), dtype=bool)).any()


def test_one_pixel_is_a_picture() -> None:
    assert cut(np.ones((1, 1), dtype=np.float32)).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_map_that_is_not_finite_is_refused(bad: float) -> None:
    score_map = bump(64, 64, 5)
    score_map[3, 3] = bad
    with pytest.raises(ValueError, match="NaN or infinite"):
        cut(score_map)
    with pytest.raises(ValueError, match="NaN or infinite"):
        find_regions(grey(), score_map, score_map > 0.5)


@pytest.mark.parametrize(
    ("high", "low", "min_area", "message"),
    [
        (0.1, 0.2, None, "high must be at least low"),
        (np.nan, 0.2, None, "high must be at least low"),
        (0.2, 0.1, -1, "min_area must not be negative"),
    ],
)
def test_impossible_levels_are_refused(high: float, low: float, min_area: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        segment(empty(), None, high=high, low=low, min_area=min_area)


@pytest.mark.parametrize("roi", [np.ones((3, 3), dtype=bool), np.ones((SIDE, SIDE), dtype=np.uint8)])
def test_a_roi_that_does_not_fit_is_refused(roi: BoolArray) -> None:
    with pytest.raises(ValueError, match="ROI must be bool"):
        cut(empty(), roi)


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000))
def test_every_region_holds_a_strong_pixel_and_lies_in_the_roi(seed: int) -> None:
    score_map = some_map(seed)
    roi = np.random.default_rng(seed + 1).random(score_map.shape) < 0.9
    mask = cut(score_map, roi)
    labels, found = ndimage.label(mask, EIGHT)
    assert not (mask & ~roi).any()
    assert all((score_map[labels == i] > HIGH).any() for i in range(1, found + 1))


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000))
def test_the_mask_of_the_mirrored_map_is_the_mirrored_mask(seed: int) -> None:
    score_map = some_map(seed)
    assert (cut(score_map[:, ::-1]) == cut(score_map)[:, ::-1]).all()
    assert (cut(score_map.T) == cut(score_map).T).all()


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), scale=st.floats(0.01, 100), shift=st.floats(-10, 10))
def test_the_mask_does_not_depend_on_the_units_of_the_score(seed: int, scale: float, shift: float) -> None:
    score_map = some_map(seed)
    scaled = (score_map.astype(np.float64) * scale + shift).astype(np.float32)
    mask = segment(scaled, None, high=HIGH * scale + shift, low=LOW * scale + shift)
    # Pixels within float32 rounding of a level may fall on either side.
    assert (mask != cut(score_map)).mean() < 0.01


# find_regions


def grey(level: int = 128, height: int = SIDE, width: int = SIDE) -> UInt8Array:
    return np.full((height, width, 3), level, dtype=np.uint8)


def test_a_dark_square_at_the_upper_left_is_measured_as_such() -> None:
    pixels, score_map = grey(180), empty()
    pixels[20:30, 10:22] = 60
    score_map[20:30, 10:22] = 0.8
    score_map[25, 15] = 0.9
    (region,) = find_regions(pixels, score_map, score_map > 0.5)
    assert region.id == "R1"
    assert region.box == (10, 20, 22, 30)
    assert region.area == 120
    assert region.peak == pytest.approx(0.9)
    assert region.mean == pytest.approx((119 * 0.8 + 0.9) / 120)
    assert region.attributes.position == "upper left"
    assert region.attributes.tone == "darker"
    assert region.attributes.contrast == pytest.approx(-120)
    assert region.attributes.relative_size == 120 / SIDE**2


def test_a_red_blob_is_redder_than_its_surroundings() -> None:
    pixels, score_map = grey(), bump(100, 100, 6)
    mask = score_map > 0.5
    pixels[mask] = (200, 110, 110)
    (region,) = find_regions(pixels, score_map, mask)
    assert (region.attributes.colour, region.attributes.position) == ("redder", "lower right")


def test_regions_are_sorted_by_falling_peak_and_touching_corners_join() -> None:
    score_map = bump(20, 20, 4, 0.7) + bump(60, 60, 4, 0.9) + bump(100, 100, 4, 0.8)
    mask = score_map > 0.5
    found = find_regions(grey(), score_map, mask)
    assert [region.id for region in found] == ["R1", "R2", "R3"]
    assert [round(region.peak, 1) for region in found] == [0.9, 0.8, 0.7]
    assert len(find_regions(grey(height=4, width=4), np.ones((4, 4), np.float32), np.eye(4, dtype=bool))) == 1


def test_equal_peaks_are_sorted_by_area_then_from_the_top_left() -> None:
    score_map = empty()
    for y, x, side in ((80, 10, 3), (10, 80, 3), (100, 100, 5)):
        score_map[y : y + side, x : x + side] = 1
    boxes = [region.box[:2] for region in find_regions(grey(), score_map, score_map > 0)]
    assert boxes == [(100, 100), (80, 10), (10, 80)]


def test_the_limit_keeps_the_highest_peaks_and_leaves_the_mask() -> None:
    score_map = empty()
    for i in range(30):
        score_map[4 * i : 4 * i + 2, 10:12] = 1 + i
    mask = score_map > 0
    before = mask.copy()
    assert [region.peak for region in find_regions(grey(), score_map, mask, limit=3)] == [30, 29, 28]
    assert len(find_regions(grey(), score_map, mask)) == 20
    assert (mask == before).all()


def test_an_empty_mask_has_no_regions() -> None:
    assert find_regions(grey(), empty(), np.zeros((SIDE, SIDE), dtype=bool)) == ()


def test_size_and_surroundings_are_taken_inside_the_roi() -> None:
    pixels, score_map = grey(100), empty()
    pixels[:, 64:] = 255
    score_map[50:60, 50:62] = 1
    roi = np.zeros((SIDE, SIDE), dtype=bool)
    roi[:, :64] = True
    (region,) = find_regions(pixels, score_map, score_map > 0, roi)
    assert region.attributes.relative_size == 120 / (64 * SIDE)
    assert region.attributes.contrast == 0


@pytest.mark.parametrize(
    ("pixels", "mask", "roi", "limit", "message"),
    [
        (grey(height=5), np.zeros((SIDE, SIDE), bool), None, 1, "pixels must be"),
        (grey(), np.zeros((5, SIDE), bool), None, 1, "mask must be"),
        (grey(), np.zeros((SIDE, SIDE), bool), None, 0, "limit must be"),
        (grey(), np.ones((SIDE, SIDE), bool), np.zeros((SIDE, SIDE), bool), 1, "outside the ROI"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    pixels: UInt8Array, mask: BoolArray, roi: BoolArray | None, limit: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        find_regions(pixels, empty(), mask, roi, limit=limit)


MIRRORED = {"left": "right", "right": "left", "upper left": "upper right", "upper right": "upper left"}
MIRRORED |= {"lower left": "lower right", "lower right": "lower left"}


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000))
def test_mirroring_the_picture_mirrors_the_regions(seed: int) -> None:
    score_map = some_map(seed)
    mask = score_map > HIGH
    pixels = np.random.default_rng(seed).integers(0, 256, (*mask.shape, 3), dtype=np.uint8)
    width = mask.shape[1]
    straight = find_regions(pixels, score_map, mask)
    mirrored = find_regions(pixels[:, ::-1], score_map[:, ::-1], mask[:, ::-1])
    assert len(straight) == len(mirrored)
    for one, other in zip(straight, mirrored, strict=True):
        x0, y0, x1, y1 = one.box
        assert other.box == (width - x1, y0, width - x0, y1)
        assert (other.area, other.peak) == (one.area, one.peak)
        a, b = one.attributes, other.attributes
        assert b.position == MIRRORED.get(a.position, a.position)
        assert set(b.edges) == {MIRRORED.get(edge, edge) for edge in a.edges}
        assert b.elongation == pytest.approx(a.elongation)
        assert (b.orientation is None) == (a.orientation is None)
        if a.orientation is not None and b.orientation is not None:
            turn = (a.orientation + b.orientation) % 180
            assert min(turn, 180 - turn) == pytest.approx(0, abs=1e-3)
        measured = [(m.contrast, m.contrast_sigma, m.colour_shift, m.texture_ratio) for m in (a, b)]
        assert measured[0] == pytest.approx(measured[1], abs=1e-4)


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000))
def test_boxes_hold_exactly_one_component_each(seed: int) -> None:
    score_map = some_map(seed)
    mask = score_map > HIGH
    found = find_regions(grey(height=mask.shape[0], width=mask.shape[1]), score_map, mask, limit=1000)
    labels, count = ndimage.label(mask, EIGHT)
    assert len(found) == count
    assert {_component(region, labels, score_map) for region in found} == set(range(1, count + 1))


def _component(region: Region, labels: np.ndarray, score_map: FloatArray) -> int:
    """Return the label of the component that has exactly this box, area and peak."""
    (number,) = (
        i
        for i, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1)
        if (columns.start, rows.start, columns.stop, rows.stop) == region.box
        and (labels == i).sum() == region.area
        and score_map[labels == i].max() == region.peak
    )
    return number


@given(st.integers(0, 10_000))
@settings(max_examples=40)
def test_bands_hold_every_component_whole(seed: int) -> None:
    mask = np.random.default_rng(seed).random((40, 12)) > 0.93
    seen = np.zeros_like(mask)
    count = 0
    for band in occupied_bands(mask):
        assert not seen[band].any()
        seen[band] |= mask[band]
        count += ndimage.label(mask[band], np.ones((3, 3)))[1]
    assert np.array_equal(seen, mask)
    assert count == ndimage.label(mask, np.ones((3, 3)))[1]


@given(seed=st.integers(0, 100_000), pixels=st.sampled_from([1, 50, 333, 10**6]))
def test_components_are_measured_alike_whatever_is_counted_at_once(seed: int, pixels: int) -> None:
    rng = np.random.default_rng(seed)
    score_map = ndimage.gaussian_filter(rng.normal(size=(40, 57)), 2).astype(np.float32)
    mask = score_map > np.quantile(score_map, 0.7)
    labels, found = label_components(mask)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK_PIXELS", pixels)
        areas = component_areas(labels, found)
        regions = find_regions(np.zeros((40, 57, 3), np.uint8), score_map, mask, limit=found)
    assert areas.tolist() == [int((labels == number).sum()) for number in range(found + 1)]
    assert sorted(region.area for region in regions) == sorted(areas[1:])
    for region in regions:
        x0, y0, x1, y1 = region.box
        inside = labels == labels[y0:y1, x0:x1][score_map[y0:y1, x0:x1] == np.float32(region.peak)][0]
        assert region.mean == pytest.approx(float(score_map[inside].mean()), rel=1e-5)
        assert region.peak == score_map[inside].max()
