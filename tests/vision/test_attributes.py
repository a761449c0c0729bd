from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalist.types.common import BoolArray, UInt8Array
from anomalist.types.image import Attributes
from anomalist.vision.attributes import POSITIONS, measure_region

SIDE = 96


def flat(grey: int = 128, height: int = SIDE, width: int = SIDE) -> UInt8Array:
    return np.full((height, width, 3), grey, dtype=np.uint8)


def noisy(deviation: float, seed: int = 0, side: int = SIDE) -> UInt8Array:
    grey = np.random.default_rng(seed).normal(128, deviation, (side, side, 1)).clip(0, 255)
    return np.repeat(grey.astype(np.uint8), 3, axis=2)


def rectangle(x0: int, y0: int, x1: int, y1: int, height: int = SIDE, width: int = SIDE) -> BoolArray:
    mask = np.zeros((height, width), dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


def attributes(pixels: UInt8Array, mask: BoolArray, free: BoolArray | None = None) -> Attributes:
    rows, columns = np.nonzero(mask)
    x0, y0, x1, y1 = int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1
    inside = mask[y0:y1, x0:x1]
    return measure_region(pixels, inside, (x0, y0, x1, y1), ~mask if free is None else free, mask.size)


def line(degrees: float, half_length: float = 30, half_width: float = 1.5) -> BoolArray:
    """A line through the centre, counter-clockwise as seen on the screen, where y runs down."""
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    turn = np.deg2rad(degrees)
    along, across = x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)
    return np.asarray((abs(along) <= half_length) & (abs(across) <= half_width))


def test_position_names_the_cell_of_the_grid() -> None:
    for row in range(3):
        for column in range(3):
            x0, y0 = 32 * column + 10, 32 * row + 10
            found = attributes(flat(), rectangle(x0, y0, x0 + 8, y0 + 8))
            assert found.position == POSITIONS[row][column]
            assert found.edges == ()


@pytest.mark.parametrize(
    ("box", "edges"),
    [
        ((0, 40, 5, 50), ("left",)),
        ((40, 0, 50, 5), ("top",)),
        ((91, 0, 96, 5), ("top", "right")),
        ((0, 90, 96, 96), ("left", "right", "bottom")),
        ((1, 1, 95, 95), ()),
    ],
)
def test_edges_are_the_borders_that_the_box_reaches(
    box: tuple[int, int, int, int], edges: tuple[str, ...]
) -> None:
    assert attributes(flat(), rectangle(*box)).edges == edges


@pytest.mark.parametrize("degrees", [0, 20, 45, 70, 90, 110, 135, 160])
def test_orientation_is_counter_clockwise_from_the_horizontal(degrees: int) -> None:
    found = attributes(flat(), line(degrees)).orientation
    assert found is not None
    assert 0 <= found < 180
    assert min(abs(found - degrees), 180 - abs(found - degrees)) < 1.5


@pytest.mark.parametrize(("width", "height"), [(12, 3), (3, 12), (20, 1), (1, 20), (7, 7), (1, 1)])
def test_elongation_of_a_rectangle_is_the_ratio_of_its_sides(width: int, height: int) -> None:
    found = attributes(flat(), rectangle(30, 30, 30 + width, 30 + height))
    assert found.elongation == pytest.approx(max(width, height) / min(width, height))
    assert found.orientation == (None if width == height else 0 if width > height else 90)


def test_relative_size_is_the_share_of_the_area_that_counts() -> None:
    mask = rectangle(10, 10, 20, 30)
    assert measure_region(flat(), mask[10:30, 10:20], (10, 10, 20, 30), ~mask, 1000).relative_size == 0.2


@pytest.mark.parametrize(
    ("grey", "tone"), [(60, "darker"), (128, "same"), (130, "same"), (126, "same"), (200, "lighter")]
)
def test_tone_and_contrast_follow_the_grey_levels(grey: int, tone: str) -> None:
    mask = rectangle(10, 10, 25, 25)
    pixels = flat(128)
    pixels[mask] = grey
    found = attributes(pixels, mask)
    assert found.tone == tone
    assert found.contrast == pytest.approx(grey - 128)


def test_contrast_in_sigmas_is_divided_by_the_deviation_of_the_surroundings() -> None:
    mask = rectangle(30, 30, 60, 60)
    pixels = noisy(8)
    pixels[mask] = 88
    assert attributes(pixels, mask).contrast_sigma == pytest.approx(-40 / 8, rel=0.1)


def test_a_difference_lost_in_the_noise_has_no_tone() -> None:
    mask = rectangle(30, 30, 60, 60)
    pixels = noisy(30)
    pixels[mask] = 118
    assert attributes(pixels, mask).tone == "same"


def test_flat_surroundings_give_finite_sigmas() -> None:
    mask = rectangle(30, 30, 60, 60)
    pixels = flat(100)
    pixels[mask] = 140
    assert attributes(pixels, mask).contrast_sigma == pytest.approx(40)


