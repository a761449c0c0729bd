"""Streams from real local servers that die, come back, stall and lie."""

import io
import itertools
import socket
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from anomalist.errors import MediaError
from anomalist.vision.media import stream_receiver
from anomalist.vision.media.streams import StreamedVideo
from anomalist.vision.media.video import open_video
from tests.vision.media.films import film, numbers, picture, times_of
from tests.vision.media.servers import Camera, Http, running


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_receiver, "FIRST_WAIT", 0.02)
    monkeypatch.setattr(stream_receiver, "TIMEOUT", 1.0)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    for kind in ("mp4", "mkv", "ts"):
        film(folder / f"film.{kind}", 100)
    film(folder / "sound_missing.mp4", 3)
    (folder / "text.mp4").write_text("no video\n" * 100)
    (folder / "playlist.m3u8").write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1.2,\nfile://{folder}/film.ts\n#EXT-X-ENDLIST\n"
    )
    return folder


def jpegs(pictures: Sequence[int], height: int = 64, width: int = 80) -> list[bytes]:
    encoded = []
    for number in pictures:
        buffer = io.BytesIO()
        Image.fromarray(picture(number, height, width)).save(buffer, "JPEG", quality=90)
        encoded.append(buffer.getvalue())
    return encoded


# --- files on a server ----------------------------------------------------------------------------------


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("name", ["film.mp4", "film.mkv", "film.ts"])
def test_a_file_on_a_server_is_read_to_its_end(served: Path, name: str, ranges: bool) -> None:
    server = Http(served, [], ranges)
    with running(server):
        video = open_video(f"{server.address}/{name}")
        assert isinstance(video, StreamedVideo)
        frames = list(video.frames())
        assert list(video.frames()) == [], "a stream goes only onwards"
    assert numbers(frames) == list(range(100))
    assert times_of(frames) == [number / 25 for number in range(100)]
    assert not any(frame.cut for frame in frames)
    assert (video.size, video.sha256, video.notes) == ((64, 80), None, ())
    assert video.duration == (None if name.endswith("ts") and not ranges else pytest.approx(4.0))


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("name", ["film.mp4", "film.mkv"])
@pytest.mark.parametrize("plan", [[0.5], [0.5, 0.2, 0.7]])
def test_where_the_connection_dies_reading_goes_on_at_the_same_place(
    served: Path, name: str, ranges: bool, plan: list[float]
) -> None:
    server = Http(served, plan, ranges)
    with running(server):
        video = StreamedVideo(f"{server.address}/{name}")
        frames = list(video.frames())
    assert numbers(frames) == [frame.index for frame in frames] == list(range(100))
    assert times_of(frames) == [number / 25 for number in range(100)]
    cuts = [frame.index for frame in frames if frame.cut]
    assert cuts
    assert cuts[0] in range(40, 61)
    assert any(note.startswith("the connection was lost") for note in video.notes)
    assert len(server.requests) > len(plan)


def test_a_file_that_is_short_on_the_server_ends_with_a_note(served: Path) -> None:
    server = Http(served, [0.5] * 20, False)
    with running(server):
        video = StreamedVideo(f"{server.address}/film.mp4")
        frames = list(video.frames())
    assert numbers(frames) == list(range(len(frames)))
    assert 40 < len(frames) < 60
    assert any(note.startswith("cut short: ends at ") and note.endswith(" of 4.0 s") for note in video.notes)


def test_ranges_and_rates_work_onwards(served: Path) -> None:
    server = Http(served, [], True)
    with running(server):
        video = StreamedVideo(f"{server.address}/film.mp4")
        assert [frame.index for frame in video.frames(0.2, 0.4)] == [5, 6, 7, 8, 9]
        assert [frame.index for frame in video.frames(0.0, 1.0, rate=5)] == [10, 15, 20]
        assert [frame.index for frame in video.frames()][:2] == [25, 26]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("missing.mp4", r"can't be opened \(Server returned 404 Not Found\)"),
        ("text.mp4", "can't be opened"),
        ("playlist.m3u8", "can't be opened|gives no frame"),
    ],
)
def test_what_a_server_cannot_give_is_one_clear_error(served: Path, path: str, message: str) -> None:
    server = Http(served, [], True)
    with running(server):
        address = server.address.replace("//", "//admin:hunter2@") + f"/{path}?token=hunter2"
        with pytest.raises(MediaError, match=message) as caught:
            open_video(address)
    assert "hunter2" not in f"{caught.value} {caught.value.__cause__!r}"
    assert "admin@127.0.0.1" in str(caught.value)
    assert caught.value.remedy.endswith(".")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("scheme", ["http", "rtsp", "rtmp"])
