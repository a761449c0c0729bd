from __future__ import annotations

import base64
import io
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from anomalist.types.common import BoolArray, Box, FloatArray, UInt8Array
from anomalist.types.image import Attributes, Region
from anomalist.vision.drawing import (
    LINE_COLOUR,
    colour_scale,
    data_uri,
    display_size,
    heatmap,
    overlay,
    place_labels,
    thumbnail,
)

ATTRIBUTES = Attributes(
    position="centre", relative_size=0.1, elongation=1, contrast=0, contrast_sigma=0, tone="same",
    colour_shift=0, texture_ratio=1, texture="same",
)  # fmt: skip


def region(name: str, box: Box) -> Region:
    return Region(id=name, box=box, area=1, peak=1, mean=1, attributes=ATTRIBUTES)


def grey(height: int, width: int, value: int = 128) -> UInt8Array:
    return np.full((height, width, 3), value, dtype=np.uint8)


def mask_of(size: tuple[int, int], *boxes: Box) -> BoolArray:
    mask = np.zeros(size, dtype=np.bool_)
    for x0, y0, x1, y1 in boxes:
        mask[y0:y1, x0:x1] = True
    return mask


def magenta(drawn: UInt8Array) -> BoolArray:
    """Pixels that are clearly of the colour of the outline."""
    away = np.abs(drawn.astype(int) - np.array(LINE_COLOUR)).sum(axis=2)
    return away < 60


@pytest.mark.parametrize(
    ("size", "side", "expected"),
    [((64, 64), 480, (480, 480)), ((1000, 500), 480, (480, 240)), ((1, 4000), 480, (1, 480))],
)
def test_any_size_is_brought_to_the_longer_side(
    size: tuple[int, int], side: int, expected: tuple[int, int]
) -> None:
    assert display_size(size, side) == expected
    assert thumbnail(grey(*size), max_side=side).shape == (*expected, 3)
    assert heatmap(grey(*size), np.zeros(size, dtype=np.float32), 0, 1, max_side=side).shape == (*expected, 3)


@given(st.integers(0, 90), st.integers(0, 90), st.integers(1, 60), st.integers(1, 60))
@settings(max_examples=40)
def test_neither_outline_nor_label_covers_a_region(x: int, y: int, width: int, height: int) -> None:
    box = (x, y, min(120, x + width), min(120, y + height))
    picture = np.random.default_rng(0).integers(0, 256, (120, 120, 3), dtype=np.uint8)
    mask = mask_of((120, 120), box)
    drawn = overlay(picture, mask, [region("R1", box)], max_side=120)
    assert drawn.shape == picture.shape
    assert np.array_equal(drawn[mask], picture[mask])
    assert magenta(drawn).any()


def test_the_outline_runs_all_around_a_region() -> None:
    mask = mask_of((100, 100), (40, 30, 60, 50))
    line = magenta(overlay(grey(100, 100), mask, (), max_side=100))
    assert line[40, :40].any()
    assert line[40, 60:].any()
    assert line[:30, 50].any()
    assert line[50:, 50].any()
    assert not line[:, :30].any()


@pytest.mark.parametrize(
    ("size", "pixel"), [((2000, 2000), (1000, 1000)), ((31, 47), (46, 30)), ((470, 470), (3, 3))]
)
def test_a_region_of_one_pixel_is_not_lost_by_resizing(size: tuple[int, int], pixel: tuple[int, int]) -> None:
    x, y = pixel
    mask = mask_of(size, (x, y, x + 1, y + 1))
    assert magenta(overlay(grey(*size), mask, (), max_side=480)).any()


def test_an_empty_mask_draws_nothing() -> None:
    picture = grey(50, 60)
    assert np.array_equal(overlay(picture, mask_of((50, 60)), (), max_side=60), picture)


def test_without_a_mask_the_boxes_are_outlined() -> None:
    box = (40, 30, 60, 50)
    drawn = overlay(grey(100, 100), None, [region("R1", box)], max_side=100)
    expected = overlay(grey(100, 100), mask_of((100, 100), box), [region("R1", box)], max_side=100)
    assert np.array_equal(drawn, expected)


@pytest.mark.parametrize(
    ("size", "boxes"),
    [
        ((64, 64), [(0, 0, 64, 64)]),
        ((200, 4), [(0, 0, 2, 50), (0, 100, 4, 120)]),
        ((4, 200), [(0, 0, 50, 2)]),
        ((60, 60), [(i, 0, i + 1, 60) for i in range(0, 60, 3)]),
    ],
)
def test_labels_without_room_stand_under_the_picture(size: tuple[int, int], boxes: list[Box]) -> None:
    mask = mask_of(size, *boxes)
    regions = [region(f"R{i}", box) for i, box in enumerate(boxes, start=1)]
    drawn = overlay(grey(*size), mask, regions)
    height, width = display_size(size, 480)
    assert drawn.shape[0] > height
    assert np.array_equal(drawn[:height, :width], overlay(grey(*size), mask, ()))
    assert (drawn[height:] > 200).any()  # white letters


