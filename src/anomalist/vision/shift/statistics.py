"""Image statistics by which a change of light, focus, noise or compression shows.

A local defect hardly moves them: they are quantiles of the colours, medians over blocks of the amplitudes of
bands, and the coarseness of a JPEG quantisation that the pixels still show.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anomalist.types.common import BoolArray, FloatArray, UInt8Array

QUANTILES = np.linspace(0.05, 0.95, 19)
_SATURATED, _DARK = 250.0, 4.0  # grey levels between which a quantile tells a gain
_BANDS = (0.0, 1.0, 2.0, 4.0)  # sigmas of Gaussians, pixels; a band is what lies between two
_EDGE_QUANTILE = 0.98
_BLOCKS = 8  # along the shorter side, and along both for what is compared place by place
_LOCAL_SHARE = 0.3
_FLOOR = 0.05  # grey levels, under the logarithm of an energy
_MAX_SIDE = 1024  # pixels that are measured, from the middle of a large picture
_JPEG_QUALITIES = (8, 12, 16, 20, 25, 30, 35, 40, 50, 60, 70, 80)
_JPEG_COHERENCE, _JPEG_COEFFICIENTS = 0.6, 60


@dataclass(frozen=True, eq=False)
class ImageStatistics:
    """Statistics of one picture.

    Parameters
    ----------
    quantiles : float32 (3, 19), of each channel, grey levels.
    blocks : float32 (8, 8, 3), mean of each channel in each block, grey levels.
    spreads : float32 (8, 8), standard deviation of grey levels in each block.
    sharpness : logarithm of the fine amplitude by the coarse one, the median over blocks.
    texture : logarithm of the usual fine amplitude, grey levels.
    structure : logarithm of the amplitude that few pixels reach, grey levels.
    chroma : logarithm of the fine amplitude of red minus green, the median over blocks, grey levels.
    jpeg : quality of the JPEG compression that the pixels show; 100 where they show none.
    """

    quantiles: FloatArray
    blocks: FloatArray
    spreads: FloatArray
    sharpness: float
    texture: float
    structure: float
    chroma: float
    jpeg: float


def measure_statistics(pixels: UInt8Array, roi: BoolArray | None = None) -> ImageStatistics:
    """Measure a picture, uint8 (H, W, 3); inside ``roi``, bool (H, W), where there is one."""
    import cv2

    pixels = pixels[_central(pixels.shape)]
    inside = np.ones(pixels.shape[:2], np.bool_) if roi is None else roi[_central(roi.shape)]
    quantiles = np.stack([_quantiles(pixels[..., channel], inside) for channel in range(3)])
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    blurred = [grey if not sigma else cv2.GaussianBlur(grey, (0, 0), sigma) for sigma in _BANDS]
    fine, middle, coarse = (one - other for one, other in itertools.pairwise(blurred))
    difference = pixels[..., 0].astype(np.float32) - pixels[..., 1]
    chroma = difference - cv2.GaussianBlur(difference, (0, 0), 1.0)
    ratio = np.log(_block_amplitudes(fine, inside) / _block_amplitudes(coarse, inside))
    means = cv2.resize(pixels.astype(np.float32), (_BLOCKS, _BLOCKS), interpolation=cv2.INTER_AREA)
    grey_means, squares = (
        cv2.resize(each, (_BLOCKS, _BLOCKS), interpolation=cv2.INTER_AREA) for each in (grey, grey * grey)
    )
    return ImageStatistics(
        quantiles,
        np.asarray(means, np.float32),
        np.asarray(np.sqrt(np.maximum(squares - grey_means * grey_means, 0)), np.float32),
        float(np.median(ratio)),
        _log_amplitude(np.median(np.abs(fine)[inside])),
        _log_amplitude(np.quantile(np.abs(middle)[inside], _EDGE_QUANTILE)),
        float(np.median(np.log(_block_amplitudes(chroma, inside)))),
        jpeg_quality(grey),
    )


def _block_amplitudes(band: FloatArray, inside: BoolArray) -> npt.NDArray[np.float64]:
    """Root mean square of a band in each block of which half counts, grey levels."""
    import cv2

    height, width = band.shape
    size = (
        max(1, round(width / max(1, min(height, width) / _BLOCKS))),
        max(1, round(height / max(1, min(height, width) / _BLOCKS))),
    )
    counts = cv2.resize(inside.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    power = cv2.resize(np.where(inside, band * band, 0), size, interpolation=cv2.INTER_AREA)
    kept = counts >= min(0.5, float(counts.max()))
    return np.asarray(np.sqrt(power[kept] / np.maximum(counts[kept], 1e-6)) + _FLOOR, np.float64)


def _central(shape: tuple[int, ...]) -> tuple[slice, slice]:
    """The middle of a large picture; whole blocks of eight pixels are cut off, so that a JPEG grid stays."""
    top, left = (max(0, (length - _MAX_SIDE) // 2 // 8 * 8) for length in shape[:2])
    return slice(top, top + _MAX_SIDE), slice(left, left + _MAX_SIDE)


def _quantiles(channel: UInt8Array, inside: BoolArray) -> FloatArray:
    """Quantiles of a channel, between grey levels as if those within one were spread evenly."""
    import cv2

    counts = cv2.calcHist([channel], [0], inside.astype(np.uint8), [256], [0, 256]).ravel()
    below = np.concatenate([[0.0], np.cumsum(counts, dtype=np.float64)])
    levels = np.arange(257) - 0.5
    rises = np.concatenate([[True], np.diff(below) > 0])
    return np.asarray(np.interp(QUANTILES * below[-1], below[rises], levels[rises]), np.float32)


def _log_amplitude(value: float | np.floating) -> float:
    return float(np.log(value + _FLOOR))


def gains(quantiles: FloatArray, reference: FloatArray) -> npt.NDArray[np.float64]:
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


def jpeg_of(pixels: UInt8Array) -> float:
    """JPEG quality that a picture, uint8 (H, W, 3), shows: that of `measure_statistics` alone."""
    import cv2

    return jpeg_quality(cv2.cvtColor(pixels[_central(pixels.shape)], cv2.COLOR_RGB2GRAY).astype(np.float32))


def jpeg_quality(grey: FloatArray) -> float:
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


def _quantiser_steps(quality: int) -> npt.NDArray[np.float64]:
    factor = 5000 / quality if quality < 50 else 200 - 2 * quality
    return np.maximum(1, np.floor((_LUMINANCE_STEPS * factor + 50) / 100))


def _cosines() -> npt.NDArray[np.float64]:
    """Basis of the cosine transform of eight values, orthonormal, (8, 8)."""
    places = np.arange(8)
    basis = np.cos(np.pi * (2 * places[None] + 1) * places[:, None] / 16) / 2
    basis[0] /= np.sqrt(2)
    return np.asarray(basis)
