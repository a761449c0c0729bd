"""SQLite files: schema, opening, integrity check, transactions, and errors for people.

A file carries an application id and a version of its schema. One of another program, of a newer version or
that is damaged is refused and left as it is.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anomalist.errors import DataError

SCHEMA_VERSION = 1
APPLICATION_ID = 0x616E6F6D  # "anom": tells our files from other programs'
WAIT = 30.0
"""Seconds to wait for another process that is writing."""

_MOVE_AWAY = "Nothing in it was changed. Move it away to begin a new one, or restore a copy."


@dataclass(frozen=True)
class SqliteSchema:
    """What a file holds, and how people call it.

    Parameters
    ----------
    what : "case file".
    holds : "case", one of what it holds.
    application, version : numbers in its head; another application's file is not ours.
    tables : SQL that makes a new one.
    carried : whether a database that several servers share takes the rows of a file along.
    """

    what: str
    holds: str
    application: int
    version: int
    tables: str
    carried: bool = True


CASE_SCHEMA = SqliteSchema(
    "case file",
    "case",
    APPLICATION_ID,
    SCHEMA_VERSION,
    """
CREATE TABLE cases (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  created TEXT NOT NULL,
  who TEXT NOT NULL,
  action TEXT NOT NULL,
  media TEXT NOT NULL,
  source TEXT NOT NULL,
  sha256 TEXT,
  key TEXT,
  part TEXT,
  start REAL,
  "end" REAL,
  text TEXT NOT NULL,
  kind TEXT,
  severity INTEGER,
  profile TEXT,
  note TEXT NOT NULL,
  undone TEXT,
  undone_by TEXT
) STRICT;
CREATE INDEX cases_of_profile ON cases (profile);
CREATE TABLE embeddings (
  "case" INTEGER NOT NULL REFERENCES cases (id),
  space TEXT NOT NULL,
  vector BLOB NOT NULL,
  PRIMARY KEY ("case", space)
) STRICT;
CREATE INDEX embeddings_of_space ON embeddings (space);
""",
)


def connect(path: Path, layout: SqliteSchema = CASE_SCHEMA, *, threads: bool = False) -> sqlite3.Connection:
    """Open the file, or make it where there is none or an empty one. Every statement commits by itself.

    With ``threads`` other threads than this one may use it too; taking turns is up to them.

    Raises
    ------
    DataError : not a database, of another program, of a newer version, damaged, or not to be opened. It is
        left as it is.
    """
    with data_errors(path, layout):
        try:
            if path.exists() and not path.is_file():
                raise DataError(f'"{path}" is not a file.', f"Name a file for the {layout.holds}s.")
            path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(
                path, timeout=WAIT, isolation_level=None, check_same_thread=not threads
            )
        except (OSError, ValueError) as error:  # ValueError: a null character in the path
            raise DataError(
                f'The {layout.what} "{path}" can\'t be opened: {error}.', "Check the path."
            ) from error
        try:
            connection.row_factory = sqlite3.Row
            _check_file(connection, path, layout)
        except BaseException:
            connection.close()
            raise
    return connection


class SqliteRows:
    """Rows in one SQLite file, made where there is none; see `anomalist.storage.row_store.Rows`.

    Parameters
    ----------
    path, layout, threads : see `connect`.
    """

    def __init__(self, path: Path, layout: SqliteSchema = CASE_SCHEMA, *, threads: bool = False) -> None:
        self.place, self.derived = str(path), path
        self._layout = layout
        self.connection = connect(path, layout, threads=threads)

    def execute(self, statement: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> sqlite3.Cursor:
        """Run a statement."""
        return self.connection.execute(statement, values)

    def transaction(self) -> AbstractContextManager[None]:
        """All that is written inside, or nothing of it."""
        return transaction(self.connection)

    def errors(self) -> AbstractContextManager[None]:
        """What SQLite says, and what can't be read in the file, as a DataError."""
        return data_errors(self.derived, self._layout)

    @contextmanager
    def database_errors(self) -> Iterator[None]:
        """What SQLite says as a DataError."""
        try:
            yield
        except sqlite3.Error:
            with self.errors():
                raise

    def close(self) -> None:
        """Close the file."""
        self.connection.close()


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All that is written inside, or nothing of it; waits for other processes that are writing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def data_errors(path: Path, layout: SqliteSchema = CASE_SCHEMA) -> Iterator[None]:
    """Turn what SQLite says about the file, and what can't be read in it, into one error for people."""
    try:
        yield
    except sqlite3.Error as error:
        message, remedy = _message_for(getattr(error, "sqlite_errorname", ""), str(error))
        raise DataError(f'The {layout.what} "{path}" {message}.', remedy) from error
    except UnicodeEncodeError as error:
        raise DataError("Text with parts that are not Unicode can't be stored or looked up.") from error
    except ValueError as error:  # pydantic's too
        raise DataError(
            f'The {layout.what} "{path}" is damaged: a {layout.holds} can\'t be read.', _MOVE_AWAY
        ) from error


def _message_for(code: str, detail: str) -> tuple[str, str]:
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return "is being written by another process", "Try again when it is done."
    if code.startswith("SQLITE_NOTADB"):
        return "is not a database, or is damaged", _MOVE_AWAY
    if code.startswith("SQLITE_CORRUPT"):
        return "is damaged", _MOVE_AWAY
    if code.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
        return f"can't be opened for writing ({detail})", "Check its permissions and those of its folder."
    return f"can't be used ({detail})", _MOVE_AWAY


def _check_file(connection: sqlite3.Connection, path: Path, layout: SqliteSchema) -> None:
    """Check whose file it is before anything in it is changed, and make the tables of a new one."""
    connection.execute("BEGIN")  # one view of all three: another process may be making the file right now
    application = int(_pragma(connection, "application_id"))
    version = int(_pragma(connection, "user_version"))
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    connection.execute("COMMIT")
    if not (application or version or tables):
        _create_tables(connection, layout)
    elif application != layout.application:
        raise DataError(
            f'"{path}" is a database of another program, or no {layout.what}.',
            f"Name another file for the {layout.holds}s.",
        )
    elif version > layout.version:
        raise DataError(
            f'The {layout.what} "{path}" has version {version}, this anomalist reads up to {layout.version}.',
            "Upgrade: pip install --upgrade anomalist",
        )
    if _pragma(connection, "quick_check(1)") != "ok":
        raise DataError(f'The {layout.what} "{path}" is damaged.', _MOVE_AWAY)
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")  # what was committed outlives a power cut


def _create_tables(connection: sqlite3.Connection, layout: SqliteSchema) -> None:
    _enable_wal(connection)
    with transaction(connection):
        if int(_pragma(connection, "user_version")):
            return  # another process was faster
        for statement in layout.tables.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {layout.application}")
        connection.execute(f"PRAGMA user_version = {layout.version}")


def _enable_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL, where readers and a writer don't wait for each other; the file keeps it.

    SQLite itself doesn't wait when several processes switch at once.
    """
    deadline = time.monotonic() + WAIT
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _pragma(connection: sqlite3.Connection, name: str) -> str:
    return str(connection.execute(f"PRAGMA {name}").fetchone()[0])
