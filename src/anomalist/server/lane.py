"""Threads that do what people wait for, in order, with room for a few who wait.

Scoring uses all cores, decoding, comparing and writing one: with two threads each does the one while the
other does the other; more would only make each request slower. Requests of one kind that wait together are
done together.
"""

from __future__ import annotations

import math
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
    alone: bool
    future: Future[Any] = field(default_factory=Future)


class Lane:
    """Does requests in the order in which they come, in threads of its own.

    Parameters
    ----------
    room : requests that may wait; the next one is refused.
    together : requests of one key that are done at once, at most.
    threads : that work at a time; what is to be done alone is done by one of them, beside the others.
    """

    def __init__(self, room: int, together: int = 8, threads: int = 1) -> None:
        self._room = room
        self._together = together
        self._waiting: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._alone = False
        self._closed = False
        self._seconds = 0.5
        self._threads = [
            threading.Thread(target=self._run, name=f"lane-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def __len__(self) -> int:
        return len(self._waiting)

    def submit(self, work: Callable[[], Any]) -> Future[Any]:
        """Do something by itself, and no other such thing meanwhile. Raises BusyError where too many wait."""
        return self.submit_batched(object(), None, lambda _: [work()], alone=True)

    def submit_batched(
        self,
        key: Hashable,
        item: Any,  # noqa: ANN401
        work: Batch,
        *,
        alone: bool = False,
    ) -> Future[Any]:
        """Do something together with others of the same key that wait.

        Parameters
        ----------
        item : what this request is about.
        work : gets the items of all requests of this key and returns their results, in order.
        alone : whether nothing else that is to be done alone is done meanwhile.

        Raises BusyError where too many wait.
        """
        with self._changed:
            if self._closed or len(self._waiting) >= self._room:
                after = max(1, round(self._seconds * len(self._waiting) / len(self._threads)))
                raise BusyError("The server is busy.", f"Try again in {after} s.", after=after)
            waiting = _Waiting(key, item, work, alone)
            self._waiting.append(waiting)
            self._changed.notify_all()
        return waiting.future

    def close(self) -> None:
        """Finish what waits, then end the threads."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while (batch := self._next()) is not None:
            try:
                self._do(batch)
            finally:
                if batch[0].alone:
                    with self._changed:
                        self._alone = False
                        self._changed.notify_all()

    def _do(self, batch: Sequence[_Waiting]) -> None:
        began = time.perf_counter()
        live = [each for each in batch if each.future.set_running_or_notify_cancel()]
        if not live:
            return
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
            while (first := self._first()) is None:
                if self._closed and not self._waiting:
                    return None
                self._changed.wait()
            alike = [each for each in self._waiting if each.key == first.key and each.alone == first.alone]
            share = math.ceil(len(alike) / len(self._threads))  # the other thread is free soon, too
            batch = alike[: min(share, self._together)]
            for each in batch:
                self._waiting.remove(each)
            self._alone |= first.alone
            return batch

    def _first(self) -> _Waiting | None:
        """The first that waits and may be done now."""
        return next((each for each in self._waiting if not (each.alone and self._alone)), None)
