"""Score a whole clip: its score curve, events, intrusions into zones, and camera faults."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from anomalist.types.clip import Event, Mode, Trouble, TroubleKind
from anomalist.types.common import FloatArray
from anomalist.vision.media.frames import Frame
from anomalist.vision.motion.events import EventBuilder
from anomalist.vision.motion.scene import Scene, Zone
from anomalist.vision.motion.scoring import FrameScore, FrameScorer
from anomalist.vision.motion.temporal import (
    HYSTERESIS_RATIO,
    OFFLINE_SIGMA,
    HysteresisSegmenter,
    TemporalSegment,
    smooth_scores,
    temporal_segments,
)

MAX_CURVE_POINTS = 2000
_MAX_MISSING_ENDS = 1.0  # seconds at both ends that may be missing of an event that lasts throughout, ...
_MIN_JUDGED_SHARE = 0.5  # ... of a clip that could be judged to this share at least
_MAX_TROUBLE_GAP = 1.0  # seconds
_TROUBLE_ONSET: Mapping[TroubleKind, float] = {"moving": 1.5, "moved": 1.5}
"""Seconds before a trouble is noticed in which it may already mislead: a slow pan starts with a fraction of a
pixel, which makes fine texture stand out. What hides the scene at once isn't among them."""


@dataclass(eq=False)
class ClipTimeline:
    """Scores of one clip; grows frame by frame and keeps details only of what is unusual.

    Parameters
    ----------
    detail_threshold : score from which on a frame is kept with its details.
    """

    detail_threshold: float
    times: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    cuts: list[bool] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    moments: dict[int, FrameScore] = field(default_factory=dict)

    def add(self, moment: FrameScore) -> None:
        """Take the next moment."""
        if moment.intruded_zones or moment.score >= self.detail_threshold:
            self.moments[len(self.times)] = moment
        self.times.append(moment.time)
        self.scores.append(moment.score)
        self.cuts.append(moment.cut)
        if moment.trouble is not None:
            self._trouble(moment.trouble, moment.time)

    def smooth(self, mode: Mode) -> FloatArray:
        """The smoothed scores, float32 (n,)."""
        times, values = np.array(self.times), np.array(self.scores, np.float32)
        return smooth_scores(times, values, mode, np.array(self.cuts, np.bool_))

    def between(self, start: float, end: float) -> list[FrameScore]:
        """The frame scores that were kept of a temporal segment."""
        return [moment for moment in self.moments.values() if start <= moment.time <= end]

    @property
    def judged(self) -> float:
        """Share of the frames that could be judged; the first of a clip never can."""
        known = np.isfinite(self.scores).sum()
        return float(known / max(len(self.scores) - 1, 1))

    def _trouble(self, kind: TroubleKind, time: float) -> None:
        last = self.troubles[-1] if self.troubles else None
        if last is not None and last.kind == kind and time - last.end <= _MAX_TROUBLE_GAP:
            self.troubles[-1] = last.replace(end=time)
        else:
            self.troubles.append(Trouble(kind=kind, start=time, end=time))
            self._forget_since(time - _TROUBLE_ONSET.get(kind, 0.0))

    def _forget_since(self, start: float) -> None:
        """What was judged from ``start`` on, back to a cut at most, can't be trusted."""
        for index in range(len(self.times) - 1, -1, -1):
            if self.times[index] < start:
                return
            self.scores[index] = float("nan")
            self.moments.pop(index, None)
            if self.cuts[index]:
                return


def score_clip(
    frames: Iterable[Frame],
    scene: Scene,
    threshold: float,
    zones: Sequence[Zone] | None = None,
    seen: Callable[[float], None] = lambda _: None,
) -> ClipTimeline:
    """Score a clip from its first frame to its last; ``seen`` is called with the time of each frame."""
    watcher = FrameScorer(scene, zones)
    # A smoothed score above the lower limit has at least one raw score above it nearby.
    timeline = ClipTimeline(detail_threshold=HYSTERESIS_RATIO * threshold)
    for moment in watcher.watching(frames):
        timeline.add(moment)
        seen(moment.time)
    return timeline


def detect_events(timeline: ClipTimeline, maker: EventBuilder, threshold: float) -> tuple[Event, ...]:
    """The events of a clip, in order of time: stretches above the threshold, and intrusions."""
    curve = timeline.smooth(maker.mode)
    found: list[tuple[TemporalSegment, str | None]] = [
        (stretch, None)
        for stretch in temporal_segments(timeline.times, curve.tolist(), threshold, timeline.cuts)
    ]
    found += _intrusion_segments(timeline)
    found.sort(key=lambda pair: pair[0].start)
    judged = [t for t, s in zip(timeline.times, timeline.scores, strict=True) if np.isfinite(s)]
    events: list[Event] = []
    for stretch, zone in found:
        moments = timeline.between(stretch.start - OFFLINE_SIGMA, stretch.end + OFFLINE_SIGMA)
        if zone is not None:
            events.append(maker.intrusion(len(events) + 1, zone, stretch, moments))
        elif any(moment.judged for moment in moments):
            ends = (
                stretch.start - judged[0] <= _MAX_MISSING_ENDS
                and judged[-1] - stretch.end <= _MAX_MISSING_ENDS
            )
            whole = ends and timeline.judged >= _MIN_JUDGED_SHARE
            events.append(maker.event(len(events) + 1, stretch, moments, throughout=whole))
    return tuple(events)


def _intrusion_segments(timeline: ClipTimeline) -> list[tuple[TemporalSegment, str | None]]:
    names = sorted({name for moment in timeline.moments.values() for name in moment.intruded_zones})
    found: list[tuple[TemporalSegment, str | None]] = []
    for name in names:
        machine = HysteresisSegmenter(0.5)
        for index, time in enumerate(timeline.times):
            ended = machine.finish() if timeline.cuts[index] else None
            found += [(ended, name)] if ended else []
            moment = timeline.moments.get(index)
            over = machine.push(time, float(moment is not None and name in moment.intruded_zones))
            found += [(over, name)] if over else []
        last = machine.finish()
        found += [(last, name)] if last else []
    return found


def downsample_curve(times: Sequence[float], scores: FloatArray) -> tuple[tuple[float, float | None], ...]:
    """A curve of 2,000 points at most: the highest of every few; None where nothing was judged."""
    if not len(times):
        return ()
    edges = np.unique(np.linspace(0, len(times), min(MAX_CURVE_POINTS, len(times)) + 1).astype(int))
    points: list[tuple[float, float | None]] = []
    for low, high in pairwise(edges.tolist()):
        part: npt.NDArray[np.float32] = scores[low:high]
        if np.isfinite(part).any():
            top = int(np.nanargmax(part))
            points.append((round(times[low + top], 3), round(float(part[top]), 4)))
        else:
            points.append((round(times[low], 3), None))
    return tuple(points)
