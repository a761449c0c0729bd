"""What is drawn for a model to look at: boxes with their names, sheets of moments, ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from anomalist.agent.looks import GAP, GREY
from anomalist.types import Box, UInt8Array
from anomalist.vision.drawing import thumbnail
from anomalist.vision.labels import DARK, LINE, write_labels


def outlined(pixels: UInt8Array, boxes: Mapping[str, Box], max_side: int) -> UInt8Array:
    """Draw boxes by their names.

    Parameters
    ----------
    pixels : uint8 (H, W, 3), RGB.
    boxes : in pixels; what lies outside the picture is cut off.
    max_side : longer side of the result, pixels.

    Returns
    -------
    uint8 (h, w, 3); a band with names that found no place may come below it.
    """
    import cv2

    picture = thumbnail(pixels, max_side=max_side)
    height, width = picture.shape[:2]
    down, across = height / pixels.shape[0], width / pixels.shape[1]
    taken = np.zeros((height, width), np.bool_)
    placed = {}
    for name, (x0, y0, x1, y1) in boxes.items():
        left, right = (min(max(round(x * across), 0), width) for x in (x0, x1))
        top, bottom = (min(max(round(y * down), 0), height) for y in (y0, y1))
        if left < right and top < bottom:
            placed[name] = (left, top, right, bottom)
            taken[top:bottom, left:right] = True
    for thickness, colour in ((5, DARK), (2, LINE)):
        for left, top, right, bottom in placed.values():
            cv2.rectangle(picture, (left - 4, top - 4), (right + 3, bottom + 3), colour, thickness)
    return write_labels(picture, taken, list(placed), list(placed.values()), font_size=round(max_side / 25))


def sheet(tiles: Sequence[UInt8Array]) -> UInt8Array:
    """Lay pictures of one size, uint8 (h, w, 3), out in rows of two, on grey."""
    height, width = tiles[0].shape[:2]
    rows = (len(tiles) + 1) // 2
    page = np.full((rows * (height + GAP) - GAP, 2 * width + GAP, 3), GREY, np.uint8)
    for number, tile in enumerate(tiles):
        top, left = number // 2 * (height + GAP), number % 2 * (width + GAP)
        page[top : top + height, left : left + width] = tile
    return page


def draw_way(picture: UInt8Array, middles: npt.NDArray[np.float64]) -> bool:
    """Draw a way into a picture, from a dot to an arrow's tip; False, and nothing, where there is none.

    Parameters
    ----------
    picture : uint8 (h, w, 3), is changed.
    middles : (n, 2), x and y in its pixels, in order.
    """
    import cv2

    if len(middles) < 2 or np.ptp(middles, axis=0).max() < GAP:
        return False
    points = middles.round().astype(np.int32)
    end = middles[-1]
    # The tip points where it went over the last pixels, not where its box shook.
    back = next((end - point for point in middles[::-1] if np.hypot(*(end - point)) >= GAP), end - middles[0])
    behind = end - back / max(float(np.hypot(*back)), 1.0) * GAP
    for thickness, colour in ((4, DARK), (2, LINE)):
        cv2.polylines(picture, [points], False, colour, thickness)
        cv2.circle(picture, points[0].tolist(), thickness + 2, colour, -1)
        cv2.arrowedLine(
            picture,
            behind.round().astype(int).tolist(),
            points[-1].tolist(),
            colour,
            thickness,
            tipLength=0.7,
        )
    return True
