"""How multiple-choice questions are put: several wordings of each, in words of our own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Subtask = Literal["detection", "place", "kind"]
SUBTASKS: tuple[Subtask, ...] = ("detection", "place", "kind")

YES_MEANS_DEFECT: tuple[tuple[str, str, str], ...] = (
    ("Is there any defect on this {thing}?", "Yes", "No"),
    ("Does this {thing} show damage?", "Yes, it does", "No, it does not"),
    ("Is anything wrong with the {thing} in the picture?", "Yes", "No, nothing is wrong"),
    ("Which word describes this {thing}?", "Defective", "Normal"),
    ("Is this {thing} free of defects?", "No", "Yes"),
    ("Would you call this {thing} flawless?", "No, it has a defect", "Yes, it is flawless"),
)
"""A question, the answer for a defective picture and the answer for a normal one."""

PLACE_QUESTIONS = (
    "The {thing} has a defect. Where is it?",
    "In which part of the picture does the {thing} have a defect?",
    "Where would you look for the defect of this {thing}?",
    "Which of these places on the {thing} is defective?",
)
PLACE_OPTIONS = ("{place}", "At the {place}", "In the {place} of the picture")
OTHER_WORDS = {
    "upper left": "top left",
    "top": "upper middle",
    "upper right": "top right",
    "centre": "middle",
    "lower left": "bottom left",
    "bottom": "lower middle",
    "lower right": "bottom right",
    "left": "centre left",
    "right": "centre right",
}
"""The same place in other words; one question keeps to one way of putting it."""

KIND_QUESTIONS = (
    "What kind of defect does this {thing} have?",
    "The {thing} has a defect. Which kind is it?",
    "How would you name the defect on this {thing}?",
    "Which of these defects is to be seen on the {thing}?",
)
KIND_QUESTIONS_AT = (
    "What kind of defect does the {thing} have at the {place}?",
    "There is a defect at the {place} of this {thing}. Which kind is it?",
    "How would you name the defect in the {place} of the picture?",
    "Which of these defects does the {thing} show at the {place}?",
)
KIND_OPTIONS = ("{kind}", "A defect of the kind {kind}", "It is {kind}")


@dataclass(frozen=True)
class Wording:
    """A question with its options, the right one first."""

    question: str
    options: tuple[str, ...]


def detection(thing: str, defective: bool, number: int) -> Wording:
    """Ask whether anything is wrong, in wording ``number`` of those there are, again from the first."""
    question, wrong, fine = YES_MEANS_DEFECT[number % len(YES_MEANS_DEFECT)]
    options = (wrong, fine) if defective else (fine, wrong)
    return Wording(question.format(thing=thing), options)


def place(thing: str, right: str, others: tuple[str, ...], number: int) -> Wording:
    """Ask where the defect is; places are words of the 3×3 grid."""
    question = PLACE_QUESTIONS[number % len(PLACE_QUESTIONS)]
    form = PLACE_OPTIONS[number // len(PLACE_QUESTIONS) % len(PLACE_OPTIONS)]
    plain = number % 2 == 0
    options = (form.format(place=each if plain else OTHER_WORDS[each]) for each in (right, *others))
    return Wording(question.format(thing=thing), tuple(option[0].upper() + option[1:] for option in options))


def kind(thing: str, right: str, others: tuple[str, ...], number: int, at: str | None = None) -> Wording:
    """Ask for the kind of the defect, or of the one at a place where there are several."""
    texts = KIND_QUESTIONS if at is None else KIND_QUESTIONS_AT
    question = texts[number % len(texts)]
    form = KIND_OPTIONS[number // len(texts) % len(KIND_OPTIONS)]
    options = (form.format(kind=each.replace("_", " ")) for each in (right, *others))
    put = question.format(thing=thing, place=at)
    return Wording(put, tuple(option[0].upper() + option[1:] for option in options))
