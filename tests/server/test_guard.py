"""Attacks on the server: paths, roles, other sites, uploads, addresses. None gets through."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from httpx import Response
from PIL import Image

from anomalist.server.guard import RateLimit
from anomalist.server.problems import BusyError
from tests.server.conftest import GOOD, HOLED, PASSWORD, Open, upload

SECRET = "the secret of the machine"
Attack = Callable[[TestClient, Path], Response]


def get(path: str) -> Attack:
    return lambda client, _: client.get(path)


def inspect_path(path: str) -> Attack:
    return lambda client, place: client.post(
        "/v1/inspections/paths", json={"paths": [path.format(root=place / "root", place=place)]}
    )


def job_path(kind: str, path: str) -> Attack:
    def attack(client: TestClient, place: Path) -> Response:
        named = path.format(root=place / "root", place=place)
        if kind == "inspect":
            return client.post("/v1/jobs/inspect", json={"paths": [named]})
        return client.post(f"/v1/jobs/{kind}", data={"name": "x", "scene": "x", "paths": named})

    return attack


def learn_as(name: str) -> Attack:
    files = [("files", ("a.png", GOOD, "image/png"))]
    return lambda client, _: client.post("/v1/jobs/learn", data={"name": name}, files=files)


def inspect_by(profile: str) -> Attack:
    files = [("files", ("a.png", GOOD, "image/png"))]
    return lambda client, place: client.post(
        "/v1/inspections", data={"profile": profile.format(place=place)}, files=files
    )


def products(*names: str) -> Attack:
    files = [("files", (name, GOOD, "image/png")) for name in names]
    return lambda client, _: client.post("/v1/jobs/learn-products", data={"name": "x"}, files=files)


def reference(path: str) -> Attack:
    def attack(client: TestClient, place: Path) -> Response:
        named = path.format(root=place / "root", place=place)
        body = {"paths": [str(place / "root" / "a.png")], "reference": named}
        return client.post("/v1/inspections/paths", json=body)

    return attack


def change(json: object, path: str = "/v1/accounts/admin", method: str = "PATCH") -> Attack:
    return lambda client, _: client.request(method, path, json=json)


def send(name: str, content: bytes) -> Attack:
    return lambda client, _: client.post("/v1/inspections", files=[("files", (name, content, "image/png"))])


def foreign(headers: dict[str, str], path: str = "/v1/audit/verify") -> Attack:
    return lambda client, _: client.post(path, headers=headers)


def body(content: bytes, kind: str, path: str = "/v1/inspections") -> Attack:
    return lambda client, _: client.post(path, content=content, headers={"content-type": kind})


def bomb() -> bytes:
    """A small file of a picture that is huge when it is decoded."""
    buffer = io.BytesIO()
    Image.new("1", (16_000, 16_000)).save(buffer, "PNG")
    return buffer.getvalue()


TRAVERSAL = [
    get("/static/../app.py"),
    get("/static/..%2fapp.py"),
    get("/static/%2e%2e/app.py"),
    get("/static/....//app.py"),
    get("/static/%2e%2e%2f%2e%2e%2f%2e%2e%2fsecret.txt"),
    get("/v1/runs/..%2f..%2fsecret/report"),
    get("/v1/runs/%2e%2e/report"),
    get("/v1/runs/x/frames/..%2f..%2fserver.sqlite"),
    get("/v1/runs/x/frames/%2e%2e"),
    get("/v1/runs/x/maps/records.jsonl"),
    get("/v1/runs/x/frames/a%00.jpg"),
    get("/v1/scenes/..%2f..%2fsecret/picture"),
    get("/v1/profiles/..%2fserver"),
    get("/v1/profiles/.x"),
    get("/v1/profiles/nothing"),
    get("/v1/profiles/..%5cserver"),
    get("/v1/memory/scenes?name=../../secret"),
    get("/v1/memory/scenes?name=secret.sqlite"),
    get("/v1/inspections/..%2f..%2fsecret"),
    get("/v1/inspections/%27%20OR%201=1--"),
    get("/v1/audit/entries/..%2fkey/page"),
    inspect_path("{place}/secret.png"),
    inspect_path("{root}/../secret.png"),
    inspect_path("{root}/link.png"),
    inspect_path("{root}/linked/secret.png"),
    inspect_path("{root}"),
    inspect_path("/etc/passwd"),
    inspect_path("/proc/self/environ"),
    inspect_path("secret.png"),
    inspect_path("~/secret.png"),
    inspect_path("{root}/a.png\x00.png"),
    inspect_path("file://{place}/secret.png"),
    inspect_path("{root}x/secret.png"),
    job_path("inspect", "{place}"),
    job_path("inspect", "{root}/linked"),
    job_path("learn", "{place}"),
    job_path("check", "/etc"),
    job_path("triage", "{place}/clip.mp4"),
    job_path("learn-scene", "{root}/../clip.mp4"),
    learn_as("../outside"),
    learn_as("/tmp/outside"),
    learn_as(".hidden"),
    learn_as("a/b"),
    learn_as("a\\b"),
    learn_as(""),
    learn_as("x" * 300),
    job_path("learn-products", "{place}"),
    job_path("learn-products", "{root}/a.png"),
    products("a.png", "b.png"),
    products("../../x/a.png", "/etc/passwd"),
    products("one/a.png", "one/b.png"),
    products("../a.png", "..\\b.png"),
    reference("{place}/secret.png"),
    reference("{root}/link.png"),
    reference("{root}/linked/secret.png"),
    reference("{root}"),
    reference("/etc/passwd"),
    reference("http://127.0.0.1/a.png"),
    get("/v1/audit/review/..%2f..%2fsecret"),
    get("/v1/audit/review/%2e%2e"),
    get("/review?run=../../secret"),
    change({"id": "..", "answer": "normal"}, "/v1/audit/review/x", "POST"),
    change({"name": "gate", "scene": "x", "address": "rtsp://127.0.0.1/x"}, "/v1/cameras", "POST"),
    change({"name": "gate", "scene": "../x", "address": ""}, "/v1/cameras", "POST"),
    change({"name": "../gate", "scene": "x", "address": ""}, "/v1/cameras", "POST"),
    change({"wanted": True}, "/v1/cameras/..%2f..%2fx"),
    change({"wanted": True, "address": "rtsp://127.0.0.1/x"}, "/v1/cameras/gate"),
    get("/cameras/..%2f..%2fsecret"),
    change({"role": "god"}),
    change({"name": "other"}),
    change({"password": ""}),
    change({"disabled": "perhaps"}),
    change({"role": "admin"}, "/v1/accounts/..%2fkeys"),
    inspect_by("../profiles/tiles"),
    inspect_by("{place}/home/profiles/tiles"),
    inspect_by("./tiles"),
    inspect_by("tiles\x00"),
]
UPLOADS = [
    send("a.exe", HOLED),
    send("a.png.sh", HOLED),
    send("a", HOLED),
    send("a.png", b""),
    send("a.svg", b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"),
    send("a.png", b"<html><script>alert(1)</script></html>"),
    send("a.png", HOLED[:200]),
    send("a.png", b"\x89PNG\r\n\x1a\n" + b"\x00" * 500),
    send("a.tif", b"II*\x00" + b"\xff" * 64),
    send("a.gif", b"GIF89a" + b"\xff" * 32),
    send("bomb.png", bomb()),
    body(b"--x\r\nnonsense", "multipart/form-data; boundary=x"),
    body(b"", "multipart/form-data"),
    body(b"{", "application/json", "/v1/ask"),
    body(b"[" * 100_000, "application/json", "/v1/ask"),
    body(b'{"question": "' + b"x" * 3_000_000 + b'"}', "application/json", "/v1/ask"),
    body(b"\xff\xfe", "application/json", "/v1/query"),
]
SITES = [
    foreign({"origin": "https://evil.example"}),
    foreign({"origin": "null"}),
    foreign({"origin": "http://127.0.0.1:9999"}),
    foreign({"origin": "http://127.0.0.1.evil.example"}),
    foreign({"sec-fetch-site": "cross-site"}),
    foreign({"sec-fetch-site": "same-site"}),
    foreign({"host": "evil.example"}),
    foreign({"host": "127.0.0.1.evil.example"}),
    foreign({"host": ""}),
    foreign({"origin": "https://evil.example"}, "/login"),
    foreign({"origin": "https://evil.example"}, "/logout"),
    foreign({"origin": "https://evil.example"}, "/v1/audit/review/x"),
    foreign({"origin": "https://evil.example"}, "/v1/accounts"),
    foreign({"origin": "https://evil.example"}, "/v1/keys"),
    foreign({"origin": "https://evil.example"}, "/v1/cameras"),
    foreign({"origin": "https://evil.example"}, "/v1/jobs/learn-products"),
    foreign({"content-length": "99999999999"}),
    foreign({"content-length": "-1"}),
]
ADDRESSES = [
    inspect_path("http://127.0.0.1:22/a.png"),
    inspect_path("https://169.254.169.254/latest/meta-data/a.png"),
    job_path("triage", "rtsp://127.0.0.1:554/camera"),
    job_path("triage", "http://[::1]/clip.mp4"),
    job_path("triage", "http://localhost:6379/x.mp4"),
    job_path("learn-scene", "file:///etc/passwd"),
    job_path("learn-scene", "concat:/etc/passwd|x.mp4"),
    job_path("inspect", "ftp://127.0.0.1/a.png"),
    job_path("learn", "http://127.0.0.1/a.zip"),
]
ATTACKS = [
    *(("traversal", number, attack) for number, attack in enumerate(TRAVERSAL)),
    *(("upload", number, attack) for number, attack in enumerate(UPLOADS)),
    *(("site", number, attack) for number, attack in enumerate(SITES)),
    *(("address", number, attack) for number, attack in enumerate(ADDRESSES)),
]


def test_the_table_is_long() -> None:
    assert len(ATTACKS) >= 60


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An allowed folder beside secrets, with links that lead out of it."""
    root = tmp_path / "root"
    root.mkdir()
    (root / "a.png").write_bytes(GOOD)
    (tmp_path / "secret.txt").write_text(SECRET)
    (tmp_path / "secret.png").write_bytes(HOLED)
    (tmp_path / "clip.mp4").write_bytes(b"no clip")
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    (root / "linked").symlink_to(tmp_path)
    return tmp_path


