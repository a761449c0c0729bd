"""Template captions of tracks, events and footage, from measurements alone.

Normal footage is captioned in the same words as events, so that rules and memories made from its captions can
be compared with events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from anomalist.types.clip import Caption, MeasureName, Track
from anomalist.types.common import Box, Frozen
from anomalist.vision.attributes import POSITIONS
from anomalist.vision.media.frames import Video
from anomalist.vision.motion.extractor import MIN_SPEED
from anomalist.vision.motion.modes import choose_mode
from anomalist.vision.motion.pacing import ANALYSIS_RATE
from anomalist.vision.motion.scene import Scene, Zone
from anomalist.vision.motion.scoring import FrameScorer
from anomalist.vision.motion.tracks import TrackedObject

_BODY_FILL = 0.7  # share of its box that a body fills
_MIN_PATH_LENGTH = 0.5  # body heights: shorter paths have no direction
_DIAGONAL_RATIO = 0.5  # shorter by longer component of a path from which both are named


def track_record(
    tracked_object: TrackedObject, scene: Scene, scale: tuple[float, float], around: float, min_speed: float
) -> Track:
    """The stored record of a tracked object.

    Parameters
    ----------
    scale : (x, y) from working pixels to pixels of the frames.
    around : seconds; the part of the path around this time without a stop is taken.
    min_speed : working pixels a second that count as moving.
    """
    first, last = _moving_section(tracked_object, around, min_speed)
    path = tracked_object.path[first : last + 1]
    speeds = np.array(tracked_object.speeds[first : last + 1])
    areas = np.array(tracked_object.areas[first : last + 1])
    middle = [((b[0] + b[2]) / 2, (b[1] + b[3]) / 2) for _, b in path]
    perspective = scene.manifest.perspective
    paces = tracked_object.paces[first : last + 1]
    bodies = perspective.heights(np.array([y for _, y in middle]))
    usual_area = _BODY_FILL * perspective.aspect * bodies**2
    return Track(
        id=f"T{tracked_object.number}",
        start=round(path[0][0], 3),
        end=round(tracked_object.end if last == len(tracked_object.path) - 1 else path[-1][0], 3),
        path=tuple((round(time, 3), scale_box(box, scale)) for time, box in path),
        speed=round(float(np.median(speeds)) * (scale[0] + scale[1]) / 2, 2),
        speed_ratio=round(float(np.median(paces)), 2),
        height=round(float(np.median([b[3] - b[1] for _, b in path])) * scale[1], 1),
        size_ratio=round(float(np.median(areas / usual_area)), 2),
        direction=direction_words(middle[0], middle[-1], _MIN_PATH_LENGTH * float(np.median(bodies))),
    )


def scale_box(box: Box, scale: tuple[float, float]) -> Box:
    """Scale a box, for example from working pixels to pixels of the frames, and round it."""
    x, y = scale
    return round(box[0] * x), round(box[1] * y), round(box[2] * x), round(box[3] * y)


def direction_words(start: tuple[float, float], end: tuple[float, float], least: float) -> str:
    """The direction from one point to another in words; "" when they are nearer than ``least``."""
    right, down = end[0] - start[0], end[1] - start[1]
    if np.hypot(right, down) < least:
        return ""
    longer = max(abs(right), abs(down))
    words = []
    if abs(right) >= _DIAGONAL_RATIO * longer:
        words.append("from left to right" if right > 0 else "from right to left")
    if abs(down) >= _DIAGONAL_RATIO * longer:
        words.append("towards the camera" if down > 0 else "away from the camera")
    return ", ".join(words)


def _moving_section(tracked_object: TrackedObject, around: float, min_speed: float) -> tuple[int, int]:
    """First and last index of the path around a time without a stop; the whole path if it stands then."""
    times = np.array([time for time, _ in tracked_object.path])
    moving = np.array(tracked_object.speeds) > min_speed
    middle = int(np.abs(times - around).argmin())
    if not moving[middle]:
        return 0, len(times) - 1
    stops = np.flatnonzero(~moving)
    before, after = stops[stops < middle], stops[stops > middle]
    first = int(before[-1]) + 1 if len(before) else 0
    return first, int(after[0]) - 1 if len(after) else len(times) - 1


OBJECT = "object"
"""What a caption calls a thing that has no name."""

_LARGE_RATIO, _SMALL_RATIO = 1.8, 0.5  # times the area of a usual body
_FAST_EVENT = 1.5  # times the usual speed

MEASURE_UNITS: Mapping[MeasureName, str] = {
    "speed": "of the limit there",
    "size": "of the limit there",
    "direction": "−log10 of its share there",
    "place": "−log10 of the share of time",
    "dwell": "s",
    "appearance": "1 − cosine to what usually moves here",
    "crowding": "of the picture",
    "stillness": "−log10 of the share that moves",
    "dispersal": "of the speed limit, outwards",
    "forbidden zone": "",
    "activity": "body heights a second",
}
"""Unit of each measure; a limit is a high quantile of normal footage at that place."""

_PLACE_PHRASES = {
    "top": "at the top",
    "bottom": "at the bottom",
    "left": "on the left",
    "right": "on the right",
}


@dataclass(frozen=True)
class CaptionFacts:
    """The facts that an event's caption states.

    Parameters
    ----------
    kind : the measure that stands out.
    value, usual : of that measure at the peak in its own unit, and its limit.
    track : the object most involved, if there is one.
    box, size : where it was, and (height, width) of the frames, pixels.
    zones : names of the zones that it is in.
    start, end : seconds.
    """

    kind: MeasureName
    value: float
    usual: float | None
    track: Track | None
    box: Box | None
    size: tuple[int, int]
    zones: tuple[str, ...]
    start: float
    end: float


def caption_of(facts: CaptionFacts) -> Caption:
    """Caption an event by a template."""
    subject, where = _subject(facts), _where(facts)
    action = _action(facts)
    lasting = f"{facts.end - facts.start:.1f} s"
    text = f"{subject} {action}{f' {where}' if where else ''}, for {lasting}"
    return Caption(
        text=f"{text[:1].upper()}{text[1:]}.",
        subject=subject,
        action=action,
        scene=", ".join(facts.zones),
        when=f"{facts.start:.1f} s to {facts.end:.1f} s",
        where=where,
    )


def name_subject(caption: Caption, name: str) -> Caption:
    """The caption with its object called by a name; unchanged where it is about no single object."""
    lead, noun = caption.subject[: -len(OBJECT)], caption.subject[-len(OBJECT) :]
    if noun != OBJECT or not caption.text[1:].startswith(caption.subject[1:]):
        return caption
    words = f"{lead.partition(' ')[2]}{name}"
    subject = f"{'an' if words[0].lower() in 'aeiou' else 'a'} {words}"
    text = f"{subject[0].upper()}{subject[1:]}{caption.text[len(caption.subject) :]}"
    return caption.replace(subject=subject, text=text)


def size_word(track: Track) -> str:
    """ "large ", "small " or "", by the area of a usual body at that place."""
    return (
        "large " if track.size_ratio >= _LARGE_RATIO else "small " if track.size_ratio <= _SMALL_RATIO else ""
    )


def place_of(box: Box, size: tuple[int, int]) -> str:
    """Name of the cell of the 3×3 grid over the picture that holds the centre of a box."""
    height, width = size
    row = min(max(int(3 * (box[1] + box[3]) / 2 / height), 0), 2)
    column = min(max(int(3 * (box[0] + box[2]) / 2 / width), 0), 2)
    return POSITIONS[row][column]


def place_words(place: str) -> str:
    """Phrase for a cell of the grid: "on the left", "in the upper right"."""
    return _PLACE_PHRASES.get(place, f"in the {place}")


def _subject(facts: CaptionFacts) -> str:
    if facts.kind == "crowding":
        return "a crowd"
    if facts.kind == "stillness":
        return "the whole scene"
    if facts.kind == "dispersal":
        return "everybody"
    if facts.track is None:
        return "something"
    fast = "fast, " if facts.kind != "dwell" and facts.track.speed_ratio >= _FAST_EVENT else ""
    size = size_word(facts.track)
    words = f"{fast}{size}{OBJECT}" if size else f"{fast.rstrip(', ')} {OBJECT}".strip()
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _where(facts: CaptionFacts) -> str:
    if facts.kind in ("crowding", "stillness", "dispersal"):
        return ""
    parts = []
    if facts.box is not None:
        parts.append(place_words(place_of(facts.box, facts.size)))
    parts.extend(f'in the zone "{name}"' for name in facts.zones)
    return ", ".join(parts)


def _action(facts: CaptionFacts) -> str:
    direction = facts.track.direction if facts.track and facts.track.direction else ""
    moves = f"moves {direction}" if direction else "moves"
    if facts.kind == "speed":
        ratio = facts.track.speed_ratio if facts.track else 0.0
        pace = f"at {ratio:.1f} times the usual speed" if ratio >= _FAST_EVENT else "fast for this place"
        return f"{moves} {pace}"
    if facts.kind == "size":
        return f"takes up {facts.value:.1f} times the room that is hardly ever exceeded there"
    if facts.kind == "direction":
        return f"{moves}, which only {_share_words(facts.value)} of what passes there does,"
    if facts.kind == "place":
        return (
            f"{moves if direction else 'is'} where something is only {_share_words(facts.value)} of the time"
        )
    return _static_action(facts)


def _static_action(facts: CaptionFacts) -> str:
    if facts.kind == "dwell":
        return f"has been standing still for {facts.value:.0f} s where things usually move on"
    if facts.kind == "appearance":
        return "looks unlike anything that usually moves here"
    if facts.kind == "forbidden zone":
        return "enters a forbidden zone"
    if facts.kind == "crowding":
        return f"fills {facts.value:.0%} of the picture, far more than usual"
    if facts.kind == "stillness":
        return "is still where there is usually movement"
    return "moves away from one place at once"


def _share_words(rarity: float) -> str:
    """Share in words from its −log10: "2 %", "1 in 500"."""
    share = 10**-rarity
    return f"{share:.0%}" if share >= 0.01 else f"1 in {float(f'{1 / share:.1g}'):,.0f}"


CAPTION_INTERVAL = 1.0
"""Seconds of footage that one caption covers."""

_MIN_TRACK_SECONDS = 0.8  # shorter tracks are flicker
_SLOW_PACE, _FAST_PACE, _VERY_FAST_PACE = 0.5, 1.5, 2.5  # times the usual speed
_NO_MOTION = "Nothing is moving."


class SegmentCaption(Frozen):
    """Caption of a segment of footage; start and end in seconds."""

    start: float
    end: float
    text: str


def caption_footage(
    video: Video,
    scene: Scene,
    *,
    zones: Sequence[Zone] | None = None,
    every: float = CAPTION_INTERVAL,
    on_frame: Callable[[float], None] = lambda _: None,
) -> Iterator[SegmentCaption]:
    """Caption footage of a scene by templates, once for each ``every`` seconds that could be judged.

    Parameters
    ----------
    video : one clip; it is captioned by the mode of the scene that it belongs to.
    zones : drawn by a person; None takes those of the scene.
    on_frame : called with the time of each frame.

    Raises MediaError where it can't be read.
    """
    scene, size = choose_mode(scene, video), video.size
    scorer = FrameScorer(scene, zones)
    height, width = scene.learned.background.grey.shape
    scale = size[1] / width, size[0] / height
    min_speed = MIN_SPEED * scene.manifest.perspective.middle
    start: float | None = None
    for frame_score in scorer.score_all(video.frames(rate=ANALYSIS_RATE)):
        on_frame(frame_score.time)
        if not frame_score.judged or frame_score.cut:
            start = None
            continue
        start = frame_score.time if start is None else start
        if frame_score.time - start < every * 0.999:
            continue
        tracks = [
            track_record(tracked_object, scene, scale, frame_score.time, min_speed)
            for tracked_object in scorer.tracked_objects
            if tracked_object.end > start and tracked_object.end - tracked_object.start >= _MIN_TRACK_SECONDS
        ]
        yield SegmentCaption(
            start=round(start, 3), end=round(frame_score.time, 3), text=caption_tracks(tracks, size)
        )
        start = frame_score.time


def caption_tracks(tracks: Sequence[Track], size: tuple[int, int]) -> str:
    """Caption several tracks, a sentence for each.

    Parameters
    ----------
    size : (height, width) of the frames, pixels.
    """
    if not tracks:
        return _NO_MOTION
    return " ".join(track_sentence(track, size) for track in tracks)


def track_sentence(track: Track, size: tuple[int, int]) -> str:
    """What one object does, and where it was last: "A large object moves from left to right fast …"."""
    subject = f"A {word}object" if (word := size_word(track)) else "An object"
    if not track.direction:
        action = "moves a little" if track.speed_ratio >= _SLOW_PACE else "hardly moves"
    else:
        action = f"moves {track.direction} {pace_words(track.speed_ratio)}"
    return f"{subject} {action} {place_words(place_of(track.path[-1][1], size))}."


def pace_words(ratio: float) -> str:
    """Word for a speed relative to the usual one."""
    if ratio < _SLOW_PACE:
        return "slowly"
    if ratio < _FAST_PACE:
        return "at the usual speed"
    return "fast" if ratio < _VERY_FAST_PACE else "very fast"
