"""The picture of an event: the frame where it stood out most, with who did it and the way it took."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from anomalist.clips import Event, Track
from anomalist.types import Box, UInt8Array
from anomalist.vision.labels import DARK, LINE

if TYPE_CHECKING:
    from anomalist.vision.video.frames import Video

SIDE = 640
"""The longer side of a key frame, pixels."""

CLOSE_SIDE = 320
"""The longer side of a close-up, pixels."""

_LIST_SIDE = 152  # pixels
_SMALL = 0.4  # of the picture: what is smaller in both directions gets a close-up
_AROUND = 0.4  # of the object's longer side, shown on each side of it
_NEAREST = 48  # pixels of the frame that a close-up shows at least: no more detail is there
_AT_PEAK = 0.3  # seconds from the peak in which a box of a track is where it was then
_WAY = 0.4  # heights of the object that it must have moved for its way to be drawn

_VEIL = 0.4  # of the way's colour, where it lies over the object

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Still:
    """JPEG files of one event: the frame, and the object enlarged where it is small in it."""

    frame: bytes
    close_up: bytes | None


def still(video: Video, event: Event) -> Still:
    """Take the picture of an event out of its video.

    Raises
    ------
    MediaError
        If there is no frame to be read.
    """
    from anomalist.vision.video.clips import frame_at

    pixels = frame_at(video, event.peak).pixels
    near = close_up(pixels, event.box)
    return Still(jpeg(draw_event(pixels, event)), None if near is None else jpeg(near))


def draw_event(pixels: UInt8Array, event: Event, *, max_side: int = SIDE) -> UInt8Array:
    """Draw the box of the leading object with the event's id, its way as an arrow, and the others thinly.

    Parameters
    ----------
    pixels : uint8 (H, W, 3), RGB; the frame at the peak. Boxes of the event are in its pixels.
    max_side : the longer side of the result, pixels. Smaller frames are enlarged.

    Returns
    -------
    uint8 (h, w, 3). Ids stand beside the boxes, or in a dark band under the picture when there is no room.
    """
    from anomalist.vision.drawing import display_size, thumbnail
    from anomalist.vision.labels import write_labels

    height, width = display_size(pixels.shape[:2], max_side)
    picture = np.ascontiguousarray(thumbnail(pixels, max_side=max_side))
    scale = (width / pixels.shape[1], height / pixels.shape[0])
    stroke = max(2, round(max_side / 200))
    named = [(event.id, event.box)] if event.box else []
    for track in event.tracks[1:]:
        box = _box_at(track, event.peak)
        if box is not None and box != event.box:
            named.append((track.id, box))
    boxes = [_scaled(box, scale) for _, box in named]
    for number, box in reversed(list(enumerate(boxes))):  # the leading one last, over the others
        _draw_box(picture, box, stroke if number == 0 else 2)
    for track in event.tracks[:1]:
        _draw_way(picture, _way(track), scale, stroke, boxes[0] if event.box else (0, 0, 0, 0))
    taken = np.zeros((height, width), dtype=np.bool_)
    for x0, y0, x1, y1 in boxes:
        taken[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = True
    return write_labels(picture, taken, [name for name, _ in named], boxes, font_size=round(max_side / 36))


def close_up(pixels: UInt8Array, box: Box | None, *, max_side: int = CLOSE_SIDE) -> UInt8Array | None:
    """Enlarge the surroundings of a box; None where it fills much of the picture, or there is no box.

    Parameters
    ----------
    pixels : uint8 (H, W, 3), RGB.
    box : in its pixels, half-open; what lies outside of the picture is cut off.

    Returns
    -------
    uint8 (h, w, 3) with the longer side ``max_side``; nothing is drawn.
    """
    from anomalist.vision.drawing import thumbnail

    height, width = pixels.shape[:2]
    if box is None:
        return None
    x0, y0, x1, y1 = max(box[0], 0), max(box[1], 0), min(box[2], width), min(box[3], height)
    if x1 <= x0 or y1 <= y0 or x1 - x0 > _SMALL * width or y1 - y0 > _SMALL * height:
        return None
    side = max((1 + 2 * _AROUND) * max(x1 - x0, y1 - y0), _NEAREST)
    left, right = _around((x0 + x1) / 2, min(side, width), width)
    top, bottom = _around((y0 + y1) / 2, min(side, height), height)
    return thumbnail(np.ascontiguousarray(pixels[top:bottom, left:right]), max_side=max_side)


def thumbnail_of(picture: bytes | None) -> bytes | None:
    """Make a JPEG file small enough for a list; None where there is none, or it is damaged."""
    from PIL import Image, UnidentifiedImageError

    if picture is None:
        return None
    try:
        with Image.open(io.BytesIO(picture), formats=["JPEG"]) as opened:
            small = opened.convert("RGB")
            small.thumbnail((_LIST_SIDE, _LIST_SIDE))
    except (UnidentifiedImageError, OSError, SyntaxError):
        return None
    return jpeg(np.asarray(small, dtype=np.uint8))


def jpeg(pixels: UInt8Array, quality: int = 75) -> bytes:
    """Encode uint8 (H, W, 3), RGB. Thin coloured lines stay sharp (no chroma subsampling)."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling=0, optimize=True)
    return buffer.getvalue()