def test_no_attack_gets_through(opened: Open, place: Path, home: Path) -> None:
    client = opened(roots=(place / "root",), max_request=4_000_000)
    before = {path for path in place.rglob("*") if not path.is_relative_to(home / "server")}
    through = []
    for kind, number, attack in ATTACKS:
        reply = attack(client, place)
        refused = 400 <= reply.status_code < 500
        if reply.status_code == 200 and kind == "upload":  # kept as what could not be judged
            records = [each["record"] for each in reply.json()["inspections"]]
            refused = all(each["status"] == "error" and each["label"] is None for each in records)
        if not refused or SECRET in reply.text or "Traceback" in reply.text:
            through.append((kind, number, reply.status_code, reply.text[:120]))
    assert through == []
    assert client.get("/v1/jobs").json() == []
    after = {path for path in place.rglob("*") if not path.is_relative_to(home / "server")}
    assert {path.name for path in after - before} <= {"audit", "log", ".lock"} | {
        path.name for path in (home / "audit").rglob("*")
    }


def test_a_session_needs_its_token(opened: Open) -> None:
    client = opened()
    client.post("/v1/accounts", json={"name": "a", "role": "admin", "password": PASSWORD})
    person = client.post("/v1/login", json={"name": "a", "password": PASSWORD}).json()
    for headers in ({}, {"x-csrf-token": ""}, {"x-csrf-token": "x"}, {"x-csrf-token": person["csrf"][:-1]}):
        assert client.post("/v1/audit/verify", headers=headers).status_code == 403
    assert client.post("/v1/keys", headers={"x-csrf-token": person["csrf"]}).status_code == 422


