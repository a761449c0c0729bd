"""What is measured on a drawn defect has a name, or none where two would do."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from anomalist.training.defect_renderers import hue_of, is_faint, place_of, shape_of, tone_of
from anomalist.types.common import BoolArray


def _line(angle: float, length: int = 60, width: int = 3) -> BoolArray:
    mask = np.zeros((100, 100), np.uint8)
    x, y = length / 2 * math.cos(math.radians(angle)), length / 2 * math.sin(math.radians(angle))
    cv2.line(mask, (round(50 - x), round(50 + y)), (round(50 + x), round(50 - y)), 1, width)
    return mask > 0


def _ellipse(wide: int, high: int) -> BoolArray:
    mask = np.zeros((100, 100), np.uint8)
    cv2.ellipse(mask, (50, 50), (wide, high), 0, 0, 360, 1, -1)
    return mask > 0


@pytest.mark.parametrize(
    ("change", "name"),
    [(-0.3, "darker"), (0.3, "lighter"), (0.0, "same"), (0.01, "same"), (0.04, None), (-0.03, None)],
)
def test_tone(change: float, name: str | None) -> None:
    assert tone_of(change) == name


@pytest.mark.parametrize(
    ("angle", "direction"),
    [(0, "horizontal"), (90, "vertical"), (45, "rising"), (135, "falling"), (22, None), (68, None)],
)
def test_direction_of_a_line(angle: float, direction: str | None) -> None:
    assert shape_of(_line(angle), jagged=False) == ("line", direction)


def test_shapes() -> None:
    ragged = _ellipse(20, 20)
    ragged[:50, :50] = False

    assert shape_of(_ellipse(20, 20), jagged=False) == ("round", None)
    assert shape_of(_ellipse(25, 10), jagged=False) == ("elongated", "horizontal")
    assert shape_of(ragged, jagged=False) == ("irregular", None)
    assert shape_of(_ellipse(34, 10), jagged=False) == (None, "horizontal")
    assert shape_of(_line(45), jagged=True) == ("jagged line", "rising")
    assert shape_of(np.eye(3, dtype=bool), jagged=False) == (None, None)


@pytest.mark.parametrize(
    ("x", "y", "place"),
    [
        (0.1, 0.1, "upper left"),
        (0.5, 0.5, "centre"),
        (0.9, 0.5, "right"),
        (0.5, 0.95, "bottom"),
        (1.0, 1.0, "lower right"),
        (0.34, 0.5, None),
    ],
)
def test_place(x: float, y: float, place: str | None) -> None:
    assert place_of(x, y) == place


def test_hue_is_the_direction_of_the_greatest_change() -> None:
    before = np.full((4, 4, 3), 0.5, np.float32)
    inside = np.ones((4, 4), bool)

    assert hue_of(before, before + np.float32([0.3, 0, 0]), inside) == "redder"
    assert hue_of(before, before + np.float32([0, 0.3, 0]), inside) == "greener"
    assert hue_of(before, before + np.float32([0, 0, 0.3]), inside) == "bluer"
    assert hue_of(before, before + np.float32([0.2, 0.2, 0]), inside) == "yellower"
    assert hue_of(before, before + np.float32(0.3), inside) is None


def test_the_same_change_is_faint_on_a_rough_surface_only() -> None:
    smooth = np.full((40, 40, 3), 0.5, np.float32)
    rough = smooth + np.random.default_rng(0).normal(0, 0.2, (40, 40, 1)).astype(np.float32)
    inside = np.zeros((40, 40), bool)
    inside[10:30, 10:30] = True

    assert is_faint(smooth, smooth + np.float32(0.15), inside) is False
    assert is_faint(rough, rough + np.float32(0.15), inside) is True
