"""Match parsed terms against a clip's record: a value from 0 to 1, or None where the record can't decide."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from anomalist.agent.choice.clip_terms import (
    asks_duration,
    asks_half,
    asks_time,
    events_at_extreme,
    order_value,
    parse_clip_terms,
    parse_order,
    span_bounds,
    strip_times,
)
from anomalist.agent.choice.evidence_match import (
    CERTAIN_MATCH,
    PlacedBox,
    TermMatch,
    match_count,
    match_grid,
    match_place,
    match_severity,
)
from anomalist.agent.choice.option_parsing import UNANSWERABLE_FOR_CLIPS, Term
from anomalist.agent.reasoning.claims import SCORE_ID
from anomalist.types.clip import ClipRecord, Event
from anomalist.types.common import SEVERITIES, Claim

FAST_RATIO, SLOW_RATIO = 1.5, 0.5
"""Multiples of the usual speed: fast from the first, slow up to the second."""

LARGE_RATIO, SMALL_RATIO = 1.8, 0.5
"""Multiples of the usual area: large from the first, small up to the second."""

MOMENT_TOLERANCE, MOMENT_LIMIT = 0.5, 2.0
"""Seconds by which a time may be off for a full match, and from which it doesn't match at all."""

_MOMENT_WORDS = (
    (re.compile(r"\b(?:starts?|started|begins?|began|onset)\b"), "start"),
    (re.compile(r"\b(?:ends?|ended|stops?|stopped|over)\b"), "end"),
    (re.compile(r"\b(?:peaks?|strongest)\b"), "peak"),
)
_EVENT = re.compile(r"\be[1-9]\d*\b")
_RELATIVE_TO_EVENT = re.compile(r"\b(before|after) (e[1-9]\d*)\b")
_CLIP_LENGTH_QUESTION = re.compile(
    r"\bhow (?:long|many seconds) (?:is|are|does|has) (?:the|this) (?:clip|video|film|footage|recording)\b"
)
_FILTER_ASPECTS = ("when", "place", "event", "zone")


