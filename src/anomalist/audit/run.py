"""Inspect into a run folder: what is done stays done, and nothing is reported twice."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from anomalist.audit.log import RunFolder, key_of
from anomalist.types import Inspection, Record
from anomalist.vision.examiners import Examiner
from anomalist.vision.media import source_of


class Inspects(Protocol):
    """The part of `anomalist.pipeline.Inspector` that a run needs."""

    @property
    def examiner(self) -> Examiner:
        """What measures, with its calibration."""
        ...

    @property
    def settings_digest(self) -> str:
        """Hex digest of everything else that a decision depends on."""
        ...

    def inspect_many(self, paths: Iterable[str | Path]) -> Iterator[Inspection]:
        """Inspect pictures in order."""
        ...


def unfinished(inspector: Inspects, folder: RunFolder, paths: Sequence[Path]) -> list[Path]:
    """Leave out the paths whose picture, as it is now, has a row by this profile and these settings."""
    return [path for path in paths if not folder.done(_key(inspector, source_of(path), _sha256(path)))]


def inspect_into(inspector: Inspects, folder: RunFolder, paths: Iterable[Path]) -> Iterator[Record]:
    """Inspect pictures and append each to the folder as soon as it is done; yields the stored records.

    The scores of the normals come first, so that reports can draw them without the profile.
    A damaged file that could be opened keeps its hash: the same bytes would fail the same way again.
    """
    calibration = inspector.examiner.calibration
    if calibration is not None:
        folder.write_calibration(
            inspector.examiner.name,
            inspector.examiner.digest,
            calibration.scores.tolist(),
            [str(group) for group in calibration.groups],
            {"method": calibration.method},
        )
    listed, waiting = itertools.tee(paths)
    for path, inspection in zip(waiting, inspector.inspect_many(listed), strict=True):
        record = inspection.record
        if record.sha256 is None:
            record = record.model_copy(update={"sha256": _sha256(path)})
            inspection = dataclasses.replace(inspection, record=record)
        yield folder.append(inspection, _key(inspector, record.source, record.sha256))


def _key(inspector: Inspects, source: str, sha256: str | None) -> str:
    return key_of(source, sha256, inspector.examiner.digest, inspector.settings_digest)


def _sha256(path: Path) -> str | None:
    """Digest of a file, or None when it can't be read: then it is tried again."""
    try:
        if not path.is_file():  # opening a pipe would wait for ever
            return None
        with path.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError:
        return None
