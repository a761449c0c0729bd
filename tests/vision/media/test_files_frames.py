"""A folder of pictures as a video."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomalist.errors import MediaError
from anomalist.vision.media.files import FrameFolder
from tests.vision.media.films import numbers, picture, times_of


def frames_in(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(names):
        Image.fromarray(picture(number)).save(folder / name)
    return folder


def test_pictures_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    frames_in(tmp_path, "frame_1.png", "frame_2.png", "frame_10.png", "frame_100.png")
    (tmp_path / "notes.txt").touch()
    (tmp_path / ".hidden.png").touch()
    video = FrameFolder(tmp_path)
    frames = list(video.frames())
    assert numbers(frames) == [0, 1, 2, 3]
    assert [frame.index for frame in frames] == [0, 1, 2, 3]
    assert times_of(frames) == [0.0, 0.1, 0.2, 0.3]
    assert video.size == frames[0].pixels.shape[:2]
    assert video.duration == pytest.approx(0.4)
    assert video.notes == ("10 pictures a second assumed",)


def test_ranges_and_rates_go_by_the_rate_of_the_folder(tmp_path: Path) -> None:
    video = FrameFolder(frames_in(tmp_path, *(f"{n:03}.png" for n in range(20))), rate=5)
    assert numbers(video.frames(1.0, 2.0)) == [5, 6, 7, 8, 9]
    assert numbers(video.frames(rate=1)) == [0, 5, 10, 15]
    assert times_of(video.frames(3.79)) == [3.8]


def test_a_broken_picture_is_passed_over_and_noted(tmp_path: Path) -> None:
    frames_in(tmp_path, *(f"{n}.png" for n in range(6)))
    (tmp_path / "2.png").write_bytes(b"")
    (tmp_path / "3.png").write_bytes(b"no picture")
    video = FrameFolder(tmp_path)
    for _ in range(2):
        frames = list(video.frames())
        assert numbers(frames) == [0, 1, 4, 5]
        assert [frame.index for frame in frames if frame.cut] == [4]
    assert video.notes[1:] == ("damaged: 2 frames from 0.2 s could not be decoded",)


def test_another_size_is_a_cut(tmp_path: Path) -> None:
    frames_in(tmp_path, "0.png", "1.png")
    Image.fromarray(np.zeros((9, 7, 3), np.uint8)).save(tmp_path / "2.png")
    frames = list(FrameFolder(tmp_path).frames())
    assert [frame.cut for frame in frames] == [False, False, True]
    assert frames[2].pixels.shape == (9, 7, 3)


def deep_frames_in(folder: Path, highest: list[int]) -> Path:
    """Frames of 16 bit of a still scene, each with a patch of this brightness."""
    folder.mkdir(exist_ok=True)
    scene = np.tile(np.linspace(100, 900, 64), (48, 1)).astype(np.uint16)
    for number, value in enumerate(highest):
        values = scene.copy()
        values[10:20, 10:20] = value
        Image.fromarray(values).save(folder / f"{number:03}.png")
    return folder


def test_frames_of_16_bit_have_one_scale_wherever_reading_begins(tmp_path: Path) -> None:
    folder = deep_frames_in(tmp_path, [1000, 1100, 500, 4000, 1020, 1030])
    video = FrameFolder(folder)
    frames = list(video.frames())
    still = [frame.pixels[30:] for frame in frames]
    assert all(np.array_equal(one, still[0]) for one in still)
    assert np.ptp(still[0]) > 40, "what is there can be told apart"
    again = [*FrameFolder(folder).frames(0.3), *FrameFolder(folder).frames(0.2, 0.3)]
    for frame in again:
        assert np.array_equal(frame.pixels, frames[frame.index].pixels)
    assert any("scaled to 8 bit" in note for note in video.notes)


def test_a_flash_or_a_damaged_frame_does_not_move_the_scale_of_a_folder(tmp_path: Path) -> None:
    usual = deep_frames_in(tmp_path / "usual", [1000] * 100)
    odd = deep_frames_in(tmp_path / "odd", [1000] * 100)
    Image.fromarray(np.full((48, 64), 60000, np.uint16)).save(odd / "000.png")
    (odd / "099.png").write_bytes(b"no picture")
    one, other = (next(FrameFolder(folder).frames(5.0)) for folder in (usual, odd))
    assert np.array_equal(one.pixels, other.pixels)


def test_the_hash_is_of_the_pictures_not_their_place(tmp_path: Path) -> None:
    one = FrameFolder(frames_in(tmp_path / "one", "0.png", "1.png"))
    same = FrameFolder(frames_in(tmp_path / "same", "0.png", "1.png"))
    longer = FrameFolder(frames_in(tmp_path / "longer", "0.png", "1.png", "2.png"))
    assert one.sha256 == same.sha256 != longer.sha256
    assert one.source == str(tmp_path / "one")


@pytest.mark.parametrize(
    ("names", "message"), [((), "holds no pictures"), (("a.png", "b.jpg"), "No picture in the folder")]
)
def test_a_folder_without_a_picture_is_refused(tmp_path: Path, names: tuple[str, ...], message: str) -> None:
    for name in names:
        (tmp_path / name).write_bytes(b"no picture")
    with pytest.raises(MediaError, match=message) as caught:
        FrameFolder(tmp_path)
    assert caught.value.remedy


def test_a_rate_must_be_positive(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rate must be positive"):
        FrameFolder(frames_in(tmp_path, "0.png"), rate=0)
