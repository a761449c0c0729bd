"""Conversation store: LangGraph checkpoints in one row store, and what each conversation is about.

Nothing is pickled: checkpoints are msgpack, from which only messages and plain values are read back. Pictures
are stored as references (path and hash), never as pixels. Only the last checkpoint of each conversation is
kept; it holds all of its messages.
"""

from __future__ import annotations

import itertools
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
_NUMBER_CHARS = 5  # that are left for what is appended to a name

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


def check_sources(subject: Subject) -> None:
    """Raise DataError where a conversation would be about nothing."""
    if not (subject.records or subject.clips):
        raise DataError("There is nothing to talk about.", "Name a picture, a clip, or a run folder.")


def name_taken(name: str) -> DataError:
    """The error that there is a conversation of that name."""
    return DataError(
        f"There is a conversation {name!r} already.",
        f'Go on with it: anomalist chat --name "{name}", or choose another name.',
    )


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

    def begin(self, name: str, about: Mapping[str, Any], subject: Subject, *, numbered: bool = False) -> str:
        """Store what a new conversation is about; returns its name, which no other has.

        Parameters
        ----------
        name, about, subject : as in `save_subject`.
        numbered : whether a number is appended where the name is taken.

        Raises
        ------
        DataError : the name is taken, or people can't write it, or there is nothing to talk about.
        """
        check_sources(subject)
        if numbered:
            base = "".join(c if c.isprintable() else " " for c in name).strip()
            name = base = base[: MAX_NAME_CHARS - _NUMBER_CHARS].strip() or "chat"
            numbers = itertools.count(2)
            while not self._write_subject(name, about, subject, "NOTHING"):
                name = f"{base}-{next(numbers)}"
        elif not self._write_subject(name, about, subject, "NOTHING"):
            raise name_taken(name)
        return name

    def save_subject(self, name: str, about: Mapping[str, Any], subject: Subject) -> None:
        """Store what a conversation is about; with its records, unless they are in a run folder."""
        self._write_subject(
            name,
            about,
            subject,
            "UPDATE SET about = excluded.about, pictures = excluded.pictures, clips = excluded.clips,"
            " updated = excluded.updated",
        )

    def _write_subject(self, name: str, about: Mapping[str, Any], subject: Subject, known: str) -> bool:
        """Write the row of a conversation, or do what ``known`` says where it has one; whether it wrote."""
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
            written = self._rows.execute(
                f"INSERT INTO conversations VALUES (?, ?, ?, ?, ?, ?, 0) ON CONFLICT (name) DO {known}",
                [name, json.dumps(about), pictures, clips, time, time],
            )
            return bool(written.rowcount)

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
