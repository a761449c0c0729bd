"""Alerts to a web address: in the background, so that a slow receiver never holds up the watching."""

from __future__ import annotations

import time
from collections.abc import Callable
from queue import Empty, Full, Queue
from threading import Thread
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from anomalist.errors import DataError

if TYPE_CHECKING:
    import httpx

_WAITING = 100  # alerts; more are dropped, and counted
_TRIES = 3
_TIMEOUT = 5.0  # seconds


class Webhook:
    """Posts JSON to an address, in order; what can't be delivered is told, never raised.

    Parameters
    ----------
    address : http:// or https://.
    complain : told in one sentence what was not delivered, once until something is delivered again.

    Raises DataError for another address.
    """

    def __init__(self, address: str, complain: Callable[[str], None]) -> None:
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise DataError(f"{address} is no web address.", "A webhook begins with http:// or https://.")
        self._address = address
        self._shown = f"{parts.scheme}://{parts.hostname}"
        self._complain = complain
        self._queue: Queue[str | None] = Queue(_WAITING)
        self._failing = False
        self.dropped = 0
        self._thread = Thread(target=self._deliver, name="webhook", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Deliver what waits, for a few seconds at most."""
        deadline = time.monotonic() + _TRIES * _TIMEOUT
        try:
            self._queue.put(None, timeout=_TIMEOUT)
        except Full:
            self._queue = Queue()
            return
        self._thread.join(max(deadline - time.monotonic(), 0))

    def send(self, body: str) -> None:
        """Queue one JSON text; when too many wait, the oldest is dropped."""
        while True:
            try:
                self._queue.put_nowait(body)
            except Full:
                try:
                    self._queue.get_nowait()
                    self._lost("it is too slow")
                except Empty:
                    pass
            else:
                return

    def _deliver(self) -> None:
        import httpx

        with httpx.Client(timeout=_TIMEOUT) as client:
            while (body := self._queue.get()) is not None:
                self._post(client, body)

    def _post(self, client: httpx.Client, body: str) -> None:
        import httpx

        reason = ""
        for attempt in range(_TRIES):
            time.sleep(0.5 * attempt)
            try:
                reply = client.post(self._address, content=body, headers={"Content-Type": "application/json"})
            except httpx.HTTPError as error:
                reason = type(error).__name__
                continue
            if reply.is_success:
                self._failing = False
                return
            reason = f"it answered {reply.status_code}"
            if reply.status_code < 500:
                break
        self._lost(reason)

    def _lost(self, reason: str) -> None:
        self.dropped += 1
        if not self._failing:
            self._failing = True
            self._complain(f"The webhook at {self._shown} did not take an alert: {reason}.")
