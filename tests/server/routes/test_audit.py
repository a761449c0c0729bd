"""The audit over HTTP: found, shown step by step, verified, taken again, exported."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from anomalist.audit.reading import Search, search_log
from anomalist.audit.retention import remove_entries
from tests.server.conftest import GOOD, HOLED, upload


@pytest.fixture
def decided(client: TestClient) -> str:
    """The id of a decision."""
    upload(client, ("hole.png", HOLED), ("good.png", GOOD))
    found = client.get("/v1/audit/entries", params={"label": "anomalous"}).json()
    id: str = found["entries"][0]["id"]
    return id


def test_entries_are_found_as_on_the_command_line(client: TestClient, decided: str) -> None:
    for given, search in (
        ({"text": "HOLE"}, Search("HOLE")),
        ({"kind": "inspection"}, Search(kinds=("inspection",))),
        ({"label": "anomalous"}, Search(label="anomalous")),
        ({"profile": "tiles"}, Search(profile="tiles")),
        ({"since": "2020-01"}, Search(since="2020-01")),
        ({"until": "2020-01"}, Search(until="2020-01")),
    ):
        page = client.get("/v1/audit/entries", params=given).json()
        ids = [entry["id"] for entry in page["entries"]]
        assert ids == [entry.id for entry in search_log(search)][::-1], given
    assert decided


def test_new_entries_are_in_the_list_at_once(client: TestClient, decided: str) -> None:
    before = client.get("/v1/audit/entries").json()["total"]
    upload(client, ("more.png", GOOD))
    assert client.get("/v1/audit/entries").json()["total"] == before + 1


def test_what_was_removed_from_the_log_is_neither_listed_nor_found(client: TestClient, decided: str) -> None:
    searched = {"text": "hole"}
    assert client.get("/v1/audit/entries", params=searched).json()["total"] == 1
    about = search_log(Search(kinds=("inspection",)))
    remove_entries([entry for entry in about if entry.id == decided], "a request")
    found = client.get("/v1/audit/entries", params=searched).json()
    assert decided not in {entry["id"] for entry in found["entries"]}
    (row,) = [each for each in client.get("/v1/audit/entries").json()["entries"] if each["id"] == decided]
    assert "hole" not in str(row)


def test_a_decision_has_its_steps_and_a_page(client: TestClient, decided: str) -> None:
    details = client.get(f"/v1/audit/entries/{decided}").json()
    assert details["entry"]["body"]["record"]["label"] == "anomalous"
    assert len(details["steps"]) >= 4
    page = client.get(f"/v1/audit/entries/{decided}/page")
    assert "From pixels to label" in page.text
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert client.get("/v1/audit/entries/999999").status_code == 404
    assert client.get("/v1/audit/entries/0/page").status_code == 400


def test_decisions_are_taken_again(client: TestClient, decided: str) -> None:
    (row,) = client.post("/v1/audit/replay", json={"ids": [decided]}).json()
    assert row["equal"], row
    assert client.post("/v1/audit/replay", json={"ids": ["0"]}).status_code == 400


def test_damage_is_found(client: TestClient, decided: str, home: Path) -> None:
    assert client.post("/v1/audit/verify").json()["sound"]
    segment = next((home / "audit" / "log").glob("segment-*.jsonl"))
    segment.write_bytes(segment.read_bytes().replace(b'"anomalous"', b'"normal"   '))
    found = client.post("/v1/audit/verify").json()
    assert not found["sound"]
    assert "changed" in found["findings"][0]


def test_a_bundle_verifies_on_a_plain_python(client: TestClient, decided: str, tmp_path: Path) -> None:
    reply = client.post("/v1/audit/export", json={"ids": [decided], "profiles": False})
    zipfile.ZipFile(io.BytesIO(reply.content)).extractall(tmp_path)
    done = subprocess.run(
        [sys.executable, "-I", tmp_path / "bundle" / "verify.py"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "SOUND" in done.stdout


def test_the_pages_show_it(client: TestClient, decided: str) -> None:
    assert decided in client.get("/audit", params={"label": "anomalous"}).text
    assert "From pixels to label" in client.get(f"/audit/{decided}").text
