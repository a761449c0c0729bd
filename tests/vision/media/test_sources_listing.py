"""Which sources a list of paths stands for."""

import os
import sys
from pathlib import Path

import pytest

from anomalist.vision.media.sources import list_videos

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX files")


def tree(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def names(folder: Path, paths: tuple[str | Path, ...]) -> list[str]:
    return [Path(path).relative_to(folder).as_posix() for path in paths]


def test_a_folder_is_searched_in_order_with_everything_below(tmp_path: Path) -> None:
    tree(
        tmp_path,
        "b.MP4",
        "a.mkv",
        "sub/é.avi",
        "sub/deep/c.webm",
        "notes.txt",
        "sub/x.png",
        ".b.mp4",
        ".d/a.mp4",
    )
    listing = list_videos([tmp_path])
    assert names(tmp_path, listing.videos) == ["a.mkv", "b.MP4", "sub/deep/c.webm", "sub/é.avi"]
    assert listing.skipped == 2


@pytest.mark.parametrize("name", ["a.dav", "a.h264", "A.DAV"])
def test_endings_that_recorders_give_are_videos(tmp_path: Path, name: str) -> None:
    tree(tmp_path, name)
    assert names(tmp_path, list_videos([tmp_path]).videos) == [name]


@pytest.mark.parametrize(
    ("files", "counts"),
    [
        (["1.png"], True),
        (["frame_001.jpg", "frame_002.jpg", "frame_010.jpg"], True),
        (["0001.png", "0002.tif", ".DS_Store"], True),
        (["cam1_7.png", "cam1_8.png"], True),
        (["1.tif", "2.tif", "Thumbs.db"], True),
        (["1.tif", "2.tif", "desktop.ini", "timestamps.txt"], True),
        (["cam1_12-00-59-900.jpg", "cam1_12-01-00-000.jpg"], True),
        (["a_1.png", "b_1.png"], False),
        (["front.png", "back.png"], False),
        (["1.png", "2.png", "labels.csv"], False),
        (["1.png", "2.png", "sub/3.png"], False),
        (["1.mp4", "2.mp4"], False),
    ],
)
def test_a_folder_of_numbered_pictures_and_their_notes_is_one_video(
    tmp_path: Path, files: list[str], counts: bool
) -> None:
    tree(tmp_path, *(f"clip/{name}" for name in files))
    for start in (tmp_path, tmp_path / "clip"):
        assert (tmp_path / "clip" in list_videos([start]).videos) is counts


@pytest.mark.parametrize("name", ["film.dat", ".hidden.mp4", "missing.mp4", "n" * 5000, "a\0b"])
def test_a_path_that_is_no_folder_is_always_in_the_list(tmp_path: Path, name: str) -> None:
    tree(tmp_path, "film.dat", ".hidden.mp4")
    assert list_videos([str(tmp_path / name)]).videos == (tmp_path / name,)


def test_addresses_pass_and_the_order_is_kept_without_repeats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree(tmp_path, "b.mp4", "sub/a.mp4", "sub/notes.txt")
    monkeypatch.chdir(tmp_path)
    given = [
        "rtsp://camera/1",
        "sub/a.mp4",
        "rtsp://camera/1",
        ".",
        "sub",
        tmp_path / "b.mp4",
        "sub/notes.txt",
    ]
    listing = list_videos(given)
    assert list(map(str, listing.videos)) == ["rtsp://camera/1", "sub/a.mp4", "b.mp4", "sub/notes.txt"]
    assert listing.skipped == 0, "the text file was asked for after all"


def test_nothing_gives_nothing(tmp_path: Path) -> None:
    assert list_videos([]).videos == list_videos([tmp_path]).videos == ()


@posix_only
def test_linked_folders_are_followed_once_and_loops_end(tmp_path: Path) -> None:
    tree(tmp_path, "line/a/1.mp4", "elsewhere/2.mp4")
    os.symlink(tmp_path / "line", tmp_path / "line/a/up")  # noqa: PTH211
    os.symlink(tmp_path / "elsewhere", tmp_path / "line/b")  # noqa: PTH211
    os.symlink(tmp_path / "elsewhere", tmp_path / "line/c")  # noqa: PTH211
    assert names(tmp_path, list_videos([tmp_path / "line"]).videos) == ["line/a/1.mp4", "line/b/2.mp4"]
