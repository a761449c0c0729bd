"""Files of every common kind, read twice: by decord and by PyAV."""

import hashlib
import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from anomalist.errors import MediaError
from anomalist.vision.media import files
from anomalist.vision.media.decoding import probe
from anomalist.vision.media.files import VideoFile
from anomalist.vision.media.frames import Frame
from tests.vision.media.films import film, joined, number_of, numbers, picture, spoilt, times_of

UNEVEN = list(itertools.accumulate([0.04, 0.1, 0.033, 0.5] * 7, initial=0.0))

KINDS: list[tuple[str, dict[str, object], bool]] = [
    ("h264.mp4", {}, True),
    ("h264_with_b_frames.mp4", {"b_frames": 2}, True),
    ("h264.mkv", {"b_frames": 2}, True),
    ("h264.mov", {"movflags": ""}, True),
    ("hevc.mp4", {"codec": "libx265"}, True),
    ("mpeg4.mp4", {"codec": "mpeg4"}, True),
    ("mpeg4.avi", {"codec": "mpeg4"}, True),
    ("vp9.webm", {"codec": "libvpx-vp9"}, True),
    ("uneven.mkv", {"times": UNEVEN, "pictures": 28}, True),
    ("uneven.mp4", {"times": [t + 5 for t in UNEVEN], "pictures": 28}, True),
    ("grey.mp4", {"layout": "gray"}, True),
    ("full_range.mp4", {"layout": "yuvj420p"}, True),
    ("turned_90.mp4", {"rotation": 90}, True),
    ("turned_180.mp4", {"rotation": 180}, True),
    ("turned_270.mp4", {"rotation": -90}, True),
    ("one_frame.mp4", {"pictures": 1}, True),
    ("odd.mp4", {"pictures": [picture(n, 63, 81) for n in range(30)], "layout": "yuv444p"}, False),
    ("10_bit.mkv", {"codec": "libx265", "layout": "yuv420p10le"}, False),
    ("av1.mp4", {"codec": "libsvtav1"}, False),
    ("mjpeg.avi", {"codec": "mjpeg", "layout": "yuvj420p"}, False),
    ("h264.ts", {"b_frames": 2}, False),
    ("h264.avi", {"b_frames": 2}, False),
    ("raw.h264", {}, False),
]


def video_by(path: Path, decord: bool) -> VideoFile:
    video = VideoFile(path)
    video._decord = decord and video._decord
    return video


