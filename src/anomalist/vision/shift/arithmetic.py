"""Arithmetic of comparing a picture with the normal ones, with numpy alone.

The runner of an export has this module in its one file (`anomalist.edge.single_file`), so that both decide by
the same numbers: nothing else of the package may be imported here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

TEMPLATE_SIDE = 160
"""Longer side of a template, pixels."""
ANGLES, RADII, SPECTRUM_SIDE = 180, 64, 128
"""Rows and columns of a log-polar spectrum, and half the side of what it is taken from, pixels."""
ECC_STEPS, ECC_CHANGE, ECC_MORE = 40, 1e-4, 6
"""Most steps of a registration, the change of the correlation that ends it, and the steps that follow.

The last ones are taken so that the place does not depend on the step that the others end at.
"""
NO_WORSE = 1e-3
"""Agreement that a refined place may lose against its start: mere noise must not choose between the two."""
WHOLE = 0.999
"""Share of a pixel from which it is seen whole: weights of 1 together round to a little less."""
CONTRAST_BLUR = 1.0
"""Sigma, pixels, of a picture whose local contrast is looked at."""
QUANTILES = np.linspace(0.05, 0.95, 19)
_SATURATED, _DARK = 250.0, 4.0  # grey levels between which a quantile tells a gain
_LOCAL_SHARE = 0.3
_PLACE_SHARE, _CONTRAST_SHARE = 0.5, 0.05  # of the height of an anomaly map
_CONTRAST_NOISE = 1.0  # grey levels, under which nothing stands out
_SAME_FORMAT = 0.03  # logarithm of the aspect ratio by the usual one
_LEAST_SPREAD = 2.0  # grey levels
_MAX_SIDE = 1024  # pixels that are measured, from the middle of a large picture
_JPEG_QUALITIES = (8, 12, 16, 20, 25, 30, 35, 40, 50, 60, 70, 80)
_JPEG_COHERENCE, _JPEG_COEFFICIENTS = 0.6, 60


def shares_of(asked: Iterable[str], weights: Mapping[str, float]) -> dict[str, float]:
    """Weights of the experts that were asked and have one, so that they sum to one.

    Where a picture does not fit the template, the others share the weight of that expert.
    """
    kept = {name: weights[name] for name in asked if weights[name]}
    total = sum(kept.values())
    return {name: weight / total for name, weight in kept.items()}


def with_contrast(score_map: Array, grey: Array, surroundings: Array, inside: Array | None) -> Array:
    """An anomaly map, float32 (H, W), with the local contrast of the picture added to its places.

    A place is above half of the height of the map, within ``inside``, bool (H, W) or None for all. The
    contrast is that of grey levels, float32 (H, W), to those of their surroundings; it adds a twentieth of
    the height at most.
    """
    usual = float(np.median(score_map))
    peak = float(score_map.max() if inside is None else score_map[inside].max(initial=usual))
    place = score_map > usual + _PLACE_SHARE * (peak - usual)
    if inside is not None:
        place &= inside
    contrast = np.abs(grey - surroundings) * place
    share = _CONTRAST_SHARE * (peak - usual) / max(float(contrast.max()), _CONTRAST_NOISE)
    return np.asarray(score_map + np.float32(share) * contrast, np.float32)


def template_size(height: int, width: int) -> tuple[int, int]:
    """Height and width of the template of pictures of a size."""
    return _reduced(height, width, TEMPLATE_SIDE / max(height, width))


def _reduced(height: int, width: int, scale: float) -> tuple[int, int]:
    return max(8, round(height * scale)), max(8, round(width * scale))


def same_format(size: tuple[int, int], usual: tuple[int, int]) -> bool:
    """Whether a picture of a (height, width) is, but for rounding, as long and wide as the usual ones."""
    return abs(math.log(size[0] * usual[1] / (size[1] * usual[0]))) <= _SAME_FORMAT


def halved_share(factor: float) -> float:
    """How much of what halving a picture leaves in its score is expected of one of a factor of size, 0 to 1.

    A picture that lacks a row of pixels is as good as a whole one.
    """
    return float(np.clip(math.log2(1 / factor), 0.0, 1.0))


def grain_part(shape: tuple[int, ...], usual: tuple[int, int]) -> tuple[tuple[slice, slice], tuple[int, int]]:
    """The middle of a picture that may be longer than the usual ones, and the size to reduce it to.

    It is no larger than those and reduced as they are, so that the pitch of a texture stays what it is.
    """
    sides = min(shape[0], usual[0]), min(shape[1], usual[1])
    top, left = ((length - side) // 2 for length, side in zip(shape[:2], sides, strict=True))
    window = slice(top, top + sides[0]), slice(left, left + sides[1])
    return window, _reduced(*sides, TEMPLATE_SIDE / max(usual))


def on_grid(matrix: Array) -> Array:
    """A matrix between template and picture, float64 (3, 3), in steps far below what can be seen.

    Where two libraries compute it alike to seven digits, it is mostly the same, and so are the bytes of the
    picture it moves. What is not rounded to bytes takes the matrix as it is: a step is more than the digits.
    """
    steps = np.array([[2.0**20, 2.0**20, 2.0**14]] * 2 + [[1.0, 1.0, 1.0]])
    return np.asarray(np.rint(matrix * steps) / steps)


def filled(moved: Array, seen: Array, typical: Array) -> Array:
    """Fill what a moved picture does not show from a typical one, in the light of the picture.

    Parameters
    ----------
    moved, typical : uint8 (H, W, 3).
    seen : float32 (H, W), 1 where the picture shows it, down to 0.
    """
    known = seen > WHOLE
    gain = (moved[known].mean(0) + 1) / (typical[known].mean(0) + 1)
    share = seen[..., None]
    return np.asarray(np.clip(moved * share + typical * gain * (1 - share) + 0.5, 0, 255), np.uint8)


def central_part(shape: tuple[int, ...]) -> tuple[slice, slice]:
    """The middle of a large picture; whole blocks of eight pixels are cut off, so that a JPEG grid stays."""
    top, left = (max(0, (length - _MAX_SIDE) // 2 // 8 * 8) for length in shape[:2])
    return slice(top, top + _MAX_SIDE), slice(left, left + _MAX_SIDE)


def measured_part(shape: tuple[int, ...], roi: Array | None) -> tuple[slice, slice]:
    """The middle of a large picture; where nothing of the ROI, bool (H, W), is in it, a part in its midst."""
    part = central_part(shape)
    if roi is None or roi[part].any():
        return part
    top, left = (
        # The last one is rounded up, so that the last rows and columns of the picture are in it.
        min(max(0, place - _MAX_SIDE // 2) // 8 * 8, -(-max(0, length - _MAX_SIDE) // 8) * 8)
        for place, length in zip(_midst(roi), shape[:2], strict=True)
    )
    return slice(top, top + _MAX_SIDE), slice(left, left + _MAX_SIDE)


def _midst(mask: Array) -> tuple[int, int]:
    """Row and column of the place in a mask, bool (H, W), nearest to its mean: of a ring that is not in it.

    Row by row, for the memory that the places of a large picture would take.
    """
    down, across = (
        (np.arange(len(counts)) - counts @ np.arange(len(counts)) / counts.sum()) ** 2
        for counts in (mask.sum(1), mask.sum(0))
    )
    nearest = [across[row].min(initial=np.inf) for row in mask]
    row = int((down + nearest).argmin())
    return row, int(np.where(mask[row], across, np.inf).argmin())


def quantiles_of_counts(counts: Array) -> Array:
    """``QUANTILES`` of a histogram of 256 grey levels, as if those within one were spread evenly; (19,)."""
    below = np.concatenate([[0.0], np.cumsum(counts, dtype=np.float64)])
    levels = np.arange(257) - 0.5
    rises = np.concatenate([[True], np.diff(below) > 0])
    return np.asarray(np.interp(QUANTILES * below[-1], below[rises], levels[rises]), np.float32)


def gains(quantiles: Array, reference: Array) -> Array:
    """Logarithm of the factor of each channel that takes the reference's quantiles to those of a picture.

    The median over the quantiles that are neither dark nor saturated; both are (3, 19), grey levels. Where
    all are saturated, that of the darkest.
    """
    found = []
    for own, usual in zip(quantiles, reference, strict=True):
        logs = np.log((own + 1.0) / (usual + 1.0))
        tells = (own < _SATURATED) & (own > _DARK) & (usual < _SATURATED) & (usual > _DARK)
        found.append(np.median(logs[tells]) if tells.any() else logs[0] if own[0] > usual[0] else logs[-1])
    return np.array(found, np.float64)


def agreeing(whole: float, local: float) -> float:
    """A change of the whole picture, as far as most of its blocks show it, too.

    What a large defect does to the quantiles of a picture is no change of its light: then ``local``, the
    median over blocks, is left. Saturated blocks show little of a change, so that a third of it suffices.
    """
    return whole if whole * local > 0 and abs(local) >= _LOCAL_SHARE * abs(whole) else local


def contrast_spread(quantiles: Array) -> float:
    """What the contrast of a picture goes by: mean width of the middle of its channels, grey levels.

    ``quantiles`` are (3, 19).
    """
    return float(np.mean(quantiles[:, -2] - quantiles[:, 1]))


def log_contrast(spread: float, usual: float) -> float:
    """Logarithm of a `contrast_spread` by the usual one; between next to nothing there is no factor."""
    return math.log((spread + _LEAST_SPREAD) / (usual + _LEAST_SPREAD))


def gains_contrast(quantiles: Array, light: float, contrast: float) -> bool:
    """Whether a contrast above the usual one is more than the grey levels that are always added to it.

    In a picture that is nearly black these are most of it, with the one that an even picture seems to spread
    over. ``quantiles`` are the usual ones, ``contrast`` is the logarithm of a factor, less ``light``.
    """
    usual = contrast_spread(quantiles)
    spread = (usual + _LEAST_SPREAD) * math.exp(contrast + light) - _LEAST_SPREAD
    return spread - 1 > usual * math.exp(light)


def jpeg_quality(grey: Array) -> float:
    """Quality of the JPEG compression whose quantisation the pixels show, 100 for none.

    Coefficients of the 8×8 cosine transform lie on multiples of the quantiser's steps (Fan and de Queiroz
    2003). The coarsest standard table on whose lattice they cohere is taken; float32 (H, W), grey levels, the
    grid must begin at the first pixel.
    """
    rows, columns = grey.shape[0] // 8, grey.shape[1] // 8
    if rows * columns < 16:
        return 100.0
    blocks = (
        grey[: rows * 8, : columns * 8].reshape(rows, 8, columns, 8).transpose(0, 2, 1, 3).reshape(-1, 8, 8)
    )
    basis = _cosines()
    coefficients = np.einsum("ui,nij,vj->nuv", basis, blocks - 128, basis)[:, _LOW[0], _LOW[1]]
    for quality in _JPEG_QUALITIES:
        steps = _quantiser_steps(quality)
        ratio = coefficients / steps
        lively = np.abs(ratio) > 0.6
        if lively.sum() < _JPEG_COEFFICIENTS:
            continue
        if float(np.cos(2 * np.pi * ratio[lively]).mean()) > _JPEG_COHERENCE:
            return float(quality)
    return 100.0


_LOW = (np.array([0, 1, 1, 2, 0, 2, 1, 2, 3, 0]), np.array([1, 0, 1, 0, 2, 1, 2, 2, 0, 3]))
"""Frequencies that are looked at, as rows and columns of a block."""
_LUMINANCE_STEPS = np.array([11, 12, 12, 14, 10, 13, 14, 16, 14, 16], np.float64)
"""Steps of the standard luminance table (ISO/IEC 10918-1, table K.1) at these, for a quality of 50."""


def _quantiser_steps(quality: int) -> Array:
    factor = 5000 / quality if quality < 50 else 200 - 2 * quality
    return np.maximum(1, np.floor((_LUMINANCE_STEPS * factor + 50) / 100))


def _cosines() -> Array:
    """Basis of the cosine transform of eight values, orthonormal, (8, 8)."""
    places = np.arange(8)
    basis = np.cos(np.pi * (2 * places[None] + 1) * places[:, None] / 16) / 2
    basis[0] /= np.sqrt(2)
    return np.asarray(basis)


def coarseness(quality: float) -> float:
    """Factor of the quantiser's steps of a JPEG quality, 1 at 50; 0.02 where there is no compression."""
    return max(0.02, 50 / quality if quality < 50 else 2 - quality / 50)


