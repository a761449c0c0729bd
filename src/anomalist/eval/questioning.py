"""How well multiple-choice questions made from ground truth are answered, against chance and text alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field

from anomalist import __version__
from anomalist.agent.choosing import Choice, choose
from anomalist.errors import DataError
from anomalist.eval.metrics import group_bootstrap
from anomalist.eval.question_boards import boards
from anomalist.eval.question_sets import Prepared, Seen, Setup
from anomalist.eval.question_steel import steel
from anomalist.eval.question_tiles import tiles
from anomalist.eval.question_wording import SUBTASKS, Subtask
from anomalist.eval.questions import Question, balanced
from anomalist.eval.text_only import by_length, by_text
from anomalist.types import Frozen
from anomalist.vision.detectors import Progress, silent

SETS: dict[str, Callable[[Path, Setup], Prepared]] = {"mtd": tiles, "deeppcb": boards, "neu": steel}
"""Folders of the data that questions are made of."""


@dataclass(frozen=True, eq=False)
class Answered:
    """A question and how it was answered."""

    question: Question
    choice: Choice

    @property
    def credit(self) -> float:
        """1 when right, 0 when wrong, the share of a guess where several options tie."""
        best = self.choice.best
        return 1 / len(best) if self.question.right in best else 0.0


class SubtaskResult(Frozen):
    """How the questions of one subtask on one data set were answered; ties count as a guess among them."""

    data: str
    subtask: Subtask
    n: int
    measure: str = Field(description="balanced accuracy (the mean over the right answers) or accuracy")
    value: float = Field(description="the measure, 0 to 1")
    interval: tuple[float, float] | None = Field(description="95 %, bootstrap over objects")
    chance: float = Field(description="the same for guessing")
    text_only: float = Field(description="the same from text alone, learned on other objects' questions")
    longest: float = Field(description="the same for always taking the longest option")
    not_told: float = Field(description="share of the questions that were answered by no single letter")
    by_truth: dict[str, float] = Field(description="share of right answers by what is right")
    letters: dict[str, int] = Field(description="how often each letter was right")


class QuestionsResult(Frozen):
    """Results by data set and subtask, and what they rest on."""

    results: tuple[SubtaskResult, ...]
    means: dict[str, float] = Field(description="mean of the measure over data sets, by subtask")
    cases: int = Field(description="labelled cases of each kind")
    train_normals: int
    effort: str
    seed: int
    skipped: tuple[str, ...] = Field((), description="data sets that are not there")
    version: str = __version__


def evaluate_questions(data: Path, setup: Setup, progress: Progress = silent) -> QuestionsResult:
    """Make questions from the data sets in a folder, answer them and count.

    Parameters
    ----------
    data : folder with ``mtd/``, ``deeppcb/`` and ``neu/``; what isn't there is skipped.
    setup : how.
    progress : called with what is being done, how many are done and how many there are.

    Raises
    ------
    DataError : none of the data sets is there, or one can't be used.
    """
    there = [name for name in SETS if (data / name).is_dir()]
    if not there:
        raise DataError(f"{data} holds none of {', '.join(SETS)}.", "Give the folder that holds them.")
    answered: list[Answered] = []
    for name in there:
        answered += answer(SETS[name](data / name, setup), setup.seed, progress)
    results = tuple(
        scored(own, setup.seed)
        for name in there
        for subtask in SUBTASKS
        if (own := [a for a in answered if (a.question.data, a.question.subtask) == (name, subtask)])
    )
    values: dict[str, list[float]] = defaultdict(list)
    for result in results:
        values[result.subtask].append(result.value)
    return QuestionsResult(
        results=results,
        means={subtask: float(np.mean(of)) for subtask, of in values.items()},
        cases=setup.cases,
        train_normals=setup.train_normals,
        effort=setup.effort,
        seed=setup.seed,
        skipped=tuple(name for name in SETS if name not in there),
    )


def answer(prepared: Prepared, seed: int, progress: Progress) -> Iterator[Answered]:
    """Answer the questions about each picture when it was looked at."""
    about: dict[str, list[Question]] = defaultdict(list)
    for question in balanced(prepared.questions, seed):
        about[question.picture].append(question)
    for picture, seen in prepared.look(progress):
        for question in about[picture]:
            yield Answered(question, _chosen(question, seen))


def _chosen(question: Question, seen: Seen) -> Choice:
    return choose(
        question.text, question.options, seen.record, score_map=seen.score_map, likeness=seen.likeness
    )


def scored(answered: Sequence[Answered], seed: int) -> SubtaskResult:
    """Score the answers of one subtask on one data set."""
    questions = [each.question for each in answered]
    groups = [question.group for question in questions]
    subtask = questions[0].subtask
    balance = subtask == "detection"
    truths = np.array([question.truth for question in questions])
    credits = np.array([each.credit for each in answered])

    def measure(values: np.ndarray, at: np.ndarray) -> float | None:
        if not balance:
            return float(values[at].mean())
        means = [values[at][truths[at] == truth].mean() for truth in np.unique(truths[at])]
        return float(np.mean(means)) if len(means) > 1 else None

    def over_all(values: Sequence[float]) -> float:
        value = measure(np.array(values), np.arange(len(questions)))
        return float("nan") if value is None else value

    letters: dict[str, int] = defaultdict(int)
    for question in questions:
        letters["ABCDEFGHIJKLMNOPQRSTUVWXYZ"[question.right]] += 1
    return SubtaskResult(
        data=questions[0].data,
        subtask=subtask,
        n=len(questions),
        measure="balanced accuracy" if balance else "accuracy",
        value=over_all(list(credits)),
        interval=group_bootstrap(lambda at: measure(credits, at), groups, seed),
        chance=over_all([1 / len(question.options) for question in questions]),
        text_only=over_all(by_text(questions)),
        longest=over_all(by_length(questions)),
        not_told=float(np.mean([each.choice.letter is None for each in answered])),
        by_truth={str(truth): float(credits[truths == truth].mean()) for truth in np.unique(truths)},
        letters=dict(sorted(letters.items())),
    )
