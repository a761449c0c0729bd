"""Frame scoring: the measures of each frame, normalised, and the local anomalies in it.

A clip or stream is scored in order and in bounded memory, with an anomaly map for each frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from anomalist.types.clip import MeasureName, TroubleKind
from anomalist.types.common import BoolArray, Box, FloatArray
from anomalist.vision.media.frames import Frame
from anomalist.vision.motion.anomalies import AnomalyLocaliser, LocalAnomaly, involved_objects
from anomalist.vision.motion.appearance import AppearanceNovelty, ObjectEmbedder, feature_extractor_for
from anomalist.vision.motion.extractor import MIN_SPEED, FrameMotion, MotionExtractor, working_grey
from anomalist.vision.motion.flow import CELL_SIZE, MotionGrid, Perspective
from anomalist.vision.motion.measures import (
    CELL_MEASURES,
    FRAME_MEASURES,
    MEASURES,
    DwellTimer,
    MotionLimits,
    cell_measures,
    frame_measures,
    speed_measure,
)
from anomalist.vision.motion.picture_kind import is_overlay
from anomalist.vision.motion.scene import Scene, Zone, cells_in, counted_cells
from anomalist.vision.motion.score_scale import ScoreScales, leading_measure
from anomalist.vision.motion.tracks import MovingObject, TrackedObject, Tracker

_MIN_STILL_SECONDS = 1.0  # after a break, before the whole scene can be said to be still
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
        self.top = int(np.clip(round(_TOP_SHARE * perspective.body_cells), 1, max(self._counts.sum(), 1)))
        self._last: float | None = None
        self.begun = 0.0

    def measure(self, frame_motion: FrameMotion) -> FrameMeasures:
        """Measure the next frame; every value is NaN where it can't be judged."""
        elapsed = 0.0 if self._last is None else frame_motion.time - self._last
        self._last = frame_motion.time
        if frame_motion.fresh or frame_motion.trouble is not None:
            self._dwelling.reset()
            self._novelty.reset()
            self.begun = frame_motion.time
            unknown = np.full(len(MEASURES), np.nan, np.float32)
            nothing = np.zeros(self._counts.shape, np.float32)
            return FrameMeasures(
                frame_motion.time, frame_motion.trouble, unknown, dict.fromkeys(CELL_MEASURES, nothing)
            )
        if frame_motion.kind:
            return self._of_another_kind(frame_motion)
        dwell_seconds = self._dwelling.update(elapsed, frame_motion.movement, self._limits)
        appearance = self._novelty.update(frame_motion)
        maps = cell_measures(
            frame_motion.movement, frame_motion.around, dwell_seconds, appearance, self._limits
        )
        places = {name: np.where(self._counts, maps[name], 0).astype(np.float32) for name in CELL_MEASURES}
        whole = frame_measures(frame_motion.movement, self._limits)
        if frame_motion.time - self.begun < _MIN_STILL_SECONDS:
            whole["stillness"] = 0.0
        values = [self._highest(places[n]) if n in places else whole[n] for n in MEASURES]
        return FrameMeasures(frame_motion.time, None, np.array(values, np.float32), places)

    def _of_another_kind(self, frame_motion: FrameMotion) -> FrameMeasures:
        """Speed alone: how fast things move does not depend on what they look like; the rest counts as 0."""
        self._dwelling.reset()
        self._novelty.reset()
        speed = speed_measure(frame_motion.movement, self._limits)
        nothing = np.zeros(self._counts.shape, np.float32)
        places = {**dict.fromkeys(CELL_MEASURES, nothing), "speed": np.where(self._counts, speed, 0)}
        values = [self._highest(places[n]) if n == "speed" else 0.0 for n in MEASURES]
        return FrameMeasures(frame_motion.time, None, np.array(values, np.float32), places)

    def _highest(self, values: FloatArray) -> float:
        # Most cells are 0: among many equal values a partition takes seven times as long as sorting all.
        return float(np.sort(values, axis=None)[-self.top :].mean())


