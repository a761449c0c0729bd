"""Image operations with numpy alone, to the last digits those of OpenCV that a profile is learned with.

Resizing and smoothing are linear and separable: a matrix for the rows and one for the columns. Pictures are
uint8 (H, W, 3), maps float32 (H, W); sizes are (height, width).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from anomalist.vision.resampling import (
    Size,
    mirrored,
    neighbours_of,
    separable,
    to_bytes,
    warped_places,
    weights_matrix,
)
from anomalist.vision.shift.arithmetic import Array


def area_matrix(old: int, new: int) -> Array:
    """Matrix (new, old) that averages over what each new pixel covers, ``new`` being at most ``old``."""
    step = old / new
    edges = np.arange(new + 1) * step
    start, stop = edges[:-1, None], np.minimum(edges[1:, None], old)
    places = np.arange(old)[None]
    share = np.clip(np.minimum(stop, places + 1) - np.maximum(start, places), 0, 1)
    share[share < 1e-9] = 0
    return np.asarray(share / share.sum(1, keepdims=True))


def linear_matrix(old: int, new: int) -> Array:
    """Matrix (new, old) of linear interpolation, pixel centres at halves."""
    left, beyond = neighbours_of(old, new)
    return weights_matrix(old, left, [1 - beyond, beyond], 0)


def resize_area(pixels: Array, size: Size) -> Array:
    """Average to a smaller size, of the type that was given: uint8 or float32."""
    height, width = pixels.shape[:2]
    if size[0] > height or size[1] > width:
        return _resize_mixed(pixels, size)
    deep = pixels.dtype != np.uint8
    down, across = height // size[0], width // size[1]
    if not deep and size[0] * down == height and size[1] * across == width:
        blocks = pixels.reshape(size[0], down, size[1], across, -1)
        sums = blocks.sum((1, 3), dtype=np.int64)
        if down == across == 2:
            means = (sums + 2) >> 2  # halves are rounded up
        else:
            means = np.rint(sums.astype(np.float32) * np.float32(1 / (down * across)))
        return np.asarray(means, np.uint8).reshape(*size, *pixels.shape[2:])
    found = separable(pixels, area_matrix(height, size[0]), area_matrix(width, size[1]))
    return found if deep else to_bytes(found)


def _resize_mixed(pixels: Array, size: Size) -> Array:
    """Where one side shrinks and the other grows: between the two pixels at the edge of what is covered."""

    def places(old: int, new: int) -> tuple[Array, Array]:
        left = np.floor(np.arange(new) * (1 / (new / old))).astype(np.int64)
        beyond = np.arange(1, new + 1) - (left + 1) * (new / old)
        return left, np.where(beyond <= 0, 0, beyond - np.floor(beyond))

    return _fixed_point(pixels, places(pixels.shape[0], size[0]), places(pixels.shape[1], size[1]))


def resize_linear(pixels: Array, size: Size) -> Array:
    """Resize by linear interpolation, of the type that was given: uint8 or float32."""
    height, width = pixels.shape[:2]
    if (height, width) == size:
        return pixels
    if pixels.dtype == np.uint8:
        return _fixed_point(pixels, neighbours_of(height, size[0]), neighbours_of(width, size[1]))
    return separable(pixels, linear_matrix(height, size[0]), linear_matrix(width, size[1]))


def _fixed_point(pixels: Array, rows: tuple[Array, Array], columns: tuple[Array, Array]) -> Array:
    """Linear interpolation of bytes with weights of 11 bit, as vision libraries do it for speed."""

    def weighed(old: int, left: Array, beyond: Array) -> tuple[Array, Array, Array]:
        weight = np.rint(beyond * 2048).astype(np.int64)
        return np.clip(left, 0, old - 1), np.clip(left + 1, 0, old - 1), weight

    top, bottom, down = weighed(pixels.shape[0], *rows)
    left, right, across = weighed(pixels.shape[1], *columns)
    extra = (None,) * (pixels.ndim - 2)
    across, down = across[(slice(None), *extra)], down[(slice(None), None, *extra)]
    values = pixels.astype(np.int64)
    mixed = values[:, left] * (2048 - across) + values[:, right] * across
    upper, lower = (((2048 - down) * (mixed[top] >> 4)) >> 16, (down * (mixed[bottom] >> 4)) >> 16)
    return np.asarray((upper + lower + 2) >> 2, np.uint8)


def resize_nearest(mask: Array, size: Size) -> Array:
    """Resize a mask to the nearest pixel at the top left."""
    height, width = mask.shape[:2]
    rows = np.minimum((np.arange(size[0]) * (height / size[0])).astype(np.int64), height - 1)
    columns = np.minimum((np.arange(size[1]) * (width / size[1])).astype(np.int64), width - 1)
    return np.asarray(mask[rows][:, columns])


def grey_of(pixels: Array) -> Array:
    """Grey levels (ITU-R BT.601) of a picture, uint8 (H, W)."""
    values = pixels.astype(np.int64)
    return np.asarray((values @ np.array([9798, 19235, 3735]) + (1 << 14)) >> 15, np.uint8)


@lru_cache(maxsize=64)
def gaussian_matrix(length: int, sigma: float, taps: int = 0) -> Array:
    """Matrix (length, length) that smooths by a Gaussian, the border mirrored without its outermost pixel."""
    count = taps or (round(sigma * 8 + 1) | 1)
    offsets = np.arange(count) - count // 2
    weights = np.exp(-(offsets**2) / (2 * sigma * sigma))
    weights /= weights.sum()
    matrix = np.zeros((length, length), np.float32)
    places = np.arange(length)
    for offset, weight in zip(offsets, weights, strict=True):
        np.add.at(matrix, (places, mirrored(places + offset, length, 0)), np.float32(weight))
    return matrix


def gaussian(values: Array, sigma: float, taps: int = 0) -> Array:
    """Smooth a map by a Gaussian; float32."""
    height, width = values.shape
    return separable(values, gaussian_matrix(height, sigma, taps), gaussian_matrix(width, sigma, taps))


Border = Callable[[Array, int], Array]


def replicate(places: Array, length: int) -> Array:
    """Border that repeats the outermost pixel."""
    return np.asarray(np.clip(places, 0, length - 1))


def reflect_101(places: Array, length: int) -> Array:
    """Border that is mirrored without the outermost pixel."""
    return mirrored(places, length, 0)


def zero(places: Array, length: int) -> Array:
    """Border of zeros: −1 stands for what lies outside."""
    return np.asarray(np.where((places >= 0) & (places < length), places, -1))


class LinearSampler:
    """Samples maps of one size at places between pixels, by linear interpolation.

    Parameters
    ----------
    x, y : places, float64 (h, w).
    size : of the maps.
    border : what lies beyond them.
    """

    def __init__(self, x: Array, y: Array, size: Size, border: Border) -> None:
        height, width = size
        left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
        across, down = (x - left).astype(np.float32), (y - top).astype(np.float32)
        self._parts: list[tuple[Array, Array]] = []
        for row, high in ((border(top, height), 1 - down), (border(top + 1, height), down)):
            for column, wide in ((border(left, width), 1 - across), (border(left + 1, width), across)):
                inside = (row >= 0) & (column >= 0)
                weight = np.where(inside, high * wide, np.float32(0))
                self._parts.append((np.maximum(row, 0) * width + np.maximum(column, 0), weight))

    def sample(self, values: Array) -> Array:
        """Values of a map, float32 (H, W), at the places: float32 (h, w)."""
        flat = np.ascontiguousarray(values, np.float32).ravel()
        return np.asarray(sum(flat.take(index) * weight for index, weight in self._parts))


def sample_linear(values: Array, x: Array, y: Array, border: Border) -> Array:
    """Values of a map at places, between pixels by linear interpolation; float32."""
    return LinearSampler(x, y, (values.shape[0], values.shape[1]), border).sample(values)


def warp_linear(values: Array, matrix: Array, size: Size, border: Border) -> Array:
    """What a map shows in a frame of a size, by the matrix from the frame to the map; float32."""
    return sample_linear(values, *warped_places(matrix, size), border)


def highest_around(values: Array, *, centre: bool = True) -> Array:
    """Highest value of each pixel and its eight neighbours; of these alone without the centre."""
    height, width = values.shape[:2]
    lowest = -np.inf if values.dtype.kind == "f" else np.iinfo(values.dtype).min
    padding = ((1, 1), (1, 1), *((0, 0) for _ in values.shape[2:]))
    padded = np.pad(values, padding, constant_values=lowest)
    parts = [
        padded[y : y + height, x : x + width]
        for y in range(3)
        for x in range(3)
        if centre or (y, x) != (1, 1)
    ]
    found = parts[0].copy()
    for part in parts[1:]:
        np.maximum(found, part, out=found)
    return found


def hanning(size: Size) -> Array:
    """Hann window, the root of the product of those along the sides; float32."""
    rows, columns = (0.5 * (1 - np.cos(2 * np.pi * np.arange(n) / (n - 1))) for n in size)
    return np.asarray(np.sqrt(np.outer(rows, columns).astype(np.float32)), np.float32)


def resize_matrix(old: Size, new: Size) -> Array:
    """Matrix of a change of size, pixel centres at whole numbers."""
    sy, sx = new[0] / old[0], new[1] / old[1]
    return np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]])


def rotation_about(middle: tuple[float, float], degrees: float, scale: float) -> Array:
    """Turn clockwise (as seen) and enlarge about a point."""
    along, across = scale * math.cos(math.radians(-degrees)), scale * math.sin(math.radians(-degrees))
    x, y = middle
    return np.array(
        [
            [along, across, (1 - along) * x - across * y],
            [-across, along, across * x + (1 - along) * y],
            [0, 0, 1],
        ]
    )
