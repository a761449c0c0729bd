"""Saved runs of a benchmark, picture by picture or question by question, and the comparison of two of them.

Two runs are compared on what both judged, by a paired bootstrap over groups: each resample draws the same
pictures for both, so that what is hard for both doesn't blur the difference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError

from anomalist.errors import DataError
from anomalist.eval.metrics import Interval, average_precision, group_bootstrap, image_auroc
from anomalist.eval.mmad.answering import AnsweredPicture
from anomalist.eval.mmad.questions import DETECTION, MmadPicture
from anomalist.storage.files import write_atomically
from anomalist.types.common import Frozen, Label
from anomalist.types.image import Inspection

if TYPE_CHECKING:
    from rich.console import RenderableType

    from anomalist.eval.image_datasets import LabelledImage

Indices = npt.NDArray[np.intp]
Statistic = Callable[[Indices], float | None]


Benchmark = Literal[
    "detection", "mmad", "video", "reasons", "checks", "reference", "questions", "sentences", "captions"
]


class ScoredPicture(Frozen):
    """One test picture of a run."""

    name: str = Field(description="relative to the data, with slashes")
    source: str = Field(description="path of the file")
    group: str = Field(description="the object that it shows")
    defect: str = Field(description='kind of defect, or "good"')
    normal: bool
    score: float | None = Field(description="None where it could not be judged")
    p_value: float | None
    label: Label | None

    @classmethod
    def of(cls, item: LabelledImage, inspection: Inspection) -> ScoredPicture:
        """What a run says about a labelled picture."""
        evidence = inspection.evidence if inspection.record.status == "ok" else None
        score = None if evidence is None or not np.isfinite(evidence.score) else float(evidence.score)
        return cls(
            name=item.name,
            source=str(item.path),
            group=item.group,
            defect=item.defect,
            normal=item.normal,
            score=score,
            p_value=None if evidence is None else evidence.p_value,
            label=inspection.record.label,
        )


class AskedQuestion(Frozen):
    """One question of a run."""

    name: str = Field(description="picture and number of the question")
    group: str = Field(description="the picture")
    cell: tuple[str, str, bool] = Field(
        description="data set, subtask, and of detection whether it is normal"
    )
    right: bool


class SavedRun(Frozen):
    """One run with what it rests on."""

    benchmark: Benchmark
    name: str = Field(description="what was measured on what")
    result: dict[str, Any] = Field(description="the figures, as the command prints them")
    pictures: tuple[ScoredPicture, ...] = ()
    questions: tuple[AskedQuestion, ...] = ()


def asked_questions(
    pictures: Sequence[MmadPicture], answered: Sequence[AnsweredPicture]
) -> tuple[AskedQuestion, ...]:
    """The questions of MMAD with whether they were answered rightly, in order."""
    return tuple(
        AskedQuestion(
            name=f"{picture.name}#{number}",
            group=picture.name,
            cell=(picture.dataset, question.subtask, question.subtask == DETECTION and picture.normal),
            right=answer.chosen == question.right,
        )
        for picture, given in zip(pictures, answered, strict=True)
        for number, (question, answer) in enumerate(
            zip(picture.questions, given.answers, strict=True), start=1
        )
    )


def save_run(run: SavedRun, folder: Path) -> Path:
    """Write a run as JSON, named after what was measured; returns the file.

    Raises
    ------
    DataError : it can't be written.
    """
    plain = "".join(char if char.isalnum() or char in "-_." else "-" for char in run.name)
    return write_atomically(folder / f"{run.benchmark}-{plain}.json", run.model_dump_json() + "\n")


def load_run(path: Path) -> SavedRun:
    """Read a run; raises DataError when the file is none."""
    try:
        return SavedRun.model_validate_json(path.read_bytes())
    except OSError as error:
        raise DataError(f"The run {path} can't be read: {error.strerror or error}.") from error
    except ValidationError as error:
        raise DataError(
            f"{path} is no saved run.", "Name a JSON file that `anomalist eval` wrote with --out."
        ) from error


class MeasureDifference(Frozen):
    """One measure of two runs on what both judged."""

    measure: str
    first: float | None
    second: float | None
    difference: float | None = Field(description="second minus first")
    interval: Interval | None = Field(description="95 % of the difference, paired bootstrap over groups")

    @property
    def clear(self) -> bool:
        """Whether the interval holds no zero."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]


class RunComparison(Frozen):
    """Two runs side by side."""

    first: str
    second: str
    common: int = Field(description="pictures or questions that both judged")
    only_first: int = Field(description="left out: of the first run alone")
    only_second: int
    differences: tuple[MeasureDifference, ...]