def upright(frame: Frame, rotation: int) -> np.ndarray:
    return np.rot90(frame.pixels, -rotation // 90)


@pytest.mark.parametrize(("name", "options", "fast"), KINDS, ids=[name for name, _, _ in KINDS])
def test_both_readers_give_the_same_frames_at_the_same_times(
    tmp_path: Path, name: str, options: dict[str, object], fast: bool
) -> None:
    path = film(tmp_path / name, **options)
    fast_video, sure_video = video_by(path, True), video_by(path, False)
    fast_frames, sure_frames = list(fast_video.frames()), list(sure_video.frames())
    expected = options.get("times") or [number / 25 for number in range(30)]
    expected = [time - expected[0] for time in expected[: len(sure_frames)]]
    rotation = int(options.get("rotation", 0))

    assert fast_video._decord == (fast and files._decord_log() is not None)
    assert [number_of(upright(frame, rotation)) for frame in sure_frames] == list(range(len(expected)))
    assert len(expected) == {"one_frame.mp4": 1}.get(name, len(options.get("times", range(31))) - 1)
    assert times_of(sure_frames) == pytest.approx(expected, abs=1e-3)
    assert times_of(fast_frames) == pytest.approx(times_of(sure_frames), abs=1e-6)
    for number, (fast_frame, sure_frame) in enumerate(zip(fast_frames, sure_frames, strict=True)):
        assert fast_frame.index == sure_frame.index == number
        assert not fast_frame.cut
        assert not sure_frame.cut
        assert fast_frame.pixels.shape == sure_frame.pixels.shape == (*fast_video.size, 3)
        assert np.abs(fast_frame.pixels.astype(int) - sure_frame.pixels).max() <= 2
    assert fast_video.notes == sure_video.notes == ()


@pytest.mark.parametrize("decord", [True, False])
@pytest.mark.parametrize("name", ["film.mp4", "film.mkv", "film.ts", "film.avi", "film.h264"])
def test_a_range_is_what_the_whole_has_there(tmp_path: Path, decord: bool, name: str) -> None:
    path = film(tmp_path / name, b_frames=0 if name.endswith("264") else 2)
    video = video_by(path, decord)
    every = list(video.frames(rate=None))
    ranges = [(0.5, 0.9, None), (0.0, 0.2, None), (0.83, None, 5), (0, None, 12.5), (5, 6, None)]
    for start, stop, rate in ranges:
        whole = [frame for frame in every if start <= round(frame.time, 6) < (stop or 9)]
        if rate:
            whole = whole[:: round(25 / rate)]
        part = list(video.frames(start, stop, rate))
        assert [(f.index, round(f.time, 6)) for f in part] == [(f.index, round(f.time, 6)) for f in whole]
        assert numbers(part) == [frame.index for frame in whole]
        assert not any(frame.cut for frame in part)


def test_a_range_is_reached_by_seeking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from anomalist.vision.media import decoding, files

    decodes: list[float] = []

    def counted(container: object, stream: object) -> object:
        for frame in decoding.decode_frames(container, stream):
            decodes.append(frame.stamp)
            yield frame

    path = film(tmp_path / "long.mp4", [picture(n % 200) for n in range(200)])
    video = video_by(path, False)
    monkeypatch.setattr(files, "decode_frames", counted)
    assert [frame.index for frame in video.frames(7.0, 7.1)] == [175, 176, 177]
    assert len(decodes) < 20


def test_the_hash_is_of_the_file_and_the_source_as_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = film(tmp_path / "film.mp4", 3)
    monkeypatch.chdir(tmp_path)
    for given in ("film.mp4", "./film.mp4", path):
        video = VideoFile(given)
        assert video.source == str(given)
        assert video.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert video.duration == pytest.approx(3 / 25)


@pytest.mark.parametrize("name", ["фильм № 5.mp4", "no suffix", "a:b.mp4", "100%d.mp4", "sp ace\n.mp4"])
def test_unusual_names_are_read(tmp_path: Path, name: str) -> None:
    path = film(tmp_path / "film.mp4", 3).rename(tmp_path / name)
    assert numbers(VideoFile(path).frames()) == [0, 1, 2]


def test_a_large_file_is_read_at_once_by_pyav(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = film(tmp_path / "film.mp4")
    monkeypatch.setattr(files, "DECORD_MAX_BYTES", 100)
    video = VideoFile(path)
    assert not video._decord
    assert numbers(video.frames()) == list(range(30))
    assert "_scan" not in video.__dict__, "no look at all packets first"
    assert [frame.index for frame in video.frames(0.5, 0.6)] == [13, 14]


def test_without_decord_pyav_reads_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "decord", None)
    files._decord_log.cache_clear()
    try:
        video = VideoFile(film(tmp_path / "film.mp4"))
        assert not video._decord
        assert numbers(video.frames()) == list(range(30))
    finally:
        files._decord_log.cache_clear()


def test_another_resolution_midway_is_a_cut(tmp_path: Path) -> None:
    parts = [
        film(tmp_path / "small.h264", 10),
        film(tmp_path / "large.h264", [picture(n, 96, 128) for n in range(10, 20)]),
    ]
    for name in ("both.mkv", "both.ts"):
        video = VideoFile(joined(tmp_path / name, parts))
        frames = list(video.frames())
        assert numbers(frames) == list(range(20))
        assert [frame.index for frame in frames if frame.cut] == [10]
        assert {frame.pixels.shape for frame in frames} == {(64, 80, 3), (96, 128, 3)}
        assert times_of(frames) == [number / 25 for number in range(20)]


# --- damage ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options"),
    [("h264.mp4", {}), ("b.mp4", {"b_frames": 2}), ("mpeg4.mp4", {"codec": "mpeg4"})],
)
@pytest.mark.parametrize("rate", [None, 5])
def test_damaged_frames_are_left_out_up_to_the_next_key_frame(
    tmp_path: Path, name: str, options: dict[str, object], rate: float | None
) -> None:
    clean = film(tmp_path / name, 40, **options)
    video = VideoFile(spoilt(tmp_path / "spoilt.mp4", 23, clean))
    frames = list(video.frames(rate=rate))
    lost = sorted(set(range(40)[:: 5 if rate else 1]) - {frame.index for frame in frames})
    assert numbers(frames) == [frame.index for frame in frames]
    assert times_of(frames) == [frame.index / 25 for frame in frames]
    assert set(lost) <= set(range(19, 30)), "a group of 10 has one key frame"
    assert 25 in lost
    assert [frame.index for frame in frames if frame.cut] == [30]
    (note,) = video.notes
    assert note.startswith("damaged: ")
    assert note.endswith(" s could not be decoded")
    originals = {frame.index: frame.pixels for frame in VideoFile(clean).frames()}
    assert all(np.abs(originals[f.index].astype(int) - f.pixels).max() <= 2 for f in frames)