@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
@settings(max_examples=30)
def test_labels_cover_nothing_that_is_taken(seed: int, amount: int) -> None:
    rng = np.random.default_rng(seed)
    picture = rng.integers(0, 256, (200, 300, 3), dtype=np.uint8)
    corners = rng.integers(0, (270, 170), (amount, 2)).tolist()
    boxes: list[Box] = [(x, y, x + 30, y + 30) for x, y in corners]
    taken = mask_of((200, 300), *boxes)
    drawn = place_labels(picture, taken, [f"R{i + 1}" for i in range(amount)], boxes)
    assert np.array_equal(drawn[:200, :300][taken], picture[taken])


def test_every_label_has_a_place_of_its_own() -> None:
    boxes: list[Box] = [(100, 100, 102, 102)] * 6
    names = [f"R{i}" for i in range(1, 7)]
    nothing = mask_of((200, 200))
    letters = [
        int((place_labels(grey(200, 200), nothing, names[:n], boxes[:n]) > 250).all(axis=2).sum())
        for n in range(7)
    ]
    assert all(after > before for before, after in itertools.pairwise(letters))


def test_heat_rises_in_brightness_and_is_the_end_colour_beyond_the_range() -> None:
    scale = colour_scale(32)[0].astype(float) @ (0.299, 0.587, 0.114)
    assert (np.diff(scale) > 0).all()
    ramp: FloatArray = np.array([[-9, 0, 0.5, 1, 9]], dtype=np.float32)
    drawn = heatmap(None, ramp, 0, 1, max_side=5)[0]
    assert np.array_equal(drawn[0], drawn[1])
    assert np.array_equal(drawn[3], drawn[4])
    assert drawn[1].sum() < drawn[2].sum() < drawn[3].sum()


def test_heat_leaves_the_picture_readable_where_the_map_is_low() -> None:
    picture = grey(10, 10)
    picture[:, 5:] = 255
    drawn = heatmap(picture, np.zeros((10, 10), dtype=np.float32), 0, 1, max_side=10).astype(int)
    assert drawn[0, 9].sum() > drawn[0, 0].sum() + 100


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0), (2.0, 1.0)])
def test_a_range_without_width_is_all_low(low: float, high: float) -> None:
    drawn = heatmap(None, np.array([[0, 1], [2, 3]], dtype=np.float32), low, high, max_side=2)
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) == 1


def test_values_that_are_no_numbers_are_drawn_as_the_ends() -> None:
    values = np.array([[np.nan, -np.inf, np.inf]], dtype=np.float32)
    plain = np.array([[0, 0, 1]], dtype=np.float32)
    assert np.array_equal(heatmap(None, values, 0, 1, max_side=3), heatmap(None, plain, 0, 1, max_side=3))


@pytest.mark.parametrize(
    "call",
    [
        lambda: overlay(np.zeros((4, 4), dtype=np.uint8), None, ()),
        lambda: overlay(np.zeros((4, 4, 3), dtype=np.float32), None, ()),  # type: ignore[arg-type]
        lambda: overlay(np.zeros((0, 4, 3), dtype=np.uint8), None, ()),
        lambda: overlay(grey(4, 4), np.zeros((4, 5), dtype=np.bool_), ()),
        lambda: overlay(grey(4, 4), np.zeros((4, 4), dtype=np.uint8), ()),  # type: ignore[arg-type]
        lambda: heatmap(grey(4, 4), np.zeros((5, 4), dtype=np.float32), 0, 1),
        lambda: heatmap(None, np.zeros((5, 4, 1), dtype=np.float32), 0, 1),
    ],
)
def test_wrong_shapes_and_types_are_refused(call: object) -> None:
    assert callable(call)
    with pytest.raises(TypeError, match="must be"):
        call()


def test_png_keeps_every_pixel_and_jpeg_keeps_the_size() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    for kind in ("png", "jpeg"):
        head, data = data_uri(picture, kind).split(",")  # type: ignore[arg-type]
        assert head == f"data:image/{kind};base64"
        decoded = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
        assert decoded.shape == picture.shape
        assert kind == "jpeg" or np.array_equal(decoded, picture)


def test_the_same_arrays_give_the_same_bytes() -> None:
    mask = mask_of((90, 70), (10, 10, 30, 20))
    uris = {data_uri(overlay(grey(90, 70), mask, [region("R1", (10, 10, 30, 20))])) for _ in range(2)}
    assert len(uris) == 1
