"""Conversation store: LangGraph checkpoints in one row store, and what each conversation is about.

Nothing is pickled: checkpoints are msgpack, from which only messages and plain values are read back. Pictures
are stored as references (path and hash), never as pixels. Only the last checkpoint of each conversation is
kept; it holds all of its messages.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from anomalist.agent.tools.subject import Subject
from anomalist.errors import AnomalistError, DataError
from anomalist.settings import Settings
from anomalist.storage.files import utc_now
from anomalist.storage.row_store import RowStore
from anomalist.storage.sqlite import SqliteSchema
from anomalist.types.clip import ClipRecord
from anomalist.types.common import Frozen
from anomalist.types.image import Record

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage
    from langgraph.checkpoint.base import BaseCheckpointSaver


MAX_NAME_CHARS = 80

CONVERSATIONS_LAYOUT = SqliteSchema(
    "file of conversations",
    "conversation",
    0x616E6F63,  # "anoc"
    1,
    """
CREATE TABLE conversations (
  name TEXT PRIMARY KEY,
  about TEXT NOT NULL,
  pictures TEXT NOT NULL,
  clips TEXT NOT NULL,
  created TEXT NOT NULL,
  updated TEXT NOT NULL,
  turns INTEGER NOT NULL
) STRICT
""",
    carried=False,  # the messages are in tables of LangGraph's, which differ
)

_PICTURES = TypeAdapter(tuple[Record, ...])
_CLIPS = TypeAdapter(tuple[ClipRecord, ...])


class ConversationEntry(Frozen):
    """Name, start, times and number of turns of one conversation."""

    name: str
    about: Mapping[str, Any]
    created: str
    updated: str
    turns: int


class Conversations(RowStore):
    """The conversations in one row store, made where there is none; a context manager.

    Every method raises DataError, which names the file, when it is damaged, locked or can't be written.

    Parameters
    ----------
    path : the file; by default ``conversations.sqlite`` in the home of the settings.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._closing = ExitStack()
        # LangGraph runs tools in other threads; the saver serialises access with a lock.
        super().__init__(path or Settings().home / "conversations.sqlite", CONVERSATIONS_LAYOUT, threads=True)

    @cached_property
    def saver(self) -> BaseCheckpointSaver[str]:
        """LangGraph's checkpoint saver on these rows."""
        from anomalist.agent.chat.checkpoints import opened_saver

        with self._rows.errors():
            return self._closing.enter_context(opened_saver(self._rows))

    def close(self) -> None:
        """End the connections."""
        self._closing.close()
        super().close()

    def list(self) -> tuple[ConversationEntry, ...]:
        """All conversations, the most recent first."""
        with self._rows.errors():
            rows = self._rows.execute(
                "SELECT name, about, created, updated, turns FROM conversations ORDER BY updated DESC, name"
            ).fetchall()
        return tuple(self._entry(row) for row in rows)

    def find(self, name: str) -> ConversationEntry | None:
        """The conversation with a name, if there is one."""
        with self._rows.errors():
            row = self._rows.execute(
                "SELECT name, about, created, updated, turns FROM conversations WHERE name = ?", [name]
            ).fetchone()
        return None if row is None else self._entry(row)

    def free_name(self, wanted: str) -> str:
        """``wanted``, or with a number appended if a conversation has that name."""
        base = "".join(c if c.isprintable() else " " for c in wanted).strip()[: MAX_NAME_CHARS - 5] or "chat"
        taken = {entry.name for entry in self.list()}
        number = 2
        name = base
        while name in taken:
            name, number = f"{base}-{number}", number + 1
        return name

    def save_subject(self, name: str, about: Mapping[str, Any], subject: Subject) -> None:
        """Store what a conversation is about; with its records, unless they are in a run folder."""
        if not name.strip() or len(name) > MAX_NAME_CHARS or not name.isprintable():
            raise DataError(
                f"A conversation can't be called {name[:MAX_NAME_CHARS]!r}.",
                f"1 to {MAX_NAME_CHARS} printable characters.",
            )
        store_records = "run" not in about
        pictures = _PICTURES.dump_json(subject.records if store_records else ()).decode()
        clips = _CLIPS.dump_json(subject.clips if store_records else ()).decode()
        time = utc_now()
        with self._rows.errors(), self._rows.transaction():
            self._rows.execute(
                "INSERT INTO conversations VALUES (?, ?, ?, ?, ?, ?, 0) ON CONFLICT (name) DO UPDATE SET"
                " about = excluded.about, pictures = excluded.pictures, clips = excluded.clips,"
                " updated = excluded.updated",
                [name, json.dumps(about), pictures, clips, time, time],
            )

    def records(self, name: str) -> tuple[tuple[Record, ...], tuple[ClipRecord, ...]]:
        """The records of pictures and of clips that were stored with a conversation."""
        with self._rows.errors():
            row = self._rows.execute(
                "SELECT pictures, clips FROM conversations WHERE name = ?", [name]
            ).fetchone()
        if row is None:
            raise DataError(f"There is no conversation {name!r}.", "List them: anomalist chat --list")
        try:
            return _PICTURES.validate_json(row["pictures"]), _CLIPS.validate_json(row["clips"])
        except ValidationError as error:
            raise self._damaged(name) from error

    def messages(self, name: str) -> tuple[BaseMessage, ...]:
        """All messages of a conversation, in order; none for a new one."""
        with self.checkpoint_errors(name):
            stored = self.saver.get_tuple({"configurable": {"thread_id": name}})
        return () if stored is None else tuple(stored.checkpoint["channel_values"].get("messages", ()))

    def finish_turn(self, name: str, turns: int) -> None:
        """Store the number of turns, and delete all checkpoints but the last."""
        with self._rows.errors():
            self.saver.prune([name])
            self._rows.execute(
                "UPDATE conversations SET turns = ?, updated = ? WHERE name = ?", [turns, utc_now(), name]
            )

    def database_errors(self) -> AbstractContextManager[None]:
        """Translate what the database says into a DataError that names it."""
        return self._rows.database_errors()

    @contextmanager
    def checkpoint_errors(self, name: str) -> Iterator[None]:
        """Translate the errors of a damaged checkpoint into a DataError."""
        with self._rows.errors():
            try:
                yield
            except AnomalistError:
                raise
            except (ValueError, TypeError, KeyError, AttributeError, NotImplementedError) as error:
                raise self._damaged(name) from error

    def _entry(self, row: Mapping[str, Any]) -> ConversationEntry:
        try:
            return ConversationEntry(
                **{
                    **{key: row[key] for key in ConversationEntry.model_fields},
                    "about": json.loads(row["about"]),
                }
            )
        except ValueError as error:
            raise self._damaged(row["name"]) from error

    def _damaged(self, name: str) -> DataError:
        return DataError(
            f'The conversation {name!r} in "{self.place}" is damaged.', "Begin another one with --name."
        )
