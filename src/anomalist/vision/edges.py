"""The edges of a picture, and how many of them meet those of another one under a transform."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anomalist.types import FloatArray, UInt8Array

Matrix = npt.NDArray[np.float64]

WORKING = 1024
"""Longer side at which the transform is estimated, pixels; larger pictures are reduced for it."""

TOLERANCE = 1.5
"""Distance up to which two edges agree, pixels at working size."""

EDGE_NOISE, EDGE_STEP = 5.0, 4.0
"""An edge rises above so many deviations of the noise in a slope, and by so many grey levels a pixel."""

SMOOTHING = 1.2
"""Deviation of the Gaussian before slopes are taken, pixels at working size."""

EDGE_SHARE = 0.08
"""At most this share of the pixels are edges: the strongest."""

SEEN = 0.3
"""At least this share of the edges of each picture must lie within the other for the two to be compared."""

STRETCH = (0.2, 5.0)
"""A transform that shrinks or enlarges more than this (as the root of its determinant) is a mismatch."""

BEND = 0.002
"""Largest perspective term, a pixel; beyond it the transform is a mismatch."""


FLAT, HORIZON = 1e-3, 0.1
"""Smallest determinant of a transform, and smallest depth of a point under it (1 where it starts)."""


@dataclass(frozen=True, eq=False)
class Sketch:
    """A picture at working size.

    Parameters
    ----------
    grey : float32 (h, w), grey levels; the longer side is at most `WORKING`.
    to_working : float64 (3, 3), from pixels of the picture to pixels of ``grey``.
    edges : float64 (n, 2), x and y of the pixels on an edge.
    distance : float32 (h, w), pixels to the nearest of them; infinite where there is none.
    """

    grey: FloatArray
    to_working: Matrix
    edges: npt.NDArray[np.float64]
    distance: FloatArray

    @property
    def length(self) -> float:
        """Of all edges together, in longer sides."""
        return len(self.edges) / float(max(self.grey.shape))

    @property
    def chance(self) -> float:
        """Share of all places that lie on an edge by accident."""
        return float((self.distance <= TOLERANCE).mean())


def sketch(pixels: UInt8Array) -> Sketch:
    """Reduce a picture to working size and find its strongest edges."""
    import cv2

    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    height, width = grey.shape
    scale = min(1.0, WORKING / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA) if scale < 1 else grey
    values = small.astype(np.float32)
    smooth = cv2.GaussianBlur(values, (0, 0), SMOOTHING)
    across, down = (cv2.Scharr(smooth, cv2.CV_32F, *axis) / 32 for axis in ((1, 0), (0, 1)))
    slope = cv2.magnitude(across, down)
    # White noise of deviation s has slopes of deviation s / (√(8π) σ²) behind a Gaussian of deviation σ.
    floor = max(EDGE_STEP, EDGE_NOISE * _noise(values) / (math.sqrt(8 * math.pi) * SMOOTHING**2))
    high = max(floor, float(np.quantile(slope, 1 - EDGE_SHARE)))
    # Thin them: only the ridge of a slope is an edge. Canny wants 16-bit derivatives; 16 keeps fractions.
    parts = [np.clip(16 * part, -32767, 32767).astype(np.int16) for part in (across, down)]
    thin = cv2.Canny(parts[0], parts[1], 16 * floor, 16 * high, L2gradient=True) > 0
    y, x = np.nonzero(thin)
    distance = (
        cv2.distanceTransform((~thin).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        if x.size
        else np.full(small.shape, np.inf, dtype=np.float32)
    )
    reduced = resized((height, width), (size[1], size[0]))
    return Sketch(values, reduced, np.stack([x, y], 1).astype(np.float64), distance)


def _noise(grey: FloatArray) -> float:
    """Deviation of the noise, grey levels (Immerkær 1996, with a median so that edges don't count)."""
    import cv2

    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], dtype=np.float32)
    return float(np.median(np.abs(cv2.filter2D(grey, cv2.CV_32F, kernel)))) / 0.6745 / 6


def resized(old: tuple[int, int], new: tuple[int, int]) -> Matrix:
    """Matrix of a change of size, (height, width) to (height, width), pixel centres at whole numbers."""
    sy, sx = new[0] / old[0], new[1] / old[1]
    return np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]])


def agreement_of(first: Sketch, second: Sketch, matrix: Matrix) -> float:
    """Share of the edges of each picture that meet one of the other, beyond chance (as Cohen's kappa).

    The mean of both ways; −1 when the transform is none that a camera makes, or the pictures hardly overlap.
    """
    stretch = float(np.linalg.det(matrix[:2, :2]))
    if not STRETCH[0] ** 2 < stretch < STRETCH[1] ** 2 or np.abs(matrix[2, :2]).max() > BEND:
        return -1.0
    if np.linalg.det(matrix) < FLAT:
        return -1.0
    ways = ((first, second, matrix), (second, first, np.linalg.inv(matrix)))
    if not len(first.edges) or not len(second.edges):
        return 0.0
    total = 0.0
    for near, far, way in ways:
        depth = near.edges @ way[2, :2] + way[2, 2]
        if depth.min() < HORIZON:
            return -1.0
        moved = (near.edges @ way[:2, :2].T + way[:2, 2]) / depth[:, None]
        x, y = np.rint(moved).astype(np.int64).T
        height, width = far.grey.shape
        inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
        if inside.sum() < SEEN * len(near.edges):
            return -1.0
        met = float((far.distance[y[inside], x[inside]] <= TOLERANCE).mean())
        total += (met - far.chance) / max(1 - far.chance, 1e-6)
    return total / 2
