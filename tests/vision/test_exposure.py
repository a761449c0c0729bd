"""Exposure: what hides the structure of a reference is refused, and light that is made up for is not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from anomalist.errors import MediaError
from anomalist.types.common import UInt8Array
from anomalist.vision.difference import find_difference


def part(seed: int = 0, side: int = 160) -> UInt8Array:
    """A plate with holes on a darker ground."""
    rng = np.random.default_rng(seed)
    grey = 60 + cv2.GaussianBlur(rng.normal(0, 12, (side, side)), (0, 0), 2)
    grey[20:140, 24:136] = 150 + cv2.GaussianBlur(rng.normal(0, 30, (120, 112)), (0, 0), 1.5)
    for x, y in ((44, 44), (116, 44), (44, 116), (116, 116)):
        cv2.circle(grey, (x, y), 8, 35, -1)
    cv2.rectangle(grey, (60, 70), (100, 90), 215, -1)
    return as_picture(grey)


def as_picture(grey: np.ndarray) -> UInt8Array:
    return np.dstack([np.clip(grey, 0, 255).astype(np.uint8)] * 3)


def lit(gain: float, offset: float = 0.0) -> UInt8Array:
    return as_picture(part(1)[..., 0].astype(np.float64) * gain + offset)


EMPTY = {
    "white": np.full((160, 160), 255.0),
    "black": np.zeros((160, 160)),
    "grey": np.full((160, 160), 128.0),
    "lens cap": 5 + np.random.default_rng(0).normal(0, 2, (160, 160)),
    "conveyor": 60 + cv2.GaussianBlur(np.random.default_rng(1).normal(0, 12, (160, 160)), (0, 0), 2),
    "gradient": np.linspace(60, 180, 160)[None].repeat(160, 0),
    "noise": np.random.default_rng(2).normal(128, 40, (160, 160)),
}


@pytest.mark.parametrize("frame", EMPTY)
def test_a_frame_without_the_structure_of_the_reference_is_refused(frame: str) -> None:
    with pytest.raises(MediaError, match=r"doesn't show what the reference shows|not be aligned"):
        find_difference(part(), as_picture(EMPTY[frame]))


@pytest.mark.parametrize(
    ("gain", "offset", "said"),
    [
        (4.0, 0.0, "over-exposed"),
        (2.5, 0.0, "over-exposed"),
        (0.3, 0.0, r"contrast of the picture is 0\.\d+ times"),
        (0.25, 110.0, r"contrast of the picture is 0\.\d+ times.*fog"),
        (0.04, 0.0, "nearly black"),
        (0.06, 110.0, "is plain"),
    ],
)
def test_what_fog_darkness_or_too_much_light_hides_is_not_compared(
    gain: float, offset: float, said: str
) -> None:
    with pytest.raises(MediaError, match=said):
        find_difference(part(), lit(gain, offset))


@pytest.mark.parametrize(("gain", "offset"), [(1.0, 0.0), (0.6, 0.0), (1.3, 0.0), (0.7, 60.0)])
def test_light_that_hides_nothing_is_made_up_for(gain: float, offset: float) -> None:
    assert not find_difference(part(), lit(gain, offset)).mask.any()


@pytest.mark.parametrize("level", [0, 255])
def test_a_plain_reference_is_not_found_in_darkness_or_glare(level: int) -> None:
    plain = as_picture(100 + np.random.default_rng(3).normal(0, 2, (96, 96)))
    assert not find_difference(plain, as_picture(plain[..., 0] * 0.8)).mask.any()
    with pytest.raises(MediaError):
        find_difference(plain, as_picture(np.full((96, 96), float(level))))
