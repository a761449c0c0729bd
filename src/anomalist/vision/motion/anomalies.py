"""Local anomalies of a frame, and their association over time: one line for each thing that stands out.

Things apart in space are separate, even at one time: each has its own score, box and objects. Measures of the
whole frame (crowding, stillness, dispersal) are lines of their own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from anomalist.types.clip import MeasureName
from anomalist.types.common import BoolArray, Box, FloatArray
from anomalist.vision.motion.flow import CELL_SIZE, FLOW_SPAN, cells_box
from anomalist.vision.motion.measures import CELL_MEASURES, FRAME_MEASURES
from anomalist.vision.motion.score_scale import ScoreScales, leading_score, leading_score_inverse
from anomalist.vision.motion.temporal import MAX_GAP
from anomalist.vision.motion.tracks import MovingObject, TrackedObject

_PEAK_SHARE = 0.7  # of the highest normalised score at a place: the cells that caused it
_MIN_SHARED_CELLS = 0.2  # of an object's cells, or of the peak cells, in common
_MAX_PLACES = 6  # of one measure in one frame
_MIN_OVERLAP = 0.2  # of the smaller box: two places are the same
_SAME_THING = 0.5  # likewise, where no object tells

_MOVING: frozenset[MeasureName] = frozenset({"speed", "direction"})  # measures of what moves
_SMEARED: frozenset[MeasureName] = frozenset({"speed", "direction", "size"})
"""Measures that windows and chained flow carry over to what is near."""
_OF_THE_THING: frozenset[MeasureName] = frozenset({"place", "appearance", "size"})
"""Measures of what a thing is and where, whether it moves or stops for a moment."""
_WAKE_SHARE = 0.5  # of the higher score: below, what is near is its wake
_WAKE_SECONDS = 1.2 * FLOW_SPAN
_MAX_FEW = 2  # things that may do what is otherwise said of the whole scene


@dataclass(frozen=True, eq=False)
class LocalAnomaly:
    """What stands out at one place of a frame, or of the frame as a whole.

    Parameters
    ----------
    leading : the measure that stands out most there.
    score : its normalised score there.
    normalised_scores, values : of every measure at that place; of a measure of the whole frame, it alone.
    box : around the objects there, or else around the cells, working pixels; None for the whole frame.
    tracked_objects : the objects there, the most involved first.
    standing : whether it stands: not one thing with something that moves past it.
    """

    leading: MeasureName
    score: float
    normalised_scores: Mapping[MeasureName, float]
    values: Mapping[MeasureName, float]
    box: Box | None = None
    tracked_objects: tuple[TrackedObject, ...] = ()
    standing: bool = False

    @property
    def of_scene(self) -> bool:
        """Whether it is said of the whole scene."""
        return self.leading in FRAME_MEASURES

    @property
    def velocity(self) -> tuple[float, float] | None:
        """Of its leading object, working pixels a second to the right and down; None without one."""
        return self.tracked_objects[0].velocity if self.tracked_objects else None


class AnomalyLocaliser:
    """Finds the local anomalies of a frame.

    Parameters
    ----------
    scales : of the scene.
    top : cells whose mean is the value of a place, as for the whole frame.
    reach : cells by which the windows smear what moves.
    floor : normalised score from which a place is taken.
    min_speed : working pixels a second that count as moving.
    size : (height, width) of the picture, working pixels.
    """

    def __init__(
        self,
        scales: ScoreScales,
        top: int,
        reach: int,
        floor: float,
        min_speed: float,
        size: tuple[int, int],
    ) -> None:
        self._size = size
        self._scales = scales
        self._top = top
        self._reach = reach
        self._floor = floor
        self._min_speed = min_speed
        self._past: deque[tuple[float, tuple[LocalAnomaly, ...]]] = deque()

    def find(
        self,
        time: float,
        places: Mapping[MeasureName, FloatArray],
        without: WithoutCells,
        objects: Sequence[MovingObject],
        tracked_objects: Sequence[TrackedObject],
    ) -> tuple[LocalAnomaly, ...]:
        """The local anomalies, the highest first, then those of the whole frame.

        Parameters
        ----------
        time : seconds.
        places : float32 (gh, gw), of each cell measure.
        without : each measure of the whole frame, without some of its cells.
        objects, tracked_objects : of the frame, in one order.
        """
        found: list[LocalAnomaly] = []
        for name in CELL_MEASURES:
            for region, near in self._regions(name, places[name]):
                found.append(self._local(name, region, near, places, objects, tracked_objects))
        merged = self._without_wakes(time, _merge([each for each in found if each.score >= self._floor]))
        return (*merged, *self._of_scene(merged, without))

    def reset(self) -> None:
        """Forget the frames so far, after a cut."""
        self._past.clear()

    def _without_wakes(self, time: float, found: Sequence[LocalAnomaly]) -> list[LocalAnomaly]:
        """Leave out what only is where something much stronger is, or was within the span of the flow."""
        self._past.append((time, tuple(found)))
        while time - self._past[0][0] > _WAKE_SECONDS:
            self._past.popleft()
        every = [each for _, past in self._past for each in past if not each.standing]
        margin = self._reach * CELL_SIZE
        return [
            each
            for rank, each in enumerate(found)
            if each.leading not in _SMEARED
            or each.standing
            or ((each.tracked_objects or not rank) and not any(_is_wake(each, o, margin) for o in every))
        ]

    def _of_scene(self, found: Sequence[LocalAnomaly], without: WithoutCells) -> Iterator[LocalAnomaly]:
        """What stands out of the whole frame, even without the few things that stand out of themselves."""
        values = dict(without(_cells_of(found[:_MAX_FEW])))
        values["stillness"] = without([])["stillness"]
        for name in FRAME_MEASURES:
            score = leading_score(name, values[name], self._scales[name])
            if score >= self._floor:
                normalised = float(self._scales[name].normalise(values[name]))
                yield LocalAnomaly(name, score, {name: normalised}, {name: values[name]})

    def _regions(self, name: MeasureName, values: FloatArray) -> Iterator[tuple[BoolArray, BoolArray]]:
        """Peak cells of each place, and the cells around it, bool (gh, gw), the highest first."""
        import cv2

        least = leading_score_inverse(name, self._floor)
        normalised = np.where(values > 0, self._scales[name].normalise(values), -np.inf)
        for _ in range(_MAX_PLACES):
            peak = np.unravel_index(int(normalised.argmax()), normalised.shape)
            highest = float(normalised[peak])
            if highest < least:
                return
            high = normalised >= _PEAK_SHARE * max(highest, 0)
            _, parts = cv2.connectedComponents(high.astype(np.uint8))
            region = (parts == parts[peak]) & (values > 0)
            near = self._around(region)
            yield region, near
            normalised[near] = -np.inf

    def _around(self, region: BoolArray) -> BoolArray:
        rows, columns = np.nonzero(region)
        near = np.zeros(region.shape, np.bool_)
        near[
            max(rows.min() - self._reach, 0) : rows.max() + 1 + self._reach,
            max(columns.min() - self._reach, 0) : columns.max() + 1 + self._reach,
        ] = True
        return near

    def _local(
        self,
        name: MeasureName,
        region: BoolArray,
        near: BoolArray,
        places: Mapping[MeasureName, FloatArray],
        objects: Sequence[MovingObject],
        tracked_objects: Sequence[TrackedObject],
    ) -> LocalAnomaly:
        values = {each: self._highest(places[each], region) for each in places}
        values[name] = self._highest(places[name], near, self._top)
        involved = involved_objects(objects, region)
        rows, columns = np.nonzero(region)
        boxes = [objects[index].box for index in involved] or [cells_box(rows, columns, self._size)]
        return LocalAnomaly(
            leading=name,
            score=leading_score(name, values[name], self._scales[name]),
            normalised_scores={each: float(self._scales[each].normalise(values[each])) for each in values},
            values=values,
            box=_union(boxes),
            tracked_objects=tuple(tracked_objects[index] for index in involved),
            standing=name == "dwell"
            or (name not in _MOVING and bool(involved) and objects[involved[0]].speed < self._min_speed),
        )

    def _highest(self, values: FloatArray, cells: BoolArray, least: int = 1) -> float:
        """Mean of the highest cells, as many as for the whole frame; what lacks to ``least`` counts as 0."""
        ordered = np.sort(values[cells])[-self._top :]
        return float(ordered.sum() / max(len(ordered), least))


WithoutCells = Callable[[Sequence[Box]], Mapping[MeasureName, float]]
"""The measures of the whole frame without the cells in some boxes, working pixels."""


def _cells_of(found: Sequence[LocalAnomaly]) -> list[Box]:
    return [each.box for each in found if each.box is not None]


def _is_wake(anomaly: LocalAnomaly, other: LocalAnomaly, margin: int) -> bool:
    """Whether an anomaly is near a much stronger one that is another thing."""
    if anomaly.score >= _WAKE_SHARE * other.score or anomaly.box is None or other.box is None:
        return False
    if anomaly.tracked_objects[:1] and anomaly.tracked_objects[:1] == other.tracked_objects[:1]:
        return False
    x0, y0, x1, y1 = other.box
    return box_overlap(anomaly.box, (x0 - margin, y0 - margin, x1 + margin, y1 + margin)) > 0


def involved_objects(objects: Sequence[MovingObject], region: BoolArray) -> list[int]:
    """Numbers of the objects that share cells with a region, bool (gh, gw), the most involved first."""
    whole = int(region.sum())
    shared = [int(region[found.cells[:, 0], found.cells[:, 1]].sum()) for found in objects]
    order = sorted(range(len(objects)), key=lambda i: -shared[i])
    return [
        i for i in order if shared[i] and shared[i] >= _MIN_SHARED_CELLS * min(whole, len(objects[i].cells))
    ]


def _merge(found: Sequence[LocalAnomaly]) -> list[LocalAnomaly]:
    """Measures that stand out on one thing make one anomaly, led by the highest."""
    merged: list[LocalAnomaly] = []
    for each in sorted(found, key=lambda anomaly: -anomaly.score):
        at = next((i for i, other in enumerate(merged) if _one_thing(each, other)), None)
        if at is None:
            merged.append(each)
        else:
            merged[at] = _joined(merged[at], each)
    return merged


def _one_thing(a: LocalAnomaly, b: LocalAnomaly) -> bool:
    if a.standing != b.standing or a.box is None or b.box is None:
        return False
    if a.tracked_objects and b.tracked_objects:
        return a.tracked_objects[0] is b.tracked_objects[0]
    return box_overlap(a.box, b.box) >= _SAME_THING


def _joined(first: LocalAnomaly, second: LocalAnomaly) -> LocalAnomaly:
    """The first, with the higher value of each measure."""
    names = [n for n, score in second.normalised_scores.items() if score > first.normalised_scores[n]]
    return replace(
        first,
        normalised_scores={**first.normalised_scores, **{n: second.normalised_scores[n] for n in names}},
        values={**first.values, **{n: second.values[n] for n in names}},
    )


def _union(boxes: Sequence[Box]) -> Box:
    x0, y0, x1, y1 = zip(*boxes, strict=True)
    return min(x0), min(y0), max(x1), max(y1)


def box_overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Area that two boxes share, by that of the smaller one."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    smaller = min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))
    return width * height / max(smaller, 1e-9)


@dataclass(eq=False)
class _Line:
    """One thing over time."""

    number: int
    last: LocalAnomaly
    time: float
    tracks: dict[int, float] = field(default_factory=dict)

    def add(self, anomaly: LocalAnomaly, time: float) -> None:
        self.last, self.time = anomaly, time
        if anomaly.tracked_objects:
            self.tracks[anomaly.tracked_objects[0].number] = time

    def takes(self, anomaly: LocalAnomaly, time: float) -> float:
        """How well an anomaly continues the line, 0 if it doesn't."""
        last = self.last
        if anomaly.of_scene or last.of_scene:
            return float(anomaly.leading == last.leading)
        known = bool(anomaly.tracked_objects) and anomaly.tracked_objects[0].number in self.tracks
        if anomaly.standing != last.standing:
            return 2.0 if known and {anomaly.leading, last.leading} <= _OF_THE_THING else 0.0
        if known:
            return 2.0
        if anomaly.box is None or last.box is None or not _alike(anomaly.velocity, last.velocity):
            return 0.0
        overlap = box_overlap(anomaly.box, _swept(last.box, last.velocity, time - self.time))
        return overlap if overlap >= _MIN_OVERLAP else 0.0


