"""RecentFrames: passes everything on and remembers the last seconds, in bounded memory."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import pytest

from anomalist.errors import MediaError
from anomalist.types.common import UInt8Array
from anomalist.vision.drawing import encode_jpeg
from anomalist.vision.media.frames import Frame, Video
from anomalist.vision.media.streams import RECENT_RATE, RECENT_SECONDS, RecentFrames
from tests.vision.media.films import picture


def stream(seconds: float, rate: float = 10.0) -> Iterator[Frame]:
    for number in range(round(seconds * rate)):
        yield Frame(number, number / rate, picture(number % 256))


def test_every_frame_is_passed_on() -> None:
    passed = list(RecentFrames("cam").record(stream(3)))
    assert [frame.index for frame in passed] == list(range(30))


def test_only_the_last_seconds_are_remembered() -> None:
    recent = RecentFrames("cam")
    for _ in recent.record(stream(40)):
        pass
    kept = [frame.time for frame in recent.frames()]
    assert kept[-1] - kept[0] <= RECENT_SECONDS
    assert kept[0] >= 39 - RECENT_SECONDS
    assert len(kept) <= RECENT_SECONDS * RECENT_RATE + 1


def test_it_is_a_video_of_what_it_remembers() -> None:
    recent: Video = RecentFrames("cam")
    assert isinstance(recent, RecentFrames)
    for _ in recent.record(stream(5)):
        pass
    assert recent.size == picture(0).shape[:2]
    frame = next(recent.frames(start=3.0, stop=4.0))
    assert 3.0 <= frame.time < 3.3
    assert np.abs(frame.pixels.astype(int) - picture(frame.index)).mean() < 12  # JPEG
    assert len(list(recent.frames(rate=1.0))) == 5


@pytest.mark.parametrize("seconds", [0.1, 3.0, 3.1])
def test_the_newest_frame_is_there_whether_or_not_it_is_one_of_those_kept(seconds: float) -> None:
    recent = RecentFrames("cam")
    *_, newest = recent.record(stream(seconds))
    for held in (recent, recent.snapshot(), copy.copy(recent)):
        *_, last = held.frames()
        assert last.index == newest.index
        assert np.abs(last.pixels.astype(int) - newest.pixels).mean() < 12
        assert [frame.index for frame in held.frames(start=newest.time)] == [newest.index]


def test_the_newest_frame_is_encoded_once_however_often_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[int] = []

    def encode(pixels: UInt8Array, quality: int) -> bytes:
        encoded.append(1)
        return encode_jpeg(pixels, quality)

    recent = RecentFrames("cam")
    frames = recent.record(stream(3.1))
    last = [next(frames) for _ in range(30)][-1]
    monkeypatch.setattr("anomalist.vision.media.streams.encode_jpeg", encode)
    read = [list(recent.frames())[-1].index, list(recent.snapshot().frames())[-1].index]
    assert read == [last.index] * 2 and len(encoded) == 1
    *_, newer = frames
    assert list(recent.frames())[-1].index == newer.index


def test_before_the_first_frame_there_is_no_size() -> None:
    with pytest.raises(MediaError, match="yet"):
        _ = RecentFrames("cam").size
