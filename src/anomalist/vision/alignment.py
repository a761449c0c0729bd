"""Lay a reference picture over another one: by the simplest transform that makes their edges agree."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anomalist.errors import MediaError
from anomalist.types import BoolArray, FloatArray, UInt8Array

Matrix = npt.NDArray[np.float64]

WORKING = 1024
"""Longer side at which the transform is estimated, pixels; larger pictures are reduced for it."""

REFINED = 512
"""Longer side at which the transform is refined (ECC), pixels."""

TOLERANCE = 1.5
"""Distance up to which two edges agree, pixels at working size."""

LEAST_AGREEMENT = 0.35
"""Below this the two pictures don't show the same thing. Unrelated pictures reach about 0.1."""

ENOUGH = 0.9
"""Agreement from which nothing more complex is tried."""

WORTH = 0.8
"""A more complex transform must bring the disagreement down to this share of what a simpler one leaves."""

STILL = 0.3
"""A translation below this is none, pixels at working size."""

EDGE_NOISE, EDGE_STEP = 5.0, 4.0
"""An edge rises above so many deviations of the noise in a slope, and by so many grey levels a pixel."""

SMOOTHING = 1.2
"""Deviation of the Gaussian before slopes are taken, pixels at working size."""

EDGE_SHARE = 0.08
"""At most this share of the pixels are edges: the strongest."""

FEW, MANY = 1.0, 10.0
"""Lengths of all edges together, in longer sides of the picture. With fewer than the first in one of the two
pictures, agreement proves nothing; with more than the second in the other, they don't show the same."""

SEEN = 0.3
"""At least this share of the edges of each picture must lie within the other for the two to be compared."""

STRETCH = (0.2, 5.0)
"""A transform that shrinks or enlarges more than this (as the root of its determinant) is a mismatch."""

BEND = 0.002
"""Largest perspective term, a pixel; beyond it the transform is a mismatch."""


@dataclass(frozen=True, eq=False)
class Aligned:
    """A reference as it would look in the frame of a picture.

    Parameters
    ----------
    pixels : uint8 (H, W, 3), RGB, at the size of the picture; 0 outside ``valid``.
    valid : bool (H, W), where the reference shows anything.
    matrix : float64 (3, 3), from pixels of the reference to pixels of the picture, homogeneous (x, y, 1).
    agreement : share of edges that lie on each other, beyond chance: 1 = all, 0 = as by chance;
        None where one of the pictures is too plain to tell.
    how : what was done, in words: "aligned to the reference by a translation of 3.2 px".
    """

    pixels: UInt8Array
    valid: BoolArray
    matrix: Matrix
    agreement: float | None
    how: str


@dataclass(frozen=True, eq=False)
class _Sketch:
    """A picture at working size: grey (h, w) float32, edge pixels, distance to the nearest."""

    grey: FloatArray
    to_working: Matrix
    edges: npt.NDArray[np.float64]  # (n, 2), x and y
    distance: FloatArray

    @property
    def length(self) -> float:
        """Of all edges together, in longer sides."""
        return len(self.edges) / max(self.grey.shape)

    @property
    def chance(self) -> float:
        """Share of all places that lie on an edge by accident."""
        return float((self.distance <= TOLERANCE).mean())


def align(reference: UInt8Array, picture: UInt8Array) -> Aligned:
    """Find where each pixel of a reference lies in a picture.

    Identity, translation (phase correlation), rotation with scale, and perspective (SIFT features, RANSAC,
    refined by maximising the enhanced correlation coefficient, Evangelidis and Psarakis 2008) are tried in
    this order; a later one must make clearly more edges agree. Only edges decide, so light and shading don't.

    Parameters
    ----------
    reference, picture : uint8 (H, W, 3), RGB, of any two sizes.

    Raises
    ------
    MediaError : the two don't show the same thing, or can't be brought into agreement.
    """
    first, second = _sketch(reference), _sketch(picture)
    plain = min(first.length, second.length) < FEW
    if plain and max(first.length, second.length) > MANY:
        which = "picture" if second.length < FEW else "reference"
        raise MediaError(f"The picture doesn't show what the reference shows: the {which} is plain.", _REMEDY)
    best, how = _start(first, second), _as_it_lies(reference, picture)
    agreement = _agreement(first, second, best)
    for matrix, words in _candidates(first, second, best, plain=plain):
        if matrix is not None:
            reached = _agreement(first, second, matrix)
            if 1 - reached < WORTH * (1 - agreement):
                best, agreement, how = matrix, reached, words
        if agreement >= ENOUGH:
            break
    if plain:
        how += "; too plain to tell how well it fits"
    elif agreement < LEAST_AGREEMENT:
        raise MediaError(
            "The picture could not be aligned to the reference: "
            f"only {max(0, agreement):.0%} of their edges agree, beyond chance.",
            _REMEDY,
        )
    return _laid(reference, picture, first, second, best, None if plain else agreement, how)


