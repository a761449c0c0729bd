"""Frame scoring: the measures of each frame, normalised; the leading measure, its cells and objects.

A clip or stream is scored in order and in bounded memory, with an anomaly map for each frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from anomalist.types.clip import MeasureName, TroubleKind
from anomalist.types.common import BoolArray, Box, FloatArray
from anomalist.vision.media.frames import Frame
from anomalist.vision.motion.appearance import AppearanceNovelty, ObjectEmbedder, feature_extractor_for
from anomalist.vision.motion.extractor import FrameMotion, MotionExtractor
from anomalist.vision.motion.flow import CELL_SIZE, MotionGrid, Perspective
from anomalist.vision.motion.measures import (
    CELL_MEASURES,
    MEASURES,
    DwellTimer,
    MotionLimits,
    cell_measures,
    frame_measures,
)
from anomalist.vision.motion.scene import Scene, Zone, cells_in, counted_cells
from anomalist.vision.motion.score_scale import ScoreScales, leading_measure
from anomalist.vision.motion.tracks import MovingObject, TrackedObject, Tracker

_TOP_SHARE = 0.2  # of the cells of one body: the mean of so many highest cells is the frame's value


@dataclass(frozen=True, eq=False)
class FrameMeasures:
    """The measures of one frame.

    Parameters
    ----------
    values : float32 (9,), in the order of ``MEASURES``; NaN when the frame can't be judged.
    places : by cell, for each of ``CELL_MEASURES`` float32 (gh, gw).
    """

    time: float
    trouble: TroubleKind | None
    values: FloatArray
    places: dict[MeasureName, FloatArray]

    @property
    def judged(self) -> bool:
        """Whether the frame could be judged."""
        return bool(np.isfinite(self.values).all())


class FrameMeasurer:
    """Takes the measures of the frames of one clip, in order.

    Parameters
    ----------
    limits : of the scene, by cell.
    perspective : of the scene.
    novelty : appearance novelty of each cell.
    counts : bool (gh, gw), which cells count; those of ignored zones don't. None for all.
    """

    def __init__(
        self,
        limits: MotionLimits,
        perspective: Perspective,
        novelty: AppearanceNovelty,
        counts: BoolArray | None = None,
    ) -> None:
        grid = limits.speed.shape
        self._limits = limits
        self._counts = np.ones(grid, np.bool_) if counts is None else counts
        self._dwelling = DwellTimer(grid)
        self._novelty = novelty
        body = perspective.middle**2 * perspective.aspect / CELL_SIZE**2
        self._top = int(np.clip(round(_TOP_SHARE * body), 1, max(self._counts.sum(), 1)))
        self._last: float | None = None

    def measure(self, frame_motion: FrameMotion) -> FrameMeasures:
        """Measure the next frame; every value is NaN where it can't be judged."""
        elapsed = 0.0 if self._last is None else frame_motion.time - self._last
        self._last = frame_motion.time
        if frame_motion.fresh or frame_motion.trouble is not None:
            self._dwelling.reset()
            self._novelty.reset()
            unknown = np.full(len(MEASURES), np.nan, np.float32)
            nothing = np.zeros(self._counts.shape, np.float32)
            return FrameMeasures(
                frame_motion.time, frame_motion.trouble, unknown, dict.fromkeys(CELL_MEASURES, nothing)
            )
        dwell_seconds = self._dwelling.update(elapsed, frame_motion.movement, self._limits)
        appearance = self._novelty.update(frame_motion)
        maps = cell_measures(
            frame_motion.movement, frame_motion.around, dwell_seconds, appearance, self._limits
        )
        places = {name: np.where(self._counts, maps[name], 0).astype(np.float32) for name in CELL_MEASURES}
        whole = frame_measures(frame_motion.movement, self._limits)
        values = [self._highest(places[n]) if n in places else whole[n] for n in MEASURES]
        return FrameMeasures(frame_motion.time, None, np.array(values, np.float32), places)

    def _highest(self, values: FloatArray) -> float:
        flat = values.ravel()
        return float(np.partition(flat, -self._top)[-self._top :].mean())


