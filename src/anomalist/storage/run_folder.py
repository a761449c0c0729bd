"""Run folders: ``records.jsonl`` with anomaly maps and masks for pictures, ``clips.jsonl`` for video.

A row counts once its newline is on the disk, and the arrays are written before the row that names them. So an
interrupted run leaves whole rows only; the next one goes on behind the last of them and skips what is done.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, ClassVar, Generic, Self, TypeVar

import numpy as np

from anomalist.errors import DataError
from anomalist.storage.files import (
    append_row,
    digest_of,
    open_rows,
    read_rows,
    replace_rows,
    write_atomically,
)
from anomalist.types.clip import CLIP_FORMAT, ClipRecord
from anomalist.types.image import RECORD_FORMAT, Inspection, Record

RECORDS = "records.jsonl"
CLIPS = "clips.jsonl"
ALERTS = "alerts.jsonl"
"""What was told of live streams, a row an alert."""
RecordT = TypeVar("RecordT", Record, ClipRecord)


def inspection_key(source: str, sha256: str | None, profile_digest: str, settings: str) -> str:
    """Return what identifies one inspection, as 64 hex digits: a rerun skips what is done under this key.

    Parameters
    ----------
    source : the path as the user gave it.
    sha256 : of the file's bytes, or None if it could not be read.
    profile_digest : of the profile that inspects.
    settings : whatever else changes the outcome (false-alarm rate, policy, reasoner), as text.
    """
    # As JSON no two different lists look alike, whatever characters are in them.
    return digest_of(source, sha256, profile_digest, settings)


def is_settled(record: Record | ClipRecord) -> bool:
    """Whether a record is not to be tried again: the file could be read, and no model failed."""
    unreadable = record.status == "error" and record.sha256 is None
    model_failed = record.status == "ok" and record.error is not None
    return not (unreadable or model_failed)


class RunFolder(Generic[RecordT]):
    """The records of a run, one a source; ``open`` a folder to add to it, construct one to read it.

    Parameters
    ----------
    path : an existing run folder.

    Raises
    ------
    DataError
        If there are no records in it, a row is damaged, or of a newer format than this version knows.
    """

    file_name: ClassVar[str]
    record_type: ClassVar[type[Any]]
    record_format: ClassVar[int]
    """The newest that this version reads."""
    item: ClassVar[str]
    """What one record is about, for messages."""
    command: ClassVar[str]
    """What makes such a folder: a command of the CLI."""

    def __init__(self, path: Path) -> None:
        if not (path / self.file_name).is_file():
            raise DataError(
                f'"{path}" is not a run folder: it has no {self.file_name}.',
                f"Make one with: anomalist {self.command} … --out DIR",
            )
        self.path = path
        self._file: BinaryIO | None = None
        rows = read_rows(path / self.file_name)
        parsed = (self.parse_row(line, number, path) for number, line in rows)
        self._records: dict[str, RecordT] = {record.source: record for record in parsed}

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a run folder to add to it, create it where there is none, drop a row that a crash cut off.

        The folder is locked against other processes until ``close``; use it in a ``with`` statement.

        Raises
        ------
        DataError
            If it is a file, can't be written, is being written by another process, or has a damaged row.
        """
        file = open_rows(path, cls.file_name)
        try:
            run = cls(path)
        except BaseException:
            file.close()
            raise
        run._file = file
        return run

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

    def records(self) -> list[RecordT]:
        """The last record of each source, in the order in which the sources first appeared."""
        return list(self._records.values())

    def records_of(self, sources: Iterable[str]) -> list[RecordT]:
        """The last record of each of some sources that has one, in their order."""
        return [self._records[source] for source in sources if source in self._records]

    def done(self, source: str, key: str) -> RecordT | None:
        """The record of a source, where it was made under this key and nothing is to be tried again.

        A file that could not be read is never done: it may have been mended since. Nor is one whose model
        failed: it may be there again.
        """
        record = self._records.get(source)
        return record if record is not None and record.key == key and is_settled(record) else None

    def append(self, record: RecordT) -> RecordT:
        """Store a record, in place of what there was of its source; returns it.

        Raises DataError if it can't be written, for instance because the disk is full; nothing of it remains
        then.
        """
        append_row(self._opened(), record.model_dump_json().encode(), self.path)
        self._records[record.source] = record
        return record

    def replace(self, records: Iterable[RecordT]) -> None:
        """Write the file again with one row a source: of these records, and of all other sources as they are.

        Raises DataError if it can't be written; the old rows stay then.
        """
        locked = self._opened()
        changed = self._records | {record.source: record for record in records}
        rows = "".join(f"{record.model_dump_json()}\n" for record in changed.values())
        self._file = replace_rows(locked, self.path / self.file_name, rows)
        self._records = changed

    def _opened(self) -> BinaryIO:
        if self._file is None:
            raise ValueError(
                f"this run folder was not opened for writing: use {type(self).__name__}.open(path)"
            )
        return self._file

    @classmethod
    def parse_row(cls, line: bytes, number: int, path: Path) -> RecordT:
        """The record of one row; ``number`` and ``path`` are of its line and folder, for messages.

        Raises DataError if the row is damaged, or of a newer format than this version knows.
        """
        place = f'Line {number} of "{path / cls.file_name}"'
        try:
            row = json.loads(line)
            newer = isinstance(row, dict) and row.get("format", cls.record_format) > cls.record_format
            if not newer:
                record: RecordT = cls.record_type.model_validate(row)
                return record
        except (ValueError, TypeError, RecursionError) as error:
            raise DataError(
                f"{place} is damaged.",
                f"Remove that line and run {cls.command} again: only its {cls.item} is done again.",
            ) from error
        raise DataError(
            f"{place} has format {row['format']}; this anomalist reads up to {cls.record_format}.",
            "Upgrade anomalist.",
        )


