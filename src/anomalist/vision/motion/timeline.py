"""Timeline of a whole clip: its score curve, events, intrusions into forbidden zones, and camera faults."""

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
"""Points of a stored score curve at most."""
_MAX_MISSING_ENDS = 1.0  # seconds that an event that lasts throughout may miss at either end, ...
_MIN_JUDGED_SHARE = 0.5  # ... of a clip of which this share could be judged
_MAX_TROUBLE_GAP = 1.0  # seconds that one camera fault bridges
_TROUBLE_ONSET: Mapping[TroubleKind, float] = {"moving": 1.5, "moved": 1.5}
"""Seconds before its detection in which a camera fault may already mislead: a slow pan starts with a fraction
of a pixel, which makes fine texture foreground. Faults that hide the scene start at once."""


@dataclass(eq=False)
class ClipTimeline:
    """Scores of one clip, added frame by frame; full frame scores are kept only where they are high.

    Parameters
    ----------
    detail_threshold : score from which a frame score is kept whole.
    times, scores, cuts : of each frame.
    troubles : camera faults.
    frame_scores : those that are kept, by number of the frame.
    """

    detail_threshold: float
    times: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    cuts: list[bool] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    frame_scores: dict[int, FrameScore] = field(default_factory=dict)

    def add(self, frame_score: FrameScore) -> None:
        """Take the next frame score."""
        if frame_score.intruded_zones or frame_score.score >= self.detail_threshold:
            self.frame_scores[len(self.times)] = frame_score
        self.times.append(frame_score.time)
        self.scores.append(frame_score.score)
        self.cuts.append(frame_score.cut)
        if frame_score.trouble is not None:
            self._trouble(frame_score.trouble, frame_score.time)

    def smooth(self, mode: Mode) -> FloatArray:
        """The smoothed scores, float32 (n,)."""
        times, values = np.array(self.times), np.array(self.scores, np.float32)
        return smooth_scores(times, values, mode, np.array(self.cuts, np.bool_))

    def between(self, start: float, end: float) -> list[FrameScore]:
        """The frame scores that were kept of a temporal segment."""
        return [frame_score for frame_score in self.frame_scores.values() if start <= frame_score.time <= end]

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
            self._discard_since(time - _TROUBLE_ONSET.get(kind, 0.0))

    def _discard_since(self, start: float) -> None:
        """Mark what was judged from ``start`` on, back to a cut at most, as not judged."""
        for index in range(len(self.times) - 1, -1, -1):
            if self.times[index] < start:
                return
            self.scores[index] = float("nan")
            self.frame_scores.pop(index, None)
            if self.cuts[index]:
                return


def score_clip(
    frames: Iterable[Frame],
    scene: Scene,
    threshold: float,
    zones: Sequence[Zone] | None = None,
    on_frame: Callable[[float], None] = lambda _: None,
) -> ClipTimeline:
    """Score a clip from its first frame to its last; ``on_frame`` is called with the time of each frame."""
    scorer = FrameScorer(scene, zones)
    # A smoothed score above the lower limit has at least one raw score above it nearby.
    timeline = ClipTimeline(detail_threshold=HYSTERESIS_RATIO * threshold)
    for frame_score in scorer.score_all(frames):
        timeline.add(frame_score)
        on_frame(frame_score.time)
    return timeline


def detect_events(timeline: ClipTimeline, builder: EventBuilder, threshold: float) -> tuple[Event, ...]:
    """The events of a clip in order of time: segments above the threshold, and intrusions into zones."""
    curve = timeline.smooth(builder.mode)
    found: list[tuple[TemporalSegment, str | None]] = [
        (segment, None)
        for segment in temporal_segments(timeline.times, curve.tolist(), threshold, timeline.cuts)
    ]
    found += _intrusion_segments(timeline)
    found.sort(key=lambda pair: pair[0].start)
    judged = [t for t, s in zip(timeline.times, timeline.scores, strict=True) if np.isfinite(s)]
    events: list[Event] = []
    for segment, zone in found:
        frame_scores = timeline.between(segment.start - OFFLINE_SIGMA, segment.end + OFFLINE_SIGMA)
        if zone is not None:
            events.append(builder.intrusion(len(events) + 1, zone, segment, frame_scores))
        elif any(frame_score.judged for frame_score in frame_scores):
            ends = (
                segment.start - judged[0] <= _MAX_MISSING_ENDS
                and judged[-1] - segment.end <= _MAX_MISSING_ENDS
            )
            whole = ends and timeline.judged >= _MIN_JUDGED_SHARE
            events.append(builder.event(len(events) + 1, segment, frame_scores, throughout=whole))
    return tuple(events)


def _intrusion_segments(timeline: ClipTimeline) -> list[tuple[TemporalSegment, str | None]]:
    names = sorted(
        {name for frame_score in timeline.frame_scores.values() for name in frame_score.intruded_zones}
    )
    found: list[tuple[TemporalSegment, str | None]] = []
    for name in names:
        segmenter = HysteresisSegmenter(0.5)
        for index, time in enumerate(timeline.times):
            ended = segmenter.finish() if timeline.cuts[index] else None
            found += [(ended, name)] if ended else []
            frame_score = timeline.frame_scores.get(index)
            over = segmenter.push(time, float(frame_score is not None and name in frame_score.intruded_zones))
            found += [(over, name)] if over else []
        last = segmenter.finish()
        found += [(last, name)] if last else []
    return found


def downsample_curve(times: Sequence[float], scores: FloatArray) -> tuple[tuple[float, float | None], ...]:
    """Reduce a score curve to ``MAX_CURVE_POINTS`` by maxima; None where nothing was judged."""
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
