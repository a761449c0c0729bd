"""Single frames and clips."""

from pathlib import Path

import av
import numpy as np
import pytest

from anomalist.errors import MediaError
from anomalist.vision.media import video
from anomalist.vision.media.files import VideoFile
from anomalist.vision.media.video import CLIP_LONGEST_SIDE, cut_clip, frame_at
from tests.vision.media.films import film, number_of, numbers, picture, times_of


def test_a_clip_has_the_frames_of_its_range_at_their_times(tmp_path: Path) -> None:
    times = [0, 0.1, 0.15, 0.5, 0.54, 0.9, 1.3, 1.31]
    video = VideoFile(film(tmp_path / "film.mkv", 8, times=times))
    path = tmp_path / "clip.mp4"
    cut_clip(video, 0.15, 1.31, path)
    clip = VideoFile(path)
    assert numbers(clip.frames()) == [2, 3, 4, 5, 6]
    assert times_of(clip.frames()) == pytest.approx([0, 0.35, 0.39, 0.75, 1.15], abs=1e-4)
    assert clip.notes == ()
    assert [p.name for p in tmp_path.iterdir() if "clip" in p.name] == ["clip.mp4"]


def test_a_browser_can_play_it_while_it_loads(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    cut_clip(VideoFile(film(tmp_path / "film.mp4")), 0, 1, path)
    data = path.read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(47, 65, (48, 64)), (64, 80, (64, 80)), (1, 1, (2, 2)), (100, 2000, (48, CLIP_LONGEST_SIDE))],
)
def test_sides_are_even_and_not_too_long(
    tmp_path: Path, height: int, width: int, expected: tuple[int, int]
) -> None:
    pixels = np.full((height, width, 3), 128, np.uint8)
    cut_clip(
        VideoFile(film(tmp_path / "film.mkv", [pixels] * 3, codec="ffv1", layout="bgr0")),
        0,
        9,
        tmp_path / "c.mp4",
    )
    clip = VideoFile(tmp_path / "c.mp4")
    assert clip.size == expected
    assert len(list(clip.frames())) == 3


def test_without_an_h264_encoder_it_is_mpeg4(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "ENCODERS", ("no_such_encoder", "mpeg4"))
    cut_clip(VideoFile(film(tmp_path / "film.mp4")), 0.4, 0.8, tmp_path / "clip.mp4")
    clip = VideoFile(tmp_path / "clip.mp4")
    assert numbers(clip.frames()) == list(range(10, 20))


def test_a_video_can_be_replaced_by_its_own_clip(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4")
    cut_clip(VideoFile(path), 0.4, 0.8, path)
    assert numbers(VideoFile(path).frames()) == list(range(10, 20))


@pytest.mark.parametrize(
    ("start", "stop", "name", "message"),
    [
        (5, 6, "clip.mp4", r"has no frames from 5\.0 to 6\.0 s"),
        (0.5, 0.5, "clip.mp4", "has no frames"),
        (0, 1, "missing/clip.mp4", "can't be written"),
        (0, 1, ".", "can't be written"),
    ],
)
def test_what_cannot_be_written_is_one_clear_error(
    tmp_path: Path, start: float, stop: float, name: str, message: str
) -> None:
    video = VideoFile(film(tmp_path / "film.mp4"))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(MediaError, match=message) as caught:
        cut_clip(video, start, stop, tmp_path / name)
    assert caught.value.remedy
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("time", "number"), [(0, 0), (0.4, 10), (0.41, 11), (1.16, 29), (1.2, 29), (99, 29), (-1, 0)]
)
def test_the_frame_at_a_time_is_the_first_from_there_on_or_the_last(
    tmp_path: Path, time: float, number: int
) -> None:
    frame = frame_at(VideoFile(film(tmp_path / "film.mp4")), time)
    assert (number_of(frame.pixels), frame.index) == (number, number)
    assert np.array_equal(frame.pixels.shape, (*picture(0).shape,))
