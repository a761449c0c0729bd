"""Live cameras: from the list alone, alerts with pictures as they come, said to be lost, followed again."""

from __future__ import annotations

import json
import shutil
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from fastapi.testclient import TestClient
from sqlalchemy.exc import OperationalError

from anomalist.audit.reading import read_entries
from anomalist.cameras.camera_set import CameraSet, TriagesTogether
from anomalist.publishing.publishers import Publishers
from anomalist.server import cameras
from anomalist.server.cameras import Cameras, CameraSession, KeptCamera
from anomalist.server.database import CameraRow, Database
from anomalist.server.routes.cameras import CameraBody
from anomalist.storage.run_folder import ClipRunFolder
from anomalist.streaming import LiveAlert
from anomalist.triage import Triage
from anomalist.vision.media.frames import Frame
from anomalist.vision.media.streams import RecentFrames
from anomalist.vision.motion.scene import Scene
from tests.agent.event_cases import make_event
from tests.server.conftest import Open
from tests.street import SIZE, make_film, walker
from tests.street_files import write_film
from tests.vision.media.servers import Http, running
from tests.waiting import until


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without profiles: none is needed here."""
    monkeypatch.setenv("ANOMALIST_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def address(tmp_path: Path, home: Path, street: Scene, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A film of somebody who runs, served as a stream; its scene is learned as "street"."""
    monkeypatch.setattr(cameras, "FIRST_WAIT", 3600)
    assert street.path is not None
    shutil.copytree(street.path, home / "profiles" / "street")
    write_film(tmp_path / "film" / "gate.mp4", make_film(14, walker(6.0, 70.0, speed=4.0), people=31))
    server = Http(tmp_path / "film", [], ranges=False)
    with running(server):
        yield f"{server.address}/gate.mp4?token=hunter2"


def wait(client: TestClient, until: Callable[[dict[str, Any]], bool], seconds: float = 60) -> dict[str, Any]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        (camera,) = client.get("/v1/cameras").json()
        if until(camera):
            found: dict[str, Any] = camera
            return found
        time.sleep(0.1)
    raise AssertionError(camera)


def events(client: TestClient) -> list[tuple[str, dict[str, Any]]]:
    text = client.get("/v1/cameras/events?once=true").text
    parts = (part.split("\n") for part in text.strip().split("\n\n"))
    return [(part[0].removeprefix("event: "), json.loads(part[1].removeprefix("data: "))) for part in parts]


def test_a_camera_is_followed_and_what_it_sees_is_ranked_shown_and_dismissed(
    opened: Open, address: str
) -> None:
    client = opened(cameras=(address,))
    (shown,) = client.get("/v1/cameras/addresses").json()
    assert "hunter2" not in shown
    body = {"name": "gate", "scene": "street", "address": shown}
    assert client.post("/v1/cameras", json=body).status_code == 201
    assert client.post("/v1/cameras", json=body).status_code == 409
    lost = wait(client, lambda camera: camera["state"] == "lost")
    assert lost["note"].startswith("The stream has ended."), "a camera that dies says so"
    told = dict(events(client))
    assert told["camera"] == lost
    assert "speed" in {alert["kind"] for alert in told["alerts"]["alerts"]}
    alert = told["alerts"]["alerts"][0]
    assert client.get(alert["key_frame"]).headers["content-type"] == "image/jpeg"
    assert client.get(alert["clip"]).headers["content-type"] == "video/mp4"
    said = client.post(
        f"/v1/runs/{lost['run']}/events/feedback",
        params={"event": f"gate:{alert['event']}"},
        json={"verdict": "dismissed"},
    )
    assert said.json()["action"] == "dismissed"
    assert alert["caption"] in client.get("/cameras/gate").text
    assert "hunter2" not in client.get("/watch").text + client.get("/cameras/gate").text
    written = [entry.content["alert"] for entry in read_entries(kinds=["alert"])]
    states = [alert["state"] for alert in written]
    assert states.count("opened") == states.count("closed") >= 1
    assert states[-1] == "ended", "that nothing is seen any more is on record"
    assert lost["alerts"] == len([alert for alert in written if alert["event"]])
    assert client.patch("/v1/cameras/gate", json={"wanted": False}).json()["state"] == "stopped"
    assert client.delete("/v1/cameras/gate").status_code == 204
    assert client.get("/v1/cameras").json() == []


