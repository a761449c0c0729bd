"""Queries as SQL with bound values, and their results.

Only names of tables and columns that a checked query holds go into a statement; every value is bound.
"""

from __future__ import annotations

import datetime
import sys
from collections.abc import Sequence
from typing import Any

from anomalist.errors import DataError
from anomalist.querying.columns import TableName, find_column, nearest_words
from anomalist.querying.probabilities import fisher_exact_p
from anomalist.querying.query import NUMERIC, PERIODS, Condition, Group, Query, QueryResult, Value, words_of
from anomalist.querying.rows import VECTOR_SIZES
from anomalist.querying.tables import Tables
from anomalist.types.common import SEVERITIES
from anomalist.types.names import names_source

ALIKE_FROM = 0.8
"""Cosine similarity from which two findings count as alike, as for past cases."""

Bound = tuple[str, list[Any]]
"""A part of a statement, and the values that are bound in it."""

LISTED: dict[TableName, tuple[str, ...]] = {
    "pictures": ("name", "label", "severity", "kind", "p_value", "score"),
    "regions": ("name", "region", "kind", "place", "size", "label", "severity"),
    "clips": ("name", "label", "severity", "events", "duration", "why"),
    "events": ("name", "event", "kind", "severity", "start", "end", "text"),
    "claims": ("name", "part", "text", "evidence", "by"),
    "rules": ("name", "part", "rule", "side", "similarity", "text"),
    "feedback": ("case", "name", "person", "action", "kind", "severity", "note", "undone"),
}
"""Columns of a list, where several rows are asked for one by one."""

_ORDER: dict[TableName, str] = {
    "pictures": "severity DESC NULLS LAST, p_value NULLS LAST, score DESC NULLS LAST, name",
    "regions": "severity DESC NULLS LAST, size DESC, name, region",
    "clips": "coalesce(severity, 0) DESC, events DESC NULLS LAST, name",
    "events": "severity DESC, score DESC, name, event",
    "claims": "name, part, number",
    "rules": "similarity DESC, name",
    "feedback": "number",
}
"""Order of a list that names none: the most urgent first."""


_WHOLE: dict[TableName, TableName] = {
    "pictures": "pictures", "regions": "pictures", "clips": "clips", "events": "clips",
}  # fmt: skip
"""The tables of what was inspected, which hold groups that a table of what was found lacks."""

_PLACES = {
    "run", "source", "name", "folder", "product", "profile", "camera", "time", "day", "clock", "hour",
}  # fmt: skip
"""Columns of what was inspected."""


def run_query(tables: Tables, query: Query, today: datetime.date | None = None) -> QueryResult:
    """Run a query on tables.

    Parameters
    ----------
    tables : of records.
    query : checked by its own validator.
    today : what "today" and "yesterday" count from; by default the date now, UTC.

    Returns
    -------
    The result; all rows and groups are in it unless the query says ``top``.

    Raises
    ------
    DataError : the picture that others are compared with is unknown, or has nothing to compare.
    """
    day = today or datetime.datetime.now(datetime.UTC).date()
    of = tables.count(query.table)
    source, similarity = _source(tables, query)
    where = _where(tables, query.table, query.where, day)
    if query.alike is not None:
        where = (f"{where[0]} AND similarity >= {ALIKE_FROM}", where[1])
    text, values = where
    matched = int(tables.rows(f"SELECT count(*) FROM {source[0]} WHERE {text}", [*source[1], *values])[0][0])
    found = _Statement(tables, query, source, where, day, similarity).result(of, matched)
    notes = _unknown_values(tables, query) if not matched else []
    if not notes and (not matched or (query.measure == "share" and found.value == 0)):
        notes = _undecided_notes(tables, query, day)
    return found.replace(notes=(*found.notes, *notes)) if notes else found


def _undecided_notes(tables: Tables, query: Query, day: datetime.date) -> list[str]:
    """Where nothing fits: how many there were not decided, so that none is no all-clear."""
    of, left = count_undecided(tables, query, day)
    whole = _WHOLE.get(query.table)
    return [f"{left:,} of the {of:,} {whole} there could not be judged or are undecided"] if left else []