def test_forged_credentials_are_refused(opened: Open) -> None:
    client = opened()
    client.post("/v1/accounts", json={"name": "a", "role": "admin", "password": PASSWORD})
    for headers in (
        {"authorization": "Bearer "},
        {"authorization": "Bearer ano_x"},
        {"authorization": "Basic YTpi"},
        {"cookie": "anomalist_session=x"},
        {"cookie": f"anomalist_session={'x' * 5000}"},
        {"x-forwarded-for": "127.0.0.1"},
    ):
        assert client.get("/v1/me", headers=headers).status_code == 401, headers


def test_guessing_passwords_is_slowed(opened: Open) -> None:
    client = opened(logins_per_minute=3)
    client.post("/v1/accounts", json={"name": "a", "role": "admin", "password": PASSWORD})
    replies = [client.post("/v1/login", json={"name": "a", "password": f"guess {n}"}) for n in range(5)]
    assert [reply.status_code for reply in replies] == [401, 401, 401, 429, 429]
    assert int(replies[-1].headers["retry-after"]) >= 1


def test_a_bucket_fills_again() -> None:
    limit = RateLimit(6000)
    for _ in range(6000):
        limit.take("one")
    with pytest.raises(BusyError) as busy:
        for _ in range(6000):
            limit.take("one")
    assert busy.value.after >= 1
    limit.take("other")


