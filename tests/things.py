"""Drawn things that race through the made-up street, and folders of example pictures of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from anomalist.types.common import UInt8Array
from scripts.generated_objects import draw_object, show
from tests.street import SIZE, Change

THING_SIDE, THING_ROW = 56, 60
"""Pixels of a thing in the street, and the row of its middle."""


def racing(kind: str, *, seed: int = 78, start: float = 6.0, speed: float = 90.0) -> Change:
    """A thing that crosses the street from left to right from ``start`` on, pixels a second."""
    colour, cover = draw_object(kind, seed)
    small = cv2.resize(colour, (THING_SIDE, THING_SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    alpha = cv2.resize(cover, (THING_SIDE, THING_SIDE), interpolation=cv2.INTER_AREA)[..., None]

    def change(pixels: UInt8Array, time: float) -> UInt8Array:
        left = round((time - start) * speed) - THING_SIDE
        low, high = max(0, -left), min(THING_SIDE, SIZE[1] - left)
        if high <= low:
            return pixels
        out = pixels.astype(np.float32)
        top = THING_ROW - THING_SIDE // 2
        part = out[top : top + THING_SIDE, left + low : left + high]
        part += alpha[:, low:high] * (small[:, low:high] - part)
        return out.astype(np.uint8)

    return change


def write_examples(folder: Path, kinds: Iterable[str] = ("bicycle", "forklift"), *, count: int = 3) -> Path:
    """Write a folder of example pictures, some of each kind."""
    for kind in kinds:
        (folder / kind).mkdir(parents=True)
        for seed in range(count):
            Image.fromarray(show(kind, seed, 96, noise=2)).save(folder / kind / f"{seed}.png")
    return folder
