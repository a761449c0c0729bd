"""Write a file whole or not at all."""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path

from anomalist.errors import DataError


def write_whole(target: Path, content: str | bytes) -> Path:
    """Write to a neighbour, put it on the disk, then in the place of ``target``; return ``target``.

    Text is written as UTF-8; what UTF-8 can't hold (file names that aren't text) becomes ``\\udcXX``.

    Raises
    ------
    DataError
        If the folder can't be made or the file can't be written. No half file stays behind.
    """
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex[:12]}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as problem:
        raise DataError(
            f"{target} can't be written: {problem.strerror or problem}.",
            "Name another place, or make room there.",
        ) from problem
    _sync_folder(target.parent)
    return target


def _sync_folder(folder: Path) -> None:
    """Put the new name itself on the disk; some systems can't, and keep it anyway."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