def test_alerts_are_stored_and_counted_while_the_database_is_gone_and_told_once_it_is_back(
    opened: Open, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = 0
    real = Database.session

    def session(database: Database) -> Any:
        nonlocal refused
        if threading.current_thread().name == "alerts" and refused < 6:
            refused += 1
            raise OperationalError("UPDATE", {}, Exception("server closed the connection"))
        return real(database)

    monkeypatch.setattr(Database, "session", session)
    client = opened(cameras=(address,))
    body = {"name": "gate", "scene": "street", "address": address}
    assert client.post("/v1/cameras", json=body).status_code == 201
    lost = wait(client, lambda camera: camera["state"] == "lost")
    assert refused >= 2, "several in a row"
    assert lost["note"].startswith("The stream has ended.")
    assert lost["run"], "what was told meanwhile is told as well"
    written = [entry.content["alert"] for entry in read_entries(kinds=["alert"])]
    assert written[-1]["state"] == "ended"
    assert lost["alerts"] == len([alert for alert in written if alert["event"]]) >= 2
    assert client.get("/readyz").status_code == 200


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(
    ("part", "why"), [("_look", "No cameras are handled"), ("_follow", "No alerts are handled")]
)
def test_a_server_whose_cameras_are_not_handled_any_more_is_not_ready(
    part: str, why: str, opened: Open, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(_: Cameras) -> None:
        raise SystemExit

    monkeypatch.setattr(Cameras, part, end)
    client = opened()
    until(lambda: client.get("/readyz").status_code == 503)
    assert client.get("/readyz").json()["why"].startswith(why)


def test_a_run_that_is_full_makes_way_for_the_next_event_and_no_covered_camera_is_normal(
    home: Path, street: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cameras, "MAX_EVENTS", 1)
    camera = KeptCamera("gate", "street", "a", "me", True, "following", "", "", 0, 0.0)
    session = CameraSession(camera, Triage(street, model="evidence"), home / "runs")
    recent = RecentFrames("gate")
    list(recent.record([Frame(0, 100.0, np.zeros((*SIZE, 3), np.uint8))]))
    alert = LiveAlert(state="opened", source="gate", stream_time=3, time="2026-12-01T00:00:00Z")
    told = [
        alert.replace(event=make_event(1)),
        alert.replace(state="closed", event=make_event(1)),
        alert.replace(state="trouble", trouble="covered", stream_time=4),
        alert.replace(state="watching", stream_time=60),
        alert.replace(event=make_event(2), stream_time=100),
    ]
    for each in told:
        session.keep(each, recent)
    session.close()
    runs = [ClipRunFolder(path).records()[0] for path in (home / "runs").iterdir()]
    assert sorted([event.id for event in run.events] for run in runs) == [["E1"], ["E2"]]
    assert {run.label for run in runs} == {"anomalous"}


def test_a_server_that_starts_again_goes_on_with_its_cameras(opened: Open, address: str) -> None:
    client = opened(cameras=(address,))
    body = {"name": "gate", "scene": "street", "address": address}
    assert client.post("/v1/cameras", json=body).status_code == 201
    before = wait(client, lambda camera: camera["run"] != "")
    client.__exit__(None, None, None)
    client = opened(cameras=(address,))
    after = wait(client, lambda camera: camera["run"] not in ("", before["run"]))
    assert after["state"] in ("following", "lost")
    client.__exit__(None, None, None)
    client = opened()
    gone = wait(client, lambda camera: camera["state"] == "lost" and "not in the list" in camera["note"])
    assert gone["wanted"]


def test_a_camera_that_is_removed_and_added_with_another_address_is_not_followed_at_the_old_one(
    home: Path, street: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed: list[str] = []
    monkeypatch.setattr(CameraSet, "add", lambda _set, camera, _triage: followed.append(camera.source))
    monkeypatch.setattr(TriagesTogether, "open", lambda *_: Triage(street, model="evidence"))
    old, new = "rtsp://10.0.0.1/a", "rtsp://10.0.0.2/b"
    database = Database(f"sqlite:///{home}/cameras.sqlite")
    service = Cameras(
        database, ("me", "me"), (old, new), home / "runs", "evidence", Publishers((), followed.append)
    )
    service.add("gate", "street", old, "me")
    service._look()
    service.remove("gate")
    service.add("gate", "street", new, "me")  # before the cameras are looked at again
    service._look()
    service._look()
    assert followed == [old, new]


def test_no_address_but_those_of_the_list_is_opened(opened: Open, address: str) -> None:
    client = opened(cameras=(address,))
    for other in (
        "rtsp://127.0.0.1/x",
        f"{address}&x=1",
        address.replace("hunter2", "x"),
        "file:///etc/passwd",
        "",
    ):
        body = {"name": "gate", "scene": "street", "address": other}
        assert client.post("/v1/cameras", json=body).status_code == 403, other
    nowhere = {"name": "gate", "scene": "nothing", "address": address}
    assert client.post("/v1/cameras", json=nowhere).status_code == 404
    assert client.get("/v1/cameras").json() == []


def test_a_run_that_can_not_be_read_keeps_no_other_camera_from_being_told(
    client: TestClient, home: Path
) -> None:
    run = home / "server" / "runs" / "damaged"
    run.mkdir(parents=True)
    (run / "clips.jsonl").write_text("{}\n")
    common = {"scene": "yard", "address": "a", "owner": "me", "wanted": False, "state": "stopped", "note": ""}
    with client.app.state.services.database.session() as session:  # type: ignore[attr-defined]
        for name, of in (("east", "damaged"), ("west", "")):
            session.add(CameraRow(name=name, run=of, alerts=1, worker="", beat=0.0, changed=0.0, **common))
        session.commit()
    assert [about["name"] for what, about in events(client) if what == "camera"] == ["east", "west"]


@pytest.mark.parametrize("name", ["Einfahrt Süd", "प्रवेश द्वार", "入口"])
def test_a_camera_may_be_named_in_any_language_however_it_is_typed(
    client: TestClient, home: Path, name: str
) -> None:
    apart = unicodedata.normalize("NFD", name)
    assert CameraBody(name=apart, scene="street", address="rtsp://a").name == name
    blank = {"scene": "street", "address": "", "owner": "me", "state": "stopped", "note": "", "run": ""}
    with client.app.state.services.database.session() as session:  # type: ignore[attr-defined]
        session.add(CameraRow(name=name, wanted=False, alerts=0, worker="", beat=0.0, changed=0.0, **blank))
        session.commit()
    assert client.get(f"/cameras/{quote(apart)}").status_code == 200
    assert client.delete(f"/v1/cameras/{quote(apart)}").status_code == 204
    assert client.get("/v1/cameras").json() == []
