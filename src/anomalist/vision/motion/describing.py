"""Footage in words, normal or not: what each second of it shows, from what was measured alone.

The words are those of the captions of events. So rules and memories that were made from captions of normal
footage can be held against events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from anomalist.clips import Track
from anomalist.types import Frozen
from anomalist.vision.motion.captions import place_of, place_words, size_word
from anomalist.vision.motion.eye import SLOWEST
from anomalist.vision.motion.scene import Scene
from anomalist.vision.motion.tracked import track_of
from anomalist.vision.motion.watching import Watcher
from anomalist.vision.motion.zones import Zone
from anomalist.vision.video.frames import Frame

EVERY = 1.0
"""Seconds that one caption is about."""

_LEAST = 0.8  # seconds that an object was followed: what is shorter is a flicker
_SLOW, _FAST, _VERY_FAST = 0.5, 1.5, 2.5  # times the usual speed
_NOTHING = "Nothing is moving."


class Described(Frozen):
    """What a stretch of footage shows."""

    start: float
    end: float
    text: str


def described(
    frames: Iterable[Frame],
    scene: Scene,
    size: tuple[int, int],
    *,
    zones: Sequence[Zone] | None = None,
    every: float = EVERY,
    seen: Callable[[float], None] = lambda _: None,
) -> Iterator[Described]:
    """Put footage of a scene into words, one caption for each ``every`` seconds that could be judged.

    Parameters
    ----------
    frames : of one clip, in order.
    size : (height, width) of the frames, pixels.
    zones : drawn by a person; None takes those of the scene.
    seen : is told the time of each frame.
    """
    watcher = Watcher(scene, zones)
    height, width = scene.learned.background.grey.shape
    scale = size[1] / width, size[0] / height
    slowest = SLOWEST * scene.manifest.perspective.middle
    start: float | None = None
    for moment in watcher.watching(frames):
        seen(moment.time)
        if not moment.judged or moment.cut:
            start = None
            continue
        start = moment.time if start is None else start
        if moment.time - start < every * 0.999:
            continue
        tracks = [
            track_of(trail, scene, scale, moment.time, slowest)
            for trail in watcher.followed
            if trail.end > start and trail.end - trail.start >= _LEAST
        ]
        yield Described(start=round(start, 3), end=round(moment.time, 3), text=in_words(tracks, size))
        start = moment.time


def in_words(tracks: Sequence[Track], size: tuple[int, int]) -> str:
    """Objects in one caption, a sentence for each.

    Parameters
    ----------
    size : (height, width) of the frames, pixels.
    """
    if not tracks:
        return _NOTHING
    return " ".join(sentence_of(track, size) for track in tracks)


def sentence_of(track: Track, size: tuple[int, int]) -> str:
    """What one object does, and where it was last: "A large object moves from left to right, fast, …"."""
    subject = f"A {word}object" if (word := size_word(track)) else "An object"
    if not track.direction:
        action = "moves a little" if track.speed_ratio >= _SLOW else "hardly moves"
    else:
        action = f"moves {track.direction} {pace_words(track.speed_ratio)}"
    return f"{subject} {action} {place_words(place_of(track.path[-1][1], size))}."


def pace_words(ratio: float) -> str:
    """A speed by the usual one, in words that are the same for what is alike."""
    if ratio < _SLOW:
        return "slowly"
    if ratio < _FAST:
        return "at the usual speed"
    return "fast" if ratio < _VERY_FAST else "very fast"
