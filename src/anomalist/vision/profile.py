"""A profile: what was learned about one product, as a versioned folder with hashes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, ValidationError

from anomalist import __version__
from anomalist.errors import ProfileError
from anomalist.settings import Settings
from anomalist.types import BoolArray, Frozen
from anomalist.vision.calibration import CalibrationSet
from anomalist.vision.detectors import Detector, detector_class

PROFILE_FORMAT = 1
_MANIFEST, _DETECTOR, _CALIBRATION, _ROI = (
    "profile.json",
    "detector.safetensors",
    "calibration.safetensors",
    "roi.png",
)


class Normal(Frozen):
    """One normal picture that the profile was made from."""

    source: str
    sha256: str
    group: str | None = None
    use: str = Field(description='"learn", "calibrate" or "both" (cross-fitted)')


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
    low: float = Field(description="map level that few normal pixels reach; regions start above it")
    normals: tuple[Normal, ...]
    skipped: tuple[str, ...] = Field((), description="pictures that could not be read, with the reason")
    files: dict[str, str] = Field(description="file name to hex SHA-256")

    @property
    def digest(self) -> str:
        """Hex SHA-256 over what was learned; not over name, date or folder."""
        content = self.model_dump(mode="json", exclude={"name", "created"})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class Profile:
    """A learned product, ready to inspect with.

    ``roi`` is bool (H, W) at the size of the mask file it came from; it is resized to each picture.
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
    """Where a profile lives: a plain name under ``ANOMALIST_HOME``, anything with a slash is a folder."""
    text = str(name)
    if isinstance(name, Path) or "/" in text or os.sep in text or text.startswith("."):
        return Path(name)
    if not re.fullmatch(r"[\w][\w .+-]{0,99}", text):
        raise ProfileError(
            f"{text!r} is not a profile name.", "Use letters, digits, '-', '_', '.', or give a folder."
        )
    return Settings().profiles / text


def refuse_overwriting(path: Path, *, force: bool) -> None:
    """Raise ProfileError when something is in the way of a new profile."""
    if not path.exists() and not path.is_symlink():
        return
    if path.is_dir() and not (path / _MANIFEST).exists() and any(path.iterdir()):
        raise ProfileError(f"{path} is a folder with other things in it.", "Choose another place.")
    if not path.is_dir():
        raise ProfileError(f"{path} is a file, not a folder.", "Choose another place.")
    if not force and any(path.iterdir()):
        raise ProfileError(f"The profile {path.name} is already there.", "Learn it again with --force.")


def save_profile(
    path: Path,
    detector: Detector,
    calibration: CalibrationSet,
    roi: BoolArray | None,
    /,
    *,
    force: bool,
    **fields: Any,  # noqa: ANN401 - the fields of Manifest but ``files``
) -> Profile:
    """Write a profile whole or not at all: into a folder beside ``path``, then renamed."""
    from PIL import Image
    from safetensors.numpy import save_file

    refuse_overwriting(path, force=force)
    with _staged(path) as folder:
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
def _staged(path: Path) -> Iterator[Path]:
    """A temporary folder that becomes ``path`` when all went well and vanishes when not."""
    from safetensors import SafetensorError

    folder = old = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name[:40]}-", dir=path.parent))
        yield folder
        if path.exists():
            old = folder.with_name(folder.name + ".old")
            path.rename(old)
        folder.rename(path)
    except (OSError, SafetensorError) as error:
        if old is not None and not path.exists():
            old.rename(path)
        raise ProfileError(
            f"The profile can't be written to {path}: {getattr(error, 'strerror', None) or error}.",
            "Nothing was left there. Free some space or choose another place.",
        ) from error
    finally:
        for leftover in (folder, old):
            if leftover is not None:
                shutil.rmtree(leftover, ignore_errors=True)


def load_profile(name: str | Path) -> Profile:
    """Read a profile by name or folder, checking format and hashes.

    Raises
    ------
    ProfileError : it is not there, of a newer format, or damaged.
    """
    from safetensors.numpy import load_file

    path = profile_path(name)
    manifest = read_manifest(path)
    for file, expected in manifest.files.items():
        if not (path / file).is_file() or _sha256(path / file) != expected:
            raise ProfileError(
                f"The profile {path} is damaged: {file} is missing or changed.", "Learn it again."
            )
    try:
        detector = detector_class(manifest.detector).load(path / _DETECTOR)
        arrays = load_file(path / _CALIBRATION)
        calibration = CalibrationSet(arrays["scores"], arrays["folds"], arrays["groups"], manifest.seed)
    except (KeyError, ValueError, RuntimeError) as error:
        raise ProfileError(f"The profile {path} is damaged: {error}.", "Learn it again.") from error
    return Profile(
        manifest, path, detector, calibration, _load_roi(path / _ROI) if _ROI in manifest.files else None
    )


def read_manifest(path: Path) -> Manifest:
    """Read ``profile.json`` of a profile folder; raises ProfileError as `load_profile` does."""
    if not path.is_dir():
        raise ProfileError(f"There is no profile {path.name} ({path}).", "See: anomalist profiles")
    try:
        content = json.loads((path / _MANIFEST).read_text(encoding="utf-8"))
        written = int(content["format"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ProfileError(
            f"The profile {path} is damaged: {_MANIFEST} can't be read.", "Learn it again."
        ) from error
    if written > PROFILE_FORMAT:
        raise ProfileError(
            f"The profile {path} has format {written}; this version reads up to {PROFILE_FORMAT}.",
            "Upgrade anomalist, or learn it again.",
        )
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        field = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise ProfileError(
            f"The profile {path} is damaged: {_MANIFEST}, {field}.", "Learn it again."
        ) from error


def _load_roi(file: Path) -> BoolArray:
    from PIL import Image

    with Image.open(file) as opened:
        return np.asarray(opened) > 127


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
