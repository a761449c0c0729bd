"""Image registration: warp a reference onto a picture by the simplest transform that makes edges agree.

Identity, translation (phase correlation), similarity and homography (SIFT, RANSAC), refined by ECC
(Evangelidis and Psarakis 2008). Agreement is the share of edges that meet, beyond chance, as Cohen's
kappa: −1 to 1. Only edges decide, so light doesn't.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anomalist.errors import MediaError
from anomalist.types.common import BoolArray, FloatArray, UInt8Array

Matrix = npt.NDArray[np.float64]
"""Homogeneous transform, float64 (3, 3)."""

WORKING_SIDE = 1024
"""Longer side at which the transform is estimated, pixels; larger pictures are reduced for it."""

EDGE_TOLERANCE = 1.5
"""Distance up to which two edges agree, pixels at working size."""

EDGE_NOISE, EDGE_STEP = 5.0, 4.0
"""An edge's gradient exceeds so many deviations of the noise, and so many grey levels a pixel."""

EDGE_BLUR_SIGMA = 1.2
"""Sigma of the Gaussian before gradients are taken, pixels at working size."""

EDGE_SHARE = 0.08
"""At most this share of the pixels are edges: the strongest."""

MIN_OVERLAP = 0.3
"""At least this share of the edges of each picture must lie within the other for the two to be compared."""

SCALE_LIMITS = (0.2, 5.0)
"""A transform that shrinks or enlarges more than this (as the root of its determinant) is a mismatch."""

MAX_PERSPECTIVE = 0.002
"""Largest perspective term, a pixel; beyond it the transform is a mismatch."""


MIN_DETERMINANT, MIN_DEPTH = 1e-3, 0.1
"""Smallest determinant of a transform, and smallest depth of a point under it (1 where it starts)."""


@dataclass(frozen=True, eq=False)
class EdgeMap:
    """Edge map of a picture at working size.

    Parameters
    ----------
    grey : float32 (h, w), grey levels; the longer side is at most `WORKING_SIDE`.
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
        """Length of all edges together, in longer sides of the picture."""
        return len(self.edges) / float(max(self.grey.shape))

    @property
    def chance(self) -> float:
        """Share of all pixels that agree with an edge by chance."""
        return float((self.distance <= EDGE_TOLERANCE).mean())


def edge_map(pixels: UInt8Array) -> EdgeMap:
    """Edge map of a picture: reduce it to working size and find its strongest edges (Canny)."""
    import cv2

    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    height, width = grey.shape
    scale = min(1.0, WORKING_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA) if scale < 1 else grey
    values = small.astype(np.float32)
    smooth = cv2.GaussianBlur(values, (0, 0), EDGE_BLUR_SIGMA)
    across, down = (cv2.Scharr(smooth, cv2.CV_32F, *axis) / 32 for axis in ((1, 0), (0, 1)))
    slope = cv2.magnitude(across, down)
    # After a Gaussian of sigma σ, white noise of deviation s has gradients of deviation s / (√(8π) σ²).
    floor = max(EDGE_STEP, EDGE_NOISE * _noise_sigma(values) / (math.sqrt(8 * math.pi) * EDGE_BLUR_SIGMA**2))
    high = max(floor, float(np.quantile(slope, 1 - EDGE_SHARE)))
    # Non-maximum suppression by Canny, which takes 16-bit derivatives; the factor 16 keeps fractions.
    parts = [np.clip(16 * part, -32767, 32767).astype(np.int16) for part in (across, down)]
    thin = cv2.Canny(parts[0], parts[1], 16 * floor, 16 * high, L2gradient=True) > 0
    y, x = np.nonzero(thin)
    distance = (
        cv2.distanceTransform((~thin).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        if x.size
        else np.full(small.shape, np.inf, dtype=np.float32)
    )
    reduced = resize_matrix((height, width), (size[1], size[0]))
    return EdgeMap(values, reduced, np.stack([x, y], 1).astype(np.float64), distance)


def _noise_sigma(grey: FloatArray) -> float:
    """Deviation of the noise, grey levels (Immerkær 1996, with a median so that edges don't count)."""
    import cv2

    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], dtype=np.float32)
    return float(np.median(np.abs(cv2.filter2D(grey, cv2.CV_32F, kernel)))) / 0.6745 / 6


