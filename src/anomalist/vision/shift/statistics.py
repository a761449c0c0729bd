"""Image statistics by which a change of light, focus, noise or compression shows.

A local defect hardly moves them: they are quantiles of the colours, medians over blocks of the amplitudes of
bands, and the coarseness of a JPEG quantisation that the pixels still show.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anomalist.types.common import BoolArray, FloatArray, UInt8Array
from anomalist.vision.shift.arithmetic import (
    agreeing,
    central_part,
    contrast_spread,
    gains,
    jpeg_quality,
    log_contrast,
    measured_part,
    quantiles_of_counts,
)

_BANDS = (0.0, 1.0, 2.0, 4.0)  # sigmas of Gaussians, pixels; a band is what lies between two
_EDGE_QUANTILE = 0.98
_BLOCKS = 8  # along the shorter side, and along both for what is compared place by place
_FLOOR = 0.05  # grey levels, under the logarithm of an energy


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

    part = measured_part(pixels.shape, roi)
    pixels = pixels[part]
    inside = np.ones(pixels.shape[:2], np.bool_) if roi is None else roi[part]
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


def _quantiles(channel: UInt8Array, inside: BoolArray) -> FloatArray:
    """Quantiles of a channel, between grey levels as if those within one were spread evenly."""
    import cv2

    counts = cv2.calcHist([channel], [0], inside.astype(np.uint8), [256], [0, 256]).ravel()
    return quantiles_of_counts(counts)


def _log_amplitude(value: float | np.floating) -> float:
    return float(np.log(value + _FLOOR))


def jpeg_of(pixels: UInt8Array) -> float:
    """JPEG quality that a picture, uint8 (H, W, 3), shows: that of `measure_statistics` alone."""
    import cv2

    return jpeg_quality(
        cv2.cvtColor(pixels[central_part(pixels.shape)], cv2.COLOR_RGB2GRAY).astype(np.float32)
    )


@dataclass(frozen=True, eq=False)
class UsualLight:
    """Usual light of the normals: medians of `ImageStatistics` over them, see there for the arrays."""

    quantiles: FloatArray
    blocks: FloatArray
    spreads: FloatArray

    @classmethod
    def of(cls, statistics: Sequence[ImageStatistics]) -> UsualLight:
        """Medians over pictures."""
        return cls(
            *(
                np.median([getattr(one, name) for one in statistics], axis=0).astype(np.float32)
                for name in ("quantiles", "blocks", "spreads")
            )
        )


def statistic_row(statistics: ImageStatistics, usual: UsualLight) -> npt.NDArray[np.float64]:
    """Statistics of a picture against the usual light of the normals, float64 (8,): ``model.STATISTICS``."""
    red, green, blue = gains(statistics.quantiles, usual.quantiles)
    local = np.median(np.log((statistics.blocks + 1.0) / (usual.blocks + 1.0)), axis=(0, 1))
    light = agreeing(float(red + green + blue) / 3, float(local.mean()))
    spread, known = contrast_spread(statistics.quantiles), contrast_spread(usual.quantiles)
    contrast = log_contrast(spread, known) - light
    local_contrast = np.median(np.log((statistics.spreads + 2.0) / (usual.spreads + 2.0))) - light
    return np.array(
        [
            light,
            agreeing(red - green, float(local[0] - local[1])),
            agreeing(blue - green, float(local[2] - local[1])),
            agreeing(contrast, float(local_contrast)),
            statistics.sharpness,
            statistics.texture - light,
            statistics.chroma - light,
            statistics.structure - light,
        ],
        np.float64,
    )