def match_light(mean: Array, grey: Array) -> tuple[float, float]:
    """Factor and offset that take the mean picture to the light of a picture: reweighted least squares.

    Pixels off by more than twice the median count less, from three times on not at all: a weight that falls
    off, for what lies at a hard limit would go in or out by the last digits, and move all differences.
    """
    x, y = mean.ravel()[::7].astype(np.float64), grey.ravel()[::7].astype(np.float64)
    weights = np.ones_like(x)
    slope, level = 1.0, 0.0
    for _ in range(2):
        total = weights.sum()
        middle = (weights @ x / total, weights @ y / total)
        across = x - middle[0]
        spread = float(weights @ (across * across))
        if total < 10 or spread < total:
            return 1.0, float(np.median((y - x)[weights > 0]))
        slope = float(weights @ (across * (y - middle[1]))) / spread
        level = float(middle[1] - slope * middle[0])
        off = np.abs(y - slope * x - level)
        weights = np.clip(3 - off / max(1.0, float(np.median(off))), 0, 1)
    return slope, level


def radii() -> Array:
    """Radii of the spectrum, in its own pixels, each the same factor above the one before."""
    return np.asarray(np.geomspace(SPECTRUM_SIDE / 16, SPECTRUM_SIDE * 0.9, RADII))