class ClipRunFolder(RunFolder[ClipRecord]):
    """The results of triage: ``clips.jsonl`` holds the rows."""

    file_name, item, command = CLIPS, "clip", "triage"
    record_type, record_format = ClipRecord, CLIP_FORMAT


class ImageRunFolder(RunFolder[Record]):
    """The results of inspecting pictures.

    ``records.jsonl`` holds the rows, ``maps/`` the anomaly maps (float32 .npy, and those of an ensemble's
    experts, .safetensors), ``masks/`` the masks (.png, 255 inside a region), ``calibration/`` the scores of
    the normals that the p-values rest on.
    """

    file_name, item, command = RECORDS, "picture", "inspect"
    record_type, record_format = Record, RECORD_FORMAT

    def append_inspection(self, inspection: Inspection, key: str) -> Record:
        """Store one inspection: its arrays first, then its row.

        Parameters
        ----------
        inspection : the arrays of its evidence are stored, if it has any.
        key : see ``inspection_key``.

        Returns
        -------
        The record as it is stored, with ``key``, and ``map`` and ``mask`` relative to the folder.

        Raises
        ------
        DataError
            If it can't be written, for instance because the disk is full. No row of it remains then.
        """
        self._opened()
        return self.append(store_arrays(self.path, inspection, key))

    def write_calibration(
        self,
        name: str,
        digest: str,
        scores: list[float],
        groups: list[str] | None,
        extra: dict[str, Any],
    ) -> None:
        """Keep what the p-values rest on, so that a report needs no profile.

        Parameters
        ----------
        name, digest : of the profile.
        scores : of the calibration pictures.
        groups : of the same pictures, or None.
        extra : anything else that JSON can hold.

        Raises
        ------
        DataError
            If it can't be written.
        """
        content = {
            "name": name,
            "digest": digest,
            "scores": [float(score) for score in scores],
            "groups": groups,
            "extra": extra,
        }
        text = json.dumps(content, ensure_ascii=False, allow_nan=False)
        write_atomically(self.path / _calibration_file(digest), text)

    def calibration(self, digest: str) -> dict[str, Any] | None:
        """Read what ``write_calibration`` kept for this profile: its arguments by name, or None.

        Raises
        ------
        DataError
            If the file is damaged.
        """
        path = self.path / _calibration_file(digest)
        try:
            content = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise DataError(f'"{path}" is damaged.', "Remove it and inspect again.") from error
        return content if isinstance(content, dict) and content.get("digest") == digest else None

    def calibrations(self, records: Iterable[Record]) -> dict[str, dict[str, Any]]:
        """What is known of the calibrations that ``records`` rest on, by digest of the profile."""
        digests = {record.calibration_digest for record in records if record.calibration_digest}
        found = {digest: self.calibration(digest) for digest in sorted(digests)}
        return {digest: content for digest, content in found.items() if content is not None}


def store_arrays(folder: Path, inspection: Inspection, key: str) -> Record:
    """Write the arrays of an inspection into a run folder; returns its record, with where they are.

    Any process or machine may do this: the names come from ``key``. Raises DataError as
    `ImageRunFolder.append_inspection` does.
    """
    stored: dict[str, Any] = {"key": key, "map": None, "mask": None}
    evidence = inspection.evidence
    if evidence is not None and inspection.record.status == "ok":
        stored["map"] = f"maps/{key[:16]}.npy"
        stored["mask"] = f"masks/{key[:16]}.png"
        write_atomically(folder / stored["map"], _npy(reduced_map(evidence.score_map)))
        write_atomically(folder / stored["mask"], _png(evidence.mask))
        if evidence.expert_maps:
            write_atomically(folder / expert_maps_file(stored["map"]), _safetensors(evidence.expert_maps))
    return inspection.record.replace(**stored)


def _calibration_file(digest: str) -> str:
    return f"calibration/{digest[:16]}.json"


def expert_maps_file(map_name: str) -> str:
    """Where the maps of an ensemble's experts lie, beside the anomaly map of a record."""
    return f"{map_name.removesuffix('.npy')}.experts.safetensors"


def _safetensors(maps: Mapping[str, np.ndarray]) -> bytes:
    """In half precision: they are only looked at."""
    from safetensors.numpy import save

    stored: bytes = save({name: np.ascontiguousarray(own, np.float16) for name, own in maps.items()})
    return stored


MAX_MAP_PIXELS = 16_000_000
"""Pixels of a stored anomaly map at most; that of a larger picture is stored smaller."""


def stored_map_size(size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of the stored map of a picture: its own, or a whole fraction of it, rounded up."""
    step = math.ceil(math.sqrt(size[0] * size[1] / MAX_MAP_PIXELS))
    return (size[0], size[1]) if step <= 1 else (math.ceil(size[0] / step), math.ceil(size[1] / step))


def reduced_map(values: np.ndarray) -> np.ndarray:
    """The map as it is stored: of a large picture the maximum of each square of pixels."""
    height, width = values.shape
    rows, columns = stored_map_size((height, width))
    if (rows, columns) == (height, width):
        return values
    step = math.ceil(math.sqrt(height * width / MAX_MAP_PIXELS))
    tall = np.maximum.reduceat(values, np.arange(0, height, step), axis=0)
    small: np.ndarray = np.maximum.reduceat(tall, np.arange(0, width, step), axis=1)
    return small


def _npy(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    return buffer.getvalue()


def _png(mask: np.ndarray) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(buffer, "PNG")
    return buffer.getvalue()