_REMEDY = "Give a reference of the same thing from about the same view."


def _sketch(pixels: UInt8Array) -> _Sketch:
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
    reduced = _resized((height, width), (size[1], size[0]))
    return _Sketch(values, reduced, np.stack([x, y], 1).astype(np.float64), distance)


def _noise(grey: FloatArray) -> float:
    """Deviation of the noise, grey levels (Immerkær 1996, with a median so that edges don't count)."""
    import cv2

    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], dtype=np.float32)
    return float(np.median(np.abs(cv2.filter2D(grey, cv2.CV_32F, kernel)))) / 0.6745 / 6


def _resized(old: tuple[int, int], new: tuple[int, int]) -> Matrix:
    """Matrix of a change of size, (height, width) to (height, width), pixel centres at whole numbers."""
    sy, sx = new[0] / old[0], new[1] / old[1]
    return np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]])


def _start(first: _Sketch, second: _Sketch) -> Matrix:
    """The reference stretched to the size of the picture, at working size."""
    return _resized(first.grey.shape[:2], second.grey.shape[:2])


def _as_it_lies(reference: UInt8Array, picture: UInt8Array) -> str:
    if reference.shape == picture.shape:
        return "compared with the reference as it lies"
    return "compared with the reference, resized to the picture"


def _candidates(
    first: _Sketch, second: _Sketch, start: Matrix, *, plain: bool
) -> Iterator[tuple[Matrix | None, str]]:
    """Yield transforms at working size by rising complexity; each is computed only when it is asked for.

    None where the simplest of them, a translation, moves nothing.
    """
    shift = _translation(first, second, start)
    scale = second.to_working[0, 0]
    moved = np.array([[1, 0, shift[0]], [0, 1, shift[1]], [0, 0, 1.0]]) @ start
    by = math.hypot(*shift)
    words = f"aligned to the reference by a translation of {by / scale:.1f} px"
    yield (moved if by > STILL else None), words
    for matrix, words in () if plain else _by_features(first, second):
        if _agreement(first, second, matrix) < 0:
            continue
        refined = _refined(first, second, matrix, perspective=words == _PERSPECTIVE)
        yield max((matrix, refined), key=lambda m: _agreement(first, second, m)), words


_SIMILAR = "aligned to the reference by rotation, scale and translation"
_PERSPECTIVE = "aligned to the reference by a perspective transform"


def _translation(first: _Sketch, second: _Sketch, start: Matrix) -> tuple[float, float]:
    """Shift of the picture against the stretched reference, pixels, by phase correlation of the slopes."""
    import cv2

    height, width = second.grey.shape
    moved = cv2.warpPerspective(
        first.grey, start, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    slopes = []
    for grey in (moved, second.grey):
        smooth = cv2.GaussianBlur(grey, (0, 0), 1.5)
        slopes.append(cv2.magnitude(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)))
    window = cv2.createHanningWindow((width, height), cv2.CV_32F) if min(height, width) > 1 else None
    (x, y), _ = cv2.phaseCorrelate(slopes[0], slopes[1], window)
    return float(x), float(y)


def _by_features(first: _Sketch, second: _Sketch) -> Iterator[tuple[Matrix, str]]:
    """Match SIFT features (Lowe 2004, ratio 0.8) and fit a similarity, then a homography, by RANSAC."""
    import cv2

    sift = cv2.SIFT_create(nfeatures=2000)
    found = [sift.detectAndCompute(s.grey.astype(np.uint8), None) for s in (first, second)]
    if any(descriptors is None or len(points) < 8 for points, descriptors in found):
        return
    pairs = cv2.BFMatcher().knnMatch(found[0][1], found[1][1], k=2)
    good = [p[0] for p in pairs if len(p) == 2 and p[0].distance < 0.8 * p[1].distance]
    if len(good) < 8:
        return
    source = np.array([found[0][0][m.queryIdx].pt for m in good])
    target = np.array([found[1][0][m.trainIdx].pt for m in good])
    similar, _ = cv2.estimateAffinePartial2D(source, target, method=cv2.RANSAC, ransacReprojThreshold=3)
    if similar is not None:
        yield np.vstack([similar, [0, 0, 1]]), _SIMILAR
    bent, _ = cv2.findHomography(source, target, cv2.RANSAC, 3)
    if bent is not None:
        yield bent, _PERSPECTIVE


