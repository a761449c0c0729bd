"""Cameras on a cluster: the alerts of one machine, one budget, and nodes that die are made up for."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray")

from anomalist.agent.reasoning.event_reasoner import make_annotator
from anomalist.agent.reasoning.vlm_reasoner import CallBudget
from anomalist.audit.reading import verify_log
from anomalist.cameras.camera_set import CameraSet, open_triages
from anomalist.cameras.listing import Camera
from anomalist.cameras.progress import CameraProgress, utc, what_is_told
from anomalist.cluster.camera_actor import CameraActor, CameraTask, by_this_clock
from anomalist.cluster.cameras import ClusterCameras, choose_node
from anomalist.cluster.connection import RayOptions
from anomalist.composition import TriageSettings
from anomalist.streaming import LiveAlert
from anomalist.vision.motion.scene import Scene
from tests.agent.event_cases import REPLY, RecordingChatModel
from tests.cli.running import run
from tests.cluster.clusters import WHAT_RAY_LEAVES, cluster_of, kill_node
from tests.cluster.live import live_cameras
from tests.street import make_film, walker
from tests.street_files import write_film

pytestmark = WHAT_RAY_LEAVES
SETTINGS = TriageSettings("", memory=False, model="evidence")


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    with cluster_of(2) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory, street: Scene) -> list[Camera]:
    """Two that show somebody who runs, and one that is not there."""
    folder = tmp_path_factory.mktemp("films")
    write_film(folder / "gate.mp4", make_film(5, walker(2.0, 60.0, speed=4.0), people=42))
    write_film(folder / "yard.mp4", make_film(7, walker(4.0, 60.0, speed=4.0), people=42))
    return [
        Camera(name=name, source=str(folder / f"{name}.mp4"), profile=f"{street.path}/")
        for name in ("gate", "yard", "gone")
    ]


def told(alerts: list[LiveAlert]) -> dict[str, list[dict[str, object]]]:
    """The alerts of each camera, but when they were told."""
    found: dict[str, list[dict[str, object]]] = {}
    for alert in alerts:
        found.setdefault(str(alert.camera), []).append(alert.model_dump(mode="json", exclude={"time"}))
    return found


def test_a_cluster_tells_what_one_machine_tells_within_the_same_budget(
    nodes: Any, films: list[Camera]
) -> None:
    def opinion(text: str) -> str:
        return json.dumps(REPLY | {"evidence": [f"E{text.partition('event E')[2].partition(' ')[0]}"]})

    made: list[list[LiveAlert]] = []
    for on_cluster in (False, True):
        triages = open_triages(films, SETTINGS)
        model = RecordingChatModel(opinion=opinion)
        annotator = replace(make_annotator((), model), budget=CallBudget(1.0, clock=lambda: 0.0))
        for triage in triages.values():
            triage.annotator = annotator
        followed = ClusterCameras(films, triages, RayOptions()) if on_cluster else CameraSet(films, triages)
        with followed:
            made.append(list(followed.alerts()))
        assert len(model._shown) == 1
        assert all(status.state == "ended" for status in followed.statuses())
        assert [status.frames for status in followed.statuses()] == [50, 70, 0]
    by_load = ("updated", "lost", "back")  # beside other programs an actor may be late
    plain, found = ([each for each in alerts if each.state not in by_load] for alerts in made)
    assert told(found) == told(plain)
    assert [alert.time for alert in made[1]] == sorted(alert.time for alert in made[1])
    updated = [alert.event for alert in made[1] if alert.state == "updated" and alert.event]
    assert sum(event.opinion is not None for event in updated) == 1
    assert any("budget" in " ".join(event.notes) for event in updated)
    opened = [alert.event for alert in found if alert.state == "opened" and alert.event]
    assert len(opened) == 2
    assert followed.recent("gate").size == (120, 160)


def test_the_command_follows_on_a_cluster_and_tells_nothing_twice(
    nodes: Any, films: list[Camera], street: Scene, tmp_path: Path
) -> None:
    words = ["triage", "--follow", f"gate={films[0].source}", "--profile", f"{street.path}/"]
    words += ["--out", str(tmp_path / "out"), "--ray", "auto"]
    done = run(*words, ANOMALIST_HOME=str(tmp_path / "home"))
    assert done.returncode == 0, done.stderr
    alerts = [json.loads(line) for line in done.stdout.splitlines()]
    assert [alert["state"] for alert in alerts] == ["opened", "closed", "ended"]
    assert (tmp_path / "out" / alerts[0]["event"]["key_frame"]).read_bytes()[:2] == b"\xff\xd8"
    assert verify_log(tmp_path / "home" / "audit").sound
    again = run(*words, ANOMALIST_HOME=str(tmp_path / "home"))
    assert (again.returncode, again.stdout) == (0, "")


def test_cameras_of_a_node_that_dies_go_on_elsewhere_and_tell_nothing_twice(
    nodes: Any, street: Scene
) -> None:
    with (
        live_cameras(street, 2) as cameras,
        ClusterCameras(cameras, open_triages(cameras, SETTINGS), RayOptions()) as followed,
    ):
        alerts: list[LiveAlert] = []
        killed, moved = None, ""
        for alert in followed.alerts():
            alerts.append(alert)
            opened = {each.camera for each in alerts if each.state == "opened"}
            placed = followed.placed()
            if killed is None and len(opened) == 2:
                assert len(set(placed.values())) == 2  # the load is spread
                moved = str(alert.camera)
                killed = str(placed[moved])
                kill_node(nodes, killed)
            back = [each for each in alerts if each.state == "back"]
            if back and any(each.state == "opened" for each in alerts[alerts.index(back[0]) :]):
                break
        assert followed.placed()[moved] not in (killed, None)
    gone = [alert for alert in alerts if alert.camera == moved and alert.state == "lost"]
    assert len(gone) == 1 and "is gone" in str(gone[0].why)
    assert [each.camera for each in alerts if each.state == "back"] == [moved]
    numbers = Counter((each.camera, *what_is_told(each)) for each in alerts if each.state != "watching")
    assert set(numbers.values()) == {1}
    times = [each.stream_time for each in alerts if each.camera == moved]
    assert times == sorted(times)
    interrupted = [e.event for e in alerts if e.camera == moved and e.state == "closed" and e.event]
    opened_ones = [e.event for e in alerts if e.camera == moved and e.state == "opened" and e.event]
    assert len(opened_ones) - len(interrupted) <= 1  # what was open is closed


def test_cameras_are_placed_where_most_is_to_spare() -> None:
    cores = {"a": 4.0, "b": 8.0, "head": 0.0}
    assert choose_node(cores, {}, frozenset()) == "a"
    assert choose_node(cores, {"a": 1.0, "b": 1.5}, frozenset()) == "b"
    assert choose_node(cores, {"b": 6.0}, frozenset({"a"})) == "b"
    assert choose_node(cores, {}, frozenset({"a", "b"})) == "a"
    assert choose_node({"head": 0.0}, {}, frozenset()) == "head"
    assert choose_node({}, {}, frozenset()) is None


def test_the_clock_of_a_node_may_be_wrong() -> None:
    now = utc()
    before = CameraProgress(when=now - timedelta(seconds=20))
    for wrong in (timedelta(hours=-3), timedelta(days=2)):
        there = now + wrong
        assert by_this_clock(before, now, there).seconds_since(there) == 20
    assert by_this_clock(CameraProgress(), now, now).when is None


def test_a_node_without_the_scene_says_so(films: list[Camera], tmp_path: Path) -> None:
    triages = open_triages(films[:1], SETTINGS)
    followed = ClusterCameras(films[:1], triages, RayOptions())
    task: CameraTask = followed._task(followed._lines["gate"])
    gone = replace(task, camera=films[0].replace(profile=f"{tmp_path}/gone/"))
    reply = CameraActor({}).follow(gone, 0.0)
    assert "gone" in str(reply.error) and reply.status is None
    other = CameraActor({}).follow(replace(task, memory_digest="0"), 0.0)
    assert "another version of rules or scenes" in str(other.error)


def test_a_standby_follows_several_cameras_in_one_process(films: list[Camera]) -> None:
    followed = ClusterCameras(films[:2], open_triages(films[:2], SETTINGS), RayOptions())
    tasks = [followed._task(line) for line in followed._lines.values()]
    standby = CameraActor({})
    standby.prepare(tasks)
    states: dict[str, list[str]] = {}
    replies = {task.camera.name: standby.follow(task, 0.0) for task in tasks}
    while replies:
        for name, reply in list(replies.items()):
            assert reply.error is None
            states.setdefault(name, []).extend(alert.state for alert, _ in reply.alerts)
            if reply.over:
                del replies[name]
                standby.leave(name)
            else:
                replies[name] = standby.take(name, {}, 1.0)
    assert states == {"gate": ["opened", "closed", "ended"], "yard": ["opened", "closed", "ended"]}
