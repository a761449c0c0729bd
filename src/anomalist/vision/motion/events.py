"""Build events from temporal segments: kind, tracks, box, measures and caption; event signatures.

A signature is a unit vector of kind, place, direction, speed and size: similar events have a high cosine
similarity.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anomalist.types.clip import Event, Measured, MeasureName, Mode, Track
from anomalist.types.common import Box, FloatArray
from anomalist.vision.motion.anomalies import LocalAnomaly
from anomalist.vision.motion.captions import MEASURE_UNITS, CaptionFacts, caption_of, scale_box, track_record
from anomalist.vision.motion.extractor import MIN_SPEED
from anomalist.vision.motion.measures import MEASURES
from anomalist.vision.motion.scene import Scene, Zone, cells_in
from anomalist.vision.motion.scoring import FrameScore
from anomalist.vision.motion.temporal import TemporalSegment
from anomalist.vision.motion.tracks import TrackedObject

_MIN_NORMALISED_SCORE = 1.0  # of the measures that an event lists beside the leading one
_MAX_TRACKS = 3  # listed for one event
_MIN_FRAME_SHARE = 0.15  # of the event's frames, in which a listed track is involved


Moment = tuple[float, LocalAnomaly]
"""When, in seconds, and what stood out of one thing then."""


@dataclass(frozen=True, eq=False)
class EventBuilder:
    """Builds the events of one clip.

    Parameters
    ----------
    scene : that it was scored by.
    mode : causal or offline.
    size : (height, width) of its frames, pixels.
    zones : drawn by a person.
    """

    scene: Scene
    mode: Mode
    size: tuple[int, int]
    zones: Sequence[Zone] = ()

    def event(
        self, number: int, segment: TemporalSegment, moments: Sequence[Moment], *, throughout: bool
    ) -> Event:
        """Build the event of a segment from what was measured on one thing, and on nothing else.

        Parameters
        ----------
        number : of the event, for its id.
        segment : of the score of that thing.
        moments : (seconds, local anomaly) of that thing in the segment, in order; at least one.
        throughout : whether it lasts for all of the clip.
        """
        kind = _event_kind(moments)
        tracks = self._tracks(
            [(anomaly.score, anomaly.tracked_objects) for _, anomaly in moments], segment.peak
        )
        measures = _event_measures(moments, kind)
        box = self._box(moments, segment.peak, tracks)
        zones = self._zones_at(box)
        value = next((m.value for m in measures if m.name == kind), 0.0)
        facts = CaptionFacts(
            kind=kind,
            value=value,
            usual=None,
            track=tracks[0] if tracks else None,
            box=box,
            size=self.size,
            zones=zones,
            start=segment.start,
            end=segment.end,
        )
        return self._build(number, segment, facts, measures, tracks, throughout=throughout)

    def intrusion(
        self, number: int, zone: str, segment: TemporalSegment, frame_scores: Sequence[FrameScore]
    ) -> Event:
        """Build the event of an intrusion into a forbidden zone."""
        tracks = self._tracks([(1.0, m.inside[zone]) for m in frame_scores if zone in m.inside], segment.peak)
        drawn = next(z for z in self.zones if z.name == zone)
        x, y = (_span([corner[axis] for corner in drawn.polygon], self.size[1 - axis]) for axis in (0, 1))
        box = x[0], y[0], x[1], y[1]
        facts = CaptionFacts(
            "forbidden zone", 1.0, 0.0, None, box, self.size, (zone,), segment.start, segment.end
        )
        return self._build(number, segment, facts, (), tracks, throughout=False)

    def _build(
        self,
        number: int,
        segment: TemporalSegment,
        facts: CaptionFacts,
        measures: tuple[Measured, ...],
        tracks: tuple[Track, ...],
        *,
        throughout: bool,
    ) -> Event:
        per_hour = self.scene.blocks(self.mode).per_hour(segment.score)
        return Event(
            id=f"E{number}",
            start=round(segment.start, 3),
            end=round(segment.end, 3),
            peak=round(segment.peak, 3),
            score=round(segment.score, 4),
            false_events_per_hour=None if facts.kind == "forbidden zone" else per_hour,
            throughout=throughout,
            kind=facts.kind,
            measures=measures,
            tracks=tracks,
            box=facts.box,
            zone=facts.zones[0] if facts.zones else None,
            caption=caption_of(facts),
        )

    @property
    def _scale(self) -> tuple[float, float]:
        height, width = self.scene.learned.background.grey.shape
        return self.size[1] / width, self.size[0] / height

    def _tracks(
        self, moments: Sequence[tuple[float, Sequence[TrackedObject]]], peak: float
    ) -> tuple[Track, ...]:
        # Votes by score; the most involved object of a moment counts twice.
        votes: Counter[int] = Counter()
        weight: dict[int, float] = {}
        tracked_objects: dict[int, TrackedObject] = {}
        for score, involved in moments:
            for rank, tracked_object in enumerate(involved):
                votes[tracked_object.number] += 1
                gain = max(score, 0.0) * (2 if rank == 0 else 1)
                weight[tracked_object.number] = weight.get(tracked_object.number, 0.0) + gain
                tracked_objects[tracked_object.number] = tracked_object
        often = [number for number, count in votes.items() if count >= _MIN_FRAME_SHARE * len(moments)]
        chosen = sorted(often, key=lambda number: (-weight[number], number))[:_MAX_TRACKS]
        min_speed = MIN_SPEED * self.scene.manifest.perspective.middle
        return tuple(
            track_record(tracked_objects[n], self.scene, self._scale, peak, min_speed) for n in chosen
        )

    def _box(self, moments: Sequence[Moment], peak: float, tracks: Sequence[Track]) -> Box | None:
        """Box of the thing at the peak, from a moment in which the leading track was seen."""
        leading = tracks[0].id if tracks else None
        cited = [
            moment
            for moment in moments
            if leading is None or leading in (f"T{each.number}" for each in moment[1].tracked_objects)
        ]
        _, anomaly = min(cited, key=lambda moment: abs(moment[0] - peak))
        return None if anomaly.box is None else scale_box(anomaly.box, self._scale)

    def _zones_at(self, box: Box | None) -> tuple[str, ...]:
        """Names of the watched zones that hold the centre of a box."""
        if box is None:
            return ()
        grid = self.scene.limits.speed.shape
        row = min(int((box[1] + box[3]) / 2 / self.size[0] * grid[0]), grid[0] - 1)
        column = min(int((box[0] + box[2]) / 2 / self.size[1] * grid[1]), grid[1] - 1)
        return tuple(z.name for z in self.zones if z.kind == "watch" and cells_in(z, grid)[row, column])


def _span(shares: Sequence[float], side: int) -> tuple[int, int]:
    """From where to where shares of a side reach, in pixels of it: one at least."""
    start = min(int(min(shares) * side), side - 1)
    return start, max(int(max(shares) * side), start + 1)


def _event_kind(moments: Sequence[Moment]) -> MeasureName:
    """The measure that leads for most of the summed score."""
    weights: dict[MeasureName, float] = {}
    for _, anomaly in moments:
        weights[anomaly.leading] = weights.get(anomaly.leading, 0.0) + max(anomaly.score, 0.01)
    return max(weights, key=lambda name: weights[name])


def _event_measures(moments: Sequence[Moment], kind: MeasureName) -> tuple[Measured, ...]:
    """The highest of the leading measure and of every other above 1, the highest normalised score first."""
    found = []
    for name in MEASURES:
        known = [anomaly for _, anomaly in moments if name in anomaly.normalised_scores]
        if not known:
            continue
        top = max(known, key=lambda anomaly: anomaly.normalised_scores[name])
        score = top.normalised_scores[name]
        if score >= _MIN_NORMALISED_SCORE or name == kind:
            found.append(
                Measured(
                    name=name,
                    surprise=round(score, 3),
                    value=round(top.values[name], 4),
                    unit=MEASURE_UNITS[name],
                )
            )
    return tuple(sorted(found, key=lambda measured: -measured.surprise))


SIGNATURE_SPACE = "motion-1"
"""Version of the embedding space, stored with signatures."""
SIGNATURE_MIN_SIMILARITY = 0.85
"""Cosine similarity from which two events are alike; events of different kinds never reach it."""

_KINDS: tuple[MeasureName, ...] = (
    "speed",
    "size",
    "direction",
    "place",
    "dwell",
    "appearance",
    "crowding",
    "stillness",
    "dispersal",
    "forbidden zone",
)
_GRID = 3
_PLACE_SIGMA = 0.22  # of the picture: how far an event may move and still be at one place
_KIND, _PLACE, _DIRECTION, _SPEED, _SIZE = 1.0, 0.7, 0.6, 0.5, 0.5  # weights
_OCTAVES = 4.0  # of speed or size that span the right angle, from a quarter of the usual on


def event_signature(event: Event, size: tuple[int, int]) -> FloatArray:
    """Signature of an event: kind, place, direction, speed and size as one unit vector.

    Parameters
    ----------
    size : (height, width) of the frames in pixels.

    Returns
    -------
    float32 (25,), of length 1.
    """
    kind = np.array([event.kind == name for name in _KINDS], np.float64)
    track = event.tracks[0] if event.tracks else None
    direction = np.zeros(2)
    if track is not None and track.direction:
        (x0, y0), (x1, y1) = (_middle(box) for _, box in (track.path[0], track.path[-1]))
        direction = _unit(np.array([x1 - x0, y1 - y0]))
    parts = (
        _KIND * kind,
        _PLACE * _place(event, size),
        _DIRECTION * direction,
        _SPEED * _ratio_angle(track.speed_ratio if track else 1.0),
        _SIZE * _ratio_angle(track.size_ratio if track else 1.0),
    )
    return _unit(np.concatenate(parts)).astype(np.float32)


def _place(event: Event, size: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Soft assignment of the centre of the event's box to a 3×3 grid; uniform without a box."""
    if event.box is None:
        return _unit(np.ones(_GRID**2))
    x, y = _middle(event.box)
    at = np.array([x / size[1], y / size[0]])
    steps = (np.arange(_GRID) + 0.5) / _GRID
    grid = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    return _unit(np.exp(-0.5 * ((grid - at) ** 2).sum(axis=1) / _PLACE_SIGMA**2))


def _ratio_angle(ratio: float) -> npt.NDArray[np.float64]:
    """A ratio as a point on a quarter circle by its logarithm, so that each octave is as far apart."""
    angle = np.clip((np.log2(max(ratio, 1e-3)) + 2) / _OCTAVES, 0, 1) * np.pi / 2
    return np.array([np.cos(angle), np.sin(angle)])


def _middle(box: tuple[int, int, int, int]) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def _unit(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    length = float(np.linalg.norm(values))
    return values / length if length else values
