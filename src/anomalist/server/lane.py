"""One thread that does what people wait for, in order, with room for a few who wait.

Pictures are inspected on all cores at a time, so that a second thread would only make each request slower.
Requests of one kind that wait together are done together.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from anomalist.server.problems import BusyError

Batch = Callable[[Sequence[Any]], Sequence[Any]]


@dataclass(eq=False)
class _Waiting:
    """One request: ``work`` does several of one ``key`` at a time, each given by its ``item``."""

    key: Hashable
    item: Any
    work: Batch
    future: Future[Any] = field(default_factory=Future)


class Lane:
    """Does requests one after another in a thread of its own.

    Parameters
    ----------
    room : requests that may wait; the next one is refused.
    together : requests of one key that are done at once, at most.
    """

    def __init__(self, room: int, together: int = 8) -> None:
        self._room = room
        self._together = together
        self._waiting: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._seconds = 0.5
        self._thread = threading.Thread(target=self._run, name="lane", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        return len(self._waiting)

    def submit(self, work: Callable[[], Any]) -> Future[Any]:
        """Do something by itself. Raises BusyError where too many wait."""
        return self.submit_batched(object(), None, lambda _: [work()])

    def submit_batched(self, key: Hashable, item: Any, work: Batch) -> Future[Any]:  # noqa: ANN401
        """Do something together with others of the same key that wait.

        Parameters
        ----------
        item : what this request is about.
        work : gets the items of all requests of this key and returns their results, in order.

        Raises BusyError where too many wait.
        """
        with self._changed:
            if self._closed or len(self._waiting) >= self._room:
                after = max(1, round(self._seconds * len(self._waiting)))
                raise BusyError("The server is busy.", f"Try again in {after} s.", after=after)
            waiting = _Waiting(key, item, work)
            self._waiting.append(waiting)
            self._changed.notify()
        return waiting.future

    def close(self) -> None:
        """Finish what waits, then end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while (batch := self._next()) is not None:
            began = time.perf_counter()
            live = [each for each in batch if each.future.set_running_or_notify_cancel()]
            if not live:
                continue
            try:
                results = live[0].work([each.item for each in live])
            except BaseException as error:
                for each in live:
                    each.future.set_exception(error)
            else:
                for each, result in zip(live, results, strict=True):
                    each.future.set_result(result)
            spent = (time.perf_counter() - began) / len(live)
            self._seconds = 0.8 * self._seconds + 0.2 * spent

    def _next(self) -> list[_Waiting] | None:
        with self._changed:
            while not self._waiting:
                if self._closed:
                    return None
                self._changed.wait()
            first = self._waiting.popleft()
            alike = [each for each in self._waiting if each.key == first.key][: self._together - 1]
            for each in alike:
                self._waiting.remove(each)
            return [first, *alike]