def anomaly_map(measurement: FrameMeasures, scales: ScoreScales) -> FloatArray:
    """The anomaly map: the highest normalised score of the measures in each cell, float32 (gh, gw)."""
    out: FloatArray = np.max(
        [scales[name].normalise(measurement.places[name]) for name in CELL_MEASURES], axis=0
    )
    return out


_TEXT_MARGIN = 2 * CELL_SIZE, CELL_SIZE  # pixels around burned-in text: its digits differ in width
_SMEAR = 0.5  # body heights by which the windows smear what moves
_INTRUSION_SHARE = 0.25  # of a body's cells inside a forbidden zone: somebody is there, not just a shadow


@dataclass(frozen=True, eq=False)
class FrameScore:
    """Score of one frame, with what stands out in it.

    Parameters
    ----------
    time : seconds.
    cut : whether the frame before belongs to another take.
    trouble : why it can't be judged, or None.
    score : normalised score of the leading measure; NaN when not judged.
    anomalies : what stands out, place by place, from the floor on that the scorer was given.
    intruded_zones : names of the forbidden zones in which something is.
    inside : objects that are in a forbidden zone, by its name.
    jump : seconds by which the clock jumps before the frame; not counted.
    kind : what the picture is unlike what was learned, in words; "" as it was learned.
    """

    time: float
    cut: bool
    trouble: TroubleKind | None
    score: float
    anomalies: tuple[LocalAnomaly, ...] = ()
    intruded_zones: tuple[str, ...] = ()
    inside: Mapping[str, tuple[TrackedObject, ...]] = field(default_factory=dict)
    jump: float = 0.0
    kind: str = ""

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
    floor : score from which local anomalies are listed; by default none are.

    ``overlays`` are the boxes of burned-in text that were found and left out, working pixels.
    """

    def __init__(
        self, scene: Scene, zones: Sequence[Zone] | None = None, *, floor: float = float("inf")
    ) -> None:
        drawn = scene.manifest.zones if zones is None else zones
        perspective = scene.manifest.perspective
        grid = scene.limits.speed.shape
        self._scene = scene
        self._extractor = MotionExtractor(
            scene.learned.background, perspective, usual_pace=scene.usual_pace, look=scene.manifest.look
        )
        for box in scene.manifest.overlays or ():
            self._extractor.leave_out(box)
        features = feature_extractor_for(scene.manifest.backbone, stored_in=f"the scene {scene.name}")
        embedder = ObjectEmbedder(features, perspective)
        novelty = AppearanceNovelty(embedder, scene.learned.bank, grid)
        self._measurer = FrameMeasurer(scene.limits, perspective, novelty, counted_cells(drawn, grid))
        self._tracker = Tracker()
        self._forbidden = {zone.name: cells_in(zone, grid) for zone in drawn if zone.kind == "forbidden"}
        self._body_cells = perspective.row_body_cells(grid[0])
        reach = round(_SMEAR * perspective.middle / CELL_SIZE)
        self._localiser = AnomalyLocaliser(
            scene.manifest.norms,
            self._measurer.top,
            reach,
            floor,
            MIN_SPEED * perspective.middle,
            (scene.learned.background.grey.shape[0], scene.learned.background.grey.shape[1]),
        )
        self._floor = floor
        self.overlays: list[Box] = []
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
            self._localiser.reset()
        measured = self._measurer.measure(frame_motion)
        scales = self._scene.manifest.norms
        if not measured.judged:
            self.last_map = np.zeros_like(self.last_map)
            return FrameScore(
                frame_motion.time,
                frame_motion.cut,
                frame_motion.trouble,
                float("nan"),
                jump=frame_motion.jump,
                kind=frame_motion.kind,
            )
        self.last_map = anomaly_map(measured, scales)
        score = float(leading_measure(measured.values[None], scales)[0][0])
        objects = [
            replace(found, pace=self._pace(found, frame_motion.movement)) for found in frame_motion.objects
        ]
        tracked_objects = self._tracker.follow(objects, frame_motion.time)
        anomalies: tuple[LocalAnomaly, ...] = ()
        if score >= self._floor:
            anomalies = self._localiser.find(
                frame_motion.time,
                measured.places,
                partial(self._of_whole_frame, frame_motion),
                objects,
                tracked_objects,
            )
            anomalies = self._without_overlays(frame_motion, anomalies)
        intruded = self._intruded(frame_motion)
        return FrameScore(
            time=frame_motion.time,
            cut=frame_motion.cut,
            trouble=None,
            score=score,
            anomalies=anomalies,
            intruded_zones=intruded,
            inside={name: self._inside(name, objects, tracked_objects) for name in intruded},
            jump=frame_motion.jump,
            kind=frame_motion.kind,
        )

    def _without_overlays(
        self, frame_motion: FrameMotion, anomalies: tuple[LocalAnomaly, ...]
    ) -> tuple[LocalAnomaly, ...]:
        """Leave burned-in text out, from here on."""
        if frame_motion.kind or not any(each.standing for each in anomalies):
            return anomalies
        background = self._scene.learned.background
        height, width = background.grey.shape
        grey = working_grey(frame_motion.pixels, (height, width))
        kept = []
        for each in anomalies:
            if each.box is None or not each.standing:
                kept.append(each)
                continue
            x0, y0, x1, y1 = each.box
            wide, high = _TEXT_MARGIN
            box = max(x0 - wide, 0), max(y0 - high, 0), min(x1 + wide, width), min(y1 + high, height)
            if is_overlay(grey, background.grey, background.limit, box):
                self.overlays.append(box)
                self._extractor.leave_out(box)
            else:
                kept.append(each)
        return tuple(kept)

    def _of_whole_frame(
        self, frame_motion: FrameMotion, without: Sequence[Box]
    ) -> Mapping[MeasureName, float]:
        if frame_motion.kind:
            return dict.fromkeys(FRAME_MEASURES, 0.0)
        measures = frame_measures(frame_motion.movement, self._scene.limits, without)
        if frame_motion.time - self._measurer.begun < _MIN_STILL_SECONDS:
            measures["stillness"] = 0.0
        return measures

    def _inside(
        self, zone: str, objects: Sequence[MovingObject], tracked_objects: Sequence[TrackedObject]
    ) -> tuple[TrackedObject, ...]:
        """The objects in a forbidden zone, the most involved first."""
        return tuple(tracked_objects[i] for i in involved_objects(objects, self._forbidden[zone]))

    def _pace(self, found: MovingObject, movement: MotionGrid) -> float:
        """Speed of an object relative to the typical speed, both in the windows of its cells."""
        rows, columns = found.cells.T
        filled = movement.occupancy[rows, columns]
        best = filled >= _median(filled)
        rows, columns = rows[best], columns[best]
        return _median(movement.speed[rows, columns] / self._scene.limits.typical[rows, columns])

    def _intruded(self, frame_motion: FrameMotion) -> tuple[str, ...]:
        if not self._forbidden:
            return ()
        gh, gw = frame_motion.movement.occupancy.shape
        padded = np.zeros((gh * CELL_SIZE, gw * CELL_SIZE), np.bool_)
        padded[: frame_motion.mask.shape[0], : frame_motion.mask.shape[1]] = frame_motion.mask
        share = padded.reshape(gh, CELL_SIZE, gw, CELL_SIZE).mean(axis=(1, 3))
        return tuple(
            name for name, cells in self._forbidden.items() if is_entered(cells, share, self._body_cells)
        )


def is_entered(zone: BoolArray, share: FloatArray, body_cells: FloatArray) -> bool:
    """Whether a quarter of a body, as large as bodies are there, is in a zone, or all of a smaller zone.

    Parameters
    ----------
    zone : bool (gh, gw), its cells.
    share : float (gh, gw), of each cell that is foreground; one cell of it is the least.
    body_cells : float (gh, 1), cells that a body covers in each row.
    """
    needed = min(_INTRUSION_SHARE, float((zone / body_cells).sum()))
    return bool(share[zone].sum() >= 1 and (share / body_cells)[zone].sum() >= needed - 1e-9)


def _median(values: FloatArray) -> float:
    """Median of a few numbers, as numpy gives it in a fraction of the time."""
    ordered = np.sort(values)
    return float((ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2)
