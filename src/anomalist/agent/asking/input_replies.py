"""Replies about pictures as a whole: whether camera, light or focus changed, whether it is the product."""

from __future__ import annotations

import re
from collections.abc import Sequence

from anomalist.agent.asking.draft import Draft, make_claim
from anomalist.agent.asking.question import Entities, Question, strip_file_names
from anomalist.agent.reasoning.claims import INPUT_ID
from anomalist.agent.tools.subject import Result, Subject
from anomalist.types.image import Record
from anomalist.types.shift import Characteristic, InputChange, InputShift

INPUT_INTENT = "input"
_ASKED: dict[str, tuple[Characteristic, ...]] = {
    r"\b(camera|lens|fixture|parts?|picture|image)\b.*\b(mov|shift|displac|knock|turn|tilt|rotat|zoom)": (
        "shift",
        "rotation",
        "scale",
    ),
    r"\b(same|another|different|wrong|other|right) (product|part type|article|model)\b": ("product", "blank"),
    r"\b(light(ing)?|illumination|exposure|brightness)\b.*\b(chang|differ|drift|off|same|brighter|darker)": (
        "brightness",
        "colour",
        "contrast",
    ),
    r"\b(too (dark|bright)|overexposed|underexposed|over-exposed|under-exposed)\b": ("brightness",),
    r"\b(out of focus|in focus|blurr(y|ed)|defocus(ed)?|sharp enough)\b": ("sharpness",),
    r"\b(noisy|noisier|grainy)\b": ("noise",),
    r"\b(drift(ed|s|ing)?)\b|\bhas (the )?(input|setup|set-up) changed\b": (),
}
"""What is asked about, by patterns of lower-case questions; nothing named means anything."""


def asked_characteristics(question: Question) -> tuple[Characteristic, ...] | None:
    """What of the whole picture a question asks about; None where it asks about something else."""
    plain = strip_file_names(question.plain)
    for pattern, names in _ASKED.items():
        if re.search(pattern, plain):
            return names
    return None


class _InputFindings(Result):
    """What differs as a whole: its words, and how many pictures were asked about and changed."""

    words: tuple[str, ...]
    counts: tuple[int, ...]


def reply_input(subject: Subject, question: Question, entities: Entities) -> Draft | None:
    """Whether something of the whole picture changed, or of how many; None where that was not measured."""
    asked = asked_characteristics(question)
    if asked is None:
        return None
    records = _records(subject, entities)
    if not any(record.input_shift for record in records):
        return None
    shifts = [record.input_shift for record in records if record.input_shift is not None]
    changed = [_changes(shift, asked) for shift in shifts]
    texts = _texts_of_one(shifts[0], asked) if len(shifts) == 1 else _texts_of_several(shifts, changed)
    words = [change.words for shift in shifts for change in (*shift.changes, *shift.corrected)]
    words += [shift.drift.words for shift in shifts if shift.drift is not None]
    counts = (sum(bool(each) for each in changed), len(shifts))
    found = _InputFindings(ids=(INPUT_ID,), words=tuple(dict.fromkeys(words)), counts=counts)
    return Draft(tuple(make_claim(text, [INPUT_ID]) for text in texts), (found,))


def _records(subject: Subject, entities: Entities) -> Sequence[Record]:
    if entities.picture is None:
        return subject.records
    return [subject.picture(entities.picture)]


def _changes(shift: InputShift, asked: Sequence[Characteristic]) -> list[InputChange]:
    return [change for change in shift.changes if not asked or change.name in asked]


def _texts_of_one(shift: InputShift, asked: Sequence[Characteristic]) -> list[str]:
    changes = _changes(shift, asked)
    others = [change for change in shift.changes if change not in changes]
    small = [change for change in shift.corrected if not asked or change.name in asked]
    texts = []
    if changes:
        words = ", ".join(change.words for change in changes)
        texts.append(f"Yes, it is not as it was learned: as a whole the picture is {words}.")
    elif small:
        words = ", ".join(change.words for change in small)
        texts.append(f"A little, and it was taken out before scoring: {words}.")
    elif "product" in asked:
        texts.append("It is the product that was learned, as far as the whole picture tells.")
    else:
        texts.append("No: in this the picture is like those that were learned.")
    if others:
        texts.append(f"But something else changed: it is {', '.join(change.words for change in others)}.")
    return [*texts, *_drift_texts([shift])]


def _texts_of_several(shifts: Sequence[InputShift], found: Sequence[Sequence[InputChange]]) -> list[str]:
    changed = [changes for changes in found if changes]
    if not changed:
        text = f"No: none of the {len(shifts)} pictures differs in this from those that were learned."
    else:
        middle = sorted((changes[0] for changes in changed), key=lambda one: one.value)[len(changed) // 2]
        text = f"Yes: {len(changed)} of {len(shifts)} pictures, typically {middle.words}."
    return [text, *_drift_texts(shifts)]


def _drift_texts(shifts: Sequence[InputShift]) -> list[str]:
    words = dict.fromkeys(shift.drift.words for shift in shifts if shift.drift is not None)
    return [f"The run has drifted: {each}." for each in words]
