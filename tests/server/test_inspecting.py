"""What was stored of a request that breaks off is listed at once, under the name of who asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from anomalist.audit.reading import read_entries
from anomalist.audit.recording import AuditTrail
from anomalist.errors import DataError
from anomalist.storage import run_folder
from tests.server.conftest import GOOD, upload


def failing(function: Callable[..., Any], at: int) -> Callable[..., Any]:
    """The same function, but for one call that finds the disk full."""
    calls = 0

    def called(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at:
            raise DataError("The disk is full.")
        return function(*arguments, **named)

    return called


def break_off(client: TestClient) -> None:
    """Ask for three pictures, of which two are stored before something fails: these are listed."""
    files = [("files", (name, GOOD, "image/png")) for name in ("a.png", "b.png", "c.png")]
    reply = client.post("/v1/inspections", files=files, data={"profile": "tiles", "false_alarm_rate": "0.1"})
    assert reply.json()["error"] == "The disk is full."
    me = client.get("/v1/me").json()["name"]
    assert listed(client) == {"a.png": me, "b.png": me}


def listed(client: TestClient) -> dict[str, str]:
    """Who asked for the pictures, by their names."""
    rows = client.get("/v1/inspections").json()["inspections"]
    return {each["name"]: each["owner"] for each in rows}


def test_what_was_stored_before_the_disk_was_full_is_listed(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_folder, "append_row", failing(run_folder.append_row, 3))
    break_off(client)
    upload(client, ("c.png", GOOD))
    assert set(listed(client)) == {"a.png", "b.png", "c.png"}


def test_what_was_stored_when_the_audit_log_was_full_is_listed_and_logged_later(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AuditTrail, "decision", failing(AuditTrail.decision, 2))
    break_off(client)
    upload(client, ("d.png", GOOD))
    decided = [entry.content["record"]["source"] for entry in read_entries(kinds=["inspection"])]
    assert sorted(name.rpartition("/")[2] for name in decided) == ["a.png", "b.png", "d.png"]
