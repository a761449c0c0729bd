"""Replies about a clip from its recorded events: what, when, where, severity, and comparing events."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from anomalist.agent.asking.draft import Draft, make_claim
from anomalist.agent.asking.question import Entities, Question
from anomalist.agent.choice.clip_terms import (
    EventOrder,
    OrderMeasure,
    events_at_extreme,
    order_value,
    parse_order,
)
from anomalist.agent.reasoning.wording import join_words
from anomalist.agent.tools.clips import EventList, FoundEvent, frame_at, list_events
from anomalist.agent.tools.subject import Subject
from anomalist.types.clip import Event
from anomalist.types.common import SEVERITIES, Claim

MAX_EVENTS = 6
"""Events that are described one by one."""


def reply_clip(subject: Subject, question: Question, entities: Entities) -> Draft:
    """Label, events, and periods that could not be judged; or the frame at a time."""
    found = list_events(subject, entities.picture)
    events = _events_as_severe(found, entities)
    claims = [clip_verdict_claim(found), *map(event_claim, events[:MAX_EVENTS])]
    claims += _none_so_severe(found, entities)
    if entities.seconds is not None:
        frame = frame_at(subject, entities.seconds, entities.picture)
        during = f" during {', '.join(frame.events)}" if frame.events else ", outside every event"
        claims.append(
            make_claim(f"The frame at {frame.time:g} s is number {frame.index}{during}.", frame.ids)
        )
        return Draft(tuple(claims), (found, frame))
    return Draft((*claims, *_unjudged_claims(found)), (found,))


def reply_each_clip(subject: Subject, question: Question, entities: Entities) -> Draft:
    """The recorded verdict of each clip that the question names."""
    found = [list_events(subject, name) for name in entities.pictures]
    return Draft(tuple(map(clip_verdict_claim, found)), tuple(found))


def reply_when(subject: Subject, question: Question, entities: Entities) -> Draft:
    """Start, end, duration and peak of the events."""
    found = list_events(subject, entities.picture)
    events = _events_as_severe(found, entities)
    if not events:
        return _no_event_draft(found, entities)
    claims = [
        make_claim(
            f"{event.event} lasts from {event.start:g} s to {event.end:g} s ({event.duration:g} s), "
            f"with its peak at {event.peak:g} s.",
            event.ids,
        )
        for event in events[:MAX_EVENTS]
    ]
    return Draft(tuple(claims), (found,))


def reply_clip_where(subject: Subject, question: Question, entities: Entities) -> Draft:
    """Where in the picture the events are."""
    found = list_events(subject, entities.picture)
    events = _events_as_severe(found, entities)
    if not events:
        return _no_event_draft(found, entities)
    claims = []
    for event in events[:MAX_EVENTS]:
        box = ""
        if event.box is not None:
            x0, y0, x1, y1 = event.box
            box = f" (at its peak x from {x0} to {x1}, y from {y0} to {y1} pixels)"
        claims.append(make_claim(f"{event.event}: {event.where or 'in the picture'}{box}.", event.ids))
    return Draft(tuple(claims), (found,))


def reply_clip_severity(subject: Subject, question: Question, entities: Entities) -> Draft:
    """Severity of each event with the recorded sentences on its severity."""
    found = list_events(subject, entities.picture)
    record = subject.clip(entities.picture)
    chosen = {event.event for event in _select_events(found, entities)}
    claims = [
        make_claim(claim.text, claim.evidence)
        for event in record.events
        if event.id in chosen
        for claim in event.claims
        if claim.text.startswith("Severity")
    ]
    lead = [
        make_claim(f"{event.event} is {event.severity}.", event.ids)
        for event in _select_events(found, entities)[:MAX_EVENTS]
    ]
    return Draft((clip_verdict_claim(found), *lead, *claims[:MAX_EVENTS]), (found,))


def reply_clip_count(subject: Subject, question: Question, entities: Entities) -> Draft:
    """How many events are as severe as asked; of an undecided clip without any, that it is undecided."""
    found = list_events(subject, entities.picture)
    if not found.count and found.label != "normal":
        return Draft((clip_verdict_claim(found), *_unjudged_claims(found)), (found,))
    if found.count and entities.severity:
        severe = list_events(subject, entities.picture, None, entities.severity)
        are = "is" if severe.count == 1 else "are"
        text = f"{severe.count} of {found.count} events {are} {_or_worse(entities.severity)}."
        counted = _none_so_severe(found, entities) or [make_claim(text, severe.ids)]
        return Draft((*counted, *_unjudged_claims(found)), (found, severe))
    stood = "event stands" if found.count == 1 else "events stand"
    text = f"{found.count} {stood} out." if found.count else "None: nothing stands out."
    return Draft((make_claim(text, found.ids), *_unjudged_claims(found)), (found,))


def reply_clip_confidence(subject: Subject, question: Question, entities: Entities) -> Draft:
    """The rate of false events that the threshold promises, and the footage behind it."""
    found = list_events(subject, entities.picture)
    record = subject.clip(entities.picture)
    claims = [clip_verdict_claim(found)]
    known = record.calibration
    if known is None or not record.events:
        claims.append(
            make_claim("How often something is missed is not known from normal footage.", ["score"])
        )
        return Draft(tuple(claims), (found,))
    text = (
        f"The threshold promises at most {found.promised_per_hour:.3g} false events an hour; it rests on "
        f"{found.footage_seconds:.0f} s of normal footage."
    )
    return Draft((*claims, make_claim(text, ["score"])), (found,))


def clip_verdict_claim(found: EventList) -> Claim:
    """The recorded label in one sentence."""
    if found.label == "anomalous":
        stood = "event stands" if found.count == 1 else "events stand"
        return make_claim(f"{found.clip} is anomalous: {found.count} {stood} out.", found.ids)
    if found.label == "normal":
        return make_claim(f"{found.clip} is normal: nothing stands out.", ["score"])
    if found.label is None:
        return make_claim(f"{found.clip} could not be judged: {found.error}", ["score"])
    return make_claim(f"{found.clip} is undecided. {found.why_undecided or ''}".strip(), ["score"])


def event_claim(event: FoundEvent) -> Claim:
    """What happened in an event, when, and how bad it is."""
    text = event.sentence if event.sentence.endswith(".") else f"{event.sentence}."
    lasts = f"{event.start:g} s to {event.end:g} s"
    return make_claim(f"{event.event}, {lasts}: {text} Severity {event.severity}.", event.ids)


def _unjudged_claims(found: EventList) -> list[Claim]:
    return [
        make_claim(f"From {start:.1f} s to {end:.1f} s nothing could be judged (camera: {why}).", found.ids)
        for why, start, end in found.unjudged
    ]


def _select_events(found: EventList, entities: Entities) -> tuple[FoundEvent, ...]:
    """The events that the question names, the worst one, those at a time, or all."""
    if entities.events:
        return tuple(event for event in found.events if event.event in entities.events)
    if entities.order in ("worst", "strongest"):
        order = sorted(found.events, key=lambda event: -SEVERITIES.index(event.severity))
        return tuple(order[:1])
    if entities.seconds is not None:
        return tuple(event for event in found.events if event.start <= entities.seconds <= event.end)
    return found.events


def _events_as_severe(found: EventList, entities: Entities) -> tuple[FoundEvent, ...]:
    """The same, but only those as severe as the question says, or more so."""
    least = entities.severity or 0
    return tuple(
        event for event in _select_events(found, entities) if SEVERITIES.index(event.severity) >= least
    )


def _none_so_severe(found: EventList, entities: Entities) -> list[Claim]:
    """That no event of the clip is as severe as the question says; empty where one is."""
    least = entities.severity or 0
    if not found.events or any(SEVERITIES.index(event.severity) >= least for event in found.events):
        return []
    return [make_claim(f"No event is {_or_worse(least)}.", found.ids)]


def _or_worse(severity: int) -> str:
    """ "moderate or worse"; the last one has none that is worse."""
    return f"{SEVERITIES[severity]} or worse" if severity + 1 < len(SEVERITIES) else SEVERITIES[severity]


def _no_event_draft(found: EventList, entities: Entities) -> Draft:
    """The label, that no event is as severe as the question says, and what could not be judged."""
    claims = [clip_verdict_claim(found), *_none_so_severe(found, entities), *_unjudged_claims(found)]
    return Draft(tuple(claims), (found,))


_COMPARE = re.compile(r"\b(?:compar\w*|differ\w*|versus|vs|against|beside)\b")
_EVENTS = re.compile(r"\b(?:events|both|two of them)\b")
_WHICH = re.compile(
    r"\bwhich (?:event|one|of (?:them|these|those|the (?:two|events)))\b"
    r"|\bwhich (?:is|was|lasts|lasted|came|happened|moves|moved|stands|stood)\b"
)
_COMPARATIVES: Mapping[OrderMeasure, tuple[str, str, str, str]] = {
    "severity": ("is worse", "is less severe", "are equally severe", ""),
    "speed": ("is faster", "is slower", "are equally fast", " times the usual speed"),
    "duration": ("lasts longer", "is shorter", "last equally long", " s"),
    "size": ("is larger", "is smaller", "are equally large", " times the usual size"),
    "start": ("begins later", "begins first", "begin together", " s"),
    "score": ("stands out more", "stands out less", "stand out alike", " times the most of normal footage"),
}
"""Phrases for more, less and equal by measure, and its unit."""

_SUPERLATIVES: Mapping[OrderMeasure, tuple[str, str]] = {
    "severity": ("is the worst", "is the least severe"),
    "speed": ("is the fastest", "is the slowest"),
    "duration": ("lasts longest", "is the shortest"),
    "size": ("is the largest", "is the smallest"),
    "start": ("begins last", "begins first"),
    "score": ("stands out most", "stands out least"),
}
_DEFAULT_MEASURES: tuple[OrderMeasure, ...] = ("severity", "duration", "speed", "score")
"""Measures that events are compared by where the question names none."""


def is_event_comparison(question: Question, entities: Entities) -> bool:
    """Whether a question about a clip compares events."""
    plain = question.plain
    asks_all = _COMPARE.search(plain) is not None
    if len(entities.events) > 1:
        return asks_all or parse_order(plain) is not None
    if asks_all and _EVENTS.search(plain):
        return True
    return _WHICH.search(plain) is not None and parse_order(plain) is not None


def reply_clip_compare(subject: Subject, question: Question, entities: Entities) -> Draft:
    """Compare two named events or more, or all, by the measure that is named or `_DEFAULT_MEASURES`."""
    found = list_events(subject, entities.picture)
    events = [subject.event(id, entities.picture)[1] for id in entities.events]
    events = events if len(events) > 1 else list(subject.clip(entities.picture).events)
    if not events:
        return Draft((clip_verdict_claim(found),), (found,))
    sentences = {each.event: event_claim(each) for each in found.events}
    if len(events) == 1:
        text = f"Only {events[0].id} is there, so there is nothing to compare it with."
        return Draft((make_claim(text, (events[0].id,)), sentences[events[0].id]), (found,))
    order = parse_order(question.plain)
    if order is not None:
        return Draft((_comparison_claim(events, order),), (found,))
    shown = [sentences[event.id] for event in events] if len(events) == 2 else []
    claims = [_comparison_claim(events, EventOrder(measure, most=True)) for measure in _DEFAULT_MEASURES]
    return Draft((*shown, *claims), (found,))


def _comparison_claim(events: Sequence[Event], order: EventOrder) -> Claim:
    """One sentence on one measure."""
    ids = tuple(event.id for event in events)
    first = events_at_extreme(events, order)
    if not first:
        unknown = [event.id for event in events if order_value(event, order.measure) is None]
        what = "How fast it was" if order.measure == "speed" else "How large it was"
        text = f"{what} can't be compared: in {join_words(unknown)} no single object was followed."
        return make_claim(text, ids)
    *_, equal, unit = _COMPARATIVES[order.measure]
    others = [event for event in events if event not in first]
    if not others:
        return make_claim(
            f"{join_words(ids)} {equal}: {_format_measure(first[0], order.measure, unit)}.", ids
        )
    if len(events) == 2:
        words = _COMPARATIVES[order.measure][0 if order.most else 1]
        rest = _format_measure(others[0], order.measure, unit)
        against = f"{_format_measure(first[0], order.measure)} against {rest}"
        return make_claim(f"{first[0].id} {words}: {against}.", ids)
    words = _SUPERLATIVES[order.measure][0 if order.most else 1]
    if len(first) > 1:
        words = f"are ahead of the others and {equal}"
    rest = ", ".join(f"{event.id} {_format_measure(event, order.measure, unit)}" for event in others)
    measured = _format_measure(first[0], order.measure, unit)
    lead = f"{join_words([event.id for event in first])} {words}: {measured}"
    return make_claim(f"{lead} ({rest}).", ids)


def _format_measure(event: Event, measure: OrderMeasure, unit: str = "") -> str:
    value = order_value(event, measure)
    assert value is not None  # `events_at_extreme` returns nothing where a value is unknown
    return SEVERITIES[int(value)] if measure == "severity" else f"{value:g}{unit}"
