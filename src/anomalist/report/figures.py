"""Images for the reports: overlays, heat maps, key frames and close-ups, read and drawn from stored files.

Picture, anomaly map and mask of a record are read again from the run folder; a file that is missing,
damaged or changed (SHA-256) is named in the report, not hidden. Arrays are uint8 (H, W, 3) RGB, float32
(H, W) and bool (H, W). Import OpenCV and Pillow inside functions only.
"""

from __future__ import annotations

import base64
import io
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from anomalist.errors import DataError, MediaError
from anomalist.storage.places import here
from anomalist.storage.run_folder import stored_map_size
from anomalist.types.clip import Event, Track
from anomalist.types.common import BoolArray, Box, FloatArray, UInt8Array
from anomalist.types.image import Record
from anomalist.vision.drawing import HALO_COLOUR, LINE_COLOUR, encode_jpeg

if TYPE_CHECKING:
    from anomalist.vision.media.frames import Video


ArrayT = TypeVar("ArrayT", UInt8Array, FloatArray, BoolArray)


@dataclass(frozen=True, eq=False)
class RecordArrays:
    """What there is to draw of one record.

    Parameters
    ----------
    pixels : uint8 (H, W, 3), RGB, of the very file that was inspected; None if it is gone or has changed.
    score_map : float32 (H, W), or None; smaller where the picture is large, see `stored_map_size`.
    mask : bool (H, W), or None.
    problems : a sentence for each thing that is missing.
    """

    pixels: UInt8Array | None
    score_map: FloatArray | None
    mask: BoolArray | None
    problems: tuple[str, ...]


def load_record_arrays(record: Record, folder: Path) -> RecordArrays:
    """Read picture, map and mask of a record; never raises for a file that is missing or damaged."""
    problems: list[str] = []

    def attempt(load: Callable[[Record, Path], ArrayT | None]) -> ArrayT | None:
        try:
            return load(record, folder)
        except (DataError, MediaError) as problem:
            problems.append(str(problem))
            return None

    pixels, score_map, mask = attempt(load_source_image), attempt(load_map), attempt(load_mask)
    sizes = {layer.shape[:2] for layer in (pixels, mask) if layer is not None}
    if score_map is not None and sizes:
        sizes |= {score_map.shape} - {stored_map_size(size) for size in sizes}
    if len(sizes) > 1:
        problems.append("Picture, anomaly map and mask are not of one size, so only the picture is drawn.")
        score_map = mask = None
    return RecordArrays(pixels, score_map, mask, tuple(problems))


def load_source_image(record: Record, folder: Path) -> UInt8Array:
    """Read the inspected picture, from where it was or from beside the run folder's records.

    Raises
    ------
    DataError
        If the file is gone, or is not the one that was inspected (by its SHA-256).
    MediaError
        If it can't be read.
    """
    from anomalist.vision.media.images import load_image
    from anomalist.vision.media.pages import split_page

    places = (Path(record.source), folder / record.source)
    path = next((p for p in places if _is_file(here(split_page(p)[0]))), None)
    if path is None:
        raise DataError("The picture is gone: there is no such file any more.")
    media = load_image(path)
    if media.sha256 != record.sha256:
        raise DataError(
            "The picture has changed since it was inspected (its SHA-256 differs), so it is not shown."
        )
    return media.pixels


def load_map(record: Record, folder: Path) -> FloatArray | None:
    """Read the anomaly map, float32 (H, W), of the size as stored; None if the record names none.

    Raises
    ------
    DataError
        If the file is missing, damaged, of another size, or outside ``folder``.
    """
    if record.map is None:
        return None
    path = resolve_inside(folder, record.map)
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as problem:
        raise DataError(f"The anomaly map {record.map} is missing or damaged.") from problem
    if (
        values.dtype != np.float32
        or values.ndim != 2
        or not values.size
        or values.shape != stored_map_size((record.height or len(values), record.width or values.shape[1]))
    ):
        raise DataError(f"The anomaly map {record.map} is not a float32 map of the size of the picture.")
    score_map: FloatArray = values
    return score_map


def load_mask(record: Record, folder: Path) -> BoolArray | None:
    """Read the mask of the regions, bool (H, W); None if the record names none.

    Raises
    ------
    DataError
        If the file is missing, damaged, of another size, or outside ``folder``.
    """
    from PIL import Image

    if record.mask is None:
        return None
    path = resolve_inside(folder, record.mask)
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            mask: BoolArray = np.asarray(picture.convert("L")) > 0
    except (OSError, ValueError, SyntaxError) as problem:
        raise DataError(f"The mask {record.mask} is missing or damaged.") from problem
    if not _has_record_size(record, mask.shape):
        raise DataError(f"The mask {record.mask} is not of the size of the picture.")
    return mask