def anomaly_map(measurement: FrameMeasures, scales: ScoreScales) -> FloatArray:
    """The anomaly map: the highest normalised score of the measures in each cell, float32 (gh, gw)."""
    out: FloatArray = np.max(
        [scales[name].normalise(measurement.places[name]) for name in CELL_MEASURES], axis=0
    )
    return out


def normalised_scores(values: FloatArray, scales: ScoreScales) -> dict[MeasureName, float]:
    """The normalised score of every measure of one frame (float32 (9,))."""
    return {name: float(scales[name].normalise(values[i])) for i, name in enumerate(MEASURES)}


_PEAK_SHARE = 0.7  # of the highest normalised score of the frame: the cells that caused it
_MIN_SHARED_CELLS = 0.2  # of an object's cells, or of the peak cells, in common
_INTRUSION_SHARE = 0.25  # of a body's cells inside a forbidden zone: somebody is there, not just a shadow


@dataclass(frozen=True, eq=False)
class FrameScore:
    """Score of one frame, with the measure, cells and objects behind it.

    Parameters
    ----------
    time : seconds.
    cut : whether the frame before belongs to another take.
    trouble : why it can't be judged, or None.
    score : normalised score of the leading measure; NaN when not judged.
    leading : that measure.
    normalised_scores, values : of every measure; empty when not judged.
    box : around the cells with the highest scores, working pixels, or None.
    tracked_objects : the objects in those cells, the most involved first.
    intruded_zones : names of the forbidden zones in which something is.
    """

    time: float
    cut: bool
    trouble: TroubleKind | None
    score: float
    leading: MeasureName
    normalised_scores: dict[MeasureName, float]
    values: dict[MeasureName, float]
    box: Box | None = None
    tracked_objects: tuple[TrackedObject, ...] = ()
    intruded_zones: tuple[str, ...] = ()

    @property
    def judged(self) -> bool:
        """Whether the frame could be judged."""
        return bool(np.isfinite(self.score))


