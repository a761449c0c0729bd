"""Run folders as tables: read row by row, with an index on disk for large ones.

What was read stays in an index in the home of the settings, and only rows that were appended since are read
again. Where no index can be kept, the tables live in memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from anomalist.errors import DataError
from anomalist.memory.cases import Case
from anomalist.querying.tables import (
    RECORDED,
    RunSource,
    Tables,
    base_table,
    connect,
    create_tables,
    fill_tables,
    sql_text,
    with_views,
)
from anomalist.settings import Settings
from anomalist.storage.files import utc_now
from anomalist.storage.run_folder import CLIPS, RECORDS, ClipRunFolder, ImageRunFolder, RunFolder

if TYPE_CHECKING:
    import duckdb

CHUNK = 20_000
"""Records that are held as objects while a run folder is read."""

INDEX_FROM_BYTES = 4_000_000
"""Size of a file of records from which an index is kept on disk; smaller ones are read each time."""

_LAYOUT = 3
"""Version of the tables in an index; another one is made anew."""

_TAIL = 4096


def tables_of_runs(folders: Sequence[Path], cases: Iterable[Case] = ()) -> Tables:
    """Tables of one or several run folders, and of feedback on their sources.

    Raises DataError when there is none, one is no run folder, or a row is damaged or of a newer format.
    """
    if not folders:
        raise DataError("There is no run to ask.", "Name a folder that inspect --out or triage --out wrote.")
    connection = connect()
    sources = []
    try:
        for number, folder in enumerate(folders):
            schema = f"run{number}"
            files = _record_files(folder)
            if sum(path.stat().st_size for _, path in files) >= INDEX_FROM_BYTES and (
                index := _updated_index(folder, files)
            ):
                connection.execute(f"ATTACH {sql_text(str(index))} AS {schema} (READ_ONLY)")
            else:
                connection.execute(f"ATTACH ':memory:' AS {schema}")
                create_tables(connection, schema)
                for kind, path in files:
                    _read_rows(connection, schema, kind, path, 0)
                _keep_last(connection, schema)
            sources.append(RunSource(str(folder), schema))
        return with_views(connection, sources, cases)
    except BaseException:
        connection.close()
        raise


def _record_files(folder: Path) -> list[tuple[type[RunFolder[Any]], Path]]:
    """The files of records of a run folder; a file of records may be named itself."""
    if folder.name in (RECORDS, CLIPS):
        folder = folder.parent
    kinds: tuple[type[RunFolder[Any]], ...] = (ImageRunFolder, ClipRunFolder)
    found = [(kind, folder / kind.file_name) for kind in kinds if (folder / kind.file_name).is_file()]
    if not found:
        raise DataError(
            f'"{folder}" is not a run folder: it has no {RECORDS} and no {CLIPS}.',
            "Make one with: anomalist inspect … --out DIR",
        )
    return found


def _read_rows(
    connection: duckdb.DuckDBPyConnection, schema: str, kind: type[RunFolder[Any]], path: Path, start: int
) -> int:
    """Add the whole rows of a file from a byte on; returns the byte behind the last of them."""
    offset = start
    number = _highest_number(connection, schema) + 1
    try:
        with path.open("rb") as file:
            line_number = 0 if start == 0 else _lines_before(file, start)
            file.seek(start)
            lines = _whole_lines(file)
            while batch := list(itertools.islice(lines, CHUNK)):
                records = []
                for line in batch:
                    line_number += 1
                    offset += len(line)
                    if line.strip():
                        records.append(kind.parse_row(line, line_number, path.parent))
                fill_tables(connection, schema, records, number)
                number += len(records)
    except OSError as error:
        raise DataError(f'"{path}" can\'t be read: {error.strerror}.') from error
    return offset


def _whole_lines(file: BinaryIO) -> Iterator[bytes]:
    for line in file:
        if line.endswith(b"\n"):
            yield line


def _lines_before(file: BinaryIO, end: int) -> int:
    """Line feeds before a byte, for messages that name a line."""
    file.seek(0)
    left, found = end, 0
    while left > 0 and (block := file.read(min(left, 1 << 20))):
        found += block.count(b"\n")
        left -= len(block)
    return found


def _highest_number(connection: duckdb.DuckDBPyConnection, schema: str) -> int:
    sql = " UNION ALL ".join(
        f"SELECT max(number) FROM {schema}.{base_table(t)}" for t in ("pictures", "clips")
    )
    return max((row[0] for row in connection.execute(sql).fetchall() if row[0] is not None), default=-1)


def _keep_last(connection: duckdb.DuckDBPyConnection, schema: str) -> None:
    """Drop rows of records that a later record of the same source replaced."""
    for whole, parts in (("pictures", ("regions",)), ("clips", ("events",))):
        stale = (
            f"SELECT number FROM {schema}.{whole}_rows "
            "QUALIFY row_number() OVER (PARTITION BY source ORDER BY number DESC) > 1"
        )
        numbers = [row[0] for row in connection.execute(stale).fetchall()]
        if not numbers:
            continue
        for table in (whole, *parts, "claims", "rules"):
            connection.execute(
                f"DELETE FROM {schema}.{table}_rows WHERE number IN (SELECT unnest(?))", [numbers]
            )


class _Mark(NamedTuple):
    """What identifies the part of a file that an index holds."""

    file: str
    inode: int
    modified: int
    offset: int
    tail: str


def index_path(folder: Path) -> Path:
    """Where the index of a run folder is kept."""
    digest = hashlib.sha256(str(folder.resolve()).encode("utf-8", "backslashreplace")).hexdigest()[:16]
    return Settings().home / "queries" / f"{digest}.duckdb"


def _updated_index(folder: Path, files: Sequence[tuple[type[RunFolder[Any]], Path]]) -> Path | None:
    """The index of a run folder, brought up to date; None where none can be written now."""
    import duckdb

    path = index_path(folder)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and _is_current(path, files):
            return path
        with contextlib.closing(connect(path)) as connection:
            _update(connection, files)
    except (OSError, duckdb.Error):
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        return None
    return path


def _is_current(path: Path, files: Sequence[tuple[type[RunFolder[Any]], Path]]) -> bool:
    import duckdb

    try:
        connection = duckdb.connect(str(path), read_only=True)
    except duckdb.Error:
        return False
    with contextlib.closing(connection):
        marks = _marks(connection)
    return all(_is_whole(marks.get(file.name), file) for _, file in files)


def _update(
    connection: duckdb.DuckDBPyConnection, files: Sequence[tuple[type[RunFolder[Any]], Path]]
) -> None:
    """Add what was appended; make the tables anew where a file isn't what was indexed with more behind it."""
    marks = _marks(connection)
    known = [(_is_prefix(marks.get(file.name), file), marks.get(file.name)) for _, file in files]
    connection.execute("BEGIN")
    if not all(same for same, _ in known):
        marks = {}
        for table in [*map(base_table, RECORDED), "marks"]:
            connection.execute(f"DROP TABLE IF EXISTS {table}")
        create_tables(connection, "main")
        connection.execute(
            "CREATE TABLE marks (file VARCHAR, inode UBIGINT, modified BIGINT, tail_offset BIGINT, "
            "tail VARCHAR, layout INTEGER, made VARCHAR)"
        )
    for kind, file in files:
        mark = marks.get(file.name)
        status = file.stat()
        end = _read_rows(connection, "main", kind, file, mark.offset if mark else 0)
        connection.execute("DELETE FROM marks WHERE file = ?", [file.name])
        connection.execute(
            "INSERT INTO marks VALUES (?, ?, ?, ?, ?, ?, ?)",
            [file.name, status.st_ino, status.st_mtime_ns, end, _tail(file, end), _LAYOUT, utc_now()],
        )
    _keep_last(connection, "main")
    connection.execute("COMMIT")