@dataclass(frozen=True, eq=False)
class ClipRecordMatcher:
    """Matches terms against the record of a clip.

    Parameters
    ----------
    record : of the clip.
    question : it decides whether seconds are times or durations.
    events : the events that the question is about.
    window : start and end, seconds, of the period that the question is about; None for the whole clip.
    """

    record: ClipRecord
    question: str
    events: tuple[Event, ...] = field(default=())
    window: tuple[float, float] | None = None

    unanswerable = UNANSWERABLE_FOR_CLIPS
    what = "clip"
    margin = 0.1

    @classmethod
    def of(cls, record: ClipRecord, question: str) -> ClipRecordMatcher:
        """A matcher over all events of a record."""
        return cls(record, question, record.events)

    @property
    def claims(self) -> tuple[Claim, ...]:
        """One sentence per event that the question is about."""
        if self.events:
            return tuple(map(_event_claim, self.events))
        there = "there" if self.record.events else "in the clip"
        return (Claim(text=f"Nothing stands out {there}.", evidence=(SCORE_ID,)),)

    def read(self, text: str, *, counting: bool = False) -> tuple[Term, ...]:
        """Parse a question or an option about this clip."""
        zones = {event.zone for event in self.record.events if event.zone}
        return parse_clip_terms(
            self._timed(text),
            self.record.duration,
            zones,
            counting=counting,
            timing=asks_time(self.question) and not asks_duration(self.question),
            halves=asks_half(self.question),
            lasting=asks_duration(self.question) or asks_duration(text),
        )

    def narrowed(
        self, question_terms: Sequence[Term], option_terms: Sequence[Sequence[Term]]
    ) -> ClipRecordMatcher:
        """The matcher for only the events that a question is about: by id, time, place, zone or order."""
        option_aspects = {term.aspect for terms in option_terms for term in terms}
        found = self
        for term in question_terms:
            if term.aspect in _FILTER_ASPECTS and term.aspect not in option_aspects and not term.negated:
                found = found._at(term)
        order = parse_order(strip_times(self._timed(self.question)))
        if order is None:
            return found
        compared = [term for term in question_terms if term.aspect == "event"]
        pool = {id for term in compared for id in term.values | term.near_values}
        pool |= {
            id for terms in option_terms for term in terms if term.aspect == "event" for id in term.values
        }
        events = [event for event in found._all(compared) if not pool or event.id in pool]
        return replace(found, events=events_at_extreme(events, order) if len(events) > 1 else tuple(events))

    @cached_property
    def anomalous(self) -> TermMatch | None:
        """Whether there is an event in what the question is about; None where a part could not be judged."""
        if self.events:
            return TermMatch(CERTAIN_MATCH, (SCORE_ID, *(event.id for event in self.events)))
        if self.record.label in (None, "undecided") or self._unjudged():
            return None
        return TermMatch(1 - CERTAIN_MATCH, (SCORE_ID,))

    def fit(self, term: Term) -> TermMatch | None:
        """Match one term against the record."""
        if term.aspect == "label":
            found = self.anomalous
            if found is not None and "anomalous" not in term.values:
                found = TermMatch(1 - found.value, found.evidence)
        elif term.aspect == "count":
            found = self._count(term)
        elif term.aspect == "severity":
            found = self._severity(term)
        elif term.aspect == "lasting" and _CLIP_LENGTH_QUESTION.search(self.question.casefold()):
            found = self._whole(term)
        elif term.aspect not in ("place", "event", *_EVENT_MATCHERS):
            return None
        elif not self.events:  # nothing there can match
            found = self.anomalous
        elif term.aspect == "place":
            found = match_place(term, self._places)
        elif term.aspect == "event":
            found = self._named(term)
        else:
            found = self._over_events(term)
        return TermMatch(1 - found.value, found.evidence) if found is not None and term.negated else found

    def _timed(self, text: str) -> str:
        """The text with "after E1" replaced by a time, unless it compares events: "is E2 after E1"."""
        plain = text.casefold()
        if len(_EVENT.findall(plain)) != 1 or not (found := _RELATIVE_TO_EVENT.search(plain)):
            return plain
        event = next((each for each in self.record.events if each.id == found[2].upper()), None)
        if event is None:
            return plain
        moment = event.start if found[1] == "before" else event.end
        return _RELATIVE_TO_EVENT.sub(rf"\1 {moment} s", plain)

    def _at(self, term: Term) -> ClipRecordMatcher:
        """The matcher for only the events at a time, in a place or zone, or with an id."""
        window = self.window
        if term.aspect == "when":
            window = span_bounds(min(term.values))
        elif term.aspect == "event" and term.near_values:
            return self  # a comparison with another event
        kept = [event for event in self.events if self._is_at(event, term)]
        return replace(self, events=tuple(kept), window=window)

    def _is_at(self, event: Event, term: Term) -> bool:
        if term.aspect == "event":
            return event.id in term.values
        if term.aspect == "zone":
            return event.zone in term.values
        if term.aspect == "place":
            place = self._place(event)
            return place in term.values | term.near_values
        start, end = span_bounds(min(term.values))
        if start == end:
            return event.start - MOMENT_TOLERANCE <= start <= event.end + MOMENT_TOLERANCE
        return event.start < end and event.end > start

    def _all(self, compared: Sequence[Term]) -> tuple[Event, ...]:
        """The events to compare: all of the clip where the question compares named events."""
        return self.record.events if any(term.near_values for term in compared) else self.events

    def _unjudged(self) -> bool:
        """Whether a part of the period that the question is about could not be judged."""
        start, end = self.window or (0.0, float("inf"))
        return self.window is not None and any(
            trouble.start < end and trouble.end > start for trouble in self.record.troubles
        )

    @cached_property
    def _places(self) -> dict[str, TermMatch]:
        from anomalist.vision.motion.captions import place_of

        size = self._size
        top = max((event.score for event in self.events), default=0.0)
        if size is None:
            return {}
        placed = [
            PlacedBox(event.id, event.box, place_of(event.box, size), _score_weight(event, top))
            for event in self.events
            if event.box is not None
        ]
        return match_grid(placed, size)

    @property
    def _size(self) -> tuple[int, int] | None:
        record = self.record
        return (record.height, record.width) if record.height and record.width else None

    def _place(self, event: Event) -> str | None:
        from anomalist.vision.motion.captions import place_of

        return None if event.box is None or self._size is None else place_of(event.box, self._size)

    def _count(self, term: Term) -> TermMatch | None:
        if self.anomalous is None:
            return None
        ids = tuple(event.id for event in self.events) or (SCORE_ID,)
        return match_count(term.values, len(self.events), ids)

    def _severity(self, term: Term) -> TermMatch | None:
        """Match severities with that of the worst event."""
        if not self.events:
            return None if self.anomalous is None else match_severity(term.values, 0, [])
        worst = max(self.events, key=lambda event: event.severity)
        return match_severity(term.values, worst.severity, [worst.id])

    def _named(self, term: Term) -> TermMatch | None:
        """Whether a named event is among those that the question is about."""
        if not self.events or len(self.events) == len(self.record.events) > 1:
            return None
        right = [event.id for event in self.events if event.id in term.values]
        ids = tuple(event.id for event in self.events)
        return TermMatch(CERTAIN_MATCH if right else 1 - CERTAIN_MATCH, tuple(right) or ids)

    def _whole(self, term: Term) -> TermMatch | None:
        """Match a duration with that of the clip."""
        length = self.record.duration
        if length is None:
            return None
        return TermMatch(_match_length(length, term.values), (Path(self.record.source).name,))

    def _over_events(self, term: Term) -> TermMatch | None:
        """The best match of any event, weighted by its score; None where none was measured."""
        top = max((event.score for event in self.events), default=0.0)
        fits = []
        for event in self.events:
            value = _EVENT_MATCHERS[term.aspect](event, term.values, self.question)
            if value is not None:
                fits.append(TermMatch(_score_weight(event, top) * value, (event.id,)))
        return max(fits, key=lambda fit: fit.value, default=None)