def resize_matrix(old: tuple[int, int], new: tuple[int, int]) -> Matrix:
    """Matrix of a change of size, (height, width) to (height, width), pixel centres at whole numbers."""
    sy, sx = new[0] / old[0], new[1] / old[1]
    return np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]])


def edge_agreement(first: EdgeMap, second: EdgeMap, matrix: Matrix) -> float:
    """Share of the edges of each picture that meet one of the other, beyond chance (as Cohen's kappa).

    The mean of both directions; −1 when the transform is implausible, or the pictures hardly overlap.
    """
    stretch = float(np.linalg.det(matrix[:2, :2]))
    if (
        not SCALE_LIMITS[0] ** 2 < stretch < SCALE_LIMITS[1] ** 2
        or np.abs(matrix[2, :2]).max() > MAX_PERSPECTIVE
    ):
        return -1.0
    if np.linalg.det(matrix) < MIN_DETERMINANT:
        return -1.0
    if not len(first.edges) or not len(second.edges):
        return 0.0
    there, back = (
        _share_met(first, second, matrix),
        _share_met(second, first, np.asarray(np.linalg.inv(matrix), np.float64)),
    )
    return -1.0 if there is None or back is None else (there + back) / 2


def _share_met(near: EdgeMap, far: EdgeMap, way: Matrix) -> float | None:
    """Share of the edges of one that meet one of the other, beyond chance; None when they hardly overlap."""
    depth = near.edges @ way[2, :2] + way[2, 2]
    if depth.min() < MIN_DEPTH:
        return None
    moved = (near.edges @ way[:2, :2].T + way[:2, 2]) / depth[:, None]
    x, y = np.rint(moved).astype(np.int64).T
    height, width = far.grey.shape
    inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
    if inside.sum() < MIN_OVERLAP * len(near.edges):
        return None
    met = float((far.distance[y[inside], x[inside]] <= EDGE_TOLERANCE).mean())
    return (met - far.chance) / max(1 - far.chance, 1e-6)


ECC_SIDE = 512
"""Longer side at which the transform is refined (ECC), pixels."""

MIN_AGREEMENT = 0.35
"""Agreement below which pictures don't show the same thing; unrelated pictures reach about 0.1."""

GOOD_AGREEMENT = 0.9
"""Agreement from which nothing more complex is tried."""

COMPLEXITY_FACTOR = 0.8
"""A more complex transform must bring the disagreement down to this share of what a simpler one leaves."""

MIN_SHIFTED_SIDE = 8
"""Side in pixels below which no translation is estimated."""

MIN_SHIFT = 0.3
"""Smallest translation, pixels at working size; less is identity."""

MIN_EDGE_LENGTH, CLEAR_EDGE_LENGTH = 1.0, 10.0
"""Lengths of all edges together, in longer sides of the picture. With fewer than the first in one of the two
pictures, agreement proves nothing; with more than the second in the other, they don't show the same."""

DARK_LEVEL, BRIGHT_LEVEL = 24.0, 232.0
"""Mean grey levels below and above which a picture is called nearly black, or nearly white."""

SIMILARITY_WORDS = "aligned to the reference by rotation, scale and shear"
PERSPECTIVE_WORDS = "aligned to the reference by a perspective transform"
REMEDY = "Give a reference of the same thing from about the same view."


