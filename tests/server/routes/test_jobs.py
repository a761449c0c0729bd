"""Jobs learn, check, inspect and triage, with progress and results, and end as they should."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from anomalist.audit.reading import read_entries
from anomalist.types.common import UInt8Array
from tests.pictures import holed, tile, write, write_tiles
from tests.server.conftest import Open, png
from tests.street import make_film, walker
from tests.street_files import write_film


def finished(client: TestClient, job: dict[str, Any], seconds: float = 240) -> dict[str, Any]:
    """Wait for a job to end."""
    assert "id" in job, job
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        now: dict[str, Any] = client.get(f"/v1/jobs/{job['id']}").json()
        if now["state"] in ("done", "failed", "cancelled"):
            return now
        time.sleep(0.1)
    raise AssertionError("the job does not end")


def disc(number: int) -> UInt8Array:
    """An orange square on blue ground, uint8 (96, 96, 3)."""
    picture = np.full((96, 96, 3), (40, 60, 150), np.uint8)
    picture[20:70, 20:70] = (230, 140, 30)
    return np.clip(picture + np.random.default_rng(number).normal(0, 4, picture.shape), 0, 255).astype(
        np.uint8
    )


def tiles(count: int) -> list[tuple[str, tuple[str, bytes, str]]]:
    return [("files", (f"{i}.png", png(tile(i)), "image/png")) for i in range(count)]


def test_a_profile_is_learned_from_uploads_with_its_promise(client: TestClient) -> None:
    form = {"name": "new", "effort": "fast"}
    job = client.post("/v1/jobs/learn", data=form, files=tiles(9))
    assert job.status_code == 202, job.text
    done = finished(client, job.json())
    assert done["state"] == "done", done
    assert done["result"]["pictures"] == 9
    assert done["result"]["lowest_rate"] == pytest.approx(0.1)
    assert done["progress"]["what"]
    (entry,) = read_entries(kinds=["learning"])
    assert entry.content["job"] == done["id"]
    assert "new" in {each["name"] for each in client.get("/v1/profiles").json()}
    assert client.post("/v1/jobs/learn", data=form, files=tiles(9)).status_code == 409
    followed = client.get(f"/v1/jobs/{done['id']}/events").text
    assert json.loads(followed.split("data: ")[-1])["state"] == "done"


def test_a_job_that_can_not_be_done_says_why(client: TestClient) -> None:
    job = client.post("/v1/jobs/learn", data={"name": "few"}, files=tiles(1)).json()
    done = finished(client, job)
    assert done["state"] == "failed"
    assert done["error"] in client.get("/learn").text, "the page shows jobs without a result, too"
    assert "few" not in {each["name"] for each in client.get("/v1/profiles").json()}


def test_a_folder_is_inspected_into_a_run_of_its_own(opened: Open, tmp_path: Path) -> None:
    folder = tmp_path / "line"
    write_tiles(folder, 3, first=200)
    write(folder / "hole.png", holed(7))
    client = opened(roots=(folder,))
    body = {"paths": [str(folder)], "profile": "tiles", "false_alarm_rate": 0.1}
    done = finished(client, client.post("/v1/jobs/inspect", json=body).json())
    assert done["result"]["pictures"] == 4
    listed = client.get("/v1/inspections", params={"run": done["result"]["run"]}).json()
    assert listed["total"] == 4
    assert {each["name"] for each in listed["inspections"] if each["record"]["label"] == "anomalous"} == {
        "hole.png"
    }


def test_a_job_is_called_off(client: TestClient) -> None:
    job = client.post("/v1/jobs/learn", data={"name": "long", "effort": "thorough"}, files=tiles(20)).json()
    assert client.post(f"/v1/jobs/{job['id']}/cancel").json()["state"] == "cancelled"
    assert client.post(f"/v1/jobs/{job['id']}/cancel").status_code == 409
    assert finished(client, job)["state"] == "cancelled"


def test_clips_are_triaged_ranked_and_dismissed(client: TestClient, tmp_path: Path) -> None:
    for number in range(1, 4):
        write_film(tmp_path / f"{number}.mp4", make_film(7, people=number))
    write_film(tmp_path / "fast.mp4", make_film(10, walker(5.0, 60.0, speed=4.0), people=42))
    footage = [("files", (f"{n}.mp4", (tmp_path / f"{n}.mp4").read_bytes())) for n in range(1, 4)]
    scene = client.post("/v1/jobs/learn-scene", data={"name": "street"}, files=footage).json()
    assert finished(client, scene)["state"] == "done", client.get(f"/v1/jobs/{scene['id']}").json()
    assert client.get("/v1/scenes/street/picture").headers["content-type"] == "image/jpeg"
    zone = {"name": "kerb", "kind": "watch", "polygon": [[0, 0], [1, 0], [1, 0.4]]}
    assert client.put("/v1/scenes/street/zones", json={"zones": [zone]}).status_code == 200
    clip = [("files", ("fast.mp4", (tmp_path / "fast.mp4").read_bytes()))]
    job = client.post("/v1/jobs/triage", data={"scene": "street"}, files=clip).json()
    done = finished(client, job)
    assert done["state"] == "done", done
    run = done["result"]["run"]
    found = client.get(f"/v1/runs/{run}/alerts").json()
    alert = found["alerts"][0]
    assert client.get(alert["key_frame"]).headers["content-type"] == "image/jpeg"
    assert client.get(alert["clip"]).headers["content-type"] == "video/mp4"
    place = f"/v1/runs/{run}/events/feedback"
    said = client.post(place, params={"event": alert["event"]}, json={"verdict": "dismissed"}).json()
    assert said["action"] == "dismissed"
    assert client.post(place, params={"event": "E99"}, json={"verdict": "seen"}).status_code == 404
    assert "fast" in client.get(f"/v1/runs/{run}/report").text
    assert "Dismissed" in client.get(f"/watch/{run}").text or "Urgent" in client.get(f"/watch/{run}").text
    decisions = list(read_entries(kinds=["clip"]))
    assert len(decisions) == 1


def test_several_products_are_learned_from_a_folder_with_one_for_each(client: TestClient) -> None:
    files = [
        ("files", (f"goods/{name}/{number:02d}.png", png(draw(number)), "image/png"))
        for name, draw in (("tile", tile), ("disc", disc))
        for number in range(2)
    ]
    job = client.post("/v1/jobs/learn-products", data={"name": "line", "effort": "fast"}, files=files)
    done = finished(client, job.json())
    assert done["state"] == "done", done
    assert {each["name"]: each["pictures"] for each in done["result"]["products"]} == {"tile": 2, "disc": 2}
    (learned,) = (each for each in client.get("/v1/profiles").json() if each["name"] == "line")
    assert learned["kind"] == "products"
    assert client.get("/learn").status_code == 200
    (entry,) = read_entries(kinds=["learning"])
    assert (entry.content["job"], entry.content["products"]) == (done["id"], ["disc", "tile"])
    one = [("files", (f"goods/tile/{number}.png", png(tile(number)), "image/png")) for number in range(2)]
    assert client.post("/v1/jobs/learn-products", data={"name": "one"}, files=one).status_code == 400
