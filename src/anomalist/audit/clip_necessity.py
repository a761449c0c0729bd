"""Necessity for clips: whether an event is still there once the tracks that it cites are taken out.

The boxes of a track are filled with what the clip shows there without it, and the clip is triaged again. A
track that nothing cites is the control.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from anomalist.audit.normal_patches import blended
from anomalist.errors import DataError
from anomalist.types.clip import ClipRecord, Event
from anomalist.types.common import BoolArray, Box, FloatArray, Label, UInt8Array
from anomalist.vision.media.frames import DerivedVideo, Frame, Video
from anomalist.vision.media.video import open_video
from anomalist.vision.motion.captions import scale_box
from anomalist.vision.motion.clip_tracks import MIN_TRACK_SECONDS, followed_objects
from anomalist.vision.motion.modes import choose_mode
from anomalist.vision.motion.scene import Scene
from anomalist.vision.weak_places import grown

if TYPE_CHECKING:
    from anomalist.audit.reading import LogEntry
    from anomalist.audit.replay import Replayer
    from anomalist.triage import Triage

MAX_EVENTS = 3
"""Events of a clip whose reasons are tested, those with the highest scores."""
HOW = "A track is taken out by filling its boxes with what the clip shows there without it."
"""How a track is taken out, as it is said beside the results."""

_STILLS = 41  # pictures of a clip that its background is made of
_BEFORE = 0.5  # seconds before and after a track in which its object may be in the picture, too
_SAME_SECONDS = 0.5  # between the ends of an event that is the same again

Path = tuple[tuple[float, Box], ...]
"""(seconds, box) of one track, in order, pixels of the frames."""


@dataclass(frozen=True)
class ClipTrial:
    """Tracks taken out of a clip, and what came of it.

    Parameters
    ----------
    what : "Without T1 (E1)", in words.
    event : id of the event that it is about; "" where it is about all of them.
    score : highest score of the clip in the time of that event; None where nothing was judged.
    label, left : of the changed clip: its verdict, and the kinds of its events.
    remains : whether an event is still there at that time and place.
    cited : ids of the tracks that were taken out; none of a control.
    control : whether it was a track that nothing cites.
    """

    what: str
    event: str
    score: float | None
    label: Label | None
    left: tuple[str, ...]
    remains: bool
    cited: tuple[str, ...] = ()
    control: bool = False


@dataclass(frozen=True)
class ClipReasons:
    """What the verdict on a clip needs.

    Parameters
    ----------
    before : the events as they are, one trial each.
    trials : tracks taken out, and controls.
    notes : what could not be tested, and why.
    how : tracks are taken out.
    """

    before: tuple[ClipTrial, ...]
    trials: tuple[ClipTrial, ...]
    notes: tuple[str, ...]
    how: str = HOW

    @property
    def needed(self) -> tuple[str, ...]:
        """Events that are gone without the tracks that they cite."""
        gone = {trial.event for trial in self.trials if trial.cited and trial.event and not trial.remains}
        return tuple(each.event for each in self.before if each.event in gone)

    @property
    def control_keeps(self) -> bool:
        """Whether every event is still there with every control."""
        return all(trial.remains for trial in self.trials if trial.control)

    def sentences(self) -> Iterator[str]:
        """What came out, one sentence a trial."""
        scores = {each.event: each.score for each in self.before}
        for trial in self.trials:
            yield _sentence(trial, scores.get(trial.event))
        yield from self.notes
        if self.trials:
            yield self.how


def _sentence(trial: ClipTrial, before: float | None) -> str:
    said = f"{trial.what}: "
    if trial.event and before is not None and trial.score is not None:
        how = "falls" if trial.score < before else "rises"
        moved = f"{before:.2f}" != f"{trial.score:.2f}"
        said += (
            f"the highest score then {how} from {before:.2f} to {trial.score:.2f}; "
            if moved
            else f"the highest score then stays at {before:.2f}; "
        )
    if trial.event:
        said += f"{trial.event} is {'still there' if trial.remains else 'gone'}; "
    left = f"there are {', '.join(trial.left)}" if trial.left else "no event is left"
    return f"{said}{left}: {trial.label}."


def audit_clip_reasons(entry: LogEntry, replayer: Replayer) -> ClipReasons:
    """Test the reasons of a logged decision on a clip, with the versions of then.

    Raises
    ------
    DataError : it can't be taken again, or it has no event.
    """
    triage, path, record = replayer.triage_of(entry)
    video = open_video(path)
    again = triage.clip(video)
    if not again.events:
        raise DataError(
            f"{record.source} has no event whose reasons could be tested: {again.label or again.error}."
        )
    return try_clip_reasons(triage, video, again)


def try_clip_reasons(triage: Triage, video: Video, record: ClipRecord) -> ClipReasons:
    """Take cited tracks and controls out of one triaged clip, event by event, and triage it again."""
    scene = choose_mode(triage.scene, video)
    paths = track_paths(video, scene)
    events = sorted(record.events, key=lambda event: -event.score)[:MAX_EVENTS]
    cited = {track.id for event in record.events for track in event.tracks}
    notes = []
    if len(record.events) > len(events):
        notes.append(f"{len(record.events) - len(events)} events with lower scores were not tried.")

    def again(what: str, ids: Sequence[str], event: Event | None, *, control: bool = False) -> ClipTrial:
        changed = without_tracks(video, [paths[id_] for id_ in ids], scene)
        triaged = triage.clip(changed)
        others = [each for each in record.events if each is not event]
        return _trial(what, triaged, event, others, () if control else tuple(ids), control=control)

    trials = []
    for event in events:
        known = [track.id for track in event.tracks if track.id in paths]
        if not known:
            notes.append(f"{event.id} cites no track that could be taken out.")
            continue
        if len(known) > 1:
            trials += [again(f"Without {id_} of {event.id}", [id_], event) for id_ in known]
        together = " together" if len(known) > 1 else ""
        trials.append(again(f"Without {', '.join(known)} of {event.id}{together}", known, event))
        control = uncited_track(paths, cited, event)
        if control is None:
            notes.append(f"{event.id} has no control: nothing else moved in the clip that nothing cites.")
        else:
            trials.append(again(f"Control: without {control}, uncited", [control], event, control=True))
    everything = [id_ for id_ in sorted(cited) if id_ in paths]
    if len(record.events) > 1 and everything:
        trials.append(again("Without every cited track together", everything, None))
    before = tuple(_trial("As it is", record, event, (), ()) for event in events)
    return ClipReasons(before, tuple(trials), tuple(notes))


def _trial(
    what: str,
    record: ClipRecord,
    event: Event | None,
    others: Sequence[Event],
    ids: tuple[str, ...],
    *,
    control: bool = False,
) -> ClipTrial:
    """One trial; an event that was there beside the tried one does not count as what is left of it."""
    left = [each for each in record.events if not any(_same(each, other) for other in others)]
    kinds = tuple(f"{each.id} ({each.kind})" for each in record.events)
    if event is None:
        return ClipTrial(what, "", None, record.label, kinds, bool(left), ids, control=control)
    scores = [
        score for at, score in record.curve if event.start <= at <= event.end and score is not None
    ]  # the curve keeps its peaks
    return ClipTrial(
        what,
        event.id,
        max(scores, default=None),
        record.label,
        kinds,
        any(still_there(each, event) for each in left),
        ids,
        control=control,
    )


def _same(one: Event, other: Event) -> bool:
    return (
        one.kind == other.kind
        and abs(one.start - other.start) <= _SAME_SECONDS
        and abs(one.end - other.end) <= _SAME_SECONDS
        and _touch(one.box, other.box)
    )


def still_there(left: Event, event: Event) -> bool:
    """Whether what is left is at the time and the place of the event; what has no place is of its kind."""
    if left.start > event.end or event.start > left.end:
        return False
    if left.box is None:
        return left.kind == event.kind
    ways = [box for track in event.tracks for _, box in track.path]
    return not ways or any(_touch(left.box, box) for box in ways)


def _touch(one: Box | None, other: Box | None) -> bool:
    if one is None or other is None:
        return True
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def track_paths(video: Video, scene: Scene) -> dict[str, Path]:
    """The whole way of everything that moved in a clip, by the id of its track."""
    height, width = scene.learned.background.grey.shape
    scale = video.size[1] / width, video.size[0] / height
    return {
        f"T{each.number}": tuple((time, scale_box(box, scale)) for time, box in each.path)
        for each in followed_objects(video, scene)
        if each.path
    }


def uncited_track(paths: dict[str, Path], cited: set[str], event: Event) -> str | None:
    """The longest track that no event cites and that never touches one that ``event`` cites."""
    mine = [(time, box) for track in event.tracks for time, box in track.path]

    def apart(path: Path) -> bool:
        return not any(
            box is not None and _touch(box, taken)
            for time, taken in mine
            if (box := box_at(path, time)) is not None
        )

    free = [
        (path[-1][0] - path[0][0], id_)
        for id_, path in paths.items()
        if id_ not in cited and path[-1][0] - path[0][0] >= MIN_TRACK_SECONDS and apart(path)
    ]
    return max(free)[1] if free else None


def box_at(path: Path, time: float) -> Box | None:
    """The box of a track at a time, between those kept and a little beyond; None where it is not."""
    first, last = path[0][0], path[-1][0]
    if not first - _BEFORE <= time <= last + _BEFORE:
        return None
    times = np.array([at for at, _ in path])
    boxes = np.array([box for _, box in path], np.float64)
    ends = slice(0, 2) if time < first else slice(-2, None)
    if first <= time <= last or len(path) == 1:
        found = [np.interp(time, times, boxes[:, side]) for side in range(4)]
    else:  # it goes on as it came, or as it left
        (t0, t1), (b0, b1) = times[ends], boxes[ends]
        found = b0 + (b1 - b0) * (time - t0) / max(t1 - t0, 1e-6)
    x0, y0, x1, y1 = (round(float(side)) for side in found)
    return x0, y0, x1, y1


@dataclass(frozen=True, eq=False)
class ChangedVideo(DerivedVideo):
    """A video whose frames are changed as they are read; a `Video`."""

    change: Callable[[Frame], UInt8Array]

    def frames(
        self, start: float = 0.0, stop: float | None = None, rate: float | None = None
    ) -> Iterator[Frame]:
        """Its frames, changed."""
        for frame in self.video.frames(start, stop, rate):
            yield replace(frame, pixels=self.change(frame))


def without_tracks(video: Video, paths: Sequence[Path], scene: Scene) -> Video:
    """The video with the boxes of tracks filled with its background, whose tone is fitted to each frame."""
    behind = _background(video, paths, scene)

    def change(frame: Frame) -> UInt8Array:
        pixels = frame.pixels
        for path in paths:
            box = box_at(path, frame.time)
            inside = None if box is None else _inside(box, video.size)
            if inside is not None:
                pixels = _filled(pixels, behind, inside)
        return pixels

    return ChangedVideo(video, change)


def _inside(box: Box, size: tuple[int, int]) -> Box | None:
    x0, y0, x1, y1 = max(0, box[0]), max(0, box[1]), min(size[1], box[2]), min(size[0], box[3])
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


def _filled(pixels: UInt8Array, behind: UInt8Array, box: Box) -> UInt8Array:
    left, top, right, bottom = grown(box, (pixels.shape[0], pixels.shape[1]))
    around = pixels[top:bottom, left:right].astype(np.float32)
    fill = behind[top:bottom, left:right].astype(np.float32)
    ring = np.ones(around.shape[:2], np.bool_)
    ring[box[1] - top : box[3] - top, box[0] - left : box[2] - left] = False
    if ring.any():
        # The median: others may pass by in the ring.
        fill = fill + np.median(around[ring] - fill[ring], axis=0)
    result = pixels.copy()
    result[top:bottom, left:right] = blended(around, fill, ring)
    return result


def _background(video: Video, paths: Sequence[Path], scene: Scene) -> UInt8Array:
    """What a clip shows without some tracks: the median of its pictures where these are not, uint8 (H, W, 3).

    What they always cover is taken from the background of the scene, in grey.
    """
    import cv2

    height, width = video.size
    boxes = [grown(box, video.size) for path in paths for _, box in path]
    left, top = (max(0, min(box[side] for box in boxes)) for side in (0, 1))
    right, bottom = max(box[2] for box in boxes), max(box[3] for box in boxes)
    stills, covered = [], []
    rate = _STILLS / video.duration if video.duration else 1.0
    for frame in video.frames(rate=rate):
        taken = np.zeros((height, width), np.bool_)
        for path in paths:
            if (box := box_at(path, frame.time)) is not None and (
                box := _inside(box, video.size)
            ) is not None:
                x0, y0, x1, y1 = grown(box, video.size)
                taken[y0:y1, x0:x1] = True
        stills.append(frame.pixels[top:bottom, left:right].copy())
        covered.append(taken[top:bottom, left:right])
        if len(stills) > _STILLS:
            break
    grey = np.clip(cv2.resize(scene.learned.background.grey, (width, height)), 0, 255)
    result: UInt8Array = np.repeat(grey.astype(np.uint8)[..., None], 3, 2)
    for row in range(bottom - top):  # row by row: all at once would need the memory of a film
        part = np.stack([still[row] for still in stills])
        middle, known = _free_median(part, np.stack([taken[row] for taken in covered]))
        result[top + row, left:right][known] = middle[known]
    return result


def _free_median(pictures: UInt8Array, covered: BoolArray) -> tuple[UInt8Array, BoolArray]:
    """Median over (n, w, 3) where (n, w) is not covered, and where there is any: uint8 (w, 3), bool (w,)."""
    free = (~covered).sum(0)
    ranked: FloatArray = np.sort(
        np.where(covered[..., None], np.float32(np.inf), pictures.astype(np.float32)), 0
    )
    known = free > 0
    at = np.maximum(free - 1, 0) // 2
    middle = ranked[at, np.arange(len(at))]
    return np.where(known[:, None], middle, 0).astype(np.uint8), known