def _has_record_size(record: Record, shape: tuple[int, ...]) -> bool:
    return shape == (record.height or shape[0], record.width or shape[1])


def resolve_inside(folder: Path, name: str) -> Path:
    """Resolve a path of the record; raises DataError for one that leads out of the run folder."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise DataError(f"The record names {name}, which lies outside its run folder.")
    return here(path)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, or holds a null character
        return False


LARGE_SIDE, SMALL_SIDE = 560, 160  # the longer side, pixels

HeatRange = tuple[float, float]


@dataclass(frozen=True)
class Figure:
    """A drawn picture, and where to click on it: (region id, css position) in per cent."""

    uri: str
    width: int
    height: int
    boxes: tuple[tuple[str, str], ...] = ()


def heat_ranges(records: Iterable[Record], folder: Path) -> dict[str, HeatRange]:
    """Colour range (low, high) of the anomaly maps of each detector digest, so that pictures are comparable.

    From the median over maps of their medians to the median peak of the regions: robust to one extreme
    picture, and noise stays dark. Without any region, up to the highest value of all maps.
    """
    middles: dict[str, list[float]] = {}
    peaks: dict[str, list[float]] = {}
    highest: dict[str, float] = {}
    for record in records:
        try:
            score_map = load_map(record, folder)
        except DataError:  # said where the picture would be
            continue
        if score_map is None or not np.isfinite(score_map).any():
            continue
        finite: FloatArray = score_map[np.isfinite(score_map)]
        digest = detector_digest(record)
        middles.setdefault(digest, []).append(float(np.median(finite)))
        highest[digest] = max(highest.get(digest, -np.inf), float(finite.max()))
        if record.regions:
            peaks.setdefault(digest, []).append(record.regions[0].peak)
    return {
        digest: (statistics.median(values), statistics.median(peaks.get(digest, [highest[digest]])))
        for digest, values in middles.items()
    }


def overlay_figure(
    record: Record, layers: RecordArrays, heat_range: HeatRange | None, side: int, *, labelled: bool
) -> Figure | None:
    """Outline the regions on the picture, or on the anomaly map where the picture is gone."""
    from anomalist.vision.drawing import display_size, heatmap, overlay, overview_side

    ground = layers.pixels
    if ground is None and layers.score_map is not None and heat_range is not None:
        ground = heatmap(None, layers.score_map, *heat_range, max_side=max(layers.score_map.shape))
        if layers.mask is not None and layers.mask.shape != ground.shape[:2]:  # of a large picture
            return encode_figure(heatmap(None, layers.score_map, *heat_range, max_side=side))
    if ground is None:
        return None
    if side == LARGE_SIDE:
        side = overview_side(ground.shape[:2], LARGE_SIDE)
    mask = layers.mask if record.regions else np.zeros(ground.shape[:2], dtype=np.bool_)
    drawn = overlay(ground, mask, record.regions if labelled else (), max_side=side)
    height, width = display_size(ground.shape[:2], side)
    share = (width / ground.shape[1] / drawn.shape[1], height / ground.shape[0] / drawn.shape[0])
    boxes = tuple((place.id, _css_box(place.box, share)) for place in record.places)
    return encode_figure(drawn, boxes)


def heat_figure(layers: RecordArrays, heat_range: HeatRange | None) -> Figure | None:
    """Lay the anomaly map over the picture; None where either is missing."""
    from anomalist.vision.drawing import heatmap, overview_side, thumbnail

    if layers.pixels is None or layers.score_map is None or heat_range is None:
        return None
    shape = layers.score_map.shape
    pixels = layers.pixels if layers.pixels.shape[:2] == shape else thumbnail(layers.pixels, shape)
    side = overview_side(shape, LARGE_SIDE)
    return encode_figure(heatmap(pixels, layers.score_map, *heat_range, max_side=side))


def colour_scale_uri() -> str:
    """Encode the colours of the anomaly map, from low to high, for the legend."""
    from anomalist.vision.drawing import colour_scale, data_uri

    return data_uri(colour_scale(), "png")


def detector_digest(record: Record) -> str:
    """Give the digest of the detector, whose maps share one range; "" for none."""
    return record.detector.digest if record.detector else ""


def encode_figure(drawn: UInt8Array, boxes: tuple[tuple[str, str], ...] = ()) -> Figure:
    """Encode a drawn picture, uint8 (H, W, 3), for a page; ``boxes`` are where to click on it."""
    from anomalist.vision.drawing import data_uri

    small = max(drawn.shape) <= SMALL_SIDE
    return Figure(data_uri(drawn, quality=72 if small else 85), drawn.shape[1], drawn.shape[0], boxes)


def _css_box(box: Box, share: tuple[float, float]) -> str:
    x0, y0, x1, y1 = box
    left, width = 100 * x0 * share[0], 100 * (x1 - x0) * share[0]
    top, height = 100 * y0 * share[1], 100 * (y1 - y0) * share[1]
    return f"left:{left:.2f}%;top:{top:.2f}%;width:{width:.2f}%;height:{height:.2f}%"


KEY_FRAME_SIDE = 640
"""The longer side of a key frame, pixels."""

CLOSE_UP_SIDE = 320
"""The longer side of a close-up, pixels."""

_THUMBNAIL_SIDE = 152  # pixels
_CLOSE_UP_BELOW = 0.4  # of the picture: what is smaller in both directions gets a close-up
_CLOSE_UP_MARGIN = 0.4  # of the object's longer side, shown on each side of it
_MIN_CLOSE_UP_PIXELS = 48  # smallest crop, pixels of the frame: a smaller one shows no more detail
_PEAK_TOLERANCE = 0.3  # seconds from the peak in which a box of a track is where it was then
_MIN_PATH_HEIGHTS = 0.4  # shortest path that is drawn, in heights of the object

_PATH_OPACITY = 0.4  # opacity of the path where it covers the object

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class EventImages:
    """JPEG files of one event: the frame, and the object enlarged where it is small in it."""

    frame: bytes
    close_up: bytes | None


def render_event_images(video: Video, event: Event) -> EventImages:
    """Take the picture of an event out of its video.

    Raises
    ------
    MediaError
        If there is no frame to be read.
    """
    from anomalist.vision.media.video import frame_at

    pixels = frame_at(video, event.peak).pixels
    near = close_up(pixels, event.box)
    return EventImages(encode_jpeg(draw_event(pixels, event)), None if near is None else encode_jpeg(near))


def draw_event(pixels: UInt8Array, event: Event, *, max_side: int = KEY_FRAME_SIDE) -> UInt8Array:
    """Draw the leading object's box with the event's id, its path as an arrow, and other objects thinly.

    Parameters
    ----------
    pixels : uint8 (H, W, 3), RGB; the frame at the peak. Boxes of the event are in its pixels.
    max_side : the longer side of the result, pixels. Smaller frames are enlarged.

    Returns
    -------
    uint8 (h, w, 3). Ids stand beside the boxes, or in a dark band under the picture when there is no room.
    """
    from anomalist.vision.drawing import display_size, place_labels, thumbnail

    height, width = display_size(pixels.shape[:2], max_side)
    picture = np.ascontiguousarray(thumbnail(pixels, max_side=max_side))
    scale = (width / pixels.shape[1], height / pixels.shape[0])
    stroke = max(2, round(max_side / 200))
    named = [(event.id, event.box)] if event.box else []
    for track in event.tracks[1:]:
        box = _box_at(track, event.peak)
        if box is not None and box != event.box:
            named.append((track.id, box))
    boxes = [_scale_box(box, scale) for _, box in named]
    for number, box in reversed(list(enumerate(boxes))):  # the leading one last, over the others
        _draw_box(picture, box, stroke if number == 0 else 2)
    for track in event.tracks[:1]:
        _draw_path(picture, _smoothed_path(track), scale, stroke, boxes[0] if event.box else (0, 0, 0, 0))
    taken = np.zeros((height, width), dtype=np.bool_)
    for x0, y0, x1, y1 in boxes:
        taken[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = True
    return place_labels(picture, taken, [name for name, _ in named], boxes, font_size=round(max_side / 36))


def close_up(pixels: UInt8Array, box: Box | None, *, max_side: int = CLOSE_UP_SIDE) -> UInt8Array | None:
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
    if x1 <= x0 or y1 <= y0 or x1 - x0 > _CLOSE_UP_BELOW * width or y1 - y0 > _CLOSE_UP_BELOW * height:
        return None
    side = max((1 + 2 * _CLOSE_UP_MARGIN) * max(x1 - x0, y1 - y0), _MIN_CLOSE_UP_PIXELS)
    left, right = _centred_range((x0 + x1) / 2, min(side, width), width)
    top, bottom = _centred_range((y0 + y1) / 2, min(side, height), height)
    return thumbnail(np.ascontiguousarray(pixels[top:bottom, left:right]), max_side=max_side)


def close_up_path(key_frame: str) -> str:
    """Name the close-up that belongs to a key frame: "frames/1-E2.jpg" to "frames/1-E2-close.jpg"."""
    path = Path(key_frame)
    return path.with_name(f"{path.stem}-close{path.suffix}").as_posix()


def read_jpeg(folder: Path, name: str) -> bytes | None:
    """Read a JPEG file of a folder; None where it is missing, of another kind, or lies elsewhere."""
    try:
        data = resolve_inside(folder, name).read_bytes()
    except (OSError, ValueError, DataError):
        return None
    return data if data.startswith(b"\xff\xd8") else None


def jpeg_data_uri(data: bytes | None) -> str | None:
    """Embed a JPEG file as a data: address; None for None."""
    return None if data is None else f"data:image/jpeg;base64,{base64.b64encode(data).decode('ascii')}"


def jpeg_thumbnail(picture: bytes | None) -> bytes | None:
    """Make a JPEG file small enough for a list; None where there is none, or it is damaged."""
    from PIL import Image, UnidentifiedImageError

    if picture is None:
        return None
    try:
        with Image.open(io.BytesIO(picture), formats=["JPEG"]) as opened:
            small = opened.convert("RGB")
            small.thumbnail((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE))
    except (UnidentifiedImageError, OSError, SyntaxError):
        return None
    return encode_jpeg(np.asarray(small, dtype=np.uint8))


def _centred_range(middle: float, side: float, end: int) -> tuple[int, int]:
    """A range of so many pixels around a middle, moved inside of [0, end)."""
    low = min(max(middle - side / 2, 0), end - side)
    return int(low), min(int(np.ceil(low + side)), end)


def _box_at(track: Track, time: float) -> Box | None:
    nearest = min(track.path, key=lambda step: abs(step[0] - time), default=None)
    return nearest[1] if nearest is not None and abs(nearest[0] - time) <= _PEAK_TOLERANCE else None


def _smoothed_path(track: Track) -> Points:
    """Path of the box centre, moving average over three boxes; empty where it hardly moved."""
    middles = np.array([((box[0] + box[2]) / 2, (box[1] + box[3]) / 2) for _, box in track.path])
    if len(middles) < 3 or np.ptp(middles, axis=0).max() < _MIN_PATH_HEIGHTS * track.height:
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
    for width, colour in ((stroke + 2, HALO_COLOUR), (stroke, LINE_COLOUR)):
        cv2.rectangle(picture, low, high, colour, width)


def _draw_path(
    picture: UInt8Array, way: Points, scale: tuple[float, float], stroke: int, object_: Box
) -> None:
    """Draw the path as a line with an arrowhead, semi-transparent over the object."""
    import cv2

    points = [(round(x * scale[0]), round(y * scale[1])) for x, y in way]
    if len(points) < 2:
        return
    tip, back = points[-1], _arrow_base(points, 6 * stroke)
    head = max(0.05, min(0.9, 5 * stroke / max(1.0, float(np.hypot(tip[0] - back[0], tip[1] - back[1])))))
    inside = np.s_[max(object_[1], 0) : max(object_[3], 0), max(object_[0], 0) : max(object_[2], 0)]
    before = picture[inside].astype(np.float32)
    line = np.array(points, dtype=np.int32).reshape(-1, 1, 2)
    for width, colour in ((stroke + 2, HALO_COLOUR), (stroke - 1, LINE_COLOUR)):
        cv2.polylines(picture, [line], False, colour, width, cv2.LINE_AA)
        cv2.arrowedLine(picture, back, tip, colour, width, cv2.LINE_AA, 0, head)
    picture[inside] = (before + _PATH_OPACITY * (picture[inside] - before)).round().astype(np.uint8)


def _arrow_base(points: Sequence[tuple[int, int]], far: float) -> tuple[int, int]:
    """The last point that is so far from the end, from where the arrow's head gets its direction."""
    tip = points[-1]
    return next((p for p in reversed(points) if np.hypot(p[0] - tip[0], p[1] - tip[1]) >= far), points[0])


def _scale_box(box: Box, scale: tuple[float, float]) -> Box:
    x0, y0, x1, y1 = box
    return round(x0 * scale[0]), round(y0 * scale[1]), round(x1 * scale[0]), round(y1 * scale[1])
