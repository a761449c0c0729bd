"""Webhooks: signed, in order; what can't be delivered is told once, waits on disk, and holds nothing up."""

from __future__ import annotations

import hashlib
import hmac
import http.server
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from anomalist.errors import DataError
from anomalist.publishing.message import ResultMessage
from anomalist.publishing.webhook import MESSAGE_ID, SIGNATURE, TIMESTAMP, Webhook


@dataclass
class Taken:
    """What a server took."""

    bodies: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)


@contextmanager
def receiver(answers: Sequence[int] = (), port: int = 0) -> Iterator[tuple[str, Taken]]:
    """A server that gives ``answers`` one after another, then 200; its address, and what it took."""
    taken = Taken()
    left = list(answers)

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            status = left.pop(0) if left else 200
            if status == 200:
                taken.bodies.append(body)
                taken.headers.append(dict(self.headers))
            self.send_response(status)
            self.end_headers()

    server = http.server.HTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/alert", taken
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def message(number: int) -> ResultMessage:
    return ResultMessage(
        id=f"id-{number}", kind="picture", station="tiles", source=f"{number}.png", time=None, label="normal",
        severity=None, severity_level=0, score=1.0,
    )  # fmt: skip


def send(hook: Webhook, *numbers: int) -> None:
    for number in numbers:
        hook.publish(message(number), str(number))


def test_results_arrive_in_order(tmp_path: Path) -> None:
    with receiver() as (address, taken):
        with Webhook(address, tmp_path / "outbox.sqlite", pytest.fail) as hook:
            send(hook, *range(5))
        assert taken.bodies == list("01234")


def test_a_signature_proves_body_and_time(tmp_path: Path) -> None:
    with receiver() as (address, taken):
        with Webhook(address, tmp_path / "outbox.sqlite", pytest.fail, secret="key") as hook:
            send(hook, 7)
        (headers,) = taken.headers
    signed = f"{headers[TIMESTAMP]}.7".encode()
    assert headers[SIGNATURE] == "sha256=" + hmac.new(b"key", signed, hashlib.sha256).hexdigest()
    assert abs(int(headers[TIMESTAMP]) - time.time()) < 60
    assert headers[MESSAGE_ID] == "id-7"


def test_a_receiver_that_fails_for_a_moment_gets_the_result_again(tmp_path: Path) -> None:
    told: list[str] = []
    with receiver([503]) as (address, taken):
        with Webhook(address, tmp_path / "outbox.sqlite", told.append) as hook:
            send(hook, 1)
        assert taken.bodies == ["1"]
        assert hook.dropped == 0
    assert len(told) == 1 and "503" in told[0]


def test_what_is_refused_for_good_is_told_once_and_the_next_ones_go_on(tmp_path: Path) -> None:
    told: list[str] = []
    with receiver([400, 413]) as (address, taken):
        with Webhook(address, tmp_path / "outbox.sqlite", told.append) as hook:
            send(hook, 0, 1, 2)
        assert taken.bodies == ["2"]
    assert len(told) == 1 and "400" in told[0]
    assert hook.dropped == 2


def test_what_nobody_took_waits_on_disk_and_the_next_process_sends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    with receiver() as (address, _):
        pass  # it is gone again
    with monkeypatch.context() as hasty, Webhook(address, tmp_path / "outbox.sqlite", told.append) as hook:
        hasty.setattr("anomalist.publishing.outbox.LAST_SECONDS", 0.2)
        send(hook, *range(20))
    assert "20 messages" in told[-1] and "wait on disk" in told[-1]
    port = int(address.rpartition(":")[2].partition("/")[0])
    with receiver(port=port) as (_, taken):
        with Webhook(address, tmp_path / "outbox.sqlite", pytest.fail) as hook:
            send(hook, 20)
        assert taken.bodies == [str(number) for number in range(21)]


@pytest.mark.parametrize("address", ["ftp://host/x", "host/x", "http://", "file:///etc/passwd"])
def test_another_address_is_refused(address: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no web address"):
        Webhook(address, tmp_path / "outbox.sqlite", pytest.fail)


def test_what_is_told_and_stored_hides_the_path_and_password_of_the_address(tmp_path: Path) -> None:
    told: list[str] = []
    with receiver([400]) as (address, _):
        secret = address.replace("http://", "http://me:secret@").replace("/alert", "/hook-1234")
        with Webhook(secret, tmp_path / "outbox.sqlite", told.append) as hook:
            send(hook, 1)
    stored = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    for hidden in ("secret", "hook-1234"):
        assert hidden not in told[0]
        assert hidden.encode() not in stored


def test_a_name_that_no_header_can_have_holds_nothing_up(tmp_path: Path) -> None:
    with receiver() as (address, taken):
        with Webhook(address, tmp_path / "outbox.sqlite", pytest.fail) as hook:
            for number, name in enumerate(("a\nb.png", "a\r\nX: 1.png", " ü\t.png ", "c.png")):
                hook.publish(message(number).replace(id=name), str(number))
        assert taken.bodies == list("0123")
    assert taken.headers[1][MESSAGE_ID] == "a??X: 1.png" and "X" not in taken.headers[1]
