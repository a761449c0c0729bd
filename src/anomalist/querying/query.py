"""The typed query over records and its result, both of which JSON and the text form can express.

`anomalist.querying.parsing` reads the text form, `anomalist.querying.execution` runs a query.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

from anomalist.errors import DataError
from anomalist.querying.columns import COLUMNS, RecordColumn, TableName, find_column, nearest_words
from anomalist.types.common import SEVERITIES, Frozen

Operator = Literal["=", "!=", "<", "<=", ">", ">=", "~"]
Measure = Literal["list", "count", "share", "mean", "median", "sum", "min", "max"]
Trend = Literal["hour", "day", "week", "month"]
Value = str | bool | int | float

NUMERIC = ("number", "share", "severity")
PERIODS = ("today", "yesterday", "this week", "last week", "this month", "last month")
"""Words for times that a condition may hold; weeks begin on Monday, days are those of UTC."""

_DATE = re.compile(r"\d{4}-\d{2}(?:-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2})?)?)?")
_CLOCK = re.compile(r"(\d{1,2})(?:[:.](\d{2}))? ?(am|pm)?")
_PLAIN = re.compile(r"[^\s=<>!~,|\"']+")


class Condition(Frozen):
    """One filter: a column, an operator and values, of which one must hold ("!=": none)."""

    column: str
    operator: Operator = Field("=", description='"~" is "contains", whatever the case')
    values: tuple[Value, ...] = Field(min_length=1)

    def __str__(self) -> str:
        return f"{self.column}{self.operator}{'|'.join(_quoted(value) for value in self.values)}"

    @property
    def words(self) -> str:
        """The same for people: "severity = critical or major"."""
        values = " or ".join(
            "nothing" if value == "" else _number_text(value) if isinstance(value, float) else str(value)
            for value in self.values
        )
        return f"{self.column} {'contains' if self.operator == '~' else self.operator} {values}"

    def on(self, table: TableName) -> Condition:
        """The condition with its column and values checked against a table; raises DataError."""
        column = find_column(table, self.column)
        values = tuple(_checked_value(column, self.operator, value) for value in self.values)
        if (
            self.operator in ("<", "<=", ">", ">=")
            and column.type not in (*NUMERIC, "time")
            and column.name not in ("day", "clock")
        ):
            raise DataError(f'"{column.name}" has no order.', f'Use "{column.name}=…" or "{column.name}~…".')
        return Condition(column=column.name, operator=self.operator, values=values)


class Query(Frozen):
    """One question to a table of records.

    Its validator checks columns and values, fills in their full names, and raises DataError, which names what
    is wrong and the nearest known name.
    """

    table: TableName = "pictures"
    where: tuple[Condition, ...] = Field((), description="all must hold")
    measure: Measure = "count"
    of: str | None = Field(None, description="column that is averaged, summed, …")
    part: tuple[Condition, ...] = Field((), description="of a share: what its numerator fulfils, too")
    by: tuple[str, ...] = Field((), max_length=4, description="columns that rows are grouped by")
    trend: Trend | None = Field(None, description="also group by this length of time, in order")
    compare: tuple[tuple[Condition, ...], tuple[Condition, ...]] | None = Field(
        None, description="two groups of rows, each by conditions"
    )
    alike: str | None = Field(None, description="name of a picture or clip; rows similar to its finding")
    show: tuple[str, ...] = Field((), description="columns of a list; the usual ones where none is named")
    sort: str | None = Field(
        None, description="column of a list, or measure of groups; descending with a leading minus sign"
    )
    top: int | None = Field(None, ge=1, description="most rows or groups; all where it is None")

    @model_validator(mode="after")
    def _checked(self) -> Self:
        table = self.table
        filled: dict[str, object] = {
            "where": tuple(each.on(table) for each in self.where),
            "part": tuple(each.on(table) for each in self.part),
            "by": tuple(find_column(table, name).name for name in self.by),
            "show": tuple(find_column(table, name).name for name in self.show),
            "of": None if self.of is None else find_column(table, self.of).name,
            "sort": self.sort if self.sorts_groups or self.sort is None else _sort_key(table, self.sort),
        }
        if self.compare is not None:
            first, second = self.compare
            filled["compare"] = (
                tuple(each.on(table) for each in first),
                tuple(each.on(table) for each in second),
            )
        for name, value in filled.items():
            object.__setattr__(self, name, value)
        self._check_measure()
        return self

    @property
    def sorts_groups(self) -> bool:
        """Whether groups are sorted by their measure."""
        return bool(self.by or self.trend) and (self.sort or "").lstrip("-") == self.measure

    @property
    def lowest_first(self) -> bool:
        """Whether groups are sorted by their measure, the lowest first."""
        return self.sorts_groups and self.sort == self.measure

    def _check_measure(self) -> None:
        needs_column = self.measure in ("mean", "median", "sum", "min", "max")
        if needs_column and self.of is None:
            raise DataError(
                f"The {self.measure} of which column?", f"Say for instance: {self.measure} score."
            )
        if needs_column and find_column(self.table, self.of or "").type not in NUMERIC:
            numeric = ", ".join(each.name for each in COLUMNS[self.table] if each.type in NUMERIC)
            raise DataError(f'"{self.of}" is no number.', f"Numbers of {self.table}: {numeric}.")
        if self.measure == "share" and not self.part:
            raise DataError("The share of what?", "Say for instance: share label=anomalous of pictures.")
        if self.measure == "list" and (self.by or self.trend or self.compare):
            raise DataError("A list has no groups.", 'Leave out "list", or the groups.')
        if self.alike is not None and self.table not in ("pictures", "regions", "events"):
            raise DataError(f"{self.table} have nothing to compare.", "Ask pictures, regions or events.")

    def __str__(self) -> str:
        """The text form, which `parse_query` reads back."""
        parts: list[str] = [self.measure]
        if self.measure == "share":
            parts += [*map(str, self.part), "of"]
        parts += [self.of] if self.of else []
        parts.append(self.table)
        parts += ["where", *map(str, self.where)] if self.where else []
        parts += ["by", ", ".join(self.by)] if self.by else []
        parts += [f"trend {self.trend}"] if self.trend else []
        if self.compare is not None:
            first, second = (" ".join(map(str, side)) for side in self.compare)
            parts.append(f"compare {first} with {second}")
        parts += ["alike", _quoted(self.alike)] if self.alike is not None else []
        parts += ["show", ", ".join(self.show)] if self.show else []
        parts += ["sort", self.sort] if self.sort else []
        parts += [f"top {self.top}"] if self.top else []
        return " ".join(parts)

    def reading(self, of: int) -> str:
        """What is asked, in one line: "of 96 pictures: label = anomalous, by folder"."""
        parts = [condition.words for condition in self.where]
        if self.compare is not None:
            first, second = (" and ".join(each.words for each in side) for side in self.compare)
            parts.append(f"{first} against {second}")
        if self.measure == "share":
            parts.append(f"share with {' and '.join(each.words for each in self.part)}")
        elif self.of:
            parts.append(f"{self.measure} of {self.of}")
        elif self.measure == "list":
            parts.append("one by one")
        parts += [f"by {', '.join(self.by)}"] if self.by else []
        parts += [f"by {self.trend}{'' if self.sorts_groups else ', in order'}"] if self.trend else []
        parts += [f"like {self.alike}"] if self.alike else []
        if self.sort:
            most = "highest first" if self.sort.startswith("-") else "lowest first"
            parts.append(f"{self.sort.lstrip('-')} {most}")
        parts += [f"the first {self.top}"] if self.top else []
        noun = self.table.removesuffix("s") if of == 1 and self.table != "feedback" else self.table
        return f"of {of:,} {noun}: {', '.join(parts) if parts and parts != ['one by one'] else 'all'}"


class Group(Frozen):
    """One side of a comparison."""

    name: str
    of: int = Field(description="rows of the group")
    value: float | None = Field(description="its count, share, mean, …")


class QueryResult(Frozen):
    """What a query gave; nothing is left out that it did not ask to leave out."""

    query: Query
    text: str = Field(description="the query in its text form")
    reading: str = Field(description="the query in one line for people")
    of: int = Field(description="rows of the table")
    matched: int = Field(description="rows that fulfil the conditions")
    columns: tuple[str, ...]
    rows: tuple[tuple[Value | None, ...], ...]
    value: float | None = Field(None, description="the one number, where it is one")
    groups: tuple[Group, ...] = Field((), description="of a comparison")
    difference: float | None = Field(None, description="second group minus first")
    p_value: float | None = Field(None, description="of equal shares, by Fisher's exact test")
    slope: float | None = Field(None, description="of a trend, per step, by least squares")
    notes: tuple[str, ...] = ()


def _number_text(value: float) -> str:
    """The shortest text that is read back as the same number."""
    text = f"{value:.15g}"
    return text if float(text) == value else repr(value)


def _quoted(value: Value) -> str:
    text = _number_text(value) if isinstance(value, float) else str(value)
    text = text.lower() if isinstance(value, bool) else text
    if _PLAIN.fullmatch(text) and text not in ("by", "with", "top", "of", "where"):
        return text
    return f'"{text}"' if '"' not in text else f"'{text}'"


def _sort_key(table: TableName, text: str) -> str:
    name = find_column(table, text.lstrip("-")).name
    return f"-{name}" if text.startswith("-") else name


def _checked_value(column: RecordColumn, operator: Operator, value: Value) -> Value:
    """A value as its column holds it: severities by name, shares also in per cent, times as ISO text."""
    if column.type == "severity":
        return _severity(value)
    if column.type in ("number", "share"):
        return _number(column, value)
    if column.type == "flag":
        if str(value).casefold() not in ("true", "false", "yes", "no"):
            raise DataError(f'"{column.name}" is true or false, not "{value}".')
        return str(value).casefold() in ("true", "yes")
    text = str(value)
    if column.type == "time":
        if operator == "~" or (text not in PERIODS and not _DATE.fullmatch(text)):
            near = nearest_words(text, PERIODS, 1)
            hint = f' The nearest word is "{near[0]}".' if near else ""
            raise DataError(
                f'"{text}" is no time.{hint}', f"Times look like 2026-01-31; words: {', '.join(PERIODS)}."
            )
        return text
    if column.name == "clock" and operator != "~":
        return clock_time(text)
    labels = ("normal", "anomalous", "undecided", "")
    if column.name == "label" and operator != "~" and text not in labels:
        near = nearest_words(text, labels[:3], 1)
        hint = f' The nearest is "{near[0]}".' if near else ""
        raise DataError(f'There is no label "{text}".{hint}', "Labels: normal, anomalous, undecided.")
    return text


def clock_time(text: str) -> str:
    """A time of day as HH:MM: of "18", "6:30 pm", "06:30"; raises DataError for any other text."""
    found = _CLOCK.fullmatch(text.strip().casefold())
    hour, minute = (int(found[1]), int(found[2] or 0)) if found else (24, 0)
    if found and found[3]:
        hour = hour % 12 + 12 * (found[3] == "pm") if 1 <= hour <= 12 else 24
    if hour > 23 or minute > 59:
        raise DataError(f'"{text}" is no time of day.', "Times of day look like 18:30.")
    return f"{hour:02d}:{minute:02d}"


def _severity(value: Value) -> str:
    text = str(value).casefold()
    if text in SEVERITIES:
        return text
    if re.fullmatch(r"[0-4](?:\.0)?", text):
        return SEVERITIES[int(text[0])]
    near = nearest_words(text, SEVERITIES, 1)
    hint = f' The nearest is "{near[0]}".' if near else ""
    raise DataError(f'There is no severity "{value}".{hint}', f"Severities: {', '.join(SEVERITIES)}.")


def _number(column: RecordColumn, value: Value) -> float:
    text = str(value).replace(",", ".").strip()
    percent = text.endswith("%")
    try:
        number = float(text.rstrip("% "))
    except ValueError:
        raise DataError(f'"{column.name}" is a number, and "{value}" is none.') from None
    return number / 100 if percent else number


def words_of(conditions: Sequence[Condition]) -> str:
    """Conditions for people, as the name of a group of rows: "folder = brick and label = normal"."""
    return " and ".join(each.words for each in conditions)
