"""One camera: lost in the middle of an event, back, restarted, and frames that can't be scored."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from threading import Condition

import numpy as np
import pytest

from anomalist.cameras.feed import CameraFeed, Ended, FeedItem, Lost, Opened
from anomalist.cameras.line import INTERRUPTED, MAX_FAILURES, CameraLine
from anomalist.cameras.listing import Camera
from anomalist.cameras.progress import CameraProgress, utc
from anomalist.composition import TriageSettings
from anomalist.streaming import LiveAlert
from anomalist.triage import Triage
from anomalist.vision.motion.scene import Scene
from tests.street import SIZE, make_film, walker

RUNNER = walker(2.0, 70.0, speed=4.0)
SOURCE = "rtsp://me:secret@camera/1"


def line_of(
    scene: Scene, before: CameraProgress | None = None, source: str = SOURCE, **more: object
) -> CameraLine:
    triage = Triage(TriageSettings(scene, memory=False, **more))  # type: ignore[arg-type]
    camera = Camera(name="gate", source=source, profile="street")
    feed = CameraFeed(camera.source, triage.check_shape, Condition())
    return CameraLine(camera, triage, feed, before or CameraProgress(), None)


def running(seconds: float) -> Iterator[FeedItem]:
    yield Opened(SIZE, live=True)
    yield from make_film(seconds, RUNNER, people=31).frames()


def told(line: CameraLine, items: Iterator[FeedItem] | list[FeedItem]) -> list[LiveAlert]:
    return [alert for item in items for alert in line.take(item)]


def states(alerts: list[LiveAlert]) -> list[str]:
    return [alert.state for alert in alerts]


def test_a_camera_that_is_lost_closes_its_event_and_says_so_once(street: Scene) -> None:
    line = line_of(street)
    alerts = told(line, [*running(3.4), Lost("It is gone."), Lost("It is still gone.")])
    assert states(alerts) == ["opened", "closed", "lost"]
    assert alerts[-1].why == "It is gone."
    assert (line.status.state, line.status.why) == ("lost", "It is still gone.")
    assert {alert.camera for alert in alerts} == {"gate"}
    assert {alert.source for alert in alerts} == {"rtsp://me@camera/1"}


def test_its_time_and_its_numbers_go_on_when_it_is_back(street: Scene) -> None:
    line = line_of(street)
    first = told(line, [*running(3.4), Lost("It is gone.")])
    line._arrived = time.monotonic() - 100
    second = told(line, [*running(6.0), Ended(None)])
    assert states(second)[:2] == ["back", "jump"]
    assert next(alert.event.id for alert in second if alert.event) == "E2"
    assert second[0].stream_time == pytest.approx(first[-1].stream_time + 100, abs=5)
    times = [alert.stream_time for alert in (*first, *second)]
    assert times == sorted(times)


def test_a_restart_goes_on_by_the_clock_and_closes_what_was_open(street: Scene) -> None:
    before = CameraProgress()
    opened = [alert for alert in told(line_of(street), running(3.4)) if alert.state == "opened"]
    early = (utc() - timedelta(seconds=60)).isoformat()
    before.add(opened[0].replace(time=early))
    alerts = told(line_of(street, before), [*running(6.0), Ended(None)])
    assert [(alert.state, alert.event.id) for alert in alerts if alert.event] == [
        ("closed", "E1"),
        ("opened", "E2"),
        ("closed", "E2"),
    ]
    assert alerts[0].event is not None
    assert INTERRUPTED in alerts[0].event.notes
    assert alerts[1].stream_time > opened[0].stream_time + 60


def test_a_file_that_was_followed_to_its_end_is_not_followed_again(street: Scene) -> None:
    line = line_of(street, source="night.mp4")
    before = CameraProgress()
    for alert in told(line, [Opened(SIZE, live=False), Ended(None)]):
        before.add(alert)
    assert line_of(street, before, source="night.mp4").over
    assert not line_of(street, before, source="other.mp4").over


def test_frames_that_cannot_be_scored_end_a_camera_only_when_there_are_many(street: Scene) -> None:
    line = line_of(street)
    told(line, running(1.0))
    frame = next(iter(make_film(0.1).frames()))
    odd = replace(frame, pixels=np.zeros((0, 0, 3), np.uint8))
    alerts: list[LiveAlert] = []
    for _ in range(MAX_FAILURES):
        try:
            alerts += line.take(odd)
            pytest.fail("an empty picture was scored")
        except Exception as error:
            alerts += line.broken(error)
            alerts += line.take(frame) if not line.over else ()
    assert states(alerts) == ["lost", "back", "lost", "back", "ended"]
    assert line.failed
    assert "can't be scored" in (line.status.why or "")


def test_an_event_is_closed_when_a_frame_cannot_be_scored(street: Scene) -> None:
    line = line_of(street)
    alerts = told(line, running(3.4))
    odd = replace(next(iter(make_film(0.1).frames())), pixels=np.zeros((0, 0, 3), np.uint8))
    with pytest.raises(Exception) as raised:  # whichever library is the first to stumble
        list(line.take(odd))
    alerts += line.broken(raised.value)
    assert [(alert.state, alert.event.id) for alert in alerts if alert.event] == [
        ("opened", "E1"),
        ("closed", "E1"),
    ]
    assert states(alerts)[-1] == "lost"


def test_a_camera_that_stays_lost_over_a_restart_is_not_said_to_be_lost_again(street: Scene) -> None:
    before = CameraProgress()
    for alert in told(line_of(street), [Lost("It is gone.")]):
        before.add(alert)
    line = line_of(street, before)
    assert told(line, [Lost("It is gone.")]) == []
    assert line.status.state == "lost"
    assert states(told(line, running(0.5))) == ["back"]
