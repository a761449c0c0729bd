from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from anomalist.agent.reasoning.vlm_views import (
    CLOSE_UP_SIDE,
    GAP,
    GREY,
    OVERVIEW_SIDE,
    close_up_view,
    overview_picture,
)
from anomalist.types.common import Box, UInt8Array
from anomalist.types.image import Evidence, Media, Region

RED, BLUE = (255, 0, 0), (0, 0, 255)


def painted(height: int, width: int, box: Box) -> UInt8Array:
    """A black picture with a red region."""
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    x0, y0, x1, y1 = box
    pixels[y0:y1, x0:x1] = RED
    return pixels


def seen(
    pixels: UInt8Array, box: Box, evidence: Callable[..., Evidence], region: Callable[..., Region]
) -> tuple[Media, Evidence]:
    height, width = pixels.shape[:2]
    mask = np.zeros((height, width), dtype=np.bool_)
    x0, y0, x1, y1 = box
    mask[y0:y1, x0:x1] = True
    found = region(1, box=box, area=int(mask.sum()))
    blank = np.zeros((height, width), dtype=np.float32)
    media = Media(source="part.png", sha256="00", pixels=pixels)
    return media, replace(evidence(regions=[found]), score_map=blank, mask=mask)


def share(pixels: UInt8Array, colour: tuple[int, int, int]) -> float:
    return float((np.abs(pixels.astype(int) - colour).max(axis=-1) < 40).mean())


BOXES: list[tuple[int, int, Box]] = [
    (200, 300, (100, 80, 130, 100)),
    (200, 300, (0, 0, 9, 9)),
    (200, 300, (290, 195, 300, 200)),
    (200, 300, (0, 90, 300, 92)),
    (200, 300, (0, 0, 300, 200)),
    (1200, 40, (3, 600, 5, 602)),
    (1, 7, (2, 0, 3, 1)),
    (1, 1, (0, 0, 1, 1)),
]


@pytest.mark.parametrize(("height", "width", "box"), BOXES)
def test_a_closer_look_shows_the_region_on_the_left_and_its_surroundings_on_the_right(
    height: int, width: int, box: Box, evidence: Callable[..., Evidence], region: Callable[..., Region]
) -> None:
    media, found = seen(painted(height, width, box), box, evidence, region)
    view = close_up_view(media, found, found.regions[0], None)
    assert view.pixels.dtype == np.uint8
    assert CLOSE_UP_SIDE <= max(view.pixels.shape[:2]) <= 2.2 * CLOSE_UP_SIDE + GAP
    assert share(view.pixels, RED) > 0
    left, _, right = view.caption.partition("on the right")
    assert left.startswith("R1") and "on the left" in left
    assert "surroundings" in right


def test_a_region_is_larger_in_the_closer_look_than_in_its_surroundings(
    evidence: Callable[..., Evidence], region: Callable[..., Region]
) -> None:
    box = (140, 90, 170, 120)
    media, found = seen(painted(256, 256, box), box, evidence, region)
    pixels = close_up_view(media, found, found.regions[0], None).pixels
    left, right = pixels[:, :CLOSE_UP_SIDE], pixels[:, CLOSE_UP_SIDE + GAP :]
    assert share(left, RED) > 5 * share(right, RED) > 0


def test_the_nearest_normal_patch_stands_beside_the_region(
    evidence: Callable[..., Evidence], region: Callable[..., Region]
) -> None:
    box = (140, 90, 170, 120)
    media, found = seen(painted(256, 256, box), box, evidence, region)
    normal = np.full((20, 40, 3), BLUE, dtype=np.uint8)
    view = close_up_view(media, found, found.regions[0], normal)
    left, right = view.pixels[:, :CLOSE_UP_SIDE], view.pixels[:, CLOSE_UP_SIDE + GAP :]
    assert share(right, BLUE) == pytest.approx(0.5, abs=0.02)  # half as high as wide, on grey
    assert share(left, BLUE) == 0
    assert (view.pixels[:, CLOSE_UP_SIDE : CLOSE_UP_SIDE + GAP] == GREY).all()
    assert "the most similar normal patch" in view.caption


def test_the_whole_picture_is_shown_with_its_regions_outlined(
    evidence: Callable[..., Evidence], region: Callable[..., Region]
) -> None:
    box = (140, 90, 170, 120)
    media, found = seen(painted(200, 300, box), box, evidence, region)
    outlined = overview_picture(media, found)
    assert outlined.shape == (round(OVERVIEW_SIDE * 2 / 3), OVERVIEW_SIDE, 3)
    bare = overview_picture(media, replace(found, regions=(), mask=np.zeros_like(found.mask)))
    assert (outlined != bare).any()
    assert (media.pixels == painted(200, 300, box)).all()
