"""Alert ranking: merge the events of clips, count repeats, and rank the rest, each with its reason.

Events of one source, kind and zone that are close in time and place are merged (single linkage); an alert
that shows the same thing as one that ranks higher is counted there as a repeat. No event is lost.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from pydantic import Field

from anomalist.errors import DataError
from anomalist.memory.ranking import RankAdjustment
from anomalist.report.wording import (
    UNGRADED,
    count,
    explain_feedback,
    format_duration,
    number,
    severity_word,
)
from anomalist.types.clip import ClipRecord, Event, MeasureName, Track
from anomalist.types.common import Frozen

MERGE_GAP_SECONDS = 5.0
"""Seconds between two events up to which they can be one."""

_MERGE_REACH = 0.5  # gap between two boxes that still merge, in sizes of the smaller one
_MIN_OVERLAP = 0.5  # intersection over the smaller box, from which two places are the same
_MAX_RATIO = 1.5  # largest ratio of two measures that count as similar

RelativeBox = tuple[float, float, float, float]


class Occurrence(Frozen):
    """A time span of one source in which a thing was seen: one event, or several merged ones."""

    source: str
    start: float
    end: float
    events: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class ClipEvent:
    """An event with the record that it comes from."""

    record: ClipRecord
    event: Event

    @property
    def key(self) -> str:
        """Key that is unique across sources, as `event_key` gives it."""
        return event_key(self.record.source, self.event.id)

    @cached_property
    def place(self) -> RelativeBox | None:
        """Bounding box of its whole track, as shares of the frame; None: the whole frame."""
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
    def threshold_ratio(self) -> float | None:
        """Score divided by the alarm threshold; None without a positive threshold."""
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


def merge_events(seen: Sequence[ClipEvent]) -> list[list[ClipEvent]]:
    """Merge events of one source, kind and zone that are close in time and place (single linkage).

    Closeness is transitive: the first and the last event of a group may be far apart.
    """
    groups: dict[tuple[str, str, str | None], list[list[ClipEvent]]] = {}
    for item in sorted(seen, key=lambda item: (item.record.source, item.event.start, item.key)):
        stretches = groups.setdefault((item.record.source, item.event.kind, item.event.zone), [])
        joined = [stretch for stretch in stretches if any(_are_close(item, other) for other in stretch)]
        stretches[:] = [stretch for stretch in stretches if stretch not in joined]
        stretches.append([*(other for stretch in joined for other in stretch), item])
    return [stretch for stretches in groups.values() for stretch in stretches]


def is_repeat(one: ClipEvent, other: ClipEvent) -> bool:
    """Say whether two events show the same thing: kind, severity, place, direction, similar measures.

    Places of different sources can be compared only within one scene. What was asked to be watched for is
    never taken together with what was not.
    """
    scenes = one.record.scene is not None and one.record.scene == other.record.scene
    if not (scenes or one.record.source == other.record.source):
        return False
    a, b = one.event, other.event
    same = (a.kind, a.severity, a.zone, _leading_direction(a)) == (
        b.kind,
        b.severity,
        b.zone,
        _leading_direction(b),
    )
    if not same or set(one.matches) != set(other.matches) or not _boxes_overlap(one.place, other.place):
        return False
    pairs = zip(_comparable_measures(a), _comparable_measures(b), strict=True)
    return all((x is None) == (y is None) and _similar_values(x or 0, y or 0) for x, y in pairs)


def _are_close(one: ClipEvent, other: ClipEvent) -> bool:
    """Say whether two events of one source, kind and zone are close in time and place."""
    apart = max(one.event.start, other.event.start) - min(one.event.end, other.event.end)
    return apart <= MERGE_GAP_SECONDS and _boxes_near(one.place, other.place)


def _boxes_near(one: RelativeBox | None, other: RelativeBox | None) -> bool:
    if one is None or other is None:  # all of the picture
        return True
    reach = [_MERGE_REACH * min(one[2 + i] - one[i], other[2 + i] - other[i]) for i in (0, 1)]
    return all(max(one[i], other[i]) - min(one[2 + i], other[2 + i]) <= reach[i] for i in (0, 1))


def _boxes_overlap(one: RelativeBox | None, other: RelativeBox | None) -> bool:
    if one is None or other is None:
        return one is other
    sides = [max(0.0, min(one[2 + i], other[2 + i]) - max(one[i], other[i])) for i in (0, 1)]
    smaller = min((place[2] - place[0]) * (place[3] - place[1]) for place in (one, other))
    return sides[0] * sides[1] >= _MIN_OVERLAP * smaller


def _leading_track(event: Event) -> Track | None:
    return event.tracks[0] if event.tracks else None


def _leading_direction(event: Event) -> str:
    track = _leading_track(event)
    return track.direction if track else ""


def _comparable_measures(event: Event) -> tuple[float | None, ...]:
    """Speed and size against the usual, and the value of what stood out."""
    track = _leading_track(event)
    value = next((measured.value for measured in event.measures if measured.name == event.kind), None)
    return (track.speed_ratio, track.size_ratio, value) if track else (None, None, value)


def _similar_values(one: float, other: float) -> bool:
    low, high = sorted((abs(one), abs(other)))
    return high <= _MAX_RATIO * low or high < 1e-6


_HALF_SCORE_SECONDS = 10.0  # event duration at which its part of the score is half of its maximum

__all__ = ["Alert", "Occurrence", "event_key", "keys_by_rank", "rank_alerts"]


class Alert(Frozen):
    """One thing worth watching."""

    id: str = Field(pattern=r"^A[1-9]\d*$", description="A1 is to be watched first")
    source: str
    start: float = Field(description="of the whole stretch, seconds")
    end: float
    peak: float = Field(description="when the leading event stood out most")
    event: str = Field(description="id of the leading event: the most severe, then the highest score")
    events: tuple[str, ...] = Field(description="ids of all events of this stretch, in time")
    kind: MeasureName
    severity: int = Field(ge=0, le=4)
    score: float = Field(description="of the leading event")
    caption: str = Field(description="of the leading event")
    zone: str | None = None
    watched: tuple[str, ...] = Field((), description="what it matches of what was asked for")
    repeats: tuple[Occurrence, ...] = Field((), description="the same thing seen elsewhere, as it is ranked")
    adjustment: RankAdjustment | None = Field(
        None, description="by feedback on what is alike; None: no opinion"
    )
    urgency: float = Field(description="sort key: severity, plus rank score, watch match and feedback")
    reason: str = Field(description="of the rank, one sentence")

    @property
    def key(self) -> str:
        """Names the leading event across sources."""
        return event_key(self.source, self.event)

    @property
    def keys(self) -> tuple[str, ...]:
        """Of all events that are in it, those of repeats last."""
        seen = [Occurrence(source=self.source, start=self.start, end=self.end, events=self.events)]
        return tuple(event_key(one.source, id_) for one in (*seen, *self.repeats) for id_ in one.events)

    @property
    def times(self) -> int:
        """How often the thing was seen."""
        return 1 + len(self.repeats)


@dataclass(frozen=True, eq=False)
class _MergedEvents:
    """Merged events of one source, the leading one first."""

    seen: tuple[ClipEvent, ...]
    adjustment: RankAdjustment | None

    @property
    def urgency(self) -> float:
        """Severity, plus a rank score in [0, 1); a watch match adds 1, feedback adds -1 to 1."""
        surprise = max(map(_rank_score, self.seen))
        moved = self.adjustment.value if self.adjustment else 0.0
        return self.seen[0].event.severity + surprise + bool(self.watched) + moved

    @property
    def watched(self) -> tuple[str, ...]:
        return tuple(sorted({item for seen in self.seen for item in seen.matches}))

    @property
    def sighting(self) -> Occurrence:
        events = [seen.event for seen in self.seen]
        return Occurrence(
            source=self.seen[0].record.source,
            start=min(event.start for event in events),
            end=max(event.end for event in events),
            events=tuple(event.id for event in sorted(events, key=lambda event: (event.start, event.id))),
        )


def rank_alerts(
    records: Sequence[ClipRecord], adjustments: Mapping[str, RankAdjustment] | None = None
) -> tuple[Alert, ...]:
    """Rank what stood out in some clips; the order of the records doesn't matter, and no event is lost.

    Events of one source that are close in time, place and kind are merged. What shows the same thing as an
    alert that ranks higher is counted there. Rank is by severity; within one step of it by how far the score
    is above the threshold and how long it lasts. A match with what was asked to be watched for raises by one
    step of severity, feedback moves by one step at most.

    Parameters
    ----------
    records : one a source.
    adjustments : by ``event_key``, from feedback on past events. Of merged events the highest counts, so that
        nothing is lowered because of what it stands beside.

    Raises
    ------
    DataError : two records of the same source, whose events could not be told apart.
    """
    sources = [record.source for record in records]
    if twice := sorted({source for source in sources if sources.count(source) > 1}):
        raise DataError(f'There are two records of "{twice[0]}".', "Keep one.")
    seen = [ClipEvent(record, event) for record in records for event in record.events]
    stretches = [_merged_events(group, adjustments or {}) for group in merge_events(seen)]
    stretches.sort(key=lambda stretch: (-stretch.urgency, *_rank_key(stretch.seen[0])))
    listed: list[tuple[_MergedEvents, list[Occurrence]]] = []
    for stretch in stretches:
        same = next((repeats for one, repeats in listed if is_repeat(one.seen[0], stretch.seen[0])), None)
        if same is None:
            listed.append((stretch, []))
        else:
            same.append(stretch.sighting)
    return tuple(_to_alert(number, *pair) for number, pair in enumerate(listed, start=1))


def keys_by_rank(alerts: Sequence[Alert]) -> list[str]:
    """The keys of all events: what leads an alert before what only belongs to one, both by rank."""
    leading = [alert.key for alert in alerts]
    return [*leading, *(key for alert in alerts for key in alert.keys if key != alert.key)]


def _merged_events(group: Sequence[ClipEvent], adjustments: Mapping[str, RankAdjustment]) -> _MergedEvents:
    known = [adjustments.get(seen.key) or RankAdjustment(value=0) for seen in group]
    highest = max(known, key=lambda adjustment: (adjustment.value, adjustment.reason))
    return _MergedEvents(tuple(sorted(group, key=_rank_key)), highest if highest.cases else None)


def _rank_key(seen: ClipEvent) -> tuple[float, float, str, float, str]:
    return -seen.event.severity, -_rank_score(seen), seen.record.source, seen.event.start, seen.event.id


def _rank_score(seen: ClipEvent) -> float:
    """Rank score in [0, 1): 0.7 by the score, the rest by duration; a non-finite score counts as highest."""
    ratio = seen.event.score if seen.threshold_ratio is None else seen.threshold_ratio
    lasting = max(seen.event.end - seen.event.start, 0.0)
    high = max(ratio, 0.0) / (1 + max(ratio, 0.0)) if math.isfinite(ratio) else 1.0
    return 0.7 * high + 0.299 * lasting / (lasting + _HALF_SCORE_SECONDS)


def _to_alert(number: int, stretch: _MergedEvents, repeats: Sequence[Occurrence]) -> Alert:
    leading, seen = stretch.seen[0], stretch.sighting
    event = leading.event
    return Alert(
        id=f"A{number}",
        source=seen.source,
        start=seen.start,
        end=seen.end,
        peak=event.peak,
        event=event.id,
        events=seen.events,
        kind=event.kind,
        severity=event.severity,
        score=event.score,
        caption=event.caption.text,
        zone=event.zone,
        watched=stretch.watched,
        repeats=tuple(repeats),
        adjustment=stretch.adjustment,
        urgency=round(stretch.urgency, 4),
        reason=rank_reason(leading, seen, stretch.watched, stretch.adjustment, len(repeats)),
    )


def rank_reason(
    seen: ClipEvent,
    stretch: Occurrence,
    watched: Sequence[str],
    adjustment: RankAdjustment | None,
    repeats: int,
) -> str:
    """Say in one sentence why an alert stands where it does."""
    how_high = f"{height(seen)}, for {format_duration(stretch.end - stretch.start)}"
    parts = [f"{severity_word(seen.event.severity, UNGRADED).capitalize()} severity", how_high]
    if len(stretch.events) > 1:
        parts.append(f"{len(stretch.events)} events close together")
    if watched:
        items = " and ".join(f"“{item}”" for item in watched)
        parts.append(f"one step up because you asked for {items}")
    if adjustment is not None:
        parts.append(explain_feedback(adjustment))
    if repeats:
        parts.append(f"{count(repeats, 'more stretch', 'more stretches')} like it counted here")
    return "; ".join(parts) + "."


def height(seen: ClipEvent) -> str:
    """Say how high the score of an event is."""
    if seen.event.kind == "forbidden zone":
        return "nothing may be there"
    ratio = seen.threshold_ratio
    if ratio is None:
        return f"score {number(seen.event.score)}"
    return f"{number(ratio, 2)} times the alarm threshold"
