"""What is usual at every place: how fast, in which direction, how much at once, how often."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anomalist.types import FloatArray
from anomalist.vision.motion.movement import Movement

SPEED_BINS, SIZE_BINS, DIRECTIONS = 64, 32, 8
SPEED_EDGES = np.geomspace(0.5, 500.0, SPEED_BINS + 1)  # working pixels a second
SIZE_EDGES = np.linspace(0.0, 1.0, SIZE_BINS + 1)  # share of the window of the surroundings
TAKEN = 0.2  # share of its window that stands out, from which on a cell counts as taken
_NEAR, _ROW = 2.0, 5.0  # cells: sigma of what counts as the same place, and as the same distance
_ROW_WEIGHT, _ALL_WEIGHT = 20.0, 5.0  # observations that the row, and the whole picture, stand for


@dataclass(frozen=True, eq=False)
class Usual:
    """Counts over normal footage, by cells.

    Parameters
    ----------
    speeds : float32 (SPEED_BINS, gh, gw), how often a cell was taken at each speed.
    sizes : float32 (SIZE_BINS, gh, gw), how often a taken cell had so much around it that stands out.
    directions : float32 (DIRECTIONS, gh, gw), how often what took it moved to the right, lower right, …
    frames : how many were looked at.
    """

    speeds: FloatArray
    sizes: FloatArray
    directions: FloatArray
    frames: int

    def __post_init__(self) -> None:
        grid = self.speeds.shape[1:]
        shapes = [(SPEED_BINS, *grid), (SIZE_BINS, *grid), (DIRECTIONS, *grid)]
        got = [self.speeds.shape, self.sizes.shape, self.directions.shape]
        if got != shapes:
            raise TypeError(f"counts must have the shapes {shapes}, got {got}")

    def __add__(self, other: Usual) -> Usual:
        return Usual(
            self.speeds + other.speeds,
            self.sizes + other.sizes,
            self.directions + other.directions,
            self.frames + other.frames,
        )


def nothing_yet(grid: tuple[int, int]) -> Usual:
    """No counts, for a grid of cells (rows, columns)."""
    speeds, sizes, directions = (
        np.zeros((bins, *grid), np.float32) for bins in (SPEED_BINS, SIZE_BINS, DIRECTIONS)
    )
    return Usual(speeds, sizes, directions, 0)


def counted(usual: Usual, movement: Movement, around: Movement) -> Usual:
    """Count one frame of normal footage: its arrays are added to in place, the frames are one more.

    Parameters
    ----------
    movement, around : what moves in windows of a body's size, and of its surroundings.
    """
    y, x = np.nonzero(movement.taken >= TAKEN)
    np.add.at(usual.speeds, (bin_of(movement.speed[y, x], SPEED_EDGES), y, x), 1)
    np.add.at(usual.sizes, (bin_of(around.taken[y, x], SIZE_EDGES), y, x), 1)
    np.add.at(usual.directions, (direction_of(movement.velocity[y, x]), y, x), 1)
    return Usual(usual.speeds, usual.sizes, usual.directions, usual.frames + 1)


def bin_of(values: npt.NDArray[np.floating], edges: npt.NDArray[np.floating]) -> npt.NDArray[np.intp]:
    """Index of the bin of each value; what lies outside belongs to the first or the last."""
    return np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)


def direction_of(velocity: FloatArray) -> npt.NDArray[np.intp]:
    """Index of the direction of each velocity (…, 2): 0 to the right, 2 down, 4 to the left, 6 up."""
    angle = np.arctan2(velocity[..., 1], velocity[..., 0])
    return np.rint(angle * DIRECTIONS / (2 * np.pi)).astype(np.intp) % DIRECTIONS


def near(counts: FloatArray) -> FloatArray:
    """Counts (n, gh, gw) summed over the neighbourhood of every cell, nearer ones more."""
    from scipy.ndimage import gaussian_filter

    out: FloatArray = gaussian_filter(counts, (0, _NEAR, _NEAR), mode="constant") * (2 * np.pi * _NEAR**2)
    return out


def spread(counts: FloatArray) -> FloatArray:
    """Counts (n, gh, gw) of the neighbourhood; where they are few, those of the row and of all stand in.

    Things at one height in the picture are about as far away, so they look about as fast and as large.

    Returns
    -------
    float32 (n, gh, gw), ≥ 0.
    """
    from scipy.ndimage import gaussian_filter1d

    row = gaussian_filter1d(counts.sum(axis=2), _ROW, axis=1, mode="constant")
    row = row * (_ROW_WEIGHT / np.maximum(row.sum(axis=0), _ROW_WEIGHT))
    every = counts.sum(axis=(1, 2))
    every = every * (_ALL_WEIGHT / max(float(every.sum()), _ALL_WEIGHT))
    out: FloatArray = (near(counts) + row[:, :, None] + every[:, None, None]).astype(np.float32)
    return out


def limit(counts: FloatArray, edges: npt.NDArray[np.floating], share: float) -> FloatArray:
    """The value that ``share`` of what was counted at each place doesn't exceed.

    Parameters
    ----------
    counts : float32 (n, gh, gw), by the bins between ``edges`` (n + 1,).

    Returns
    -------
    float32 (gh, gw), interpolated within a bin; the highest edge where nothing was ever counted.
    """
    below = spread(counts).cumsum(axis=0)
    wanted = share * below[-1]
    above = (below >= wanted).argmax(axis=0)
    reached = np.take_along_axis(below, above[None], 0)[0]
    before = np.where(above > 0, np.take_along_axis(below, np.maximum(above - 1, 0)[None], 0)[0], 0)
    inside = (wanted - before) / np.maximum(reached - before, 1e-9)
    value = edges[above] + inside * (edges[above + 1] - edges[above])
    out: FloatArray = np.where(below[-1] > 0, value, edges[-1]).astype(np.float32)
    return out
