"""Two servers with homes of their own, one PostgreSQL and one S3-compatible store."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from anomalist.errors import DataError
from anomalist.server.config import ServerConfig
from anomalist.server.database import Database
from anomalist.server.running import run_server
from anomalist.server.services import Services
from tests.object_server import ObjectServer, object_server
from tests.pictures import holed, tile
from tests.server.conftest import png
from tests.server.processes import running


@pytest.fixture
def objects() -> Iterator[ObjectServer]:
    with object_server() as server:
        yield server


def test_each_of_two_servers_has_what_the_other_learned_and_inspected(
    shared_memory: str, emptied: Database, objects: ObjectServer, learned: Path, tmp_path: Path
) -> None:
    shutil.copytree(learned / "profiles", tmp_path / "one" / "profiles")
    settings = {
        **objects.environment,
        "ANOMALIST_SERVER_DATABASE": shared_memory,
        "ANOMALIST_SERVER_STORE": objects.address,
        "ANOMALIST_MEMORY": shared_memory,
    }
    odd = [("files", ("odd.png", png(holed(77)), "image/png"))]
    with running(tmp_path / "two", **settings) as two:
        with running(tmp_path / "one", **settings) as one:
            assert two.client.get("/v1/profiles/tiles").status_code == 200, "the other one has it"
            form = {"profile": "tiles", "false_alarm_rate": "0.1"}
            found = [
                server.client.post("/v1/inspections", data=form, files=odd).json()["inspections"][0]
                for server in (one, two)
            ]
            assert found[0]["record"]["detector"] == found[1]["record"]["detector"], "one profile"
            assert found[0]["record"]["score"] == found[1]["record"]["score"], "and one score"
            scene = {"side": "anomalous", "category": "fire", "text": "a bin is on fire"}
            assert one.client.post("/v1/memory/yard/scenes", json=scene).status_code == 200
            said = {"judgement": "normal", "region": "R1"}
            reply = one.client.post(f"/v1/inspections/{found[0]['id']}/feedback", json=said)
            assert reply.status_code == 200, reply.text
            assert [case["id"] for case in two.client.get("/v1/feedback").json()] == [reply.json()["id"]]
            again = two.client.post("/v1/inspections", data=form, files=odd).json()["inspections"][0]
            assert [each["id"] for each in again["record"]["recall"]] == [reply.json()["id"]]
            remembered = two.client.get("/v1/memory/scenes?name=yard").json()
            assert [each["scene"]["text"] for each in remembered] == ["a bin is on fire"]
            run = found[0]["run"]
            end = time.monotonic() + 300
            while not objects.holds("odd.png", f"runs/{run}/maps/", f"runs/{run}/records.jsonl"):
                assert time.monotonic() < end, "it is not sent"
                time.sleep(0.1)
        (tmp_path / "one").rename(tmp_path / "gone")  # all that is left of the first is in the store
        address = f"/v1/inspections/{found[0]['id']}"
        for part in ("picture", "heat", "regions/R1", "regions/R1/normal"):
            reply = two.client.get(f"{address}/{part}")
            assert reply.status_code == 200, (part, reply.text)
        listed = two.client.get("/v1/inspections").json()["inspections"]
        assert {each["id"] for each in listed} == {each["id"] for each in (*found, again)}
        report = two.client.get(f"/v1/runs/{run}/report")
        assert report.status_code == 200
        assert "odd.png" in report.text
        assert "The picture is gone" not in report.text, "the report shows the picture"
        objects.stop()
        reply = two.client.post("/v1/inspections", data=form, files=odd)
        assert reply.status_code == 200, "who inspects does not wait for the store"
        refused = two.client.post(
            "/v1/jobs/check", files=[("files", ("new.png", png(tile(700)), "image/png"))]
        )
        assert refused.status_code == 503, "a job that others could not do is not accepted"
        assert refused.headers["retry-after"]
        ready = two.client.get("/readyz")
        assert ready.status_code == 503
        assert "store" in ready.json()["why"]
        objects.start()
        end = time.monotonic() + 120
        while two.client.get("/readyz").status_code != 200:
            assert time.monotonic() < end, "it does not recover"
            time.sleep(0.1)


def test_a_server_does_not_start_without_its_store_or_with_a_database_of_its_own(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANOMALIST_HOME", str(tmp_path))
    with pytest.raises(DataError, match="PostgreSQL"), Services(ServerConfig(store="memory://line")):
        pass
    with pytest.raises(DataError, match="ANOMALIST_MEMORY"):
        run_server(ServerConfig(store="memory://line", database=postgres), print)
    monkeypatch.setenv("ANOMALIST_MEMORY", postgres)
    with pytest.raises(DataError, match="can't be used as a store"):
        run_server(ServerConfig(store="nonsense://line", database=postgres), print)
