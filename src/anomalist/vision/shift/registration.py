"""Registration of a picture to the template of a product that lies alike, or to the grain of a texture.

A template is the mean of normal pictures, band-passed and of local contrast one, so that light does not
matter. A picture is registered by phase correlation and refined by the enhanced correlation coefficient
(Evangelidis and Psarakis 2008); where that does not fit, quarter turns and the log-polar spectrum (Reddy
and Chatterji 1996) give other starts. Texture without a place has a power spectrum, which turns and scales
with it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from anomalist.types.common import FloatArray, UInt8Array
from anomalist.vision.alignment import Matrix, resize_matrix
from anomalist.vision.shift.arithmetic import (
    ANGLES,
    ECC_CHANGE,
    ECC_MORE,
    ECC_STEPS,
    NO_WORSE,
    RADII,
    SPECTRUM_SIDE,
    radii,
    turn_and_scale,
)

REGISTERED = 60
"""Normal pictures, at most, that say how a product lies."""
_FINE, _COARSE, _LOCAL = 1.2, 5.0, 14.0  # sigmas of the band-pass, and of the local contrast, pixels
_LEAST_CONTRAST = 3.0  # grey levels, under the local contrast
_MIN_OVERLAP = 0.5
_QUARTERS = (90, 180, 270)
_PARTS, _PART = 3, 0.55  # overlapping parts along each side, and their share of it


@dataclass(frozen=True, eq=False)
class Pose:
    """How a picture lies against the template.

    Parameters
    ----------
    matrix : float64 (3, 3), from pixels of the template to pixels of the picture, reduced alike.
    dx, dy : of the middle, to the right and down, as shares of the longer side.
    degrees : turned clockwise, −180 to 180.
    scale : factor of size.
    agreement : correlation of the picture with the template there, −1 to 1.
    """

    matrix: Matrix
    dx: float
    dy: float
    degrees: float
    scale: float
    agreement: float

    @property
    def shift(self) -> float:
        """Length of the displacement, as a share of the longer side."""
        return math.hypot(self.dx, self.dy)


def band_pass(pixels: UInt8Array, size: tuple[int, int]) -> FloatArray:
    """Structure of a picture, uint8 (H, W, 3), of local contrast about one: float32 of the size (h, w)."""
    import cv2

    reduced = cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_AREA)
    small = cv2.cvtColor(reduced, cv2.COLOR_RGB2GRAY).astype(np.float32)
    band = cv2.GaussianBlur(small, (0, 0), _FINE) - cv2.GaussianBlur(small, (0, 0), _COARSE)
    spread = np.sqrt(cv2.GaussianBlur(band * band, (0, 0), _LOCAL)) + _LEAST_CONTRAST
    return np.asarray(band / spread, np.float32)


@dataclass(frozen=True, eq=False)
class Template:
    """Template of a product that always lies alike.

    Parameters
    ----------
    structure : float32 (h, w), mean of `band_pass` over normal pictures.
    """

    structure: FloatArray

    @classmethod
    def fit(cls, structures: Sequence[FloatArray]) -> Template:
        """Average structures, float32 (h, w) each, once as they lie, and again after moving each to that."""
        first = cls(_mean(structures))
        moved = [_warped(one, first._shifted(one, np.eye(3)), one.shape) for one in structures]
        return cls(_mean(moved))

    def without(self, structure: FloatArray, count: int) -> Template:
        """The template of ``count`` pictures without one of them."""
        if count < 2:
            return self
        own = _warped(structure, self._shifted(structure, np.eye(3)), structure.shape)
        return Template(_without(self.structure, own, count))

    def register(self, structure: FloatArray, *, accepted: float | None = None) -> Pose:
        """Register a structure, float32 (h, w).

        Where it agrees less than ``accepted``, turns and scales are searched, too.
        """
        best = self._refined(structure, self._shifted(structure, np.eye(3)))
        pose = self._pose(structure, best)
        if accepted is None or pose.agreement >= accepted:
            return pose
        for start in self._starts(structure):
            other = self._pose(structure, self._refined(structure, self._shifted(structure, start)))
            if other.agreement > pose.agreement + 0.05:
                pose = other
        return pose

    def _starts(self, structure: FloatArray) -> Iterator[Matrix]:
        height, width = self.structure.shape
        middle = ((width - 1) / 2, (height - 1) / 2)
        yield from (_about(middle, turn, 1.0) for turn in _QUARTERS)
        for degrees, scale in turn_and_scale(self._spectrum, log_polar_spectrum(structure), 3):
            for half in (0, 180):
                yield _about(middle, degrees + half, scale)

    @cached_property
    def _spectrum(self) -> FloatArray:
        return log_polar_spectrum(self.structure)

    def _shifted(self, structure: FloatArray, start: Matrix) -> Matrix:
        """A start from template to picture, moved to where the two correlate most."""
        import cv2

        height, width = self.structure.shape
        window = cv2.createHanningWindow((width, height), cv2.CV_32F)
        seen = _warped(structure, start, (height, width))
        (x, y), _ = cv2.phaseCorrelate(self.structure * window, seen * window)
        if not (math.isfinite(x) and math.isfinite(y)):
            return start
        moved = np.array([[1, 0, x], [0, 1, y], [0, 0, 1]])
        candidate = start @ moved
        return max((start, candidate), key=lambda m: self._agreement(structure, m))

    def _refined(self, structure: FloatArray, start: Matrix) -> Matrix:
        import cv2

        found = start[:2].astype(np.float32)
        stops = (
            (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, ECC_STEPS, ECC_CHANGE),
            (cv2.TERM_CRITERIA_COUNT, ECC_MORE, 0.0),
        )
        try:
            for stop in stops:
                _, found = cv2.findTransformECC(
                    self.structure, structure, found, cv2.MOTION_AFFINE, stop, None, 3
                )
        except cv2.error:
            return start
        matrix = np.vstack([found.astype(np.float64), [0, 0, 1]])
        if not np.isfinite(matrix).all():
            return start
        worse = self._agreement(structure, matrix) < self._agreement(structure, start) - NO_WORSE
        return start if worse else matrix

    def _agreement(self, structure: FloatArray, matrix: Matrix) -> float:
        """Correlation with the template where both are seen; −1 where too little is."""
        inside = seen_share(shape_of(structure), matrix, shape_of(self.structure)) > 0.99
        if inside.mean() < _MIN_OVERLAP:
            return -1.0
        seen = _warped(structure, matrix, self.structure.shape)[inside]
        return _correlation(seen, self.structure[inside])

    def _pose(self, structure: FloatArray, matrix: Matrix) -> Pose:
        height, width = self.structure.shape
        middle = np.array([(width - 1) / 2, (height - 1) / 2, 1.0])
        dx, dy, _ = (matrix @ middle - middle) / max(height, width)
        linear = matrix[:2, :2]
        scale = math.sqrt(max(float(np.linalg.det(linear)), 1e-6))
        degrees = math.degrees(math.atan2(linear[1, 0] - linear[0, 1], linear[0, 0] + linear[1, 1]))
        return Pose(matrix, float(dx), float(dy), degrees, scale, self._agreement(structure, matrix))


MIN_AGREEMENT, TENTH_AGREEMENT = 0.6, 0.4
"""Agreement with the template of the others that half, and nine in ten, of the normals must reach."""
FOUND_SHARE = 0.55
"""Share of the usual agreement from which a picture shows the product: a defect may cover much of it."""


@dataclass(frozen=True, eq=False)
class FittedTemplate:
    """A template, how its normals lie against that of the others, and what agreement shows the product."""

    template: Template
    poses: tuple[Pose, ...]

    @property
    def agreements(self) -> npt.NDArray[np.float64]:
        """Of the normals, float64 (n,)."""
        return np.array([pose.agreement for pose in self.poses])

    @property
    def found(self) -> float:
        """Agreement from which a picture shows the product."""
        return FOUND_SHARE * float(np.median(self.agreements))


def fit_template(structures: Sequence[FloatArray]) -> FittedTemplate | None:
    """Fit a template to structures of one shape, ``REGISTERED`` at most; None where they don't lie alike."""
    kept = list(structures[:: max(1, -(-len(structures) // REGISTERED))])
    template = Template.fit(kept)
    fitted = FittedTemplate(template, tuple(template.without(one, len(kept)).register(one) for one in kept))
    agreements = fitted.agreements
    alike = np.median(agreements) >= MIN_AGREEMENT and np.quantile(agreements, 0.1) >= TENTH_AGREEMENT
    return fitted if alike else None


@dataclass(frozen=True, eq=False)
class Grain:
    """Power spectrum of a texture that has a direction or a pitch.

    Parameters
    ----------
    spectrum : float32 (angles, radii), mean of `grain_spectrum` over normal pictures.
    """

    spectrum: FloatArray

    def register(self, structure: FloatArray) -> Pose:
        """Turn (−90 to 90 degrees) and scale of a structure; nothing tells where it lies."""
        return self._registered(grain_spectrum(structure))

    def _registered(self, spectrum: FloatArray) -> Pose:
        ((degrees, scale),) = turn_and_scale(self.spectrum, spectrum, 1)
        rows = (np.arange(ANGLES) + round(degrees * ANGLES / 180)) % ANGLES
        columns = np.arange(RADII) - round(math.log(scale) / math.log(radii()[1] / radii()[0]))
        shared = (columns >= 0) & (columns < RADII)
        seen = spectrum[rows][:, columns[shared]]
        agreement = _correlation(seen.ravel(), self.spectrum[:, shared].ravel())
        return Pose(np.eye(3), 0.0, 0.0, degrees, scale, agreement)


def fit_grain(structures: Sequence[FloatArray]) -> tuple[Grain, tuple[Pose, ...]]:
    """Fit the grain to two structures or more, and say how each lies against that of the others.

    Against one that it has a part in, a structure of few would agree far better than a new one does.
    """
    spectra = [grain_spectrum(one) for one in structures]
    mean, count = _mean(spectra), len(spectra)
    others = (Grain(_without(mean, own, count)) for own in spectra)
    poses = tuple(other._registered(own) for other, own in zip(others, spectra, strict=True))
    return Grain(mean), poses


def log_polar_spectrum(structure: FloatArray) -> FloatArray:
    """Logarithm of the amplitudes of a structure in log-polar coordinates: float32 (180, 64), half a turn."""
    import cv2

    height, width = structure.shape
    window = cv2.createHanningWindow((width, height), cv2.CV_32F)
    padded = np.zeros((2 * SPECTRUM_SIDE, 2 * SPECTRUM_SIDE), np.float32)
    rows, columns = min(height, 2 * SPECTRUM_SIDE), min(width, 2 * SPECTRUM_SIDE)
    padded[:rows, :columns] = ((structure - structure.mean()) * window)[:rows, :columns]
    amplitude = np.log1p(np.abs(np.fft.fftshift(np.fft.fft2(padded)))).astype(np.float32)
    amplitude = cv2.GaussianBlur(amplitude, (0, 0), 1.5)
    angles = np.pi * np.arange(ANGLES) / ANGLES
    x = (SPECTRUM_SIDE + np.outer(np.cos(angles), radii())).astype(np.float32)
    y = (SPECTRUM_SIDE + np.outer(np.sin(angles), radii())).astype(np.float32)
    polar = cv2.remap(amplitude, x, y, cv2.INTER_LINEAR)
    return np.asarray(polar - cv2.blur(polar.mean(0)[None], (9, 1)), np.float32)


def grain_spectrum(structure: FloatArray) -> FloatArray:
    """Median of the log-polar spectra of overlapping parts, which a local defect does not change."""
    height, width = (max(8, round(_PART * length)) for length in structure.shape)
    tops, lefts = (
        np.linspace(0, length - part, _PARTS).round().astype(int)
        for length, part in zip(structure.shape, (height, width), strict=True)
    )
    parts = [
        log_polar_spectrum(structure[top : top + height, left : left + width])
        for top in tops
        for left in lefts
    ]
    return np.asarray(np.median(parts, axis=0), np.float32)


def full_size_matrix(
    matrix: Matrix, template: tuple[int, int], picture: tuple[int, int], frame: tuple[int, int] | None = None
) -> Matrix:
    """Matrix between full-size pictures for one from pixels of the template to those of a reduced picture.

    Parameters
    ----------
    matrix : float64 (3, 3).
    template : height and width of the template.
    picture : height and width of the picture at full size.
    frame : of what lies as the template does; by default that of the picture.
    """
    reduced = resize_matrix(frame or picture, template)
    return np.asarray(np.linalg.inv(resize_matrix(picture, template)) @ matrix @ reduced)


PixelsT = TypeVar("PixelsT", FloatArray, UInt8Array)


def to_frame(pixels: PixelsT, matrix: Matrix) -> PixelsT:
    """A picture, (H, W) or (H, W, 3), in the frame that a matrix leads from; the border goes on."""
    import cv2

    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = (pixels.shape[1], pixels.shape[0])
    moved = cv2.warpAffine(pixels, matrix[:2], size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, pixels.dtype)


def shape_of(array: npt.NDArray[Any]) -> tuple[int, int]:
    """Height and width of an array."""
    return array.shape[0], array.shape[1]


def _about(middle: tuple[float, float], degrees: float, scale: float) -> Matrix:
    """Turn clockwise (as seen) and enlarge about a point."""
    import cv2

    return np.vstack([cv2.getRotationMatrix2D(middle, -degrees, scale), [0, 0, 1]])


def seen_share(size: tuple[int, int], matrix: Matrix, frame: tuple[int, int]) -> FloatArray:
    """How far a picture of a size shows what is in a frame, float32 of the shape ``frame``, 0 to 1.

    ``matrix`` leads from the frame to the picture.
    """
    import cv2

    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    everything = np.ones(size, np.float32)
    return np.asarray(cv2.warpAffine(everything, matrix[:2], frame[::-1], flags=flags))


def _warped(structure: FloatArray, matrix: Matrix, size: tuple[int, ...]) -> FloatArray:
    """What a picture shows in the frame of the template, by the matrix from template to picture."""
    import cv2

    how = cv2.BORDER_REFLECT_101
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(structure, matrix[:2], (size[1], size[0]), flags=flags, borderMode=how))


def _mean(arrays: Sequence[FloatArray]) -> FloatArray:
    return np.asarray(np.stack(arrays).mean(0, dtype=np.float64), np.float32)


def _without(mean: FloatArray, own: FloatArray, count: int) -> FloatArray:
    """The mean of ``count`` arrays without one of them."""
    return np.asarray((mean * count - own) / (count - 1), np.float32)


def _correlation(one: FloatArray, other: FloatArray) -> float:
    first, second = one - one.mean(), other - other.mean()
    norm = math.sqrt(float((first * first).sum()) * float((second * second).sum()))
    return float((first * second).sum()) / norm if norm > 1e-9 else 0.0
