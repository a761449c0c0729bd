"""Moving objects: parts of what stands out that hang together and move alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anomalist.types import Box, FloatArray
from anomalist.vision.motion.movement import CELL
from anomalist.vision.motion.sums import Sums

_ALIKE = 0.4  # of the faster one's speed: neighbours that differ by more are not one object
_LEAST_CELLS = 4


@dataclass(frozen=True, eq=False)
class MovingObject:
    """One object in one frame, in working pixels.

    Parameters
    ----------
    box : around its pixels.
    area : pixels that stand out.
    velocity : its mean, pixels a second to the right and down.
    cells : int (n, 2), row and column of the cells that it covers.
    pace : its speed by the typical one there.
    """

    box: Box
    area: int
    velocity: tuple[float, float]
    cells: npt.NDArray[np.intp]
    pace: float = 0.0

    @property
    def speed(self) -> float:
        """Pixels a second."""
        return float(np.hypot(*self.velocity))


def moving_objects(seen: Sums, slowest: float) -> list[MovingObject]:
    """Find the objects of a frame.

    Parameters
    ----------
    seen : what stands out, and its velocities in pixels a second.
    slowest : a difference in velocity, pixels a second, that always counts as alike.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count, mean = _by_cell(seen)
    rows, columns = np.nonzero(count > 0)
    if not len(rows):
        return []
    number = np.full(count.shape, -1, np.intp)
    number[rows, columns] = np.arange(len(rows))
    pairs = [_alike(number, mean, step, slowest) for step in ((0, 1), (1, 0), (1, 1), (1, -1))]
    a, b = (np.concatenate([pair[side] for pair in pairs]) for side in (0, 1))
    graph = coo_array((np.ones(len(a), np.int8), (a, b)), shape=(len(rows), len(rows)))
    _, member = connected_components(graph, directed=False)
    order = np.argsort(member, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(member[order])) + 1)
    cells = np.stack([rows, columns], axis=1)
    return [_object(cells[part], count, mean) for part in parts if len(part) >= _LEAST_CELLS]


def _by_cell(seen: Sums) -> tuple[FloatArray, FloatArray]:
    """Pixels that stand out in each cell, and their mean velocity."""
    borders = [np.minimum(CELL * np.arange(-(-length // CELL) + 1), length) for length in seen.size]
    corners = np.ix_(*borders)
    count, *moved = (
        np.diff(np.diff(table[corners], axis=0), axis=1) for table in (seen.weight, seen.right, seen.down)
    )
    mean = np.stack(moved, axis=-1) / np.maximum(count, 1)[..., None]
    return count.astype(np.float32), mean.astype(np.float32)


def _alike(
    number: npt.NDArray[np.intp], mean: FloatArray, step: tuple[int, int], slowest: float
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Pairs of neighbours one ``step`` (down, right) apart that move alike, by their numbers."""
    down, right = step
    height, width = number.shape
    here = np.s_[: height - down, max(-right, 0) : width - max(right, 0)]
    there = np.s_[down:, max(right, 0) : width - max(-right, 0)]
    a, b = number[here], number[there]
    both = (a >= 0) & (b >= 0)
    v, w = mean[here][both], mean[there][both]
    apart = np.hypot(v[:, 0] - w[:, 0], v[:, 1] - w[:, 1])
    faster = np.maximum(np.hypot(v[:, 0], v[:, 1]), np.hypot(w[:, 0], w[:, 1]))
    alike = apart <= np.maximum(_ALIKE * faster, slowest)
    return a[both][alike], b[both][alike]


def _object(cells: npt.NDArray[np.intp], count: FloatArray, mean: FloatArray) -> MovingObject:
    (y0, x0), (y1, x1) = cells.min(axis=0), cells.max(axis=0) + 1
    weight = count[cells[:, 0], cells[:, 1]]
    velocity = weight @ mean[cells[:, 0], cells[:, 1]] / weight.sum()
    return MovingObject(
        box=(int(x0) * CELL, int(y0) * CELL, int(x1) * CELL, int(y1) * CELL),
        area=round(float(weight.sum())),
        velocity=(float(velocity[0]), float(velocity[1])),
        cells=cells,
    )
