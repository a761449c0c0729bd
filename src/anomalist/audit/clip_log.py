"""The run folder of videos: one row a clip in ``clips.jsonl``; what is done stays done."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from anomalist.audit.rows import append_row, open_rows, rows_of
from anomalist.clips import CLIP_FORMAT, ClipRecord
from anomalist.errors import DataError

CLIPS = "clips.jsonl"


class ClipFolder:
    """The results of triage; use it in a ``with`` statement to add to it, locked against other processes.

    Raises DataError if the folder can't be written, is being written, or holds a damaged row.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO | None = open_rows(path, CLIPS)
        try:
            self._by_source = {record.source: record for record in read_clips(path)}
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let other processes write again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def done(self, source: str, key: str) -> ClipRecord | None:
        """The record of this clip under this key, or None. A clip that failed is never done."""
        record = self._by_source.get(source)
        return record if record is not None and record.status == "ok" and record.key == key else None

    def append(self, record: ClipRecord) -> None:
        """Store the record of one clip.

        Raises DataError if it can't be written; nothing of it remains then.
        """
        if self._file is None:
            raise ValueError("this folder is closed")
        append_row(self._file, record.model_dump_json().encode(), self.path)
        self._by_source[record.source] = record


def read_clips(folder: Path) -> list[ClipRecord]:
    """Read the rows: the last one of each source, in the order in which the sources first appeared.

    Raises DataError if there are none, a row is damaged, or of a newer format.
    """
    path = folder / CLIPS
    if not path.is_file():
        raise DataError(f'"{folder}" holds no {CLIPS}.', "Make it with: anomalist triage … --out DIR")
    return list({record.source: record for record in (_parse(path, *row) for row in rows_of(path))}.values())


def _parse(path: Path, number: int, line: bytes) -> ClipRecord:
    try:
        row = json.loads(line)
        written = row.get("format", CLIP_FORMAT)
        if written <= CLIP_FORMAT:
            return ClipRecord.model_validate(row)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f'Line {number} of "{path}" is damaged.', "Remove it: only its clip is done again."
        ) from error
    raise DataError(
        f'Line {number} of "{path}" has format {written}; this version reads up to {CLIP_FORMAT}.',
        "Upgrade anomalist.",
    )
