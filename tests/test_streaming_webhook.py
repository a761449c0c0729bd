"""Webhook: what is sent arrives in order; what can't be delivered is told once and holds nothing up."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from anomalist.errors import DataError
from anomalist.streaming import Webhook


@contextmanager
def receiver(answers: Sequence[int] = ()) -> Iterator[tuple[str, list[str]]]:
    """A server that gives ``answers`` one after another, then 200; its address, and what it took."""
    taken: list[str] = []
    left = list(answers)

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            status = left.pop(0) if left else 200
            if status == 200:
                taken.append(body)
            self.send_response(status)
            self.end_headers()

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/alert", taken
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_alerts_arrive_in_order() -> None:
    with receiver() as (address, taken):
        with Webhook(address, pytest.fail) as hook:
            for number in range(5):
                hook.send(f'{{"n": {number}}}')
        assert taken == [f'{{"n": {number}}}' for number in range(5)]


def test_a_receiver_that_fails_for_a_moment_gets_the_alert_again() -> None:
    with receiver([503]) as (address, taken):
        with Webhook(address, pytest.fail) as hook:
            hook.send("{}")
        assert taken == ["{}"]
        assert hook.dropped == 0


def test_what_is_refused_is_told_once_and_the_next_ones_go_on() -> None:
    told: list[str] = []
    with receiver([400, 400]) as (address, taken):
        with Webhook(address, told.append) as hook:
            for number in range(3):
                hook.send(str(number))
        assert taken == ["2"]
    assert len(told) == 1
    assert "400" in told[0]
    assert hook.dropped == 2


def test_nobody_there_never_raises_and_sending_does_not_wait() -> None:
    told: list[str] = []
    with receiver() as (address, _):
        pass
    hook = Webhook(address, told.append)
    started = time.monotonic()
    for number in range(150):
        hook.send(str(number))
    assert time.monotonic() - started < 5
    assert hook.dropped >= 49  # more than the queue holds


@pytest.mark.parametrize("address", ["ftp://host/x", "host/x", "http://", "file:///etc/passwd"])
def test_another_address_is_refused(address: str) -> None:
    with pytest.raises(DataError, match="no web address"):
        Webhook(address, pytest.fail)


def test_the_complaint_hides_the_path_and_password_of_the_address() -> None:
    told: list[str] = []
    with receiver([401]) as (address, _):
        secret = address.replace("http://", "http://me:secret@").replace("/alert", "/hook-1234")
        with Webhook(secret, told.append) as hook:
            hook.send("{}")
    assert "secret" not in told[0]
    assert "1234" not in told[0]
