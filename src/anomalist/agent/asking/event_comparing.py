"""Replies that put events of a clip beside each other: which is worse, faster, longer, earlier."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from anomalist.agent.asking.clips import event_claim, verdict_of
from anomalist.agent.asking.draft import Draft, say
from anomalist.agent.asking.named import Named
from anomalist.agent.asking.question import Question
from anomalist.agent.event_order import Measure, Order, leading, order_in, value_of
from anomalist.agent.tools.subject import Subject
from anomalist.agent.tools.watching import list_events
from anomalist.agent.wording import listing
from anomalist.clips import Event
from anomalist.types import SEVERITIES, Claim

_COMPARE = re.compile(r"\b(?:compar\w*|differ\w*|versus|vs|against|beside)\b")
_EVENTS = re.compile(r"\b(?:events|both|two of them)\b")
_WHICH = re.compile(
    r"\bwhich (?:event|one|of (?:them|these|those|the (?:two|events)))\b"
    r"|\bwhich (?:is|was|lasts|lasted|came|happened|moves|moved|stands|stood)\b"
)
_WAYS: Mapping[Measure, tuple[str, str, str, str]] = {
    "severity": ("is worse", "is less severe", "are equally severe", ""),
    "speed": ("is faster", "is slower", "are equally fast", " times the usual speed"),
    "duration": ("lasts longer", "is shorter", "last equally long", " s"),
    "size": ("is larger", "is smaller", "are equally large", " times the usual size"),
    "start": ("begins later", "begins first", "begin together", " s"),
    "score": ("stands out more", "stands out less", "stand out alike", " times the most of normal footage"),
}
"""More, less and as much of a measure, and its unit."""

_MOST: Mapping[Measure, tuple[str, str]] = {
    "severity": ("is the worst", "is the least severe"),
    "speed": ("is the fastest", "is the slowest"),
    "duration": ("lasts longest", "is the shortest"),
    "size": ("is the largest", "is the smallest"),
    "start": ("begins last", "begins first"),
    "score": ("stands out most", "stands out least"),
}
_MEASURED: tuple[Measure, ...] = ("severity", "duration", "speed", "score")
"""What events are compared in where nothing else is asked for."""


def compares(question: Question, named: Named) -> bool:
    """Whether a question about a clip puts events beside each other."""
    plain = question.plain
    asks_all = _COMPARE.search(plain) is not None
    if len(named.events) > 1:
        return asks_all or order_in(plain) is not None
    if asks_all and _EVENTS.search(plain):
        return True
    return _WHICH.search(plain) is not None and order_in(plain) is not None


def reply_compare(subject: Subject, question: Question, named: Named) -> Draft:
    """The events that are named, or all, by what is asked for, or by everything that was measured."""
    found = list_events(subject, named.picture)
    events = [subject.event(id, named.picture)[1] for id in named.events]
    events = events or list(subject.clip(named.picture).events)
    if not events:
        return Draft((verdict_of(found),), (found,))
    told = {each.event: event_claim(each) for each in found.events}
    if len(events) == 1:
        text = f"Only {events[0].id} is there, so there is nothing to compare it with."
        return Draft((say(text, (events[0].id,)), told[events[0].id]), (found,))
    order = order_in(question.plain)
    if order is not None:
        return Draft((_compared(events, order),), (found,))
    shown = [told[event.id] for event in events] if len(events) == 2 else []
    claims = [_compared(events, Order(measure, most=True)) for measure in _MEASURED]
    return Draft((*shown, *claims), (found,))


def _compared(events: Sequence[Event], order: Order) -> Claim:
    """One sentence on one measure."""
    ids = tuple(event.id for event in events)
    first = leading(events, order)
    if not first:
        unknown = [event.id for event in events if value_of(event, order.measure) is None]
        what = "How fast it was" if order.measure == "speed" else "How large it was"
        text = f"{what} can't be compared: in {listing(unknown)} no single object was followed."
        return say(text, ids)
    *_, equal, unit = _WAYS[order.measure]
    others = [event for event in events if event not in first]
    if not others:
        return say(f"{listing(ids)} {equal}: {_value(first[0], order.measure, unit)}.", ids)
    if len(events) == 2:
        words = _WAYS[order.measure][0 if order.most else 1]
        against = f"{_value(first[0], order.measure)} against {_value(others[0], order.measure, unit)}"
        return say(f"{first[0].id} {words}: {against}.", ids)
    words = _MOST[order.measure][0 if order.most else 1]
    if len(first) > 1:
        words = f"are ahead of the others and {equal}"
    rest = ", ".join(f"{event.id} {_value(event, order.measure, unit)}" for event in others)
    lead = f"{listing([event.id for event in first])} {words}: {_value(first[0], order.measure, unit)}"
    return say(f"{lead} ({rest}).", ids)


def _value(event: Event, measure: Measure, unit: str = "") -> str:
    value = value_of(event, measure)
    assert value is not None  # those that are not known are never put in order
    return SEVERITIES[int(value)] if measure == "severity" else f"{value:g}{unit}"
