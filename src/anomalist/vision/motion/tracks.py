"""Objects followed from frame to frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from anomalist.types import Box
from anomalist.vision.motion.objects import MovingObject

_LOST_AFTER = 0.6  # seconds unseen
_LEAST_OVERLAP = 0.15  # intersection over union of the expected and the found box
_SUDDEN = 0.5  # of the faster speed: a larger change of velocity is another object
_SLACK = 0.3  # heights a second that don't count, because flow is not exact
_KEEP_EVERY = 0.2  # seconds between the boxes that are kept
_MOST_BOXES = 300  # a minute of them; of longer stays every other is let go


@dataclass(eq=False)
class Trail:
    """One object on its way, in working pixels; grows while it is seen."""

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
        """It was seen again."""
        self.end, self.box = time, found.box
        self.velocity = found.velocity
        if not self.path or time - self.path[-1][0] >= _KEEP_EVERY * 0.99:
            self.path.append((time, found.box))
            self.speeds.append(found.speed)
            self.areas.append(found.area)
            self.paces.append(found.pace)
        if len(self.path) > _MOST_BOXES:
            for kept in (self.path, self.speeds, self.areas, self.paces):
                del kept[1:-1:2]

    def expected(self, time: float) -> npt.NDArray[np.float64]:
        """Where its box should be at ``time``, if it goes on like this."""
        vx, vy = self.velocity
        return np.array(self.box, np.float64) + (time - self.end) * np.array([vx, vy, vx, vy])


class Tracker:
    """Joins the objects of successive frames to trails, by overlap with where each is expected."""

    def __init__(self) -> None:
        self.trails: list[Trail] = []
        self._next = 1

    def forget(self) -> None:
        """Everything that was followed is gone: a cut."""
        self.trails = []

    def follow(self, objects: Sequence[MovingObject], time: float) -> list[Trail]:
        """Join the objects of one frame to trails, old or new.

        Returns
        -------
        The trail of each object, in their order.
        """
        self.trails = [trail for trail in self.trails if time - trail.end <= _LOST_AFTER]
        owners = dict(self._matches(objects, time))
        joined = []
        for index, found in enumerate(objects):
            trail = owners.get(index)
            if trail is None:
                trail = Trail(self._next, time, time, found.box, found.velocity)
                self._next += 1
                self.trails.append(trail)
            trail.add(time, found)
            joined.append(trail)
        return joined

    def _matches(self, objects: Sequence[MovingObject], time: float) -> list[tuple[int, Trail]]:
        from scipy.optimize import linear_sum_assignment

        if not objects or not self.trails:
            return []
        expected = np.stack([trail.expected(time) for trail in self.trails])
        overlap = overlaps(np.array([found.box for found in objects], np.float64), expected)
        rows, columns = linear_sum_assignment(-overlap)
        pairs = zip(rows.tolist(), columns.tolist(), strict=True)
        return [
            (i, self.trails[j])
            for i, j in pairs
            if overlap[i, j] >= _LEAST_OVERLAP and _alike(objects[i], self.trails[j])
        ]


def _alike(found: MovingObject, trail: Trail) -> bool:
    """Whether one could become the other within a frame: what runs into a walker is not the walker."""
    change = np.hypot(found.velocity[0] - trail.velocity[0], found.velocity[1] - trail.velocity[1])
    faster = max(found.speed, float(np.hypot(*trail.velocity)))
    return bool(change <= _SUDDEN * faster + (found.box[3] - found.box[1]) * _SLACK)


def overlaps(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Intersection over union of every box of ``a`` (n, 4) with every box of ``b`` (m, 4), as (n, m)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    size_a, size_b = (np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (a, b))
    out: npt.NDArray[np.float64] = shared / (size_a[:, None] + size_b[None] - shared)
    return out
