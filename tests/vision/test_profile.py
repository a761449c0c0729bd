"""Profiles on disk: whole or not at all, checked when they are read, never overwritten by accident."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.detectors import NAME, GreyDetector

from anomalist.errors import DetectorError, ProfileError
from anomalist.settings import Settings
from anomalist.types import BoolArray
from anomalist.vision.calibration import CalibrationSet
from anomalist.vision.profile import (
    PROFILE_FORMAT,
    Normal,
    Profile,
    load_profile,
    profile_path,
    read_manifest,
    refuse_overwriting,
    save_profile,
)

FILES = ("profile.json", "detector.safetensors", "calibration.safetensors", "roi.png")
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX limits or links")


ROI = np.zeros((6, 9), bool)
ROI[1:4, 2:7] = True


def saved(
    path: Path,
    detector: GreyDetector | None = None,
    *,
    mask: BoolArray | None = ROI,
    force: bool = False,
    **fields: Any,
) -> Profile:
    detector = detector or GreyDetector(np.array([100.0, 110.0]))
    calibration = CalibrationSet(np.array([1.5, 2.5, 0.25]), np.array([0, 1, 1]), np.arange(3), seed=4)
    settings: dict[str, Any] = {
        "name": path.name,
        "created": "2026-01-02T03:04:05+00:00",
        "detector": NAME,
        "effort": "fast",
        "seed": 4,
        "backbone": None,
        "grouped": False,
        "low": 0.5,
        "normals": (Normal(source="good/ä.png", sha256="ab", use="both"),),
    }
    return save_profile(path, detector, calibration, mask, force=force, **(settings | fields))


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


# --- round trip -------------------------------------------------------------------------------------------


def test_a_profile_comes_back_as_it_was(tmp_path: Path) -> None:
    before = saved(tmp_path / "tiles")
    after = load_profile(tmp_path / "tiles")
    assert after.manifest == before.manifest
    assert (after.name, after.digest, after.path) == ("tiles", before.digest, tmp_path / "tiles")
    assert isinstance(after.detector, GreyDetector)
    assert np.array_equal(after.detector.means, [100, 110])
    for name in ("scores", "folds", "groups", "seed"):
        assert np.array_equal(getattr(after.calibration, name), getattr(before.calibration, name))
    assert after.roi is not None
    assert np.array_equal(after.roi, ROI)
    assert {file.name for file in (tmp_path / "tiles").iterdir()} == set(FILES)


def test_a_profile_without_a_region_of_interest_has_no_mask_file(tmp_path: Path) -> None:
    saved(tmp_path / "p", mask=None)
    assert load_profile(tmp_path / "p").roi is None
    assert {file.name for file in (tmp_path / "p").iterdir()} == set(FILES) - {"roi.png"}


def test_the_digest_is_of_what_was_learned_and_not_of_name_place_or_date(tmp_path: Path) -> None:
    first = saved(tmp_path / "a")
    moved = saved(tmp_path / "deep" / "er" / "b", created="2027-01-01T00:00:00+00:00")
    assert first.digest == moved.digest
    assert first.digest != saved(tmp_path / "c", GreyDetector(np.array([100.0, 111.0]))).digest
    assert first.digest != saved(tmp_path / "d", seed=5).digest


def test_a_profile_may_be_moved_and_copied(tmp_path: Path) -> None:
    digest = saved(tmp_path / "a").digest
    (tmp_path / "a").rename(tmp_path / "b")
    assert load_profile(tmp_path / "b").digest == digest


# --- what is refused --------------------------------------------------------------------------------------


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-7])


def _empty(file: Path) -> None:
    file.write_bytes(b"")


def _flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 255
    file.write_bytes(data)


def _folder_instead(file: Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize("damage", [_cut, _empty, _flip, Path.unlink, _folder_instead])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_noticed_and_named(
    tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    saved(tmp_path / "p")
    damage(tmp_path / "p" / name)
    with pytest.raises(ProfileError, match=rf"is damaged: {name}.*Learn it again"):
        load_profile(tmp_path / "p")


def rewritten(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the content of ``profile.json``."""
    content = json.loads((path / "profile.json").read_text(encoding="utf-8"))
    change(content)
    (path / "profile.json").write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(format=PROFILE_FORMAT + 1, news=1), r"format 2; .* up to 1\. Upgrade"),
        (lambda c: c.update(format="one"), r"profile\.json can't be read"),
        (lambda c: c.pop("format"), r"profile\.json can't be read"),
        (lambda c: c.pop("low"), r"profile\.json, low"),
        (lambda c: c.update(low=None), r"profile\.json, low"),
        (lambda c: c.update(extra=1), r"profile\.json, extra"),
        (lambda c: c["normals"][0].update(use="sometimes"), r"profile\.json, normals\.0\.use"),
        (lambda c: c["files"].pop("detector.safetensors"), r"detector\.safetensors is missing or changed"),
        (lambda c: c["files"].update({"more.bin": "00"}), r"more\.bin is missing or changed"),
    ],
)
def test_a_manifest_of_another_making_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    saved(tmp_path / "p")
    rewritten(tmp_path / "p", change)
    with pytest.raises(ProfileError, match=message):
        load_profile(tmp_path / "p")


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '{"format": null}', "\xff"])
def test_a_manifest_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    saved(tmp_path / "p")
    (tmp_path / "p" / "profile.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ProfileError, match=r"profile\.json can't be read"):
        load_profile(tmp_path / "p")


def _with_hash(path: Path, name: str, data: bytes) -> None:
    """Replace a file so that its hash is right: what only reading can tell."""
    (path / name).write_bytes(data)
    rewritten(path, lambda c: c["files"].update({name: hashlib.sha256(data).hexdigest()}))


def _arrays(**arrays: Any) -> bytes:
    from safetensors.numpy import save

    return save({name: np.asarray(value) for name, value in arrays.items()})


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("detector.safetensors", b"nonsense"),
        ("detector.safetensors", _arrays(other=[1.0])),
        ("detector.safetensors", _arrays(means=[1.0])),  # one model, calibration of two
        ("calibration.safetensors", b""),
        ("calibration.safetensors", _arrays(scores=[1.0], folds=[0])),
        ("calibration.safetensors", _arrays(scores=[1.0], folds=[0], groups=[3])),
        ("calibration.safetensors", _arrays(scores=[1.0, np.nan], folds=[0, 1], groups=[0, 1])),
        ("calibration.safetensors", _arrays(scores=[1.0, 2], folds=[0.0, 1], groups=[0.0, 1])),
        ("roi.png", b"not a picture"),
    ],
)
def test_nonsense_with_the_right_hash_is_refused(tmp_path: Path, name: str, data: bytes) -> None:
    saved(tmp_path / "p")
    _with_hash(tmp_path / "p", name, data)
    with pytest.raises(ProfileError, match="is damaged"):
        load_profile(tmp_path / "p")


