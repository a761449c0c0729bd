"""Small changes of a whole picture that every line has: light, compression, a little turn.

They are simulated on normal pictures, so that what they do to statistics and scores is known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from anomalist.types.common import UInt8Array

Nuisance = Callable[[UInt8Array], UInt8Array]


def relight(pixels: UInt8Array, red: float, green: float, blue: float) -> UInt8Array:
    """Multiply the channels of a picture, uint8 (H, W, 3)."""
    return np.clip(pixels * np.array([red, green, blue], np.float32), 0, 255).astype(np.uint8)


def compress(pixels: UInt8Array, quality: int) -> UInt8Array:
    """Compress a picture as JPEG and read it again."""
    import cv2

    _, encoded = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)
    return np.ascontiguousarray(decoded[..., ::-1])


def turn(pixels: UInt8Array, degrees: float) -> UInt8Array:
    """Turn a picture clockwise about its middle, its borders mirrored outwards."""
    import cv2

    height, width = pixels.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), -degrees, 1)
    return np.asarray(
        cv2.warpAffine(pixels, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT),
        np.uint8,
    )


def halve(pixels: UInt8Array) -> UInt8Array:
    """Reduce a picture to half its height and width."""
    import cv2

    size = max(1, pixels.shape[1] // 2), max(1, pixels.shape[0] // 2)
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


NUISANCES: Mapping[str, Nuisance] = {
    "brighter": lambda pixels: relight(pixels, 1.15, 1.15, 1.15),
    "darker": lambda pixels: relight(pixels, 0.85, 0.85, 0.85),
    "warmer": lambda pixels: relight(pixels, 1.15, 1.0, 0.8),
    "compressed": lambda pixels: compress(pixels, 50),
    "turned": lambda pixels: turn(pixels, 1.0),
    "halved": lambda pixels: halve(pixels),
}
"""Small changes, by what they do."""
