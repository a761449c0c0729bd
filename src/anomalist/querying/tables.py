"""Records as tables of an embedded DuckDB, with names, folders and days derived by views.

`anomalist.querying.run_tables` makes them of run folders.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from anomalist.memory.cases import Case
from anomalist.querying.columns import COLUMNS, TABLE_NAMES, RecordColumn, TableName
from anomalist.querying.rows import VECTOR_SIZES, Columns, Rows, feedback_columns, rows_of
from anomalist.types.clip import ClipRecord
from anomalist.types.image import Record
from anomalist.types.names import common_folder

if TYPE_CHECKING:
    import duckdb

_SQL_TYPES = {
    "text": "VARCHAR", "number": "DOUBLE", "share": "DOUBLE", "severity": "TINYINT", "time": "TIMESTAMP",
    "flag": "BOOLEAN",
}  # fmt: skip
RECORDED: tuple[TableName, ...] = tuple(table for table in TABLE_NAMES if table != "feedback")
_DERIVED = ("run", "name", "folder", "day", "clock", "hour")


class Tables:
    """The tables of records, to run queries on, one at a time; a context manager.

    Made by `tables_of_records`, and by `anomalist.querying.run_tables.tables_of_runs`.
    """

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, later: Callable[[], None] | None = None
    ) -> None:
        self._connection = connection
        self._later = later
        self._lock = threading.RLock()  # a connection is not for several threads at once

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a statement with its bound values."""
        with self._lock:
            found: list[tuple[Any, ...]] = self._connection.execute(sql, list(values)).fetchall()
        return found

    def count(self, table: TableName) -> int:
        """Rows of a table; what nobody asked about before may be filled in now."""
        with self._lock:
            if table in ("claims", "rules") and self._later is not None:
                fill, self._later = self._later, None
                fill()
        return int(self.rows(f"SELECT count(*) FROM {table}")[0][0])

    def distinct(self, table: TableName, column: str) -> list[str]:
        """The texts that a column holds, the most frequent first."""
        sql = f'SELECT "{column}", count(*) AS n FROM {table} WHERE "{column}" <> \'\' GROUP BY 1'
        return [str(value) for value, _ in self.rows(f"{sql} ORDER BY n DESC, 1")]

    def close(self) -> None:
        """Let go of memory and files."""
        self._connection.close()

    def __enter__(self) -> Tables:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class RunSource(NamedTuple):
    """One run: its name, and the schema of the connection that holds its tables."""

    run: str
    schema: str


def tables_of_records(
    records: Sequence[Record | ClipRecord], cases: Iterable[Case] = (), run: str = ""
) -> Tables:
    """Tables of records at hand, and of feedback on their sources."""
    connection = connect()
    create_tables(connection, "main")
    _insert_all(connection, "main", rows_of(records))

    def fill_sentences() -> None:
        _insert_all(connection, "main", rows_of(records, sentences=True))

    return with_views(connection, [RunSource(run, "main")], cases, fill_sentences)


def connect(path: Path | None = None) -> duckdb.DuckDBPyConnection:
    """A database in memory or in a file, which reads nothing else and fetches nothing."""
    import duckdb

    # The records are what is asked: no statement may read other files, or fetch an extension.
    offline: dict[str, Any] = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
    return duckdb.connect(":memory:" if path is None else str(path), config=offline)


def _stored(table: TableName) -> list[tuple[str, str]]:
    """Names and SQL types of the columns that a table holds, without those that its view derives."""
    columns = [(each.name, _SQL_TYPES[each.type]) for each in COLUMNS[table] if each.name not in _DERIVED]
    vector = [(f"v{place}", "FLOAT") for place in range(VECTOR_SIZES.get(table, 0))]
    return [("number", "BIGINT"), ("parent", "VARCHAR"), *columns, *vector]


def create_tables(connection: duckdb.DuckDBPyConnection, schema: str) -> None:
    """Create the empty tables of a run in a schema."""
    for table in RECORDED:
        columns = ", ".join(f'"{name}" {type}' for name, type in _stored(table))
        connection.execute(f"CREATE TABLE {schema}.{base_table(table)} ({columns})")


def base_table(table: TableName) -> str:
    """Name of the table that holds what a view of this name shows."""
    return f"{table}_rows"


def fill_tables(
    connection: duckdb.DuckDBPyConnection, schema: str, records: Iterable[Record | ClipRecord], first: int
) -> None:
    """Add the rows of records, which are numbered from ``first`` on."""
    held = list(records)
    _insert_all(connection, schema, rows_of(held, first))
    _insert_all(connection, schema, rows_of(held, first, sentences=True))


