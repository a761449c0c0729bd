"""Scores of MMAD by this project's rules, and the whole result with the reference's scores beside them.

Invalid answers and ties are wrong, detection is balanced accuracy over normal and anomalous pictures, and
intervals are from a bootstrap over pictures. Averages weigh every subtask and data set the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import Field

from anomalist import __version__
from anomalist.eval.metrics import Interval
from anomalist.eval.mmad.answering import AnsweredPicture, MmadSetup
from anomalist.eval.mmad.published import PUBLISHED, PublishedRow
from anomalist.eval.mmad.questions import DETECTION, SUBTASKS, MmadData, MmadPicture
from anomalist.eval.mmad.reference_scoring import ReferenceScores, score_by_reference
from anomalist.types.common import Frozen

RESAMPLES = 1000

Floats = npt.NDArray[np.float64]


class Accuracy(Frozen):
    """A share of right answers, or a mean of such shares."""

    value: float = Field(description="0 to 1")
    interval: Interval | None = Field(description="95 %, bootstrap over pictures")
    chance: float = Field(description="the same for guessing")
    n: int = Field(description="questions")
    unanswered: float = Field(description="share of the questions without one option, which count as wrong")


class MmadScores(Frozen):
    """Scores of one list of answers."""

    average: Accuracy | None = Field(description="mean over data sets of the mean over subtasks")
    by_subtask: dict[str, Accuracy] = Field(description="mean over the data sets that have it")
    by_dataset: dict[str, dict[str, Accuracy]] = Field(description="data set, then subtask")
    pictures: int
    questions: int


class MmadResult(Frozen):
    """The benchmark's result: scored by our rules and by the reference's, also without listed faults."""

    setup: MmadSetup
    answered_by: str = Field(description="model with digest, or measurement")
    ours: MmadScores
    reference: ReferenceScores | None
    ours_without_faults: MmadScores | None = Field(
        description="without the pictures of the list of faults; None where none of them was asked about"
    )
    reference_without_faults: ReferenceScores | None
    left_out: tuple[str, ...] = Field(description="pictures of the list of faults that were asked about")
    missing: tuple[str, ...] = Field(description="pictures that are asked about and not there")
    problems: tuple[str, ...] = Field(description="what is wrong with the data, one sentence each")
    failures: tuple[str, ...] = Field(description="pictures without answers, with the reason")
    published: tuple[PublishedRow, ...] = PUBLISHED
    version: str = __version__


def score_mmad(
    data: MmadData,
    answered: Sequence[AnsweredPicture],
    setup: MmadSetup,
    answered_by: str,
    faults: frozenset[str] = frozenset(),
) -> MmadResult:
    """Score the answers about all pictures, in the order of the data.

    Parameters
    ----------
    faults : pictures that are known to be filed wrongly; scored with and without them.
    """
    kept = [at for at, picture in enumerate(data.pictures) if picture.name not in faults]
    clean = ([data.pictures[at] for at in kept], [answered[at] for at in kept])
    left_out = tuple(sorted(picture.name for picture in data.pictures if picture.name in faults))
    both = bool(left_out) and bool(kept)
    contradictions = [f"{each.picture}: {each.contradiction}" for each in answered if each.contradiction]
    return MmadResult(
        setup=setup,
        answered_by=answered_by,
        ours=score_answers(data.pictures, answered, setup.seed),
        reference=score_by_reference(data.pictures, answered),
        ours_without_faults=score_answers(*clean, setup.seed) if both else None,
        reference_without_faults=score_by_reference(*clean) if both else None,
        left_out=left_out,
        missing=data.missing,
        problems=(*data.problems, *contradictions),
        failures=tuple(_failures(answered)),
    )


def score_answers(
    pictures: Sequence[MmadPicture], answered: Sequence[AnsweredPicture], seed: int
) -> MmadScores:
    """Score answers by our rules.

    Parameters
    ----------
    pictures, answered : in the same order.
    seed : of the bootstrap.
    """
    tallies = _tally(pictures, answered)
    drawn = _resampled(tallies, seed)
    by_dataset: dict[str, dict[str, Accuracy]] = {}
    for dataset in dict.fromkeys(dataset for dataset, _, _ in tallies.cells):
        for subtask in SUBTASKS:
            parts = [[tallies.cells.index(cell)] for cell in tallies.cells if cell[:2] == (dataset, subtask)]
            # One class alone makes no balanced accuracy.
            if parts and (subtask != DETECTION or len(parts) == 2):
                by_dataset.setdefault(dataset, {})[subtask] = _accuracy(tallies, drawn, [parts])
    subtasks = {
        subtask: _accuracy(tallies, drawn, _groups(tallies, by_dataset, subtask))
        for subtask in SUBTASKS
        if any(subtask in found for found in by_dataset.values())
    }
    return MmadScores(
        average=_average(tallies, drawn, by_dataset),
        by_subtask=subtasks,
        by_dataset=by_dataset,
        pictures=len(pictures),
        questions=int(tallies.asked.sum()),
    )


@dataclass(frozen=True, eq=False)
class _Tallies:
    """Counts by picture and cell; a cell is a data set, a subtask and, of detection, whether it is normal.

    Parameters
    ----------
    cells : names of the columns.
    asked, right, chance, unanswered : float64 (pictures, cells).
    """

    cells: tuple[tuple[str, str, bool], ...]
    asked: Floats
    right: Floats
    chance: Floats
    unanswered: Floats


def _tally(pictures: Sequence[MmadPicture], answered: Sequence[AnsweredPicture]) -> _Tallies:
    def cell(picture: MmadPicture, subtask: str) -> tuple[str, str, bool]:
        return picture.dataset, subtask, subtask == DETECTION and picture.normal

    cells = tuple(dict.fromkeys(cell(p, q.subtask) for p in pictures for q in p.questions))
    column = {name: at for at, name in enumerate(cells)}
    counts = np.zeros((4, len(pictures), len(cells)))
    for row, (picture, given) in enumerate(zip(pictures, answered, strict=True)):
        for question, answer in zip(picture.questions, given.answers, strict=True):
            at = column[cell(picture, question.subtask)]
            hit = answer.chosen == question.right
            counts[:, row, at] += (1, hit, 1 / len(question.options), answer.chosen is None)
    return _Tallies(cells, *counts)


def _resampled(tallies: _Tallies, seed: int) -> tuple[Floats, Floats]:
    """Asked and right by resample of the pictures and cell, float64 (resamples, cells) each."""
    count = len(tallies.asked)
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES).astype(np.float64)
    return weights @ tallies.asked, weights @ tallies.right


def _groups(
    tallies: _Tallies, by_dataset: dict[str, dict[str, Accuracy]], subtask: str
) -> list[list[list[int]]]:
    """Columns of a subtask: by data set, then by class."""
    return [
        [[at] for at, cell in enumerate(tallies.cells) if cell[:2] == (dataset, subtask)]
        for dataset, found in by_dataset.items()
        if subtask in found
    ]


def _average(
    tallies: _Tallies, drawn: tuple[Floats, Floats], by_dataset: dict[str, dict[str, Accuracy]]
) -> Accuracy | None:
    if not by_dataset:
        return None
    parts = [
        (_groups(tallies, {dataset: found}, subtask), 1 / len(found) / len(by_dataset))
        for dataset, found in by_dataset.items()
        for subtask in found
    ]
    each = [(_accuracy(tallies, drawn, groups), weight) for groups, weight in parts]
    resampled = sum(weight * _shares(*drawn, groups) for groups, weight in parts)
    asked = sum(accuracy.n for accuracy, _ in each)
    return Accuracy(
        value=sum(weight * accuracy.value for accuracy, weight in each),
        interval=_interval(np.asarray(resampled)),
        chance=sum(weight * accuracy.chance for accuracy, weight in each),
        n=asked,
        unanswered=sum(accuracy.n * accuracy.unanswered for accuracy, _ in each) / asked,
    )


def _accuracy(
    tallies: _Tallies, drawn: tuple[Floats, Floats], groups: Sequence[Sequence[Sequence[int]]]
) -> Accuracy:
    """Mean over groups of the mean over their classes; ``groups`` holds columns by class and data set."""
    columns = [at for group in groups for part in group for at in part]
    asked = tallies.asked.sum(0, keepdims=True)
    n = asked[0, columns].sum()
    return Accuracy(
        value=float(_shares(asked, tallies.right.sum(0, keepdims=True), groups)[0]),
        interval=_interval(_shares(*drawn, groups)),
        chance=float(_shares(asked, tallies.chance.sum(0, keepdims=True), groups)[0]),
        n=int(n),
        unanswered=float(tallies.unanswered.sum(0)[columns].sum() / n),
    )


def _shares(asked: Floats, right: Floats, groups: Sequence[Sequence[Sequence[int]]]) -> Floats:
    """The accuracy of each row, float64 (rows,); NaN where a class has no question in it."""
    with np.errstate(invalid="ignore", divide="ignore"):
        means = [
            np.mean([right[:, part].sum(1) / asked[:, part].sum(1) for part in group], axis=0)
            for group in groups
        ]
    return np.asarray(np.mean(means, axis=0))


def _interval(values: Floats) -> Interval | None:
    """95 % percentile interval; None where more than half of the resamples have no value."""
    defined = values[np.isfinite(values)]
    if 2 * defined.size < values.size or values.size == 0:
        return None
    low, high = np.quantile(defined, (0.025, 0.975))
    return float(low), float(high)


def _failures(answered: Sequence[AnsweredPicture]) -> list[str]:
    """Pictures of which no question could be asked at all, with the reason."""
    return [
        f"{each.picture}: {each.answers[0].problem}"
        for each in answered
        if each.answers and all(answer.probabilities is None for answer in each.answers)
    ]
