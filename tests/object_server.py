"""A server of S3-compatible objects in this process, spoken to over HTTP as any other."""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

BUCKET = "plant"


@dataclass
class ObjectServer:
    """A server that can be stopped and started; what it holds stays, as on a disk."""

    port: int
    folder: str = "line"
    _server: Any = field(default=None, init=False)

    @property
    def environment(self) -> dict[str, str]:
        """What programs find it by."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "anybody",
            "AWS_SECRET_ACCESS_KEY": "anything",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    @property
    def address(self) -> str:
        return f"s3://{BUCKET}/{self.folder}"

    def start(self) -> None:
        from moto.moto_server.threaded_moto_server import ThreadedMotoServer

        self._server = ThreadedMotoServer("127.0.0.1", self.port, verbose=False)
        self._server.start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None

    def holds(self, *parts: str) -> bool:
        """Whether each of these stands in the name of an object."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{BUCKET}?list-type=2") as reply:
            names = reply.read().decode()
        return all(part in names for part in parts)

    def require_credentials(self, requests: int) -> None:
        """Take known keys alone, after so many requests; moto knows none."""
        address = f"http://127.0.0.1:{self.port}/moto-api/reset-auth"
        body = urllib.request.Request(address, str(requests).encode(), {"content-type": "text/plain"})
        urllib.request.urlopen(body).close()


@contextmanager
def object_server() -> Iterator[ObjectServer]:
    """A server with an empty bucket; the test is skipped where moto is not installed."""
    pytest.importorskip("moto", reason="moto is not installed")
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = ObjectServer(port)
    server.start()
    address = f"http://127.0.0.1:{port}/{BUCKET}"
    urllib.request.urlopen(f"http://127.0.0.1:{port}/moto-api/reset", data=b"").close()
    urllib.request.urlopen(urllib.request.Request(address, method="PUT")).close()
    try:
        yield server
    finally:
        server.stop()
