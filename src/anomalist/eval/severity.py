"""Severity by rank agreement: what a run says how bad each picture is, against graded labels.

Kendall's τ_b and the C-index, of the severity of the verdict and of the raw score.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from anomalist import __version__
from anomalist.errors import DataError
from anomalist.eval.datasets.tables import read_table
from anomalist.eval.decision_metrics import concordance_index, kendall_tau
from anomalist.eval.metrics import Floats, Interval, group_bootstrap
from anomalist.storage.run_folder import ImageRunFolder
from anomalist.types.common import SEVERITIES, Frozen
from anomalist.types.image import Record
from anomalist.types.names import names_source
from anomalist.vision.media.masks import listed

if TYPE_CHECKING:
    from rich.console import RenderableType

Agreement = Callable[[Floats, Floats], float | None]


class RankAgreement(Frozen):
    """How far one measure puts pictures in the order of their grades; None where it is undefined."""

    measure: str = Field(description='"severity" of the verdict, or raw "score"')
    kendall_tau: float | None = Field(description="τ_b, −1 to 1")
    kendall_tau_interval: Interval | None = Field(description="95 %, bootstrap over groups")
    concordance_index: float | None = Field(description="0 to 1; 0.5 for a random order")
    concordance_index_interval: Interval | None = Field(description="95 %, bootstrap over groups")


class SeverityResult(Frozen):
    """Agreement of a run with graded labels, and what could not be compared."""

    run: str
    pictures: int = Field(description="with a grade and a verdict")
    by_grade: dict[str, int]
    agreement: tuple[RankAgreement, ...]
    undecided: int = Field(description="of them; their severity is what it would be if the finding were real")
    notes: tuple[str, ...]
    seed: int
    version: str = __version__


def evaluate_severity(run: Path, grades: Path, seed: int = 0) -> SeverityResult:
    """Compare the severities of a run with graded labels.

    Parameters
    ----------
    run : folder of a run of pictures, as ``anomalist inspect`` writes it.
    grades : CSV file ``image,grade`` with a column ``group`` if several pictures show one object; a grade is
        a number, the higher the worse, or one of ``SEVERITIES``.
    seed : of the bootstrap.

    Raises
    ------
    DataError : a file can't be read, a grade is none, a picture has two, or no graded picture is in the run.
    """
    records = [record for record in ImageRunFolder(run).records() if record.status == "ok"]
    found: dict[str, tuple[Record, float, str, str]] = {}
    missing: list[str] = []
    for row in read_table(grades, ("image", "grade")):
        name = row["image"].replace("\\", "/")
        matches = [record for record in records if names_source(name, record.source)]
        if not matches:
            missing.append(name)
            continue
        if len(matches) > 1:
            raise DataError(
                f"{name} in {grades} may be {len(matches)} pictures of the run.", "Give its path."
            )
        known = found.get(matches[0].source)
        grade = _grade(row["grade"], name, grades)
        if known is not None and known[1] != grade:
            raise DataError(f"{name} has two grades in {grades}.")
        found[matches[0].source] = matches[0], grade, row["grade"].strip(), row.get("group") or name
    if not found:
        raise DataError(f"No picture that {grades} grades was judged in {run}.")
    rows = [found[source] for source in sorted(found)]
    levels = np.array([grade for _, grade, _, _ in rows], np.float64)
    groups = [group for *_, group in rows]
    values = {
        "severity": np.array([record.severity or 0 for record, *_ in rows], np.float64),
        "score": np.array([np.nan if r.score is None else r.score for r, *_ in rows], np.float64),
    }
    ungraded = len(records) - len(rows)
    notes = [f"{len(missing)} graded pictures were not judged: {listed(missing)}"] if missing else []
    notes += [f"{ungraded} judged pictures have no grade"] if ungraded else []
    words = dict(sorted({grade: word for _, grade, word, _ in rows}.items()))
    return SeverityResult(
        run=run.resolve().name,
        pictures=len(rows),
        by_grade={word: int((levels == grade).sum()) for grade, word in words.items()},
        agreement=tuple(
            _agreement(name, each, levels, groups, seed)
            for name, each in values.items()
            if not np.isnan(each).any()
        ),
        undecided=sum(record.label == "undecided" for record, *_ in rows),
        notes=tuple(notes),
        seed=seed,
    )


def _grade(text: str, name: str, table: Path) -> float:
    word = text.strip().casefold()
    if word in SEVERITIES:
        return float(SEVERITIES.index(word))
    try:
        grade = float(word)
    except ValueError:
        grade = float("nan")
    if not np.isfinite(grade):
        raise DataError(
            f"{text!r} is no grade of {name} in {table}.", f"Give a number or one of {', '.join(SEVERITIES)}."
        )
    return grade


def _agreement(name: str, values: Floats, grades: Floats, groups: Sequence[str], seed: int) -> RankAgreement:
    def interval(measure: Agreement) -> Interval | None:
        return group_bootstrap(lambda at: measure(values[at], grades[at]), groups, seed)

    return RankAgreement(
        measure=name,
        kendall_tau=kendall_tau(values, grades),
        kendall_tau_interval=interval(kendall_tau),
        concordance_index=concordance_index(values, grades),
        concordance_index_interval=interval(concordance_index),
    )


def render(result: SeverityResult) -> RenderableType:
    """The agreement as a table, with notes below."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table("measure", "Kendall's τ", "C-index", title=Text(f"Severity in {result.run}"))
    for each in result.agreement:
        table.add_row(
            each.measure,
            _cell(each.kendall_tau, each.kendall_tau_interval),
            _cell(each.concordance_index, each.concordance_index_interval),
        )
    grades = ", ".join(f"{word}: {count}" for word, count in result.by_grade.items())
    about = (
        f"{result.pictures} pictures ({grades}), {result.undecided} of them undecided; seed {result.seed}."
    )
    return Group(table, Text(about, style="dim"), *(Text(f"Note: {n}", style="yellow") for n in result.notes))


def _cell(value: float | None, interval: Interval | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" + (f"\n{interval[0]:.3f} to {interval[1]:.3f}" if interval else "")
