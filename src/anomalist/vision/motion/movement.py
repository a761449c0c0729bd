"""What moves at every place: how much of a body-sized window is taken, and how that moves on the whole."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from anomalist.types import FloatArray
from anomalist.vision.motion.perspective import Perspective
from anomalist.vision.motion.sums import Doubles, Sums

CELL = 4  # working pixels
_TALL, _WIDE = 0.75, 1.1  # window by body: less than its height, so that two rows of people stay apart
_CALM = 0.1  # share of still window that is averaged in: a few stray pixels have no speed


@dataclass(frozen=True, eq=False)
class Movement:
    """One frame by cells of 4 × 4 working pixels.

    Parameters
    ----------
    taken : float32 (gh, gw), share of the window around the cell that stands out, 0 to 1.
    velocity : float32 (gh, gw, 2), its mean velocity to the right and down, pixels a second.
    """

    taken: FloatArray
    velocity: FloatArray

    def __post_init__(self) -> None:
        if self.velocity.shape != (*self.taken.shape, 2):
            raise TypeError(f"velocity must be {(*self.taken.shape, 2)}, got {self.velocity.shape}")

    @cached_property
    def speed(self) -> FloatArray:
        """float32 (gh, gw), pixels a second."""
        out: FloatArray = np.hypot(self.velocity[..., 0], self.velocity[..., 1])
        return out


def grid_of(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of cells that cover a picture; the last ones may reach beyond it."""
    return -(-height // CELL), -(-width // CELL)


class Windows:
    """Sums over body-sized windows around every cell, by integral images.

    Parameters
    ----------
    height, width : of the working picture, pixels.
    scale : windows by bodies; 1 for bodies, larger for their surroundings.
    """

    def __init__(self, height: int, width: int, perspective: Perspective, scale: float = 1.0) -> None:
        gh, gw = grid_of(height, width)
        rows, columns = (CELL * (np.arange(count) + 0.5) for count in (gh, gw))
        body = perspective.heights(rows)
        half_h = scale * _TALL * body / 2
        half_w = scale * np.maximum(_WIDE * body * perspective.aspect, 6.0) / 2
        y0, y1 = (_clipped(rows + s * half_h, height)[:, None] for s in (-1, 1))
        x0, x1 = (_clipped(columns + s * half_w[:, None], width) for s in (-1, 1))
        self.area = np.maximum((y1 - y0) * (x1 - x0), 1).astype(np.float32)
        corners = ((y1, x1), (y1, x0), (y0, x1), (y0, x0))
        self._corners = [y * (width + 1) + x for y, x in corners]  # of each window, in a flat table

    def sums(self, table: Doubles) -> FloatArray:
        """Sums over every window by an integral image, float64 (H + 1, W + 1), as float32 (gh, gw)."""
        flat = table.ravel()
        last, left, above, first = (flat.take(corner) for corner in self._corners)
        out: FloatArray = ((last - left) - (above - first)).astype(np.float32)
        return out

    def movement(self, seen: Sums) -> Movement:
        """Movement of what stands out, from its sums."""
        count = self.sums(seen.weight)
        total = [self.sums(seen.right), self.sums(seen.down)]
        mean = np.stack(total, axis=-1) / (count + _CALM * self.area)[..., None]
        return Movement(count / self.area, mean.astype(np.float32))


def _clipped(edge: npt.NDArray[np.floating], length: int) -> npt.NDArray[np.intp]:
    out: npt.NDArray[np.intp] = np.clip(np.rint(edge), 0, length).astype(np.intp)
    return out
