"""A small profile for tests, and what a folder holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from anomalist.types.common import BoolArray
from anomalist.vision.calibration import CalibrationSet
from anomalist.vision.profile import NormalPicture, Profile, ProfileParts, save_profile
from tests.detectors import NAME, GreyDetector

ROI = np.zeros((6, 9), bool)
ROI[1:4, 2:7] = True


def save_small_profile(
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
        "normals": (NormalPicture(source="good/ä.png", sha256="ab", use="both"),),
    }
    return save_profile(path, ProfileParts(detector, calibration, mask), force=force, **(settings | fields))


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}
