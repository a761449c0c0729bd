"""Registration of a picture to a template by phase correlation and the enhanced correlation coefficient.

See Evangelidis and Psarakis 2008, and Reddy and Chatterji 1996 for turns and scales by the log-polar
spectrum. Matrices are float64 (3, 3), from pixels of the template to pixels of the picture.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from anomalist.edge.runner.kernels import (
    LinearSampler,
    gaussian,
    grey_of,
    hanning,
    reflect_101,
    resize_area,
    resize_matrix,
    rotation_about,
    sample_linear,
    warp_linear,
    zero,
)
from anomalist.vision.resampling import Size, mirrored, separable, warped_places
from anomalist.vision.shift.arithmetic import (
    ANGLES,
    ECC_CHANGE,
    ECC_MORE,
    ECC_STEPS,
    NO_WORSE,
    RADII,
    SPECTRUM_SIDE,
    Array,
    radii,
    turn_and_scale,
)

_FINE, _COARSE, _LOCAL = 1.2, 5.0, 14.0
_LEAST_CONTRAST = 3.0
_MIN_OVERLAP = 0.5
_PARTS, _PART = 3, 0.55


def band_pass(pixels: Array, size: Size) -> Array:
    """Structure of a picture, uint8 (H, W, 3), of local contrast about one: float32 of the size (h, w)."""
    small = grey_of(resize_area(pixels, size)).astype(np.float32)
    band = gaussian(small, _FINE) - gaussian(small, _COARSE)
    spread = np.sqrt(np.maximum(gaussian(band * band, _LOCAL), 0)) + _LEAST_CONTRAST
    return np.asarray(band / spread, np.float32)


def correlation(one: Array, other: Array) -> float:
    """Pearson's correlation of two arrays of one shape."""
    first, second = one - one.mean(), other - other.mean()
    norm = math.sqrt(float((first * first).sum()) * float((second * second).sum()))
    return float((first * second).sum()) / norm if norm > 1e-9 else 0.0


def seen_share(size: Size, matrix: Array, frame: Size) -> Array:
    """How far a picture of a size shows what is in a frame, float32 of that shape, 0 to 1."""
    return warp_linear(np.ones(size, np.float32), matrix, frame, zero)


def full_size_matrix(matrix: Array, template: Size, picture: Size) -> Array:
    """Matrix between full-size pictures for one from pixels of the template to those of a reduced picture."""
    reduced = resize_matrix(picture, template)
    return np.asarray(np.linalg.inv(reduced) @ matrix @ reduced)


@dataclass(frozen=True, eq=False)
class FoundPose:
    """How a picture lies: matrix; shift of the middle by the longer side; degrees; scale; agreement."""

    matrix: Array
    dx: float
    dy: float
    degrees: float
    scale: float
    agreement: float

    def row(self) -> Array:
        """Shift to the right and down, degrees, logarithm of the scale: float64 (4,)."""
        return np.array([self.dx, self.dy, self.degrees, math.log(self.scale)], np.float64)


