"""Alerts in a folder: each event keeps the picture that was taken of it."""

from __future__ import annotations

from pathlib import Path

from anomalist.runs import AlertRecorder
from anomalist.streaming import LiveAlert
from anomalist.vision.media.streams import RecentFrames
from tests.agent.event_cases import Street, make_event


def test_a_stream_that_is_followed_into_a_folder_again_keeps_the_pictures_of_before(tmp_path: Path) -> None:
    recent = RecentFrames("camera")
    for _ in recent.record(Street().frames()):
        pass
    alert = LiveAlert(state="opened", source="camera", stream_time=2, time="t", event=make_event(1))
    names = []
    for _ in range(3):
        with AlertRecorder(tmp_path) as recorder:
            kept = recorder.keep(alert, recent)
        assert kept.event is not None
        names.append(str(kept.event.key_frame))
    assert len(set(names)) == 3
    assert all((tmp_path / name).is_file() for name in names)
