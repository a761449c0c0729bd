"""Events of a clip, and frames at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from anomalist.agent.tools.clips import frame_at, list_events
from anomalist.agent.tools.subject import Subject
from anomalist.errors import AnomalistError, DataError
from anomalist.vision.media.video import open_video
from tests.report.clip_records import clip, event, failed
from tests.street import make_film
from tests.street_files import write_film


def test_events_in_short() -> None:
    subject = Subject(clips=(clip("yard.mp4", event(), event("E2", 4, 7, severity=1, kind="place")),))
    found = list_events(subject)
    assert [(each.event, each.start, each.end, each.duration) for each in found.events] == [
        ("E1", 1, 2, 1),
        ("E2", 4, 7, 3),
    ]
    assert list_events(subject, least_severity=2).count == 1
    assert list_events(subject, kind="place").events[0].event == "E2"


def test_a_frame_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "yard.mp4"
    write_film(path, make_film(2, people=1))
    record = clip(str(path), event("E1", 0.4, 1.0), sha256=open_video(path).sha256, duration=2.0)
    subject = Subject(clips=(record,), crops=tmp_path / "crops")
    frame = frame_at(subject, 0.5)
    assert frame.time == pytest.approx(0.5, abs=0.11)
    assert frame.events == ("E1",)
    assert frame.file is not None
    assert Path(frame.file).exists()
    with pytest.raises(DataError, match="has no 9 s"):
        frame_at(subject, 9)
    path.write_bytes(b"something else")
    with pytest.raises(AnomalistError):
        frame_at(subject, 0.5)
    path.unlink()
    with pytest.raises(DataError, match="is gone"):
        frame_at(subject, 0.5)


def test_a_clip_that_could_not_be_read_has_a_reason_and_no_label() -> None:
    subject = Subject(clips=(failed("broken.mp4"),))
    found = list_events(subject)
    assert (found.label, found.error) == (None, "This is <not> a video.")
    with pytest.raises(DataError, match="could not be judged: This is <not> a video"):
        subject.event("E1")
