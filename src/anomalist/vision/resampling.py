"""Cubic interpolation with numpy alone, the same to the last bit in the package and in the exported runner.

Resizing is linear and separable: a matrix for the rows and one for the columns. OpenCV rounds one byte in
100,000 otherwise, by one grey level, which moves scores by thousandths where normal pictures hardly differ.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from anomalist.vision.shift.arithmetic import Array

Size = tuple[int, int]


def neighbours_of(old: int, new: int) -> tuple[Array, Array]:
    """Place left of each new pixel's centre, and how far behind it the centre is, 0 to 1."""
    places = (np.arange(new) + 0.5) * (old / new) - 0.5
    left = np.floor(places)
    return left.astype(np.int64), places - left


def weights_matrix(old: int, left: Array, weights: list[Array], first: int) -> Array:
    """Matrix (new, old) of the weights of neighbours, the border repeated."""
    matrix = np.zeros((len(left), old))
    for offset, weight in enumerate(weights, first):
        np.add.at(matrix, (np.arange(len(left)), np.clip(left + offset, 0, old - 1)), weight)
    return matrix


def cubic_weights(beyond: Array) -> list[Array]:
    """Weights of the four neighbours of a place in cubic convolution (Keys 1981) with a = −0.75."""
    a, far, near = -0.75, beyond + 1, 1 - beyond
    first = ((a * far - 5 * a) * far + 8 * a) * far - 4 * a
    second = ((a + 2) * beyond - (a + 3)) * beyond * beyond + 1
    third = ((a + 2) * near - (a + 3)) * near * near + 1
    return [first, second, third, 1 - first - second - third]


@lru_cache(maxsize=64)
def cubic_matrix(old: int, new: int) -> Array:
    """Matrix (new, old) of cubic interpolation, pixel centres at halves."""
    left, beyond = neighbours_of(old, new)
    return weights_matrix(old, left, cubic_weights(beyond), -1)


def separable(pixels: Array, rows: Array, columns: Array) -> Array:
    """Apply a matrix along the rows and one along the columns of (H, W) or (H, W, C); float32."""
    values = pixels.astype(np.float32)
    flat = rows.astype(np.float32) @ values.reshape(len(values), -1)
    turned = flat.reshape(len(rows), *values.shape[1:])
    if values.ndim == 2:
        return np.asarray(turned @ columns.T.astype(np.float32))
    return np.asarray(np.matmul(columns.astype(np.float32), turned))


def to_bytes(values: Array) -> Array:
    """Round to the nearest uint8."""
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


def resize_cubic(pixels: Array, size: Size) -> Array:
    """Resize a uint8 picture by cubic interpolation."""
    height, width = pixels.shape[:2]
    if (height, width) == size:
        return pixels
    return to_bytes(separable(pixels, cubic_matrix(height, size[0]), cubic_matrix(width, size[1])))


def mirrored(places: Array, length: int, edge: int) -> Array:
    """Places beyond a border mirrored at it: with ``edge`` 1 the outermost pixel is repeated, with 0 not."""
    if length == 1:
        return np.zeros_like(places)
    period = 2 * length if edge else 2 * (length - 1)
    folded = np.mod(places, period)
    return np.asarray(np.where(folded >= length, period - edge - folded, folded))


def warped_places(matrix: Array, size: Size) -> tuple[Array, Array]:
    """Where each pixel of a frame lies in the picture, by the matrix from frame to picture: x, y."""
    rows, columns = np.mgrid[: size[0], : size[1]].astype(np.float64)
    return (
        matrix[0, 0] * columns + matrix[0, 1] * rows + matrix[0, 2],
        matrix[1, 0] * columns + matrix[1, 1] * rows + matrix[1, 2],
    )


def warp_cubic(pixels: Array, matrix: Array) -> Array:
    """A picture in the frame that a matrix leads from, of the same size; its borders are mirrored."""
    height, width = pixels.shape[:2]
    x, y = warped_places(matrix, (height, width))
    left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    across, down = cubic_weights(x - left), cubic_weights(y - top)
    columns = [mirrored(left + i - 1, width, 1) for i in range(4)]
    total = np.zeros((height, width, pixels.shape[2]), np.float32)
    for number, weight in enumerate(down):
        row = mirrored(top + number - 1, height, 1)
        part = sum(
            pixels[row, column] * each[..., None].astype(np.float32)
            for column, each in zip(columns, across, strict=True)
        )
        total += weight[..., None].astype(np.float32) * part
    return to_bytes(total)
