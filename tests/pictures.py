"""Small pictures for tests, drawn by the package's own generator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from anomalist.types.common import UInt8Array

SIDE = 64


def tile(number: int, side: int = SIDE) -> UInt8Array:
    """A brushed grey tile with its own grain, uint8 (side, side, 3)."""
    rng = np.random.default_rng(number)
    streaks = rng.normal(0, 6, (1, side)) + rng.normal(0, 3, (side, side))
    grey = np.clip(130 + streaks, 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, 2)


def holed(number: int, side: int = SIDE) -> UInt8Array:
    """The same kind of tile with a black hole in its upper left quarter."""
    picture = tile(number, side)
    y, x = np.mgrid[:side, :side]
    picture[(y - side // 4) ** 2 + (x - side // 4) ** 2 < (side // 10) ** 2] = 5
    return picture


def write(path: Path, picture: UInt8Array) -> Path:
    """Save a picture and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)
    return path


def write_tiles(folder: Path, count: int, first: int = 0) -> list[Path]:
    """Save ``count`` good tiles as 00.png, 01.png, …"""
    return [write(folder / f"{i:02d}.png", tile(first + i)) for i in range(count)]
