"""Moving objects and their tracks: connected foreground of similar velocity, matched by IoU.

Objects of successive frames are assigned to tracks by the Hungarian algorithm on the IoU with each track's
box at constant velocity, as SORT does (Bewley et al. 2016).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from anomalist.types.common import Box, FloatArray
from anomalist.vision.motion.flow import CELL_SIZE, IntegralImages, cells_box

_MAX_VELOCITY_DIFFERENCE = 0.4  # of the faster one's speed: neighbours that differ by more are not one object
_MIN_CELLS = 4  # of an object; fewer are noise


@dataclass(frozen=True, eq=False)
class MovingObject:
    """One object in one frame, in working pixels.

    Parameters
    ----------
    box : around its pixels.
    area : foreground pixels.
    velocity : its mean, pixels a second to the right and down.
    cells : int (n, 2), row and column of the cells that it covers.
    pace : its speed relative to the typical speed there.
    """

    box: Box
    area: int
    velocity: tuple[float, float]
    cells: npt.NDArray[np.intp]
    pace: float = 0.0

    @property
    def speed(self) -> float:
        """Pixels a second."""
        return float(np.hypot(*self.velocity))


def moving_objects(integrals: IntegralImages, min_speed: float) -> list[MovingObject]:
    """Find the objects of a frame.

    Parameters
    ----------
    integrals : of the foreground and its velocities, pixels a second.
    min_speed : difference in velocity, pixels a second, up to which neighbours are always one object.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count, mean = _cell_means(integrals)
    rows, columns = np.nonzero(count > 0)
    if not len(rows):
        return []
    number = np.full(count.shape, -1, np.intp)
    number[rows, columns] = np.arange(len(rows))
    speed = np.hypot(mean[..., 0], mean[..., 1])
    pairs = [
        _similar_neighbours(number, mean, speed, step, min_speed)
        for step in ((0, 1), (1, 0), (1, 1), (1, -1))
    ]
    a, b = (np.concatenate([pair[side] for pair in pairs]) for side in (0, 1))
    graph = coo_array((np.ones(len(a), np.int8), (a, b)), shape=(len(rows), len(rows)))
    _, member = connected_components(graph, directed=False)
    order = np.argsort(member, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(member[order])) + 1)
    cells = np.stack([rows, columns], axis=1)
    return [
        _moving_object(cells[part], count, mean, integrals.size) for part in parts if len(part) >= _MIN_CELLS
    ]


