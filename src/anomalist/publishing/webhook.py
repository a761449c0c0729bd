"""Webhooks: JSON by POST, signed by HMAC-SHA256 where a secret is set."""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from anomalist.errors import DataError
from anomalist.publishing.message import ResultMessage
from anomalist.publishing.outbox import DeliveryError, Outbox
from anomalist.vision.media.sources import host_only, split_address

SIGNATURE, TIMESTAMP, MESSAGE_ID = "X-Anomalist-Signature", "X-Anomalist-Timestamp", "X-Anomalist-Id"
"""Headers: "sha256=" and the hex HMAC of "TIMESTAMP.BODY"; seconds since 1970; the id of the message."""

_REQUEST_TIMEOUT = 5.0  # seconds


class Webhook:
    """Posts JSON to an address, in order; what can't be delivered waits on disk. A context manager.

    Parameters
    ----------
    address : http:// or https://.
    outbox : file in which messages wait.
    on_failure : called with one sentence on what fails, once until something is delivered again.
    secret : key of the signature; none is sent without one.

    Raises DataError for another address.
    """

    def __init__(
        self, address: str, outbox: Path, on_failure: Callable[[str], None], secret: str = ""
    ) -> None:
        parts = split_address(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise DataError(
                f"{host_only(address)} is no web address.", "A webhook begins with http:// or https://."
            )
        self._address, self._secret = address, secret.encode()
        shown = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
        # The path may be a secret: the receiver is told apart by its hash, and shown without it.
        mark = hashlib.sha256(address.encode()).hexdigest()[:8]
        self._outbox = Outbox(outbox, f"webhook {shown} ({mark})", self._post, on_failure)

    def __enter__(self) -> Self:
        import httpx

        # A redirect would carry the signature to where nobody sent it.
        self._client = httpx.Client(timeout=_REQUEST_TIMEOUT, follow_redirects=False)
        self._outbox.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._outbox.__exit__(kind, error, trace)
        self._client.close()

    @property
    def dropped(self) -> int:
        """Messages that the receiver refused, or that were too many."""
        return self._outbox.dropped

    def publish(self, message: ResultMessage, body: str) -> None:
        """Send a message; ``body`` is the JSON that is posted."""
        self._outbox.put(message.id, "", body)

    def _post(self, id: str, topic: str, body: str) -> None:
        import httpx

        headers = {"Content-Type": "application/json", MESSAGE_ID: re.sub(r"[^!-~ ]", "?", id).strip()}
        if self._secret:
            now = str(int(time.time()))
            headers |= {TIMESTAMP: now, SIGNATURE: sign(self._secret, now, body)}
        try:
            reply = self._client.post(self._address, content=body.encode(), headers=headers)
        except httpx.HTTPError as error:
            raise DeliveryError(type(error).__name__) from error
        if not reply.is_success:
            # Not here, too large, malformed: the same message would be refused again.
            final = 400 <= reply.status_code < 500 and reply.status_code not in (401, 403, 404, 408, 425, 429)
            raise DeliveryError(f"it answered {reply.status_code}", final=final)


def sign(secret: bytes, timestamp: str, body: str) -> str:
    """The signature header of a body: HMAC-SHA256 over "TIMESTAMP.BODY"."""
    return "sha256=" + hmac.new(secret, f"{timestamp}.{body}".encode(), hashlib.sha256).hexdigest()
