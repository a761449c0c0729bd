"""Results kept by content: what was measured on the same data, with the same settings, code and model.

A row is one unit of work (a picture, or a whole run) under a key over everything that decides its result. A
run that is killed leaves whole rows only; run again, it does what is missing, and nothing is counted twice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, TypeVar

from pydantic import BaseModel, ValidationError

from anomalist.storage.files import append_row, digest_of, open_rows, read_rows
from anomalist.vision.media.images import source_digest

RUNS = "runs"
"""Name of the file of whole runs."""

RowT = TypeVar("RowT", bound=BaseModel)

_PACKAGE = Path(__file__).parents[1]


@cache
def code_digest() -> str:
    """Hex SHA-256 over the package's modules, tables, prompts and weights: changed ones measure anew."""
    digest = hashlib.sha256()
    files = (path for path in _PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    for path in sorted(files):
        digest.update(path.relative_to(_PACKAGE).as_posix().encode() + b"\0")
        digest.update(path.read_bytes())
    return digest.hexdigest()


def content_key(*parts: str | float | None) -> str:
    """Key of a result: hex SHA-256 over the code and everything else that decides it."""
    return digest_of(code_digest(), *parts)


def files_digest(paths: Iterable[Path]) -> str:
    """Hex SHA-256 over names and contents of files or pages, in order; one that can't be read is "missing".

    A folder counts with the files in it.
    """
    digest = hashlib.sha256()
    for path in paths:
        try:
            inside = sorted(path.iterdir()) if path.is_dir() else []
            content = files_digest(inside) if inside else source_digest(path)
        except OSError:
            content = "missing"
        digest.update(f"{path.name}\0{content}\n".encode())
    return digest.hexdigest()


class ResultCache:
    """Rows of results by key, in one JSON Lines file that one process at a time appends to.

    Parameters
    ----------
    folder : of the file; made when it is not there.
    name : of the file, without its ending.

    Raises
    ------
    DataError : the folder can't be written to, or another process writes to the file.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._file: BinaryIO = open_rows(folder, f"{name}.jsonl")
        self._rows: dict[str, bytes] = {}
        for _, row in read_rows(folder / f"{name}.jsonl"):
            key = row[:64].decode("ascii", "replace")
            self._rows[key] = row[65:]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __contains__(self, key: str) -> bool:
        return key in self._rows

    def get(self, key: str, model: type[RowT]) -> RowT | None:
        """The row of a key; None where there is none, or none that can be read."""
        row = self._rows.get(key)
        if row is None:
            return None
        try:
            return model.model_validate_json(row)
        except ValidationError:  # damaged on the disk: measured again
            return None

    def put(self, key: str, value: BaseModel) -> None:
        """Append a row; it counts once it is on the disk.

        Raises
        ------
        DataError : it can't be written, for instance because the disk is full.
        """
        row = json.dumps(json.loads(value.model_dump_json()), ensure_ascii=False).encode()
        append_row(self._file, key.encode() + b"\t" + row, self._folder)
        self._rows[key] = row
