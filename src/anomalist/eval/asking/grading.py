"""Whether an answer is right: by the labels of the data set, or where there are none, by the record."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from anomalist.agent.asking.draft import numbers
from anomalist.agent.tools.deciding import change_false_alarm_rate
from anomalist.agent.tools.subject import Subject
from anomalist.eval.asking.question_set import Check, Question
from anomalist.eval.asking.truth import Truth
from anomalist.types import SEVERITIES, Answer
from anomalist.vision.attributes import POSITIONS

BY_LABELS: frozenset[Check] = frozenset(
    {"label", "place", "kind", "count", "size", "change", "events", "when"}
)
"""Checks against labels of the data set; the others hold an answer against the record."""

_WORDS = sorted((word for row in POSITIONS for word in row), key=len, reverse=True)


def graded(question: Question, reply: Answer, truth: Truth, subject: Subject) -> bool | None:
    """Whether the answer is right; None where the detector was not, so that no answer could be."""
    if question.check == "unanswered":
        return not reply.answered and reply.helps is not None
    if not reply.answered:
        return None if question.check in BY_LABELS and not truth.found else False
    return _GRADES[question.check](question, reply, truth, subject)


def labels_stated(reply: Answer) -> set[str]:
    """The labels that the words of an answer state."""
    return set(re.findall(r"\bis (normal|anomalous|undecided)\b", reply.text))


def _label(question: Question, reply: Answer, truth: Truth, subject: Subject) -> bool | None:
    if subject.records and subject.picture().label != truth.label:
        return None
    return reply.verdict == truth.label and labels_stated(reply) == {truth.label}


def _place(question: Question, reply: Answer, truth: Truth, subject: Subject) -> bool | None:
    if not truth.found:
        return None
    first = next((claim.text for claim in reply.claims if "R1" in claim.evidence), "")
    return next((word for word in _WORDS if word in first), None) in truth.cells


def _kind(question: Question, reply: Answer, truth: Truth, subject: Subject) -> bool | None:
    if not (truth.found and truth.named):
        return None
    return any(kind in reply.text for kind in truth.kinds)


def _count(question: Question, reply: Answer, truth: Truth, subject: Subject) -> bool | None:
    if not truth.counted:
        return None
    return bool(reply.claims) and numbers(reply.claims[0].text)[:1] == [float(len(truth.boxes))]


def _size(question: Question, reply: Answer, truth: Truth, subject: Subject) -> bool | None:
    if not truth.found:
        return None
    region = subject.picture().regions[0]
    record = subject.picture()
    x0, y0, x1, y1 = region.box
    if "edge" in question.text or "border" in question.text:
        gaps = (x0, y0, (record.width or 0) - x1, (record.height or 0) - y1)
        return any(float(gap) in numbers(reply.text) for gap in gaps)
    return {float(x1 - x0), float(y1 - y0), float(region.area)} <= set(numbers(reply.text))


def _change(question: Question, reply: Answer, truth: Truth, subject: Subject) -> bool | None:
    if not truth.found:
        return None
    cited = {id for claim in reply.claims for id in claim.evidence}
    return {region.id for region in subject.picture().regions} <= cited


def _events(question: Question, reply: Answer, truth: Truth, subject: Subject) -> bool | None:
    if not truth.found:
        return None
    cited = {id for claim in reply.claims for id in claim.evidence}
    return reply.verdict == truth.label and all(event.id in cited for event in subject.clip().events)


def _when(question: Question, reply: Answer, truth: Truth, subject: Subject) -> bool | None:
    if not truth.found or not truth.intervals:
        return None
    start, end = numbers(reply.claims[0].text)[:2]
    return any(start < stop and end > begin for begin, stop in truth.intervals)


def _record(question: Question, reply: Answer, truth: Truth, subject: Subject) -> bool:
    return bool(reply.claims)


def _severity(question: Question, reply: Answer, truth: Truth, subject: Subject) -> bool:
    level = subject.picture().severity
    return level is not None and SEVERITIES[level] in reply.text


def _confidence(question: Question, reply: Answer, truth: Truth, subject: Subject) -> bool:
    record = subject.picture()
    told = numbers(reply.text)
    value = record.p_value if record.p_value is not None else record.score
    return value is not None and any(abs(value - each) <= 0.01 * max(abs(value), 0.05) for each in told)


def _history(question: Question, reply: Answer, truth: Truth, subject: Subject) -> bool:
    cited = {id for claim in reply.claims for id in claim.evidence}
    return any(id.startswith("case:") for id in cited) or "No past case" in reply.text


def _action(question: Question, reply: Answer, truth: Truth, subject: Subject) -> bool:
    passes = "speaks against passing" in reply.text
    return passes == (subject.picture().label == "normal")


def _rate(question: Question, reply: Answer, truth: Truth, subject: Subject) -> bool:
    (one,) = change_false_alarm_rate(subject, float(question.expects)).pictures
    return one.after in reply.claims[0].text


def _search(question: Question, reply: Answer, truth: Truth, subject: Subject) -> bool:
    """Exactly the pictures that fit, by name."""
    worst = max(subject.records, key=lambda record: ((record.severity or 0), -(record.p_value or 1)))
    fits: Mapping[str, set[str]] = {
        "all": {record.source for record in subject.records},
        "worst": {worst.source},
        "critical": {record.source for record in subject.records if record.severity == 4},
    }
    wanted = fits.get(
        question.expects, {record.source for record in subject.records if record.label == question.expects}
    )
    names = {Path(source).name for source in wanted}
    told = {Path(record.source).name for record in subject.records if Path(record.source).name in reply.text}
    return told == names


def _feedback(question: Question, reply: Answer, truth: Truth, subject: Subject) -> bool:
    return reply.claims[0].evidence[0].startswith("case:")


_GRADES: Mapping[str, Callable[[Question, Answer, Truth, Subject], bool | None]] = {
    "label": _label,
    "place": _place,
    "kind": _kind,
    "count": _count,
    "size": _size,
    "change": _change,
    "events": _events,
    "when": _when,
    "record": _record,
    "severity": _severity,
    "confidence": _confidence,
    "history": _history,
    "action": _action,
    "rate": _rate,
    "search": _search,
    "feedback": _feedback,
}
