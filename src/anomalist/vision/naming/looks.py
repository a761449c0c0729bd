"""Looks at tracked objects: a few frames of each track, and who names it by them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from anomalist.types.clip import Event, ObjectName, Track
from anomalist.types.common import Box, UInt8Array
from anomalist.vision.media.frames import Video

LOOKS = 5
"""Frames of a track that are looked at, at most."""
MIN_LOOK_SIDE = 32
"""Longer side of an object in pixels, below which too little of it is seen."""
MAX_NAME_LENGTH = 40
"""Characters of a class name at most: it stands in sentences."""

_CROP_MARGIN = 0.1  # around an object, of its longer side
_MAX_TIME_DIFFERENCE = 0.25  # seconds between a box and the frame that is shown for it
_TIME_TOLERANCE = 0.002  # seconds; times of tracks are rounded to milliseconds


@dataclass(frozen=True, eq=False)
class Look:
    """One look at a tracked object.

    Parameters
    ----------
    time : of its frame, seconds.
    pixels : uint8 (H, W, 3), the whole frame, in whose pixels the box is.
    box : of the object.
    """

    time: float
    pixels: UInt8Array
    box: Box

    @property
    def side(self) -> int:
        """Longer side of the object, pixels."""
        return max(self.box[2] - self.box[0], self.box[3] - self.box[1])

    def crop(self) -> UInt8Array:
        """The object with a narrow margin, uint8 (h, w, 3)."""
        margin = round(_CROP_MARGIN * self.side)
        (height, width), (x0, y0, x1, y1) = self.pixels.shape[:2], self.box
        return np.ascontiguousarray(
            self.pixels[
                max(y0 - margin, 0) : min(y1 + margin, height), max(x0 - margin, 0) : min(x1 + margin, width)
            ]
        )


class ObjectNamer(Protocol):
    """Says what a tracked object is, by looks at it."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Every name that it may give."""
        ...

    @property
    def digest(self) -> str:
        """Hex digest of all that its names depend on."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know beforehand."""
        ...

    def name(self, track: str, looks: Sequence[Look]) -> tuple[ObjectName, ...]:
        """Name the object of a track, whose id is given, by one look or more; never forced."""
        ...


def name_tracks(video: Video, event: Event, namers: Sequence[ObjectNamer]) -> tuple[ObjectName, ...]:
    """Name the objects of an event's tracks.

    Parameters
    ----------
    video : that the times and boxes of the event refer to; a live stream must have buffered them.
    event : with its tracks, the leading one first.
    namers : asked one after another, about each track.

    Raises MediaError when the video can't be read again.
    """
    frames: dict[int, UInt8Array] = {}
    found: list[ObjectName] = []
    for track in event.tracks:
        looks = tuple(_looks(video, event, track, frames))
        for namer in namers if looks else ():
            found += namer.name(track.id, looks)
    return tuple(found)


def _looks(video: Video, event: Event, track: Track, frames: dict[int, UInt8Array]) -> Iterator[Look]:
    """Look at a track; ``frames`` keeps those that were read, so that one frame is one array."""
    for time, box in _chosen_places(event, track, video.size):
        wanted = video.frames(max(0.0, time - _TIME_TOLERANCE), time + _MAX_TIME_DIFFERENCE)
        frame = next(iter(wanted), None)
        if frame is not None and frame.pixels.shape[:2] == video.size:
            yield Look(frame.time, frames.setdefault(frame.index, frame.pixels), box)


def _chosen_places(event: Event, track: Track, size: tuple[int, int]) -> list[tuple[float, Box]]:
    """Times and boxes of a track to look at, spread over the event; whole objects where there are any."""
    height, width = size
    inside = [step for step in track.path if event.start <= step[0] <= event.end] or list(track.path)
    clipped = [
        (time, (max(x0, 0), max(y0, 0), min(x1, width), min(y1, height))) for time, (x0, y0, x1, y1) in inside
    ]
    whole = [
        (time, (x0, y0, x1, y1))
        for time, (x0, y0, x1, y1) in clipped
        if x0 > 0 and y0 > 0 and x1 < width and y1 < height
    ]
    usable = [(time, box) for time, box in whole or clipped if box[0] < box[2] and box[1] < box[3]]
    if not usable:
        return []
    spread = np.linspace(0, len(usable) - 1, min(LOOKS, len(usable))).round().astype(int)
    return [usable[place] for place in dict.fromkeys(spread.tolist())]


def agreed_name(named: Sequence[str | None]) -> tuple[str | None, int] | None:
    """The name that more than half of the looks give, None being one, and how many; None where none is."""
    name, count = Counter(named).most_common(1)[0]
    return (name, count) if 2 * count > len(named) else None


def quote_votes(named: Sequence[str | None], nothing: str) -> str:
    """What the looks say, in words: ``bicycle 2, forklift 2, nothing 1``."""
    return ", ".join(f"{name or nothing} {count}" for name, count in Counter(named).most_common())
