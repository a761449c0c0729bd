"""A whole clip: its scores in time, its events, and what could not be judged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from anomalist.clips import Event, Mode, Trouble, TroubleKind
from anomalist.types import FloatArray
from anomalist.vision.motion.events import EventMaker
from anomalist.vision.motion.scene import Scene
from anomalist.vision.motion.smoothing import SIGMA, smoothed
from anomalist.vision.motion.stretches import STAY, Stretch, Stretches, stretches
from anomalist.vision.motion.watching import Moment, Watcher
from anomalist.vision.motion.zones import Zone
from anomalist.vision.video.frames import Frame

MOST_POINTS = 2000
_WHOLE = 1.0  # seconds at both ends that may be missing of an event that lasts throughout, ...
_MOSTLY = 0.5  # ... of a clip that could be judged to this share at least
_TROUBLE_GAP = 1.0  # seconds
_CREEPING: Mapping[TroubleKind, float] = {"moving": 1.5, "moved": 1.5}
"""Seconds before a trouble is noticed in which it may already mislead: a slow pan starts with a fraction of a
pixel, which makes fine texture stand out. What hides the scene at once isn't among them."""


@dataclass(eq=False)
class Timeline:
    """What was seen of one clip; grows frame by frame and keeps details only of what is unusual.

    Parameters
    ----------
    interesting : score from which on a moment is kept with its details.
    """

    interesting: float
    times: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    cuts: list[bool] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    moments: dict[int, Moment] = field(default_factory=dict)

    def add(self, moment: Moment) -> None:
        """Take the next moment."""
        if moment.intruded or moment.score >= self.interesting:
            self.moments[len(self.times)] = moment
        self.times.append(moment.time)
        self.scores.append(moment.score)
        self.cuts.append(moment.cut)
        if moment.trouble is not None:
            self._trouble(moment.trouble, moment.time)

    def smooth(self, mode: Mode) -> FloatArray:
        """The smoothed scores, float32 (n,)."""
        times, values = np.array(self.times), np.array(self.scores, np.float32)
        return smoothed(times, values, mode, np.array(self.cuts, np.bool_))

    def between(self, start: float, end: float) -> list[Moment]:
        """The moments that were kept of a stretch."""
        return [moment for moment in self.moments.values() if start <= moment.time <= end]

    @property
    def judged(self) -> float:
        """Share of the frames that could be judged; the first of a clip never can."""
        known = np.isfinite(self.scores).sum()
        return float(known / max(len(self.scores) - 1, 1))

    def _trouble(self, kind: TroubleKind, time: float) -> None:
        last = self.troubles[-1] if self.troubles else None
        if last is not None and last.kind == kind and time - last.end <= _TROUBLE_GAP:
            self.troubles[-1] = last.model_copy(update={"end": time})
        else:
            self.troubles.append(Trouble(kind=kind, start=time, end=time))
            self._forget_since(time - _CREEPING.get(kind, 0.0))

    def _forget_since(self, start: float) -> None:
        """What was judged from ``start`` on, back to a cut at most, can't be trusted."""
        for index in range(len(self.times) - 1, -1, -1):
            if self.times[index] < start:
                return
            self.scores[index] = float("nan")
            self.moments.pop(index, None)
            if self.cuts[index]:
                return


def look_through(
    frames: Iterable[Frame],
    scene: Scene,
    threshold: float,
    zones: Sequence[Zone] | None = None,
    seen: Callable[[float], None] = lambda _: None,
) -> Timeline:
    """Watch a clip from its first frame to its last; ``seen`` is told the time of each frame."""
    watcher = Watcher(scene, zones)
    # A smoothed score above the lower limit has at least one raw score above it nearby.
    timeline = Timeline(interesting=STAY * threshold)
    for moment in watcher.watching(frames):
        timeline.add(moment)
        seen(moment.time)
    return timeline


def events_of(timeline: Timeline, maker: EventMaker, threshold: float) -> tuple[Event, ...]:
    """The events of a clip, in order of time: stretches above the threshold, and intrusions."""
    curve = timeline.smooth(maker.mode)
    found: list[tuple[Stretch, str | None]] = [
        (stretch, None) for stretch in stretches(timeline.times, curve.tolist(), threshold, timeline.cuts)
    ]
    found += _intrusions(timeline)
    found.sort(key=lambda pair: pair[0].start)
    judged = [t for t, s in zip(timeline.times, timeline.scores, strict=True) if np.isfinite(s)]
    events: list[Event] = []
    for stretch, zone in found:
        moments = timeline.between(stretch.start - SIGMA, stretch.end + SIGMA)
        if zone is not None:
            events.append(maker.intrusion(len(events) + 1, zone, stretch, moments))
        elif any(moment.judged for moment in moments):
            ends = stretch.start - judged[0] <= _WHOLE and judged[-1] - stretch.end <= _WHOLE
            whole = ends and timeline.judged >= _MOSTLY
            events.append(maker.event(len(events) + 1, stretch, moments, throughout=whole))
    return tuple(events)


def _intrusions(timeline: Timeline) -> list[tuple[Stretch, str | None]]:
    names = sorted({name for moment in timeline.moments.values() for name in moment.intruded})
    found: list[tuple[Stretch, str | None]] = []
    for name in names:
        machine = Stretches(0.5)
        for index, time in enumerate(timeline.times):
            ended = machine.finish() if timeline.cuts[index] else None
            found += [(ended, name)] if ended else []
            moment = timeline.moments.get(index)
            over = machine.push(time, float(moment is not None and name in moment.intruded))
            found += [(over, name)] if over else []
        last = machine.finish()
        found += [(last, name)] if last else []
    return found


def thinned(times: Sequence[float], scores: FloatArray) -> tuple[tuple[float, float | None], ...]:
    """A curve of 2,000 points at most: the highest of every few; None where nothing was judged."""
    if not len(times):
        return ()
    edges = np.unique(np.linspace(0, len(times), min(MOST_POINTS, len(times)) + 1).astype(int))
    points: list[tuple[float, float | None]] = []
    for low, high in pairwise(edges.tolist()):
        part: npt.NDArray[np.float32] = scores[low:high]
        if np.isfinite(part).any():
            top = int(np.nanargmax(part))
            points.append((round(times[low + top], 3), round(float(part[top]), 4)))
        else:
            points.append((round(times[low], 3), None))
    return tuple(points)
