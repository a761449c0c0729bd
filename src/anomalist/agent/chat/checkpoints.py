"""LangGraph's checkpoint savers on a row store, in SQLite or PostgreSQL. Only the last checkpoint is kept.

It imports LangGraph, so that it is imported where a conversation is opened.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver

from anomalist.errors import DataError
from anomalist.storage.row_store import Rows
from anomalist.storage.sqlite import SqliteRows


class PruningSqliteSaver(SqliteSaver):
    """The saver for SQLite, with the `prune` that the one for PostgreSQL has."""

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Delete all checkpoints of threads but the last."""
        if strategy != "keep_latest":
            raise ValueError(f"unknown strategy {strategy!r}")
        with self.cursor() as cursor:
            for thread in thread_ids:
                for table in ("checkpoints", "writes"):
                    cursor.execute(
                        f"DELETE FROM {table} WHERE thread_id = :thread AND checkpoint_id <"
                        " (SELECT max(checkpoint_id) FROM checkpoints WHERE thread_id = :thread)",
                        {"thread": thread},
                    )
        self.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@contextmanager
def opened_saver(rows: Rows) -> Iterator[BaseCheckpointSaver[str]]:
    """The saver on rows, with its tables; its own connection, where it has one, ends with the context."""
    # None: only messages and plain values are deserialised, whatever is stored.
    strict = JsonPlusSerializer(pickle_fallback=False, allowed_msgpack_modules=None)
    if isinstance(rows, SqliteRows):
        saver = PruningSqliteSaver(rows.connection, serde=strict)
        saver.setup()
        yield saver
        return
    from anomalist.storage.postgres import PostgresRows

    assert isinstance(rows, PostgresRows)
    try:
        from langgraph.checkpoint.postgres import PostgresSaver
    except ModuleNotFoundError as error:
        raise DataError(
            "Conversations in PostgreSQL need langgraph-checkpoint-postgres.",
            "pip install 'anomalist[server]'",
        ) from error
    with rows.connect(bound_there=True) as connection:
        shared = PostgresSaver(connection, serde=strict)
        with rows.lock(connection):
            shared.setup()
        yield shared
