"""What runs on the nodes: an actor that has batches of pictures measured, judged and stored.

All of it is done in a process below each actor (`WorkerPool`), which alone loads the network: a picture that
kills it is tried twice and set aside, and the actor lives on.
"""

from __future__ import annotations

import dataclasses
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from anomalist.cluster.mapping import failure_columns
from anomalist.cluster.sources import Fetched, fetch_all, named
from anomalist.composition import InspectionSettings
from anomalist.errors import AnomalistError, DataError, MediaError
from anomalist.pipeline import Inspector
from anomalist.storage.files import digest_of, temporary_folder, write_atomically
from anomalist.storage.run_folder import inspection_key, store_arrays
from anomalist.types.image import Evidence, Inspection, Media, Record
from anomalist.vision.detectors.base import MAX_BATCH_PICTURES
from anomalist.vision.evidence import EvidenceSource, MeasuredPicture
from anomalist.vision.parallel import check_version, lost_item, measure_each
from anomalist.vision.worker_pool import LostItem, Work, WorkerPool


@dataclasses.dataclass(frozen=True)
class Picture:
    """One picture of a batch.

    Parameters
    ----------
    source : where it is.
    key : under which it was inspected before, or nothing.
    lost : how two processes have ended that worked on it; it is not read again then.
    """

    source: str
    key: str
    lost: str = ""


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
        os.environ.update(task.environment)
        self._pool: WorkerPool[Picture, Record | None] = WorkerPool(partial(_open_work, task), 1)

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        """Inspect the pictures of a batch ("source", "key"); the numbers of new and of old ones.

        The rows are on the disk when this returns.
        """
        pictures = [
            Picture(str(source), str(key)) for source, key in zip(batch["source"], batch["key"], strict=True)
        ]
        try:
            rows = list(self._rows(pictures))
            write_part(self._task.parts, self._task.turn, rows)
        except AnomalistError as error:
            self._pool.close()
            return _told(0, 0, error)
        return _told(len(rows), len(pictures) - len(rows), None)

    def _rows(self, pictures: Sequence[Picture]) -> Iterator[Record]:
        lost = []
        for picture, record in self._pool.work(pictures, MAX_BATCH_PICTURES):
            if isinstance(record, LostItem):
                lost.append(dataclasses.replace(picture, lost=record.words))
            elif record is not None:
                yield record
        for _, record in self._pool.work(lost, MAX_BATCH_PICTURES):
            assert isinstance(record, Record)  # nothing is read that could kill a process
            yield record


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


def _open_work(task: ActorTask) -> Work[Picture, Record | None]:
    """Open what the driver has; raises DataError or ProfileError where this node has something else."""
    if not task.parts.is_dir():
        raise DataError(
            f'"{task.run}" is not there on the node {platform.node()}.',
            "Name a folder for the results that all nodes share.",
        )
    inspector = Inspector(task.settings)
    source = inspector.evidence_source
    check_version(source.name, source.digest, task.digest)
    check_version(f"rules, cases or policy of {source.name}", inspector.settings_digest, task.settings_digest)
    return partial(_inspect_batch, inspector, task)


def _inspect_batch(
    inspector: Inspector, task: ActorTask, pictures: Sequence[Picture]
) -> Iterator[Record | None]:
    """The records of pictures, whose maps are stored; None for one that is as it was inspected before."""
    with temporary_folder() as folder:
        fetched = _fetched(pictures, folder)
        keys = [picture_key(task, each.source, each.sha256) if each.sha256 else "" for each in fetched]
        new = [not key or key != picture.key for key, picture in zip(keys, pictures, strict=True)]
        to_judge = [each for each, is_new in zip(fetched, new, strict=True) if is_new]
        inspections = inspector.judge_measured(_measured(inspector.evidence_source, to_judge))
        for each, is_new in zip(fetched, new, strict=True):
            yield _stored(task, next(inspections), each.sha256) if is_new else None


def _fetched(pictures: Sequence[Picture], folder: Path) -> list[Fetched]:
    copies = iter(fetch_all((picture.source for picture in pictures if not picture.lost), folder))
    return [
        Fetched(named(picture.source), None, None, lost_item(picture.source, picture.lost))
        if picture.lost
        else next(copies)
        for picture in pictures
    ]


def _measured(source: EvidenceSource, fetched: Sequence[Fetched]) -> Iterator[MeasuredPicture]:
    """Measure what could be fetched, in order, without a test of the run."""
    results = measure_each(source, [each.file for each in fetched if each.file is not None])
    for each in fetched:
        if each.file is None:
            assert each.error is not None  # why there is no file
            yield each.source, None, each.error
        else:
            yield each.source, *_renamed(*next(results), each.file, each.source)


def _stored(task: ActorTask, inspection: Inspection, sha256: str | None) -> Record:
    record = inspection.record
    if record.sha256 is None:
        record = record.replace(sha256=sha256)
        inspection = dataclasses.replace(inspection, record=record)
    return store_arrays(task.run, inspection, picture_key(task, record.source, record.sha256))


def _renamed(
    media: Media | None, evidence: Evidence | AnomalistError, file: str, source: str
) -> tuple[Media | None, Evidence | AnomalistError]:
    """Say the address where the copy of a picture was read."""
    if file == source:
        return media, evidence
    if isinstance(evidence, AnomalistError):
        evidence = MediaError(evidence.message.replace(file, source), evidence.remedy)
    return media and dataclasses.replace(media, source=source), evidence