def count_undecided(tables: Tables, query: Query, today: datetime.date | None = None) -> tuple[int, int]:
    """How many pictures or clips there are where a query looks, and how many of them have no verdict.

    Both are 0 of a query that asks for these itself, and of tables that are not about pictures or clips.
    """
    whole = _WHOLE.get(query.table)
    asked = [*query.where, *query.part]
    if whole is None or any(
        each.column == "status" or (each.column == "label" and {"undecided", ""} & set(each.values))
        for each in asked
    ):
        return 0, 0
    day = today or datetime.datetime.now(datetime.UTC).date()
    text, values = _where(tables, whole, [each for each in query.where if each.column in _PLACES], day)
    sql = "SELECT count(*), count(*) FILTER (WHERE coalesce(label, '') NOT IN ('normal', 'anomalous'))"
    ((of, left),) = tables.rows(f"{sql} FROM {whole} WHERE {text}", values)
    return int(of), int(left)


class _Statement:
    """The statement of one query over ``source``, the rows that its conditions leave."""

    def __init__(
        self, tables: Tables, query: Query, source: Bound, where: Bound, day: datetime.date, similarity: bool
    ) -> None:
        self._tables, self._query, self._day = tables, query, day
        self._from = f"FROM {source[0]} WHERE {where[0]}"
        self._values = [*source[1], *where[1]]
        self._similarity = similarity

    def result(self, of: int, matched: int) -> QueryResult:
        query = self._query
        if query.compare is not None:
            return self._comparison(of, matched)
        if query.measure == "list":
            columns, rows = self._list()
            return self._made(of, matched, columns, rows)
        columns, rows = self._grouped()
        single = not query.by and not query.trend and bool(rows)
        made = self._made(of, matched, columns, rows, _number(rows[0][-1]) if single else None)
        if single and query.of is not None and 0 < rows[0][0] < matched:
            note = f"{matched - rows[0][0]:,} of {matched:,} have no {query.of}"
            return made.replace(notes=(*made.notes, note))
        return made

    def _made(
        self,
        of: int,
        matched: int,
        columns: Sequence[str],
        rows: Sequence[Sequence[Any]],
        value: float | None = None,
    ) -> QueryResult:
        query = self._query
        by_severity = [name == "severity" or (name == self._measured and query.of == "severity" and
                       query.measure in ("min", "max")) for name in columns]  # fmt: skip
        plain = tuple(
            tuple(_plain(cell, severity) for cell, severity in zip(row, by_severity, strict=True))
            for row in rows
        )
        in_order = query.trend and not query.by and query.top is None and not query.sorts_groups
        slope = _slope([_number(row[-1]) for row in rows]) if in_order else None
        notes = []
        if query.top is not None and query.measure == "list" and matched > len(rows):
            notes.append(f"{len(rows)} of {matched:,} are listed, as asked")
        return QueryResult(
            query=query,
            text=str(query),
            reading=query.reading(of),
            of=of,
            matched=matched,
            columns=tuple(columns),
            rows=plain,
            value=value,
            slope=slope,
            notes=tuple(notes),
        )

    @property
    def _measured(self) -> str:
        """Name of the column with the measure."""
        query = self._query
        return query.measure if query.of is None else f"{query.measure} {query.of}"

    @property
    def _counted(self) -> str:
        """How many rows a measure is of: those that have a value."""
        return "count(*)" if self._query.of is None else f'count("{self._query.of}")'

    def _measure(self) -> Bound:
        query = self._query
        if query.measure in ("count", "list"):
            return "count(*)", []
        if query.measure == "share":
            text, values = _where(self._tables, query.table, query.part, self._day)
            return f"avg(CASE WHEN {text} THEN 1.0 ELSE 0.0 END)", values
        return f'{"avg" if query.measure == "mean" else query.measure}("{query.of}")', []

    def _list(self) -> tuple[list[str], list[tuple[Any, ...]]]:
        query = self._query
        asked = [each.column for each in query.where if each.operator != "=" or len(each.values) > 1]
        sorted_by = [query.sort.lstrip("-")] if query.sort else []
        columns = list(dict.fromkeys(query.show or [*LISTED[query.table], *asked, *sorted_by]))
        if (
            not query.show
            and len({run for (run,) in self._tables.rows(f"SELECT DISTINCT run FROM {query.table}")}) > 1
        ):
            columns.insert(0, "run")
        columns += ["similarity"] if self._similarity else []
        order = "similarity DESC, name" if self._similarity else _ORDER[query.table]
        if query.sort:
            way = "DESC" if query.sort.startswith("-") else "ASC"
            order = f'"{query.sort.lstrip("-")}" {way} NULLS LAST, name'
        limit = f" LIMIT {min(query.top, sys.maxsize):d}" if query.top is not None else ""
        names = ", ".join(f'"{name}"' for name in columns)
        return columns, self._tables.rows(
            f"SELECT {names} {self._from} ORDER BY {order}{limit}", self._values
        )

    def _grouped(self) -> tuple[list[str], list[tuple[Any, ...]]]:
        query = self._query
        measure, bound = self._measure()
        keys = [f'"{name}"' for name in query.by]
        names = list(query.by)
        if query.trend:
            shape = "%Y-%m-%d %H:00" if query.trend == "hour" else "%Y-%m-%d"
            keys.insert(0, f"strftime(date_trunc('{query.trend}', time), '{shape}')")
            names.insert(0, query.trend)
        if not keys:
            extra = [self._counted] if query.measure != "count" else []
            sql = f"SELECT {', '.join([*extra, measure])} {self._from}"
            columns = [*(["count"] if extra else []), self._measured]
            return columns, self._tables.rows(sql, [*bound, *self._values])
        counted = [self._counted] if query.measure != "count" else []
        numbers = ", ".join(str(place + 1) for place in range(len(keys)))
        last = len(keys) + len(counted) + 1
        way = "ASC" if query.lowest_first else "DESC"
        by_time = query.trend and query.top is None and not query.sorts_groups
        order = numbers if by_time else f"{last} {way} NULLS LAST, {numbers}"
        sql = (
            f"SELECT {', '.join([*keys, *counted, measure])} {self._from} GROUP BY {numbers} ORDER BY {order}"
        )
        columns = [*names, *(["count"] if counted else []), self._measured]
        rows = self._tables.rows(sql, [*bound, *self._values])
        if query.lowest_first:
            rows = self._lowest_of_judged(rows, keys)
        return columns, _first_with_ties(rows, query.top)

    def _lowest_of_judged(self, rows: list[tuple[Any, ...]], keys: list[str]) -> list[tuple[Any, ...]]:
        """Groups from the lowest up: none counts as none only where something was judged.

        Of groups of what was inspected (products, cameras, days) those that are no rows count 0, too.
        """
        query = self._query
        whole = _WHOLE.get(query.table)
        if whole is None or query.alike is not None or not set(query.by) <= _PLACES:
            return rows
        placed = [each for each in query.where if each.column in _PLACES]
        text, values = _where(self._tables, whole, placed, self._day)
        sql = f"SELECT DISTINCT {', '.join(keys)} FROM {whole} WHERE {text} "
        judged = self._tables.rows(f"{sql} AND label IN ('normal', 'anomalous') ORDER BY ALL", values)
        inside, there = set(judged), {row[: len(keys)] for row in rows}
        known = [row for row in rows if row[-1] != 0 or row[: len(keys)] in inside]
        if query.measure == "count":
            known = [(*key, 0) for key in judged if key not in there] + known
        return known

    def _comparison(self, of: int, matched: int) -> QueryResult:
        """The measure in each of the two groups; of shares the test of no difference, too."""
        query = self._query
        assert query.compare is not None
        measure, bound = self._measure()
        groups = []
        for side in query.compare:
            text, values = _where(self._tables, query.table, side, self._day)
            (row,) = self._tables.rows(
                f"SELECT count(*), {measure} {self._from} AND {text}", [*bound, *self._values, *values]
            )
            groups.append(Group(name=words_of(side), of=int(row[0]), value=_number(row[1])))
        first, second = groups
        both = first.value is not None and second.value is not None
        difference = (second.value or 0.0) - (first.value or 0.0) if both else None
        p_value = _fisher(groups) if query.measure == "share" and both else None
        columns = ("group", "count", *((self._measured,) if query.measure != "count" else ()))
        rows = [
            (group.name, group.of, *((group.value,) if query.measure != "count" else ())) for group in groups
        ]
        made = self._made(of, matched, columns, rows)
        return made.replace(groups=tuple(groups), difference=difference, p_value=p_value)


