"""Drawing for people: outlined regions with labels, heat maps (inferno), thumbnails and data URIs.

An outline runs around a region, never over it, so that the region stays visible. A label stands at the
nearest free place, never over a region or another label. Overlays and heat maps have the same size, so that
they can be shown side by side.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np

from anomalist.types.common import BoolArray, Box, FloatArray, UInt8Array
from anomalist.types.image import Region

if TYPE_CHECKING:
    from PIL import Image, ImageFont
    from PIL.ImageDraw import ImageDraw


# Magenta is rare on surfaces and distinct under any colour vision; the dark halo keeps it visible on a light
# or magenta background.
LINE_COLOUR = (255, 79, 216)
HALO_COLOUR = (18, 16, 24)


@dataclass(frozen=True)
class _Label:
    """A label: a name on a dark plate."""

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
        draw.rounded_rectangle(box, self.margin, fill=HALO_COLOUR, outline=LINE_COLOUR)
        middle = (x + self.width / 2, y + self.height / 2)
        draw.text(middle, self.name, font=self._font, fill=(255, 255, 255), anchor="mm")


def place_labels(
    picture: UInt8Array, taken: BoolArray, names: Sequence[str], boxes: Sequence[Box], *, font_size: int = 18
) -> UInt8Array:
    """Write each name at the free place that is nearest to its box.

    Parameters
    ----------
    picture : uint8 (H, W, 3), RGB.
    taken : bool (H, W), pixels that labels must not cover.
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
    placed: list[tuple[_Label, int, int]] = []
    unplaced: list[_Label] = []
    for name, box in zip(names, boxes, strict=True):
        plate = _Label(name, font_size)
        place = _nearest_free_corner(occupied, (plate.height, plate.width), box)
        if place is None:
            unplaced.append(plate)
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
    if unplaced:
        canvas = _with_band(canvas, unplaced)
    return np.asarray(canvas, dtype=np.uint8)


