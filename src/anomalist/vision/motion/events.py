"""From a stretch of unusual moments to an event: who, what, where, since when."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anomalist.clips import Event, Measured, MeasureName, Mode, Track
from anomalist.types import Box
from anomalist.vision.motion.captions import UNITS, Facts, caption_of
from anomalist.vision.motion.eye import SLOWEST
from anomalist.vision.motion.measures import MEASURES
from anomalist.vision.motion.scene import Scene
from anomalist.vision.motion.stretches import Stretch
from anomalist.vision.motion.tracked import scaled, track_of
from anomalist.vision.motion.tracks import Trail
from anomalist.vision.motion.watching import Moment
from anomalist.vision.motion.zones import Zone, cells_in

_STANDS_OUT = 1.0
_TRACKS = 3  # told of one event
_INVOLVED = 0.15  # of the event's moments, in which a track leads or follows


@dataclass(frozen=True, eq=False)
class EventMaker:
    """Makes events of one clip.

    Parameters
    ----------
    size : (height, width) of its frames.
    zones : drawn by a person.
    """

    scene: Scene
    mode: Mode
    size: tuple[int, int]
    zones: Sequence[Zone] = ()

    def event(self, number: int, stretch: Stretch, moments: Sequence[Moment], *, throughout: bool) -> Event:
        """The event of a stretch.

        Parameters
        ----------
        moments : of the stretch, in order; at least one was judged.
        """
        judged = [moment for moment in moments if moment.judged]
        peak = min(judged, key=lambda moment: abs(moment.time - stretch.peak))
        kind = _kind(judged)
        tracks = self._tracks(judged, stretch.peak)
        measures = _measures(judged, kind)
        box = self._box(judged, peak, tracks)
        zones = self._zones_at(box)
        value = next((m.value for m in measures if m.name == kind), 0.0)
        facts = Facts(
            kind=kind,
            value=value,
            usual=None,
            track=tracks[0] if tracks else None,
            box=box,
            size=self.size,
            zones=zones,
            start=stretch.start,
            end=stretch.end,
        )
        return self._made(number, stretch, facts, measures, tracks, throughout=throughout)

    def intrusion(self, number: int, zone: str, stretch: Stretch, moments: Sequence[Moment]) -> Event:
        """The event of something being in a forbidden zone."""
        tracks = self._tracks([m for m in moments if m.judged], stretch.peak)
        drawn = next(z for z in self.zones if z.name == zone)
        height, width = self.size
        x, y = (np.array([corner[axis] for corner in drawn.polygon]) for axis in (0, 1))
        box = (int(x.min() * width), int(y.min() * height), int(x.max() * width), int(y.max() * height))
        facts = Facts("forbidden zone", 1.0, 0.0, None, box, self.size, (zone,), stretch.start, stretch.end)
        return self._made(number, stretch, facts, (), tracks, throughout=False)

    def _made(
        self,
        number: int,
        stretch: Stretch,
        facts: Facts,
        measures: tuple[Measured, ...],
        tracks: tuple[Track, ...],
        *,
        throughout: bool,
    ) -> Event:
        per_hour = self.scene.blocks(self.mode).per_hour(stretch.score)
        return Event(
            id=f"E{number}",
            start=round(stretch.start, 3),
            end=round(stretch.end, 3),
            peak=round(stretch.peak, 3),
            score=round(stretch.score, 4),
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

    def _tracks(self, moments: Sequence[Moment], peak: float) -> tuple[Track, ...]:
        # Who is where the surprise is, and how high it is then; the first of a moment counts twice.
        votes: Counter[int] = Counter()
        weight: dict[int, float] = {}
        trails: dict[int, Trail] = {}
        for moment in moments:
            for rank, trail in enumerate(moment.trails):
                votes[trail.number] += 1
                gain = max(moment.score, 0.0) * (2 if rank == 0 else 1)
                weight[trail.number] = weight.get(trail.number, 0.0) + gain
                trails[trail.number] = trail
        often = [number for number, count in votes.items() if count >= _INVOLVED * len(moments)]
        told = sorted(often, key=lambda number: (-weight[number], number))[:_TRACKS]
        slowest = SLOWEST * self.scene.manifest.perspective.middle
        return tuple(track_of(trails[n], self.scene, self._scale, peak, slowest) for n in told)

    def _box(self, moments: Sequence[Moment], peak: Moment, tracks: Sequence[Track]) -> Box | None:
        """Where at the peak: the hot places, as objects that touch are one; else the leading object then."""
        box = peak.box or next((moment.box for moment in moments if moment.box), None)
        if box is not None:
            return scaled(box, self._scale)
        if not tracks:
            return None
        return min(tracks[0].path, key=lambda step: abs(step[0] - peak.time))[1]

    def _zones_at(self, box: Box | None) -> tuple[str, ...]:
        """The zones to be watched in which the middle of a box lies."""
        if box is None:
            return ()
        grid = self.scene.limits.speed.shape
        row = min(int((box[1] + box[3]) / 2 / self.size[0] * grid[0]), grid[0] - 1)
        column = min(int((box[0] + box[2]) / 2 / self.size[1] * grid[1]), grid[1] - 1)
        return tuple(z.name for z in self.zones if z.kind == "watch" and cells_in(z, grid)[row, column])


def _kind(moments: Sequence[Moment]) -> MeasureName:
    """The measure that leads for most of the surprise."""
    weights: dict[MeasureName, float] = dict.fromkeys((moment.leading for moment in moments), 0.0)
    for moment in moments:
        weights[moment.leading] += max(moment.score, 0.01)
    return max(weights, key=lambda name: weights[name])


def _measures(moments: Sequence[Moment], kind: MeasureName) -> tuple[Measured, ...]:
    """The highest of the leading measure and of every other that stands out, the most surprising first."""
    found = []
    for name in MEASURES:
        top = max(moments, key=lambda moment: moment.surprises[name])
        surprise = top.surprises[name]
        if surprise >= _STANDS_OUT or name == kind:
            found.append(
                Measured(
                    name=name,
                    surprise=round(surprise, 3),
                    value=round(top.values[name], 4),
                    unit=UNITS[name],
                )
            )
    return tuple(sorted(found, key=lambda measured: -measured.surprise))