def _around(middle: float, side: float, end: int) -> tuple[int, int]:
    """A range of so many pixels around a middle, moved inside of [0, end)."""
    low = min(max(middle - side / 2, 0), end - side)
    return int(low), min(int(np.ceil(low + side)), end)


def _box_at(track: Track, time: float) -> Box | None:
    nearest = min(track.path, key=lambda step: abs(step[0] - time), default=None)
    return nearest[1] if nearest is not None and abs(nearest[0] - time) <= _AT_PEAK else None


def _way(track: Track) -> Points:
    """Where its middle was, evened out over three boxes; empty where it hardly moved."""
    middles = np.array([((box[0] + box[2]) / 2, (box[1] + box[3]) / 2) for _, box in track.path])
    if len(middles) < 3 or np.ptp(middles, axis=0).max() < _WAY * track.height:
        return []
    padded = np.pad(middles, ((1, 1), (0, 0)), mode="edge")
    even = (padded[:-2] + padded[1:-1] + padded[2:]) / 3
    return [(float(x), float(y)) for x, y in even]


def _draw_box(picture: UInt8Array, box: Box, stroke: int) -> None:
    """Around the object; only at the border of the picture over it."""
    import cv2

    last = picture.shape[1] - stroke, picture.shape[0] - stroke
    low = max(box[0] - stroke, stroke - 1), max(box[1] - stroke, stroke - 1)
    high = min(box[2] + stroke - 1, last[0]), min(box[3] + stroke - 1, last[1])
    for width, colour in ((stroke + 2, DARK), (stroke, LINE)):
        cv2.rectangle(picture, low, high, colour, width)


def _draw_way(
    picture: UInt8Array, way: Points, scale: tuple[float, float], stroke: int, object_: Box
) -> None:
    """A line that ends in an arrow; what lies under it is seen through where the object is."""
    import cv2

    points = [(round(x * scale[0]), round(y * scale[1])) for x, y in way]
    if len(points) < 2:
        return
    tip, back = points[-1], _back_of(points, 6 * stroke)
    head = max(0.05, min(0.9, 5 * stroke / max(1.0, float(np.hypot(tip[0] - back[0], tip[1] - back[1])))))
    inside = np.s_[max(object_[1], 0) : max(object_[3], 0), max(object_[0], 0) : max(object_[2], 0)]
    before = picture[inside].astype(np.float32)
    line = np.array(points, dtype=np.int32).reshape(-1, 1, 2)
    for width, colour in ((stroke + 2, DARK), (stroke - 1, LINE)):
        cv2.polylines(picture, [line], False, colour, width, cv2.LINE_AA)
        cv2.arrowedLine(picture, back, tip, colour, width, cv2.LINE_AA, 0, head)
    picture[inside] = (before + _VEIL * (picture[inside] - before)).round().astype(np.uint8)


def _back_of(points: Sequence[tuple[int, int]], far: float) -> tuple[int, int]:
    """The last point that is so far from the end, from where the arrow's head gets its direction."""
    tip = points[-1]
    return next((p for p in reversed(points) if np.hypot(p[0] - tip[0], p[1] - tip[1]) >= far), points[0])


def _scaled(box: Box, scale: tuple[float, float]) -> Box:
    x0, y0, x1, y1 = box
    return round(x0 * scale[0]), round(y0 * scale[1]), round(x1 * scale[0]), round(y1 * scale[1])