@dataclass(frozen=True, eq=False)
class AlignedReference:
    """A reference warped into the frame of a picture.

    Parameters
    ----------
    pixels : uint8 (H, W, 3), RGB, at the size of the picture; meaningless outside ``valid``.
    valid : bool (H, W), where the reference shows anything.
    matrix : float64 (3, 3), from pixels of the reference to pixels of the picture, homogeneous (x, y, 1).
    agreement : share of edges that lie on each other, beyond chance: 1 = all, 0 = as by chance;
        None where one of the pictures has too few edges.
    how : what was done, in words: "aligned to the reference by a translation of 3.2 px".
    """

    pixels: UInt8Array
    valid: BoolArray
    matrix: Matrix
    agreement: float | None
    how: str


def align(reference: UInt8Array, picture: UInt8Array) -> AlignedReference:
    """Register a reference to a picture.

    Identity, translation (phase correlation), rotation with scale and shear, and perspective (SIFT features,
    RANSAC, refined by maximising the enhanced correlation coefficient, Evangelidis and Psarakis 2008) are
    tried in this order; a later one must make clearly more edges agree. Only edges decide, so light doesn't.

    Parameters
    ----------
    reference, picture : uint8 (H, W, 3), RGB, of any two sizes.

    Raises
    ------
    MediaError : the two don't show the same thing, or can't be brought into agreement.
    """
    first, second = edge_map(reference), edge_map(picture)
    plain = min(first.length, second.length) < MIN_EDGE_LENGTH
    if plain and max(first.length, second.length) > CLEAR_EDGE_LENGTH:
        raise _not_shown("picture" if second.length < MIN_EDGE_LENGTH else "reference", second)
    best, how = _initial_matrix(first, second), _identity_words(reference, picture)
    agreement = edge_agreement(first, second, best)
    for matrix, words in _candidates(first, second, best, plain=plain):
        if matrix is not None:
            reached = edge_agreement(first, second, matrix)
            if 1 - reached < COMPLEXITY_FACTOR * (1 - agreement):
                best, agreement, how = matrix, reached, words
        if agreement >= GOOD_AGREEMENT:
            break
    if plain and not _structure_found(first, second, best):
        raise _not_shown("picture", second)
    if plain:
        how += "; too plain to tell how well it fits"
    elif agreement < MIN_AGREEMENT:
        raise MediaError(
            "The picture could not be aligned to the reference: "
            f"only {max(0, agreement):.0%} of their edges agree, beyond chance.",
            REMEDY,
        )
    return _warp_reference(reference, picture, first, second, best, None if plain else agreement, how)


def _structure_found(first: EdgeMap, second: EdgeMap, matrix: Matrix) -> bool:
    """Whether the edges of a reference are in a picture that has hardly any; true where it has none."""
    if first.length < MIN_EDGE_LENGTH:
        return True
    found = _share_met(first, second, matrix) if len(second.edges) else None
    return found is not None and found >= MIN_AGREEMENT


def _not_shown(which: str, picture: EdgeMap) -> MediaError:
    level = float(picture.grey.mean())
    light = " and nearly black" if level < DARK_LEVEL else " and nearly white" if level > BRIGHT_LEVEL else ""
    return MediaError(
        f"The picture doesn't show what the reference shows: the {which} is plain"
        f"{light if which == 'picture' else ''}.",
        REMEDY,
    )


def _initial_matrix(first: EdgeMap, second: EdgeMap) -> Matrix:
    """Matrix that stretches the reference to the size of the picture, at working size."""
    return resize_matrix(first.grey.shape[:2], second.grey.shape[:2])


def _identity_words(reference: UInt8Array, picture: UInt8Array) -> str:
    if reference.shape == picture.shape:
        return "compared with the reference as it lies"
    return "compared with the reference, resized to the picture"


def _candidates(
    first: EdgeMap, second: EdgeMap, start: Matrix, *, plain: bool
) -> Iterator[tuple[Matrix | None, str]]:
    """Yield transforms at working size by rising complexity; each is computed only when it is asked for.

    None where the simplest of them, a translation, moves nothing.
    """
    shift = _estimate_translation(first, second, start)
    scale = second.to_working[0, 0]
    moved = np.array([[1, 0, shift[0]], [0, 1, shift[1]], [0, 0, 1.0]]) @ start
    by = math.hypot(*shift)
    words = f"aligned to the reference by a translation of {by / scale:.1f} px"
    yield (moved if by > MIN_SHIFT else None), words
    for matrix, words in () if plain else _match_features(first, second):
        if edge_agreement(first, second, matrix) < 0:
            continue
        refined = _refine_ecc(first, second, matrix, perspective=words == PERSPECTIVE_WORDS)
        yield max((matrix, refined), key=lambda m: edge_agreement(first, second, m)), words