def _first_with_ties(rows: list[tuple[Any, ...]], top: int | None) -> list[tuple[Any, ...]]:
    """The first groups; those that equal the last of them are not left out."""
    if top is None or len(rows) <= top:
        return rows
    return [row for place, row in enumerate(rows) if place < top or row[-1] == rows[top - 1][-1]]


def _source(tables: Tables, query: Query) -> tuple[Bound, bool]:
    """What a query selects from, and whether it has a similarity."""
    if query.alike is None:
        return (query.table, []), False
    table: TableName = "events" if query.table == "events" else "regions"
    id_column = "event" if table == "events" else "region"
    name, _, part = query.alike.partition(":")
    ending = name.replace("\\", "/").rpartition("/")[2]
    sources = tables.rows(f"SELECT DISTINCT source FROM {table} WHERE contains(source, ?)", [ending])
    meant = [source for (source,) in sources if names_source(name, source)]
    if len(meant) != 1:
        problem = "has nothing to compare" if not meant else f"names {len(meant)} of them"
        raise DataError(
            f'"{query.alike}" {problem}.', f"Name one picture or clip with a marked {id_column}, as printed."
        )
    wanted = part or ("E1" if table == "events" else "R1")
    numbers = ", ".join(f"v{place}" for place in range(VECTOR_SIZES[table]))
    vector = tables.rows(
        f'SELECT {numbers} FROM {table} WHERE source = ? AND "{id_column}" = ?', [meant[0], wanted]
    )
    if not vector:
        raise DataError(f"There is no {wanted} in {name}.")
    product = " + ".join(f"v{place} * ?" for place in range(VECTOR_SIZES[table]))
    if query.table == table:
        return (
            f"(SELECT *, {product} AS similarity FROM {table} WHERE source <> ?)",
            [*vector[0], meant[0]],
        ), True
    best = f"SELECT run, number, max({product}) AS similarity FROM {table} GROUP BY ALL"
    alike = f"(SELECT * FROM ({best}) WHERE similarity >= {ALIKE_FROM})"
    joined = (
        f"(SELECT p.*, b.similarity FROM {query.table} p JOIN {alike} b "
        "ON p.number = b.number AND p.run = b.run WHERE p.source <> ?)"
    )
    values = [*vector[0], meant[0]]
    return (joined, values), True


