"""Artefacts are written whole or not at all, and never over anything by accident."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anomalist.errors import ProfileError
from anomalist.storage.artifacts import ArtifactKind, composed
from anomalist.vision.motion.scene import SCENE_KIND
from anomalist.vision.profile import PROFILE_KIND, load_profile
from tests.detectors import GreyDetector
from tests.profiles import contents, names, save_small_profile

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX limits or links")


def test_a_profile_is_not_overwritten_without_force(tmp_path: Path) -> None:
    first = save_small_profile(tmp_path / "p")
    before = contents(tmp_path / "p")
    with pytest.raises(ProfileError, match=r"The profile p is already there.*--force"):
        save_small_profile(tmp_path / "p", seed=5)
    assert contents(tmp_path / "p") == before
    second = save_small_profile(tmp_path / "p", seed=5, force=True)
    assert load_profile(tmp_path / "p").digest == second.digest != first.digest
    assert names(tmp_path) == ["p"]


def test_a_damaged_profile_can_be_replaced_too(tmp_path: Path) -> None:
    save_small_profile(tmp_path / "p")
    (tmp_path / "p" / "detector.safetensors").unlink()
    save_small_profile(tmp_path / "p", force=True)
    load_profile(tmp_path / "p")


def test_nothing_but_a_profile_is_ever_replaced(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(b"precious")
    (tmp_path / "file").write_bytes(b"precious")
    save_small_profile(tmp_path / "mixed")
    (tmp_path / "mixed" / "a.png").write_bytes(b"precious")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name, message in (
        ("pictures", r"other things in it \(a\.png\)"),
        ("mixed", r"other things in it \(a\.png\)"),
        ("file", "not a folder"),
        ("link", "not a folder"),
    ):
        with pytest.raises(ProfileError, match=message):
            save_small_profile(tmp_path / name, force=True)
    for place in ("pictures/a.png", "mixed/a.png", "file"):
        assert (tmp_path / place).read_bytes() == b"precious"
    assert names(tmp_path) == ["file", "link", "mixed", "pictures"]


def test_an_empty_folder_may_become_a_profile(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    save_small_profile(tmp_path / "p")
    load_profile(tmp_path / "p")
    assert names(tmp_path) == ["p"]


def test_names_that_no_file_system_takes_are_refused_before_learning() -> None:
    with pytest.raises(ProfileError, match="can't be used"):
        PROFILE_KIND.refuse_overwriting(Path("x" * 300), force=False)


def test_a_place_that_can_not_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ProfileError, match=r"can't be (used|written)"):
        save_small_profile(tmp_path / "file" / "p")


@posix_only
def test_a_link_to_a_profile_keeps_pointing_to_it(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    save_small_profile(tmp_path / "far" / "p")
    (tmp_path / "link").symlink_to(tmp_path / "far" / "p")
    digest = save_small_profile(tmp_path / "link", seed=5, force=True).digest
    assert (tmp_path / "link").is_symlink()
    assert load_profile(tmp_path / "far" / "p").digest == load_profile(tmp_path / "link").digest == digest
    assert names(tmp_path) == ["far", "link"]
    assert names(tmp_path / "far") == ["p"]


def test_a_folder_that_is_listed_by_a_decomposed_name_has_its_composed_one(tmp_path: Path) -> None:
    (tmp_path / "ü").mkdir()
    assert composed(tmp_path / "u\u0308") == tmp_path / "ü", "as file systems list it that take both for one"
    (tmp_path / "o\u0308").mkdir()
    assert composed(tmp_path / "o\u0308") == tmp_path / "o\u0308", "there is no other"


class Unwritable(GreyDetector):
    """Begins to write and fails."""

    error: BaseException = OSError(28, "No space left on device")

    def save(self, file: Path) -> None:
        file.write_bytes(b"half of it")
        raise self.error


@pytest.mark.parametrize("replacing", [False, True])
def test_a_failure_while_writing_leaves_everything_as_it_was(tmp_path: Path, replacing: bool) -> None:
    if replacing:
        save_small_profile(tmp_path / "p")
    before = contents(tmp_path / "p") if replacing else None
    with pytest.raises(ProfileError, match=r"can't be written .* No space left on device.*Free some space"):
        save_small_profile(tmp_path / "p", Unwritable(np.ones(2)), force=True)
    assert names(tmp_path) == (["p"] if replacing else [])
    assert not replacing or contents(tmp_path / "p") == before


def test_an_interrupt_while_writing_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_small_profile(tmp_path / "p")
    before = contents(tmp_path / "p")
    monkeypatch.setattr(Unwritable, "error", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        save_small_profile(tmp_path / "p", Unwritable(np.ones(2)), force=True)
    assert contents(tmp_path / "p") == before
    assert names(tmp_path) == ["p"]


@pytest.mark.parametrize("error", [OSError(13, "Permission denied"), KeyboardInterrupt()])
def test_the_old_profile_comes_back_when_the_new_one_can_not_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    save_small_profile(tmp_path / "p")
    before = contents(tmp_path / "p")
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if target == tmp_path / "p" and not self.name.endswith(".old"):
            raise error
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises((ProfileError, KeyboardInterrupt)):
        save_small_profile(tmp_path / "p", seed=5, force=True)
    assert contents(tmp_path / "p") == before
    assert names(tmp_path) == ["p"]


def test_an_artefact_that_can_not_be_put_on_the_disk_does_not_replace_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_small_profile(tmp_path / "p")
    before = contents(tmp_path / "p")

    def failing(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("os.fsync", failing)
    with pytest.raises(ProfileError, match="Input/output error"):
        save_small_profile(tmp_path / "p", seed=5, force=True)
    assert contents(tmp_path / "p") == before
    assert names(tmp_path) == ["p"]


@pytest.mark.parametrize(
    ("kind", "found", "said"),
    [
        (PROFILE_KIND, "scene.json", "p is a scene of a camera, not a profile"),
        (SCENE_KIND, "profile.json", "p is a profile of pictures, not a scene.*learn-scene"),
        (PROFILE_KIND, "notes.txt", "There is no profile p.*anomalist profiles"),
        (SCENE_KIND, "notes.txt", "There is no scene p.*learn-scene"),
    ],
)
def test_an_artefact_of_another_kind_is_called_by_its_name(
    tmp_path: Path, kind: ArtifactKind[Any], found: str, said: str
) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / found).write_text("{}")
    with pytest.raises(ProfileError, match=said):
        kind.read_manifest(tmp_path / "p")


FULL_DISK = """
import resource, sys
from pathlib import Path
import numpy as np
from tests.detectors import GreyDetector
from tests.profiles import save_small_profile
from anomalist.errors import ProfileError

large = GreyDetector(np.ones(2_000_000))
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
try:
    save_small_profile(Path(sys.argv[1]), large, force=True)
except ProfileError as error:
    print(error)
"""


@posix_only
@pytest.mark.parametrize("replacing", [False, True])
def test_a_full_disk_leaves_no_half_profile(tmp_path: Path, replacing: bool) -> None:
    if replacing:
        save_small_profile(tmp_path / "p")
    before = contents(tmp_path / "p") if replacing else None
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "p")],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "can't be written" in done.stdout
    assert names(tmp_path) == (["p"] if replacing else [])
    assert not replacing or contents(tmp_path / "p") == before


@posix_only
def test_a_profile_can_be_read_by_those_who_may_read_its_folder(tmp_path: Path) -> None:
    (tmp_path / "ordinary").mkdir()
    save_small_profile(tmp_path / "p")
    assert (tmp_path / "p").stat().st_mode == (tmp_path / "ordinary").stat().st_mode
