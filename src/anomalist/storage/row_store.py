"""Row stores: rows in a SQLite file, or in a schema of a PostgreSQL database that several servers share.

Files of the home are the default. With ``ANOMALIST_MEMORY`` the rules, cases, remembered scenes and
conversations of the home are in that database instead, one schema for each file. Statements are written for
SQLite, by what both know; `anomalist.storage.postgres` translates types and placeholders.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

from anomalist.errors import DataError
from anomalist.settings import Settings
from anomalist.storage.sqlite import CASE_SCHEMA, SqliteRows, SqliteSchema

_SHARED = re.compile(r"cases\.sqlite|conversations\.sqlite|memory/[^/]+\.sqlite")
"""Files of the home that are shared by ``ANOMALIST_MEMORY``."""

Row = Mapping[str, Any]
"""A row; values by the name of their column."""


class Rows(Protocol):
    """A connection to one store of rows; every statement commits by itself unless in a transaction."""

    place: str
    """Where the rows are, for people."""
    derived: Path
    """File beside which files are kept that are made of the rows."""

    def execute(self, statement: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> Any:  # noqa: ANN401
        """Run a statement with ``?`` or ``:name`` in place of values; returns a DB-API cursor."""
        ...

    def transaction(self) -> AbstractContextManager[None]:
        """All that is written inside, or nothing of it; waits for others that are writing."""
        ...

    def errors(self) -> AbstractContextManager[None]:
        """Turn what the database says, and what can't be read in it, into a DataError for people."""
        ...

    def database_errors(self) -> AbstractContextManager[None]:
        """Turn what the database says, and nothing else, into a DataError for people."""
        ...

    def close(self) -> None:
        """End the connection."""
        ...


class SharedRows(NamedTuple):
    """A store of a PostgreSQL database that stands for a file of the home: "cases", "memory_NAME"."""

    url: str
    store: str


def shared_rows(path: Path) -> SharedRows | None:
    """What stands for a file in the database that is shared; None where the file itself counts.

    Raises DataError where ``ANOMALIST_MEMORY`` is no address of a PostgreSQL database.
    """
    settings = Settings()
    url = settings.memory.get_secret_value().strip()
    if not url:
        return None
    if not re.match(r"postgres(ql)?(\+psycopg)?://", url):
        raise DataError(
            "ANOMALIST_MEMORY is not the address of a PostgreSQL database.",
            "It looks like postgresql://user@host/name; unset, files of the home are used.",
        )
    try:
        name = path.absolute().relative_to(settings.home.absolute()).as_posix()
    except ValueError:
        return None
    if not _SHARED.fullmatch(name):
        return None
    return SharedRows(url.replace("+psycopg", "", 1), name.removesuffix(".sqlite").replace("/", "_", 1))


_made: set[SharedRows] = set()
"""Schemas that are known to be there; none ever goes away."""


def is_stored(path: Path) -> bool:
    """Whether there is a store of that file: the file, or its schema in the database that is shared.

    Raises DataError where the database can't be reached.
    """
    if path.exists():  # also with a database: what is there first takes the rows of the file along
        return True
    shared = shared_rows(path)
    if shared is None:
        return False
    if shared not in _made:
        from anomalist.storage.postgres import has_schema

        if has_schema(*shared):
            _made.add(shared)
    return shared in _made


class RowStore:
    """What is kept in one store of rows, made where there is none; a context manager.

    Parameters
    ----------
    path : the SQLite file, or that for which a schema of the shared database stands.
    layout : what it holds.
    threads : whether other threads than this one may use it too; taking turns is up to them.

    Raises
    ------
    DataError : not a database, of another program, of a newer version, damaged, or not to be opened or
        reached. It is left as it is.
    """

    def __init__(self, path: Path, layout: SqliteSchema = CASE_SCHEMA, *, threads: bool = False) -> None:
        self.path = path
        self._rows: Rows
        if (shared := shared_rows(path)) is None:
            self._rows = SqliteRows(path, layout, threads=threads)
        else:
            from anomalist.storage.postgres import PostgresRows

            self._rows = PostgresRows(*shared, layout, path)

    @property
    def place(self) -> str:
        """Where the rows are, for people."""
        return self._rows.place

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; nothing is pending, every call stored what it did."""
        self._rows.close()
