"""Servers for tests: HTTP that breaks off, a camera that sends JPEGs, a camera that speaks RTSP."""

from __future__ import annotations

import http.server
import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path


class Http:
    """Serves the files of a folder; breaks off after the share of each file that comes next in ``plan``."""

    def __init__(self, folder: Path, plan: Sequence[float], ranges: bool) -> None:
        plan_left = list(plan)
        self.requests: list[str] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                outer.requests.append(self.path)
                file = folder / self.path.strip("/").partition("?")[0]
                share = plan_left.pop(0) if plan_left else 1.0
                if not file.is_file():
                    self.send_error(404)
                    return
                data = file.read_bytes()
                first = 0
                if ranges and "Range" in self.headers:
                    first = int(self.headers["Range"].removeprefix("bytes=").partition("-")[0])
                    if first >= len(data):
                        self.send_error(416)
                        return
                    self.send_response(206)
                    self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
                else:
                    self.send_response(200)
                self.send_header("Content-Length", str(len(data) - first))
                self.send_header("Connection", "close")
                self.end_headers()
                with suppress(OSError):
                    self.wfile.write(data[first : int(share * len(data))])

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def run(self) -> None:
        self._server.serve_forever(poll_interval=0.01)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Camera:
    """A camera that, connection after connection, sends the next of some films, then is gone.

    ``kind`` is "rtsp" (MPEG transport streams by RTP) or "jpeg" (lists of JPEGs by HTTP); ``pause`` is the
    seconds between pieces, ``away`` those after a connection in which the next one gets no answer.
    """

    def __init__(
        self, kind: str, films: Sequence[bytes | Sequence[bytes]], pause: float, away: float = 0.0
    ) -> None:
        self._kind, self._films, self._pause, self._away = kind, list(films), pause, away
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._socket.getsockname()[1]}"

    def run(self) -> None:
        while self._films:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with suppress(OSError), connection, connection.makefile("rwb") as file:
                if self._kind == "rtsp":
                    self._send_rtp(file, self._films.pop(0))
                else:
                    self._send_jpegs(file, self._films.pop(0))
            time.sleep(self._away)
        self.close()

    def close(self) -> None:
        self._socket.close()

    def _send_rtp(self, file: socket.SocketIO, film: bytes) -> None:
        for request, number in self._requests(file):
            body = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\n"
            body += "m=video 0 RTP/AVP 33\r\na=control:1\r\n"
            headers = {
                "OPTIONS": "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n",
                "DESCRIBE": f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n",
                "SETUP": "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n",
                "PLAY": "Session: 1\r\n",
            }[request]
            answer = f"RTSP/1.0 200 OK\r\nCSeq: {number}\r\n{headers}\r\n"
            file.write((answer + body * (request == "DESCRIBE")).encode())
            file.flush()
        for number, start in enumerate(range(0, len(film), 7 * 188)):
            packet = struct.pack(">BBHII", 0x80, 33, number & 0xFFFF, number * 3000, 1)
            packet += film[start : start + 7 * 188]
            file.write(b"$" + struct.pack(">BH", 0, len(packet)) + packet)
            file.flush()
            time.sleep(self._pause)

    @staticmethod
    def _requests(file: socket.SocketIO) -> Iterator[tuple[str, str]]:
        request = ""
        while request != "PLAY":
            request = file.readline().decode().partition(" ")[0]
            if not request:
                raise OSError("gone")
            number = ""
            while line := file.readline().decode().strip():
                if line.startswith("CSeq"):
                    number = line.partition(":")[2].strip()
            yield request, number

    def _send_jpegs(self, file: socket.SocketIO, pictures: Sequence[bytes]) -> None:
        while file.readline().strip():
            pass
        file.write(b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace;boundary=frame\r\n\r\n")
        for data in pictures:
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
            file.write(head.encode() + data + b"\r\n")
            file.flush()
            time.sleep(self._pause)


@contextmanager
def running(server: Http | Camera) -> Iterator[None]:
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.close()
        thread.join(5)
