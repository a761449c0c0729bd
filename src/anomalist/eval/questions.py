"""Multiple-choice questions made from ground truth, in the manner of MMAD (Jiang et al., ICLR 2025)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from anomalist.eval import question_wording as wording
from anomalist.eval.question_wording import Subtask, Wording
from anomalist.types import BoolArray, Box
from anomalist.vision.attributes import PLACES

MOST_PLACES = 4
"""Places to choose from, at most; kinds are all offered."""


@dataclass(frozen=True)
class Question:
    """A question about one picture.

    Parameters
    ----------
    data : name of the data set.
    subtask : what is asked for.
    picture : its name in the data set.
    group : pictures of one object share it.
    text, options : as they are asked.
    right : index of the right option.
    truth : what that option means: "defective", a place, a kind.
    meanings : what each option means.
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
        """What the right option means."""
        return self.meanings[self.right]


@dataclass(frozen=True)
class Subject:
    """What a question is about: a picture of a data set, and what is shown on its pictures."""

    data: str
    thing: str
    picture: str
    group: str


def about_defect(subject: Subject, defective: bool, number: int) -> Question:
    """Ask whether anything is wrong, in wording ``number``."""
    meanings = ("defective", "normal") if defective else ("normal", "defective")
    return _question(subject, "detection", wording.detection(subject.thing, defective, number), meanings)


def about_place(
    subject: Subject, shares: Sequence[float], rng: np.random.Generator, number: int
) -> Question | None:
    """Ask where the defect is: one place that has a share of it, and up to three that have none.

    Parameters
    ----------
    subject : of the question.
    shares : of the defect asked about, for each of `PLACES`; negative where another defect reaches.
    rng : draws the other places.
    number : of the wording.

    Returns
    -------
    None when every place has some of a defect.
    """
    right = PLACES[int(np.argmax(shares))]
    free = [place for place, share in zip(PLACES, shares, strict=True) if share == 0]
    others = tuple(str(place) for place in rng.permutation(free)[: MOST_PLACES - 1])
    if not others or max(shares) <= 0:
        return None
    put = wording.place(subject.thing, right, others, number)
    return _question(subject, "place", put, (right, *others))


def about_kind(
    subject: Subject, right: str, others: Sequence[str], number: int, at: str | None = None
) -> Question:
    """Ask for the kind of defect, ``at`` a place where there are several; the others are not there."""
    put = wording.kind(subject.thing, right, tuple(others), number, at)
    return _question(subject, "kind", put, (right, *others))


def _question(subject: Subject, subtask: Subtask, put: Wording, meanings: tuple[str, ...]) -> Question:
    return Question(
        subject.data, subtask, subject.picture, subject.group, put.question, put.options, 0, meanings
    )


def balanced(questions: Sequence[Question], seed: int) -> list[Question]:
    """Shuffle the options of each question so that every letter is as often right, or once more.

    Among the questions of a data set and subtask with the same number of options.
    """
    rng = np.random.default_rng((seed, 7))
    alike: dict[tuple[str, str, int], list[int]] = defaultdict(list)
    for i, question in enumerate(questions):
        alike[question.data, question.subtask, len(question.options)].append(i)
    placed = list(questions)
    for (_, _, count), members in sorted(alike.items()):
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
    """How much of a mask, bool (H, W), lies in each of `PLACES`; they sum to one, or are all 0."""
    height, width = mask.shape
    rows = [y * height // 3 for y in range(4)]
    columns = [x * width // 3 for x in range(4)]
    counts = [
        float(mask[rows[y] : rows[y + 1], columns[x] : columns[x + 1]].sum())
        for y in range(3)
        for x in range(3)
    ]
    return [count / max(1.0, sum(counts)) for count in counts]


def shares_of_boxes(boxes: Sequence[Box], asked: int, size: tuple[int, int]) -> list[float]:
    """How much of one box lies in each of `PLACES`; −1 where it has none but another box does.

    ``size`` is (height, width) of the picture, the boxes half-open (x0, y0, x1, y1).
    """
    masks = []
    for box in (boxes[asked], *boxes):
        mask = np.zeros(size, np.bool_)
        mask[box[1] : box[3], box[0] : box[2]] = True
        masks.append(mask)
    own, every = shares_of_mask(masks[0]), shares_of_mask(np.logical_or.reduce(masks))
    return [share if share > 0 else -1.0 if any_ > 0 else 0.0 for share, any_ in zip(own, every, strict=True)]


def of_one_kind(boxes: Sequence[Box], kinds: Sequence[str], size: tuple[int, int]) -> dict[str, str]:
    """The kind of defect in each of `PLACES` that boxes of exactly one kind reach and one lies mostly in."""
    shares = [shares_of_boxes([box], 0, size) for box in boxes]
    found: dict[str, str] = {}
    for at, place in enumerate(PLACES):
        reaching = {kind for kind, share in zip(kinds, shares, strict=True) if share[at] > 0}
        if len(reaching) == 1 and any(share[at] == max(share) for share in shares):
            found[place] = reaching.pop()
    return found
