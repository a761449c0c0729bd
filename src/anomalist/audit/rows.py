"""Rows in a file of JSON Lines: appended whole or not at all, by one process at a time.

A row counts once its newline is on the disk, so an interrupted run leaves whole rows only.
"""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from anomalist.errors import DataError


def open_rows(folder: Path, name: str) -> BinaryIO:
    """Open a file of rows to append to, locked until it is closed; a row that a crash has torn is dropped.

    Raises
    ------
    DataError
        If the folder is a file, can't be written, or another process writes to it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / name).open("ab", buffering=0)  # unbuffered: nothing half written at exit
    except (FileExistsError, NotADirectoryError) as error:
        raise DataError(f'"{folder}" is not a folder.', "Name a folder for the results.") from error
    except OSError as error:
        raise unwritable(folder, error) from error
    try:
        _lock(file, folder)
        _drop_torn_row(file, folder / name)
    except BaseException:
        file.close()
        raise
    return file


def rows_of(path: Path) -> list[tuple[int, bytes]]:
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
            raise unwritable(folder, error) from error
        raise


def unwritable(path: Path, error: OSError) -> DataError:
    """Say in words that a place can't be written to."""
    if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
        return DataError(
            f'The disk is full: "{path}" can\'t be written ({error.strerror}).',
            "Make room and run the same command again: what is done stays done.",
        )
    return DataError(f'"{path}" can\'t be written: {error.strerror}.', "Name a folder that you may write to.")


def _drop_torn_row(file: BinaryIO, path: Path) -> None:
    try:
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            file.truncate(whole)
    except OSError as error:
        raise unwritable(path.parent, error) from error


def _lock(file: BinaryIO, path: Path) -> None:
    """Take the advisory lock that closing the file (or the end of the process) gives back."""
    if sys.platform == "win32":
        return
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise DataError(
            f'Another anomalist is writing to "{path}".', "Wait for it, or name another folder."
        ) from error
    except OSError:  # a file system without locks: go on unguarded
        return
