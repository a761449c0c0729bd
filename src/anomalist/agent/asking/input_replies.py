"""Replies about pictures as a whole: whether camera, light or focus changed, whether it is the product."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from anomalist.agent.asking.draft import Draft, make_claim
from anomalist.agent.asking.picture_replies import NEGATION
from anomalist.agent.asking.question import Entities, Question, strip_file_names
from anomalist.agent.choice.option_parsing import LEADING_AUXILIARY
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
    r"\b(light(ing)?|illumination|exposure|brightness)\b.*"
    r"\b((un)?chang|differ|drift|off|same|brighter|darker)": (
        "brightness",
        "colour",
        "contrast",
    ),
    r"\b(too (dark|bright)|overexposed|underexposed|over-exposed|under-exposed)\b": ("brightness",),
    r"\b(out of focus|in focus|blurr(y|ed)|defocus(ed)?|sharp enough|unsharp)\b"
    r"|^(is|are|was|were) (it|this|that|they|these|(the |this )?(picture|image|photo)s?) "
    r"(not |still )?sharp\b": ("sharpness",),
    r"\b(noisy|noisier|grainy)\b": ("noise",),
    r"\b(drift(ed|s|ing)?)\b|\bhas (the )?(input|setup|set-up) changed\b": (),
}
"""What is asked about, by patterns of lower-case questions; nothing named means anything."""

_AS_LEARNED = re.compile(
    r"\b(?:in focus|sharp|same|unchanged|(?:right|correct) (?:product|part type|article|model))\b"
)
"""Words that ask whether a picture is as it was learned; without one, whether it is not."""

_DARKER = re.compile(r"\b(?:dark|darker|underexposed|under-exposed)\b")
_BRIGHTER = re.compile(r"\b(?:bright|brighter|overexposed|over-exposed)\b")


@dataclass(frozen=True)
class _Asked:
    """What of a whole picture is asked about.

    Parameters
    ----------
    names : what may differ; empty for anything.
    learned : whether it is asked if the picture is as it was learned, rather than if it is not.
    brighter : of light, whether brighter is asked about, or darker; None for either.
    """

    names: tuple[Characteristic, ...]
    learned: bool
    brighter: bool | None

    def concerns(self, change: InputChange) -> bool:
        """Whether a change is what is asked about."""
        if self.brighter is not None and change.name == "brightness":
            return (change.value > 1) == self.brighter
        return not self.names or change.name in self.names

    def changes(self, shift: InputShift) -> list[InputChange]:
        """What changed of what is asked about."""
        return [change for change in shift.changes if self.concerns(change)]

    def corrected(self, shift: InputShift) -> list[InputChange]:
        """What of it differed a little, and was taken out before scoring."""
        return [change for change in shift.corrected if self.concerns(change)]

    def hidden_by(self, shift: InputShift) -> bool:
        """Whether something else changed so much that what is asked about was not looked at."""
        hiding = {"blank", "product", "format"}
        hiding |= {"compression", "noise"} if {"sharpness", "noise"} & set(self.names) else set()
        return not self.changes(shift) and any(change.name in hiding for change in shift.changes)

    def reply(self, as_learned: bool) -> str:
        """Yes or no."""
        return "Yes" if self.learned == as_learned else "No"


def _read_asked(question: Question) -> _Asked | None:
    """What of the whole picture a question asks about; None where it asks about something else."""
    plain = strip_file_names(question.plain)
    for pattern, names in _ASKED.items():
        if re.search(pattern, plain):
            negated = NEGATION.search(LEADING_AUXILIARY.sub("", plain)) is not None
            darker, brighter = _DARKER.search(plain) is not None, _BRIGHTER.search(plain) is not None
            return _Asked(
                names,
                learned=(_AS_LEARNED.search(plain) is not None) != negated,
                brighter=None if darker == brighter else brighter,
            )
    return None


class _InputFindings(Result):
    """What differs as a whole: its words, and how many pictures were asked about and changed."""

    words: tuple[str, ...]
    counts: tuple[int, ...]


def reply_input(subject: Subject, question: Question, entities: Entities) -> Draft | None:
    """Whether something of the whole picture changed, or of how many; None where that was not measured."""
    asked = _read_asked(question)
    if asked is None:
        return None
    records = _records(subject, entities)
    if not any(record.input_shift for record in records):
        return None
    shifts = [record.input_shift for record in records if record.input_shift is not None]
    compared = [shift for shift in shifts if not asked.hidden_by(shift)]
    left = len(records) - len(compared)
    if len(records) == 1:
        texts = _texts_of_one(shifts[0], asked)
    else:
        texts = _texts_of_several(compared, asked) if compared else []
        texts += [f"{left} of {len(records)} pictures could not be compared in this."] if left else []
    texts += _drift_texts(shifts)
    words = [change.words for shift in shifts for change in (*shift.changes, *shift.corrected)]
    words += [shift.drift.words for shift in shifts if shift.drift is not None]
    tallies = (sum(map(bool, map(each, compared))) for each in (asked.changes, asked.corrected))
    counts = (*tallies, len(compared), left, len(records))
    found = _InputFindings(ids=(INPUT_ID,), words=tuple(dict.fromkeys(words)), counts=counts)
    return Draft(tuple(make_claim(text, [INPUT_ID]) for text in texts), (found,))


def _records(subject: Subject, entities: Entities) -> Sequence[Record]:
    if entities.picture is None:
        return subject.records
    return [subject.picture(entities.picture)]


def _texts_of_one(shift: InputShift, asked: _Asked) -> list[str]:
    changes, small = asked.changes(shift), asked.corrected(shift)
    others = [change for change in shift.changes if change not in changes]
    reply = asked.reply(as_learned=not changes)
    texts = []
    if asked.hidden_by(shift):
        return [f"That could not be compared: as a whole the picture is {shift.words}."]
    if changes:
        words = ", ".join(change.words for change in changes)
        texts.append(f"{reply}, it is not as it was learned: as a whole the picture is {words}.")
    elif small:
        words = ", ".join(change.words for change in small)
        how = "Nearly: what differs" if asked.learned else "A little, and it"
        texts.append(f"{how} was taken out before scoring: {words}.")
    elif "product" in asked.names:
        texts.append(f"{reply}. It is the product that was learned, as far as the whole picture tells.")
    else:
        texts.append(f"{reply}: in this the picture is like those that were learned.")
    if others:
        texts.append(f"But something else changed: it is {', '.join(change.words for change in others)}.")
    return texts


def _texts_of_several(shifts: Sequence[InputShift], asked: _Asked) -> list[str]:
    changed = [changes for shift in shifts if (changes := asked.changes(shift))]
    small = [corrected for shift in shifts if (corrected := asked.corrected(shift))]
    reply = asked.reply(as_learned=not changed)
    if changed:
        reply = "Not all" if asked.learned and len(changed) < len(shifts) else reply
        return [f"{reply}: {len(changed)} of {len(shifts)} pictures, typically {_typical(changed)}."]
    if small:
        how = "Nearly" if asked.learned else "A little"
        of = f"{len(small)} of {len(shifts)} pictures it was taken out before scoring"
        return [f"{how}: in {of}, typically {_typical(small)}."]
    return [f"{reply}: none of the {len(shifts)} pictures differs in this from those that were learned."]


def _typical(found: Sequence[Sequence[InputChange]]) -> str:
    """Words of the middle one."""
    return sorted((changes[0] for changes in found), key=lambda one: one.value)[len(found) // 2].words


def _drift_texts(shifts: Sequence[InputShift]) -> list[str]:
    words = dict.fromkeys(shift.drift.words for shift in shifts if shift.drift is not None)
    return [f"The run has drifted: {each}." for each in words]
