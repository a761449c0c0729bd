"""The run of a live camera: a camera that shows nothing is undecided, never normal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from anomalist.server.following import CameraRun
from anomalist.storage.run_folder import ClipRunFolder
from anomalist.streaming import AlertState, LiveAlert
from anomalist.triage import Triage
from anomalist.types.clip import TroubleKind
from anomalist.vision.media.frames import Frame
from anomalist.vision.media.streams import RecentFrames
from anomalist.vision.motion.scene import Scene
from tests.street import SIZE


def told(
    time: float, state: AlertState, trouble: TroubleKind | None = None, picture: str | None = None
) -> tuple[LiveAlert, RecentFrames]:
    recent = RecentFrames("gate")
    list(recent.record([Frame(0, time, np.zeros((*SIZE, 3), np.uint8))]))
    alert = LiveAlert(
        state=state,
        source="gate",
        stream_time=time,
        time="2026-12-01T00:00:00Z",
        trouble=trouble,
        picture=picture,
    )
    return alert, recent


def test_a_camera_that_was_covered_most_of_the_time_is_undecided(street: Scene, tmp_path: Path) -> None:
    with CameraRun(tmp_path / "run", "gate", Triage(street, model="evidence")) as run:
        run.keep(*told(2.0, "trouble", "covered"))
        run.keep(*told(62.0, "watching"))
    (record,) = ClipRunFolder(tmp_path / "run").records()
    assert record.label == "undecided"
    assert "covered" in (record.why_undecided or "")
    assert [(each.kind, each.start, each.end) for each in record.troubles] == [("covered", 2.0, 62.0)]


def test_a_camera_that_showed_what_was_learned_is_normal_and_another_picture_counts_as_not_judged(
    street: Scene, tmp_path: Path
) -> None:
    with CameraRun(tmp_path / "run", "gate", Triage(street, model="evidence")) as run:
        run.keep(*told(60.0, "watching"))
        assert ClipRunFolder(tmp_path / "run").records()[0].label == "normal"
        run.keep(*told(61.0, "picture", picture="infra-red"))
        run.keep(*told(200.0, "picture", picture=""))
        run.keep(*told(210.0, "watching"))
    (record,) = ClipRunFolder(tmp_path / "run").records()
    assert record.label == "undecided"
    assert "infra-red picture" in (record.why_undecided or "")
    assert [(each.start, each.end) for each in record.other_pictures] == [(61.0, 200.0)]


@pytest.mark.parametrize(
    ("told_of", "label"),
    [
        (((0.0, "trouble", "covered", None), (30.0, "recovered", None, None)), "normal"),
        (
            (
                (0.0, "trouble", "covered", None),
                (5.0, "picture", None, "infra-red"),
                (30.0, "recovered", None, None),
                (30.0, "picture", None, ""),
            ),
            "normal",
        ),
        (
            (
                (0.0, "trouble", "covered", None),
                (30.0, "picture", None, "infra-red"),
                (40.0, "recovered", None, None),
                (60.0, "picture", None, ""),
            ),
            "undecided",
        ),
    ],
)
def test_time_that_could_not_be_judged_for_two_reasons_counts_once(
    told_of: tuple[tuple[float, AlertState, TroubleKind | None, str | None], ...],
    label: str,
    street: Scene,
    tmp_path: Path,
) -> None:
    with CameraRun(tmp_path / "run", "gate", Triage(street, model="evidence")) as run:
        for each in told_of:
            run.keep(*told(*each))
        run.keep(*told(100.0, "watching"))
    assert ClipRunFolder(tmp_path / "run").records()[0].label == label
