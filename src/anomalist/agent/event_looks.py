"""The pictures of an event that a model is shown: the key frame, the object closer, four moments, the motion.

The first three are the contexts of AnyAnomaly; motion as a picture of its own is the idea of Hawk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anomalist.agent.event_drawing import draw_way, outlined, sheet
from anomalist.agent.looks import CLOSE, GAP, WHOLE, View
from anomalist.clips import Event, Track
from anomalist.errors import MediaError
from anomalist.types import Box, UInt8Array
from anomalist.vision.drawing import heat, thumbnail
from anomalist.vision.normals import window_around
from anomalist.vision.video.frames import Frame, Video

MOMENTS = 4
TILE = (WHOLE - GAP) // 2
"""Longer side of each of the four moments, pixels."""

_ROUNDED = 0.002  # seconds: times of events are rounded to thousandths
_LATE = 0.5  # seconds: a frame that comes later than this shows something else
_SPAN = 0.2  # seconds over which motion is shown
_QUIET, _BRISK = 0.5, 4.0  # pixels of the motion picture in that time: black, and at least this is yellow


@dataclass(frozen=True, eq=False)
class EventLooks:
    """What is shown of an event; None where there is no object or no earlier frame.

    Parameters
    ----------
    key : the frame at the peak, outlined.
    close : the leading object with its surroundings.
    moments : one place at four times.
    motion : what moved at the peak, and the ways of the objects.
    """

    key: View
    close: View | None = None
    moments: View | None = None
    motion: View | None = None

    @property
    def all(self) -> tuple[View, ...]:
        """Every picture there is, the whole first."""
        return tuple(view for view in (self.key, self.close, self.moments, self.motion) if view is not None)

    @property
    def contexts(self) -> tuple[View, ...]:
        """What is asked about one by one: the object, the whole, the moments."""
        return tuple(view for view in (self.close, self.key, self.moments) if view is not None)


def look_at(video: Video, event: Event) -> EventLooks:
    """Make the pictures of an event; reads six frames at most, however long it is.

    Parameters
    ----------
    video : whose times and pixels the event is given in. Of a live stream it has to be one that holds the
        last seconds, as what is past can't be received again.
    event : with the boxes of its tracks, or one of its own, or none.

    Raises
    ------
    MediaError : its frames can't be read again.
    """
    peak = _frame(video, event.peak)
    if peak is None:
        raise MediaError(f"The frame of {event.id} at {event.peak:.1f} s can't be read again.")
    pixels = _fitting(peak, video)
    marked = _marked(event)
    shown = f", with {', '.join(marked)} outlined" if marked else ""
    key = View(outlined(pixels, marked, WHOLE), f"The frame at {event.peak:.1f} s{shown}.")
    close = None
    if marked:
        name, box = next(iter(marked.items()))
        window = window_around(box, video.size)
        if window != (0, 0, video.size[1], video.size[0]):
            close = View(thumbnail(_cut(pixels, window), max_side=CLOSE), f"{name} at that moment, closer.")
    return EventLooks(key, close, _moments(video, event), _motion(video, event, peak))


def _frame(video: Video, time: float) -> Frame | None:
    """The first frame at a time, or soon after it."""
    return next(iter(video.frames(max(0.0, time - _ROUNDED), time + _LATE)), None)


def _fitting(frame: Frame, video: Video) -> UInt8Array:
    """The pixels of a frame at the size that boxes refer to: a video may change it on the way."""
    import cv2

    height, width = video.size
    if frame.pixels.shape[:2] == (height, width):
        return frame.pixels
    resized: UInt8Array = cv2.resize(frame.pixels, (width, height), interpolation=cv2.INTER_AREA)
    return resized


def _marked(event: Event) -> dict[str, Box]:
    """What is outlined at the peak: the tracks that are there, or else the event's own box."""
    boxes = {track.id: _box_at(track, event.peak) for track in event.tracks}
    there = {name: box for name, box in boxes.items() if box is not None}
    return there or ({} if event.box is None else {event.id: event.box})


def _box_at(track: Track, time: float) -> Box | None:
    """Where a track is at a time, or shortly before or after."""
    near = min(track.path, key=lambda step: abs(step[0] - time), default=None)
    return near[1] if near is not None and abs(near[0] - time) < _LATE else None


def _moments(video: Video, event: Event) -> View | None:
    """Four moments of one place: the one that the leading object passes, or else the whole picture."""
    start, end = event.start, event.end
    boxes = [event.box] if event.box is not None and not event.tracks else []
    if event.tracks:
        lead = event.tracks[0]
        if lead.start < end and lead.end > start:
            start, end = max(start, lead.start), min(end, lead.end)
        boxes = [box for time, box in lead.path if start <= time <= end]
    frames = [_frame(video, time) for time in np.linspace(start, end, MOMENTS).tolist()]
    there = list({frame.index: frame for frame in frames if frame is not None}.values())
    if len(there) < 2:
        return None
    height, width = video.size
    window = window_around(_around(boxes), video.size) if boxes else (0, 0, width, height)
    tiles = [thumbnail(_cut(_fitting(frame, video), window), max_side=TILE) for frame in there]
    times = ", ".join(f"{frame.time:.1f} s" for frame in there)
    return View(sheet(tiles), f"One place at {times}, in reading order.")


def _around(boxes: Sequence[Box]) -> Box:
    """The smallest box around some."""
    x0, y0, x1, y1 = zip(*boxes, strict=True)
    return min(x0), min(y0), max(x1), max(y1)


def _motion(video: Video, event: Event, peak: Frame) -> View | None:
    """How fast everything moves at the peak, as heat over the grey frame, with the ways of the tracks."""
    import cv2

    before = _frame(video, max(0.0, peak.time - _SPAN))
    if before is None or before.index >= peak.index:
        return None
    small, earlier = (thumbnail(_fitting(frame, video), max_side=CLOSE) for frame in (peak, before))
    now, then = (cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (small, earlier))
    # Backwards, so that the motion lies where things are at the peak.
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST).calc(now, then, None)
    speed = np.hypot(flow[..., 0], flow[..., 1]).astype(np.float32)
    high = max(_BRISK, float(np.quantile(speed, 0.995)))
    picture = heat(small, speed, _QUIET, high, max_side=CLOSE)
    named = [track.id for track in event.tracks if _draw_way(picture, track, event, video.size)]
    ways = f"; the lines are the ways of {', '.join(named)}, from the dot to the tip" if named else ""
    return View(picture, f"What moves at {peak.time:.1f} s, the faster the brighter{ways}.")


def _draw_way(picture: UInt8Array, track: Track, event: Event, size: tuple[int, int]) -> bool:
    """Draw where a track went during the event; False where it did not move."""
    height, width = picture.shape[:2]
    scale = np.array([width / size[1], height / size[0]])
    steps = [box for time, box in track.path if event.start - _LATE <= time <= event.end + _LATE]
    middles = np.array([((x0 + x1) / 2, (y0 + y1) / 2) for x0, y0, x1, y1 in steps]).reshape(-1, 2)
    return draw_way(picture, middles * scale)


def _cut(pixels: UInt8Array, window: Box) -> UInt8Array:
    x0, y0, x1, y1 = window
    return np.ascontiguousarray(pixels[y0:y1, x0:x1])
