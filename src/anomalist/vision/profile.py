"""Profile of one product: the learned detector and its calibration, a versioned folder with hashes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, ValidationError

from anomalist import __version__
from anomalist.errors import ProfileError
from anomalist.settings import Settings
from anomalist.types.image import BoolArray, Frozen
from anomalist.vision.calibration import CalibrationSet
from anomalist.vision.detectors.base import Detector, detector_class

PROFILE_FORMAT = 2
"""Version of the folder's format."""
_MANIFEST, _DETECTOR, _CALIBRATION, _ROI = _FILES = (
    "profile.json",
    "detector.safetensors",
    "calibration.safetensors",
    "roi.png",
)


class NormalPicture(Frozen):
    """One normal picture that the profile was made from."""

    source: str
    sha256: str
    group: str | None = None
    use: Literal["learn", "calibrate", "both"] = Field(description='"both" when cross-fitted')


class Manifest(Frozen):
    """``profile.json``: everything about the profile but its arrays."""

    format: int = PROFILE_FORMAT
    version: str = __version__
    name: str
    created: str = Field(description="UTC, ISO 8601")
    detector: str
    effort: str
    seed: int
    backbone: str | None
    grouped: bool = Field(description="whether groups were named")
    low: float = Field(
        allow_inf_nan=False, description="map level that few normal pixels reach; regions start above it"
    )
    normals: tuple[NormalPicture, ...]
    defects: tuple[str, ...] = Field((), description="ids of the labelled defects that were learned from")
    skipped: tuple[str, ...] = Field((), description="pictures that could not be read, with the reason")
    files: dict[str, str] = Field(description="file name to hex SHA-256")

    @property
    def digest(self) -> str:
        """Hex SHA-256 over what was learned and from what; not over the profile's name, place or date."""
        content = self.model_dump(mode="json", exclude={"name", "created"})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class Profile:
    """Profile of a product, ready to inspect with.

    Parameters
    ----------
    path : its folder.
    roi : bool (H, W), region of interest at the size of its mask file; None for the whole picture.
    """

    manifest: Manifest
    path: Path
    detector: Detector
    calibration: CalibrationSet
    roi: BoolArray | None

    @property
    def name(self) -> str:
        """As given to ``learn``."""
        return self.manifest.name

    @property
    def digest(self) -> str:
        """Hex SHA-256 over what was learned."""
        return self.manifest.digest


def profile_path(name: str | Path) -> Path:
    """Folder of a profile: a plain name is under ``ANOMALIST_HOME``, anything with a slash is a path.

    Raises ProfileError for a name that can't be one.
    """
    text = str(name)
    if isinstance(name, Path) or "/" in text or os.sep in text or text.startswith("."):
        return Path(name)
    if not re.fullmatch(r"\w[\w .+-]{0,99}", text):
        raise ProfileError(
            f"{text!r} is not a profile name.", "Use letters, digits, '-', '_', '+', '.', or give a folder."
        )
    return Settings().profiles / text


def refuse_overwriting(path: Path, *, force: bool) -> None:
    """Raise ProfileError when something is in the way of a new profile.

    With ``force`` a profile may be replaced, but nothing else, not even a profile with other files in it.
    """
    try:
        if not path.exists() and not path.is_symlink():
            return
        if not path.is_dir():
            raise ProfileError(f"{path} is not a folder.", "Choose another place.")
        entries = {entry.name for entry in path.iterdir()}
    except OSError as error:
        raise ProfileError(f"{path} can't be used: {error.strerror}.", "Choose another place.") from error
    foreign = entries - set(_FILES) or (entries if _MANIFEST not in entries else set())
    if foreign:
        raise ProfileError(
            f"{path} is a folder with other things in it ({min(foreign)}).", "Choose another place."
        )
    if entries and not force:
        raise ProfileError(f"The profile {path.name} is already there.", "Replace it with --force.")


