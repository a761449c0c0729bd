"""The images in a vision-language model's prompts: overview, close-ups, contact sheet, optical flow.

For a picture: the whole with its regions outlined, then each region enlarged beside a normal patch or its
surroundings. For a video event: the key frame, the leading object and a contact sheet of one place at four
times (the contexts of AnyAnomaly, Ahn et al. 2025), and optical flow with trajectories (motion as an input of
its own, as in Hawk, Tang et al. 2024).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anomalist.errors import MediaError
from anomalist.types.clip import Event, Track
from anomalist.types.common import Box, UInt8Array
from anomalist.types.image import Evidence, Media, Region
from anomalist.vision.drawing import HALO_COLOUR, LINE_COLOUR, heatmap, overlay, place_labels, thumbnail
from anomalist.vision.media.frames import Frame, Video
from anomalist.vision.regions import crop_window

OVERVIEW_SIDE = 672
"""Longer side of the whole picture, pixels: 24 patches of 28, the grid of the Qwen-VL family."""

CLOSE_UP_SIDE = 448
"""Longer side of each half of a close-up, pixels."""

CONTEXT_FACTOR = 3
"""Size of the context window relative to the close-up."""

GAP, GREY = 12, 128  # pixels between pictures side by side, and their background


def no_normal(media: Media, region: Region) -> UInt8Array | None:
    """A `NormalCrop` for detectors without normal pictures: None."""
    return None


@dataclass(frozen=True, eq=False)
class View:
    """A picture for a prompt, with a caption that says what it shows.

    Parameters
    ----------
    pixels : uint8 (h, w, 3), RGB.
    caption : what is shown where.
    """

    pixels: UInt8Array
    caption: str


def overview_picture(media: Media, evidence: Evidence) -> UInt8Array:
    """The whole picture with outlines and ids of its regions, uint8 (h, w, 3)."""
    return overlay(media.pixels, evidence.mask, evidence.regions, max_side=OVERVIEW_SIDE)


def close_up_view(media: Media, evidence: Evidence, region: Region, normal: UInt8Array | None) -> View:
    """A region enlarged, on the left, beside a normal patch or else its own surroundings.

    Parameters
    ----------
    media, evidence : of the picture.
    region : one of ``evidence.regions``.
    normal : the normal patch, uint8 (h, w, 3); None if none is known.
    """
    window = crop_window(region.box, media.size)
    left = thumbnail(_crop(media.pixels, window), max_side=CLOSE_UP_SIDE)
    if normal is not None:
        right = thumbnail(normal, max_side=CLOSE_UP_SIDE)
        what = "the same place in the good reference"
        beside = f"on the right {what if evidence.basis == 'reference' else 'the most similar normal patch'}"
    else:
        right = _region_in_context(
            media, evidence, region, crop_window(region.box, media.size, CONTEXT_FACTOR)
        )
        beside = "on the right the same region outlined in its surroundings"
    return View(_side_by_side(left, right), f"{region.id}: on the left the region enlarged, {beside}.")


def _crop(pixels: UInt8Array, window: Box) -> UInt8Array:
    x0, y0, x1, y1 = window
    return np.ascontiguousarray(pixels[y0:y1, x0:x1])


def _region_in_context(media: Media, evidence: Evidence, region: Region, window: Box) -> UInt8Array:
    """A window of the picture with one region outlined."""
    left, top, right, bottom = window
    x0, y0, x1, y1 = region.box
    box = (max(0, x0 - left), max(0, y0 - top), min(right, x1) - left, min(bottom, y1) - top)
    marked = np.zeros_like(evidence.mask)
    marked[y0:y1, x0:x1] = evidence.mask[y0:y1, x0:x1]
    inside = np.ascontiguousarray(marked[top:bottom, left:right])
    moved = region.replace(box=box)
    return overlay(_crop(media.pixels, window), inside, [moved], max_side=CLOSE_UP_SIDE)


def _side_by_side(left: UInt8Array, right: UInt8Array) -> UInt8Array:
    """Two pictures beside each other on grey, vertically centred, with a gap."""
    height = max(len(left), len(right))
    sheet = np.full((height, left.shape[1] + GAP + right.shape[1], 3), GREY, dtype=np.uint8)
    for picture, start in ((left, 0), (right, left.shape[1] + GAP)):
        top = (height - len(picture)) // 2
        sheet[top : top + len(picture), start : start + picture.shape[1]] = picture
    return sheet


def draw_boxes(pixels: UInt8Array, boxes: Mapping[str, Box], max_side: int) -> UInt8Array:
    """Draw named boxes on a picture.

    Parameters
    ----------
    pixels : uint8 (H, W, 3), RGB.
    boxes : by name, in pixels of the picture; clipped to it.
    max_side : longer side of the result, pixels.

    Returns
    -------
    uint8 (h, w, 3); names that don't fit may be in a band below the picture.
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
    for thickness, colour in ((5, HALO_COLOUR), (2, LINE_COLOUR)):
        for left, top, right, bottom in placed.values():
            cv2.rectangle(picture, (left - 4, top - 4), (right + 3, bottom + 3), colour, thickness)
    return place_labels(picture, taken, list(placed), list(placed.values()), font_size=round(max_side / 25))