class TemplateMatcher:
    """Registers structures, float32 (h, w), to a template of the same size."""

    def __init__(self, structure: Array) -> None:
        self.structure = structure
        self._window = hanning((structure.shape[0], structure.shape[1]))
        self._spectrum: Array | None = None

    def register(self, structure: Array, accepted: float | None = None) -> FoundPose:
        """Where a structure lies; below an ``accepted`` agreement turns and scales are searched, too."""
        pose = self._pose(structure, self._refined(structure, self._shifted(structure, np.eye(3))))
        if accepted is None or pose.agreement >= accepted:
            return pose
        for start in self._starts(structure):
            other = self._pose(structure, self._refined(structure, self._shifted(structure, start)))
            if other.agreement > pose.agreement + 0.05:
                pose = other
        return pose

    def _starts(self, structure: Array) -> Iterator[Array]:
        height, width = self.structure.shape
        middle = ((width - 1) / 2, (height - 1) / 2)
        yield from (rotation_about(middle, turn, 1.0) for turn in (90, 180, 270))
        if self._spectrum is None:
            self._spectrum = log_polar_spectrum(self.structure)
        for degrees, scale in turn_and_scale(self._spectrum, log_polar_spectrum(structure), 3):
            for half in (0, 180):
                yield rotation_about(middle, degrees + half, scale)

    def _shifted(self, structure: Array, start: Array) -> Array:
        size = self.structure.shape[0], self.structure.shape[1]
        seen = warp_linear(structure, start, size, reflect_101)
        x, y = phase_correlate(self.structure * self._window, seen * self._window)
        if not (math.isfinite(x) and math.isfinite(y)):
            return start
        candidate = start @ np.array([[1, 0, x], [0, 1, y], [0, 0, 1]])
        return max((start, candidate), key=lambda matrix: self._agreement(structure, matrix))

    def _refined(self, structure: Array, start: Array) -> Array:
        matrix = maximise_ecc(self.structure, structure, start)
        if matrix is None or not np.isfinite(matrix).all():
            return start
        worse = self._agreement(structure, matrix) < self._agreement(structure, start) - NO_WORSE
        return start if worse else matrix

    def _agreement(self, structure: Array, matrix: Array) -> float:
        size = self.structure.shape[0], self.structure.shape[1]
        inside = seen_share((structure.shape[0], structure.shape[1]), matrix, size) > 0.99
        if inside.mean() < _MIN_OVERLAP:
            return -1.0
        seen = warp_linear(structure, matrix, size, reflect_101)[inside]
        return correlation(seen, self.structure[inside])

    def _pose(self, structure: Array, matrix: Array) -> FoundPose:
        height, width = self.structure.shape
        middle = np.array([(width - 1) / 2, (height - 1) / 2, 1.0])
        dx, dy, _ = (matrix @ middle - middle) / max(height, width)
        linear = matrix[:2, :2]
        scale = math.sqrt(max(float(np.linalg.det(linear)), 1e-6))
        degrees = math.degrees(math.atan2(linear[1, 0] - linear[0, 1], linear[0, 0] + linear[1, 1]))
        return FoundPose(matrix, float(dx), float(dy), degrees, scale, self._agreement(structure, matrix))


def _fourier_length(length: int) -> int:
    """The next length whose only factors are 2, 3 and 5."""
    while True:
        rest = length
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return length
        length += 1


def phase_correlate(one: Array, other: Array) -> tuple[float, float]:
    """Shift (x, y) from one map to another of its size by the centroid of the phase correlation's peak."""
    rows, columns = (_fourier_length(length) for length in one.shape)
    spectra = [np.fft.fft2(each.astype(np.float64), (rows, columns)) for each in (one, other)]
    cross = spectra[0] * np.conj(spectra[1])
    size = np.abs(cross)
    peaks = np.fft.ifft2(cross * size / (size * size + np.finfo(np.float32).eps)).real * rows * columns
    peaks = np.fft.fftshift(peaks)
    row, column = divmod(int(peaks.argmax()), columns)
    top, left = max(0, row - 2), max(0, column - 2)
    part = peaks[top : row + 3, left : column + 3]
    down, across = np.mgrid[top : top + part.shape[0], left : left + part.shape[1]]
    total = float(part.sum()) + float(np.finfo(np.float64).eps)
    x, y = float((across * part).sum()) / total, float((down * part).sum()) / total
    return columns / 2 - x, rows / 2 - y


def _smoothed(values: Array) -> Array:
    """A map smoothed by the binomial of three."""

    def binomial(length: int) -> Array:
        matrix, places = np.zeros((length, length)), np.arange(length)
        for offset, weight in ((-1, 0.25), (0, 0.5), (1, 0.25)):
            np.add.at(matrix, (places, mirrored(places + offset, length, 0)), weight)
        return matrix

    return separable(values, binomial(values.shape[0]), binomial(values.shape[1]))


def _slope(values: Array, axis: int) -> Array:
    places = np.arange(values.shape[axis])
    after, before = (mirrored(places + step, len(places), 0) for step in (1, -1))
    return np.asarray((np.take(values, after, axis) - np.take(values, before, axis)) * np.float32(0.5))


