"""Large pictures: the whole reduced, and overlapping tiles, so that small defects stay visible."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from anomalist.types import FloatArray, UInt8Array
from anomalist.vision.features import MOST_PIXELS

LARGE = 4 * MOST_PIXELS
"""Pictures with more pixels are also looked at in tiles: reduced, they lose more than half of the detail."""
MOST_FINE = 8_000_000
"""Pixels that are looked at in tiles at most; what is larger is reduced to that first."""
SIDE, OVERLAP = 384, 64
_STEP = 32  # sides of tiles are multiples of it, see `network.MULTIPLE`

Place = tuple[int, int]
"""Top and left of a tile in the fine picture, pixels."""


def is_large(pixels: UInt8Array) -> bool:
    """Whether a picture, uint8 (H, W, 3), is looked at in tiles too."""
    return bool(pixels.shape[0] * pixels.shape[1] > LARGE)


def fine_picture(pixels: UInt8Array) -> UInt8Array:
    """A large picture at the size that it is cut into tiles at: at most ``MOST_FINE`` pixels, uint8."""
    import cv2

    height, width = pixels.shape[:2]
    scale = min(1.0, math.sqrt(MOST_FINE / (height * width)))
    size = tuple(max(_STEP, round(side * scale / _STEP) * _STEP) for side in (width, height))
    if size == (width, height):
        return pixels
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def places(shape: Sequence[int]) -> list[Place]:
    """Where the tiles of a fine picture of shape (H, W, …) lie: evenly, overlapping enough."""
    tops, lefts = (_starts(length) for length in shape[:2])
    return [(top, left) for top in tops for left in lefts]


def cut(fine: UInt8Array, place: Place) -> UInt8Array:
    """The tile at a place, uint8 (h, w, 3), h and w at most ``SIDE``."""
    top, left = place
    return fine[top : top + SIDE, left : left + SIDE]


def sample_tiles(fine: UInt8Array, count: int, rng: np.random.Generator) -> list[UInt8Array]:
    """At most ``count`` tiles, drawn at random without repeats."""
    able = places(fine.shape)
    return [cut(fine, able[i]).copy() for i in rng.permutation(len(able))[:count]]


def stitched(shape: tuple[int, int], maps: Iterator[tuple[Place, FloatArray]]) -> FloatArray:
    """Join the maps of tiles, float32 (h, w) each, to one (H, W): where they overlap the higher value counts.

    But the outermost pixels of a tile, where the network sees only half of a surrounding, count only
    at the border of the picture.
    """
    joined = np.full(shape, -np.inf, np.float32)
    rim = OVERLAP // 4
    for (top, left), tile in maps:
        bottom, right = top + tile.shape[0], left + tile.shape[1]
        inner = (
            slice(rim if top else 0, tile.shape[0] - (rim if bottom < shape[0] else 0)),
            slice(rim if left else 0, tile.shape[1] - (rim if right < shape[1] else 0)),
        )
        part = joined[top:bottom, left:right][inner]
        np.maximum(part, tile[inner], out=part)
    return joined


def _starts(length: int) -> list[int]:
    if length <= SIDE:
        return [0]
    count = math.ceil((length - OVERLAP) / (SIDE - OVERLAP))
    # Multiples of 8 keep the patches of neighbouring tiles on one grid.
    return [round(k * (length - SIDE) / (count - 1) / 8) * 8 for k in range(count)]