def _refined(first: _Sketch, second: _Sketch, matrix: Matrix, *, perspective: bool) -> Matrix:
    """Maximise the enhanced correlation coefficient; what doesn't converge stays as it was."""
    import cv2

    reduced = []
    for sketch in (first, second):
        height, width = sketch.grey.shape
        scale = min(1.0, REFINED / max(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        grey = cv2.resize(sketch.grey, size, interpolation=cv2.INTER_AREA)
        reduced.append((grey, _resized((height, width), (size[1], size[0]))))
    (reference, to_first), (picture, to_second) = reduced
    inner = to_second @ matrix @ np.linalg.inv(to_first)
    # ECC looks for the warp from its template, the picture, to its input, the reference.
    guess = np.linalg.inv(inner / inner[2, 2])
    guess = (guess / guess[2, 2]).astype(np.float32)
    motion = cv2.MOTION_HOMOGRAPHY if perspective else cv2.MOTION_AFFINE
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 40, 1e-5)
    try:
        _, found = cv2.findTransformECC(
            picture, reference, guess if perspective else guess[:2], motion, stop, None, 5
        )
    except cv2.error:
        return matrix
    whole = np.eye(3)
    whole[: len(found)] = found
    if not np.isfinite(whole).all() or abs(np.linalg.det(whole)) < 1e-6:
        return matrix
    refined: Matrix = np.linalg.inv(to_second) @ np.linalg.inv(whole) @ to_first
    return refined / refined[2, 2]


def _agreement(first: _Sketch, second: _Sketch, matrix: Matrix) -> float:
    """Share of the edges of each picture that meet one of the other, beyond chance (as Cohen's kappa).

    The mean of both ways; −1 when the transform is none that a camera makes, or the pictures hardly overlap.
    """
    stretch = float(np.linalg.det(matrix[:2, :2]))
    if not STRETCH[0] ** 2 < stretch < STRETCH[1] ** 2 or np.abs(matrix[2, :2]).max() > BEND:
        return -1.0
    ways = ((first, second, matrix), (second, first, np.linalg.inv(matrix)))
    if not len(first.edges) or not len(second.edges):
        return 0.0
    total = 0.0
    for near, far, way in ways:
        moved = near.edges @ way[:2, :2].T + way[:2, 2]
        moved = moved / (near.edges @ way[2, :2].T + way[2, 2])[:, None]
        x, y = np.rint(moved).astype(np.int64).T
        height, width = far.grey.shape
        inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
        if inside.sum() < SEEN * len(near.edges):
            return -1.0
        met = float((far.distance[y[inside], x[inside]] <= TOLERANCE).mean())
        total += (met - far.chance) / max(1 - far.chance, 1e-6)
    return total / 2


def _laid(
    reference: UInt8Array,
    picture: UInt8Array,
    first: _Sketch,
    second: _Sketch,
    matrix: Matrix,
    agreement: float | None,
    how: str,
) -> Aligned:
    """Draw the reference in the frame of the picture, both at full size."""
    import cv2

    height, width = picture.shape[:2]
    full = np.linalg.inv(second.to_working) @ matrix @ first.to_working
    full = full / full[2, 2]
    if reference.shape == picture.shape and np.allclose(full, np.eye(3), atol=1e-9):
        return Aligned(reference, np.ones((height, width), dtype=np.bool_), np.eye(3), agreement, how)
    shrinks = math.sqrt(abs(float(np.linalg.det(full[:2, :2]))))
    source = reference
    if shrinks < 1:  # what is reduced must be smoothed first, or it shows patterns that aren't there
        source = cv2.GaussianBlur(reference, (0, 0), 0.4 * math.sqrt(1 / shrinks**2 - 1) + 0.01)
    pixels = cv2.warpPerspective(source, full, (width, height), flags=cv2.INTER_CUBIC)
    whole = np.full(reference.shape[:2], 255, dtype=np.uint8)
    valid = cv2.warpPerspective(whole, full, (width, height), flags=cv2.INTER_LINEAR) == 255
    return Aligned(pixels, valid, full, agreement, how)
