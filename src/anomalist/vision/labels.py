"""Labels beside what they name: each at the nearest free place, none over a region or another label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from anomalist.types import BoolArray, Box, UInt8Array

if TYPE_CHECKING:
    from PIL import Image
    from PIL.ImageDraw import ImageDraw

# Magenta is rare on surfaces and told from its surroundings with any colour vision; the dark halo keeps it
# visible on a light or magenta ground.
LINE = (255, 79, 216)
DARK = (18, 16, 24)
_FONT_SIZE = 15
_MARGIN = 4


def write_labels(
    picture: UInt8Array, taken: BoolArray, names: Sequence[str], boxes: Sequence[Box]
) -> UInt8Array:
    """Write each name at the free place that is nearest to its box.

    Parameters
    ----------
    picture : uint8 (H, W, 3), RGB.
    taken : bool (H, W), what no label may cover.
    names, boxes : one box, in pixels of ``picture``, for each name.

    Returns
    -------
    uint8 (h, w, 3). Names without a free place stand in a dark band under the picture; without such a band
    the size is that of ``picture``.
    """
    from PIL import Image, ImageDraw

    canvas = Image.fromarray(picture)
    draw = ImageDraw.Draw(canvas)
    taken = taken.copy()
    homeless = []
    for name, box in zip(names, boxes, strict=True):
        width, height = _plate_size(name)
        place = _nearest_free(taken, (height, width), box)
        if place is None:
            homeless.append(name)
            continue
        x, y = place
        taken[y : y + height, x : x + width] = True
        _draw_leader(draw, (x, y, x + width, y + height), box)
        _draw_plate(draw, name, (x, y))
    if homeless:
        canvas = _with_band(canvas, homeless)
    return np.asarray(canvas, dtype=np.uint8)


def _plate_size(name: str) -> tuple[int, int]:
    """(width, height) of a label."""
    from PIL import ImageFont

    return int(ImageFont.load_default(_FONT_SIZE).getlength(name)) + 10, _FONT_SIZE + 6


def _nearest_free(taken: BoolArray, plate: tuple[int, int], box: Box) -> tuple[int, int] | None:
    """Top left corner (x, y) of the nearest place for a plate (height, width); None if there is none."""
    import cv2

    height, width = plate
    if taken.shape[0] < height or taken.shape[1] < width:
        return None
    total = cv2.integral(taken.astype(np.uint8))
    inside = (
        total[height:, width:] - total[:-height, width:] - total[height:, :-width] + total[:-height, :-width]
    )
    if inside.all():
        return None
    x0, y0, x1, y1 = box
    x = np.arange(inside.shape[1])[None, :]
    y = np.arange(inside.shape[0])[:, None]
    gap_x = np.maximum(np.maximum(x0 - (x + width), x - x1), 0)
    gap_y = np.maximum(np.maximum(y0 - (y + height), y - y1), 0)
    # Distance decides; among equals rather above than below, and flush left.
    cost = np.hypot(gap_x, gap_y) + 0.01 * np.abs(x - x0) + 0.5 * (y > y0)
    cost[inside > 0] = np.inf
    row, column = np.unravel_index(int(cost.argmin()), cost.shape)
    return int(column), int(row)


def _draw_leader(draw: ImageDraw, plate: Box, box: Box) -> None:
    """Tie a label to its region where it had to stand apart."""
    x = min(max((plate[0] + plate[2]) // 2, box[0]), box[2])
    y = min(max((plate[1] + plate[3]) // 2, box[1]), box[3])
    start = (min(max(x, plate[0]), plate[2]), min(max(y, plate[1]), plate[3]))
    if abs(start[0] - x) + abs(start[1] - y) > 12:
        draw.line([start, (x, y)], fill=DARK, width=4)
        draw.line([start, (x, y)], fill=LINE, width=2)


def _draw_plate(draw: ImageDraw, name: str, corner: tuple[int, int]) -> None:
    from PIL import ImageFont

    x, y = corner
    width, height = _plate_size(name)
    draw.rounded_rectangle((x, y, x + width - 1, y + height - 1), 4, fill=DARK, outline=LINE)
    middle = (x + width / 2, y + height / 2)
    draw.text(middle, name, font=ImageFont.load_default(_FONT_SIZE), fill=(255, 255, 255), anchor="mm")


def _with_band(canvas: Image.Image, names: Sequence[str]) -> Image.Image:
    """Add a dark band under the picture that holds the names."""
    from PIL import Image, ImageDraw

    sizes = [_plate_size(name) for name in names]
    width = max(canvas.width, max(size[0] for size in sizes) + 2 * _MARGIN)
    corners = []
    x, y = _MARGIN, canvas.height + _MARGIN
    for plate_width, plate_height in sizes:
        if x > _MARGIN and x + plate_width + _MARGIN > width:
            x, y = _MARGIN, y + plate_height + _MARGIN
        corners.append((x, y))
        x += plate_width + _MARGIN
    wider = Image.new("RGB", (width, y + sizes[-1][1] + _MARGIN), DARK)
    wider.paste(canvas, (0, 0))
    draw = ImageDraw.Draw(wider)
    for name, corner in zip(names, corners, strict=True):
        _draw_plate(draw, name, corner)
    return wider
