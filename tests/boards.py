"""Boards for tests of references: drawn exactly, so that what changes is known to the pixel."""

from __future__ import annotations

import numpy as np

from anomalist.types.common import UInt8Array

HEIGHT, WIDTH = 240, 320


def board(dark: bool = True) -> UInt8Array:
    """Tracks, pads and a plate on an even ground, uint8 (240, 320, 3), of two tones."""
    import cv2

    grey = np.full((HEIGHT, WIDTH), 220, dtype=np.uint8)
    for x in (40, 100, 160):
        cv2.line(grey, (x, 20), (x, 150), 40, 8)
        cv2.circle(grey, (x, 170), 14, 40, -1)
    cv2.line(grey, (190, 40), (300, 40), 40, 8)
    cv2.line(grey, (200, 60), (300, 110), 40, 6)
    cv2.rectangle(grey, (210, 130), (290, 200), 40, -1)
    return rgb(grey if dark else 255 - grey)


def textured(seed: int = 0) -> UInt8Array:
    """A soft random texture of many tones, uint8 (120, 160, 3)."""
    import cv2

    grey = np.random.default_rng(seed).normal(0, 1, (120, 160)).astype(np.float32)
    return rgb(np.clip(110 + 60 * cv2.GaussianBlur(grey, (0, 0), 4), 0, 255).astype(np.uint8))


def rgb(grey: UInt8Array) -> UInt8Array:
    """Repeat a grey picture (H, W) to (H, W, 3)."""
    return np.repeat(grey[..., None], 3, 2)


def noisy(picture: UInt8Array, deviation: float, seed: int = 0) -> UInt8Array:
    """Add Gaussian noise, in grey levels."""
    values = picture + np.random.default_rng(seed).normal(0, deviation, picture.shape)
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def warped(picture: UInt8Array, matrix: object, size: tuple[int, int] | None = None) -> UInt8Array:
    """Move the pixels of a picture by a matrix (3, 3) into one of (width, height)."""
    import cv2

    size = size or (picture.shape[1], picture.shape[0])
    moved: UInt8Array = cv2.warpPerspective(
        picture, np.asarray(matrix, dtype=np.float64), size, borderMode=cv2.BORDER_REPLICATE
    )
    return moved


def spot(picture: UInt8Array, centre: tuple[int, int], radius: int, grey: int) -> UInt8Array:
    """Paint a disc over a copy of a picture."""
    import cv2

    painted: UInt8Array = cv2.circle(picture.copy(), centre, radius, (grey, grey, grey), -1)
    return painted