def contact_sheet(tiles: Sequence[UInt8Array]) -> UInt8Array:
    """Contact sheet: pictures of one size, uint8 (h, w, 3), in rows of two, on grey."""
    height, width = tiles[0].shape[:2]
    rows = (len(tiles) + 1) // 2
    page = np.full((rows * (height + GAP) - GAP, 2 * width + GAP, 3), GREY, np.uint8)
    for number, tile in enumerate(tiles):
        top, left = number // 2 * (height + GAP), number % 2 * (width + GAP)
        page[top : top + height, left : left + width] = tile
    return page


def draw_trajectory(picture: UInt8Array, middles: npt.NDArray[np.float64]) -> bool:
    """Draw a trajectory from a dot to an arrow tip, in place; False, with nothing drawn, where nothing moved.

    Parameters
    ----------
    picture : uint8 (h, w, 3), modified.
    middles : (n, 2), x and y in its pixels, in the order of time.
    """
    import cv2

    if len(middles) < 2 or np.ptp(middles, axis=0).max() < GAP:
        return False
    points = middles.round().astype(np.int32)
    end = middles[-1]
    # The direction of the tip is that of the last `GAP` pixels, not of the jitter of the last boxes.
    back = next((end - point for point in middles[::-1] if np.hypot(*(end - point)) >= GAP), end - middles[0])
    behind = end - back / max(float(np.hypot(*back)), 1.0) * GAP
    for thickness, colour in ((4, HALO_COLOUR), (2, LINE_COLOUR)):
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


CONTACT_SHEET_FRAMES = 4
CONTACT_SHEET_TILE_SIDE = (OVERVIEW_SIDE - GAP) // 2
"""Longer side of each tile of the contact sheet, pixels."""

_TIME_TOLERANCE = 0.002  # seconds; times of events are rounded to milliseconds
_MAX_FRAME_OFFSET = 0.5  # seconds; a later frame may show something else
_FLOW_SECONDS = 0.2  # seconds between the two frames of the optical flow
_FLOW_BLACK, _FLOW_YELLOW = 0.5, 4.0  # flow in pixels at the ends of the colour scale; the upper end may rise


@dataclass(frozen=True, eq=False)
class EventViews:
    """The pictures of an event for a prompt; None where there is no object or no earlier frame.

    Parameters
    ----------
    key : the frame at the peak, with its objects outlined.
    close : the leading object with its surroundings.
    moments : contact sheet of one place at four times.
    motion : optical flow at the peak, with trajectories.
    """

    key: View
    close: View | None = None
    moments: View | None = None
    motion: View | None = None

    @property
    def all(self) -> tuple[View, ...]:
        """Every view there is, the key frame first."""
        return tuple(view for view in (self.key, self.close, self.moments, self.motion) if view is not None)

    @property
    def contexts(self) -> tuple[View, ...]:
        """The views that a watch item is asked over, one by one: object, key frame, contact sheet."""
        return tuple(view for view in (self.close, self.key, self.moments) if view is not None)


def make_event_views(video: Video, event: Event) -> EventViews:
    """Make the views of an event; decodes at most six frames, however long the event is.

    Parameters
    ----------
    video : that the times and boxes of the event refer to. For a live stream it must buffer the last seconds,
        because past frames can't be received again.
    event : with boxes of its tracks, a box of its own, or none.

    Raises
    ------
    MediaError : the frame at the peak can't be read again.
    """
    peak = _frame_at(video, event.peak)
    if peak is None:
        raise MediaError(f"The frame of {event.id} at {event.peak:.1f} s can't be read again.")
    pixels = _at_video_size(peak, video)
    marked = _boxes_at_peak(event)
    shown = f", with {', '.join(marked)} outlined" if marked else ""
    key = View(draw_boxes(pixels, marked, OVERVIEW_SIDE), f"The frame at {event.peak:.1f} s{shown}.")
    close = None
    if marked:
        name, box = next(iter(marked.items()))
        window = crop_window(box, video.size)
        if window != (0, 0, video.size[1], video.size[0]):
            close = View(
                thumbnail(_crop(pixels, window), max_side=CLOSE_UP_SIDE), f"{name} at that moment, closer."
            )
    return EventViews(key, close, _contact_sheet_view(video, event), _motion_view(video, event, peak))


