"""Labels beside what they name: each at the nearest free place, none over a region or another label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from anomalist.types import BoolArray, Box, UInt8Array

if TYPE_CHECKING:
    from PIL import Image, ImageFont
    from PIL.ImageDraw import ImageDraw

# Magenta is rare on surfaces and told from its surroundings with any colour vision; the dark halo keeps it
# visible on a light or magenta ground.
LINE = (255, 79, 216)
DARK = (18, 16, 24)


@dataclass(frozen=True)
class _Plate:
    """A name on a dark ground."""

    name: str
    font_size: int

    @property
    def width(self) -> int:
        return int(self._font.getlength(self.name)) + 2 * self.margin

    @property
    def height(self) -> int:
        return self.font_size + self.margin

    @property
    def margin(self) -> int:
        return self.font_size // 3

    @property
    def _font(self) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
        from PIL import ImageFont

        return ImageFont.load_default(self.font_size)

    def box_at(self, x: int, y: int) -> Box:
        return x, y, x + self.width, y + self.height

    def draw(self, draw: ImageDraw, x: int, y: int) -> None:
        box = (x, y, x + self.width - 1, y + self.height - 1)
        draw.rounded_rectangle(box, self.margin, fill=DARK, outline=LINE)
        middle = (x + self.width / 2, y + self.height / 2)
        draw.text(middle, self.name, font=self._font, fill=(255, 255, 255), anchor="mm")


def write_labels(
    picture: UInt8Array, taken: BoolArray, names: Sequence[str], boxes: Sequence[Box], *, font_size: int = 18
) -> UInt8Array:
    """Write each name at the free place that is nearest to its box.

    Parameters
    ----------
    picture : uint8 (H, W, 3), RGB.
    taken : bool (H, W), what nothing is drawn over.
    names, boxes : one box, in pixels of ``picture``, for each name.
    font_size : pixels.

    Returns
    -------
    uint8 (h, w, 3). Names without a free place stand in a dark band under the picture; without such a band
    the size is that of ``picture``.
    """
    from PIL import Image, ImageDraw

    canvas = Image.fromarray(picture)
    draw = ImageDraw.Draw(canvas)
    occupied = taken.copy()
    placed: list[tuple[_Plate, int, int]] = []
    homeless: list[_Plate] = []
    for name, box in zip(names, boxes, strict=True):
        plate = _Plate(name, font_size)
        place = _nearest_free(occupied, (plate.height, plate.width), box)
        if place is None:
            homeless.append(plate)
            continue
        x, y = place
        occupied[y : y + plate.height, x : x + plate.width] = True
        _draw_leader(draw, plate.box_at(x, y), box, font_size)
        placed.append((plate, x, y))
    # A leader may cross a region or, before the plates are drawn, a name; it shows on neither.
    canvas = Image.fromarray(np.where(taken[..., None], picture, np.asarray(canvas)))
    draw = ImageDraw.Draw(canvas)
    for plate, x, y in placed:
        plate.draw(draw, x, y)
    if homeless:
        canvas = _with_band(canvas, homeless)
    return np.asarray(canvas, dtype=np.uint8)


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


def _draw_leader(draw: ImageDraw, plate: Box, box: Box, font_size: int) -> None:
    """Tie a label to its region where it had to stand apart."""
    x = min(max((plate[0] + plate[2]) // 2, box[0]), box[2])
    y = min(max((plate[1] + plate[3]) // 2, box[1]), box[3])
    start = (min(max(x, plate[0]), plate[2]), min(max(y, plate[1]), plate[3]))
    if abs(start[0] - x) + abs(start[1] - y) > font_size:
        draw.line([start, (x, y)], fill=DARK, width=4)
        draw.line([start, (x, y)], fill=LINE, width=2)


def _with_band(canvas: Image.Image, plates: Sequence[_Plate]) -> Image.Image:
    """Add a dark band under the picture that holds the names, in as many rows as they need."""
    from PIL import Image, ImageDraw

    gap = plates[0].margin
    width = max(canvas.width, max(plate.width for plate in plates) + 2 * gap)
    x, y = gap, canvas.height + gap
    corners = []
    for plate in plates:
        if x > gap and x + plate.width + gap > width:
            x, y = gap, y + plate.height + gap
        corners.append((x, y))
        x += plate.width + gap
    wider = Image.new("RGB", (width, y + plates[0].height + gap), DARK)
    wider.paste(canvas, (0, 0))
    draw = ImageDraw.Draw(wider)
    for plate, (x, y) in zip(plates, corners, strict=True):
        plate.draw(draw, x, y)
    return wider