def test_damage_is_met_by_decord_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = VideoFile(spoilt(tmp_path / "spoilt.mp4", 23, film(tmp_path / "film.mp4", 40)))
    if not video._decord:
        pytest.skip("decord isn't installed")
    read: list[int] = []
    pixels = files._decord_pixels

    def recorded(reader: object, index: int) -> object:
        read.append(index)
        return pixels(reader, index)  # type: ignore[arg-type]

    monkeypatch.setattr(files, "_decord_pixels", recorded)
    assert numbers(video.frames()) == [*range(23), *range(30, 40)]
    # Its thread decodes ahead: the error may be logged before the damaged frame is asked for.
    assert read
    assert read == list(range(len(read)))
    assert len(read) <= 24
    assert not video._decord
    assert numbers(video.frames(1.2)) == list(range(30, 40)), "and again, now by PyAV from the start"


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv", "film.avi"])
@pytest.mark.parametrize("decord", [True, False])
def test_a_file_that_is_cut_short_gives_what_is_there(tmp_path: Path, name: str, decord: bool) -> None:
    data = film(tmp_path / name, 100, codec="mpeg4").read_bytes()
    path = tmp_path / f"cut_{name}"
    path.write_bytes(data[: len(data) * 6 // 10])
    video = video_by(path, decord)
    frames = list(video.frames())
    assert numbers(frames) == list(range(len(frames)))
    assert 20 < len(frames) < 80
    (end,) = [float(note.split()[4]) for note in video.notes if note.startswith("cut short: ends at ")]
    assert end == pytest.approx(len(frames) / 25, abs=0.15)
    assert video.duration == pytest.approx(len(frames) / 25, abs=0.1)


def test_nothing_is_printed_whatever_the_damage(tmp_path: Path) -> None:
    clean = film(tmp_path / "film.mp4", 40)
    paths = [spoilt(tmp_path / f"{number}.mp4", number, clean) for number in (5, 23)]
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(clean.read_bytes()[:-3000])
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    code = (
        "import sys\nfrom anomalist.errors import MediaError\n"
        "from anomalist.vision.media.files import VideoFile\n"
        "for path in sys.argv[1:]:\n"
        "    try:\n        print(len(list(VideoFile(path).frames())))\n"
        "    except MediaError:\n        print('refused')\n"
    )
    arguments = [sys.executable, "-c", code, *map(str, [*paths, cut, text])]
    result = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert result.stderr == ""
    assert len(result.stdout.split()) == 4
    assert result.stdout.endswith("refused\n")


def test_what_a_sloppy_encoder_wrote_is_read_leniently(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from anomalist.vision.media import decoding

    monkeypatch.setattr(decoding, "STRICT", {"skip_frame": "all"})  # a decoder that refuses everything
    path = film(tmp_path / "film.mp4")
    assert not probe(path).strict
    assert numbers(video_by(path, False).frames()) == list(range(30))


def test_memory_does_not_grow_with_the_number_of_files(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    path = film(tmp_path / "film.mp4", [picture(n, 240, 320) for n in range(20)])

    def peak(passes: int) -> int:
        for _ in range(passes):
            for _ in VideoFile(path).frames():
                pass
        return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)

    before = peak(10)
    assert peak(40) - before < 30_000, "KiB; the frames read would fill 184,000"


def test_a_file_that_vanishes_is_one_clear_error(tmp_path: Path) -> None:
    video = VideoFile(film(tmp_path / "a.mkv", 10, codec="mpeg4"))
    (tmp_path / "a.mkv").unlink()
    with pytest.raises(MediaError, match=r"gone|no file"):
        list(video.frames())