def _frame_at(video: Video, time: float) -> Frame | None:
    """The first frame at or shortly after a time; None where there is none within `_MAX_FRAME_OFFSET`."""
    return next(iter(video.frames(max(0.0, time - _TIME_TOLERANCE), time + _MAX_FRAME_OFFSET)), None)


def _at_video_size(frame: Frame, video: Video) -> UInt8Array:
    """The pixels of a frame at the size that boxes refer to; a video may change its resolution."""
    import cv2

    height, width = video.size
    if frame.pixels.shape[:2] == (height, width):
        return frame.pixels
    resized: UInt8Array = cv2.resize(frame.pixels, (width, height), interpolation=cv2.INTER_AREA)
    return resized


def _boxes_at_peak(event: Event) -> dict[str, Box]:
    """Boxes to outline at the peak: of the tracks present then, or else the event's own."""
    boxes = {track.id: _box_at(track, event.peak) for track in event.tracks}
    there = {name: box for name, box in boxes.items() if box is not None}
    return there or ({} if event.box is None else {event.id: event.box})


def _box_at(track: Track, time: float) -> Box | None:
    """The box of a track at a time, or shortly before or after; None where it is absent."""
    near = min(track.path, key=lambda step: abs(step[0] - time), default=None)
    return near[1] if near is not None and abs(near[0] - time) < _MAX_FRAME_OFFSET else None


def _contact_sheet_view(video: Video, event: Event) -> View | None:
    """Contact sheet of the area that the leading object crosses, or else of the whole frame."""
    start, end = event.start, event.end
    boxes = [event.box] if event.box is not None and not event.tracks else []
    if event.tracks:
        lead = event.tracks[0]
        if lead.start < end and lead.end > start:
            start, end = max(start, lead.start), min(end, lead.end)
        boxes = [box for time, box in lead.path if start <= time <= end]
    frames = [_frame_at(video, time) for time in np.linspace(start, end, CONTACT_SHEET_FRAMES).tolist()]
    there = list({frame.index: frame for frame in frames if frame is not None}.values())
    if len(there) < 2:
        return None
    height, width = video.size
    window = crop_window(_bounding_box(boxes), video.size) if boxes else (0, 0, width, height)
    tiles = [
        thumbnail(_crop(_at_video_size(frame, video), window), max_side=CONTACT_SHEET_TILE_SIDE)
        for frame in there
    ]
    times = ", ".join(f"{frame.time:.1f} s" for frame in there)
    return View(contact_sheet(tiles), f"One place at {times}, in reading order.")


def _bounding_box(boxes: Sequence[Box]) -> Box:
    """The smallest box that contains all boxes."""
    x0, y0, x1, y1 = zip(*boxes, strict=True)
    return min(x0), min(y0), max(x1), max(y1)


def _motion_view(video: Video, event: Event, peak: Frame) -> View | None:
    """Magnitude of the optical flow at the peak as a heat map over the grey frame, with trajectories."""
    import cv2

    before = _frame_at(video, max(0.0, peak.time - _FLOW_SECONDS))
    if before is None or before.index >= peak.index:
        return None
    small, earlier = (
        thumbnail(_at_video_size(frame, video), max_side=CLOSE_UP_SIDE) for frame in (peak, before)
    )
    now, then = (cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (small, earlier))
    # Flow from the peak back in time, so that it is aligned with the frame at the peak.
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST).calc(now, then, None)
    speed = np.hypot(flow[..., 0], flow[..., 1]).astype(np.float32)
    high = max(_FLOW_YELLOW, float(np.quantile(speed, 0.995)))
    picture = heatmap(small, speed, _FLOW_BLACK, high, max_side=CLOSE_UP_SIDE)
    named = [track.id for track in event.tracks if _draw_track(picture, track, event, video.size)]
    ways = f"; the lines are the ways of {', '.join(named)}, from the dot to the tip" if named else ""
    return View(picture, f"What moves at {peak.time:.1f} s, the faster the brighter{ways}.")


def _draw_track(picture: UInt8Array, track: Track, event: Event, size: tuple[int, int]) -> bool:
    """Draw the trajectory of a track during the event; False where it did not move."""
    height, width = picture.shape[:2]
    scale = np.array([width / size[1], height / size[0]])
    steps = [
        box
        for time, box in track.path
        if event.start - _MAX_FRAME_OFFSET <= time <= event.end + _MAX_FRAME_OFFSET
    ]
    middles = np.array([((x0 + x1) / 2, (y0 + y1) / 2) for x0, y0, x1, y1 in steps]).reshape(-1, 2)
    return draw_trajectory(picture, middles * scale)
