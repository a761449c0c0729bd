"""Run folders: ``records.jsonl`` with anomaly maps and masks for pictures, ``clips.jsonl`` for video.

The arrays are written before the row that names them, and a row counts once its newline is on the disk. So an
interrupted run leaves whole rows only; the next one goes on behind the last of them and skips what is done.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np

from anomalist.errors import DataError
from anomalist.storage.files import append_row, digest_of, open_rows, read_rows, write_error
from anomalist.types.clip import CLIP_FORMAT, ClipRecord
from anomalist.types.image import RECORD_FORMAT, Inspection, Record

RECORDS = "records.jsonl"


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


class RunFolder:
    """The results of inspecting pictures; ``open`` one to add to it, construct one to read it.

    ``records.jsonl`` holds the rows, ``maps/`` the anomaly maps (float32 .npy), ``masks/`` the masks (.png,
    255 inside a region), ``calibration/`` the scores of the normals that the p-values rest on.

    Parameters
    ----------
    path : an existing run folder.

    Raises
    ------
    DataError
        If there are no records in it.
    """

    def __init__(self, path: Path) -> None:
        if not (path / RECORDS).is_file():
            raise DataError(
                f'"{path}" is not a run folder: it has no {RECORDS}.', "Make one with inspect --out."
            )
        self.path = path
        self._file: BinaryIO | None = None
        self._keys: dict[str, str] = {}  # by source: of its last row, where that is done
        self._done: set[str] = set()

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a run folder to add to it, create it where there is none, drop a row that a crash cut off.

        The folder is locked against other processes until ``close``; use it in a ``with`` statement.

        Raises
        ------
        DataError
            If it is a file, can't be written, is being written by another process, or has a damaged row.
        """
        file = open_rows(path, RECORDS)
        try:
            run = cls(path)
            for record in run._rows():
                run._remember(record)
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

    def done(self, key: str) -> bool:
        """Tell whether the last row of a picture has this key.

        A picture that could not be read is never done: it may have been mended since. Nor is one whose
        model failed: it may be there again.
        """
        return key in self._done

    def append(self, inspection: Inspection, key: str) -> Record:
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
            If it can't be written, for instance because the disk is full. Nothing of it remains then.
        """
        if self._file is None:
            raise ValueError("this run folder was not opened for writing: use RunFolder.open(path)")
        stored: dict[str, Any] = {"key": key, "map": None, "mask": None}
        evidence = inspection.evidence
        if evidence is not None and inspection.record.status == "ok":
            stored["map"] = f"maps/{key[:16]}.npy"
            stored["mask"] = f"masks/{key[:16]}.png"
            self._write(stored["map"], _npy(evidence.score_map))
            self._write(stored["mask"], _png(evidence.mask))
        record = inspection.record.replace(**stored)
        append_row(self._file, record.model_dump_json().encode(), self.path)
        self._remember(record)
        return record

    def records(self) -> list[Record]:
        """Read the rows: the last one of each source, in the order in which the sources first appeared.

        Raises
        ------
        DataError
            If a row is damaged, or of a newer format than this version knows.
        """
        return list({record.source: record for record in self._rows()}.values())

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
        self._write(_calibration_file(digest), text.encode())

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
        digests = {record.profile_digest for record in records if record.profile_digest}
        found = {digest: self.calibration(digest) for digest in sorted(digests)}
        return {digest: content for digest, content in found.items() if content is not None}

    def _rows(self) -> Iterator[Record]:
        """Yield every whole row; a last line without a newline is incomplete (a crash) and doesn't count."""
        for number, line in read_rows(self.path / RECORDS):
            yield self._parse(line, number)

    def _parse(self, line: bytes, number: int) -> Record:
        place = f'Line {number} of "{self.path / RECORDS}"'
        try:
            row = json.loads(line)
            newer = isinstance(row, dict) and row.get("format", RECORD_FORMAT) > RECORD_FORMAT
            if not newer:
                return Record.model_validate(row)
        except (ValueError, TypeError, RecursionError) as error:
            raise DataError(
                f"{place} is damaged.", "Remove that line and inspect again: only its picture is done again."
            ) from error
        raise DataError(
            f"{place} has format {row['format']}; this version of anomalist reads up to {RECORD_FORMAT}.",
            "Upgrade anomalist.",
        )

    def _remember(self, record: Record) -> None:
        """Let this row stand for its source, in place of what was there before."""
        before = self._keys.pop(record.source, None)
        if before is not None:
            self._done.discard(before)
        unreadable = record.status == "error" and record.sha256 is None
        model_failed = record.status == "ok" and record.error is not None
        if record.key is not None and not unreadable and not model_failed:
            self._keys[record.source] = record.key
            self._done.add(record.key)

    def _write(self, name: str, content: bytes) -> None:
        """Write a file below the folder, all of it or nothing."""
        path = self.path / name
        part = path.with_name(f".{path.name}.part")
        try:
            path.parent.mkdir(exist_ok=True)
            with part.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except BaseException as error:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise write_error(self.path, error) from error
            raise


def _calibration_file(digest: str) -> str:
    return f"calibration/{digest[:16]}.json"


def _npy(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    return buffer.getvalue()


def _png(mask: np.ndarray) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(buffer, "PNG")
    return buffer.getvalue()


CLIPS = "clips.jsonl"


class ClipRunFolder:
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
    return list(
        {
            record.source: record for record in (_parse_clip_row(path, *row) for row in read_rows(path))
        }.values()
    )


def _parse_clip_row(path: Path, number: int, line: bytes) -> ClipRecord:
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
