"""Lay a reference picture over another one: by the simplest transform that makes their edges agree."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from anomalist.errors import MediaError
from anomalist.types import BoolArray, UInt8Array
from anomalist.vision.edges import Matrix, Sketch, agreement_of, resized, sketch

REFINED = 512
"""Longer side at which the transform is refined (ECC), pixels."""

LEAST_AGREEMENT = 0.35
"""Below this the two pictures don't show the same thing. Unrelated pictures reach about 0.1."""

ENOUGH = 0.9
"""Agreement from which nothing more complex is tried."""

WORTH = 0.8
"""A more complex transform must bring the disagreement down to this share of what a simpler one leaves."""

TINY = 8
"""Nothing is moved in pictures with a side shorter than this, pixels."""

STILL = 0.3
"""A translation below this is none, pixels at working size."""

FEW, MANY = 1.0, 10.0
"""Lengths of all edges together, in longer sides of the picture. With fewer than the first in one of the two
pictures, agreement proves nothing; with more than the second in the other, they don't show the same."""

SIMILAR = "aligned to the reference by rotation, scale and shear"
PERSPECTIVE = "aligned to the reference by a perspective transform"
REMEDY = "Give a reference of the same thing from about the same view."


@dataclass(frozen=True, eq=False)
class Aligned:
    """A reference as it would look in the frame of a picture.

    Parameters
    ----------
    pixels : uint8 (H, W, 3), RGB, at the size of the picture; means nothing outside ``valid``.
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


def align(reference: UInt8Array, picture: UInt8Array) -> Aligned:
    """Find where each pixel of a reference lies in a picture.

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
    first, second = sketch(reference), sketch(picture)
    plain = min(first.length, second.length) < FEW
    if plain and max(first.length, second.length) > MANY:
        which = "picture" if second.length < FEW else "reference"
        raise MediaError(f"The picture doesn't show what the reference shows: the {which} is plain.", REMEDY)
    best, how = _start(first, second), _as_it_lies(reference, picture)
    agreement = agreement_of(first, second, best)
    for matrix, words in _candidates(first, second, best, plain=plain):
        if matrix is not None:
            reached = agreement_of(first, second, matrix)
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
            REMEDY,
        )
    return _laid(reference, picture, first, second, best, None if plain else agreement, how)


def _start(first: Sketch, second: Sketch) -> Matrix:
    """The reference stretched to the size of the picture, at working size."""
    return resized(first.grey.shape[:2], second.grey.shape[:2])


def _as_it_lies(reference: UInt8Array, picture: UInt8Array) -> str:
    if reference.shape == picture.shape:
        return "compared with the reference as it lies"
    return "compared with the reference, resized to the picture"


def _candidates(
    first: Sketch, second: Sketch, start: Matrix, *, plain: bool
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
        if agreement_of(first, second, matrix) < 0:
            continue
        refined = _refined(first, second, matrix, perspective=words == PERSPECTIVE)
        yield max((matrix, refined), key=lambda m: agreement_of(first, second, m)), words


def _translation(first: Sketch, second: Sketch, start: Matrix) -> tuple[float, float]:
    """Shift of the picture against the stretched reference, pixels, by phase correlation of the slopes."""
    import cv2

    height, width = second.grey.shape
    if min(height, width) < TINY:
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


def _by_features(first: Sketch, second: Sketch) -> Iterator[tuple[Matrix, str]]:
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
        yield np.vstack([similar, [0, 0, 1]]), SIMILAR
    bent, _ = cv2.findHomography(source, target, cv2.RANSAC, 3)
    if bent is not None:
        yield bent, PERSPECTIVE


def _refined(first: Sketch, second: Sketch, matrix: Matrix, *, perspective: bool) -> Matrix:
    """Maximise the enhanced correlation coefficient; what doesn't converge stays as it was."""
    import cv2

    reduced = []
    for sketched in (first, second):
        height, width = sketched.grey.shape
        scale = min(1.0, REFINED / max(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        grey = cv2.resize(sketched.grey, size, interpolation=cv2.INTER_AREA)
        reduced.append((grey, resized((height, width), (size[1], size[0]))))
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


def _laid(
    reference: UInt8Array,
    picture: UInt8Array,
    first: Sketch,
    second: Sketch,
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
    pixels = cv2.warpPerspective(
        source, full, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    whole = np.ones(reference.shape[:2], dtype=np.uint8)
    valid = cv2.warpPerspective(whole, full, (width, height), flags=cv2.INTER_NEAREST) > 0
    return Aligned(pixels, valid, full, agreement, how)