def compare_runs(first: SavedRun, second: SavedRun, seed: int = 0) -> RunComparison:
    """Compare two runs of one benchmark on the pictures or questions that both judged.

    Parameters
    ----------
    first, second : of ``anomalist eval detection`` or ``anomalist eval mmad``.
    seed : of the bootstrap.

    Raises
    ------
    DataError : of two benchmarks, of one that can't be compared item by item, with other labels, or with
        nothing in common.
    """
    if first.benchmark != second.benchmark or first.benchmark not in ("detection", "mmad"):
        raise DataError(
            f"A run of {first.benchmark} and one of {second.benchmark} can't be compared item by item.",
            "Name two runs of detection, or two of mmad.",
        )
    detection = first.benchmark == "detection"
    ours, theirs = ((_judged(run) if detection else _asked(run)) for run in (first, second))
    names = sorted(ours.keys() & theirs.keys())
    if not names:
        raise DataError("The runs have nothing in common.", "Name runs on the same data.")
    pairs = [(ours[name], theirs[name]) for name in names]
    groups = [one.group for one, _ in pairs]
    statistics = (_detection_statistics if detection else _question_statistics)(pairs)
    return RunComparison(
        first=first.name,
        second=second.name,
        common=len(names),
        only_first=len(ours) - len(names),
        only_second=len(theirs) - len(names),
        differences=tuple(_difference(measure, both, groups, seed) for measure, both in statistics.items()),
    )


def _judged(run: SavedRun) -> dict[str, Any]:
    return {picture.name: picture for picture in run.pictures if picture.score is not None}


def _asked(run: SavedRun) -> dict[str, Any]:
    return {question.name: question for question in run.questions}


def _detection_statistics(
    pairs: Sequence[tuple[ScoredPicture, ScoredPicture]],
) -> Mapping[str, tuple[Statistic, Statistic]]:
    for one, other in pairs:
        if one.normal != other.normal:
            raise DataError(f"{one.name} is labelled otherwise in the two runs.")
    defective = np.array([not one.normal for one, _ in pairs])

    def ranked(measure: Callable[[Any, Any], float | None], side: int) -> Statistic:
        scores = np.array([pair[side].score for pair in pairs], np.float64)
        return lambda at: measure(scores[at], defective[at])

    def share(of_defects: bool, side: int) -> Statistic:
        flagged = np.array([pair[side].label == "anomalous" for pair in pairs])

        def measure(at: Indices) -> float | None:
            kept = flagged[at][defective[at] == of_defects]
            return float(kept.mean()) if kept.size else None

        return measure

    return {
        "image AUROC": (ranked(image_auroc, 0), ranked(image_auroc, 1)),
        "average precision": (ranked(average_precision, 0), ranked(average_precision, 1)),
        "found": (share(True, 0), share(True, 1)),
        "false alarms": (share(False, 0), share(False, 1)),
    }


def _question_statistics(
    pairs: Sequence[tuple[AskedQuestion, AskedQuestion]],
) -> Mapping[str, tuple[Statistic, Statistic]]:
    cells = sorted({one.cell for one, _ in pairs})
    column = np.array([cells.index(one.cell) for one, _ in pairs])

    def average(side: int, subtask: str | None) -> Statistic:
        right = np.array([pair[side].right for pair in pairs], np.float64)

        def measure(at: Indices) -> float | None:
            asked = np.bincount(column[at], minlength=len(cells))
            hits = np.bincount(column[at], right[at], minlength=len(cells))
            values: dict[tuple[str, str], list[float]] = {}
            for number, (dataset, kind, _) in enumerate(cells):
                if asked[number] and subtask in (None, kind):
                    values.setdefault((dataset, kind), []).append(hits[number] / asked[number])
            by_dataset: dict[str, list[float]] = {}
            for (dataset, kind), shares in values.items():
                if kind != DETECTION or len(shares) == 2:  # one class alone makes no balanced accuracy
                    by_dataset.setdefault(dataset, []).append(float(np.mean(shares)))
            return float(np.mean([np.mean(each) for each in by_dataset.values()])) if by_dataset else None

        return measure

    subtasks = sorted({kind for _, kind, _ in cells})
    return {
        "average": (average(0, None), average(1, None)),
        **{kind: (average(0, kind), average(1, kind)) for kind in subtasks},
    }


def _difference(
    measure: str, both: tuple[Statistic, Statistic], groups: Sequence[str], seed: int
) -> MeasureDifference:
    def gap(at: Indices) -> float | None:
        values = [statistic(at) for statistic in both]
        return None if values[0] is None or values[1] is None else values[1] - values[0]

    whole = np.arange(len(groups))
    return MeasureDifference(
        measure=measure,
        first=both[0](whole),
        second=both[1](whole),
        difference=gap(whole),
        interval=group_bootstrap(gap, groups, seed),
    )


def render(found: RunComparison) -> RenderableType:
    """A comparison as a table."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table("measure", "first", "second", "difference", "95 % interval", "")
    for each in found.differences:
        span = "-" if each.interval is None else f"{each.interval[0]:+.3f} to {each.interval[1]:+.3f}"
        table.add_row(
            each.measure,
            *("-" if value is None else f"{value:.3f}" for value in (each.first, each.second)),
            "-" if each.difference is None else f"{each.difference:+.3f}",
            span,
            "clear" if each.clear else "within chance",
        )
    about = (
        f"First: {found.first}. Second: {found.second}. On {found.common} items that both judged; "
        f"{found.only_first} of the first and {found.only_second} of the second are left out."
    )
    return Group(table, Text(about, style="dim"))
