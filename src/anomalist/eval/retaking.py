"""A picture as if it had been taken once more: moved, turned, lit and noisy, by chance but not by much."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from anomalist.types import UInt8Array
from anomalist.vision.media import load_image

MOST_SHIFT = 6.0
"""Pixels."""
MOST_TURN = 0.5
"""Degrees."""
MOST_LIGHT = 0.08
"""Share by which the picture is brighter or darker."""
NOISE = 4.0
"""Grey levels."""


def taken_again(picture: Path, to: Path, rng: np.random.Generator) -> Path:
    """Write a picture as if taken again to ``to``, whose ending says the format, and return that path."""
    from PIL import Image

    Image.fromarray(retake(load_image(picture).pixels, rng)).save(to)
    return to


def retake(pixels: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    """Shift, turn and light a picture, uint8 (H, W, 3), a little and add noise; borders are repeated."""
    import cv2

    height, width = pixels.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(-MOST_TURN, MOST_TURN), 1.0)
    matrix[:, 2] += rng.uniform(-MOST_SHIFT, MOST_SHIFT, 2)
    moved = cv2.warpAffine(
        pixels, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    light = math.exp(rng.uniform(-MOST_LIGHT, MOST_LIGHT))
    noisy = light * moved.astype(np.float32) + rng.normal(0, NOISE, moved.shape[:2])[..., None]
    return np.asarray(np.clip(np.rint(noisy), 0, 255), np.uint8)
