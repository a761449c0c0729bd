"""Measuring on a cluster: actors hold an evidence source; what they measure is handed over in order.

All else stays in the process that asked, as with several processes of one machine
(`anomalist.vision.parallel`): the test of the run for drift, memory, reasoning, and what is written.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from anomalist.cluster.connection import RayOptions, connected, told_environment
from anomalist.cluster.mapping import failure_columns, map_on_actors
from anomalist.errors import AnomalistError
from anomalist.vision.detectors.base import MAX_BATCH_PICTURES
from anomalist.vision.evidence import EvidenceSource, MeasuredPicture
from anomalist.vision.parallel import EvidenceOpener, evidence_opener, lost_item, open_work, watched
from anomalist.vision.worker_pool import LostItem, WorkerPool


class MeasuringActor:
    """Measures batches of pictures, in a process below it: what kills that is set aside, and it lives on.

    Parameters
    ----------
    opener, digest : of the evidence source.
    environment : variables that the driver has.
    """

    def __init__(self, opener: EvidenceOpener, digest: str, environment: Mapping[str, str]) -> None:
        os.environ.update(environment)
        self._pool: WorkerPool[str | Path, Any] = WorkerPool(partial(open_work, opener, digest), 1)

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        """Measure the pictures of a batch ("number", "source"); a row each, or one with an error."""
        from ray import cloudpickle

        numbers, sources = list(map(int, batch["number"])), list(map(str, batch["source"]))
        try:
            found = [cloudpickle.dumps(result) for _, result in self._pool.work(sources, MAX_BATCH_PICTURES)]
        except AnomalistError as error:
            return {"number": numbers[:1], "measured": [b""], **failure_columns(error)}
        return {"number": numbers, "measured": found, **failure_columns(None, len(numbers))}

    def close(self) -> None:
        """End the process below it."""
        self._pool.close()


def measure_on_cluster(
    source: EvidenceSource, paths: Iterable[str | Path], options: RayOptions
) -> Iterator[MeasuredPicture]:
    """Measure pictures as ``source.measure`` does, on a cluster whose nodes see the same files.

    A picture that has killed two processes gets an error in place of its evidence.

    Raises
    ------
    DataError : the cluster can't be reached; the source can't be opened elsewhere, or is another version on a
        node.
    """
    return watched(source, _measure_in_order(source, list(paths), options))


def _measure_in_order(
    source: EvidenceSource, paths: Sequence[str | Path], options: RayOptions
) -> Iterator[MeasuredPicture]:
    columns = {"number": range(len(paths)), "source": [str(Path(path).absolute()) for path in paths]}
    told = (evidence_opener(source), source.digest, told_environment())
    early: dict[int, bytes] = {}
    due = 0
    with connected(options):
        for row in map_on_actors(MeasuringActor, told, columns, MAX_BATCH_PICTURES, options):
            early[row["number"]] = row["measured"]
            while due in early:
                yield measured_picture(paths[due], early.pop(due))
                due += 1


def measured_picture(path: str | Path, row: bytes) -> MeasuredPicture:
    """What an actor has measured on a picture; an error where it has killed two processes."""
    from ray import cloudpickle  # what Ray itself sends Python objects with

    result = cloudpickle.loads(row)
    if isinstance(result, LostItem):
        return path, None, lost_item(path, result.words)
    return path, *result
