"""What to watch, in order: events merged, repeats counted, the rest ranked, each with its reason."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import Field

from anomalist.clips import ClipRecord, MeasureName
from anomalist.errors import DataError
from anomalist.memory.ranking import Adjustment
from anomalist.report.likeness import Seen, Sighting, alike, event_key, merged
from anomalist.report.triage_words import rank_reason
from anomalist.types import Frozen

_HALF = 10.0  # seconds that are half as surprising as no end of them

__all__ = ["Alert", "Sighting", "alerts_of", "event_key", "keys_by_rank"]


class Alert(Frozen):
    """One thing worth watching."""

    id: str = Field(pattern=r"^A[1-9]\d*$", description="A1 is to be watched first")
    source: str
    start: float = Field(description="of the whole stretch, seconds")
    end: float
    peak: float = Field(description="when the leading event stood out most")
    event: str = Field(description="id of the leading event: the most severe, then the most surprising")
    events: tuple[str, ...] = Field(description="ids of all events of this stretch, in time")
    kind: MeasureName
    severity: int = Field(ge=0, le=4)
    score: float = Field(description="of the leading event")
    caption: str = Field(description="of the leading event")
    zone: str | None = None
    watched: tuple[str, ...] = Field((), description="what it matches of what was asked for")
    repeats: tuple[Sighting, ...] = Field((), description="the same thing seen elsewhere, as it is ranked")
    adjustment: Adjustment | None = Field(None, description="by feedback on what is alike; None: no opinion")
    urgency: float = Field(description="what the rank is by: severity, plus surprise and what moves it")
    reason: str = Field(description="of the rank, one sentence")

    @property
    def key(self) -> str:
        """Names the leading event across sources."""
        return event_key(self.source, self.event)

    @property
    def keys(self) -> tuple[str, ...]:
        """Of all events that are in it, those of repeats last."""
        seen = [Sighting(source=self.source, start=self.start, end=self.end, events=self.events)]
        return tuple(event_key(one.source, id_) for one in (*seen, *self.repeats) for id_ in one.events)

    @property
    def times(self) -> int:
        """How often the thing was seen."""
        return 1 + len(self.repeats)


@dataclass(frozen=True, eq=False)
class _Stretch:
    """Events that are one, the leading one first."""

    seen: tuple[Seen, ...]
    adjustment: Adjustment | None

    @property
    def urgency(self) -> float:
        """Severity, plus surprise in [0, 1); a watch match adds one step, feedback moves by one at most."""
        surprise = max(map(_surprise, self.seen))
        moved = self.adjustment.value if self.adjustment else 0.0
        return self.seen[0].event.severity + surprise + bool(self.watched) + moved

    @property
    def watched(self) -> tuple[str, ...]:
        return tuple(sorted({item for seen in self.seen for item in seen.matches}))

    @property
    def sighting(self) -> Sighting:
        events = [seen.event for seen in self.seen]
        return Sighting(
            source=self.seen[0].record.source,
            start=min(event.start for event in events),
            end=max(event.end for event in events),
            events=tuple(event.id for event in sorted(events, key=lambda event: (event.start, event.id))),
        )


def alerts_of(
    records: Sequence[ClipRecord], adjustments: Mapping[str, Adjustment] | None = None
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
    seen = [Seen(record, event) for record in records for event in record.events]
    stretches = [_stretch(group, adjustments or {}) for group in merged(seen)]
    stretches.sort(key=lambda stretch: (-stretch.urgency, *_worst_first(stretch.seen[0])))
    listed: list[tuple[_Stretch, list[Sighting]]] = []
    for stretch in stretches:
        same = next((repeats for one, repeats in listed if alike(one.seen[0], stretch.seen[0])), None)
        if same is None:
            listed.append((stretch, []))
        else:
            same.append(stretch.sighting)
    return tuple(_alert(number, *pair) for number, pair in enumerate(listed, start=1))


def keys_by_rank(alerts: Sequence[Alert]) -> list[str]:
    """The keys of all events: what leads an alert before what only belongs to one, both by rank."""
    leading = [alert.key for alert in alerts]
    return [*leading, *(key for alert in alerts for key in alert.keys if key != alert.key)]


def _stretch(group: Sequence[Seen], adjustments: Mapping[str, Adjustment]) -> _Stretch:
    known = [adjustments.get(seen.key) or Adjustment(value=0) for seen in group]
    highest = max(known, key=lambda adjustment: (adjustment.value, adjustment.reason))
    return _Stretch(tuple(sorted(group, key=_worst_first)), highest if highest.cases else None)


def _worst_first(seen: Seen) -> tuple[float, float, str, float, str]:
    return -seen.event.severity, -_surprise(seen), seen.record.source, seen.event.start, seen.event.id


def _surprise(seen: Seen) -> float:
    """0 to below 1, mostly by the score; a score that is no number is as surprising as can be."""
    ratio = seen.event.score if seen.over_threshold is None else seen.over_threshold
    lasting = max(seen.event.end - seen.event.start, 0.0)
    high = max(ratio, 0.0) / (1 + max(ratio, 0.0)) if math.isfinite(ratio) else 1.0
    return 0.7 * high + 0.299 * lasting / (lasting + _HALF)


def _alert(number: int, stretch: _Stretch, repeats: Sequence[Sighting]) -> Alert:
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
