"""Scenes on disk: read as they were written; damage, other formats and other profiles are refused by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from anomalist.errors import DataError, ProfileError
from anomalist.vision.motion.learning import learn_scene
from anomalist.vision.motion.scene import SCENE_FORMAT, Scene, load_scene, save_scene
from tests.profiles import contents, names
from tests.street import Camera, make_film


@pytest.fixture
def copy(street: Scene, tmp_path: Path) -> Path:
    assert street.path is not None
    return Path(shutil.copytree(street.path, tmp_path / "copy"))


def test_a_scene_is_read_as_it_was_written_and_learned_again_it_is_the_same(tmp_path: Path) -> None:
    films = [make_film(8, people=seed) for seed in (1, 2)]
    learned = learn_scene(films, tmp_path / "once")
    read = load_scene(tmp_path / "once")
    assert read.digest == learned.digest
    assert read.manifest == learned.manifest
    assert np.array_equal(read.learned.histograms.speeds, learned.learned.histograms.speeds)
    assert np.array_equal(read.blocks("causal").maxima, learned.blocks("causal").maxima)
    assert learn_scene(films, tmp_path / "again").digest == learned.digest


def test_a_flipped_byte_is_noticed(copy: Path) -> None:
    file = copy / "scene.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(ProfileError, match=r"damaged.*changed"):
        load_scene(copy)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": SCENE_FORMAT + 1}, "format"),
        ({"norms": 3}, "damaged"),
        ({"extra": 1}, "damaged"),
    ],
)
def test_another_manifest_is_refused(copy: Path, change: dict[str, object], said: str) -> None:
    file = copy / "scene.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ProfileError, match=said):
        load_scene(copy)


def test_what_is_no_scene_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="learn-scene"):
        load_scene(tmp_path / "nothing")
    (tmp_path / "profile.json").write_text("{}")
    with pytest.raises(ProfileError, match="of pictures"):
        load_scene(tmp_path)


def test_a_scene_is_not_replaced_without_force_nor_anything_else_with_it(copy: Path) -> None:
    films = [make_film(12, people=1)]
    with pytest.raises(ProfileError, match="--force"):
        learn_scene(films, copy)
    (copy / "mine.txt").write_text("mine")
    with pytest.raises(ProfileError, match="not a scene"):
        learn_scene(films, copy, force=True)


@pytest.mark.parametrize("error", [OSError(13, "Permission denied"), KeyboardInterrupt()])
def test_the_old_scene_stays_when_the_new_one_can_not_take_its_place(
    street: Scene, copy: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    before = contents(copy)
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if target == copy and not self.name.endswith(".old"):
            raise error
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    fields = street.manifest.model_dump(exclude={"arrays"}) | {"seed": 5}
    with pytest.raises((ProfileError, KeyboardInterrupt)):
        save_scene(copy, street.learned, force=True, **fields)
    assert contents(copy) == before
    assert names(copy.parent) == ["copy"]


def test_a_scene_is_replaced_with_force(street: Scene, copy: Path) -> None:
    fields = street.manifest.model_dump(exclude={"arrays"}) | {"seed": 5}
    replaced = save_scene(copy, street.learned, force=True, **fields)
    assert load_scene(copy).digest == replaced.digest != street.digest
    assert names(copy.parent) == ["copy"]


def test_too_little_footage_and_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no footage"):
        learn_scene([], tmp_path / "s")
    with pytest.raises(DataError, match="too little"):
        learn_scene([make_film(4, people=1)], tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_footage_of_a_moving_camera_is_refused(tmp_path: Path) -> None:
    panning = make_film(14, people=1, camera=lambda time: Camera(right=3 * time - 20))
    with pytest.raises(DataError, match="camera moves"):
        learn_scene([panning], tmp_path / "s")


def test_a_single_video_is_held_out_in_pieces(tmp_path: Path) -> None:
    scene = learn_scene([make_film(24, people=4)], tmp_path / "s")
    assert len(scene.blocks("offline").maxima) >= 4
    assert len(scene.manifest.footage) == 1
