"""Acceptance sampling by attributes: single plans for normal inspection of ISO 2859-1, as data.

``sampling_plans.toml`` holds table 1 (code letters by lot size and level) and table 2-A (sample size,
acceptance numbers by AQL). An arrow in the table points to the plan that is used in its place.
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field

from anomalist.errors import DataError
from anomalist.types.common import Frozen

Level = Literal["S-1", "S-2", "S-3", "S-4", "I", "II", "III"]
PLANS_FILE = Path(__file__).with_name("sampling_plans.toml")


class SamplingPlan(Frozen):
    """A single sampling plan, with the row of the table that it is from; a plan of one's own has none."""

    lot: int = Field(ge=1)
    aql: float | None = Field(None, gt=0, description="per cent nonconforming")
    level: str | None = None
    letter: str | None = Field(None, description="code letter by lot size and level")
    row: str | None = Field(None, description="code letter of the row that is used, after arrows")
    sample: int = Field(ge=1, description="pieces; all of the lot where it is no larger")
    accept: int = Field(ge=0, description="most nonconforming pieces with which the lot is accepted")
    reject: int = Field(ge=1)
    cited: str = Field(description="tables and row, or that it is one's own, in words")

    def accepts(self, nonconforming: int) -> bool:
        """Whether a sample with so many nonconforming pieces accepts the lot."""
        return nonconforming <= self.accept


class _Row(Frozen):
    letter: str
    sample: int
    accept: tuple[str, ...] = Field(
        description='by AQL: a number, "v" for the plan below, "^" for that above'
    )


class _LotSize(Frozen):
    up_to: int | None = None
    letters: dict[str, str]


class _Tables(Frozen):
    aql: tuple[float, ...]
    lot: tuple[_LotSize, ...]
    row: tuple[_Row, ...]


def sampling_plan(lot: int, aql: float, level: str = "II") -> SamplingPlan:
    """The single sampling plan for normal inspection.

    Parameters
    ----------
    lot : pieces in the lot, at least 2.
    aql : acceptance quality limit, per cent nonconforming, one of the standard's (0.01 to 1000).
    level : general level I, II or III, or special level S-1 to S-4.

    Raises
    ------
    DataError : the lot is too small, or the AQL or the level is none of the standard's.
    """
    tables = _tables()
    if lot < 2:
        raise DataError(f"A lot of {lot} can't be sampled.", "A lot has at least 2 pieces.")
    if level not in tables.lot[0].letters:
        raise DataError(
            f'There is no inspection level "{level}".', f"Levels: {', '.join(tables.lot[0].letters)}."
        )
    column = next((place for place, known in enumerate(tables.aql) if abs(known - aql) < 1e-9), None)
    if column is None:
        known = ", ".join(f"{value:g}" for value in tables.aql)
        raise DataError(f"{aql:g} is no AQL of ISO 2859-1.", f"AQLs: {known}.")
    size = next(each for each in tables.lot if each.up_to is None or lot <= each.up_to)
    letter = size.letters[level]
    place = next(number for number, row in enumerate(tables.row) if row.letter == letter)
    while (cell := tables.row[place].accept[column]) in "v^":
        place += 1 if cell == "v" else -1
    row = tables.row[place]
    accept = int(cell)
    before = tables.lot[tables.lot.index(size) - 1].up_to if size is not tables.lot[0] else 1
    lots = f"{(before or 0) + 1:,} to {size.up_to:,}" if size.up_to else f"over {before:,}"
    moved = f", by its arrow row {row.letter}" if row.letter != letter else ""
    return SamplingPlan(
        lot=lot,
        aql=aql,
        level=level,
        letter=letter,
        row=row.letter,
        sample=min(row.sample, lot),
        accept=accept,
        reject=accept + 1,
        cited=(
            f"ISO 2859-1, table 1: lots of {lots}, level {level}, code letter {letter}; "
            f"table 2-A: row {letter}{moved}, AQL {aql:g}: n = {row.sample}, Ac = {accept}, Re = {accept + 1}"
        ),
    )


def own_plan(lot: int, sample: int, accept: int) -> SamplingPlan:
    """A single sampling plan of one's own.

    Parameters
    ----------
    lot : pieces in the lot; all of them are looked at where the sample is no smaller.
    sample : pieces that are looked at.
    accept : most nonconforming pieces with which the lot is accepted, fewer than the sample.

    Raises
    ------
    DataError : the numbers make no plan.
    """
    if lot < 1 or sample < 1 or not 0 <= accept < sample:
        raise DataError(
            f"A sample of {sample} with at most {accept} nonconforming, from a lot of {lot}, is no plan.",
            "A sample has one piece at least, and more pieces than may be nonconforming.",
        )
    cited = f"A plan of your own: n = {sample}, Ac = {accept}, Re = {accept + 1}"
    return SamplingPlan(lot=lot, sample=min(sample, lot), accept=accept, reject=accept + 1, cited=cited)


@cache
def _tables() -> _Tables:
    return _Tables.model_validate(tomllib.loads(PLANS_FILE.read_text(encoding="utf-8")))