def test_a_detector_that_is_not_installed_is_named(tmp_path: Path) -> None:
    saved(tmp_path / "p")
    rewritten(tmp_path / "p", lambda c: c.update(detector="somewhere.else:Detector"))
    with pytest.raises(DetectorError, match=r"somewhere\.else:Detector"):
        load_profile(tmp_path / "p")


def test_something_importable_that_is_no_detector_is_refused(tmp_path: Path) -> None:
    saved(tmp_path / "p")
    rewritten(tmp_path / "p", lambda c: c.update(detector="pathlib:Path"))
    with pytest.raises(ProfileError, match="is damaged"):
        load_profile(tmp_path / "p")


@pytest.mark.parametrize("name", ["tiles", "folder/tiles", "x" * 300 + "/y"])
def test_a_profile_that_is_not_there_is_refused(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ProfileError):
        load_profile(name)


# --- names and places -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tiles", "Fließband 3", "a.b-c_d+e", "9", "x" * 100])
def test_a_plain_name_lives_in_the_home_of_profiles(name: str) -> None:
    assert profile_path(name) == Settings().profiles / name


@pytest.mark.parametrize("place", ["a/b", "/tmp/a", "./a", ".", "..", Path("a")])
def test_anything_with_a_slash_is_a_folder(place: str | Path) -> None:
    assert profile_path(place) == Path(place)


@pytest.mark.parametrize(
    "name", ["", " tiles", "-tiles", "ti:les", "ti\nles", "tiles\n", "ti*les", "x" * 101]
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ProfileError, match="is not a profile name"):
        profile_path(name)


# --- writing ----------------------------------------------------------------------------------------------


def test_a_profile_is_not_overwritten_without_force(tmp_path: Path) -> None:
    first = saved(tmp_path / "p")
    before = contents(tmp_path / "p")
    with pytest.raises(ProfileError, match=r"The profile p is already there.*--force"):
        saved(tmp_path / "p", seed=5)
    assert contents(tmp_path / "p") == before
    second = saved(tmp_path / "p", seed=5, force=True)
    assert load_profile(tmp_path / "p").digest == second.digest != first.digest
    assert names(tmp_path) == ["p"]


