"""Batches spread over actors by Ray Data: the one engine of inspecting, measuring and embedding on a cluster.

Ray Data gives actors no more than they can take, adds actors while there is work, and gives the batches of a
node that died to others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from anomalist.cluster.connection import RayOptions, last_line, most_actors
from anomalist.errors import AnomalistError, DataError

BATCHES_PER_ACTOR = 4
"""At least, where there is little to do: so that the work can be spread."""

Columns = Mapping[str, Sequence[Any]]
"""A batch: values by the name of their column, all of one length."""


def map_on_actors(
    worker: type,
    told: Sequence[object],
    columns: Columns,
    most: int,
    options: RayOptions,
) -> Iterator[Mapping[str, Any]]:
    """The rows that actors return for batches of rows, batch after batch in the order in which they are done.

    Parameters
    ----------
    worker : made once in each actor with ``told``; called with a batch, returns the columns of its rows. A
        row with an ``error``, not empty, and its ``remedy`` ends the run; see `failure_columns`.
    columns : of all rows; plain values.
    most : rows of a batch at most.
    options : which cluster; the connection is open.

    Raises
    ------
    DataError : a row says so, or Ray has ended the run.
    """
    import pyarrow as pa
    import ray
    import ray.data

    actors, count = most_actors(options), len(next(iter(columns.values())))
    size = max(1, min(most, -(-count // (actors * BATCHES_PER_ACTOR))))
    ray.data.DataContext.get_current().enable_progress_bars = False
    blocks = [
        pa.table({name: list(values[start : start + size]) for name, values in columns.items()})
        for start in range(0, count, size)
    ]
    rows = ray.data.from_arrow(blocks).map_batches(
        worker,
        fn_constructor_args=tuple(told),
        batch_size=size,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=min(actors, len(blocks))),
        num_cpus=1,
        num_gpus=options.gpus or None,
    )
    try:
        for row in rows.iter_rows():
            if row["error"]:
                raise DataError(row["error"], row["remedy"])
            yield row
    except ray.exceptions.RayError as error:
        raise DataError(
            f"Ray has ended the run: {last_line(error)}",
            "Run the same command again: what is done stays done.",
        ) from error


def failure_columns(error: AnomalistError | None, rows: int = 1) -> dict[str, list[str]]:
    """The columns that say what is wrong on a node, for so many rows; empty where nothing is."""
    return {
        "error": ["" if error is None else error.message] * rows,
        "remedy": ["" if error is None else error.remedy] * rows,
    }