def test_where_nobody_listens_is_one_clear_error(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(MediaError, match="can't be opened") as caught:
        open_video(f"{scheme}://admin:hunter2@127.0.0.1:{port}/cam")
    assert "hunter2" not in str(caught.value)


def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_receiver, "TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        start, usual = time.monotonic(), 10.0
        with pytest.raises(MediaError, match="can't be opened"):
            open_video(f"http://127.0.0.1:{server.getsockname()[1]}/film.mp4")
    assert time.monotonic() - start < usual


# --- cameras --------------------------------------------------------------------------------------------


def test_a_jpeg_camera_that_dies_and_comes_back_with_another_size() -> None:
    films = [jpegs(range(10)), jpegs(range(10, 20)), jpegs(range(20, 30), 96, 128)]
    camera = Camera("jpeg", films, 0.01)
    with running(camera):
        video = open_video(f"http://admin:hunter2@{camera.host}/video?token=hunter2", give_up=1.0)
        frames = list(video.frames())
    got = numbers(frames)
    assert got == sorted(set(got)), "in order, none twice"
    assert {number // 10 for number in got} == {0, 1, 2}
    assert [number // 10 for number in numbers(frame for frame in frames if frame.cut)] == [1, 2]
    assert all(a.time < b.time for a, b in itertools.pairwise(frames))
    assert {frame.pixels.shape for frame in frames} == {(64, 80, 3), (96, 128, 3)}
    assert video.source == f"http://admin@{camera.host}/video?token=…"
    lost, ended, *_ = video.notes  # and what was passed over, where the machine was busy
    assert lost.startswith("the connection was lost 3 times, first at ")
    assert ended.startswith("ended at ")
    assert ended.endswith(" s: no connection for 1 s")
    assert video.duration is None


def test_an_rtsp_camera_that_dies_and_comes_back(served: Path) -> None:
    data = (served / "film.ts").read_bytes()
    camera = Camera("rtsp", [data[: len(data) // 2 // 188 * 188], data], 0.001)
    with running(camera):
        video = open_video(f"rtsp://admin:hunter2@{camera.host}/cam", give_up=1.0)
        frames = list(video.frames())
    cuts = [place for place, frame in enumerate(frames) if frame.cut]
    assert len(cuts) == 1
    first, second = frames[: cuts[0]], frames[cuts[0] :]
    for part in (first, second):
        shown = numbers(part)
        assert [number - shown[0] for number in shown] == [frame.index - part[0].index for frame in part], (
            "in order, none twice, and what a busy machine was too slow for counts"
        )
    assert numbers(first)[-1] < 60
    assert numbers(second)[0] < numbers(second)[-1]
    assert numbers(second)[-1] > 90
    if not any("passed over" in note for note in video.notes):
        assert numbers(second) == list(range(100))[: len(second)]
    assert all(a.time < b.time and a.index < b.index for a, b in itertools.pairwise(frames))
    assert video.source == f"rtsp://admin@{camera.host}/cam"
    assert "hunter2" not in " ".join(video.notes)


def test_a_slow_reader_stays_near_the_present() -> None:
    camera = Camera("jpeg", [jpegs(range(100))], 0.005)
    with running(camera):
        video = StreamedVideo(f"http://{camera.host}/video", give_up=0.0)
        frames = []
        for frame in video.frames():
            frames.append(frame)
            time.sleep(0.2)
    assert len(frames) < 60
    assert numbers(frames) == [frame.index for frame in frames], "what was passed over counts"
    assert any(note.endswith("because reading was slower than the stream") for note in video.notes)


def test_leaving_a_live_stream_and_coming_back_is_a_cut() -> None:
    camera = Camera("jpeg", [jpegs(range(100)), jpegs(range(100, 200))], 0.005)
    with running(camera):
        video = StreamedVideo(f"http://{camera.host}/video", give_up=0.5)
        first = [frame for frame, _ in zip(video.frames(), range(5), strict=False)]
        second = [frame for frame, _ in zip(video.frames(), range(5), strict=False)]
    assert second[0].cut
    assert second[0].time > first[-1].time
    assert numbers(second)[0] >= 100


def test_a_camera_that_stalls_is_left_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_receiver, "TIMEOUT", 1.0)

    class Stalling(Camera):
        def _send_jpegs(self, file: socket.SocketIO, pictures: Sequence[bytes]) -> None:
            super()._send_jpegs(file, pictures)
            if self._films:
                time.sleep(2.0)

    camera = Stalling("jpeg", [jpegs(range(10)), jpegs(range(10, 20))], 0.01)
    with running(camera):
        video = StreamedVideo(f"http://{camera.host}/video", give_up=5.0)
        frames = []
        for frame in video.frames():
            frames.append(frame)
            if frame.cut:
                break
    cut = next(frame for frame in frames if frame.cut)
    before = frames[frames.index(cut) - 1]
    assert cut.time - before.time > 1.0, "time goes on while nothing comes"
