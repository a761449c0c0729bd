"""The pictures that a model is shown: the whole with its regions outlined, then each region closer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from anomalist.types import Box, Evidence, Media, Region, UInt8Array
from anomalist.vision.drawing import overlay, thumbnail
from anomalist.vision.normals import window_around

WHOLE = 672
"""Longer side of the whole picture, pixels: 24 patches of 28, the grid of the Qwen-VL family."""

CLOSE = 448
"""Longer side of each half of a closer look, pixels."""

WIDER = 3
"""How much more of the picture its surroundings show."""

GAP, GREY = 12, 128

NormalCrop = Callable[[Media, Region], UInt8Array | None]
"""Gives what a normal picture shows at the place of a region, uint8 (h, w, 3), or None if none is known."""


def no_normal(media: Media, region: Region) -> UInt8Array | None:
    """Know no normal picture."""
    return None


@dataclass(frozen=True, eq=False)
class View:
    """A closer look at one region, and what is beside it in words.

    Parameters
    ----------
    pixels : uint8 (h, w, 3): the region on the left, what it is compared with on the right.
    caption : what is where, for the prompt.
    """

    pixels: UInt8Array
    caption: str


def whole(media: Media, evidence: Evidence) -> UInt8Array:
    """Show the whole picture with the outlines and ids of its regions, uint8 (h, w, 3)."""
    return overlay(media.pixels, evidence.mask, evidence.regions, max_side=WHOLE)


def closer(media: Media, evidence: Evidence, region: Region, normal: UInt8Array | None) -> View:
    """Show a region enlarged, beside the nearest normal patch or else beside its own surroundings.

    Parameters
    ----------
    media, evidence : of the picture.
    region : one of ``evidence.regions``.
    normal : uint8 (h, w, 3), what is normal there; None where nothing is known.
    """
    window = window_around(region.box, media.size)
    left = thumbnail(_cut(media.pixels, window), max_side=CLOSE)
    if normal is not None:
        right = thumbnail(normal, max_side=CLOSE)
        what = "the same place in the good reference"
        beside = f"on the right {what if evidence.basis == 'reference' else 'the most similar normal patch'}"
    else:
        right = _outlined(media, evidence, region, window_around(region.box, media.size, WIDER))
        beside = "on the right the same region outlined in its surroundings"
    return View(_side_by_side(left, right), f"{region.id}: on the left the region enlarged, {beside}.")


def _cut(pixels: UInt8Array, window: Box) -> UInt8Array:
    x0, y0, x1, y1 = window
    return np.ascontiguousarray(pixels[y0:y1, x0:x1])


def _outlined(media: Media, evidence: Evidence, region: Region, window: Box) -> UInt8Array:
    """Show a window of the picture with one region outlined."""
    left, top, right, bottom = window
    x0, y0, x1, y1 = region.box
    box = (max(0, x0 - left), max(0, y0 - top), min(right, x1) - left, min(bottom, y1) - top)
    marked = np.zeros_like(evidence.mask)
    marked[y0:y1, x0:x1] = evidence.mask[y0:y1, x0:x1]
    inside = np.ascontiguousarray(marked[top:bottom, left:right])
    moved = region.model_copy(update={"box": box})
    return overlay(_cut(media.pixels, window), inside, [moved], max_side=CLOSE)


def _side_by_side(left: UInt8Array, right: UInt8Array) -> UInt8Array:
    """Put two pictures beside each other on grey, centred, with a gap."""
    height = max(len(left), len(right))
    sheet = np.full((height, left.shape[1] + GAP + right.shape[1], 3), GREY, dtype=np.uint8)
    for picture, start in ((left, 0), (right, left.shape[1] + GAP)):
        top = (height - len(picture)) // 2
        sheet[top : top + len(picture), start : start + picture.shape[1]] = picture
    return sheet
