"""An outbox on disk: what could not be delivered yet is tried again, also by the next process."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Condition, Thread
from typing import Self

from anomalist.errors import DataError

MAX_WAITING = 10_000
"""Messages to one receiver that wait at most; with more, the oldest is dropped, and that is told."""

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0
"""Seconds after a failed delivery, doubled with each further one."""

LAST_SECONDS = 5.0
"""Seconds for which what waits is still delivered when the process ends."""

_TABLE = """
CREATE TABLE IF NOT EXISTS messages (
  number INTEGER PRIMARY KEY AUTOINCREMENT, target TEXT NOT NULL, id TEXT NOT NULL, topic TEXT NOT NULL,
  body TEXT NOT NULL
)
"""


class DeliveryError(Exception):
    """A message was not taken; ``final`` where the receiver refused it, so that trying again is of no use."""

    def __init__(self, reason: str, *, final: bool = False) -> None:
        super().__init__(reason)
        self.final = final


class Outbox:
    """Delivers messages to one receiver in order, in a thread of its own; a context manager.

    A message is on disk before `put` returns and leaves it once it was delivered: it is delivered at least
    once, and its id is the same each time. One that can't be stored is lost, and that is told: what makes
    results goes on.

    Parameters
    ----------
    file : SQLite database; several outboxes and processes may share it.
    target : name of the receiver, without secrets.
    deliver : sends (id, topic, body); raises DeliveryError.
    on_failure : called with one sentence on what fails, once until something is delivered again.

    Raises DataError when the file can't be written.
    """

    def __init__(
        self,
        file: Path,
        target: str,
        deliver: Callable[[str, str, str], None],
        on_failure: Callable[[str], None],
    ) -> None:
        self._file, self._target, self._deliver, self._complain = file, target, deliver, on_failure
        self._changed = Condition()
        self._ending: float | None = None
        self._told: set[str] = set()  # what fails since something was delivered
        self.dropped = 0
        self._lost = 0  # of those, what could not be stored
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._store = self._connect()
            with self._store:
                self._store.execute(_TABLE)
        except (OSError, sqlite3.Error) as error:
            raise DataError(f"The outbox {file} can't be opened: {error}.") from error
        self._thread = Thread(target=self._run, name=f"outbox {target}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Deliver what waits for a few seconds; what is left stays on disk."""
        with self._changed:
            self._ending = time.monotonic() + LAST_SECONDS
            self._changed.notify_all()
        self._thread.join()
        left = 0
        with suppress(sqlite3.Error):  # the thread has told it
            left = self.waiting()
        self._store.close()
        if left:
            self._complain(f"{left} messages to {self._target} wait on disk; the next run sends them.")
        if self._lost:
            self._complain(f"{self._lost} messages to {self._target} could not be stored, and are lost.")

    def put(self, id: str, topic: str, body: str) -> None:
        """Store a message and have it delivered."""
        try:
            with self._changed:
                with self._store:
                    self._store.execute(
                        "INSERT INTO messages (target, id, topic, body) VALUES (?, ?, ?, ?)",
                        (self._target, id, topic, body),
                    )
                    gone = self._store.execute(
                        "DELETE FROM messages WHERE target = ? AND number <= (SELECT number FROM messages "
                        "WHERE target = ? ORDER BY number DESC LIMIT 1 OFFSET ?)",
                        (self._target, self._target, MAX_WAITING),
                    ).rowcount
                self._changed.notify_all()
        except sqlite3.Error as error:
            self._lost += 1
            self.dropped += 1
            self._tell("lost", f"the outbox {self._file} can't be written ({error})")
            return
        if gone > 0:
            self.dropped += gone
            self._tell("dropped", "too many messages wait; the oldest are dropped")

    def waiting(self) -> int:
        """How many messages to this receiver are not delivered yet."""
        asked = "SELECT COUNT(*) FROM messages WHERE target = ?"
        (count,) = self._store.execute(asked, (self._target,)).fetchone()
        return int(count)

    def _connect(self) -> sqlite3.Connection:
        store = sqlite3.connect(self._file, timeout=10, check_same_thread=False)
        store.execute("PRAGMA journal_mode = WAL")
        return store

    def _run(self) -> None:
        store: sqlite3.Connection | None = None
        pause = FIRST_PAUSE
        try:
            while True:
                try:
                    store = store or self._connect()
                    done = self._deliver_next(store)
                    if done is None and not self._wait(None, partial(self._has_next, store)):
                        return
                except sqlite3.Error as error:
                    self._tell("failed", f"the outbox {self._file} can't be used ({error})")
                    done = False
                except Exception as error:  # nobody would start this thread again; its words may hold secrets
                    self._tell("failed", f"it can't be sent ({type(error).__name__})")
                    done = False
                if done is not False:
                    pause = FIRST_PAUSE
                elif not self._wait(pause, lambda: False):
                    return
                else:
                    pause = min(2 * pause, LONGEST_PAUSE)
        finally:
            if store is not None:
                store.close()

    def _has_next(self, store: sqlite3.Connection) -> bool:
        return self._next(store) is not None

    def _next(self, store: sqlite3.Connection) -> tuple[int, str, str, str] | None:
        """Number, id, topic and body of the message that waits longest."""
        asked = "SELECT number, id, topic, body FROM messages WHERE target = ? ORDER BY number LIMIT 1"
        row: tuple[int, str, str, str] | None = store.execute(asked, (self._target,)).fetchone()
        return row

    def _deliver_next(self, store: sqlite3.Connection) -> bool | None:
        """Whether the next message is done with: delivered, or refused for good; None where there is none."""
        row = self._next(store)
        if row is None:
            return None
        number, id, topic, body = row
        try:
            self._deliver(id, topic, body)
        except DeliveryError as error:
            self._tell("failed", str(error))
            if not error.final:
                return False
            self.dropped += 1
        else:
            self._told.clear()
        with store:
            store.execute("DELETE FROM messages WHERE number = ?", (number,))
        return True

    def _wait(self, seconds: float | None, ready: Callable[[], bool]) -> bool:
        """Wait until something is ready or the time is over; False at the end of the process."""
        with self._changed:
            if self._ending is not None:
                left = self._ending - time.monotonic()
                if left <= 0 or seconds is None:
                    return ready()
                self._changed.wait(min(seconds, left))
                return True
            self._changed.wait_for(lambda: self._ending is not None or ready(), seconds)
            return True

    def _tell(self, what: str, reason: str) -> None:
        if what not in self._told:
            self._told.add(what)
            self._complain(f"{self._target} did not take a message: {reason}.")
