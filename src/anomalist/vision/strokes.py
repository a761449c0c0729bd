"""Lines and sizes that blemishes and defects are drawn with."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from anomalist.types import FloatArray

Rng = np.random.Generator
Points = npt.NDArray[np.float64]
"""float64 (k, 2): x and y in pixels."""


def log_uniform(rng: Rng, low: float, high: float) -> float:
    """Draw so that every octave between ``low`` and ``high`` is equally likely."""
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def walk(rng: Rng, wiggle: float, length: float, start: Points, heading: float) -> Points:
    """A random walk of heading: points one step of 3 pixels apart, ``length`` pixels in all.

    ``heading`` is the first direction in radians, ``wiggle`` the spread of its change at every step.
    """
    steps = max(3, int(length / 3))
    bend = rng.normal() * 0.04
    headings = heading + np.cumsum(bend + wiggle * rng.standard_normal(steps))
    return np.asarray(start + 3 * np.cumsum(np.stack([np.cos(headings), np.sin(headings)], 1), 0))


def draw_line(mask: FloatArray, points: Points, width: float) -> None:
    """Draw a polyline of sub-pixel width into ``mask``: thinner than one pixel means fainter."""
    import cv2

    fixed = (points * 16).round().astype(np.int32).reshape(-1, 1, 2)
    line = np.zeros_like(mask)
    cv2.polylines(line, [fixed], False, min(1.0, width), max(1, round(width)), cv2.LINE_AA, 4)
    np.maximum(mask, line, out=mask)
