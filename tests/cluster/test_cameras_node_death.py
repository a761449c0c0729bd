"""Many cameras on a cluster, of which a node is killed; and cameras and nodes that are set aside."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("ray")

from anomalist.cameras.camera_set import open_triages
from anomalist.cameras.listing import Camera
from anomalist.cameras.progress import what_is_told
from anomalist.cluster.cameras import ClusterCameras
from anomalist.cluster.connection import RayOptions
from anomalist.errors import AnomalistError
from anomalist.streaming import LiveAlert
from anomalist.vision.motion.scene import Scene
from tests.cluster.clusters import WHAT_RAY_LEAVES, cluster_of, kill_node
from tests.cluster.live import live_cameras
from tests.cluster.test_cameras import SETTINGS, films, told

__all__ = ["films"]
pytestmark = [pytest.mark.scale, *WHAT_RAY_LEAVES]
CAMERAS = 16


@pytest.fixture
def nodes() -> Iterator[Any]:
    with cluster_of(3) as cluster:
        yield cluster


def test_sixteen_cameras_on_three_nodes_of_which_one_is_killed(nodes: Any, street: Scene) -> None:
    with (
        live_cameras(street, CAMERAS) as cameras,
        ClusterCameras(cameras, open_triages(cameras, SETTINGS), RayOptions()) as followed,
    ):
        alerts: list[LiveAlert] = []
        back: dict[str, float] = {}
        moved: set[str] = set()
        killed_at = 0.0
        for alert in followed.alerts():
            alerts.append(alert)
            placed = followed.placed()
            opened = {each.camera for each in alerts if each.state == "opened"}
            if not killed_at and len(opened) == CAMERAS and len(followed.ready_standbys()) == 3:
                spread = Counter(placed.values())
                assert max(spread.values()) - min(spread.values()) <= 2
                node = str(placed["cam07"])
                moved = {name for name, place in placed.items() if place == node}
                before = {status.name: status.frames for status in followed.statuses()}
                kill_node(nodes, node)
                killed_at = time.monotonic()
            if alert.state == "back":
                back[str(alert.camera)] = time.monotonic() - killed_at
            if moved and set(back) == moved and all(_opened_after(alerts, name) for name in moved):
                break
        after = {status.name: status for status in followed.statuses()}
    lost = [str(alert.camera) for alert in alerts if alert.state == "lost"]
    assert sorted(lost) == sorted(moved)
    assert all(after[name].frames > before[name] for name in after)
    assert all(after[name].state == "watching" for name in after)
    counted = Counter((each.camera, *what_is_told(each)) for each in alerts if each.state != "watching")
    assert set(counted.values()) == {1}
    found = ", ".join(f"{seconds:.1f}" for seconds in sorted(back.values()))
    print(
        f"{len(moved)} of {CAMERAS} cameras were moved, and back after {found} s; none of the others was lost"
    )


def _opened_after(alerts: list[LiveAlert], name: str) -> bool:
    """Whether an event of a camera was opened after it was back."""
    states = [alert.state for alert in alerts if alert.camera == name]
    return "opened" in states[states.index("back") :]


def test_a_camera_that_ends_its_processes_is_set_aside_and_disturbs_nobody(
    nodes: Any, films: list[Camera], monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    real = ClusterCameras._ask_what_is_new

    def asked(self: ClusterCameras, line: Any) -> None:
        real(self, line)
        if line.camera.name == "gate":
            ray.kill(line.host.actor)

    monkeypatch.setattr(ClusterCameras, "_ask_what_is_new", asked)
    with ClusterCameras(films[:2], open_triages(films[:2], SETTINGS), RayOptions()) as followed:
        alerts = list(followed.alerts())
    states = {name: [row["state"] for row in rows] for name, rows in told(alerts).items()}
    assert states == {"gate": ["lost", "ended"], "yard": ["opened", "closed", "ended"]}
    assert "gate was set aside: it has ended 3 processes" in " ".join(str(alert.why) for alert in alerts)
    gate, yard = followed.statuses()
    assert gate.state == yard.state == "ended" and gate.why and yard.why is None


def test_a_scene_of_another_version_on_all_nodes_is_one_error(
    nodes: Any, films: list[Camera], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ClusterCameras._task
    monkeypatch.setattr(
        ClusterCameras, "_task", lambda self, line: replace(real(self, line), scene_digest="0" * 64)
    )
    with (
        ClusterCameras(films[:1], open_triages(films[:1], SETTINGS), RayOptions()) as followed,
        pytest.raises(AnomalistError, match="another version of street"),
    ):
        list(followed.alerts())
