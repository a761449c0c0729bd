"""Which events are one stretch worth watching, and which are the same thing seen again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from anomalist.clips import ClipRecord, Event, Track
from anomalist.types import Frozen

CLOSE = 5.0
"""Seconds between two events up to which they can be one."""

_REACH = 0.5  # of its own size, by which the place of an event is widened on each side
_SHARED = 0.5  # of the smaller of two places, for them to be the same
_SIMILAR = 1.5  # the larger by the smaller of two measures, at most

Place = tuple[float, float, float, float]


class Sighting(Frozen):
    """A stretch of one source in which a thing was seen: one event, or several that are one."""

    source: str
    start: float
    end: float
    events: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Seen:
    """An event with the record that it comes from."""

    record: ClipRecord
    event: Event

    @property
    def key(self) -> str:
        """What it is called across sources."""
        return event_key(self.record.source, self.event.id)

    @cached_property
    def place(self) -> Place | None:
        """Where it was on its whole way, as shares of the frame; None stands for all of it."""
        boxes = [] if self.event.box is None else [self.event.box]
        boxes += [box for track in self.event.tracks[:1] for _, box in track.path]
        if not boxes or self.event.box is None:
            return None
        wide, high = self.record.width or 1, self.record.height or 1
        return (
            min(box[0] for box in boxes) / wide,
            min(box[1] for box in boxes) / high,
            max(box[2] for box in boxes) / wide,
            max(box[3] for box in boxes) / high,
        )

    @property
    def over_threshold(self) -> float | None:
        """How many times the threshold its score is; None where there is none to speak of."""
        threshold = self.record.threshold
        if self.event.kind == "forbidden zone" or threshold is None or not threshold > 0:
            return None
        return self.event.score / threshold

    @property
    def matches(self) -> tuple[str, ...]:
        """What it matches of what was asked to be watched for."""
        return tuple(match.item for match in self.event.watched if match.matched)


def event_key(source: str, event_id: str) -> str:
    """Name an event across sources: "yard.mp4#E2"."""
    return f"{source}#{event_id}"


def merged(seen: Sequence[Seen]) -> list[list[Seen]]:
    """Part events into stretches: those of one source that are close in time, place and kind are together.

    Closeness passes on: the first and the last of a stretch may be far apart.
    """
    groups: dict[tuple[str, str, str | None], list[list[Seen]]] = {}
    for item in sorted(seen, key=lambda item: (item.record.source, item.event.start, item.key)):
        stretches = groups.setdefault((item.record.source, item.event.kind, item.event.zone), [])
        joined = [stretch for stretch in stretches if any(_close(item, other) for other in stretch)]
        stretches[:] = [stretch for stretch in stretches if stretch not in joined]
        stretches.append([*(other for stretch in joined for other in stretch), item])
    return [stretch for stretches in groups.values() for stretch in stretches]


def alike(one: Seen, other: Seen) -> bool:
    """Say whether two events show the same thing: kind, severity, place, direction, similar measures.

    Places of different sources can be compared only within one scene. What was asked to be watched for is
    never taken together with what was not.
    """
    scenes = one.record.scene is not None and one.record.scene == other.record.scene
    if not (scenes or one.record.source == other.record.source):
        return False
    a, b = one.event, other.event
    same = (a.kind, a.severity, a.zone, _direction(a)) == (b.kind, b.severity, b.zone, _direction(b))
    if not same or set(one.matches) != set(other.matches) or not _same_place(one.place, other.place):
        return False
    pairs = zip(_measures(a), _measures(b), strict=True)
    return all((x is None) == (y is None) and _similar(x or 0, y or 0) for x, y in pairs)


def _close(one: Seen, other: Seen) -> bool:
    """Say whether two events of one source, kind and zone are close in time and place."""
    apart = max(one.event.start, other.event.start) - min(one.event.end, other.event.end)
    return apart <= CLOSE and _touching(one.place, other.place)


def _touching(one: Place | None, other: Place | None) -> bool:
    if one is None or other is None:  # all of the picture
        return True
    reach = [_REACH * min(one[2 + i] - one[i], other[2 + i] - other[i]) for i in (0, 1)]
    return all(max(one[i], other[i]) - min(one[2 + i], other[2 + i]) <= reach[i] for i in (0, 1))


def _same_place(one: Place | None, other: Place | None) -> bool:
    if one is None or other is None:
        return one is other
    sides = [max(0.0, min(one[2 + i], other[2 + i]) - max(one[i], other[i])) for i in (0, 1)]
    smaller = min((place[2] - place[0]) * (place[3] - place[1]) for place in (one, other))
    return sides[0] * sides[1] >= _SHARED * smaller


def _leading(event: Event) -> Track | None:
    return event.tracks[0] if event.tracks else None


def _direction(event: Event) -> str:
    track = _leading(event)
    return track.direction if track else ""


def _measures(event: Event) -> tuple[float | None, ...]:
    """Speed and size against the usual, and the value of what stood out."""
    track = _leading(event)
    value = next((measured.value for measured in event.measures if measured.name == event.kind), None)
    return (track.speed_ratio, track.size_ratio, value) if track else (None, None, value)


def _similar(one: float, other: float) -> bool:
    low, high = sorted((abs(one), abs(other)))
    return high <= _SIMILAR * low or high < 1e-6
