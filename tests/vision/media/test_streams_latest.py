"""A reader that is slower than a live stream."""

import time
from collections.abc import Iterator
from threading import Event, active_count

import numpy as np
import pytest

from anomalist.vision.media.frames import Frame
from anomalist.vision.media.streams import MAX_WAITING_FRAMES, latest_frames


def frame(index: int, cut: bool = False) -> Frame:
    return Frame(index, index / 10, np.zeros((2, 2, 3), np.uint8), cut)


def test_a_slow_reader_loses_the_oldest_and_a_cut_moves_on() -> None:
    go, all_there = Event(), Event()

    def frames() -> Iterator[Frame]:
        yield frame(0)
        go.wait(60)
        yield from (frame(index, cut=index == 2) for index in range(1, 20))
        all_there.set()

    dropped: list[None] = []
    reader = latest_frames(frames(), Event(), lambda: dropped.append(None))
    assert next(reader).index == 0
    go.set()
    all_there.wait(60)
    rest = list(reader)
    assert len(rest) == MAX_WAITING_FRAMES
    assert [f.index for f in rest] == [16, 17, 18, 19]
    assert rest[0].cut, "what was dropped held a cut"
    assert not any(f.cut for f in rest[1:])
    assert len(dropped) + 1 + MAX_WAITING_FRAMES == 20


def test_leaving_ends_the_thread() -> None:
    stop = Event()

    def endless() -> Iterator[Frame]:
        index = 0
        while not stop.is_set():
            yield frame(index := index + 1)
            time.sleep(0.001)

    before = active_count()
    reader = latest_frames(endless(), stop, lambda: None)
    next(reader)
    reader.close()
    assert stop.is_set()
    assert active_count() == before


def test_an_error_reaches_the_reader_after_the_frames_before_it() -> None:
    def failing() -> Iterator[Frame]:
        yield frame(0)
        raise ValueError("too large")

    reader = latest_frames(failing(), Event(), lambda: None)
    assert next(reader).index == 0
    with pytest.raises(ValueError, match="too large"):
        next(reader)