def _nearest_free_corner(taken: BoolArray, plate: tuple[int, int], box: Box) -> tuple[int, int] | None:
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
    """Draw a line from a label to its region where it stands apart."""
    x = min(max((plate[0] + plate[2]) // 2, box[0]), box[2])
    y = min(max((plate[1] + plate[3]) // 2, box[1]), box[3])
    start = (min(max(x, plate[0]), plate[2]), min(max(y, plate[1]), plate[3]))
    if abs(start[0] - x) + abs(start[1] - y) > font_size:
        draw.line([start, (x, y)], fill=HALO_COLOUR, width=4)
        draw.line([start, (x, y)], fill=LINE_COLOUR, width=2)


def _with_band(canvas: Image.Image, plates: Sequence[_Label]) -> Image.Image:
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
    wider = Image.new("RGB", (width, y + plates[0].height + gap), HALO_COLOUR)
    wider.paste(canvas, (0, 0))
    draw = ImageDraw.Draw(wider)
    for plate, (x, y) in zip(plates, corners, strict=True):
        plate.draw(draw, x, y)
    return wider


Array = TypeVar("Array", UInt8Array, FloatArray)

# Ten anchors of matplotlib's inferno (CC0, van der Walt and Smith), perceptually uniform.
_INFERNO = np.array(
    [
        (0, 0, 4), (27, 12, 65), (74, 12, 107), (120, 28, 109), (165, 44, 96),
        (207, 68, 70), (237, 105, 37), (251, 155, 6), (247, 209, 61), (252, 255, 164),
    ],
    dtype=np.float32,
)  # fmt: skip


def display_size(size: tuple[int, int], max_side: int) -> tuple[int, int]:
    """(height, width) with the longer side brought to ``max_side``, up or down."""
    scale = max_side / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


STRIP_WIDTH, STRIP_LENGTH = 96, 2400
"""Shorter side of the overview of a strip, and its longer side at most, pixels."""


def overview_side(size: tuple[int, ...], max_side: int) -> int:
    """The longer side of a figure of (height, width): ``max_side``, or more for a strip to be seen."""
    return max(max_side, min(round(STRIP_WIDTH * max(size) / min(size)), STRIP_LENGTH))


def overlay(
    pixels: UInt8Array, mask: BoolArray | None, regions: Sequence[Region], *, max_side: int = 480
) -> UInt8Array:
    """Draw the outlines of the suspicious regions and their ids.

    Parameters
    ----------
    pixels : uint8 (H, W, 3), RGB.
    mask : bool (H, W), what belongs to a region. None if it is not stored: boxes are drawn instead.
    regions : that are labelled; boxes in pixels of the picture.
    max_side : the longer side of the result, pixels. Smaller pictures are enlarged.

    Returns
    -------
    uint8 (h, w, 3). A label covers no region. Labels without room in the picture stand in a dark band under
    it, and only then is h larger than ``display_size`` says.

    Raises
    ------
    TypeError
        If a shape or dtype is another.
    """
    _check_pixels(pixels)
    height, width = pixels.shape[:2]
    if mask is not None and (mask.dtype != np.bool_ or mask.shape != (height, width)):
        raise TypeError(f"mask must be bool {(height, width)}, got {mask.dtype.name} {mask.shape}")
    size = display_size((height, width), max_side)
    picture = _resize(pixels, size)
    marked = _box_mask((height, width), regions) if mask is None else mask
    shown = _resize_mask(marked, size)
    unit = min(max(size), 6 * min(size))  # of a strip the width counts
    stroke = max(2.5, unit / 190)
    outlined, taken = _outline(picture, shown, stroke)
    scale = (size[0] / height, size[1] / width)
    boxes = [_scale_box(region.box, scale) for region in regions]
    names = [region.id for region in regions]
    return place_labels(outlined, taken, names, boxes, font_size=max(12, round(unit / 25)))


def heatmap(
    pixels: UInt8Array | None, score_map: FloatArray, low: float, high: float, *, max_side: int = 480
) -> UInt8Array:
    """Lay the anomaly map over the grey picture: black to yellow (inferno), ``low`` to ``high``.

    Parameters
    ----------
    pixels : uint8 (H, W, 3), RGB; None draws the map alone.
    score_map : float32 (H, W), raw. NaN is drawn as ``low``.
    low, high : values at the two ends of the colours; what lies beyond is drawn as the end.
    max_side : the longer side of the result, pixels.

    Returns
    -------
    uint8 (h, w, 3), of ``display_size``.
    """
    if score_map.ndim != 2:
        raise TypeError(f"score_map must be float32 (H, W), got {score_map.dtype.name} {score_map.shape}")
    height, width = score_map.shape
    size = display_size((height, width), max_side)
    share = _resize(_normalise(score_map, low, high), size)
    colours = _apply_colormap(share)
    if pixels is None:
        return colours.round().astype(np.uint8)
    _check_pixels(pixels)
    if pixels.shape[:2] != (height, width):
        raise TypeError(f"pixels must be uint8 {(height, width, 3)}, got {pixels.shape}")
    grey = _resize(pixels, size).astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    # The map is transparent where it is low and opaque where it is high.
    weight = 0.45 + 0.4 * share[..., None]
    mixed = (1 - weight) * grey[..., None] + weight * colours
    return mixed.round().clip(0, 255).astype(np.uint8)


def colour_scale(steps: int = 64) -> UInt8Array:
    """Colours of ``heatmap`` from low to high, uint8 (1, steps, 3), for a legend."""
    return _apply_colormap(np.linspace(0, 1, steps, dtype=np.float32)[None]).round().astype(np.uint8)


def thumbnail(pixels: UInt8Array, size: tuple[int, ...] | None = None, *, max_side: int = 160) -> UInt8Array:
    """Bring the longer side to ``max_side``, or the picture to (height, width); nothing is drawn."""
    _check_pixels(pixels)
    return _resize(pixels, (size[0], size[1]) if size else display_size(pixels.shape[:2], max_side))


def encode_jpeg(pixels: UInt8Array, quality: int = 75) -> bytes:
    """Encode uint8 (H, W, 3), RGB. Thin coloured lines stay sharp (no chroma subsampling)."""
    import cv2

    _check_pixels(pixels)
    options = {
        cv2.IMWRITE_JPEG_QUALITY: quality,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR: cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
        cv2.IMWRITE_JPEG_OPTIMIZE: 1,
    }
    flat = [number for pair in options.items() for number in pair]
    _, encoded = cv2.imencode(".jpg", np.ascontiguousarray(pixels[..., ::-1]), flat)
    return encoded.tobytes()


def data_uri(pixels: UInt8Array, kind: Literal["jpeg", "png"] = "jpeg", *, quality: int = 85) -> str:
    """Encode uint8 (H, W, 3) as a ``data:`` URI."""
    content = encode_jpeg(pixels, quality) if kind == "jpeg" else _encode_png(pixels)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _encode_png(pixels: UInt8Array) -> bytes:
    from PIL import Image

    _check_pixels(pixels)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _check_pixels(pixels: UInt8Array) -> None:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise TypeError(f"pixels must be uint8 (H, W, 3), got {pixels.dtype.name} {pixels.shape}")


def _resize(array: Array, size: tuple[int, int]) -> Array:
    """Resize to (height, width): averaging on the way down, cubic on the way up."""
    import cv2

    smaller = size[0] < array.shape[0] or size[1] < array.shape[1]
    how = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    resized: Array = cv2.resize(array, (size[1], size[0]), interpolation=how)
    return resized


def _resize_mask(mask: BoolArray, size: tuple[int, int]) -> BoolArray:
    """Resize without losing a single marked pixel."""
    import cv2

    smaller = size[0] < mask.shape[0] or size[1] < mask.shape[1]
    how = cv2.INTER_AREA if smaller else cv2.INTER_NEAREST
    step = min(mask.shape[0] // size[0], mask.shape[1] // size[1])
    if step > 1:  # to spare memory
        for axis in (0, 1):
            mask = np.logical_or.reduceat(mask, np.arange(0, mask.shape[axis], step), axis=axis)
    covered = cv2.resize(mask.astype(np.float32), (size[1], size[0]), interpolation=how)
    marked: BoolArray = covered > 0
    return marked


def _normalise(score_map: FloatArray, low: float, high: float) -> FloatArray:
    """Map ``low`` to 0 and ``high`` to 1, clipped."""
    spread = high - low
    if not spread > 0:
        return np.zeros(score_map.shape, dtype=np.float32)
    values = np.nan_to_num(score_map, nan=low, posinf=high, neginf=low)
    return ((values - low) / spread).clip(0, 1).astype(np.float32)


def _apply_colormap(share: FloatArray) -> FloatArray:
    """Map 0 to 1 to colours: float32 (..., 3), 0 to 255."""
    anchors = np.linspace(0, 1, len(_INFERNO))
    channels = [np.interp(share.clip(0, 1), anchors, _INFERNO[:, i]) for i in range(3)]
    return np.stack(channels, axis=-1).astype(np.float32)


def _box_mask(size: tuple[int, int], regions: Sequence[Region]) -> BoolArray:
    mask = np.zeros(size, dtype=np.bool_)
    for region in regions:
        x0, y0, x1, y1 = region.box
        mask[y0:y1, x0:x1] = True
    return mask


def _scale_box(box: Box, scale: tuple[float, float]) -> Box:
    x0, y0, x1, y1 = box
    return round(x0 * scale[1]), round(y0 * scale[0]), round(x1 * scale[1]), round(y1 * scale[0])


def _outline(picture: UInt8Array, mask: BoolArray, stroke: float) -> tuple[UInt8Array, BoolArray]:
    """Draw an outline with halos outside the mask; also return which pixels are mask, line or halo."""
    import cv2

    if not mask.any() or mask.all():
        return picture.copy(), mask.copy()
    away = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    rim = 0.6 * stroke
    end = rim + stroke
    # One pixel of slope on either side of each band is anti-aliasing; a distance of 1 touches the mask.
    halo = np.clip(end + rim + 0.5 - away, 0, 1) * 0.7
    line = np.clip(away - rim + 0.5, 0, 1) * np.clip(end + 0.5 - away, 0, 1)
    halo[mask] = 0
    drawn = picture.astype(np.float32)
    for weight, colour in ((halo, HALO_COLOUR), (line, LINE_COLOUR)):
        drawn += weight[..., None] * (np.array(colour, dtype=np.float32) - drawn)
    taken: BoolArray = mask | (halo > 0)
    return drawn.round().clip(0, 255).astype(np.uint8), taken