def _unknown_values(tables: Tables, query: Query) -> list[str]:
    """Where nothing fits: the values that occur nowhere in their column, with the nearest that do."""
    notes = []
    for condition in query.where:
        column = find_column(query.table, condition.column)
        if column.type != "text" or condition.operator != "=" or column.name == "label":
            continue
        placed = _WHOLE.get(query.table, query.table) if column.name in _PLACES else query.table
        known = tables.distinct(placed, column.name)
        parts = [part for each in known for part in (each, *each.split("/"), *each.split(", "))]
        for value in condition.values:
            if value == "" or str(value).casefold() in map(str.casefold, parts):
                continue
            near = nearest_words(str(value), parts)
            hint = f"; the nearest: {', '.join(near)}" if near else ""
            notes.append(f'no {column.name} is "{value}"{hint}')
    return notes


def _where(tables: Tables, table: TableName, conditions: Sequence[Condition], day: datetime.date) -> Bound:
    parts, values = ["true"], []
    for condition in conditions:
        if condition.column == "folder" and condition.operator in ("=", "!="):
            text, bound = _in_folders(tables, table, condition)
        else:
            text, bound = _condition(table, condition, day)
        parts.append(f"({text})")
        values += bound
    return " AND ".join(parts), values


def _in_folders(tables: Tables, table: TableName, condition: Condition) -> Bound:
    """Rows of the folders that a condition means: there are few, so they are looked up once."""
    wanted = {str(value).casefold() for value in condition.values}
    every = [row[0] for row in tables.rows(f"SELECT DISTINCT folder FROM {table}")]
    meant = [each for each in every if {each.casefold(), *each.casefold().split("/")} & wanted]
    text = "list_contains(?, folder)" if meant else "false"
    return (f"NOT {text}" if condition.operator == "!=" else text), [meant] if meant else []


def _condition(table: TableName, condition: Condition, day: datetime.date) -> Bound:
    column = find_column(table, condition.column)
    one_each = [_comparison(column.name, column.type, condition.operator, v, day) for v in condition.values]
    values = [value for _, bound in one_each for value in bound]
    text = " OR ".join(f"({part})" for part, _ in one_each)
    if condition.operator == "!=":
        return f"NOT coalesce({text}, false)", values
    return f"coalesce({text}, false)", values


