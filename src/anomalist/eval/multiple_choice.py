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
from anomalist.eval.multiple_choice_questions import (
    SUBTASKS,
    BenchmarkQuestion,
    Subtask,
    balance_answer_letters,
)
from anomalist.eval.multiple_choice_sources import (
    PreparedQuestions,
    QuestionEvidence,
    QuestionSetup,
    board_questions,
    steel_questions,
    tile_questions,
)
from anomalist.types.common import Frozen
from anomalist.vision.detectors.base import Progress, no_progress

if TYPE_CHECKING:
    from rich.console import RenderableType


_FOLDS = 2  # of objects, for the text-only baseline


def text_prior_credits(questions: Sequence[BenchmarkQuestion]) -> list[float]:
    """Credit of a text-only baseline: the option whose meaning was right most often for other objects.

    Rates are from the questions about the other half of the objects: common places and kinds of defects can
    be known without the picture. Ties share the credit.
    """
    groups = sorted({question.group for question in questions})
    fold_of = {group: at % _FOLDS for at, group in enumerate(groups)}
    rates = [_right_rates([q for q in questions if fold_of[q.group] != fold]) for fold in range(_FOLDS)]
    return [
        _option_credit(q, [rates[fold_of[q.group]].get(meaning, 0.0) for meaning in q.meanings])
        for q in questions
    ]


def longest_option_credits(questions: Sequence[BenchmarkQuestion]) -> list[float]:
    """Credit of a baseline that takes the longest option of each question; ties share it."""
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
"""Folder of the data set → function that makes its questions."""


@dataclass(frozen=True, eq=False)
class AnsweredQuestion:
    """A question and the choice made."""

    question: BenchmarkQuestion
    choice: EvidenceChoice

    @property
    def credit(self) -> float:
        """1 when right, 0 when wrong, 1/k for a tie of k options with the right one."""
        best = self.choice.best
        return 1 / len(best) if self.question.right in best else 0.0


class SubtaskResult(Frozen):
    """Results of one subtask on one data set; a tie counts as a guess among its options."""

    data: str
    subtask: Subtask
    n: int
    measure: str = Field(description="balanced accuracy (the mean over the right answers) or accuracy")
    value: float = Field(description="the measure, 0 to 1")
    interval: tuple[float, float] | None = Field(description="95 %, bootstrap over objects")
    chance: float = Field(description="the measure for guessing")
    text_only: float = Field(description="the measure of the text-only baseline")
    longest: float = Field(description="the measure of always taking the longest option")
    not_told: float = Field(description="share of the questions without a single letter as answer")
    by_truth: dict[str, float] = Field(description="share of right answers, by the true meaning")
    letters: dict[str, int] = Field(description="how often each letter was right")


class QuestionsResult(Frozen):
    """Results by data set and subtask, with settings."""

    results: tuple[SubtaskResult, ...]
    means: dict[str, float] = Field(description="mean of the measure over data sets, by subtask")
    cases: int = Field(description="labelled cases of each kind")
    train_normals: int
    effort: str
    seed: int
    skipped: tuple[str, ...] = Field((), description="data sets that are missing")
    version: str = __version__


def evaluate_questions(data: Path, setup: QuestionSetup, progress: Progress = no_progress) -> QuestionsResult:
    """Make questions from the data sets in a folder, answer them by evidence, and score the answers.

    Parameters
    ----------
    data : folder with ``mtd/``, ``deeppcb/`` and ``neu/``; missing ones are skipped.
    setup : settings.
    progress : called with the current step, the number done and the total.

    Raises
    ------
    DataError : none of the data sets exists, or one is invalid.
    """
    present = [name for name in QUESTION_SOURCES if (data / name).is_dir()]
    if not present:
        raise DataError(
            f"{data} holds none of {', '.join(QUESTION_SOURCES)}.", "Give the folder that holds them."
        )
    answered: list[AnsweredQuestion] = []
    for name in present:
        answered += answer_prepared(QUESTION_SOURCES[name](data / name, setup), setup.seed, progress)
    return _summed(answered, setup, tuple(name for name in QUESTION_SOURCES if name not in present))


def evaluate_kind_questions(
    folder: Path, setup: QuestionSetup, progress: Progress = no_progress
) -> QuestionsResult:
    """Ask for the kind of defect of pictures ``images/<kind>_<number>`` that are all defective (NEU).

    Parameters
    ----------
    folder, setup, progress : as in `evaluate_questions`, but the folder of the one data set.

    Raises
    ------
    DataError : it holds no such pictures.
    """
    return _summed(list(answer_prepared(steel_questions(folder, setup), setup.seed, progress)), setup)


def _summed(
    answered: Sequence[AnsweredQuestion], setup: QuestionSetup, skipped: tuple[str, ...] = ()
) -> QuestionsResult:
    results = tuple(
        score_subtask(own, setup.seed)
        for name in dict.fromkeys(each.question.data for each in answered)
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
        skipped=skipped,
    )


def answer_prepared(prepared: PreparedQuestions, seed: int, progress: Progress) -> Iterator[AnsweredQuestion]:
    """Answer the questions about each picture once it is inspected."""
    by_picture: dict[str, list[BenchmarkQuestion]] = defaultdict(list)
    for question in balance_answer_letters(prepared.questions, seed):
        by_picture[question.picture].append(question)
    for picture, evidence in prepared.inspect(progress):
        for question in by_picture[picture]:
            yield AnsweredQuestion(question, _choose_option(question, evidence))


def _choose_option(question: BenchmarkQuestion, evidence: QuestionEvidence) -> EvidenceChoice:
    return choose_by_evidence(
        question.text,
        question.options,
        evidence.record,
        score_map=evidence.score_map,
        likeness=evidence.likeness,
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


# Accuracy that is aimed at, by subtask.
ACCURACY_TARGETS = {"detection": 0.80, "place": 0.80, "kind": 0.60}


def render(result: QuestionsResult) -> RenderableType:
    """The results as a table: one row per data set and subtask, with baselines."""
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
