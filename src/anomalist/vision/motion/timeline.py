"""Timeline of a whole clip: its score curve, events, intrusions into forbidden zones, and camera faults."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from anomalist.types.clip import Event, JumpKind, Mode, OtherPicture, TimeJump, Trouble, TroubleKind
from anomalist.types.common import Box, FloatArray
from anomalist.vision.media.frames import Frame
from anomalist.vision.motion.anomalies import AnomalyLinker, LocalAnomaly, is_explained_away
from anomalist.vision.motion.events import EventBuilder, Moment
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
_LINE_MARGIN = 2.5  # seconds around what is listed of a thing, so that its score can fall
_FLOOR_SHARE = 0.7  # of the lower threshold: smoothing lets lower scores pass it
_MAX_TROUBLE_GAP = 1.0  # seconds that one camera fault bridges
_TROUBLE_ONSET: Mapping[TroubleKind, float] = {"moving": 1.5, "moved": 1.5}
"""Seconds before its detection in which a camera fault may already mislead: a slow pan starts with a fraction
of a pixel, which makes fine texture foreground. Faults that hide the scene start at once."""


_MISTAKEN = frozenset({"covered", "moved", "moving"})
_CHANGE_SECONDS = 1.0  # that a picture takes at most until its new kind is known


@dataclass(eq=False)
class ClipTimeline:
    """Scores of one clip, added frame by frame; what stands out is kept by the thing that it is about.

    Parameters
    ----------
    floor : score from which local anomalies are kept.
    times, scores, cuts : of each frame.
    troubles : camera faults.
    jumps : where the time can't be trusted.
    other_pictures : where the picture was of another kind than what was learned.
    lines : of each thing, what stood out of it, by number of the frame.
    overlays : boxes of burned-in text that were left out, working pixels.
    intrusions : frames in which something was in a forbidden zone, by number.
    lost : seconds of the clip that could not be read.
    """

    floor: float
    times: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    cuts: list[bool] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    jumps: list[TimeJump] = field(default_factory=list)
    other_pictures: list[OtherPicture] = field(default_factory=list)
    lines: dict[int, dict[int, LocalAnomaly]] = field(default_factory=dict)
    overlays: tuple[Box, ...] = ()
    intrusions: dict[int, FrameScore] = field(default_factory=dict)
    lost: float = 0.0
    _linker: AnomalyLinker = field(default_factory=AnomalyLinker)

    def add(self, frame_score: FrameScore) -> None:
        """Take the next frame score."""
        index = len(self.times)
        if frame_score.kind:
            self._other_picture(frame_score.kind, frame_score.time)
        if frame_score.cut:
            self._linker.reset()
            self.jumps.append(jump_of(frame_score))
        for number, anomaly in self._linker.highest(frame_score.anomalies, frame_score.time).items():
            self.lines.setdefault(number, {})[index] = anomaly
        if frame_score.intruded_zones:
            self.intrusions[index] = frame_score
        self.times.append(frame_score.time)
        self.scores.append(frame_score.score)
        self.cuts.append(frame_score.cut)
        if frame_score.trouble is not None:
            self._trouble(frame_score.trouble, frame_score.time)

    def smooth(self, mode: Mode) -> FloatArray:
        """The smoothed scores, float32 (n,)."""
        times, values = np.array(self.times), np.array(self.scores, np.float32)
        return smooth_scores(times, values, mode, np.array(self.cuts, np.bool_))

    def line_segments(self, number: int, mode: Mode, threshold: float) -> list[TemporalSegment]:
        """The stretches in which one thing stood out."""
        line = self.lines[number]
        if not line:
            return []
        times = np.array(self.times)
        first = np.searchsorted(times, times[min(line)] - _LINE_MARGIN)
        last = np.searchsorted(times, times[max(line)] + _LINE_MARGIN, side="right")
        whole = np.array(self.scores[first:last], np.float32)
        # Where it isn't listed it stood out less than the floor.
        values = np.where(np.isfinite(whole), np.minimum(whole, self.floor), np.nan).astype(np.float32)
        for index, anomaly in line.items():
            values[index - first] = anomaly.score
        cuts = np.array(self.cuts[first:last], np.bool_)
        curve = smooth_scores(times[first:last], values, mode, cuts)
        return temporal_segments(times[first:last].tolist(), curve.tolist(), threshold, cuts.tolist())

    def moments(self, number: int, segment: TemporalSegment) -> list[Moment]:
        """What stood out of one thing in a stretch."""
        start, end = segment.start - OFFLINE_SIGMA, segment.end + OFFLINE_SIGMA
        listed = sorted(self.lines[number].items())
        return [(self.times[i], anomaly) for i, anomaly in listed if start <= self.times[i] <= end]

    @property
    def judged(self) -> float:
        """Share of the clip that could be judged by all that was learned; its first frame never can."""
        known = np.isfinite(self.scores)
        times = np.array(self.times)
        for each in self.other_pictures:
            known &= (times < each.start) | (times > each.end)
        share = float(known.sum() / max(len(self.scores) - 1, 1))
        if not self.lost or len(times) < 2:
            return share
        read = len(times) * float(np.median(np.diff(times)))
        return share * read / (read + self.lost)

    @property
    def longest_judged(self) -> float:
        """Seconds from the first to the last frame of the longest stretch that could be judged."""
        longest, first = 0.0, None
        for time, score, cut in zip(self.times, self.scores, self.cuts, strict=True):
            if cut or not np.isfinite(score):
                first = None
            if np.isfinite(score):
                first = time if first is None else first
                longest = max(longest, time - first)
        return longest

    def is_other_picture(self, segment: TemporalSegment) -> bool:
        """Whether the picture was of another kind than what was learned at the peak of a segment."""
        return any(each.start <= segment.peak <= each.end for each in self.other_pictures)

    def _other_picture(self, kind: str, time: float) -> None:
        last = self.other_pictures[-1] if self.other_pictures else None
        if last is not None and last.kind == kind and time - last.end <= _MAX_TROUBLE_GAP:
            self.other_pictures[-1] = last.replace(end=time)
            return
        # While it changes it looks as if the camera were covered or moved.
        self.troubles = [
            each for each in self.troubles if each.kind not in _MISTAKEN or each.end < time - _CHANGE_SECONDS
        ]
        self._discard_since(time - _CHANGE_SECONDS)
        start = max(time - _CHANGE_SECONDS, self.times[0] if self.times else time)
        if last is not None:
            start = max(start, last.end)
        self.other_pictures.append(OtherPicture(kind=kind, start=round(start, 3), end=time))

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
            self.intrusions.pop(index, None)
            for line in self.lines.values():
                line.pop(index, None)
            if self.cuts[index]:
                return


def anomaly_floor(threshold: float) -> float:
    """Score from which a local anomaly may be a part of an event, its rise and its fall included."""
    return _FLOOR_SHARE * HYSTERESIS_RATIO * threshold


def jump_of(frame_score: FrameScore) -> TimeJump:
    """The jump of time before a frame that is a cut."""
    seconds = frame_score.jump
    kind: JumpKind = "gap" if seconds > 0 else "restart" if seconds < 0 else "break"
    return TimeJump(time=round(frame_score.time, 3), seconds=round(seconds, 3) or None, kind=kind)


def score_clip(
    frames: Iterable[Frame],
    scene: Scene,
    threshold: float,
    zones: Sequence[Zone] | None = None,
    on_frame: Callable[[float], None] = lambda _: None,
) -> ClipTimeline:
    """Score a clip from its first frame to its last; ``on_frame`` is called with the time of each frame."""
    floor = anomaly_floor(threshold)
    scorer = FrameScorer(scene, zones, floor=floor)
    timeline = ClipTimeline(floor)
    for frame_score in scorer.score_all(frames):
        timeline.add(frame_score)
        on_frame(frame_score.time)
    timeline.overlays = tuple(scorer.overlays)
    return timeline


def detect_events(timeline: ClipTimeline, builder: EventBuilder, threshold: float) -> tuple[Event, ...]:
    """The events of a clip in order of time: each thing above the threshold, and intrusions into zones."""
    found: list[tuple[TemporalSegment, int | str]] = [
        (segment, number)
        for number in timeline.lines
        for segment in timeline.line_segments(number, builder.mode, threshold)
    ]
    found += _intrusion_segments(timeline)
    found = [pair for pair in found if not _explained_away(timeline, pair, found)]
    found.sort(key=lambda pair: (pair[0].start, pair[0].end))
    judged = [t for t, s in zip(timeline.times, timeline.scores, strict=True) if np.isfinite(s)]
    events: list[Event] = []
    for segment, what in found:
        if isinstance(what, str):
            inside = [m for m in timeline.intrusions.values() if segment.start <= m.time <= segment.end]
            events.append(builder.intrusion(len(events) + 1, what, segment, inside))
        elif moments := timeline.moments(what, segment):
            ends = (
                segment.start - judged[0] <= _MAX_MISSING_ENDS
                and judged[-1] - segment.end <= _MAX_MISSING_ENDS
            )
            whole = ends and timeline.judged >= _MIN_JUDGED_SHARE
            events.append(builder.event(len(events) + 1, segment, moments, throughout=whole))
    return tuple(events)


def _explained_away(
    timeline: ClipTimeline,
    candidate: tuple[TemporalSegment, int | str],
    others: Sequence[tuple[TemporalSegment, int | str]],
) -> bool:
    """Whether it is a thing's motion that others at the same time explain; see `is_explained_away`."""
    segment, number = candidate
    if isinstance(number, str):
        return False
    beside = (
        other.score
        for other, what in others
        if not isinstance(what, str) and other.start <= segment.end and segment.start <= other.end
    )
    moments, other_picture = timeline.moments(number, segment), timeline.is_other_picture(segment)
    return is_explained_away(moments, segment.score, beside, other_picture=other_picture)


def _intrusion_segments(timeline: ClipTimeline) -> list[tuple[TemporalSegment, int | str]]:
    names = sorted(
        {name for frame_score in timeline.intrusions.values() for name in frame_score.intruded_zones}
    )
    found: list[tuple[TemporalSegment, int | str]] = []
    for name in names:
        segmenter = HysteresisSegmenter(0.5)
        for index, time in enumerate(timeline.times):
            ended = segmenter.finish() if timeline.cuts[index] else None
            found += [(ended, name)] if ended else []
            frame_score = timeline.intrusions.get(index)
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
