"""Multiple-choice benchmark: accuracy against chance, text-only and longest-option baselines."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from anomalist import __version__
from anomalist.agent.choice.evidence_choice import EvidenceChoice, choose_by_evidence
from anomalist.errors import DataError
from anomalist.eval.metrics import group_bootstrap
from anomalist.eval.question_sources import (
    PreparedQuestions,
    QuestionEvidence,
    QuestionSetup,
    board_questions,
    steel_questions,
    tile_questions,
)
from anomalist.eval.questions import SUBTASKS, BenchmarkQuestion, Subtask, balance_answer_letters
from anomalist.types.common import Frozen
from anomalist.vision.detectors.base import Progress, no_progress

if TYPE_CHECKING:
    from rich.console import RenderableType


_FOLDS = 2


def text_prior_credits(questions: Sequence[BenchmarkQuestion]) -> list[float]:
    """Credit of taking, of each question, the option whose meaning was right most often elsewhere.

    "Elsewhere" are the questions about the other half of the objects that offered it: where defects mostly
    are and which kinds are common can be known without looking. Ties share the credit.
    """
    groups = sorted({question.group for question in questions})
    fold_of = {group: at % _FOLDS for at, group in enumerate(groups)}
    rates = [_right_rates([q for q in questions if fold_of[q.group] != fold]) for fold in range(_FOLDS)]
    return [
        _option_credit(q, [rates[fold_of[q.group]].get(meaning, 0.0) for meaning in q.meanings])
        for q in questions
    ]


def longest_option_credits(questions: Sequence[BenchmarkQuestion]) -> list[float]:
    """Credit of taking the longest option of each question; ties share it."""
    return [_option_credit(question, [len(option) for option in question.options]) for question in questions]


def _right_rates(questions: Sequence[BenchmarkQuestion]) -> dict[str, float]:
    offered: dict[str, int] = defaultdict(int)
    right: dict[str, int] = defaultdict(int)
    for question in questions:
        right[question.truth] += 1
        for meaning in question.meanings:
            offered[meaning] += 1
    return {meaning: right[meaning] / count for meaning, count in offered.items()}


def _option_credit(question: BenchmarkQuestion, values: Sequence[float]) -> float:
    best = [at for at, value in enumerate(values) if value == max(values)]
    return 1 / len(best) if question.right in best else 0.0


QUESTION_SOURCES: dict[str, Callable[[Path, QuestionSetup], PreparedQuestions]] = {
    "mtd": tile_questions,
    "deeppcb": board_questions,
    "neu": steel_questions,
}
"""Folders of the data that questions are made of."""


@dataclass(frozen=True, eq=False)
class AnsweredQuestion:
    """A question and how it was answered."""

    question: BenchmarkQuestion
    choice: EvidenceChoice

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


def evaluate_questions(data: Path, setup: QuestionSetup, progress: Progress = no_progress) -> QuestionsResult:
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
    there = [name for name in QUESTION_SOURCES if (data / name).is_dir()]
    if not there:
        raise DataError(
            f"{data} holds none of {', '.join(QUESTION_SOURCES)}.", "Give the folder that holds them."
        )
    answered: list[AnsweredQuestion] = []
    for name in there:
        answered += answer_prepared(QUESTION_SOURCES[name](data / name, setup), setup.seed, progress)
    results = tuple(
        score_subtask(own, setup.seed)
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
        skipped=tuple(name for name in QUESTION_SOURCES if name not in there),
    )


def answer_prepared(prepared: PreparedQuestions, seed: int, progress: Progress) -> Iterator[AnsweredQuestion]:
    """Answer the questions about each picture when it was looked at."""
    about: dict[str, list[BenchmarkQuestion]] = defaultdict(list)
    for question in balance_answer_letters(prepared.questions, seed):
        about[question.picture].append(question)
    for picture, seen in prepared.look(progress):
        for question in about[picture]:
            yield AnsweredQuestion(question, _choose_option(question, seen))


def _choose_option(question: BenchmarkQuestion, seen: QuestionEvidence) -> EvidenceChoice:
    return choose_by_evidence(
        question.text, question.options, seen.record, score_map=seen.score_map, likeness=seen.likeness
    )


def score_subtask(answered: Sequence[AnsweredQuestion], seed: int) -> SubtaskResult:
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
        text_only=over_all(text_prior_credits(questions)),
        longest=over_all(longest_option_credits(questions)),
        not_told=float(np.mean([each.choice.letter is None for each in answered])),
        by_truth={str(truth): float(credits[truths == truth].mean()) for truth in np.unique(truths)},
        letters=dict(sorted(letters.items())),
    )


ACCURACY_TARGETS = {"detection": 0.80, "place": 0.80, "kind": 0.60}


def render(result: QuestionsResult) -> RenderableType:
    """One row a data set and subtask, with what guessing and reading alone would reach."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    heads = ("data", "subtask", "n", "right", "95 % interval", "target", "chance", "text alone", "not told")
    table = Table(*heads, title=Text("Multiple choice from ground truth"))
    for row in result.results:
        span = "-" if row.interval is None else f"{row.interval[0]:.3f} to {row.interval[1]:.3f}"
        reached = row.value >= ACCURACY_TARGETS[row.subtask]
        table.add_row(
            Text(row.data),
            row.subtask,
            str(row.n),
            Text(f"{row.value:.3f}", style="green" if reached else "yellow"),
            span,
            f"≥ {ACCURACY_TARGETS[row.subtask]:.2f}",
            f"{row.chance:.3f}",
            f"{max(row.text_only, row.longest):.3f}",
            f"{100 * row.not_told:.1f} %",
        )
    about = (
        f"Detection is balanced accuracy, the others accuracy. {result.cases} labelled cases a kind, "
        f"{result.train_normals} good tiles learned from with effort {result.effort}, seed {result.seed}; "
        f"version {result.version}."
    )
    skipped = [Text(f"Not there: {', '.join(result.skipped)}.", style="yellow")] if result.skipped else []
    return Group(table, Text(about, style="dim"), *skipped)