def _event_claim(event: Event) -> Claim:
    text = event.caption.text if event.caption.text.endswith(".") else f"{event.caption.text}."
    lasts = f"{event.start:.1f} s to {event.end:.1f} s"
    return Claim(
        text=f"{event.id}, {lasts}: {text} Severity {SEVERITIES[event.severity]}.", evidence=(event.id,)
    )


def _score_weight(event: Event, top: float) -> float:
    return max(0.0, event.score / top) if top > 0 else 1.0


def _match_if(holds: bool) -> float:
    return CERTAIN_MATCH if holds else 1 - CERTAIN_MATCH


def _match_time(event: Event, values: frozenset[str], question: str) -> float:
    """Match by the share of the event within a span; for a moment, or its start or end, by the distance."""
    start, end = span_bounds(min(values))
    edge = next((name for words, name in _MOMENT_WORDS if words.search(question.casefold())), None)
    if edge is None and start < end:
        length = max(event.end - event.start, 1e-6)
        inside = max(0.0, min(event.end, end) - max(event.start, start)) / length
        return 1 - CERTAIN_MATCH + (2 * CERTAIN_MATCH - 1) * inside
    first = last = {"start": event.start, "end": event.end, "peak": event.peak}.get(edge or "", 0.0)
    if edge is None:
        first, last = event.start, event.end
    off = max(0.0, start - last, first - end)
    if start < end:
        return _match_if(off == 0)
    return (
        1
        - CERTAIN_MATCH
        + (2 * CERTAIN_MATCH - 1)
        * min(1.0, max(0.0, (MOMENT_LIMIT - off) / (MOMENT_LIMIT - MOMENT_TOLERANCE)))
    )


def _match_duration(event: Event, values: frozenset[str], question: str) -> float:
    return _match_length(event.end - event.start, values)


def _match_length(length: float, values: frozenset[str]) -> float:
    """Match a duration with a span of seconds, or by its ratio to a number."""
    start, end = span_bounds(min(values))
    if start < end:
        return _match_if(start <= length <= end)
    if length <= 0 or start <= 0:
        return 1 - CERTAIN_MATCH
    ratio = min(length, start) / max(length, start)
    return 1 - CERTAIN_MATCH + (2 * CERTAIN_MATCH - 1) * max(0.0, 2 * ratio - 1)


def _match_pace(event: Event, values: frozenset[str], question: str) -> float | None:
    ratio = order_value(event, "speed")
    if ratio is None:
        return None
    fast = ratio >= FAST_RATIO or event.kind == "speed"
    return _match_if(("fast" if fast else "slow" if ratio <= SLOW_RATIO else "usual") in values)


def _match_size(event: Event, values: frozenset[str], question: str) -> float | None:
    ratio = order_value(event, "size")
    if ratio is None:
        return None
    large = ratio >= LARGE_RATIO or event.kind == "size"
    return _match_if(("large" if large else "small" if ratio <= SMALL_RATIO else "usual") in values)


def _match_heading(event: Event, values: frozenset[str], question: str) -> float | None:
    ways = [track.direction for track in event.tracks[:1] if track.direction]
    return None if not ways else _match_if(any(value in ways[0] for value in values))


def _match_kind(event: Event, values: frozenset[str], question: str) -> float:
    if event.kind in values:
        return CERTAIN_MATCH
    return (
        0.6
        if any(measure.name in values and measure.surprise >= 1 for measure in event.measures)
        else 1 - CERTAIN_MATCH
    )


_EVENT_MATCHERS: Mapping[str, Callable[[Event, frozenset[str], str], float | None]] = {
    "when": _match_time,
    "lasting": _match_duration,
    "pace": _match_pace,
    "size": _match_size,
    "heading": _match_heading,
    "zone": lambda event, values, _: _match_if(event.zone in values),
    "kind": _match_kind,
}
