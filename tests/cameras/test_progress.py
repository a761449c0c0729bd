"""How far cameras were followed, as the alerts of a folder say."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from anomalist.cameras.progress import read_progress
from anomalist.errors import DataError
from anomalist.storage.run_folder import ALERTS
from anomalist.streaming import AlertState, LiveAlert
from tests.agent.event_cases import make_event


def alert(state: AlertState, camera: str | None, time: float, number: int | None = None) -> LiveAlert:
    event = None if number is None else make_event(number)
    clock = "2026-01-01T00:00:00.000+00:00"
    return LiveAlert(state=state, camera=camera, source="a", stream_time=time, time=clock, event=event)


def write(folder: Path, *alerts: LiveAlert, rest: str = "") -> Path:
    text = "".join(f"{each.model_dump_json()}\n" for each in alerts)
    (folder / ALERTS).write_text(text + rest, encoding="utf-8")
    return folder


def test_each_camera_has_a_progress_of_its_own(tmp_path: Path) -> None:
    rows = [
        alert("opened", "gate", 4.0, 1), alert("opened", "yard", 1.0, 7), alert("closed", "gate", 6.0, 1),
        alert("opened", "gate", 9.0, 2), alert("updated", "gate", 9.5, 2), alert("opened", None, 3.0, 9),
    ]  # fmt: skip
    found = read_progress(write(tmp_path, *rows))
    assert set(found) == {"gate", "yard"}
    gate = found["gate"]
    assert (gate.number, gate.time, list(gate.open)) == (2, 9.5, ["E2"])
    assert gate.told == {("opened", "E1"), ("closed", "E1"), ("opened", "E2")}
    assert gate.seconds_since(datetime(2026, 1, 1, 0, 1, tzinfo=UTC)) == 60
    assert gate.seconds_since(datetime(2025, 1, 1, tzinfo=UTC)) == 0


def test_a_camera_that_ended_for_a_reason_has_not_ended_for_good(tmp_path: Path) -> None:
    ended = alert("ended", "gate", 4.0)
    assert read_progress(write(tmp_path, ended))["gate"].ended
    assert not read_progress(write(tmp_path, ended.replace(why="It is gone.")))["gate"].ended


def test_half_a_last_row_does_not_count_and_nonsense_is_said_with_its_line(tmp_path: Path) -> None:
    whole = alert("opened", "gate", 4.0, 1)
    assert read_progress(write(tmp_path, whole, rest='{"state":"clo'))["gate"].number == 1
    for rest in ("nonsense\n", '{"camera":"gate","state":"danced"}\n', "[3]\n"):
        with pytest.raises(DataError, match="line 2"):
            read_progress(write(tmp_path, whole, rest=rest))


def test_a_row_of_before_alerts_had_labels_is_read(tmp_path: Path) -> None:
    row = alert("watching", "gate", 60.0).model_dump_json(exclude={"label"})
    assert read_progress(write(tmp_path, rest=f"{row}\n"))["gate"].time == 60


def test_nothing_is_known_of_a_new_folder(tmp_path: Path) -> None:
    assert read_progress(tmp_path / "new") == {}
