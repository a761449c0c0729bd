"""Comparison of a place with its lattice neighbours: what is missing in a periodic texture."""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
import pytest

from anomalist.types.common import BoolArray, UInt8Array
from anomalist.vision.regions import find_regions
from anomalist.vision.shift.lattice import Lattice, LatticeComparison, find_lattice
from anomalist.vision.synthetic_textures import render_surface
from scripts.generated_parts import make_part

SIDE = 200
Grid = np.ndarray
Drawing = tuple[Grid, BoolArray]


def turned(degrees: float) -> tuple[Grid, Grid]:
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float64)
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return x * cosine + y * sine + 5, y * cosine - x * sine + 3


def twill(missing: bool) -> Drawing:
    """Threads of 9 by 7 pixels, two over and one under, turned."""
    u, v = turned(15)
    warp, weft = np.cos(2 * np.pi * u / 9), np.cos(2 * np.pi * v / 7)
    over = (np.floor(u / 9 + 0.5) + np.floor(v / 7 + 0.5)) % 3 < 2
    row = np.floor(v / 7 + 0.5)
    piece = (row == row[100, 100]) & (abs(u - u[100, 100]) < 25)
    grey = 120 + 28 * np.where(over, warp, weft)
    return (np.where(piece, 65 + 14 * warp, grey) if missing else grey), piece


def mesh(missing: bool) -> Drawing:
    """Thin dark wires before a bright ground, of which one is broken."""
    u, v = turned(8)
    across, down = (abs(each - np.round(each / 14) * 14) for each in (u, v))
    row = np.round(v / 14)
    piece = (row == row[100, 100]) & (abs(u - u[100, 100]) < 18) & (down < 3)
    kept = down + 99 * piece if missing else down
    return np.where(np.minimum(across, kept) < 2.4, 75.0, 200.0), piece


def perforated(missing: bool) -> Drawing:
    """Round holes in a hexagonal pattern."""
    u, v = turned(0)
    row = np.round(v / 17)
    column = np.round((u - row % 2 * 10) / 20)
    radius = np.hypot(u - row % 2 * 10 - column * 20, v - 17 * row)
    one = (row == row[100, 100]) & (column == column[100, 100]) & (radius < 7)
    return np.where((radius < 6) & ~(one & missing), 45.0, 165.0), one


TEXTURES: dict[str, Callable[[bool], Drawing]] = {"twill": twill, "mesh": mesh, "perforated": perforated}


def photographed(grey: Grid) -> UInt8Array:
    noisy = cv2.GaussianBlur(grey + np.random.default_rng(0).normal(0, 5, grey.shape), (0, 0), 0.7)
    return np.repeat(np.clip(noisy, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def change(picture: UInt8Array, mask: BoolArray) -> str | None:
    """What the largest region of a mask is called."""
    regions = find_regions(picture, mask.astype(np.float32), mask)
    largest = max(regions, key=lambda region: region.area)
    return LatticeComparison(picture).with_direction(largest, mask).change


@pytest.mark.parametrize("texture", TEXTURES)
def test_what_is_gone_from_the_cell_is_called_missing(texture: str) -> None:
    grey, mask = TEXTURES[texture](True)
    assert change(photographed(grey), mask) == "missing"


@pytest.mark.parametrize("texture", TEXTURES)
@pytest.mark.parametrize("tone", [20.0, 240.0])
def test_a_scratch_is_not_called_missing(texture: str, tone: float) -> None:
    grey, _ = TEXTURES[texture](False)
    for end in ((140, 100), (130, 125), (100, 140)):  # along the threads, too
        line = cv2.line(np.zeros((SIDE, SIDE), np.uint8), (90, 95), end, 1, 2) > 0
        assert change(photographed(np.where(line, tone, grey)), line) is None


@pytest.mark.parametrize("texture", TEXTURES)
def test_a_stain_through_which_the_cell_shows_is_not_called_missing(texture: str) -> None:
    grey, _ = TEXTURES[texture](False)
    for axes in ((12, 12), (24, 8)):
        patch = cv2.ellipse(np.zeros((SIDE, SIDE), np.uint8), (100, 100), axes, 15, 0, 360, 1, -1) > 0
        assert change(photographed(np.where(patch, 0.6 * grey, grey)), patch) is None


@pytest.mark.parametrize(("defect", "called"), [("missing", "missing"), ("scratch", None), ("stain", None)])
def test_a_thread_that_is_gone_from_uneven_cloth_is_called_missing(defect: str, called: str | None) -> None:
    for seed in range(3):
        assert change(*make_part("woven", seed, defect)) == called


def test_a_picture_that_was_enlarged_is_compared_at_its_size() -> None:
    picture, mask = make_part("woven", 3, "missing")
    small = cv2.resize(mask.astype(np.uint8), (128, 128), interpolation=cv2.INTER_NEAREST) > 0
    region = find_regions(picture[::2, ::2], small.astype(np.float32), small)[0]
    assert LatticeComparison(picture).with_direction(region, small).change == "missing"


def test_a_lattice_is_found_beside_what_is_missing() -> None:
    grey, mask = twill(True)
    seen = photographed(grey)[..., 0].astype(np.float32)
    lattice = find_lattice(seen, ~mask)
    assert lattice is not None
    off, spacing = lattice.nearest_lines(15)  # the weft
    assert off < 0.5
    assert spacing == pytest.approx(7, abs=0.1)


@pytest.mark.parametrize("surface", ["even", "rendered", "one stripe pattern"])
def test_what_does_not_repeat_in_two_directions_has_no_lattice(surface: str) -> None:
    pictures = {
        "even": np.full((SIDE, SIDE), 90, np.float32),
        "rendered": render_surface(1, SIDE)[..., 0].astype(np.float32),
        "one stripe pattern": 90 + 30 * np.cos(np.mgrid[:SIDE, :SIDE][1] / 2).astype(np.float32),
    }
    assert find_lattice(pictures[surface], np.ones((SIDE, SIDE), bool)) is None


def test_a_place_as_large_as_the_picture_is_not_compared() -> None:
    picture, _ = make_part("woven", 3)
    mask = np.zeros(picture.shape[:2], bool)
    mask[20:-20, 20:-20] = True
    assert change(picture, mask) is None


def test_parallel_steps_of_a_lattice_are_one_line() -> None:
    lattice = Lattice((8.0, 0.0), (0.0, 10.0))
    assert lattice.nearest_lines(1.0) == (1.0, pytest.approx(10))
    assert lattice.nearest_lines(90.0) == (0.0, pytest.approx(8))


def test_of_a_fine_lattice_the_most_open_lines_count_however_close_they_are() -> None:
    fine = Lattice((3.75, 0.0), (0.0, 3.9))
    assert fine.nearest_lines(90.0) == (90.0, pytest.approx(3.9))