def _comparison(name: str, type: str, operator: str, value: Value, day: datetime.date) -> Bound:
    """One comparison; "!=" is negated by its caller."""
    quoted = f'"{name}"'
    sign = "=" if operator == "!=" else operator
    if type == "time":
        return _time(quoted, sign, str(value), day)
    if type == "severity":
        return f"{quoted} {sign} ?", [SEVERITIES.index(str(value))]
    if type in NUMERIC or type == "flag":
        return f"{quoted} {sign} ?", [value]
    if sign == "~":
        text = str(value).casefold()
        before = "contains(lower(source), ?) AND " if name == "name" else ""
        return f"{before}contains(lower({quoted}), ?)", [text, text][: 1 + bool(before)]
    if value == "":
        return f"coalesce({quoted}, '') = ''", []
    text = str(value).casefold()
    if name == "kinds" and sign == "=":
        return f"list_contains(string_split(lower({quoted}), ', '), ?)", [text]
    if name == "name":
        # A name is the end of its source, which is read as it is stored: faster over a million rows.
        if sign == "=":
            return "lower(source) = ? OR ends_with(lower(source), ?)", [text, f"/{text}"]
        return f"lower({quoted}) {sign} ?", [text]
    return f"lower({quoted}) {sign} ?", [text]


def _time(quoted: str, sign: str, text: str, day: datetime.date) -> Bound:
    first, last = period(text, day)
    if sign == "=":
        return f"{quoted} >= ? AND {quoted} < ?", [first, last]
    bound = last if sign in (">", "<=") else first
    return f"{quoted} {'>=' if sign in ('>', '>=') else '<'} ?", [bound]


def period(text: str, day: datetime.date) -> tuple[datetime.datetime, datetime.datetime]:
    """The first moment of a period and the first after it: of a word, a month, a day, a minute or a second.

    Raises DataError for what is no date.
    """
    if text in PERIODS:
        return _worded_period(text, day)
    try:
        first = datetime.datetime.fromisoformat(f"{text}-01" if len(text) == 7 else text)
    except ValueError as error:
        raise DataError(f'"{text}" is no date.', "Dates look like 2026-01-31.") from error
    steps = {
        7: datetime.timedelta(days=32),
        10: datetime.timedelta(days=1),
        16: datetime.timedelta(minutes=1),
    }
    try:
        after = first + steps.get(len(text), datetime.timedelta(seconds=1))
    except OverflowError:  # there is none after the last one
        return first, datetime.datetime.max
    return first, after.replace(day=1) if len(text) == 7 else after


def _worded_period(text: str, day: datetime.date) -> tuple[datetime.datetime, datetime.datetime]:
    one = datetime.timedelta(days=1)
    monday, month = day - day.weekday() * one, day.replace(day=1)
    ranges = {
        "today": (day, day + one),
        "yesterday": (day - one, day),
        "this week": (monday, monday + 7 * one),
        "last week": (monday - 7 * one, monday),
        "this month": (month, (month + 32 * one).replace(day=1)),
        "last month": ((month - one).replace(day=1), month),
    }
    first, last = ranges[text]
    midnight = datetime.time()
    return datetime.datetime.combine(first, midnight), datetime.datetime.combine(last, midnight)


def _plain(cell: object, severity: bool) -> Value | None:
    """A cell as JSON holds it; a severity by its word."""
    if cell is None:
        return None
    if severity and isinstance(cell, int | float):
        return SEVERITIES[int(cell)]
    if isinstance(cell, datetime.datetime):
        return cell.isoformat()
    return cell if isinstance(cell, bool | int | float) else str(cell)


def _number(cell: object) -> float | None:
    return float(cell) if isinstance(cell, int | float) else None


def _slope(values: Sequence[float | None]) -> float | None:
    """Least-squares slope of a series, per step; None for fewer than three values."""
    known = [(place, value) for place, value in enumerate(values) if value is not None]
    if len(known) < 3:
        return None
    mean_x = sum(x for x, _ in known) / len(known)
    mean_y = sum(y for _, y in known) / len(known)
    return sum((x - mean_x) * (y - mean_y) for x, y in known) / sum((x - mean_x) ** 2 for x, _ in known)


def _fisher(groups: Sequence[Group]) -> float | None:
    """Two-sided p-value of equal shares; None where a group is empty."""
    if any(group.of == 0 for group in groups):
        return None
    first, second = ((round((group.value or 0.0) * group.of), group.of) for group in groups)
    return fisher_exact_p(first, second)
