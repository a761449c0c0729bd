"""Replies about a clip: what happened, when, where, how bad, why; from its recorded events."""

from __future__ import annotations

from anomalist.agent.asking.draft import Draft, say
from anomalist.agent.asking.named import Named
from anomalist.agent.asking.question import Question
from anomalist.agent.tools.subject import Subject
from anomalist.agent.tools.watching import EventFound, EventList, frame_at, list_events
from anomalist.types import SEVERITIES, Claim

TOLD = 6
"""Events that are told one by one."""


def reply_clip(subject: Subject, question: Question, named: Named) -> Draft:
    """Whether anything stood out, what, and what could not be judged."""
    found = list_events(subject, named.picture, None, named.severity or 0)
    events = _asked(found, named)
    claims = [verdict_of(found), *map(event_claim, events[:TOLD])]
    if named.seconds is not None:
        frame = frame_at(subject, named.seconds, named.picture)
        during = f" during {', '.join(frame.events)}" if frame.events else ", outside every event"
        claims.append(say(f"The frame at {frame.time:g} s is number {frame.index}{during}.", frame.ids))
        return Draft(tuple(claims), (found, frame))
    return Draft((*claims, *_unjudged(found)), (found,))


def reply_when(subject: Subject, question: Question, named: Named) -> Draft:
    """Start, end, duration and peak of the events."""
    found = list_events(subject, named.picture)
    events = _asked(found, named)
    if not events:
        return Draft((verdict_of(found), *_unjudged(found)), (found,))
    claims = [
        say(
            f"{event.event} lasts from {event.start:g} s to {event.end:g} s ({event.duration:g} s), "
            f"with its peak at {event.peak:g} s.",
            event.ids,
        )
        for event in events[:TOLD]
    ]
    return Draft(tuple(claims), (found,))


def reply_clip_where(subject: Subject, question: Question, named: Named) -> Draft:
    """Where in the picture the events are."""
    found = list_events(subject, named.picture)
    events = _asked(found, named)
    if not events:
        return Draft((verdict_of(found),), (found,))
    claims = []
    for event in events[:TOLD]:
        box = ""
        if event.box is not None:
            x0, y0, x1, y1 = event.box
            box = f" (at its peak x from {x0} to {x1}, y from {y0} to {y1} pixels)"
        claims.append(say(f"{event.event}: {event.where or 'in the picture'}{box}.", event.ids))
    return Draft(tuple(claims), (found,))


def reply_clip_severity(subject: Subject, question: Question, named: Named) -> Draft:
    """Severity of each event with the sentences that it was graded by."""
    found = list_events(subject, named.picture)
    record = subject.clip(named.picture)
    chosen = {event.event for event in _asked(found, named)}
    claims = [
        say(claim.text, claim.evidence)
        for event in record.events
        if event.id in chosen
        for claim in event.claims
        if claim.text.startswith("Severity")
    ]
    lead = [say(f"{event.event} is {event.severity}.", event.ids) for event in _asked(found, named)[:TOLD]]
    return Draft((verdict_of(found), *lead, *claims[:TOLD]), (found,))


def reply_clip_count(subject: Subject, question: Question, named: Named) -> Draft:
    """How many events there are."""
    found = list_events(subject, named.picture)
    stood = "event stands" if found.count == 1 else "events stand"
    text = f"{found.count} {stood} out." if found.count else "None: nothing stands out."
    return Draft((say(text, found.ids), *_unjudged(found)), (found,))


def reply_clip_confidence(subject: Subject, question: Question, named: Named) -> Draft:
    """How often normal footage gets as high."""
    found = list_events(subject, named.picture)
    record = subject.clip(named.picture)
    claims = [verdict_of(found)]
    known = record.calibration
    if known is None or not record.events:
        claims.append(say("How often something is missed is not known from normal footage.", ["score"]))
        return Draft(tuple(claims), (found,))
    text = (
        f"The threshold promises at most {found.promised_per_hour:.3g} false events an hour; it rests on "
        f"{found.footage_seconds:.0f} s of normal footage."
    )
    return Draft((*claims, say(text, ["score"])), (found,))


def verdict_of(found: EventList) -> Claim:
    """One sentence with the label as it is recorded."""
    if found.label == "anomalous":
        stood = "event stands" if found.count == 1 else "events stand"
        return say(f"{found.clip} is anomalous: {found.count} {stood} out.", found.ids)
    if found.label == "normal":
        return say(f"{found.clip} is normal: nothing stands out.", ["score"])
    return say(f"{found.clip} is undecided. {found.why_undecided or ''}".strip(), ["score"])


def event_claim(event: EventFound) -> Claim:
    """What happened in an event, when, and how bad it is."""
    text = event.sentence if event.sentence.endswith(".") else f"{event.sentence}."
    lasts = f"{event.start:g} s to {event.end:g} s"
    return say(f"{event.event}, {lasts}: {text} Severity {event.severity}.", event.ids)


def _unjudged(found: EventList) -> list[Claim]:
    return [
        say(f"From {start:.1f} s to {end:.1f} s nothing could be judged (camera: {why}).", found.ids)
        for why, start, end in found.unjudged
    ]


def _asked(found: EventList, named: Named) -> tuple[EventFound, ...]:
    """The events that are named; the worst; those at a time; or all."""
    if named.events:
        return tuple(event for event in found.events if event.event in named.events)
    if named.order in ("worst", "strongest"):
        order = sorted(found.events, key=lambda event: -SEVERITIES.index(event.severity))
        return tuple(order[:1])
    if named.seconds is not None:
        return tuple(event for event in found.events if event.start <= named.seconds <= event.end)
    return found.events
