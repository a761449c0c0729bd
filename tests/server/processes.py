"""A server in a process of its own, as `anomalist serve` starts it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.forks import Forked


class ServerProcess:
    """A running server; ``client`` talks to it."""

    def __init__(self, home: Path, *options: str, **settings: str) -> None:
        self.home = home
        self.process = Forked("serve", "--port", "0", *options, **{"ANOMALIST_HOME": str(home), **settings})
        assert self.process.stderr is not None
        line = next((line for line in self.process.stderr if "anomalist is at" in line), None)
        assert line is not None, "the server does not start"
        self.address = line.rpartition(" ")[2].strip().rstrip("/")
        self.client = httpx.Client(base_url=self.address, timeout=300)
        for _ in range(600):
            try:
                if self.client.get("/healthz").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        raise AssertionError("the server does not answer")

    def kill(self) -> None:
        """End it as if the power failed."""
        self.process.kill()
        self._gone()

    def stop(self) -> None:
        """End it in order."""
        self.process.terminate()
        self._gone()

    def _gone(self) -> None:
        self.client.close()
        self.process.wait(timeout=300)
        self.process.close()


@contextmanager
def running(home: Path, *options: str, **settings: str) -> Iterator[ServerProcess]:
    server = ServerProcess(home, *options, **settings)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.stop()
