"""A server with one profile, learned once; accounts where a test wants them."""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image
from sqlalchemy import delete

from anomalist.server.app import create_app
from anomalist.server.config import ServerConfig
from anomalist.server.database import Database, Table
from anomalist.types.common import UInt8Array
from anomalist.vision.profile import Profile
from tests.pictures import holed, tile

PASSWORD = "correct horse battery"
Open = Callable[..., TestClient]


def png(picture: UInt8Array) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


HOLED, GOOD = png(holed(77)), png(tile(78))


def upload(client: TestClient, *pictures: tuple[str, bytes], **form: Any) -> list[dict[str, Any]]:
    """Inspect pictures with the profile; returns what came back."""
    files = [("files", (name, content, "image/png")) for name, content in pictures]
    data = {"profile": "tiles", "false_alarm_rate": "0.1"} | form
    reply = client.post("/v1/inspections", files=files, data=data)
    assert reply.status_code == 200, reply.text
    found: list[dict[str, Any]] = reply.json()["inspections"]
    return found


@pytest.fixture(scope="session")
def learned(tiles_profile: Profile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the profile of tiles in it."""
    home = tmp_path_factory.mktemp("learned")
    profile = home / "profiles" / "tiles"
    shutil.copytree(tiles_profile.path, profile)
    manifest = json.loads((profile / "profile.json").read_bytes())
    (profile / "profile.json").write_text(json.dumps(manifest | {"name": "tiles"}))
    return home


@pytest.fixture
def home(learned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own for a test, with the profile of tiles in it."""
    home = tmp_path / "home"
    shutil.copytree(learned / "profiles", home / "profiles")
    monkeypatch.setenv("ANOMALIST_HOME", str(home))
    return home


@pytest.fixture
def opened(home: Path) -> Iterator[Open]:
    """Opens servers on the home of the test, and ends them."""
    clients: list[TestClient] = []

    def open_server(**settings: Any) -> TestClient:
        app = create_app(ServerConfig(**settings))
        client = TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)
        client.__enter__()
        clients.append(client)
        return client

    yield open_server
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def client(opened: Open) -> TestClient:
    """Whoever uses this machine, before a server without accounts."""
    return opened()


def postgres_programs() -> Path | None:
    on_path = shutil.which("initdb")
    if on_path is not None:
        return Path(on_path).parent
    return next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL of its own.

    Not below pytest's folder: each run of pytest closes that to all but its own user, also one beside this.
    """
    programs = postgres_programs()
    if programs is None or sys.platform == "win32":
        pytest.skip("there is no PostgreSQL on this machine")
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    with TemporaryDirectory(prefix="anomalist-", ignore_cleanup_errors=True) as temporary:
        yield from _running_postgres(programs, Path(temporary))


def _running_postgres(programs: Path, folder: Path) -> Iterator[str]:
    sudo: list[str] = []
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        if shutil.which("setpriv") is None or subprocess.run(["id", "nobody"], check=False).returncode:
            pytest.skip("PostgreSQL can't be run as root, and as nobody else here")
        shutil.chown(folder, "nobody")
        sudo = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data = folder / "data"
    home = {**os.environ, "HOME": str(folder), "LC_ALL": "C"}
    subprocess.run(
        [*sudo, programs / "initdb", "-D", data, "-U", "anomalist", "-A", "trust", "-E", "UTF8"],
        check=True,
        capture_output=True,
        cwd=folder,
        env=home,
    )
    control = [*sudo, programs / "pg_ctl", "-D", data, "-w", "-l", folder / "log"]
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    subprocess.run([*control, "-o", options, "start"], check=True, capture_output=True, cwd=folder, env=home)
    try:
        yield f"postgresql+psycopg://anomalist@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run(
            [*control, "-m", "fast", "stop"], check=False, capture_output=True, cwd=folder, env=home
        )


@pytest.fixture
def emptied(postgres: str) -> Iterator[Database]:
    """The same PostgreSQL without anything in its tables."""
    database = Database(postgres)
    with database.session() as session:
        for table in Table.metadata.tables.values():
            session.execute(delete(table))
        session.commit()
    yield database
    database.close()