def _swept(box: Box, velocity: tuple[float, float] | None, elapsed: float) -> tuple[float, ...]:
    """Where a thing may be: from its box on as far as twice its velocity, which flow takes for too low."""
    across, down = (2 * v * elapsed for v in velocity or (0.0, 0.0))
    return (
        box[0] + min(across, 0),
        box[1] + min(down, 0),
        box[2] + max(across, 0),
        box[3] + max(down, 0),
    )


def _alike(a: tuple[float, float] | None, b: tuple[float, float] | None) -> bool:
    """Whether two velocities may be those of one thing: not if they are opposite; unknown ones may.

    No more is asked: what comes into the picture, or passes behind something, seems slower at first.
    """
    if a is None or b is None:
        return True
    return a[0] * b[0] + a[1] * b[1] >= 0 or min(np.hypot(*a), np.hypot(*b)) < 2 * CELL_SIZE


_EXPLAINED_SHARE = 0.7
"""Of the score of another thing, below which a motion must be borne out by an object's own way."""
_MIN_WAY_SECONDS = 0.3
_WAY_MARGIN = 0.25  # seconds around what stood out
_MIN_WAY = 0.5  # of the way that the speeds of flow would take


def is_borne_out(moments: Sequence[tuple[float, LocalAnomaly]]) -> bool:
    """Whether what was measured of a thing is more than what flow carries over from its surroundings.

    True of everything but motion; of motion, where some object went at least half as far then as its speed
    says.

    Parameters
    ----------
    moments : seconds, and what stood out of the thing then; in order.
    """
    moving = [(time, each) for time, each in moments if each.leading in _MOVING]
    if len(moving) < len(moments) / 2:
        return True
    start, end = moving[0][0] - _WAY_MARGIN, moving[-1][0] + _WAY_MARGIN
    objects = {each.tracked_objects[0] for _, each in moving if each.tracked_objects}
    return any(_went(each, start, end) for each in objects)


