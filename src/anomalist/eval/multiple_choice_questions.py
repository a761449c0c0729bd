"""Multiple-choice questions made from ground truth, in the manner of MMAD (Jiang et al., ICLR 2025).

Each question comes in several wordings, which are our own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from anomalist.types.common import BoolArray, Box
from anomalist.vision.attributes import POSITION_NAMES

Subtask = Literal["detection", "place", "kind"]
SUBTASKS: tuple[Subtask, ...] = ("detection", "place", "kind")

DETECTION_QUESTIONS: tuple[tuple[str, str, str], ...] = (
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
PLACE_SYNONYMS = {
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
"""Synonyms of places; the options of one question use either these or the plain words."""

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


def detection_wording(thing: str, defective: bool, number: int) -> Wording:
    """Ask whether anything is wrong, in wording ``number``, counted cyclically."""
    question, wrong, fine = DETECTION_QUESTIONS[number % len(DETECTION_QUESTIONS)]
    options = (wrong, fine) if defective else (fine, wrong)
    return Wording(question.format(thing=thing), options)


def place_wording(thing: str, right: str, others: tuple[str, ...], number: int) -> Wording:
    """Ask where the defect is; places are those of the 3×3 grid."""
    question = PLACE_QUESTIONS[number % len(PLACE_QUESTIONS)]
    form = PLACE_OPTIONS[number // len(PLACE_QUESTIONS) % len(PLACE_OPTIONS)]
    plain = number % 2 == 0
    options = (form.format(place=each if plain else PLACE_SYNONYMS[each]) for each in (right, *others))
    return Wording(question.format(thing=thing), tuple(option[0].upper() + option[1:] for option in options))


def kind_wording(
    thing: str, right: str, others: tuple[str, ...], number: int, at: str | None = None
) -> Wording:
    """Ask for the kind of the defect, or, with ``at``, of the defect at that place."""
    texts = KIND_QUESTIONS if at is None else KIND_QUESTIONS_AT
    question = texts[number % len(texts)]
    form = KIND_OPTIONS[number // len(texts) % len(KIND_OPTIONS)]
    options = (form.format(kind=each.replace("_", " ")) for each in (right, *others))
    text = question.format(thing=thing, place=at)
    return Wording(text, tuple(option[0].upper() + option[1:] for option in options))


MAX_PLACES = 4
"""Most options of a question about a place; of kinds, all are options."""


@dataclass(frozen=True)
class BenchmarkQuestion:
    """A question about one picture.

    Parameters
    ----------
    data : name of the data set.
    subtask : what it asks for.
    picture : name of the picture in the data set.
    group : the object; pictures of one object share it.
    text, options : the question and its options as worded.
    right : index of the right option.
    meanings : what each option means: "defective", "normal", a place, a kind.
    """

    data: str
    subtask: Subtask
    picture: str
    group: str
    text: str
    options: tuple[str, ...]
    right: int
    meanings: tuple[str, ...]

    @property
    def truth(self) -> str:
        """Meaning of the right option."""
        return self.meanings[self.right]


@dataclass(frozen=True)
class QuestionSubject:
    """The picture that a question is about, and the kind of thing that its data set shows."""

    data: str
    thing: str
    picture: str
    group: str


def detection_question(subject: QuestionSubject, defective: bool, number: int) -> BenchmarkQuestion:
    """Ask whether anything is wrong, in wording ``number``."""
    meanings = ("defective", "normal") if defective else ("normal", "defective")
    return _make_question(subject, "detection", detection_wording(subject.thing, defective, number), meanings)


def place_question(
    subject: QuestionSubject, shares: Sequence[float], rng: np.random.Generator, number: int
) -> BenchmarkQuestion | None:
    """Ask where the defect is; the options are the place with most of it and up to three without a defect.

    Parameters
    ----------
    subject : of the question.
    shares : share of the defect in each of `POSITION_NAMES`; negative where another defect is.
    rng : draws the other places.
    number : of the wording.

    Returns
    -------
    The question; None when there is no place without a defect.
    """
    right = POSITION_NAMES[int(np.argmax(shares))]
    free = [place for place, share in zip(POSITION_NAMES, shares, strict=True) if share == 0]
    others = tuple(str(place) for place in rng.permutation(free)[: MAX_PLACES - 1])
    if not others or max(shares) <= 0:
        return None
    wording = place_wording(subject.thing, right, others, number)
    return _make_question(subject, "place", wording, (right, *others))


def kind_question(
    subject: QuestionSubject, right: str, others: Sequence[str], number: int, at: str | None = None
) -> BenchmarkQuestion:
    """Ask for the kind of defect, ``at`` a place where there are several; ``others`` are wrong there."""
    wording = kind_wording(subject.thing, right, tuple(others), number, at)
    return _make_question(subject, "kind", wording, (right, *others))


def _make_question(
    subject: QuestionSubject, subtask: Subtask, wording: Wording, meanings: tuple[str, ...]
) -> BenchmarkQuestion:
    return BenchmarkQuestion(
        subject.data, subtask, subject.picture, subject.group, wording.question, wording.options, 0, meanings
    )


def balance_answer_letters(questions: Sequence[BenchmarkQuestion], seed: int) -> list[BenchmarkQuestion]:
    """Shuffle the options of each question so that all letters are right equally often, up to one.

    Balanced among the questions of a data set and subtask with the same number of options.
    """
    rng = np.random.default_rng((seed, 7))
    members_of: dict[tuple[str, str, int], list[int]] = defaultdict(list)
    for i, question in enumerate(questions):
        members_of[question.data, question.subtask, len(question.options)].append(i)
    placed = list(questions)
    for (_, _, count), members in sorted(members_of.items()):
        for turn, i in enumerate(rng.permutation(members)):
            question, right = questions[i], turn % count
            order = [int(at) for at in rng.permutation(range(1, count))]
            order.insert(right, question.right)
            placed[i] = replace(
                question,
                options=tuple(question.options[at] for at in order),
                meanings=tuple(question.meanings[at] for at in order),
                right=right,
            )
    return placed


def shares_of_mask(mask: BoolArray) -> list[float]:
    """Share of a mask, bool (H, W), in each of `POSITION_NAMES`; they sum to one, or are 0 without a mask."""
    height, width = mask.shape
    rows = [y * height // 3 for y in range(4)]
    columns = [x * width // 3 for x in range(4)]
    counts = [
        float(mask[rows[y] : rows[y + 1], columns[x] : columns[x + 1]].sum())
        for y in range(3)
        for x in range(3)
    ]
    return [count / max(1.0, sum(counts)) for count in counts]


def shares_of_boxes(boxes: Sequence[Box], which: int, size: tuple[int, int]) -> list[float]:
    """Share of box ``which`` in each of `POSITION_NAMES`; −1 where it has none but another box does.

    ``size`` is (height, width) of the picture, the boxes half-open (x0, y0, x1, y1).
    """
    masks = []
    for box in (boxes[which], *boxes):
        mask = np.zeros(size, np.bool_)
        mask[box[1] : box[3], box[0] : box[2]] = True
        masks.append(mask)
    own, every = shares_of_mask(masks[0]), shares_of_mask(np.logical_or.reduce(masks))
    return [share if share > 0 else -1.0 if any_ > 0 else 0.0 for share, any_ in zip(own, every, strict=True)]


def places_of_one_kind(boxes: Sequence[Box], kinds: Sequence[str], size: tuple[int, int]) -> dict[str, str]:
    """Kind of defect in each of `POSITION_NAMES` with boxes of one kind only, one of them mostly in it."""
    shares = [shares_of_boxes([box], 0, size) for box in boxes]
    found: dict[str, str] = {}
    for at, place in enumerate(POSITION_NAMES):
        reaching = {kind for kind, share in zip(kinds, shares, strict=True) if share[at] > 0}
        if len(reaching) == 1 and any(share[at] == max(share) for share in shares):
            found[place] = reaching.pop()
    return found
