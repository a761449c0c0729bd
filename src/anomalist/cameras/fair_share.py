"""Fair sharing of one processor and of one model among cameras."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Condition


class FairShare:
    """Start-time fair queueing (Goyal et al. 1996): whoever has had the least of a resource is next.

    Who needs more than its share gets what is left by the others. Who was away has saved up nothing.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self._due: dict[str, float] = {}

    def choose(self, ready: Sequence[str]) -> str:
        """Who of those that are ready is next; the first of equals."""
        return min(ready, key=self._start)

    def charge(self, name: str, seconds: float) -> None:
        """Note for how long the one that was chosen has had the resource."""
        self._now = self._start(name)
        self._due[name] = self._now + seconds

    def _start(self, name: str) -> float:
        return max(self._due.get(name, 0.0), self._now)


class Turns:
    """A lock for threads that is given in the order in which they came."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._waiting: deque[object] = deque()

    @contextmanager
    def mine(self) -> Iterator[None]:
        """Wait for one's turn, which lasts until the context is left."""
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            self._changed.wait_for(lambda: self._waiting[0] is ticket)
        try:
            yield
        finally:
            with self._changed:
                self._waiting.popleft()
                self._changed.notify_all()
