"""Events of a clip beside each other: which one is worse, faster, longer, larger, earlier or more unusual."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from anomalist.clips import Event

Measure = Literal["severity", "speed", "duration", "size", "start", "score"]

_USUAL = r"(?! than (?:usual|usually|normal|normally|average|others?|every\w+|most|before))"
_WORDS: Mapping[Measure, tuple[str, str]] = {
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
_PATTERNS = tuple(
    (re.compile(rf"\b(?:{words}){_USUAL}(?!\w)"), measure, most)
    for measure, pair in _WORDS.items()
    for words, most in zip(pair, (True, False), strict=True)
)


@dataclass(frozen=True)
class Order:
    """What events are put in order by, and which end of it is asked for.

    Parameters
    ----------
    measure : its name; "start" is when they begin, "score" how much they stand out.
    most : whether the highest is asked for.
    """

    measure: Measure
    most: bool


def order_in(text: str) -> Order | None:
    """The order that a text asks for: "which is worse", "the fastest", "longer"; None without one."""
    plain = text.casefold()
    found = ((pattern.search(plain), measure, most) for pattern, measure, most in _PATTERNS)
    said = [(match.start(), measure, most) for match, measure, most in found if match]
    return None if not said else Order(*min(said)[1:])


def value_of(event: Event, measure: Measure) -> float | None:
    """One measure of an event, rounded as it is told; None where it was not measured."""
    value = _VALUES[measure](event)
    return None if value is None else round(value, 1)


def leading(events: Sequence[Event], order: Order) -> tuple[Event, ...]:
    """The events at the end of an order that is asked for: several where they are equal, none where one is
    not measured.
    """
    values = [value_of(event, order.measure) for event in events]
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return ()
    best = max(known) if order.most else min(known)
    return tuple(event for event, value in zip(events, values, strict=True) if value == best)


def _speed(event: Event) -> float | None:
    return event.tracks[0].speed_ratio if event.tracks else None


def _size(event: Event) -> float | None:
    return event.tracks[0].size_ratio if event.tracks else None


_VALUES: Mapping[Measure, Callable[[Event], float | None]] = {
    "severity": lambda event: event.severity,
    "speed": _speed,
    "duration": lambda event: event.end - event.start,
    "size": _size,
    "start": lambda event: event.start,
    "score": lambda event: event.score,
}
