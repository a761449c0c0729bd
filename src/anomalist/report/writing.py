"""Write a file whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from anomalist.errors import DataError


def write_whole(target: Path, content: str | bytes) -> Path:
    """Write to a temporary neighbour, then put it in the place of ``target``; return ``target``.

    Text is written as UTF-8; what UTF-8 can't hold (file names that aren't text) becomes ``\\udcXX``.

    Raises
    ------
    DataError
        If the folder can't be made or the file can't be written. No half file stays behind.
    """
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_bytes(data)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as problem:
        raise DataError(
            f"{target} can't be written: {problem.strerror or problem}.",
            "Name another place, or make room there.",
        ) from problem
    return target
