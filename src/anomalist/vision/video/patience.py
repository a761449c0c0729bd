"""How long to wait before trying again, and when to give up."""

from __future__ import annotations

import time
from threading import Event

FIRST_WAIT = 0.5
MOST_WAIT = 8.0


class Patience:
    """Waits that double from ``FIRST_WAIT`` to ``MOST_WAIT`` seconds, and an end to them.

    Parameters
    ----------
    give_up : seconds after the first failure when there is no more waiting.
    """

    def __init__(self, give_up: float) -> None:
        self._give_up = give_up
        self.succeeded()

    def succeeded(self) -> None:
        """Begin anew with the next failure."""
        self._next = FIRST_WAIT
        self._deadline: float | None = None

    def wait(self, stop: Event) -> bool:
        """Wait before another attempt; return False, at once or early, when it is time to give up or stop."""
        now = time.monotonic()
        if self._deadline is None:
            self._deadline = now + self._give_up
        wait = min(self._next, self._deadline - now)
        self._next = min(2 * self._next, MOST_WAIT)
        return wait > 0 and not stop.wait(wait)