def _marks(connection: duckdb.DuckDBPyConnection) -> Mapping[str, _Mark]:
    import duckdb

    try:
        found = connection.execute(
            "SELECT file, inode, modified, tail_offset, tail FROM marks WHERE layout = ?", [_LAYOUT]
        ).fetchall()
    except duckdb.Error:
        return {}
    return {row[0]: _Mark(*row) for row in found}


def _is_prefix(mark: _Mark | None, file: Path) -> bool:
    """Whether the indexed part is still the beginning of the file: the same file, that only grew."""
    status = file.stat()
    return (
        mark is not None
        and status.st_ino == mark.inode
        and status.st_size >= mark.offset
        and (status.st_size > mark.offset or status.st_mtime_ns == mark.modified)
        and _tail(file, mark.offset) == mark.tail
    )


def _is_whole(mark: _Mark | None, file: Path) -> bool:
    """Whether all whole rows of the file are indexed."""
    status = file.stat()
    return mark is not None and status.st_mtime_ns == mark.modified and status.st_ino == mark.inode


def _tail(file: Path, end: int) -> str:
    """Digest of the last bytes before ``end``."""
    with file.open("rb") as opened:
        opened.seek(max(0, end - _TAIL))
        return hashlib.sha256(opened.read(min(_TAIL, end))).hexdigest()
