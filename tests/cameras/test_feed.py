"""Reception of one camera: a file waits, a live stream loses its oldest frames."""

from __future__ import annotations

import time
from pathlib import Path
from threading import Condition

import numpy as np

from anomalist.cameras.feed import MAX_AGE, MAX_HELD, CameraFeed, Ended, Opened
from anomalist.vision.media.frames import Frame
from tests.vision.media.films import film


def frame(index: int, *, cut: bool = False) -> Frame:
    return Frame(index, index / 10, np.zeros((2, 2, 3), np.uint8), cut)


def live() -> CameraFeed:
    feed = CameraFeed("rtsp://camera/1", lambda _: None, Condition())
    feed._live = True
    return feed


def indices(feed: CameraFeed) -> list[int]:
    return [item.index for _, item in feed.held if isinstance(item, Frame)]


def test_a_live_stream_loses_its_oldest_frames_and_no_cut() -> None:
    feed = live()
    for index in range(MAX_HELD + 3):
        feed._put(frame(index, cut=index == 1))
    assert indices(feed) == [3, 4, 5, 6]
    assert feed.passed_over == 3
    first = feed.take()
    assert isinstance(first, Frame)
    assert first.cut


def test_frames_that_waited_too_long_are_dropped_for_newer_ones() -> None:
    feed = live()
    for index in range(3):
        feed._put(frame(index))
    feed.held[0] = feed.held[0][0] - 2 * MAX_AGE, feed.held[0][1]
    feed.held[1] = feed.held[1][0] - 2 * MAX_AGE, feed.held[1][1]
    taken = feed.take()
    assert isinstance(taken, Frame)
    assert (taken.index, feed.passed_over) == (2, 2)


def test_that_a_camera_is_there_is_never_dropped() -> None:
    feed = live()
    feed._put(Opened((2, 2), live=True))
    for index in range(3):
        feed._put(frame(index))
    feed._stop.set()  # there is room for no more, and nobody takes anything
    feed._put(frame(3))
    assert isinstance(feed.take(), Opened)


def test_a_file_loses_nothing(tmp_path: Path) -> None:
    changed = Condition()
    feed = CameraFeed(str(film(tmp_path / "film.mp4", 30, rate=10)), lambda _: None, changed)
    feed.start()
    items: list[object] = []
    deadline = time.monotonic() + 60
    while not (items and isinstance(items[-1], Ended)) and time.monotonic() < deadline:
        with changed:
            changed.wait_for(lambda: feed.held, 1)
            assert len(feed.held) <= MAX_HELD
            if feed.held:
                items.append(feed.take())
                changed.notify_all()
    assert isinstance(items[0], Opened)
    assert [item.index for item in items if isinstance(item, Frame)] == list(range(30))
    assert feed.passed_over == 0