@pytest.mark.parametrize(
    ("rgb", "word"),
    [
        ((190, 100, 110), "redder"),
        ((90, 150, 110), "greener"),
        ((150, 140, 60), "yellower"),
        ((120, 125, 190), "bluer"),
        ((130, 128, 128), None),
    ],
)
def test_colour_names_the_direction_of_a_notable_shift(rgb: tuple[int, int, int], word: str | None) -> None:
    mask = rectangle(10, 10, 25, 25)
    pixels = flat(128)
    pixels[mask] = rgb
    found = attributes(pixels, mask)
    assert found.colour == word
    assert found.colour_shift > 0


def test_colour_shift_is_the_distance_in_the_a_b_plane_of_cielab() -> None:
    from skimage.color import rgb2lab

    mask = rectangle(10, 10, 25, 25)
    pixels = np.full((SIDE, SIDE, 3), (90, 120, 140), dtype=np.uint8)
    pixels[mask] = (150, 110, 80)
    lab = rgb2lab(pixels)
    expected = np.hypot(*(lab[12, 12, 1:] - lab[50, 50, 1:]))
    assert attributes(pixels, mask).colour_shift == pytest.approx(expected, rel=0.01)


def test_a_grey_picture_has_no_colour() -> None:
    mask = rectangle(10, 10, 40, 40)
    pixels = noisy(40)
    pixels[mask] //= 2
    found = attributes(pixels, mask)
    assert (found.colour, found.colour_shift) == (None, 0)


def test_a_shift_lost_in_coloured_noise_has_no_word() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    found = attributes(pixels, rectangle(40, 40, 43, 43))
    assert found.colour_shift > 4
    assert found.colour is None


@pytest.mark.parametrize(("deviation", "word"), [(2, "smoother"), (10, "same"), (30, "rougher")])
def test_texture_compares_local_deviations(deviation: int, word: str) -> None:
    mask = rectangle(30, 30, 60, 60)
    pixels = noisy(10)
    pixels[mask] = noisy(deviation, seed=1)[mask]
    found = attributes(pixels, mask)
    assert found.texture == word
    assert found.texture_ratio == pytest.approx((deviation + 1) / (10 + 1), rel=0.15)


def test_the_outline_of_an_even_dark_square_is_not_texture() -> None:
    mask = rectangle(30, 30, 40, 40)
    pixels = flat(200)
    pixels[mask] = 20
    assert attributes(pixels, mask).texture_ratio == pytest.approx(1)


def test_the_rim_of_a_defect_that_the_mask_missed_is_no_surroundings() -> None:
    pixels = flat(180)
    pixels[28:52, 28:52] = 60
    assert attributes(pixels, rectangle(30, 30, 50, 50)).contrast == pytest.approx(
        -120, abs=2
    )  # corners are rounded


def test_surroundings_are_near_not_the_whole_picture() -> None:
    """Dark square on the dark half of a two-tone picture: same tone, though the picture's mean is lighter."""
    pixels = flat(60)
    pixels[:, 60:] = 220
    assert attributes(pixels, rectangle(10, 40, 20, 50)).contrast == 0


def test_other_regions_are_no_surroundings() -> None:
    pixels = flat(100)
    pixels[20:50, 52:60] = 255
    mask = rectangle(40, 30, 50, 40)
    other = rectangle(52, 20, 60, 50)
    assert attributes(pixels, mask, ~(mask | other)).contrast == 0
    assert attributes(pixels, mask).contrast < 0


def test_without_a_ring_the_rest_of_the_picture_serves() -> None:
    pixels = flat(100)
    pixels[80:] = 50
    mask = rectangle(20, 20, 30, 30)
    far = np.zeros_like(mask)
    far[80:] = True
    assert attributes(pixels, mask, far).contrast == 50


def test_without_any_surroundings_everything_relative_is_neutral() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    found = attributes(pixels, np.ones((SIDE, SIDE), dtype=bool))
    assert (found.contrast, found.contrast_sigma, found.tone) == (0, 0, "same")
    assert (found.colour_shift, found.colour) == (0, None)
    assert (found.texture_ratio, found.texture) == (1, "same")
    assert found.edges == ("left", "top", "right", "bottom")


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), height=st.integers(1, 40), width=st.integers(1, 40))
def test_any_region_of_any_picture_measures_finite_numbers(seed: int, height: int, width: int) -> None:
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    x, y = np.sort(random.integers(0, width + 1, 2)), np.sort(random.integers(0, height + 1, 2))
    x0, y0 = min(int(x[0]), width - 1), min(int(y[0]), height - 1)
    mask = rectangle(x0, y0, max(int(x[1]), x0 + 1), max(int(y[1]), y0 + 1), height, width)
    numbers = [v for v in attributes(pixels, mask).model_dump().values() if isinstance(v, float)]
    assert np.isfinite(numbers).all()
