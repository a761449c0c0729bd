"""How large whatever moves appears, by how far down in the picture it is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from anomalist.types import BoolArray, Box, FloatArray, Frozen

_LEAST_AREA = 40  # pixels; smaller is noise
_RANGE = 2.5  # times smaller or larger than the middle at most: a line drawn too far is nonsense
_UNKNOWN = 0.1  # of the height of the picture, where nothing ever moved
_BANDS = 15
_LEAST_IN_BAND = 20
_SINGLE = 0.3  # quantile of heights: groups are higher than one body, fragments lower, groups are more


class Perspective(Frozen):
    """Height of a body in pixels as a line over the row of its middle, and its width by its height."""

    at_top: float
    slope: float
    middle: float
    aspect: float
    bodies: int

    def heights(self, rows: npt.NDArray[np.floating]) -> FloatArray:
        """Heights in pixels, at least 4, of bodies whose middles are at ``rows`` (float, any shape)."""
        line = self.at_top + self.slope * rows
        low = max(self.middle / _RANGE, 4.0)
        out: FloatArray = np.clip(line, low, self.middle * _RANGE).astype(np.float32)
        return out


def blobs(mask: BoolArray) -> tuple[Box, ...]:
    """Boxes of the connected parts of a mask that are no specks and don't touch the border."""
    import cv2

    height, width = mask.shape
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    found = []
    for x, y, w, h, area in stats[1:].tolist():
        inside = x > 0 and y > 0 and x + w < width and y + h < height
        if inside and area >= _LEAST_AREA:
            found.append((x, y, x + w, y + h))
    return tuple(found)


def perspective_of(boxes: Sequence[Box], height: int) -> Perspective:
    """The line through the heights of single bodies, band by band from top to bottom.

    Parameters
    ----------
    boxes : of blobs, pixels; groups and fragments among them.
    height : of the picture, pixels.
    """
    if len(boxes) < _LEAST_IN_BAND:
        middle = _UNKNOWN * height
        return Perspective(at_top=middle, slope=0.0, middle=middle, aspect=0.5, bodies=len(boxes))
    every = np.array(boxes, np.float64)
    tall, rows = every[:, 3] - every[:, 1], (every[:, 1] + every[:, 3]) / 2
    middle = float(np.quantile(tall, _SINGLE))
    aspect = float(np.median((every[:, 2] - every[:, 0]) / tall))
    slope, at_top = _line(rows, tall, height) or (0.0, middle)
    return Perspective(at_top=at_top, slope=slope, middle=middle, aspect=aspect, bodies=len(boxes))


def _line(
    rows: npt.NDArray[np.float64], tall: npt.NDArray[np.float64], height: int
) -> tuple[float, float] | None:
    """Slope and height at row 0 of the line through the bands with enough bodies; None below two of them."""
    band = np.minimum((rows * _BANDS / height).astype(int), _BANDS - 1)
    full = [index for index in range(_BANDS) if (band == index).sum() >= _LEAST_IN_BAND]
    if len(full) < 2:
        return None
    single = [np.quantile(tall[band == index], _SINGLE) for index in full]
    centre = [rows[band == index].mean() for index in full]
    weight = [np.sqrt((band == index).sum()) for index in full]
    slope, at_top = np.polyfit(centre, single, 1, w=weight)
    return float(slope), float(at_top)
