"""Cameras by name: words, TOML files, and what is wrong with them."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from anomalist.cameras.listing import names_cameras, read_cameras
from anomalist.errors import DataError


def test_words_name_cameras_and_their_addresses_keep_their_signs() -> None:
    cameras = read_cameras(["cam1=rtsp://a/1?user=x&id=2", "hof-süd=b.mp4"], "yard")
    assert [(camera.name, camera.source, camera.profile) for camera in cameras] == [
        ("cam1", "rtsp://a/1?user=x&id=2", "yard"),
        ("hof-süd", "b.mp4", "yard"),
    ]


@pytest.mark.parametrize("name", ["Einfahrt Süd", "प्रवेश द्वार", "入口", "Cổng số 2"])
def test_cameras_are_named_in_any_language_however_it_is_typed(tmp_path: Path, name: str) -> None:
    table = tmp_path / "cameras.toml"
    table.write_text(f'["{name}"]\nsource = "rtsp://a/2"\n', encoding="utf-8")
    apart = unicodedata.normalize("NFD", name)  # as some keyboards and systems give it
    for words in ([f"{name}=rtsp://a/2"], [f"{apart}=rtsp://a/2"], [str(table)]):
        assert [camera.name for camera in read_cameras(words, "yard")] == [name]
    with pytest.raises(DataError, match="Two cameras"):
        read_cameras([f"{name}=rtsp://a/1", f"{apart}=rtsp://a/2"], "yard")


def test_a_name_too_long_for_pictures_of_events_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="name"):
        read_cameras([f"{'𠮷' * 60}=rtsp://a/1", "b=rtsp://a/2"], "yard")


def test_one_source_without_a_name_is_no_list_of_cameras(tmp_path: Path) -> None:
    odd = tmp_path / "a=b.mp4"
    odd.touch()
    for word in ("rtsp://camera/1?token=x", "film.mp4", str(odd)):
        assert not names_cameras([word])
    for words in (["cam1=rtsp://camera/1"], ["a.mp4", "b.mp4"], ["cameras.toml"]):
        assert names_cameras(words)


def test_a_table_holds_sources_and_scenes_of_their_own(tmp_path: Path) -> None:
    table = tmp_path / "cameras.toml"
    table.write_text('[gate]\nsource = "rtsp://a/1"\nprofile = "gate"\n[yard]\nsource = "rtsp://a/2"\n')
    cameras = read_cameras([str(table), "door=rtsp://a/3"], "all")
    assert [(camera.name, camera.profile) for camera in cameras] == [
        ("gate", "gate"),
        ("yard", "all"),
        ("door", "all"),
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "No camera"),
        ("[gate", "no valid TOML"),
        ('gate = "rtsp://a"', "not the table"),
        ('[gate]\nprofile = "a"', "source"),
        ('[gate]\nsource = 3\nprofile = "a"', "source"),
        ('[gate]\nsource = "a"\nprofle = "a"', "Did you mean profile"),
        ('["a/b"]\nsource = "a"\nprofile = "a"', "name of a camera"),
        ('[Gate]\nsource = "a"\nprofile = "a"\n[gate]\nsource = "b"\nprofile = "a"', "Two cameras"),
        ('[gate]\nsource = "a"', "no scene"),
    ],
)
def test_what_is_wrong_in_a_table_is_one_error(tmp_path: Path, content: str, said: str) -> None:
    table = tmp_path / "cameras.toml"
    table.write_text(content)
    with pytest.raises(DataError, match=said):
        read_cameras([str(table)])


def test_a_table_that_is_not_there_and_a_camera_without_a_name_are_errors() -> None:
    with pytest.raises(DataError, match="can't be read"):
        read_cameras(["nowhere.toml"])
    with pytest.raises(DataError, match="has no name") as told:
        read_cameras(["rtsp://me:secret@a/1", "cam2=rtsp://a/2"], "yard")
    assert "secret" not in str(told.value)
