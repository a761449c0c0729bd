"""Everything that can be named, good and bad."""

import contextlib
import itertools
import os
import sys
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from anomalist.errors import MediaError
from anomalist.vision.media.files import FrameFolder, VideoFile
from anomalist.vision.media.frames import Video
from anomalist.vision.media.video import distinct_videos, open_video
from tests.vision.media.films import film, numbers, picture

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX files")


@contextlib.contextmanager
def as_ordinary_user() -> Iterator[None]:
    """Drop the rights of root for a moment: root may read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_file_and_a_folder_are_opened_alike(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(3):
        Image.fromarray(picture(number)).save(folder / f"{number}.png")
    videos: list[Video] = [
        open_video(film(tmp_path / "a.mp4", 3)),
        open_video(str(folder), rate_of_folder=25),
    ]
    assert [type(video) for video in videos] == [VideoFile, FrameFolder]
    for video in videos:
        assert numbers(video.frames()) == [0, 1, 2]
        assert video.size == picture(0).shape[:2]
        assert video.duration == pytest.approx(0.12)
        assert video.sha256
        assert len(video.sha256) == 64


def test_copies_of_one_film_are_one_video_and_the_others_are_named(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", 3)
    copied = tmp_path / "Süd 1.mp4"
    copied.write_bytes(path.read_bytes())
    other = film(tmp_path / "other.mp4", 5)
    kept, told = distinct_videos([open_video(each) for each in (path, copied, other)])
    assert [video.source for video in kept] == [str(path), str(other)]
    assert len(told) == 1 and str(copied) in told[0] and str(path) in told[0]


def saved(data: bytes, name: str = "film.mp4") -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(data)
        return path

    return make


def fifo(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.mp4")
    return folder / "pipe.mp4"


def dangling_link(folder: Path) -> Path:
    (folder / "link.mp4").symlink_to(folder / "gone.mp4")
    return folder / "link.mp4"


def sound_only(folder: Path) -> Path:
    import av
    import numpy as np

    path = folder / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def sound_as_video(folder: Path) -> Path:
    with wave.open(str(folder / "sound.mp4"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(8000))
    return folder / "sound.mp4"


def without_index(folder: Path) -> Path:
    path = film(folder / "film.mp4", movflags="")
    path.write_bytes(path.read_bytes()[:-200])
    return path


def before_first_frame(folder: Path) -> Path:
    path = film(folder / "film.mp4")
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"mdat") + 20])
    return path


def giant(folder: Path) -> Path:
    """Return a GIF whose header announces 16384×8192."""
    path = film(folder / "film.gif", 1, codec="gif", layout="rgb8")
    data = path.read_bytes()
    path.write_bytes(data[:6] + (16384).to_bytes(2, "little") + (8192).to_bytes(2, "little") + data[10:])
    return path


def playlist(folder: Path) -> Path:
    film(folder / "other.ts")
    text = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1.2,\nother.ts\n#EXT-X-ENDLIST\n"
    return saved(text.encode(), "film.m3u8")(folder)


REFUSED: list[tuple[str, Callable[[Path], str | Path], str]] = [
    ("missing", lambda folder: folder / "none.mp4", "There is no file"),
    ("dangling link", dangling_link, r"is a link to .*gone\.mp4\", which does not exist"),
    ("below a file", lambda folder: saved(b"x")(folder) / "b.mp4", "can't be read"),
    ("FIFO", fifo, "not a regular file"),
    ("device", lambda _: "/dev/zero", "not a regular file"),
    ("name too long for the system", lambda folder: folder / ("n" * 5000 + ".mp4"), "can't be read"),
    ("null character", lambda _: "a\0b.mp4", "can't be read"),
    ("empty name", lambda _: "", "not a regular file|is a folder|holds no pictures|There is no file"),
    ("zero bytes", saved(b""), r"is empty \(0 bytes\)"),
    ("text", saved(b"This is not a video.\n" * 100), "is not a video"),
    ("only zeros", saved(bytes(100_000)), "is not a video"),
    ("playlist", playlist, "is not a video"),
    ("list of files", saved(b"ffconcat version 1.0\nfile other.ts\n"), "is not a video"),
    ("sound only", sound_only, r"has no moving pictures \(sound only\?\)"),
    ("sound named as video", sound_as_video, "is not a video"),
    ("index missing at the end", without_index, "cut short before its first frame"),
    (
        "cut before the first frame",
        before_first_frame,
        "No frame of|before its first frame",
    ),
    ("too large", giant, r"\(16384×8192\) has more than 64 million pixels"),
    ("folder without pictures", lambda folder: folder, "holds no pictures"),
    ("unknown scheme", lambda _: "gopher://host/film.mp4", '"gopher" addresses are not read'),
]


@posix_only
@pytest.mark.parametrize(
    ("make", "message"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_what_cannot_be_read_is_one_clear_error(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], make: Callable[[Path], str | Path], message: str
) -> None:
    path = make(tmp_path)
    with pytest.raises(MediaError, match=message) as caught:
        open_video(path)
    assert caught.value.remedy.endswith((".", ")"))
    text = str(caught.value)
    assert text.isprintable(), "one line that a terminal can show"
    assert len(text) < 350
    assert capfd.readouterr().err == ""


@posix_only
def test_a_file_without_permission_says_so(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4", 3)
    open_video(path)  # so that all modules are imported while they may be read
    path.chmod(0)
    with as_ordinary_user(), pytest.raises(MediaError, match="may not be read"):
        open_video(path)


CONTAINERS = ["mp4", "mkv", "avi", "ts"]


@pytest.mark.parametrize("kind", CONTAINERS)
@settings(max_examples=15)
@given(
    flips=st.lists(st.tuples(st.integers(0), st.integers(0, 255)), max_size=8),
    share=st.one_of(st.just(1.0), st.floats(0, 1)),
)
def test_a_damaged_file_gives_frames_in_order_or_a_media_error(
    tmp_path_factory: pytest.TempPathFactory, kind: str, flips: list[tuple[int, int]], share: float
) -> None:
    clean = tmp_path_factory.getbasetemp() / f"clean.{kind}"
    if not clean.exists():
        film(clean, 12)
    data = bytearray(clean.read_bytes())
    for position, value in flips:
        data[position % len(data)] = value
    path = tmp_path_factory.mktemp("damaged") / f"film.{kind}"
    path.write_bytes(data[: int(share * len(data))])
    with contextlib.suppress(MediaError):
        frames = list(open_video(path).frames())
        assert all(a.time < b.time and a.index < b.index for a, b in itertools.pairwise(frames))