def _insert_all(connection: duckdb.DuckDBPyConnection, schema: str, tables: Rows) -> None:
    for table, rows in tables.items():
        _insert(connection, schema, table, rows)


def _insert(connection: duckdb.DuckDBPyConnection, schema: str, table: TableName, columns: Columns) -> None:
    if not columns:
        return
    stored = _stored(table)
    count = len(columns["number"])
    batch = {name: _array(columns.get(name, [None] * count), type) for name, type in stored}
    connection.register("batch", batch)
    names = ", ".join(
        f'CAST(substr("{name}", 1, 19) AS TIMESTAMP)' if type == "TIMESTAMP" else f'CAST("{name}" AS {type})'
        for name, type in stored
    )
    connection.execute(f"INSERT INTO {schema}.{base_table(table)} SELECT {names} FROM batch")
    connection.unregister("batch")


def _array(values: list[Any], type: str) -> np.ndarray:
    """A column as an array that DuckDB reads: masked where a number is missing, objects for texts."""
    if type in ("VARCHAR", "TIMESTAMP"):
        texts = np.empty(len(values), object)
        texts[:] = values
        return texts
    missing = np.array([value is None for value in values])
    dtype = {"BIGINT": np.int64, "TINYINT": np.int8, "BOOLEAN": np.bool_}.get(type, np.float64)
    filled: np.ndarray = np.array([0 if value is None else value for value in values], dtype)
    return np.ma.masked_array(filled, mask=missing) if missing.any() else filled


def with_views(
    connection: duckdb.DuckDBPyConnection,
    sources: Sequence[RunSource],
    cases: Iterable[Case],
    later: Callable[[], None] | None = None,
) -> Tables:
    """The tables as they are asked: of all runs, with names within the folder that a run's sources share.

    Feedback is that on sources of the runs.
    """
    columns = ", ".join(f'"{name}" {type}' for name, type in _stored("feedback"))
    connection.execute(f"CREATE TEMP TABLE feedback_rows ({columns})")
    _insert(connection, "temp", "feedback", feedback_columns(cases))
    folders = {source.schema: _shared_folder(connection, source.schema) for source in sources}
    for table in TABLE_NAMES:
        parts = []
        for run, schema in sources:
            rows = f"{schema}.{base_table(table)}"
            if table == "feedback":
                known = " UNION ".join(
                    f"SELECT source FROM {schema}.{base_table(kind)}" for kind in ("pictures", "clips")
                )
                rows = f"(SELECT * FROM temp.feedback_rows WHERE source IN ({known}))"
            parts.append(_view(table, run, rows, folders[schema]))
        connection.execute(f"CREATE OR REPLACE TEMP VIEW {table} AS {' UNION ALL '.join(parts)}")
    return Tables(connection, later)


def _view(table: TableName, run: str, rows: str, folder: str) -> str:
    name, within = "source", "parent"
    if folder:
        start = f"{folder}/"
        inside = f"starts_with(source, {sql_text(start)})"
        name = f"CASE WHEN {inside} THEN substr(source, {len(start) + 1}) ELSE source END"
        within = (
            f"CASE WHEN parent = {sql_text(folder)} THEN '' "
            f"WHEN starts_with(parent, {sql_text(start)}) THEN substr(parent, {len(start) + 1}) "
            "ELSE parent END"
        )
    derived = {
        "run": sql_text(run),
        "name": name,
        "folder": within,
        "day": "strftime(time, '%Y-%m-%d')",
        "clock": "strftime(time, '%H:%M')",
        "hour": "hour(time)",
    }
    columns = [f'{derived.get(each.name, _named(each))} AS "{each.name}"' for each in COLUMNS[table]]
    vector = [f"v{place}" for place in range(VECTOR_SIZES.get(table, 0))]
    return f"SELECT {', '.join(['number', *columns, *vector])} FROM {rows}"


def _named(column: RecordColumn) -> str:
    return f'"{column.name}"'


def sql_text(text: str) -> str:
    """A text as a literal, for statements that can't bind values."""
    escaped = text.replace("'", "''")
    return f"'{escaped}'"


def _shared_folder(connection: duckdb.DuckDBPyConnection, schema: str) -> str:
    """The folder that the sources of a run share, from one source of each folder."""
    sql = " UNION ALL ".join(
        f"SELECT any_value(source) FROM {schema}.{base_table(table)} "
        "GROUP BY parent"
        for table in ("pictures", "clips")
    )  # fmt: skip
    return common_folder(row[0] for row in connection.execute(sql).fetchall())
