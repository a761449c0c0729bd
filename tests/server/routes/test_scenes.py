"""What was learned goes by names of any script; without alerts, only a run that was judged is calm."""

from __future__ import annotations

import json
import shutil
import unicodedata
from pathlib import Path

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient

from anomalist.storage.files import file_sha256
from anomalist.storage.run_folder import ClipRunFolder
from anomalist.types.clip import ClipRecord
from anomalist.vision.motion.scene import Scene
from tests.report.clip_records import clip, dark, failed
from tests.server.conftest import HOLED, upload
from tests.street import SIZE
from tests.vision.media.films import film


@pytest.mark.parametrize(
    ("records", "calm"),
    [
        ([clip()], True),
        ([dark()], False),
        ([clip("calm.mp4"), failed()], False),
        ([clip(label=None)], False),
    ],
)
def test_a_run_without_alerts_is_calm_only_where_all_was_judged(
    records: list[ClipRecord], calm: bool, client: TestClient, home: Path
) -> None:
    with ClipRunFolder.open(home / "server" / "runs" / "night") as folder:
        folder.replace(records)
    shown = client.get("/watch/night").text
    assert ("Nothing stood out." in shown) is calm
    assert ("Not enough could be judged" in shown) is not calm


@pytest.mark.parametrize("name", ["हिन्दी", "ไม่ดี", "größe"])
def test_what_was_learned_is_found_by_its_name_however_it_is_typed(
    name: str, client: TestClient, home: Path
) -> None:
    shutil.copytree(home / "profiles" / "tiles", home / "profiles" / name)
    assert name in {each["name"] for each in client.get("/v1/profiles").json()}
    for typed in (name, unicodedata.normalize("NFD", name)):
        assert client.get(f"/v1/profiles/{typed}").json()["name"] == name
        (found,) = upload(client, ("hole.png", HOLED), profile=typed)
        assert found["record"]["label"] == "anomalous"


def test_a_name_that_no_file_system_takes_is_no_fault(client: TestClient) -> None:
    for name in ("部" * 100, "\u0301a", "a\u200db"):
        assert client.get(f"/v1/profiles/{name}").status_code == 422


def test_the_picture_of_a_scene_that_is_learned_again_is_one_of_the_new_footage(
    client: TestClient, home: Path, street: Scene, tmp_path: Path
) -> None:
    assert street.path is not None
    yard = home / "profiles" / "yard"
    shutil.copytree(street.path, yard)
    manifest = json.loads((yard / "scene.json").read_bytes())
    seen: list[httpx.Response] = []
    for shade in (40, 200):
        footage = film(tmp_path / f"{shade}.mp4", [np.full((*SIZE, 3), shade, np.uint8)] * 10, rate=10)
        video = {"source": str(footage), "sha256": file_sha256(footage), "seconds": 1.0, "notes": []}
        (yard / "scene.json").write_text(json.dumps(manifest | {"footage": [video]}))
        known = {"if-none-match": seen[-1].headers["etag"]} if seen else {}
        seen.append(client.get("/v1/scenes/yard/picture", headers=known))
    assert [each.status_code for each in seen] == [200, 200]
    assert seen[0].content != seen[1].content
    assert "no-cache" in seen[1].headers["cache-control"]
    again = client.get("/v1/scenes/yard/picture", headers={"if-none-match": seen[1].headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