class FrameScorer:
    """Scores one clip or stream of a scene, frame by frame.

    Parameters
    ----------
    scene : learned from normal footage.
    zones : drawn by a person; None takes those of the scene.
    """

    def __init__(self, scene: Scene, zones: Sequence[Zone] | None = None) -> None:
        drawn = scene.manifest.zones if zones is None else zones
        perspective = scene.manifest.perspective
        grid = scene.limits.speed.shape
        self._scene = scene
        self._extractor = MotionExtractor(scene.learned.background, perspective)
        features = feature_extractor_for(scene.manifest.backbone, stored_in=f"the scene {scene.name}")
        embedder = ObjectEmbedder(features, perspective)
        novelty = AppearanceNovelty(embedder, scene.learned.bank, grid)
        self._measurer = FrameMeasurer(scene.limits, perspective, novelty, counted_cells(drawn, grid))
        self._tracker = Tracker()
        self._forbidden = {zone.name: cells_in(zone, grid) for zone in drawn if zone.kind == "forbidden"}
        body = perspective.middle**2 * perspective.aspect / CELL_SIZE**2
        self._intrusion = max(_INTRUSION_SHARE * body, 1.0)
        self.last_map: FloatArray = np.zeros(grid, np.float32)

    @property
    def tracked_objects(self) -> tuple[TrackedObject, ...]:
        """Every object that is tracked now, or was until a moment ago."""
        return tuple(self._tracker.tracked_objects)

    def score(self, frame: Frame) -> FrameScore:
        """Score the next frame; ``last_map`` is then its anomaly map, float32 (gh, gw)."""
        return self._score_motion(self._extractor.extract(frame))

    def score_all(self, frames: Iterable[Frame]) -> Iterator[FrameScore]:
        """Score frames in order; see `MotionExtractor.extract_all`."""
        return map(self._score_motion, self._extractor.extract_all(frames))

    def _score_motion(self, frame_motion: FrameMotion) -> FrameScore:
        if frame_motion.cut or frame_motion.trouble:
            self._tracker.reset()
        measured = self._measurer.measure(frame_motion)
        scales = self._scene.manifest.norms
        if not measured.judged:
            self.last_map = np.zeros_like(self.last_map)
            return FrameScore(
                frame_motion.time, frame_motion.cut, frame_motion.trouble, float("nan"), "speed", {}, {}
            )
        self.last_map = anomaly_map(measured, scales)
        score, which = leading_measure(measured.values[None], scales)
        name = MEASURES[int(which[0])]
        objects = [
            replace(found, pace=self._pace(found, frame_motion.movement)) for found in frame_motion.objects
        ]
        tracked_objects = self._tracker.follow(objects, frame_motion.time)
        peak_cells = self._peak_cells(measured, name)
        return FrameScore(
            time=frame_motion.time,
            cut=frame_motion.cut,
            trouble=None,
            score=float(score[0]),
            leading=name,
            normalised_scores=normalised_scores(measured.values, scales),
            values=dict(zip(MEASURES, measured.values.tolist(), strict=True)),
            box=_bounding_box(peak_cells),
            tracked_objects=_involved_objects(objects, tracked_objects, peak_cells),
            intruded_zones=self._intruded(frame_motion),
        )

    def _pace(self, found: MovingObject, movement: MotionGrid) -> float:
        """Speed of an object relative to the typical speed, both in the windows of its cells."""
        rows, columns = found.cells.T
        filled = movement.occupancy[rows, columns]
        best = filled >= _median(filled)
        rows, columns = rows[best], columns[best]
        return _median(movement.speed[rows, columns] / self._scene.limits.typical[rows, columns])

    def _peak_cells(self, measured: FrameMeasures, name: MeasureName) -> BoolArray:
        """Cells around the peak of a measure, bool (gh, gw); none for a measure of the whole frame."""
        if name not in CELL_MEASURES:
            return np.zeros(self.last_map.shape, np.bool_)
        values = self._scene.manifest.norms[name].normalise(measured.places[name])
        peak = np.unravel_index(int(values.argmax()), values.shape)
        import cv2

        _, parts = cv2.connectedComponents(
            (values >= _PEAK_SHARE * max(float(values[peak]), 0)).astype(np.uint8)
        )
        peak_cells: BoolArray = parts == parts[peak]
        return peak_cells & (measured.places[name] > 0)

    def _intruded(self, frame_motion: FrameMotion) -> tuple[str, ...]:
        if not self._forbidden:
            return ()
        gh, gw = frame_motion.movement.occupancy.shape
        padded = np.zeros((gh * CELL_SIZE, gw * CELL_SIZE), np.bool_)
        padded[: frame_motion.mask.shape[0], : frame_motion.mask.shape[1]] = frame_motion.mask
        share = padded.reshape(gh, CELL_SIZE, gw, CELL_SIZE).mean(axis=(1, 3))
        return tuple(n for n, cells in self._forbidden.items() if share[cells].sum() >= self._intrusion)


def _median(values: FloatArray) -> float:
    """Median of a few numbers, as numpy gives it in a fraction of the time."""
    ordered = np.sort(values)
    return float((ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2)


def _bounding_box(peak_cells: BoolArray) -> Box | None:
    rows, columns = np.nonzero(peak_cells)
    if not len(rows):
        return None
    y0, x0, y1, x1 = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
    return int(x0) * CELL_SIZE, int(y0) * CELL_SIZE, int(x1) * CELL_SIZE, int(y1) * CELL_SIZE


def _involved_objects(
    objects: Sequence[MovingObject], tracked_objects: Sequence[TrackedObject], peak_cells: BoolArray
) -> tuple[TrackedObject, ...]:
    """The tracked objects that share cells with the peak cells, the most involved first."""
    whole = int(peak_cells.sum())
    if not whole:
        return ()
    shared = [int(peak_cells[found.cells[:, 0], found.cells[:, 1]].sum()) for found in objects]
    order = sorted(range(len(objects)), key=lambda i: -shared[i])
    return tuple(
        tracked_objects[i]
        for i in order
        if shared[i] >= _MIN_SHARED_CELLS * min(whole, len(objects[i].cells)) and shared[i]
    )
