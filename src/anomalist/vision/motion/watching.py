"""One clip against its scene, frame by frame and in bounded memory: how unusual, why, where, and who."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from anomalist.clips import MeasureName, TroubleKind
from anomalist.types import BoolArray, Box, FloatArray
from anomalist.vision.motion.appearance import Onlooker, Strangeness, eyes_for
from anomalist.vision.motion.eye import Eye, Glimpse
from anomalist.vision.motion.measures import MEASURES, PLACES
from anomalist.vision.motion.movement import CELL, Movement
from anomalist.vision.motion.objects import MovingObject
from anomalist.vision.motion.scene import Scene
from anomalist.vision.motion.scoring import Gauge, Measurement, anomaly_map, surprises
from anomalist.vision.motion.surprise import leading
from anomalist.vision.motion.tracks import Tracker, Trail
from anomalist.vision.motion.zones import Zone, cells_in, counting
from anomalist.vision.video.frames import Frame

_HOT = 0.7  # of the highest surprise of the frame: the places that made it
_INVOLVED = 0.2  # of an object's cells, or of the hot ones, in common
_IN_ZONE = 0.25  # of a body's cells inside a forbidden zone: somebody is there, not just a shadow


@dataclass(frozen=True, eq=False)
class Moment:
    """What one frame shows.

    Parameters
    ----------
    time : seconds.
    cut : whether what came before doesn't belong to it.
    trouble : why it can't be judged, or None.
    score : surprise of the leading measure; NaN when not judged.
    leading : that measure.
    surprises, values : of every measure; empty when not judged.
    box : around the hot places, working pixels, or None.
    trails : the objects at the hot places, the most involved first.
    intruded : names of the forbidden zones in which something is.
    """

    time: float
    cut: bool
    trouble: TroubleKind | None
    score: float
    leading: MeasureName
    surprises: dict[MeasureName, float]
    values: dict[MeasureName, float]
    box: Box | None = None
    trails: tuple[Trail, ...] = ()
    intruded: tuple[str, ...] = ()

    @property
    def judged(self) -> bool:
        """Whether the frame could be judged."""
        return bool(np.isfinite(self.score))


class Watcher:
    """Watches one clip or stream of a scene.

    Parameters
    ----------
    scene : what is usual.
    zones : drawn by a person; None takes those of the scene.
    """

    def __init__(self, scene: Scene, zones: Sequence[Zone] | None = None) -> None:
        drawn = scene.manifest.zones if zones is None else zones
        perspective = scene.manifest.perspective
        grid = scene.limits.speed.shape
        self._scene = scene
        self._eye = Eye(scene.learned.background, perspective)
        onlooker = Onlooker(eyes_for(scene.manifest.backbone), perspective)
        looks = Strangeness(onlooker, scene.learned.bank, grid)
        self._gauge = Gauge(scene.limits, perspective, looks, counting(drawn, grid))
        self._tracker = Tracker()
        self._forbidden = {zone.name: cells_in(zone, grid) for zone in drawn if zone.kind == "forbidden"}
        body = perspective.middle**2 * perspective.aspect / CELL**2
        self._intrusion = max(_IN_ZONE * body, 1.0)
        self.last_map: FloatArray = np.zeros(grid, np.float32)

    @property
    def followed(self) -> tuple[Trail, ...]:
        """Every object that is followed now, or was lost a moment ago."""
        return tuple(self._tracker.trails)

    def see(self, frame: Frame) -> Moment:
        """Look at the next frame. ``last_map`` is then its anomaly map, float32 (gh, gw)."""
        return self._moment(self._eye.see(frame))

    def watching(self, frames: Iterable[Frame]) -> Iterator[Moment]:
        """The same for frames in order, with part of the work ahead in another thread."""
        return map(self._moment, self._eye.looking(frames))

    def _moment(self, glimpse: Glimpse) -> Moment:
        if glimpse.cut or glimpse.trouble:
            self._tracker.forget()
        measured = self._gauge.measure(glimpse)
        norms = self._scene.manifest.norms
        if not measured.judged:
            self.last_map = np.zeros_like(self.last_map)
            return Moment(glimpse.time, glimpse.cut, glimpse.trouble, float("nan"), "speed", {}, {})
        self.last_map = anomaly_map(measured, norms)
        score, which = leading(measured.values[None], norms)
        name = MEASURES[int(which[0])]
        objects = [replace(found, pace=self._pace(found, glimpse.movement)) for found in glimpse.objects]
        trails = self._tracker.follow(objects, glimpse.time)
        hot = self._hot(measured, name)
        return Moment(
            time=glimpse.time,
            cut=glimpse.cut,
            trouble=None,
            score=float(score[0]),
            leading=name,
            surprises=surprises(measured.values, norms),
            values=dict(zip(MEASURES, measured.values.tolist(), strict=True)),
            box=_around(hot),
            trails=_involved(objects, trails, hot),
            intruded=self._intruded(glimpse),
        )

    def _pace(self, found: MovingObject, movement: Movement) -> float:
        """Speed of an object by the typical one, both in the windows of its cells."""
        rows, columns = found.cells.T
        filled = movement.taken[rows, columns]
        best = filled >= _median(filled)
        rows, columns = rows[best], columns[best]
        return _median(movement.speed[rows, columns] / self._scene.limits.typical[rows, columns])

    def _hot(self, measured: Measurement, name: MeasureName) -> BoolArray:
        """The places that made the frame what it is, bool (gh, gw); none for a measure of the whole."""
        if name not in PLACES:
            return np.zeros(self.last_map.shape, np.bool_)
        values = self._scene.manifest.norms[name].surprise(measured.places[name])
        peak = np.unravel_index(int(values.argmax()), values.shape)
        import cv2

        _, parts = cv2.connectedComponents((values >= _HOT * max(float(values[peak]), 0)).astype(np.uint8))
        hot: BoolArray = parts == parts[peak]
        return hot & (measured.places[name] > 0)

    def _intruded(self, glimpse: Glimpse) -> tuple[str, ...]:
        if not self._forbidden:
            return ()
        gh, gw = glimpse.movement.taken.shape
        padded = np.zeros((gh * CELL, gw * CELL), np.bool_)
        padded[: glimpse.mask.shape[0], : glimpse.mask.shape[1]] = glimpse.mask
        share = padded.reshape(gh, CELL, gw, CELL).mean(axis=(1, 3))
        return tuple(n for n, cells in self._forbidden.items() if share[cells].sum() >= self._intrusion)


def _median(values: FloatArray) -> float:
    """Median of a few numbers: what numpy's gives, without most of its time."""
    ordered = np.sort(values)
    return float((ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2)


def _around(hot: BoolArray) -> Box | None:
    rows, columns = np.nonzero(hot)
    if not len(rows):
        return None
    y0, x0, y1, x1 = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
    return int(x0) * CELL, int(y0) * CELL, int(x1) * CELL, int(y1) * CELL


def _involved(objects: Sequence[MovingObject], trails: Sequence[Trail], hot: BoolArray) -> tuple[Trail, ...]:
    """The trails of the objects that share places with the hot ones, the most involved first."""
    whole = int(hot.sum())
    if not whole:
        return ()
    shared = [int(hot[found.cells[:, 0], found.cells[:, 1]].sum()) for found in objects]
    order = sorted(range(len(objects)), key=lambda i: -shared[i])
    return tuple(
        trails[i] for i in order if shared[i] >= _INVOLVED * min(whole, len(objects[i].cells)) and shared[i]
    )