def test_too_many_requests_are_told_when_to_come_again(opened: Open) -> None:
    client = opened(requests_per_minute=5)
    statuses = [client.get("/healthz").status_code for _ in range(8)]
    assert statuses[:5] == [200] * 5
    assert statuses[-1] == 429


def test_every_reply_carries_the_headers(client: TestClient) -> None:
    upload(client, ("a.png", GOOD))
    for path in ("/", "/v1/inspections", "/static/app.js", "/static/report.css", "/nothing", "/healthz"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe-inline" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"


def test_pages_hold_no_inline_script_or_style(client: TestClient) -> None:
    id = upload(client, ("<script>alert(1)</script>.png", HOLED))[0]["id"]
    for path in ("/", "/learn", "/watch", "/rules", "/audit", "/accounts", f"/inspections/{id}", "/login"):
        text = client.get(path).text
        assert "<script>" not in text, path
        assert " style=" not in text, path
        assert " on" + "click" not in text, path


@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=x", "application/json"])
def test_a_request_that_does_not_say_how_long_it_is_is_told_that_it_is_too_long(
    opened: Open, kind: str
) -> None:
    part = b'--x\r\ncontent-disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    pieces = (piece for piece in (part, *[b"x" * 1000] * 9))
    path = "/v1/inspections" if "form" in kind else "/v1/ask"
    reply = opened(max_request=4000).post(path, content=pieces, headers={"content-type": kind})
    assert reply.status_code == 413
    assert "4,000 bytes" in reply.json()["error"]


@pytest.mark.parametrize(("number", "full"), [(errno.ENOSPC, True), (errno.EACCES, False)])
def test_a_request_that_finds_no_room_while_it_comes_in_says_so(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, number: int, full: bool
) -> None:
    async def failing(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("starlette.datastructures.UploadFile.write", failing)
    reply = client.post("/v1/inspections", files=[("files", ("a.png", GOOD, "image/png"))])
    assert reply.status_code == 503
    assert os.strerror(number) in reply.json()["error"]
    assert ("room" in reply.json()["remedy"]) is full


@pytest.mark.parametrize(("most", "error"), [(1200, "a.png is empty"), (1199, "1199 files at most")])
def test_as_many_files_come_at_once_as_the_server_was_started_for(
    opened: Open, most: int, error: str
) -> None:
    files = [("files", ("a.png", b"", "image/png"))] * 1200
    assert error in opened(max_files=most).post("/v1/inspections", files=files).json()["error"]
