"""A review over HTTP asks about the same pictures as on the command line, and writes the same entries."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from anomalist.audit.reading import read_entries
from tests.pictures import tile
from tests.server.conftest import HOLED, png, upload


@pytest.fixture
def run(client: TestClient) -> str:
    """A run of one alarm and three that are none."""
    goods = [(f"{number}.png", png(tile(100 + number))) for number in range(3)]
    return str(upload(client, ("hole.png", HOLED), *goods)[0]["run"])


def test_each_answer_is_an_entry_narrows_the_rate_and_is_not_asked_again(
    client: TestClient, run: str
) -> None:
    path = f"/v1/audit/review/{run}"
    found = first = client.get(path).json()
    assert (found["answered"], found["pictures"], found["done"]) == (0, 4, False)
    assert "label" not in str(found)
    said: list[tuple[str, str]] = []
    while found["next"] is not None:
        answer = "unsure" if not said else "anomalous" if found["name"] == "hole.png" else "normal"
        said.append((found["name"], answer))
        found = client.post(path, json={"id": found["next"], "answer": answer}).json()
    assert len({name for name, _ in said}) == len(said) == 4
    entries = [entry.content for entry in read_entries(kinds=["review"])]
    assert [(entry["about"].rpartition("/")[2], entry["answer"]) for entry in entries] == said
    assert {entry["profile"] for entry in entries} == {"tiles"}
    assert client.get(path).json() == found, "what was said is known to the next request"
    assert found["answered"] == 3
    assert found["rate"]["high"] - found["rate"]["low"] < first["rate"]["high"] - first["rate"]["low"]
    assert found["sentence"].startswith("False alarms among normals:")


def test_it_ends_when_the_rate_is_known_well_enough(client: TestClient, run: str) -> None:
    found: dict[str, Any] = client.get(f"/v1/audit/review/{run}", params={"precision": 0.999}).json()
    path = f"/v1/audit/review/{run}?precision=0.999"
    while found["next"] is not None:
        found = client.post(path, json={"id": found["next"], "answer": "normal"}).json()
    assert found["done"]
    assert found["answered"] < 4


def test_what_is_not_of_the_run_is_refused(client: TestClient, run: str) -> None:
    assert client.get("/v1/audit/review/nothing").status_code == 404
    body = {"id": "00", "answer": "normal"}
    assert client.post(f"/v1/audit/review/{run}", json=body).status_code == 404
    assert client.post(f"/v1/audit/review/{run}", json=body | {"answer": "maybe"}).status_code == 422
    uncalibrated = upload(client, ("hole.png", HOLED), profile="", false_alarm_rate="")
    assert client.get(f"/review?run={uncalibrated[0]['run']}").status_code == 200
    assert "What does it show?" in client.get(f"/review?run={run}").text
