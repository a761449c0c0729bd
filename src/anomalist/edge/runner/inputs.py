"""Comparison of a picture as a whole with the normal ones: what differs, and small differences taken out."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from anomalist.edge.runner.kernels import (
    gaussian,
    grey_of,
    resize_area,
    resize_matrix,
    resize_nearest,
)
from anomalist.edge.runner.registration import (
    FoundPose,
    TemplateMatcher,
    band_pass,
    full_size_matrix,
    register_grain,
    seen_share,
)
from anomalist.vision.resampling import Size, resize_cubic, warp_cubic
from anomalist.vision.shift.arithmetic import (
    WHOLE,
    Array,
    agreeing,
    central_part,
    coarseness,
    contrast_spread,
    filled,
    gains,
    gains_contrast,
    grain_part,
    halved_share,
    jpeg_quality,
    log_contrast,
    measured_part,
    on_grid,
    quantiles_of_counts,
    same_format,
    template_size,
)

_BANDS = (0.0, 1.0, 2.0, 4.0)
_EDGE_QUANTILE = 0.98
_BLOCKS = 8
_FLOOR = 0.05

_LEVELS = (1.0, 0.5, 0.25)
_LIGHT_MARGIN = (math.log(0.80), math.log(1.25))
_LIGHT_NOISE, _LIGHT_SHARE = 0.04, 0.5
_COLOUR_MARGIN, _CONTRAST_MARGIN = 0.3, 0.6
_RANGE_MARGIN, _RANGE_MARGIN_FEW, _LEAST_MARGIN = 0.35, 3.0, 0.25
_BLANK_MARGIN = 1.2
_POSE_MARGIN = np.array([0.0255, 1.8, math.log(1.07)])
_POSE_NOISE = np.array([0.004, 0.004, 0.3, 0.01])
_COARSEST_QUALITY, _COARSER = 50.0, 1.5
_UNLIKE_MARGIN, _UNLIKE_SHARE = 1.5, 0.8
_SHARPNESS, _NOISES, _STRUCTURE = 4, (5, 6), 7  # places in a row of statistics


@dataclass(frozen=True, eq=False)
class PictureMeasures:
    """Statistics of a picture, as the full package names them."""

    quantiles: Array
    blocks: Array
    spreads: Array
    sharpness: float
    texture: float
    structure: float
    chroma: float
    jpeg: float


def grid_of(roi: Array | None, shape: tuple[int, ...]) -> Array | None:
    """A region of interest at the size of a grid; all of it where the grid is too coarse."""
    if roi is None:
        return None
    resized = resize_nearest(roi, (shape[0], shape[1]))
    return resized if resized.any() else np.ones(shape[:2], bool)


def measure_picture(pixels: Array, roi: Array | None) -> PictureMeasures:
    """Measure the middle of a picture, uint8 (H, W, 3)."""
    part = measured_part(pixels.shape, roi)
    pixels = pixels[part]
    inside = np.ones(pixels.shape[:2], bool) if roi is None else roi[part]
    grey = grey_of(pixels).astype(np.float32)
    blurred = [grey if not sigma else gaussian(grey, sigma) for sigma in _BANDS]
    fine, middle, coarse = (one - other for one, other in itertools.pairwise(blurred))
    difference = pixels[..., 0].astype(np.float32) - pixels[..., 1]
    chroma = difference - gaussian(difference, 1.0)
    ratio = np.log(_block_amplitudes(fine, inside) / _block_amplitudes(coarse, inside))
    grey_means, squares = (_blocks_of(each, (_BLOCKS, _BLOCKS)) for each in (grey, grey * grey))
    return PictureMeasures(
        np.stack(
            [
                quantiles_of_counts(np.bincount(pixels[..., channel][inside], minlength=256))
                for channel in range(3)
            ]
        ),
        _blocks_of(pixels.astype(np.float32), (_BLOCKS, _BLOCKS)),
        np.sqrt(np.maximum(squares - grey_means * grey_means, 0)),
        float(np.median(ratio)),
        float(np.log(np.median(np.abs(fine)[inside]) + _FLOOR)),
        float(np.log(np.quantile(np.abs(middle)[inside], _EDGE_QUANTILE) + _FLOOR)),
        float(np.median(np.log(_block_amplitudes(chroma, inside)))),
        jpeg_quality(grey),
    )


def _blocks_of(values: Array, size: Size) -> Array:
    return resize_area(values, size)


def _block_amplitudes(band: Array, inside: Array) -> Array:
    height, width = band.shape
    block = max(1, min(height, width) / _BLOCKS)
    size = max(1, round(height / block)), max(1, round(width / block))
    counts = _blocks_of(inside.astype(np.float32), size)
    power = _blocks_of(np.where(inside, band * band, np.float32(0)), size)
    kept = counts >= min(0.5, float(counts.max()))
    return np.asarray(np.sqrt(power[kept] / np.maximum(counts[kept], 1e-6)) + _FLOOR, np.float64)


def _resized(pixels: Array, size: Size) -> Array:
    return resize_area(pixels, size) if size[0] < pixels.shape[0] else resize_cubic(pixels, size)


@dataclass(frozen=True, eq=False)
class Corrected:
    """A picture as it is to be scored.

    Parameters
    ----------
    pixels : uint8 (H, W, 3), with small differences taken out.
    changes : what of it as a whole is not like the normal ones, by name: then no place of it is judged.
    less : what is taken off the score for what the corrections leave.
    matrix : from its pixels to those of the picture given; None where it was not moved.
    """

    pixels: Array
    changes: tuple[str, ...] = ()
    less: float = 0.0
    matrix: Array | None = None


class InputComparison:
    """Compares pictures with the normal ones as a whole, by the arrays and settings of an export."""

    def __init__(self, arrays: Mapping[str, Array], settings: Mapping[str, Any]) -> None:
        self._arrays = arrays
        self._normals, self._poses = arrays["normals"], arrays["poses"]
        self._low, self._high = arrays["low"], arrays["high"]
        self._template = TemplateMatcher(arrays["template"]) if "template" in arrays else None
        self._grain = arrays.get("grain")
        self._size: Size | None = tuple(settings["size"]) if settings["size"] else None
        self._expected, self._found = settings["expected"], settings["found"]
        self._quality, self._typical = settings["quality"], settings["typical"]
        self._corrections: Mapping[str, float] = settings["corrections"]

    def assess(self, given: Array, roi: Array | None) -> Corrected:
        """Compare a picture, uint8 (H, W, 3), and take small differences out."""
        pixels, level, resized, changes = self._at_usual_size(given)
        sized = pixels
        if level:
            sides = (max(8, round(length * _LEVELS[level])) for length in pixels.shape[:2])
            sized = _resized(pixels, (next(sides), next(sides)))
        measured = measure_picture(sized, grid_of(roi, sized.shape))
        values = self._row(measured)
        pose = self._pose(pixels)
        quality = measured.jpeg
        if resized:
            middle = grey_of(given[central_part(given.shape)]).astype(np.float32)
            quality = min(quality, jpeg_quality(middle))
        found = [*changes, *self._structure_changes(values, pose, level)]
        if not found:
            found = [*self._light_changes(values), *self._quality_changes(values, quality, level, pose)]
            found += self._pose_changes(pose)
        if found:
            return Corrected(given, tuple(found))
        return self._correct(given, pixels, values, pose, (quality, resized))

    def unlike(self, score_map: Array, roi: Array | None) -> bool:
        """Whether a picture is strange nearly all over, by its map: another thing, not a place on it."""
        if self._typical is None or self._template is not None or self._grain is not None:
            return False
        usual, most = self._typical
        inside = grid_of(roi, score_map.shape)
        counting = score_map.ravel() if inside is None else score_map[inside]
        value, peak = float(np.median(counting)), float(counting.max())
        spread = peak > usual and (counting > (usual + peak) / 2).mean() > _UNLIKE_SHARE
        return bool(spread and value > most + _UNLIKE_MARGIN * (most - usual))

    def _at_usual_size(self, given: Array) -> tuple[Array, int, bool, list[str]]:
        if self._size is None or given.shape[:2] == self._size:
            return given, 0, False, []
        factors = given.shape[0] / self._size[0], given.shape[1] / self._size[1]
        if not same_format((given.shape[0], given.shape[1]), self._size):
            return given, 0, False, [] if self._template is None else ["format"]
        factor = math.sqrt(factors[0] * factors[1])
        level = int(np.argmin([abs(math.log(factor / each)) for each in _LEVELS])) if factor < 1 else 0
        return _resized(given, self._size), level, True, []

    def _row(self, measured: PictureMeasures) -> Array:
        """Statistics against the usual light: light, red, blue, contrast, sharpness, noises, structure."""
        usual = self._arrays
        red, green, blue = gains(measured.quantiles, usual["quantiles"])
        local = np.median(np.log((measured.blocks + 1.0) / (usual["blocks"] + 1.0)), axis=(0, 1))
        light = agreeing(float(red + green + blue) / 3, float(local.mean()))
        spread, known = contrast_spread(measured.quantiles), contrast_spread(usual["quantiles"])
        contrast = log_contrast(spread, known) - light
        local_contrast = np.median(np.log((measured.spreads + 2.0) / (usual["spreads"] + 2.0))) - light
        return np.array(
            [
                light,
                agreeing(red - green, float(local[0] - local[1])),
                agreeing(blue - green, float(local[2] - local[1])),
                agreeing(contrast, float(local_contrast)),
                measured.sharpness,
                measured.texture - light,
                measured.chroma - light,
                measured.structure - light,
            ],
            np.float64,
        )

    def _pose(self, pixels: Array) -> FoundPose | None:
        if self._template is not None:
            structure = band_pass(pixels, template_size(*pixels.shape[:2]))
            if structure.shape != self._template.structure.shape:
                return None
            return self._template.register(structure, self._expected)
        if self._grain is None or self._size is None:
            return None
        window, reduced = grain_part(pixels.shape, self._size)
        return register_grain(self._grain, band_pass(pixels[window], reduced))

    def _structure_changes(self, values: Array, pose: FoundPose | None, level: int) -> Iterator[str]:
        if values[_STRUCTURE] < self._low[level, _STRUCTURE] - _BLANK_MARGIN:
            yield "blank"
        elif pose is not None and pose.agreement < self._found:
            yield "product"

    def _light_changes(self, values: Array) -> Iterator[str]:
        lowest, highest = self._normals.min(0), self._normals.max(0)
        if not lowest[0] + _LIGHT_MARGIN[0] <= values[0] <= highest[0] + _LIGHT_MARGIN[1]:
            yield "brightness"
        if np.maximum(values - highest, lowest - values)[1:3].max() > _COLOUR_MARGIN:
            yield "colour"
        flatter, harder = lowest[3] - values[3], values[3] - highest[3]
        if not gains_contrast(self._arrays["quantiles"], float(values[0]), float(values[3])):
            harder = 0.0
        if max(flatter, harder) > _CONTRAST_MARGIN:
            yield "contrast"

    def _quality_changes(
        self, values: Array, quality: float, level: int, pose: FoundPose | None
    ) -> Iterator[str]:
        if coarseness(quality) > _COARSER * coarseness(min(self._quality, _COARSEST_QUALITY)) - 1e-9:
            yield "compression"
            return
        margin, usual = _RANGE_MARGIN + _RANGE_MARGIN_FEW / len(self._normals), np.median(self._normals, 0)
        high, low = self._high[level], self._low[level]
        above = values - high - np.maximum(_LEAST_MARGIN, margin * np.maximum(high - usual, 0))
        below = low - np.maximum(_LEAST_MARGIN, margin * np.maximum(usual - low, 0)) - values
        if above[list(_NOISES)].max() > 0:
            yield "noise"
            return
        enlarged = pose is not None and pose.scale > math.exp(self._poses[:, 3].max() + _POSE_MARGIN[2])
        if below[_SHARPNESS] > 0 and not enlarged:
            yield "sharpness"

    def _pose_changes(self, pose: FoundPose | None) -> Iterator[str]:
        if pose is None or (self._template is None and pose.agreement < self._expected):
            return
        row, usual = pose.row(), np.median(self._poses, 0)
        reach = float(np.hypot(*(self._poses - usual)[:, :2].T).max())
        beyond = np.maximum(row - self._poses.max(0), self._poses.min(0) - row)[2:] - _POSE_MARGIN[1:]
        if np.hypot(*(row - usual)[:2]) > reach + _POSE_MARGIN[0]:
            yield "shift"
        if beyond[0] > 0:
            yield "rotation"
        if beyond[1] > 0:
            yield "scale"

    def _correct(
        self, given: Array, pixels: Array, values: Array, pose: FoundPose | None, how: tuple[float, bool]
    ) -> Corrected:
        quality, resized = how
        left: list[float] = []
        matrix = None
        if resized:
            factor = math.sqrt(given.shape[0] / pixels.shape[0] * (given.shape[1] / pixels.shape[1]))
            left.append(halved_share(factor) * self._corrections.get("size", 0.0))
            matrix = resize_matrix((pixels.shape[0], pixels.shape[1]), (given.shape[0], given.shape[1]))
        lit = self._relit(pixels, values)
        if lit is not None:
            left.append(self._corrections.get("light", 0.0))
        scored = pixels if lit is None else lit
        if self._template is not None and pose is not None:
            size = pixels.shape[0], pixels.shape[1]
            move = self._move(pose, size)
            if move is not None:
                moved = warp_cubic(scored, move)
                scored = self._filled(moved, seen_share(size, move, size))
                matrix = move if matrix is None else matrix @ move
                left.append(self._corrections.get("pose", 0.0))
        if coarseness(quality) > 1.05 * coarseness(self._quality):
            share = min(1.0, coarseness(quality) / coarseness(_COARSEST_QUALITY))
            left.append(share * self._corrections.get("compression", 0.0))
        return Corrected(scored, (), round(float(sum(left)), 4), matrix)

    def _relit(self, pixels: Array, values: Array) -> Array | None:
        low, high = self._normals[:, :3].min(0), self._normals[:, :3].max(0)
        light = np.clip(values[:3], low, high) - values[:3]
        if (np.abs(light) < np.maximum(_LIGHT_NOISE, _LIGHT_SHARE * (high - low))).all():
            return None
        red, blue = light[1], light[2]
        green = light[0] - (red + blue) / 3
        factors = np.exp([green + red, green, green + blue]).astype(np.float32)
        return np.asarray(np.clip(pixels * factors + 0.5, 0, 255), np.uint8)

    def _move(self, pose: FoundPose, size: Size) -> Array | None:
        row = pose.row()
        beyond = np.maximum(row - self._poses.max(0), self._poses.min(0) - row) > _POSE_NOISE
        if not beyond.any():
            return None
        if not beyond[2:].any():
            dx, dy = np.rint((row - np.median(self._poses, 0))[:2] * max(size))
            return np.array([[1, 0, dx], [0, 1, dy], [0, 0, 1]], np.float64)
        return full_size_matrix(on_grid(pose.matrix), template_size(*size), size)

    def _filled(self, moved: Array, seen: Array) -> Array:
        """What a moved picture does not show, filled from a normal one in the light of the picture."""
        typical = self._arrays.get("typical")
        if typical is None or seen.min() > WHOLE:
            return moved
        typical = resize_cubic(typical, (moved.shape[0], moved.shape[1]))
        return filled(moved, seen, typical)