def is_explained_away(
    moments: Sequence[tuple[float, LocalAnomaly]],
    score: float,
    others: Iterable[float],
    *,
    other_picture: bool,
) -> bool:
    """Whether a motion that no object's own way bears out is what something else carries over.

    Parameters
    ----------
    moments : see `is_borne_out`.
    score : of the thing.
    others : scores of the things that stand out at the same time.
    other_picture : whether the picture is of another kind than what was learned, which alone suffices.
    """
    if is_borne_out(moments):
        return False
    return other_picture or any(score < _EXPLAINED_SHARE * other for other in others)


def _went(tracked_object: TrackedObject, start: float, end: float) -> bool:
    steps = [
        (time, box, speed)
        for (time, box), speed in zip(tracked_object.path, tracked_object.speeds, strict=True)
        if start <= time <= end
    ]
    if not steps or (elapsed := steps[-1][0] - steps[0][0]) < _MIN_WAY_SECONDS:
        return False
    first, last = steps[0][1], steps[-1][1]
    right, down = ((last[i] + last[i + 2] - first[i] - first[i + 2]) / 2 for i in (0, 1))
    way = np.hypot(right, down)
    return bool(way >= _MIN_WAY * max(speed for *_, speed in steps) * elapsed)


class AnomalyLinker:
    """Associates the local anomalies of successive frames: those of one thing get one number."""

    def __init__(self) -> None:
        self._lines: list[_Line] = []
        self._next = 1

    def reset(self) -> None:
        """End all lines, after a cut."""
        self._lines = []

    def highest(self, anomalies: Sequence[LocalAnomaly], time: float) -> dict[int, LocalAnomaly]:
        """What stands out most of each thing in a frame, by the number of its line; see `link`."""
        found: dict[int, LocalAnomaly] = {}
        for number, anomaly in zip(self.link(anomalies, time), anomalies, strict=True):
            if number not in found or found[number].score < anomaly.score:
                found[number] = anomaly
        return found

    def link(self, anomalies: Sequence[LocalAnomaly], time: float) -> list[int]:
        """Number of the line of each anomaly, in their order."""
        self._lines = [line for line in self._lines if time - line.time <= MAX_GAP]
        known = list(self._lines)
        numbers = []
        for anomaly in anomalies:
            best = max(known, key=lambda line: line.takes(anomaly, time), default=None)
            if best is None or best.takes(anomaly, time) <= 0:
                best = _Line(self._next, anomaly, time)
                self._next += 1
                self._lines.append(best)
            elif best.time == time and best.last.score >= anomaly.score:
                numbers.append(best.number)  # another part of the same thing
                continue
            best.add(anomaly, time)
            numbers.append(best.number)
        return numbers
