"""Profile of one product: the learned detector and its calibration, a versioned folder with hashes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from anomalist.storage.artifacts import ArtifactKind, ArtifactManifest, profile_path
from anomalist.types.common import BoolArray, Frozen
from anomalist.vision.calibration import CalibrationSet
from anomalist.vision.detectors.base import Detector, detector_class, leaves_out

PROFILE_FORMAT = 2
"""Version of the folder's format."""
_DETECTOR, _CALIBRATION, _ROI = "detector.safetensors", "calibration.safetensors", "roi.png"


class NormalPicture(Frozen):
    """One normal picture that the profile was made from."""

    source: str
    sha256: str
    group: str | None = None
    use: Literal["learn", "calibrate", "both"] = Field(description='"both" when cross-fitted')


class Manifest(ArtifactManifest):
    """``profile.json``: everything about the profile but its arrays."""

    ADDED_LATER = ("place",)

    format: int = PROFILE_FORMAT
    detector: str
    effort: str
    seed: int
    backbone: str | None
    grouped: bool = Field(description="whether groups were named")
    low: float = Field(
        allow_inf_nan=False, description="map level that few normal pixels reach; regions start above it"
    )
    place: float | None = Field(
        None, description="map level from which a place is shown; None in profiles of older versions"
    )
    normals: tuple[NormalPicture, ...]
    defects: tuple[str, ...] = Field((), description="ids of the labelled defects that were learned from")
    skipped: tuple[str, ...] = Field((), description="pictures that could not be read, with the reason")
    files: dict[str, str] = Field(description="file name to hex SHA-256")


PROFILE_KIND = ArtifactKind(
    noun="profile",
    manifest_file="profile.json",
    manifest=Manifest,
    format=PROFILE_FORMAT,
    required=(_DETECTOR, _CALIBRATION),
    optional=(_ROI,),
    hashes_of=lambda manifest: manifest.files,
    how_to_learn="See: anomalist profiles",
    others={"scene.json": "a scene of a camera"},
)


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
    """Write a profile whole or not at all; ``fields`` are those of Manifest but ``files``.

    With ``force`` it replaces the profile that is there; when that fails, the old one stays. Raises
    ProfileError when something is in the way, or it can't be written.
    """
    from PIL import Image
    from safetensors.numpy import save_file

    def write_files(folder: Path) -> None:
        detector.save(folder / _DETECTOR)
        arrays = {"scores": calibration.scores, "folds": calibration.folds, "groups": calibration.groups}
        save_file(arrays, folder / _CALIBRATION, {"seed": str(calibration.seed)})
        if roi is not None:
            Image.fromarray(roi.astype(np.uint8) * 255).save(folder / _ROI)

    manifest = PROFILE_KIND.save(
        path, write_files, lambda hashes: Manifest(**fields, files=hashes), force=force
    )
    return Profile(manifest, path, detector, calibration, roi)


def load_profile(name: str | Path) -> Profile:
    """Read a profile by name or folder, checking format and hashes.

    Raises
    ------
    ProfileError : it is not there, of a newer format, or damaged.
    DetectorError : its detector or feature extractor is a plug-in that is not installed.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = profile_path(name)
    manifest = PROFILE_KIND.read_manifest(path)
    PROFILE_KIND.check_files(path, manifest)
    kind = detector_class(manifest.detector, stored_in=f"the profile {path.name}")
    try:
        detector = kind.load(path / _DETECTOR)
        arrays = load_file(path / _CALIBRATION)
        calibration = CalibrationSet(
            arrays["scores"], arrays["folds"], arrays["groups"], manifest.seed, leaves_out(kind)
        )
        if detector.folds != calibration.n_folds:
            raise ValueError(f"{detector.folds} models, but calibration for {calibration.n_folds}")
        roi = _load_roi(path / _ROI) if _ROI in manifest.files else None
    except (OSError, SafetensorError, AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        PROFILE_KIND.refuse_damaged(path, str(error), error)
    return Profile(manifest, path, detector, calibration, roi)


def _load_roi(file: Path) -> BoolArray:
    from PIL import Image

    with Image.open(file) as opened:
        return np.asarray(opened.convert("L")) > 127
