"""What runs on the nodes: an actor that measures, judges and stores batches of pictures.

The network is in a process of its own below each actor (`WorkerPool`), so that a picture that kills it is
tried twice and set aside, and the actor lives on.
"""

from __future__ import annotations

import dataclasses
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from anomalist.cluster.mapping import failure_columns
from anomalist.cluster.sources import fetch_all, named
from anomalist.composition import InspectionSettings
from anomalist.errors import AnomalistError, DataError, MediaError
from anomalist.pipeline import Inspector
from anomalist.storage.files import digest_of, write_atomically
from anomalist.storage.run_folder import inspection_key, store_arrays
from anomalist.types.image import Evidence, Inspection, Media, Record
from anomalist.vision.detectors.base import MAX_BATCH_PICTURES
from anomalist.vision.evidence import EvidenceSource, MeasuredPicture, RunWatcher
from anomalist.vision.parallel import (
    EvidenceOpener,
    check_version,
    evidence_opener,
    lost_item,
    open_checked,
)
from anomalist.vision.worker_pool import LostItem, Work, WorkerPool

Picture = tuple[str, str]
"""Where a picture is, and the key under which it was inspected before, or nothing."""


@dataclasses.dataclass(frozen=True)
class PictureResult:
    """What was measured on one picture; ``done`` where it is as it was inspected before."""

    sha256: str | None
    media: Media | None = None
    evidence: Evidence | AnomalistError | None = None
    done: bool = False


@dataclasses.dataclass(frozen=True)
class ActorTask:
    """What all actors of a run are told.

    Parameters
    ----------
    settings : of the inspector, all of which can be pickled.
    digest, settings_digest : of the evidence source and of all else, as the driver has them.
    parts : folder for the rows, in the run folder, that all nodes see.
    turn : of this run among those into the folder: clocks of nodes say nothing about what is newer.
    run : the run folder.
    environment : variables that the driver has.
    """

    settings: InspectionSettings
    digest: str
    settings_digest: str
    run: Path
    parts: Path
    turn: int
    environment: Mapping[str, str]


class PictureActor:
    """Inspects batches of pictures and stores what it finds; see `ActorTask`.

    What the user can mend (another version of the profile, a full disk) is returned as a row, not raised, so
    that Ray doesn't try it again.
    """

    def __init__(self, task: ActorTask) -> None:
        self._task = task
        self._failure: AnomalistError | None = None
        os.environ.update(task.environment)
        try:
            if not task.parts.is_dir():
                raise DataError(
                    f'"{task.run}" is not there on the node {platform.node()}.',
                    "Name a folder for the results that all nodes share.",
                )
            self._inspector = Inspector(task.settings)
            source = self._inspector.evidence_source
            check_version(source.name, source.digest, task.digest)
            check_version(
                f"rules, cases or policy of {source.name}",
                self._inspector.settings_digest,
                task.settings_digest,
            )
            opening = partial(_open_work, evidence_opener(source), task)
            self._pool: WorkerPool[Picture, PictureResult] = WorkerPool(opening, 1)
        except AnomalistError as error:
            self._failure = error

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        """Inspect the pictures of a batch ("source", "key"); the numbers of new and of old ones.

        The rows are on the disk when this returns.
        """
        pictures = list(zip(map(str, batch["source"]), map(str, batch["key"]), strict=True))
        new = 0
        try:
            if self._failure is not None:
                raise self._failure
            rows = list(self._rows(pictures))
            new = len(rows)
            write_part(self._task.parts, self._task.turn, rows)
        except AnomalistError as error:
            if self._failure is None:
                self._pool.close()
            return _told(0, 0, error)
        return _told(new, len(pictures) - new, None)

    def _rows(self, pictures: Sequence[Picture]) -> Iterator[Record]:
        digests: list[str | None] = []

        def measured() -> Iterator[MeasuredPicture]:
            for (source, _), result in self._pool.work(pictures, MAX_BATCH_PICTURES):
                if isinstance(result, LostItem):
                    digests.append(None)
                    yield named(source), None, lost_item(source, result.words)
                elif not result.done:
                    assert result.evidence is not None  # what is not done was measured, or has its error
                    digests.append(result.sha256)
                    yield named(source), result.media, result.evidence

        for number, inspection in enumerate(self._inspector.judge_measured(measured())):
            yield self._stored(inspection, digests[number])

    def _stored(self, inspection: Inspection, sha256: str | None) -> Record:
        record = inspection.record
        if record.sha256 is None:
            inspection = dataclasses.replace(inspection, record=record.replace(sha256=sha256))
        key = picture_key(self._task, record.source, inspection.record.sha256)
        return store_arrays(self._task.run, inspection, key)