def _cell_means(integrals: IntegralImages) -> tuple[FloatArray, FloatArray]:
    """Foreground pixels of each cell, and their mean velocity."""
    borders = [
        np.minimum(CELL_SIZE * np.arange(-(-length // CELL_SIZE) + 1), length) for length in integrals.size
    ]
    corners = np.ix_(*borders)
    count, *moved = (
        np.diff(np.diff(table[corners], axis=0), axis=1)
        for table in (integrals.weight, integrals.right, integrals.down)
    )
    mean = np.stack(moved, axis=-1) / np.maximum(count, 1)[..., None]
    return count.astype(np.float32), mean.astype(np.float32)


def _similar_neighbours(
    number: npt.NDArray[np.intp], mean: FloatArray, speed: FloatArray, step: tuple[int, int], min_speed: float
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Pairs of neighbours one ``step`` (down, right) apart that move alike, by their numbers."""
    down, right = step
    height, width = number.shape
    first = np.s_[: height - down, max(-right, 0) : width - max(right, 0)]
    second = np.s_[down:, max(right, 0) : width - max(-right, 0)]
    a, b = number[first], number[second]
    both = (a >= 0) & (b >= 0)
    difference = mean[first][both] - mean[second][both]
    apart = np.hypot(difference[:, 0], difference[:, 1])
    faster = np.maximum(speed[first][both], speed[second][both])
    similar = apart <= np.maximum(_MAX_VELOCITY_DIFFERENCE * faster, min_speed)
    return a[both][similar], b[both][similar]


def _moving_object(
    cells: npt.NDArray[np.intp], count: FloatArray, mean: FloatArray, size: tuple[int, int]
) -> MovingObject:
    weight = count[cells[:, 0], cells[:, 1]]
    velocity = weight @ mean[cells[:, 0], cells[:, 1]] / weight.sum()
    return MovingObject(
        box=cells_box(cells[:, 0], cells[:, 1], size),
        area=round(float(weight.sum())),
        velocity=(float(velocity[0]), float(velocity[1])),
        cells=cells,
    )


_MAX_UNSEEN_SECONDS = 0.6  # after which a track ends
_MIN_IOU = 0.15  # intersection over union of the expected and the found box
_MAX_VELOCITY_CHANGE = 0.5  # of the faster speed: a larger change of velocity is another object
_VELOCITY_TOLERANCE = 0.3  # heights a second, for the errors of flow
_PATH_STEP_SECONDS = 0.2  # seconds between the boxes that are kept
_MAX_PATH_LENGTH = 300  # a minute of them; then every other one is dropped


@dataclass(eq=False)
class TrackedObject:
    """One tracked object, in working pixels; its path grows while it is seen."""

    number: int
    start: float
    end: float
    box: Box
    velocity: tuple[float, float]
    path: list[tuple[float, Box]] = field(default_factory=list)
    speeds: list[float] = field(default_factory=list)
    areas: list[int] = field(default_factory=list)
    paces: list[float] = field(default_factory=list)

    def add(self, time: float, found: MovingObject) -> None:
        """Add the object as it was found at ``time``."""
        self.end, self.box = time, found.box
        self.velocity = found.velocity
        if not self.path or time - self.path[-1][0] >= _PATH_STEP_SECONDS * 0.99:
            self.path.append((time, found.box))
            self.speeds.append(found.speed)
            self.areas.append(found.area)
            self.paces.append(found.pace)
        if len(self.path) > _MAX_PATH_LENGTH:
            for kept in (self.path, self.speeds, self.areas, self.paces):
                del kept[1:-1:2]

    def expected(self, time: float) -> npt.NDArray[np.float64]:
        """Predicted box at ``time`` by constant velocity, float64 (4,)."""
        vx, vy = self.velocity
        return np.array(self.box, np.float64) + (time - self.end) * np.array([vx, vy, vx, vy])


class Tracker:
    """Multi-object tracker: matches objects of successive frames by IoU with their expected boxes."""

    def __init__(self) -> None:
        self.tracked_objects: list[TrackedObject] = []
        self._next = 1

    def reset(self) -> None:
        """Drop all tracks, after a cut."""
        self.tracked_objects = []

    def follow(self, objects: Sequence[MovingObject], time: float) -> list[TrackedObject]:
        """Assign the objects of one frame to tracks, or start new ones.

        Returns
        -------
        The tracked object of each object, in their order.
        """
        self.tracked_objects = [
            tracked_object
            for tracked_object in self.tracked_objects
            if time - tracked_object.end <= _MAX_UNSEEN_SECONDS
        ]
        owners = dict(self._matches(objects, time))
        joined = []
        for index, found in enumerate(objects):
            tracked_object = owners.get(index)
            if tracked_object is None:
                tracked_object = TrackedObject(self._next, time, time, found.box, found.velocity)
                self._next += 1
                self.tracked_objects.append(tracked_object)
            tracked_object.add(time, found)
            joined.append(tracked_object)
        return joined

    def _matches(self, objects: Sequence[MovingObject], time: float) -> list[tuple[int, TrackedObject]]:
        from scipy.optimize import linear_sum_assignment

        if not objects or not self.tracked_objects:
            return []
        expected = np.stack([tracked_object.expected(time) for tracked_object in self.tracked_objects])
        overlap = box_iou(np.array([found.box for found in objects], np.float64), expected)
        rows, columns = linear_sum_assignment(-overlap)
        pairs = zip(rows.tolist(), columns.tolist(), strict=True)
        return [
            (i, self.tracked_objects[j])
            for i, j in pairs
            if overlap[i, j] >= _MIN_IOU and _may_be_same_object(objects[i], self.tracked_objects[j])
        ]


def _may_be_same_object(found: MovingObject, tracked_object: TrackedObject) -> bool:
    """Whether the velocities are similar enough: a runner who overlaps a walker is another object."""
    change = np.hypot(
        found.velocity[0] - tracked_object.velocity[0], found.velocity[1] - tracked_object.velocity[1]
    )
    faster = max(found.speed, float(np.hypot(*tracked_object.velocity)))
    return bool(change <= _MAX_VELOCITY_CHANGE * faster + (found.box[3] - found.box[1]) * _VELOCITY_TOLERANCE)


def box_iou(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Intersection over union of every box of ``a`` (n, 4) with every box of ``b`` (m, 4), as (n, m)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    size_a, size_b = (np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (a, b))
    out: npt.NDArray[np.float64] = shared / (size_a[:, None] + size_b[None] - shared)
    return out