def _estimate_translation(first: EdgeMap, second: EdgeMap, start: Matrix) -> tuple[float, float]:
    """Shift of the picture against the stretched reference, pixels, by phase correlation of the gradients."""
    import cv2

    height, width = second.grey.shape
    if min(height, width) < MIN_SHIFTED_SIDE:
        return 0.0, 0.0
    moved = cv2.warpPerspective(
        first.grey, start, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    slopes = []
    for grey in (moved, second.grey):
        smooth = cv2.GaussianBlur(grey, (0, 0), 1.5)
        slopes.append(cv2.magnitude(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)))
    window = cv2.createHanningWindow((width, height), cv2.CV_32F)
    (x, y), _ = cv2.phaseCorrelate(slopes[0], slopes[1], window)
    return (float(x), float(y)) if math.isfinite(x) and math.isfinite(y) else (0.0, 0.0)


def _match_features(first: EdgeMap, second: EdgeMap) -> Iterator[tuple[Matrix, str]]:
    """Match SIFT features (Lowe 2004, ratio 0.8) and fit a similarity, then a homography, by RANSAC."""
    import cv2

    sift = cv2.SIFT.create(nfeatures=2000)
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
        yield np.vstack([similar, [0, 0, 1]]), SIMILARITY_WORDS
    bent, _ = cv2.findHomography(source, target, cv2.RANSAC, 3)
    if bent is not None:
        yield bent, PERSPECTIVE_WORDS


def _refine_ecc(first: EdgeMap, second: EdgeMap, matrix: Matrix, *, perspective: bool) -> Matrix:
    """Maximise the enhanced correlation coefficient; what doesn't converge stays as it was."""
    import cv2

    reduced = []
    for sketched in (first, second):
        height, width = sketched.grey.shape
        scale = min(1.0, ECC_SIDE / max(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        grey = cv2.resize(sketched.grey, size, interpolation=cv2.INTER_AREA)
        reduced.append((grey, resize_matrix((height, width), (size[1], size[0]))))
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
    refined = np.linalg.inv(to_second) @ np.linalg.inv(whole) @ to_first
    return np.asarray(refined / refined[2, 2])


def _warp_reference(
    reference: UInt8Array,
    picture: UInt8Array,
    first: EdgeMap,
    second: EdgeMap,
    matrix: Matrix,
    agreement: float | None,
    how: str,
) -> AlignedReference:
    """Warp the reference into the frame of the picture, both at full size."""
    import cv2

    height, width = picture.shape[:2]
    full = np.linalg.inv(second.to_working) @ matrix @ first.to_working
    full = full / full[2, 2]
    if reference.shape == picture.shape and np.allclose(full, np.eye(3), atol=1e-9):
        return AlignedReference(
            reference, np.ones((height, width), dtype=np.bool_), np.eye(3), agreement, how
        )
    shrinks = math.sqrt(abs(float(np.linalg.det(full[:2, :2]))))
    source = reference
    if shrinks < 1:  # smoothed before it is reduced, against aliasing
        source = cv2.GaussianBlur(reference, (0, 0), 0.4 * math.sqrt(1 / shrinks**2 - 1) + 0.01)
    pixels = cv2.warpPerspective(
        source, full, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    whole = np.ones(reference.shape[:2], dtype=np.uint8)
    valid = cv2.warpPerspective(whole, full, (width, height), flags=cv2.INTER_NEAREST) > 0
    return AlignedReference(pixels, valid, full, agreement, how)
