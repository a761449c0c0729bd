"""Simulated characteristics of whole pictures: brightness within 3 %, all else Gaussian."""

from __future__ import annotations

import numpy as np

from anomalist.types.shift import InputShift
from anomalist.vision.shift.model import POSES, STATISTICS, InputModel
from anomalist.vision.shift.registration import Template
from anomalist.vision.shift.statistics import UsualLight

NAMES = (*STATISTICS, *POSES)


def model(rng: np.random.Generator, count: int = 60) -> InputModel:
    """Model of normal values; brightness within 3 %."""
    normals = rng.normal(size=(count, len(STATISTICS)))
    normals[:, 0] = rng.uniform(-0.03, 0.03, count)
    empty = np.zeros((3, 8))
    template = Template(np.zeros((8, 8), np.float32))
    usual = UsualLight(*(np.zeros(shape, np.float32) for shape in ((3, 19), (8, 8, 3), (8, 8))))
    poses = rng.normal(size=(count, 4))
    return InputModel(None, usual, normals, empty, empty, template, None, poses, 0.0, 0.0, 100.0)


def shift(rng: np.random.Generator, brightness: float = 0.0) -> InputShift:
    """One picture of a run, brighter by a factor."""
    values = rng.normal(size=len(NAMES))
    values[0] = rng.uniform(-0.03, 0.03) + np.log1p(brightness)
    return InputShift(statistics=dict(zip(NAMES, values.tolist(), strict=True)))