def picture_key(task: ActorTask, source: str, sha256: str | None) -> str:
    """The content key of a picture: the same as on one machine."""
    return inspection_key(source, sha256, task.digest, task.settings_digest)


def _told(new: int, old: int, error: AnomalistError | None) -> dict[str, list[Any]]:
    return {"new": [new], "old": [old], **failure_columns(error)}


def write_part(folder: Path, turn: int, records: Sequence[Record]) -> None:
    """Write the rows of a batch as one Parquet file, whole or not at all, named after turn and keys.

    So a batch that is done twice, as its node was lost, is there once. Raises DataError when it can't be
    written.
    """
    if not records:
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table(
        {
            "key": [record.key for record in records],
            "source": [record.source for record in records],
            "status": [record.status for record in records],
            "label": pa.array([record.label for record in records], pa.string()),
            "score": pa.array([record.score for record in records], pa.float64()),
            "severity": pa.array([record.severity for record in records], pa.int64()),
            "row": [record.model_dump_json() for record in records],
        }
    )
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    name = digest_of(*sorted(str(record.key) for record in records))[:32]
    write_atomically(folder / f"{turn:06d}-{name}.parquet", sink.getvalue().to_pybytes())


def turn_of(part: Path) -> int:
    """The turn in which a Parquet file was written."""
    turn, _, rest = part.stem.partition("-")
    return int(turn) if rest and turn.isdecimal() else 0


def _open_work(opener: EvidenceOpener, task: ActorTask) -> Work[Picture, PictureResult]:
    return partial(_measure_batch, open_checked(opener, task.digest), task)


def _measure_batch(
    source: EvidenceSource, task: ActorTask, pictures: Sequence[Picture]
) -> Iterator[PictureResult]:
    """Read and measure pictures but those that are as they were inspected before."""
    measure = source.measure_each if isinstance(source, RunWatcher) else source.measure
    with TemporaryDirectory(prefix="anomalist-") as folder:
        fetched = fetch_all((picture for picture, _ in pictures), Path(folder))
        done = {
            number
            for number, each in enumerate(fetched)
            if each.sha256 and pictures[number][1] == picture_key(task, each.source, each.sha256)
        }
        to_read = [
            each.file for number, each in enumerate(fetched) if each.file is not None and number not in done
        ]
        results = iter(measure(to_read))
        for number, each in enumerate(fetched):
            if number in done:
                yield PictureResult(each.sha256, done=True)
            elif each.file is None:
                yield PictureResult(None, None, each.error)
            else:
                _, media, evidence = next(results)
                yield PictureResult(each.sha256, *_renamed(media, evidence, each.file, each.source))


def _renamed(
    media: Media | None, evidence: Evidence | AnomalistError, file: str, source: str
) -> tuple[Media | None, Evidence | AnomalistError]:
    """Say the address where the copy of a picture was read."""
    if file == source:
        return media, evidence
    if isinstance(evidence, AnomalistError):
        evidence = MediaError(evidence.message.replace(file, source), evidence.remedy)
    return media and dataclasses.replace(media, source=source), evidence
