"""Atomic file writes, file hashes, and locked append-only JSON Lines.

A file is written whole or not at all. A row counts once its newline is on the disk, so an interrupted run
leaves whole rows only; one process at a time appends.
"""

from __future__ import annotations

import datetime
import errno
import hashlib
import json
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from anomalist.errors import DataError

_TRIES = 5  # to open a file that others replace; some file systems can't tell whether it was


def write_atomically(target: Path, content: str | bytes) -> Path:
    """Write to a neighbour, put it on the disk, then in the place of ``target``; return ``target``.

    Text is written as UTF-8; what UTF-8 can't hold (file names that aren't text) becomes ``\\udcXX``.

    Raises
    ------
    DataError
        If the folder can't be made or the file can't be written. No half file stays behind.
    """
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with staged_file(target) as staged:
            staged.write_bytes(data)
    except OSError as error:
        raise write_error(target, error) from error
    return target


@contextmanager
def staged_file(target: Path) -> Iterator[Path]:
    """A path beside ``target`` to write to: its file is renamed to ``target`` in the end.

    When writing fails or is interrupted, what was at ``target`` stays, and nothing else does. Raises OSError
    when the file can't be synced or renamed.
    """
    staged = staged_path(target)
    try:
        yield staged
        sync_file(staged)
        staged.replace(target)
    finally:
        with suppress(OSError):
            staged.unlink(missing_ok=True)
    sync_folder(target.parent)


@contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """A folder beside ``target`` that takes its place when all went well and vanishes when not.

    When that fails, the folder that was at ``target`` stays. Raises OSError when it can't be made, synced or
    renamed: also where another process was first.
    """
    folder = staged_path(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
        yield folder
        for path in (*folder.rglob("*"), folder):
            (sync_folder if path.is_dir() else sync_file)(path)
        replace_folder(target, folder)
        sync_folder(target.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


_TEMPORARY, _LOCK = "anomalist-files-", ".lock"


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder that vanishes in the end; removes those whose processes were killed before they could.

    Its owner holds a lock on a file in it for as long as it lives.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{_TEMPORARY}*"):
        with suppress(OSError), (left / _LOCK).open("rb") as lock:
            if _try_lock(lock):
                shutil.rmtree(left, ignore_errors=True)
    while True:
        with (
            tempfile.TemporaryDirectory(prefix=_TEMPORARY, ignore_cleanup_errors=True) as name,
            (Path(name) / _LOCK).open("wb") as lock,
        ):
            if _try_lock(lock) is not False and Path(name).is_dir():  # else somebody took it for a left one
                yield Path(name)
                return


def replace_folder(place: Path, folder: Path) -> None:
    """Rename ``folder`` to ``place``; when that fails, what was there stays there."""
    if not place.exists():
        folder.rename(place)
        return
    old = folder.with_suffix(".old")
    place.rename(old)
    try:
        folder.rename(place)
    except BaseException:  # an interrupt must not lose it either
        old.rename(place)
        raise
    shutil.rmtree(old, ignore_errors=True)


def staged_path(target: Path) -> Path:
    """A hidden name beside ``target`` that nothing else has, for what is to take its place."""
    return target.with_name(f".{target.name[:40]}-{secrets.token_hex(6)}.part")


def sync_file(path: Path) -> None:
    """Put the content of a file on the disk."""
    with path.open("rb+") as file:  # Windows syncs only what is open for writing
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk; some systems can't, and keep them anyway."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes, read in pieces. Raises OSError when it can't be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def changed_since(path: Path, sha256: str) -> str | None:
    """What happened to a file of that hash: "is gone" or "has changed"; None where nothing did.

    Raises OSError when the file can't be read.
    """
    if not path.is_file():
        return "is gone"
    return None if file_sha256(path) == sha256 else "has changed"


def utc_now() -> str:
    """The time as stored records have it: UTC, ISO 8601, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def digest_of(*parts: str | float | None) -> str:
    """Hex SHA-256 over settings, unambiguous in where one ends and the next begins."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def open_rows(folder: Path, name: str) -> BinaryIO:
    """Open a JSON Lines file to append to, locked until it is closed; an incomplete last row is dropped.

    Raises
    ------
    DataError
        If the folder is a file, can't be written, or another process writes to it.
    """
    for left in reversed(range(_TRIES)):
        file = _open_to_append(folder, name)
        try:
            _lock(file, folder)
            if _is_at(file, folder / name) or not left:
                _truncate_partial_row(file, folder / name)
                break
        except BaseException:
            file.close()
            raise
        file.close()  # another process put a new file there: rows would be written to one without a name
    return file


def replace_rows(file: BinaryIO, path: Path, rows: str) -> BinaryIO:
    """Write a JSON Lines file again; returns it, opened and locked as by `open_rows`.

    Nobody else can write to it meanwhile. Raises DataError when it can't be written; the old one stays then,
    as it was opened.

    Parameters
    ----------
    file : the old one, from `open_rows`; it is closed.
    """
    if sys.platform == "win32":
        file.close()  # an open file can't be replaced there, and none is locked
        write_atomically(path, rows)
        return open_rows(path.parent, path.name)
    with ExitStack() as opened:
        try:
            with staged_file(path) as staged:
                staged.write_bytes(rows.encode("utf-8", "backslashreplace"))
                new = opened.enter_context(staged.open("ab", buffering=0))
                _lock(new, path.parent)  # before it has its name
        except OSError as error:
            raise write_error(path, error) from error
        opened.pop_all()
    file.close()
    return new


def read_rows(path: Path) -> list[tuple[int, bytes]]:
    """Every whole row with its line number; a last line without its newline doesn't count.

    Raises DataError when the file can't be read.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise DataError(f'"{path}" can\'t be read: {error.strerror}.') from error
    return [(number, line) for number, line in enumerate(lines[:-1], start=1) if line.strip()]


def append_row(file: BinaryIO, row: bytes, folder: Path) -> None:
    """Append a row and its newline, all of it or nothing.

    Raises DataError when it can't be written, for instance because the disk is full.
    """
    end = file.seek(0, os.SEEK_END)
    try:
        rest = memoryview(row + b"\n")
        while rest:  # a nearly full disk takes a part
            rest = rest[file.write(rest) :]
        os.fsync(file.fileno())
    except BaseException as error:  # an interruption by the user as well
        with suppress(OSError):
            file.truncate(end)
        if isinstance(error, OSError):
            raise write_error(folder, error) from error
        raise


def is_full(error: OSError) -> bool:
    """Whether something can't be written because there is no room for it."""
    return error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)


def write_error(path: Path, error: OSError) -> DataError:
    """Say in words that a place can't be written to."""
    if is_full(error):
        return DataError(
            f'The disk is full: "{path}" can\'t be written ({error.strerror}).',
            "Make room and run the same command again: what is done stays done.",
        )
    return DataError(
        f'"{path}" can\'t be written: {error.strerror or error}.', "Name a folder that you may write to."
    )


def _open_to_append(folder: Path, name: str) -> BinaryIO:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return (folder / name).open("ab", buffering=0)  # unbuffered: nothing half written at exit
    except (FileExistsError, NotADirectoryError) as error:
        raise DataError(f'"{folder}" is not a folder.', "Name a folder for the results.") from error
    except OSError as error:
        raise write_error(folder, error) from error


def _is_at(file: BinaryIO, path: Path) -> bool:
    """Whether an open file is still the one at a path."""
    if sys.platform == "win32":
        return True  # an open file can't be replaced there
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
    except OSError as error:
        raise write_error(path, error) from error


def _truncate_partial_row(file: BinaryIO, path: Path) -> None:
    try:
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            file.truncate(whole)
    except OSError as error:
        raise write_error(path.parent, error) from error


def _try_lock(file: BinaryIO) -> bool | None:
    """Take the lock on a file; whether that was done, or None where there are no locks."""
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _lock(file: BinaryIO, path: Path) -> None:
    """Take the advisory lock that closing the file (or the end of the process) gives back."""
    if _try_lock(file) is False:
        raise DataError(f'Another anomalist is writing to "{path}".', "Wait for it, or name another folder.")