def test_a_damaged_profile_can_be_replaced_too(tmp_path: Path) -> None:
    saved(tmp_path / "p")
    (tmp_path / "p" / "detector.safetensors").unlink()
    saved(tmp_path / "p", force=True)
    load_profile(tmp_path / "p")


def test_nothing_but_a_profile_is_ever_replaced(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(b"precious")
    (tmp_path / "file").write_bytes(b"precious")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name, message in (("pictures", "other things"), ("file", "not a folder"), ("link", "not a folder")):
        with pytest.raises(ProfileError, match=message):
            saved(tmp_path / name, force=True)
    assert (tmp_path / "pictures" / "a.png").read_bytes() == (tmp_path / "file").read_bytes() == b"precious"
    assert names(tmp_path) == ["file", "link", "pictures"]


def test_an_empty_folder_may_become_a_profile(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    saved(tmp_path / "p")
    load_profile(tmp_path / "p")
    assert names(tmp_path) == ["p"]


def test_names_that_no_file_system_takes_are_refused_before_learning() -> None:
    with pytest.raises(ProfileError, match="can't be used"):
        refuse_overwriting(Path("x" * 300), force=False)


def test_a_place_that_can_not_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ProfileError, match=r"can't be (used|written)"):
        saved(tmp_path / "file" / "p")


@posix_only
def test_a_link_to_a_profile_keeps_pointing_to_it(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    saved(tmp_path / "far" / "p")
    (tmp_path / "link").symlink_to(tmp_path / "far" / "p")
    digest = saved(tmp_path / "link", seed=5, force=True).digest
    assert (tmp_path / "link").is_symlink()
    assert load_profile(tmp_path / "far" / "p").digest == load_profile(tmp_path / "link").digest == digest
    assert names(tmp_path) == ["far", "link"]
    assert names(tmp_path / "far") == ["p"]


class Unwritable(GreyDetector):
    """Begins to write and fails."""

    error: BaseException = OSError(28, "No space left on device")

    def save(self, file: Path) -> None:
        file.write_bytes(b"half of it")
        raise self.error


@pytest.mark.parametrize("replacing", [False, True])
def test_a_failure_while_writing_leaves_everything_as_it_was(tmp_path: Path, replacing: bool) -> None:
    if replacing:
        saved(tmp_path / "p")
    before = contents(tmp_path / "p") if replacing else None
    with pytest.raises(ProfileError, match=r"can't be written .* No space left on device.*Free some space"):
        saved(tmp_path / "p", Unwritable(np.ones(2)), force=True)
    assert names(tmp_path) == (["p"] if replacing else [])
    assert not replacing or contents(tmp_path / "p") == before


def test_an_interrupt_while_writing_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path / "p")
    before = contents(tmp_path / "p")
    monkeypatch.setattr(Unwritable, "error", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        saved(tmp_path / "p", Unwritable(np.ones(2)), force=True)
    assert contents(tmp_path / "p") == before
    assert names(tmp_path) == ["p"]


@pytest.mark.parametrize("error", [OSError(13, "Permission denied"), KeyboardInterrupt()])
def test_the_old_profile_comes_back_when_the_new_one_can_not_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    saved(tmp_path / "p")
    before = contents(tmp_path / "p")
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if target == tmp_path / "p" and not self.name.endswith(".old"):
            raise error
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises((ProfileError, KeyboardInterrupt)):
        saved(tmp_path / "p", seed=5, force=True)
    assert contents(tmp_path / "p") == before
    assert names(tmp_path) == ["p"]


FULL_DISK = """
import resource, sys
from pathlib import Path
import numpy as np
from tests.vision.test_profile import saved
from tests.detectors import GreyDetector
from anomalist.errors import ProfileError

large = GreyDetector(np.ones(2_000_000))
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
try:
    saved(Path(sys.argv[1]), large, force=True)
except ProfileError as error:
    print(error)
"""


@posix_only
@pytest.mark.parametrize("replacing", [False, True])
def test_a_full_disk_leaves_no_half_profile(tmp_path: Path, replacing: bool) -> None:
    if replacing:
        saved(tmp_path / "p")
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
    saved(tmp_path / "p")
    assert (tmp_path / "p").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def test_the_manifest_can_be_read_without_the_arrays(tmp_path: Path) -> None:
    manifest = saved(tmp_path / "p").manifest
    (tmp_path / "p" / "detector.safetensors").unlink()
    assert read_manifest(tmp_path / "p") == manifest