def maximise_ecc(template: Array, picture: Array, start: Array) -> Array | None:
    """Affine matrix of the highest enhanced correlation coefficient from a start; None where it is lost."""
    size = template.shape[0], template.shape[1]
    wanted, image = _smoothed(template).astype(np.float64), _smoothed(picture)
    parts = (image, _slope(image, 1), _slope(image, 0))
    matrix = start.astype(np.float32).astype(np.float64)
    down, across = np.mgrid[: size[0], : size[1]].astype(np.float64)
    rho, last = -1.0, -ECC_CHANGE
    left = ECC_STEPS + ECC_MORE
    while left:
        if abs(rho - last) < ECC_CHANGE:
            left = min(left, ECC_MORE)
        left -= 1
        x, y = warped_places(matrix, size)
        sampler = LinearSampler(x, y, (picture.shape[0], picture.shape[1]), zero)
        seen, sx, sy = (sampler.sample(part).astype(np.float64) for part in parts)
        x, y = np.rint(x), np.rint(y)
        inside = (x >= 0) & (x < picture.shape[1]) & (y >= 0) & (y < picture.shape[0])
        if not inside.any():
            return None
        seen = np.where(inside, seen - seen[inside].mean(), seen)
        centred = np.where(inside, wanted - wanted[inside].mean(), 0)
        jacobian = np.stack([sx * across, sy * across, sx * down, sy * down, sx, sy], -1).reshape(-1, 6)
        try:
            inverse = np.linalg.inv(jacobian.T @ jacobian)
        except np.linalg.LinAlgError:
            return None
        together = float((centred * seen).sum())
        own = float((seen[inside] ** 2).sum())
        norm = math.sqrt(own * float((centred[inside] ** 2).sum()))
        if norm == 0:
            return None
        last, rho = rho, together / norm
        projected = inverse @ (jacobian.T @ seen.ravel())
        most = own - float((jacobian.T @ seen.ravel()) @ projected)
        least = together - float((jacobian.T @ centred.ravel()) @ projected)
        if not least > 0:
            return None
        error = (most / least) * centred - seen
        matrix[:2] += (inverse @ (jacobian.T @ error.ravel())).reshape(3, 2).T
        matrix = matrix.astype(np.float32).astype(np.float64)
    return matrix


def log_polar_spectrum(structure: Array) -> Array:
    """Logarithm of the amplitudes of a structure in log-polar coordinates: float32 (180, 64), half a turn."""
    height, width = structure.shape
    padded = np.zeros((2 * SPECTRUM_SIDE, 2 * SPECTRUM_SIDE), np.float32)
    rows, columns = min(height, 2 * SPECTRUM_SIDE), min(width, 2 * SPECTRUM_SIDE)
    weighed = (structure - structure.mean()) * hanning((height, width))
    padded[:rows, :columns] = weighed[:rows, :columns]
    amplitude = np.log1p(np.abs(np.fft.fftshift(np.fft.fft2(padded)))).astype(np.float32)
    amplitude = gaussian(amplitude, 1.5)
    angles = np.pi * np.arange(ANGLES) / ANGLES
    x = (SPECTRUM_SIDE + np.outer(np.cos(angles), radii())).astype(np.float32)
    y = (SPECTRUM_SIDE + np.outer(np.sin(angles), radii())).astype(np.float32)
    polar = sample_linear(amplitude, x.astype(np.float64), y.astype(np.float64), zero)
    usual = polar.mean(0)
    around = np.arange(RADII)[:, None] + np.arange(-4, 5)[None]
    return np.asarray(polar - usual[mirrored(around, RADII, 0)].mean(1)[None], np.float32)


def grain_spectrum(structure: Array) -> Array:
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


def register_grain(usual: Array, structure: Array) -> FoundPose:
    """Turn (−90 to 90 degrees) and scale of a structure by the usual spectrum; it has no place."""
    spectrum = grain_spectrum(structure)
    ((degrees, scale),) = turn_and_scale(usual, spectrum, 1)
    rows = (np.arange(ANGLES) + round(degrees * ANGLES / 180)) % ANGLES
    columns = np.arange(RADII) - round(math.log(scale) / math.log(radii()[1] / radii()[0]))
    shared = (columns >= 0) & (columns < RADII)
    seen = spectrum[rows][:, columns[shared]]
    return FoundPose(np.eye(3), 0.0, 0.0, degrees, scale, correlation(seen.ravel(), usual[:, shared].ravel()))
