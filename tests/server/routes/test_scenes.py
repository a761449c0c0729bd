"""Alerts of a run on its page: without any, only what was judged is calm."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from anomalist.storage.run_folder import ClipRunFolder
from anomalist.types.clip import ClipRecord
from tests.report.clip_records import clip, dark, failed


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
