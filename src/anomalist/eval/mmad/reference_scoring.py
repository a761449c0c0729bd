"""Scores as MMAD's own evaluation code gives them, with its quirks, for comparison with published tables.

What it does, after its parser (``parse_answer``) and its summary (``caculate_accuracy_mmad``):

- the answer is a capital letter A to E that stands alone in the reply, the last of several; the article "A"
  counts, "Not B" is B, and a letter that is no option of the question counts as an answer;
- a reply without one takes the option that resembles it most, however little: an empty reply, too;
- a picture on which a model fails leaves the denominator with all its questions;
- whoever's answer is none of A to E leaves it as well, and takes the next answer of the list along;
- normal pictures are those with "good" anywhere in their path;
- a subtask without questions counts as 0, and every data set and subtask weighs the same.
"""

from __future__ import annotations

import re
import string
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
from pydantic import Field

from anomalist.eval.mmad.answering import AnsweredPicture
from anomalist.eval.mmad.questions import DETECTION, GOOD, MmadPicture
from anomalist.types.common import Frozen

_LETTERS = tuple("ABCDE")
_LONE_LETTER = re.compile(r"\b([A-E])\b")


class ReferenceScores(Frozen):
    """What the benchmark's own code would print, in percent."""

    table: dict[str, dict[str, float]] = Field(description="data set, then subtask; and their averages")
    average: float = Field(description="mean over data sets of the mean over subtasks")
    counted: int = Field(description="questions in the denominator")
    dropped: int = Field(description="questions that left the denominator")


@dataclass(frozen=True)
class ReferenceAnswer:
    """One row of the reference's list of answers."""

    image: str
    subtask: str
    right: str
    given: str


def parse_reference_answer(reply: str, options: Sequence[str]) -> str:
    """The letter that the reference reads from a reply; the reply itself where it reads none."""
    letters = _LONE_LETTER.findall(reply)
    if letters:
        return str(letters[-1])
    closest = get_close_matches(reply, list(options), n=1, cutoff=0.0)
    return string.ascii_uppercase[list(options).index(closest[0])] if closest else reply


def reference_answers(
    pictures: Sequence[MmadPicture], answered: Iterable[AnsweredPicture]
) -> Iterator[ReferenceAnswer]:
    """The list of answers that the reference would write; pictures on which a model failed are not in it."""
    for picture, given in zip(pictures, answered, strict=True):
        replies = [answer.reply for answer in given.answers]
        if None in replies:
            continue
        for question, reply in zip(picture.questions, replies, strict=True):
            yield ReferenceAnswer(
                picture.name,
                question.subtask,
                string.ascii_uppercase[question.right],
                parse_reference_answer(reply or "", question.options),
            )


def score_by_reference(
    pictures: Sequence[MmadPicture], answered: Sequence[AnsweredPicture]
) -> ReferenceScores | None:
    """Score answers as the reference does; None without any answer.

    Parameters
    ----------
    pictures, answered : in the same order.
    """
    rows = list(reference_answers(pictures, answered))
    asked = sum(len(picture.questions) for picture in pictures)
    if not rows:
        return None
    datasets = list(dict.fromkeys(row.image.split("/")[0] for row in rows))
    subtasks = list(dict.fromkeys(row.subtask for row in rows))
    counted = list(_counted(rows))
    hits: Mapping[tuple[str, str, bool], list[bool]] = defaultdict(list)
    for row in counted:
        cell = (row.image.split("/")[0], row.subtask, GOOD in row.image)
        hits[cell].append(row.right == row.given)
    table = {
        dataset: {subtask: _percent(hits, dataset, subtask) for subtask in subtasks} for dataset in datasets
    }
    for values in table.values():
        values["Average"] = float(np.mean(list(values.values())))
    table["Average"] = {
        column: float(np.mean([table[dataset][column] for dataset in datasets]))
        for column in (*subtasks, "Average")
    }
    return ReferenceScores(
        table=table,
        average=table["Average"]["Average"],
        counted=len(counted),
        dropped=asked - len(counted),
    )


def _counted(rows: Sequence[ReferenceAnswer]) -> Iterator[ReferenceAnswer]:
    """The answers that are counted: an invalid one is taken out of the list that is being walked through.

    So the answer after it moves into its place and is passed over.
    """
    left = list(rows)
    at = 0
    while at < len(left):
        row = left[at]
        at += 1
        if row.right in _LETTERS and row.given in _LETTERS:
            yield row
        else:
            left.remove(row)


def _percent(hits: Mapping[tuple[str, str, bool], Sequence[bool]], dataset: str, subtask: str) -> float:
    normal, anomalous = (hits.get((dataset, subtask, good), ()) for good in (True, False))
    if subtask == DETECTION:
        return 100 * (_share(normal) + _share(anomalous)) / 2
    return 100 * _share([*normal, *anomalous])


def _share(values: Sequence[bool]) -> float:
    return sum(values) / len(values) if values else 0.0
