"""Parse questions and options about clips: motion, times, durations, events and their order.

In addition to the aspects of pictures there are pace, heading, when, lasting, event and zone. Comparatives
(worse, faster, longer, larger, earlier, more unusual) define an order of events.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from anomalist.agent.choice.option_parsing import PHRASES, Meaning, Term, parse_terms, phrase_table
from anomalist.types.clip import Event

_OTHER_MEANING_IN_CLIPS = frozenset(
    {"pass", "passes", "passed", "off", "sound", "regular", "level", "light", "clean", "extra"}
)
"""Phrases for pictures that have another meaning for clips."""

CLIP_PHRASES: dict[str, Meaning] = {
    **{phrase: meaning for phrase, meaning in PHRASES.items() if phrase not in _OTHER_MEANING_IN_CLIPS},
    **phrase_table(
        "label",
        anomalous="happen, happens, happened, occur, occurs, occurred, event, events, incident, incidents,"
        "alarm, alarms, worth watching, watched, stand out, stands out, stood out, strange, strangely",
    ),
    **phrase_table(
        "pace",
        fast="fast, faster, quick, quickly, quicker, rapid, rapidly, speeding, running, too fast,"
        "unusually fast",
        slow="slow, slower, slowly",
        usual="usual speed, normal speed, usual pace",
    ),
    **phrase_table("size", large="larger, bigger", small="smaller"),
    **phrase_table(
        "heading",
        left_to_right="left to right, from left to right, to the right, rightwards",
        right_to_left="right to left, from right to left, to the left, leftwards",
        towards="towards the camera, toward the camera, towards us, closer",
        away="away from the camera, away from us",
    ),
    **phrase_table(
        "kind",
        speed="speed, its speed",
        direction="wrong way, wrong direction, unusual direction, against the traffic, against the flow",
        size="unusual size",
        place="unusual place, unusual location, where nobody goes",
        dwell="loitering, loiters, lingering, lingers, waiting, waits, standing still, stands still,"
        "standing around, stationary, stays in one place, left behind, stopped, parked",
        appearance="unusual object, unfamiliar object, unusual appearance, looks unusual, looks different",
        crowding="crowd, crowded, crowding, gathering, gathers",
        dispersal="dispersal, disperses, scattering, scatters, scatter, panic, running away",
        stillness="nothing moves, everything stands still, stillness, standstill",
        forbidden_zone="forbidden zone, forbidden area, trespassing, trespasses, intrusion, intrudes",
    ),
}
"""The phrase lexicon for clips: that of pictures, with pace and heading, and with kinds of events."""

_SECOND = r"(?:s|sec|secs|second|seconds)"
_TIME = rf"(\d{{1,2}}:[0-5]\d|\d+(?:\.\d+)?)(?:\s*{_SECOND}\b)?"
_UNIT = rf"(\d{{1,2}}:[0-5]\d\b|\d+(?:\.\d+)?(?=\s*{_SECOND}\b))(?:\s*{_SECOND}\b)?"
_WHOLE = r"(?: of (?:the |this )?(?:clip|video|film|footage|recording))?"
_CLIP = _WHOLE.removesuffix("?")
_BETWEEN = re.compile(rf"\b(?:between|from)?\s*{_TIME}\s*(?:and|to|until|[-–—])\s*{_UNIT}")
_AFTER = re.compile(
    rf"\b(?:after|later than|not before|from|more than|longer than|over|at least)\s+{_UNIT}(?: on)?"
)
_BEFORE = re.compile(
    r"\b(?:before|earlier than|until|up to|less than|shorter than|under|at most|(?:with)?in the first)"
    rf"\s+{_UNIT}"
)
_LAST = re.compile(rf"\b(?:with)?in the last\s+{_UNIT}")
_AT = re.compile(rf"(?:\b(?:at|around|about|for)\s+|(?<![\w.]))(?:second\s+(\d+(?:\.\d+)?)|{_UNIT})")
_PARTS = (
    (re.compile(rf"\b(?:first|1st) half{_WHOLE}"), 0, 1 / 2),
    (re.compile(rf"\b(?:second|2nd|last|latter|other) half{_WHOLE}"), 1 / 2, 1),
    (re.compile(rf"\bfirst third{_WHOLE}"), 0, 1 / 3),
    (re.compile(rf"\b(?:second|middle) third{_WHOLE}"), 1 / 3, 2 / 3),
    (re.compile(rf"\b(?:last|final|third) third{_WHOLE}"), 2 / 3, 1),
    (re.compile(rf"\b(?:beginning|start){_CLIP}"), 0, 1 / 3),
    (re.compile(rf"\bmiddle{_CLIP}"), 1 / 3, 2 / 3),
    (re.compile(rf"\bend{_CLIP}"), 2 / 3, 1),
)
_HALF = re.compile(r"\bhalf\b")
_BARE_HALVES = (
    (re.compile(r"\b(?:first|1st)\b"), 0, 1 / 2),
    (re.compile(r"\b(?:second|2nd|last|latter|other)\b"), 1 / 2, 1),
)
_BARE_PARTS = (
    (re.compile(r"\b(?:beginning|start)\b"), 0, 1 / 3),
    (re.compile(r"\bmiddle\b"), 1 / 3, 2 / 3),
    (re.compile(r"\bend\b"), 2 / 3, 1),
)
_TIME_QUESTION = re.compile(r"\b(?:when|(?:what|which) (?:time|moment|second|part|half|third)|how late)\b")
_DURATION_QUESTION = re.compile(
    r"\b(?:how long|duration|for how many seconds|how many seconds)\b|\b(?:does|did)\b.*(?<!the )\blast\b"
    r"|\b(?:lasts|lasted|takes|took)\b|\b(?:longer|shorter) than \d|\bfor (?:more|less|over|under|at)\b"
)
_EVENT_COMPARISON = re.compile(r"\b(e[1-9]\d*)\b.*\b(?:than|before|after)\b.*?\b(e[1-9]\d*)\b")
_EVENT = re.compile(r"\be[1-9]\d*\b")


def asks_half(question: str) -> bool:
    """Whether a question asks in which half of a clip something is."""
    return asks_time(question) and _HALF.search(question.casefold()) is not None


def asks_time(question: str) -> bool:
    """Whether a question asks when something is."""
    return _TIME_QUESTION.search(question.casefold()) is not None


def asks_duration(question: str) -> bool:
    """Whether a question asks how long something takes."""
    return _DURATION_QUESTION.search(question.casefold()) is not None


def parse_clip_terms(
    text: str,
    duration: float | None,
    zones: Collection[str] = (),
    *,
    counting: bool = False,
    timing: bool = False,
    halves: bool = False,
    lasting: bool = False,
) -> tuple[Term, ...]:
    """Parse the terms of a text about a clip.

    In addition to the aspects of `parse_terms` there are "when" and "lasting" (values "from:to" in seconds,
    or one number for a moment or a duration), "event" (ids; ``near_values`` are those it is compared with),
    "zone", "pace" and "heading".

    Parameters
    ----------
    duration : of the clip, seconds; without it, halves and ends are not parsed.
    zones : names of the zones.
    counting : whether a bare number counts things.
    timing : whether "the beginning" and "the middle" are times.
    halves : whether "the first" and "the second" are halves.
    lasting : whether seconds are durations.
    """
    plain = text.casefold()
    bare = (*(_BARE_PARTS if timing else ()), *(_BARE_HALVES if halves else ()))
    spans, plain = _find_spans(plain, duration, bare)
    terms = [Term("lasting" if lasting else "when", frozenset({span})) for span in spans]
    if comparison := _EVENT_COMPARISON.search(plain):
        terms.append(Term("event", frozenset({comparison[1].upper()}), frozenset({comparison[2].upper()})))
    elif ids := frozenset(id.upper() for id in _EVENT.findall(plain)):
        terms.append(Term("event", ids))
    rest = parse_terms(_EVENT.sub(" ", plain), zones, counting=counting, phrases=CLIP_PHRASES)
    terms += [
        Term("zone", term.values, negated=term.negated) if term.aspect == "named" else term for term in rest
    ]
    return tuple(terms)


def strip_times(text: str) -> str:
    """The text without times: halves, spans and moments."""
    return _find_spans(text.casefold(), None)[1]


def span_bounds(span: str) -> tuple[float, float]:
    """Start and end of a span, seconds; equal for a moment."""
    start, _, end = span.partition(":")
    return float(start), float(end or start)


def _find_spans(
    plain: str, duration: float | None, bare: Sequence[tuple[re.Pattern[str], float, float]] = ()
) -> tuple[list[str], str]:
    """Times in a text, and the text without them; the first pattern that matches takes the words."""
    found: list[str] = []

    def take(match: re.Match[str]) -> str:
        found.extend(_span(pattern, match, duration))
        return " "

    for pattern, start, end in (*_PARTS, *bare):
        if pattern.search(plain):
            plain = pattern.sub(" ", plain)
            if duration is not None:
                found.append(f"{start * duration!r}:{end * duration!r}")
    for pattern in (_BETWEEN, _LAST, _AFTER, _BEFORE, _AT):
        plain = pattern.sub(take, plain)
    return found, plain


def _span(pattern: re.Pattern[str], match: re.Match[str], duration: float | None) -> Iterator[str]:
    times = [_seconds(text) for text in match.groups() if text]
    if pattern is _BETWEEN:
        yield f"{min(times)!r}:{max(times)!r}"
    elif pattern is _AFTER:
        yield f"{times[0]!r}:{math.inf!r}"
    elif pattern is _BEFORE:
        yield f"0.0:{times[0]!r}"
    elif pattern is _AT:
        yield f"{times[0]!r}"
    elif duration is not None:
        yield f"{max(0.0, duration - times[0])!r}:{math.inf!r}"


def _seconds(text: str) -> float:
    minutes, _, seconds = text.rpartition(":")
    return 60 * float(minutes or 0) + float(seconds)


OrderMeasure = Literal["severity", "speed", "duration", "size", "start", "score"]

_NOT_THAN_USUAL = r"(?! than (?:usual|usually|normal|normally|average|others?|every\w+|most|before))"
_ORDER_WORDS: Mapping[OrderMeasure, tuple[str, str]] = {
    "severity": (
        r"worst|worse|(?:most|more) (?:severe|serious|critical|dangerous)|graver|gravest",
        r"(?:least|less) (?:severe|serious|critical|dangerous)|mildest|milder|more harmless",
    ),
    "speed": (r"fastest|faster|quickest|quicker|speediest", r"slowest|slower"),
    "duration": (r"longest|longer", r"shortest|shorter|briefest|briefer"),
    "size": (r"largest|larger|biggest|bigger", r"smallest|smaller"),
    "start": (r"the last|latest|later|after(?= e[1-9])", r"first|earliest|earlier|before(?= e[1-9])"),
    "score": (
        r"strongest|stronger|(?:most|more) (?:unusual|odd|strange|striking)|stands? out (?:most|more)",
        r"weakest|weaker|(?:least|less) (?:unusual|odd|strange|striking)",
    ),
}
_ORDER_PATTERNS = tuple(
    (re.compile(rf"\b(?:{words}){_NOT_THAN_USUAL}(?!\w)"), measure, most)
    for measure, pair in _ORDER_WORDS.items()
    for words, most in zip(pair, (True, False), strict=True)
)


@dataclass(frozen=True)
class EventOrder:
    """A measure to order events by, and whether its maximum or minimum is asked for.

    Parameters
    ----------
    measure : its name; "start" is the time when they begin, "score" the anomaly score.
    most : whether the maximum is asked for.
    """

    measure: OrderMeasure
    most: bool


def parse_order(text: str) -> EventOrder | None:
    """The order in a text: "which is worse", "the fastest", "longer"; None without one."""
    plain = text.casefold()
    found = ((pattern.search(plain), measure, most) for pattern, measure, most in _ORDER_PATTERNS)
    matches = [(match.start(), measure, most) for match, measure, most in found if match]
    return None if not matches else EventOrder(*min(matches)[1:])


def order_value(event: Event, measure: OrderMeasure) -> float | None:
    """One measure of an event, rounded to one decimal as in replies; None where it was not measured."""
    value = _ORDER_VALUES[measure](event)
    return None if value is None else round(value, 1)


def events_at_extreme(events: Sequence[Event], order: EventOrder) -> tuple[Event, ...]:
    """The events at the extreme of an order; several for ties, none where a value is missing."""
    values = [order_value(event, order.measure) for event in events]
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return ()
    best = max(known) if order.most else min(known)
    return tuple(event for event, value in zip(events, values, strict=True) if value == best)


def _speed_ratio(event: Event) -> float | None:
    return event.tracks[0].speed_ratio if event.tracks else None


def _size_ratio(event: Event) -> float | None:
    return event.tracks[0].size_ratio if event.tracks else None


_ORDER_VALUES: Mapping[OrderMeasure, Callable[[Event], float | None]] = {
    "severity": lambda event: event.severity,
    "speed": _speed_ratio,
    "duration": lambda event: event.end - event.start,
    "size": _size_ratio,
    "start": lambda event: event.start,
    "score": lambda event: event.score,
}