def save_profile(
    path: Path,
    detector: Detector,
    calibration: CalibrationSet,
    roi: BoolArray | None,
    /,
    *,
    force: bool,
    **fields: Any,  # noqa: ANN401
) -> Profile:
    """Write a profile whole or not at all.

    With ``force`` it replaces the profile that is there; when that fails, the old one stays. Raises
    ProfileError when something is in the way, or it can't be written.
    """
    from PIL import Image
    from safetensors.numpy import save_file

    refuse_overwriting(path, force=force)
    with _staged_folder(path) as folder:
        detector.save(folder / _DETECTOR)
        arrays = {"scores": calibration.scores, "folds": calibration.folds, "groups": calibration.groups}
        save_file(arrays, folder / _CALIBRATION, {"seed": str(calibration.seed)})
        if roi is not None:
            Image.fromarray(roi.astype(np.uint8) * 255).save(folder / _ROI)
        files = {file.name: _sha256(file) for file in sorted(folder.iterdir())}
        manifest = Manifest(**fields, files=files)
        (folder / _MANIFEST).write_text(manifest.model_dump_json(indent=1), encoding="utf-8")
    return Profile(manifest, path, detector, calibration, roi)


@contextmanager
def _staged_folder(path: Path) -> Iterator[Path]:
    """A folder beside ``path`` that takes its place when all went well and vanishes when not."""
    from safetensors import SafetensorError

    place = path.resolve()  # a link keeps pointing to the profile
    folder = place.with_name(f".{place.name[:40]}-{secrets.token_hex(4)}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
        yield folder
        _replace_folder(place, folder)
    except (OSError, SafetensorError) as error:
        raise ProfileError(
            f"The profile can't be written to {path}: {getattr(error, 'strerror', None) or error}.",
            "Nothing was changed there. Free some space or choose another place.",
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _replace_folder(place: Path, folder: Path) -> None:
    """Rename ``folder`` to ``place``; when that fails, what was there stays there."""
    if not place.exists():
        folder.rename(place)
        return
    old = folder.with_name(folder.name + ".old")
    place.rename(old)
    try:
        folder.rename(place)
    except BaseException:  # an interrupt must not lose it either
        old.rename(place)
        raise
    shutil.rmtree(old, ignore_errors=True)


def load_profile(name: str | Path) -> Profile:
    """Read a profile by name or folder, checking format and hashes.

    Raises
    ------
    ProfileError : it is not there, of a newer format, or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = profile_path(name)
    manifest = read_manifest(path)
    _check_files(path, manifest)
    kind = detector_class(manifest.detector)
    try:
        detector = kind.load(path / _DETECTOR)
        arrays = load_file(path / _CALIBRATION)
        calibration = CalibrationSet(arrays["scores"], arrays["folds"], arrays["groups"], manifest.seed)
        if detector.folds != calibration.n_folds:
            raise ValueError(f"{detector.folds} models, but calibration for {calibration.n_folds}")
        roi = _load_roi(path / _ROI) if _ROI in manifest.files else None
    except (OSError, SafetensorError, AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise _damaged(path, str(error)) from error
    return Profile(manifest, path, detector, calibration, roi)


def read_manifest(path: Path) -> Manifest:
    """Read ``profile.json`` of a profile folder; raises ProfileError as `load_profile` does."""
    try:
        if not path.is_dir():
            raise ProfileError(f"There is no profile {path.name} ({path}).", "See: anomalist profiles")
        content = json.loads((path / _MANIFEST).read_text(encoding="utf-8"))
        written = int(content["format"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path, f"{_MANIFEST} can't be read") from error
    if written > PROFILE_FORMAT:
        raise ProfileError(
            f"The profile {path} has format {written}; this version reads up to {PROFILE_FORMAT}.",
            "Upgrade anomalist, or learn it again.",
        )
    if written < PROFILE_FORMAT:
        raise ProfileError(
            f"The profile {path} has format {written}, of an earlier version.", "Learn it again with --force."
        )
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        field = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise _damaged(path, f"{_MANIFEST}, {field}") from error


def _check_files(path: Path, manifest: Manifest) -> None:
    for file in {_DETECTOR, _CALIBRATION, *manifest.files}:
        try:
            sound = _sha256(path / file) == manifest.files.get(file)
        except OSError:
            sound = False
        if not sound:
            raise _damaged(path, f"{file} is missing or changed")


def _damaged(path: Path, what: str) -> ProfileError:
    return ProfileError(f"The profile {path} is damaged: {what}.", "Learn it again.")


def _load_roi(file: Path) -> BoolArray:
    from PIL import Image

    with Image.open(file) as opened:
        return np.asarray(opened.convert("L")) > 127


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
