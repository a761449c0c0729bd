"""Profiles on disk: they come back as they were, and what is damaged is refused."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anomalist.errors import DetectorError, ProfileError
from anomalist.settings import Settings
from anomalist.storage.artifacts import profile_path
from anomalist.vision.profile import PROFILE_FORMAT, PROFILE_KIND, load_profile
from tests.detectors import GreyDetector
from tests.profiles import ROI, names, save_small_profile

FILES = ("profile.json", "detector.safetensors", "calibration.safetensors", "roi.png")


# --- round trip -------------------------------------------------------------------------------------------


def test_a_profile_comes_back_as_it_was(tmp_path: Path) -> None:
    before = save_small_profile(tmp_path / "tiles")
    after = load_profile(tmp_path / "tiles")
    assert after.manifest == before.manifest
    assert (after.name, after.digest, after.path) == ("tiles", before.digest, tmp_path / "tiles")
    assert isinstance(after.detector, GreyDetector)
    assert np.array_equal(after.detector.means, [100, 110])
    for name in ("scores", "folds", "groups", "seed"):
        assert np.array_equal(getattr(after.calibration, name), getattr(before.calibration, name))
    assert after.roi is not None
    assert np.array_equal(after.roi, ROI)
    assert names(tmp_path / "tiles") == sorted(FILES)


def test_a_profile_without_a_region_of_interest_has_no_mask_file(tmp_path: Path) -> None:
    save_small_profile(tmp_path / "p", mask=None)
    assert load_profile(tmp_path / "p").roi is None
    assert names(tmp_path / "p") == sorted(set(FILES) - {"roi.png"})


def test_the_digest_is_of_what_was_learned_and_not_of_name_place_or_date(tmp_path: Path) -> None:
    first = save_small_profile(tmp_path / "a")
    moved = save_small_profile(tmp_path / "deep" / "er" / "b", created="2027-01-01T00:00:00+00:00")
    assert first.digest == moved.digest
    assert first.digest != save_small_profile(tmp_path / "c", GreyDetector(np.array([100.0, 111.0]))).digest
    assert first.digest != save_small_profile(tmp_path / "d", seed=5).digest


def test_a_profile_may_be_moved_and_copied(tmp_path: Path) -> None:
    digest = save_small_profile(tmp_path / "a").digest
    (tmp_path / "a").rename(tmp_path / "b")
    assert load_profile(tmp_path / "b").digest == digest


def test_the_manifest_can_be_read_without_the_arrays(tmp_path: Path) -> None:
    manifest = save_small_profile(tmp_path / "p").manifest
    (tmp_path / "p" / "detector.safetensors").unlink()
    assert PROFILE_KIND.read_manifest(tmp_path / "p") == manifest


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
    save_small_profile(tmp_path / "p")
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
        (lambda c: c.update(format=PROFILE_FORMAT + 1, news=1), r"format 3; .* up to 2\. Upgrade"),
        (lambda c: c.update(format=PROFILE_FORMAT - 1), r"format 1, of an earlier version\. Learn it again"),
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
    save_small_profile(tmp_path / "p")
    rewritten(tmp_path / "p", change)
    with pytest.raises(ProfileError, match=message):
        load_profile(tmp_path / "p")


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '{"format": null}', "\xff"])
def test_a_manifest_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    save_small_profile(tmp_path / "p")
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
    save_small_profile(tmp_path / "p")
    _with_hash(tmp_path / "p", name, data)
    with pytest.raises(ProfileError, match="is damaged"):
        load_profile(tmp_path / "p")


def test_a_detector_that_is_not_installed_is_named(tmp_path: Path) -> None:
    save_small_profile(tmp_path / "p")
    rewritten(tmp_path / "p", lambda c: c.update(detector="somewhere.else:Detector"))
    with pytest.raises(DetectorError, match=r"somewhere\.else:Detector"):
        load_profile(tmp_path / "p")


def test_something_importable_that_is_no_detector_is_refused(tmp_path: Path) -> None:
    save_small_profile(tmp_path / "p")
    rewritten(tmp_path / "p", lambda c: c.update(detector="pathlib:Path"))
    with pytest.raises(DetectorError, match="pathlib:Path is no detector"):
        load_profile(tmp_path / "p")


def test_opening_a_profile_imports_no_module_that_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "trojan.py").write_text("raise SystemExit('it ran')")
    monkeypatch.syspath_prepend(tmp_path)
    save_small_profile(tmp_path / "p")
    rewritten(tmp_path / "p", lambda c: c.update(detector="trojan:Detector"))
    with pytest.raises(DetectorError, match="trojan:Detector of the profile p is not installed as a plug-in"):
        load_profile(tmp_path / "p")


@pytest.mark.parametrize("name", ["tiles", "folder/tiles", "x" * 300 + "/y"])
def test_a_profile_that_is_not_there_is_refused(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ProfileError):
        load_profile(name)


# --- names and places -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["tiles", "Fließband 3", "a.b-c_d+e", "9", "x" * 100, "हिन्दी", "ไม่ดี", "部品", "é" * 100]
)
def test_a_plain_name_lives_in_the_home_of_profiles(name: str) -> None:
    for typed in (name, unicodedata.normalize("NFD", name)):
        assert profile_path(typed) == Settings().profiles / name


@pytest.mark.parametrize("place", ["a/b", "/tmp/a", "./a", ".", "..", Path("a")])
def test_anything_with_a_slash_is_a_folder(place: str | Path) -> None:
    assert profile_path(place) == Path(place)


@pytest.mark.parametrize(
    "name",
    [
        *("", " tiles", "-tiles", "ti:les", "ti\nles", "tiles\n", "ti*les"),
        *("x" * 101, "部" * 100, "\u0301tiles", "ti\u200bles", "ti\udc80les"),
    ],
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ProfileError, match="is not a profile name"):
        profile_path(name)