def turn_and_scale(reference: Array, spectrum: Array, most: int) -> list[tuple[float, float]]:
    """Turns in degrees clockwise (−90 to 90) and scales that take a spectrum to another, the best first."""
    one, other = reference - reference.mean(), spectrum - spectrum.mean()
    padded = [np.pad(each, ((0, 0), (0, RADII))) for each in (one, other)]
    across = np.fft.ifft2(np.conj(np.fft.fft2(padded[0])) * np.fft.fft2(padded[1])).real
    reach = RADII // 4
    across = np.concatenate([across[:, -reach:], across[:, : reach + 1]], 1)
    step = math.log(radii()[1] / radii()[0])
    found: list[tuple[float, float]] = []
    for _ in range(most):
        row, column = divmod(int(across.argmax()), across.shape[1])
        turn = row + _vertex(
            across[(row - 1) % ANGLES, column], across[row, column], across[(row + 1) % ANGLES, column]
        )
        inner = 0 < column < across.shape[1] - 1
        shift = column - reach + (_vertex(*across[row, column - 1 : column + 2]) if inner else 0.0)
        degrees = (turn * 180 / ANGLES + 90) % 180 - 90
        found.append((float(degrees), math.exp(-shift * step)))
        rows = (np.arange(row - 6, row + 7)) % ANGLES
        across[rows[:, None], np.arange(max(0, column - 4), min(across.shape[1], column + 5))] = -np.inf
    return found


def _vertex(before: float, here: float, after: float) -> float:
    """Place of the highest point of a parabola through three values, −0.5 to 0.5."""
    bend = before - 2 * here + after
    return float(np.clip((before - after) / (2 * bend), -0.5, 0.5)) if np.isfinite(bend) and bend < 0 else 0.0
