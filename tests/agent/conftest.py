"""Evidence built by hand: what the reasoner sees, without any detector."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from anomalist.types import Attributes, Box, Calibration, DetectorInfo, Evidence, Media, Region

SIDE = 256


def make_region(number: int = 1, box: Box | None = None, area: int = 400, **attributes: object) -> Region:
    """A region of a plain, compact shape at the upper left, unless said otherwise."""
    if box is None:
        end = 20 + math.ceil(math.sqrt(area))
        box = (20, 20, end, end)
    measured: dict[str, Any] = {
        "position": "upper left",
        "relative_size": area / SIDE**2,
        "elongation": 1.0,
        "contrast": 0.0,
        "contrast_sigma": 0.0,
        "tone": "same",
        "colour_shift": 0.0,
        "texture_ratio": 1.0,
        "texture": "same",
    } | attributes
    return Region(
        id=f"R{number}", box=box, area=area, peak=1 / number, mean=0.1, attributes=Attributes(**measured)
    )


def make_evidence(
    p: float | None = 0.01, score: float = 3.2, regions: Sequence[Region] = (), **calibration: object
) -> Evidence:
    """Evidence with 100 ungrouped normals and an asked rate of 0.05, unless said otherwise."""
    about: dict[str, Any] = {
        "method": "split",
        "normals": 100,
        "groups": 100,
        "false_alarm_rate": 0.05,
        "reachable": True,
        "normals_needed": 19,
        "instability": 0.0,
        "approximate": False,
        "seed": 0,
    } | calibration
    return Evidence(
        detector=DetectorInfo(name="test", digest="00"),
        score=score,
        score_map=np.zeros((SIDE, SIDE), dtype=np.float32),
        mask=np.zeros((SIDE, SIDE), dtype=bool),
        roi_area=SIDE**2,
        p_value=p,
        threshold=3.0,
        calibration=Calibration(**about),
        regions=tuple(regions),
    )


@pytest.fixture
def region() -> Callable[..., Region]:
    return make_region


@pytest.fixture
def evidence() -> Callable[..., Evidence]:
    return make_evidence


@pytest.fixture
def media() -> Media:
    return Media(source="part.png", sha256="00", pixels=np.zeros((SIDE, SIDE, 3), dtype=np.uint8))
