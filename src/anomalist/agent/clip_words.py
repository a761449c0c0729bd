"""Words of questions and options about clips: what moves how, when, for how long, and which event."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Sequence

from anomalist.agent.option_words import PHRASES, Meaning, table
from anomalist.agent.readings import Term, read

_OTHERWISE = frozenset(
    {"pass", "passes", "passed", "off", "sound", "regular", "level", "light", "clean", "extra"}
)
"""Words that say something of parts, and something else of what moves."""

CLIP_PHRASES: dict[str, Meaning] = {
    **{phrase: meaning for phrase, meaning in PHRASES.items() if phrase not in _OTHERWISE},
    **table(
        "label",
        anomalous="happen, happens, happened, occur, occurs, occurred, event, events, incident, incidents,"
        "alarm, alarms, worth watching, watched, stand out, stands out, stood out, strange, strangely",
    ),
    **table(
        "pace",
        fast="fast, faster, quick, quickly, quicker, rapid, rapidly, speeding, running, too fast,"
        "unusually fast",
        slow="slow, slower, slowly",
        usual="usual speed, normal speed, usual pace",
    ),
    **table("size", large="larger, bigger", small="smaller"),
    **table(
        "heading",
        left_to_right="left to right, from left to right, to the right, rightwards",
        right_to_left="right to left, from right to left, to the left, leftwards",
        towards="towards the camera, toward the camera, towards us, closer",
        away="away from the camera, away from us",
    ),
    **table(
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
"""As of pictures; what moves has a pace and a heading, and kinds are what was measured."""

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
_TIMING = re.compile(r"\b(?:when|(?:what|which) (?:time|moment|second|part|half|third)|how late)\b")
_LASTING = re.compile(
    r"\b(?:how long|duration|for how many seconds|how many seconds)\b|\b(?:does|did)\b.*(?<!the )\blast\b"
    r"|\b(?:lasts|lasted|takes|took)\b|\b(?:longer|shorter) than \d|\bfor (?:more|less|over|under|at)\b"
)
_THAN = re.compile(r"\b(e[1-9]\d*)\b.*\b(?:than|before|after)\b.*?\b(e[1-9]\d*)\b")
_EVENT = re.compile(r"\be[1-9]\d*\b")


def asks_half(question: str) -> bool:
    """Whether a question is about the halves of a clip."""
    return is_timing(question) and _HALF.search(question.casefold()) is not None


def is_timing(question: str) -> bool:
    """Whether a question is about when something is."""
    return _TIMING.search(question.casefold()) is not None


def is_lasting(question: str) -> bool:
    """Whether a question is about how long something takes."""
    return _LASTING.search(question.casefold()) is not None


def read_clip(
    text: str,
    duration: float | None,
    zones: Collection[str] = (),
    *,
    counting: bool = False,
    timing: bool = False,
    halves: bool = False,
    lasting: bool = False,
) -> tuple[Term, ...]:
    """Read the terms of a text about a clip; besides those of `read` they have these aspects.

    "when" and "lasting" (values "from:to" in seconds, or a moment or duration as one number), "event" (ids;
    those that it is put beside are ``nearly``), "zone", "pace" and "heading".

    Parameters
    ----------
    duration : of the clip, seconds; without it, halves and ends mean nothing.
    zones : their names.
    counting : whether a bare number counts things.
    timing : whether "the beginning" and "the middle" are times.
    halves : whether "the first" and "the second" are halves.
    lasting : whether seconds are durations.
    """
    plain = text.casefold()
    bare = (*(_BARE_PARTS if timing else ()), *(_BARE_HALVES if halves else ()))
    spans, plain = _spans(plain, duration, bare)
    terms = [Term("lasting" if lasting else "when", frozenset({span})) for span in spans]
    if beside := _THAN.search(plain):
        terms.append(Term("event", frozenset({beside[1].upper()}), frozenset({beside[2].upper()})))
    elif named := frozenset(id.upper() for id in _EVENT.findall(plain)):
        terms.append(Term("event", named))
    rest = read(_EVENT.sub(" ", plain), zones, counting=counting, phrases=CLIP_PHRASES)
    terms += [
        Term("zone", term.values, negated=term.negated) if term.aspect == "named" else term for term in rest
    ]
    return tuple(terms)


def without_times(text: str) -> str:
    """The text without halves, spans and moments."""
    return _spans(text.casefold(), None)[1]


def bounds(span: str) -> tuple[float, float]:
    """The ends of a span, seconds; those of a moment are the same."""
    start, _, end = span.partition(":")
    return float(start), float(end or start)


def _spans(
    plain: str, duration: float | None, bare: Sequence[tuple[re.Pattern[str], float, float]] = ()
) -> tuple[list[str], str]:
    """Times in a text, and the text without them; the first way to say one takes its words."""
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
