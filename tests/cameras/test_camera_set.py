"""Several cameras at once: one ordered stream of alerts, one budget, and nobody disturbed by the others."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from threading import Barrier, Event

import pytest
from PIL import Image

from anomalist.agent.reasoning.event_reasoner import make_annotator
from anomalist.agent.reasoning.vlm_reasoner import CallBudget
from anomalist.cameras import camera_set
from anomalist.cameras.camera_set import CameraSet, TriagesTogether, open_triages
from anomalist.cameras.feed import FeedItem
from anomalist.cameras.line import CameraLine
from anomalist.cameras.listing import Camera
from anomalist.cameras.progress import read_progress
from anomalist.composition import TriageSettings
from anomalist.errors import CalibrationError
from anomalist.runs import AlertRecorder
from anomalist.streaming import LiveAlert
from anomalist.triage import Triage
from anomalist.vision.motion.scene import Scene
from tests.agent.event_cases import REPLY, RecordingChatModel
from tests.street import make_film, walker
from tests.street_files import write_film
from tests.vision.media.servers import Camera as Server
from tests.vision.media.servers import running

RUNNER = walker(2.0, 60.0, speed=4.0)
LATER = walker(4.0, 60.0, speed=4.0)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    write_film(folder / "runner.mp4", make_film(7, RUNNER, people=42))
    write_film(folder / "later.mp4", make_film(9, LATER, people=42))
    return folder


def cameras_of(scene: Scene, **sources: object) -> list[Camera]:
    return [
        Camera(name=name, source=str(source), profile=f"{scene.path}/") for name, source in sources.items()
    ]


def settings(**more: object) -> TriageSettings:
    return TriageSettings("", memory=False, model="evidence", **more)  # type: ignore[arg-type]


@pytest.fixture
def triages(street: Scene) -> Callable[[list[Camera]], dict[str, Triage]]:
    return lambda cameras: open_triages(cameras, settings())


def told(alerts: list[LiveAlert]) -> list[tuple[str | None, str, str]]:
    return [
        (alert.camera, alert.state, alert.event.id if alert.event else "")
        for alert in alerts
        if alert.state != "watching"
    ]


Open = Callable[[list[Camera]], dict[str, Triage]]


def test_alerts_of_all_cameras_come_in_order_and_say_their_camera(
    street: Scene, films: Path, triages: Open
) -> None:
    cameras = cameras_of(street, gate=films / "runner.mp4", yard=films / "later.mp4")
    with CameraSet(cameras, triages(cameras)) as followed:
        alerts = list(followed.alerts())
        statuses = followed.statuses()
    for name in ("gate", "yard"):
        assert [state for camera, state, _ in told(alerts) if camera == name] == ["opened", "closed", "ended"]
    assert all(one.time <= other.time for one, other in pairwise(alerts))
    assert [(each.name, each.frames) for each in statuses] == [("gate", 70), ("yard", 90)]
    assert all((each.state, each.why, each.seconds > 0) == ("ended", None, True) for each in statuses)


def test_what_is_no_video_disturbs_nobody(street: Scene, films: Path, triages: Open) -> None:
    (films / "text.mp4").write_text("no video")
    cameras = cameras_of(
        street, gone=films / "missing.mp4", text=films / "text.mp4", gate=films / "runner.mp4"
    )
    with CameraSet(cameras, triages(cameras)) as followed:
        alerts = list(followed.alerts())
    assert [state for camera, state, _ in told(alerts) if camera == "gate"] == ["opened", "closed", "ended"]
    ended = {alert.camera: alert.why for alert in alerts if alert.state == "ended"}
    assert ended["gate"] is None
    assert "missing.mp4" in (ended["gone"] or "")
    assert "text.mp4" in (ended["text"] or "")


def test_cameras_that_are_added_later_are_scored_at_the_same_time(
    street: Scene, films: Path, triages: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(camera_set, "usable_cores", lambda: 2)
    both, stop = Barrier(2), Event()

    def take(line: CameraLine, item: FeedItem) -> Iterator[LiveAlert]:
        try:
            both.wait(3.0)
        finally:
            stop.set()
        yield from ()

    monkeypatch.setattr(CameraLine, "take", take)
    cameras = cameras_of(street, gate=films / "runner.mp4", yard=films / "later.mp4")
    opened = triages(cameras)
    with CameraSet((), {}) as followed:  # as a server begins
        for camera in cameras:
            followed.add(camera, opened[camera.name])
        list(followed.alerts(stop))
    assert not both.broken


def jpegs(frames: int) -> list[bytes]:
    found = []
    for frame in make_film(frames / 10).frames():
        file = io.BytesIO()
        Image.fromarray(frame.pixels).save(file, "JPEG", quality=90)
        found.append(file.getvalue())
    return found


def test_a_camera_that_dies_is_said_to_be_lost_and_is_tried_until_it_is_back(
    street: Scene, films: Path, triages: Open
) -> None:
    # Away for longer than silence takes to be noticed, or a fast machine is back before that.
    server = Server("jpeg", [jpegs(20), jpegs(200)], 0.02, away=2.0)
    cameras = cameras_of(
        street, gate=films / "runner.mp4", door=f"http://{server.host}/video", off="rtsp://127.0.0.1:9/x"
    )
    alerts: list[LiveAlert] = []
    with running(server), CameraSet(cameras, triages(cameras), silence=0.3) as followed:
        for alert in followed.alerts():
            alerts.append(alert)
            done = {(each.camera, each.state) for each in alerts}
            if {("door", "back"), ("gate", "ended"), ("off", "lost")} <= done:
                break
        states = {status.name: status.state for status in followed.statuses()}
    door = [alert for alert in alerts if alert.camera == "door"]
    known = [alert for alert in door if alert.state in ("lost", "back")]
    assert [alert.state for alert in known][:2] == ["lost", "back"]  # a busy machine loses it again
    assert "no picture for 0.3 s" in (known[0].why or "")
    assert [state for camera, state, _ in told(alerts) if camera == "gate"] == ["opened", "closed", "ended"]
    assert states == {"gate": "ended", "door": states["door"], "off": "lost"}
    assert states["door"] != "ended"


def test_a_restart_tells_the_rest_and_nothing_twice(
    street: Scene, films: Path, triages: Open, tmp_path: Path
) -> None:
    cameras = cameras_of(street, gate=films / "runner.mp4", yard=films / "later.mp4")

    def follow(most: int) -> Iterator[LiveAlert]:
        with (
            AlertRecorder(tmp_path) as recorder,
            CameraSet(cameras, triages(cameras), before=read_progress(tmp_path)) as followed,
        ):
            for alert in followed.alerts():
                if not most:
                    return
                yield recorder.keep(alert, followed.recent(str(alert.camera)))
                most -= 1

    first = list(follow(2))
    rest = list(follow(100))
    everything = [(name, state, "" if state == "ended" else "E1")
                  for name in ("gate", "yard") for state in ("opened", "closed", "ended")]  # fmt: skip
    assert len(first) == 2
    assert sorted(told([*first, *rest])) == sorted(everything)
    assert list(follow(100)) == []
    rows = [json.loads(line) for line in (tmp_path / "alerts.jsonl").read_text().splitlines()]
    pictures = [row["event"]["key_frame"] for row in rows if row["state"] == "opened"]
    assert len(set(pictures)) == 2
    assert all((tmp_path / name).is_file() for name in pictures)


def test_all_cameras_share_one_budget_of_calls(street: Scene, films: Path) -> None:
    def opinion(text: str) -> str:
        return json.dumps(REPLY | {"evidence": [f"E{text.partition('event E')[2].partition(' ')[0]}"]})

    cameras = cameras_of(street, gate=films / "runner.mp4", yard=films / "later.mp4")
    triages = open_triages(cameras, settings())
    model = RecordingChatModel(opinion=opinion)
    annotator = replace(make_annotator((), model), budget=CallBudget(1.0, clock=lambda: 0.0))
    for triage in triages.values():
        triage.annotator = annotator
    with CameraSet(cameras, triages) as followed:
        alerts = list(followed.alerts())
    updated = [alert.event for alert in alerts if alert.state == "updated"]
    assert len(model._shown) == 1
    assert sum(event is not None and event.opinion is not None for event in updated) == 1
    assert any(event is not None and "budget" in " ".join(event.notes) for event in updated)


def test_cameras_of_one_scene_share_it_and_all_ask_one_model(street: Scene) -> None:
    cameras = cameras_of(street, gate="rtsp://a/1", yard="rtsp://a/2")
    triages = open_triages(cameras, settings(watch=("someone runs",)))
    assert triages["gate"] is triages["yard"]
    assert triages["gate"].mode == "causal"
    with pytest.raises(CalibrationError, match="support"):
        open_triages(cameras, settings(false_events_per_hour=0.001))


def test_cameras_come_and_go_while_alerts_are_taken(street: Scene, films: Path, triages: Open) -> None:
    gate, yard = cameras_of(street, gate=films / "runner.mp4", yard=films / "later.mp4")
    opened = triages([gate, yard])
    stopped = Event()
    alerts: list[LiveAlert] = []
    with CameraSet((), {}) as followed:
        followed.add(gate, opened["gate"])
        for alert in followed.alerts(stopped):
            alerts.append(alert)
            if (alert.camera, alert.state) == ("gate", "opened"):
                followed.remove("gate")  # in the middle of its event
                followed.add(yard, opened["yard"])
            elif alert.state == "ended":
                stopped.set()
        assert [status.name for status in followed.statuses()] == ["yard"]
    assert [(camera, state) for camera, state, _ in told(alerts)] == [
        ("gate", "opened"),
        ("yard", "opened"),
        ("yard", "closed"),
        ("yard", "ended"),
    ]


def test_triages_that_are_opened_one_by_one_share_a_budget(street: Scene) -> None:
    together = TriagesTogether(settings())
    one, other = (together.open(f"{street.path}/") for _ in range(2))
    assert one.annotator is other.annotator
    assert one.annotator.budget is not None
