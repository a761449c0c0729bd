"""A server with one profile, learned once; accounts where a test wants them."""

from __future__ import annotations

import functools
import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
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


@pytest.fixture(scope="session", autouse=True)
def _cheap_hashes() -> Iterator[None]:
    """argon2id at its least cost: tests are about who comes in, not about how long guessing takes."""
    least = functools.partial(PasswordHasher, time_cost=1, memory_cost=8, parallelism=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("anomalist.server.accounts.PasswordHasher", least)
        yield


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
