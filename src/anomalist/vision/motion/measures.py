"""Motion measures of a frame against per-cell histograms of normal footage.

Cell measures: speed, size, direction, place, dwell time, appearance. Frame measures: crowding, stillness,
dispersal. Limits are quantiles of the histograms; where counts are few, those of the row and of the whole
picture stand in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anomalist.types.clip import MeasureName
from anomalist.types.common import Box, FloatArray
from anomalist.vision.motion.flow import CELL_SIZE, MotionGrid

SPEED_BINS, SIZE_BINS, DIRECTIONS = 64, 32, 8
"""Bins of the histograms."""
SPEED_EDGES = np.geomspace(0.5, 500.0, SPEED_BINS + 1)
"""Working pixels a second."""
SIZE_EDGES = np.linspace(0.0, 1.0, SIZE_BINS + 1)
"""Share of foreground in the window of the surroundings."""
MIN_OCCUPANCY = 0.2
"""Share of foreground in its window from which a cell counts as occupied."""
_NEIGHBOURHOOD_SIGMA, _ROW_SIGMA = 2.0, 5.0  # cells, of the Gaussians that pool the counts
_ROW_WEIGHT, _ALL_WEIGHT = 20.0, 5.0  # pseudo-counts that the row, and the whole picture, contribute at most


@dataclass(frozen=True, eq=False)
class MotionHistograms:
    """Histograms of normal footage, by cells.

    Parameters
    ----------
    speeds : float32 (SPEED_BINS, gh, gw), frames in which a cell was occupied at each speed.
    sizes : float32 (SIZE_BINS, gh, gw), likewise by the foreground around it.
    directions : float32 (DIRECTIONS, gh, gw), likewise by direction: right, lower right, down, …
    frames : how many were counted.
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

    def __add__(self, other: MotionHistograms) -> MotionHistograms:
        return MotionHistograms(
            self.speeds + other.speeds,
            self.sizes + other.sizes,
            self.directions + other.directions,
            self.frames + other.frames,
        )


def empty_histograms(grid: tuple[int, int]) -> MotionHistograms:
    """Empty histograms for a grid of cells (rows, columns)."""
    speeds, sizes, directions = (
        np.zeros((bins, *grid), np.float32) for bins in (SPEED_BINS, SIZE_BINS, DIRECTIONS)
    )
    return MotionHistograms(speeds, sizes, directions, 0)


def count_frame(histograms: MotionHistograms, movement: MotionGrid, around: MotionGrid) -> MotionHistograms:
    """Count one frame of normal footage: the arrays are updated in place and returned with a frame more.

    Parameters
    ----------
    movement, around : of windows of a body's size, and of its surroundings.
    """
    y, x = np.nonzero(movement.occupancy >= MIN_OCCUPANCY)
    np.add.at(histograms.speeds, (bin_index(movement.speed[y, x], SPEED_EDGES), y, x), 1)
    np.add.at(histograms.sizes, (bin_index(around.occupancy[y, x], SIZE_EDGES), y, x), 1)
    np.add.at(histograms.directions, (direction_index(movement.velocity[y, x]), y, x), 1)
    return MotionHistograms(histograms.speeds, histograms.sizes, histograms.directions, histograms.frames + 1)


def bin_index(values: npt.NDArray[np.floating], edges: npt.NDArray[np.floating]) -> npt.NDArray[np.intp]:
    """Index of the bin of each value; what lies outside belongs to the first or the last."""
    return np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)


def direction_index(velocity: FloatArray) -> npt.NDArray[np.intp]:
    """Index of the direction of each velocity (…, 2): 0 to the right, 2 down, 4 to the left, 6 up."""
    angle = np.arctan2(velocity[..., 1], velocity[..., 0])
    return np.rint(angle * DIRECTIONS / (2 * np.pi)).astype(np.intp) % DIRECTIONS


def neighbourhood_counts(counts: FloatArray) -> FloatArray:
    """Sum counts (n, gh, gw) over the neighbourhood of every cell with Gaussian weights."""
    from scipy.ndimage import gaussian_filter

    out: FloatArray = gaussian_filter(
        counts, (0, _NEIGHBOURHOOD_SIGMA, _NEIGHBOURHOOD_SIGMA), mode="constant"
    ) * (2 * np.pi * _NEIGHBOURHOOD_SIGMA**2)
    return out


def smoothed_counts(counts: FloatArray) -> FloatArray:
    """Neighbourhood counts (n, gh, gw) with a prior from the row and from the whole picture.

    Objects in one row are about equally far away, so they appear about equally fast and large.

    Returns
    -------
    float32 (n, gh, gw), ≥ 0.
    """
    from scipy.ndimage import gaussian_filter1d

    row = gaussian_filter1d(counts.sum(axis=2), _ROW_SIGMA, axis=1, mode="constant")
    row = row * (_ROW_WEIGHT / np.maximum(row.sum(axis=0), _ROW_WEIGHT))
    every = counts.sum(axis=(1, 2))
    every = every * (_ALL_WEIGHT / max(float(every.sum()), _ALL_WEIGHT))
    out: FloatArray = (neighbourhood_counts(counts) + row[:, :, None] + every[:, None, None]).astype(
        np.float32
    )
    return out


def quantile_map(counts: FloatArray, edges: npt.NDArray[np.floating], share: float) -> FloatArray:
    """The ``share`` quantile of the smoothed histogram of each cell.

    Parameters
    ----------
    counts : float32 (n, gh, gw), by the bins between ``edges`` (n + 1,).

    Returns
    -------
    float32 (gh, gw), interpolated within a bin; the highest edge where nothing was ever counted.
    """
    below = smoothed_counts(counts).cumsum(axis=0)
    wanted = share * below[-1]
    above = (below >= wanted).argmax(axis=0)
    reached = np.take_along_axis(below, above[None], 0)[0]
    before = np.where(above > 0, np.take_along_axis(below, np.maximum(above - 1, 0)[None], 0)[0], 0)
    inside = (wanted - before) / np.maximum(reached - before, 1e-9)
    value = edges[above] + inside * (edges[above + 1] - edges[above])
    out: FloatArray = np.where(below[-1] > 0, value, edges[-1]).astype(np.float32)
    return out


LIMIT_QUANTILE = 0.98
"""Quantile of normal speeds and sizes that is their limit."""
_MIN_OBSERVATIONS = 50.0  # near a cell, before a direction can be rare there
_MOVING_SPEED = 0.3  # of the speed limit: slower has no direction worth naming
_STANDING_SPEED = 0.2  # of the speed limit: slower stands still
_DWELL_OCCUPANCY = 0.35  # share of the window: more than for what passes by
_MARGIN = 2  # cells around a box into which windows smear it
_MIN_CROWD_SHARE = 0.01  # share of occupied cells: fewer is no crowd that could disperse

CELL_MEASURES: tuple[MeasureName, ...] = ("speed", "size", "direction", "place", "dwell", "appearance")
"""Measures that every cell has."""
FRAME_MEASURES: tuple[MeasureName, ...] = ("crowding", "stillness", "dispersal")
"""Measures of the whole frame."""
MEASURES = CELL_MEASURES + FRAME_MEASURES
"""All measures, in the order of arrays."""


@dataclass(frozen=True, eq=False)
class MotionLimits:
    """Limits of normal motion by cell, computed once from the histograms.

    Parameters
    ----------
    speed : float32 (gh, gw), working pixels a second.
    typical : float32 (gh, gw), median speed.
    size : float32 (gh, gw), share of foreground in the surroundings.
    rarity : float32 (DIRECTIONS, gh, gw), −log10 of the share of each direction and its neighbours; 0 where
        too little was seen.
    absence : float32 (gh, gw), −log10 of the share of time in which the cell is occupied.
    """

    speed: FloatArray
    typical: FloatArray
    size: FloatArray
    rarity: FloatArray
    absence: FloatArray


def motion_limits(histograms: MotionHistograms) -> MotionLimits:
    """Compute the limits from histograms of normal footage."""
    directions = neighbourhood_counts(histograms.directions)
    total = directions.sum(axis=0)
    alike = directions + np.roll(directions, 1, axis=0) + np.roll(directions, -1, axis=0)
    rarity = -np.log10((alike + 3) / (total + DIRECTIONS))
    here = (
        neighbourhood_counts(histograms.speeds.sum(axis=0)[None])[0]
        / neighbourhood_counts(np.ones((1, *total.shape), np.float32))[0]
    )
    return MotionLimits(
        speed=quantile_map(histograms.speeds, SPEED_EDGES, LIMIT_QUANTILE),
        typical=quantile_map(histograms.speeds, SPEED_EDGES, 0.5),
        size=quantile_map(histograms.sizes, SIZE_EDGES, LIMIT_QUANTILE),
        rarity=np.where(total >= _MIN_OBSERVATIONS, np.maximum(rarity, 0), 0).astype(np.float32),
        absence=-np.log10((here + 1) / (histograms.frames + 1)).astype(np.float32),
    )


class DwellTimer:
    """Dwell time: how long each cell has been occupied by something that stands still."""

    def __init__(self, grid: tuple[int, int]) -> None:
        self._seconds = np.zeros(grid, np.float32)

    def reset(self) -> None:
        """Start again from zero."""
        self._seconds[:] = 0

    def update(self, elapsed: float, movement: MotionGrid, limits: MotionLimits) -> FloatArray:
        """Take a frame, ``elapsed`` seconds after the last; returns dwell times, float32 (gh, gw)."""
        still = (movement.occupancy >= _DWELL_OCCUPANCY) & (movement.speed < _STANDING_SPEED * limits.speed)
        # Flow flickers: a frame of motion takes back little, whoever walks on takes it all back soon.
        self._seconds += np.where(still, elapsed, -4 * elapsed)
        np.maximum(self._seconds, 0, out=self._seconds)
        return self._seconds.copy()


def cell_measures(
    movement: MotionGrid,
    around: MotionGrid,
    dwell_seconds: FloatArray,
    appearance: FloatArray,
    limits: MotionLimits,
) -> dict[MeasureName, FloatArray]:
    """The measures of every cell.

    Returns
    -------
    For each of ``CELL_MEASURES`` float32 (gh, gw): speed and size relative to their limits, rarity of the
    direction and of the cell being occupied (−log10 of a share), dwell time in seconds, and ``appearance``,
    the novelty (1 − cosine similarity).
    """
    occupied = movement.occupancy >= MIN_OCCUPANCY
    direction = np.take_along_axis(limits.rarity, direction_index(movement.velocity)[None], 0)[0]
    goes = occupied & (movement.speed > _MOVING_SPEED * limits.speed)
    return {
        "speed": speed_measure(movement, limits),
        "size": np.where(occupied, around.occupancy / limits.size, 0).astype(np.float32),
        "direction": np.where(goes, direction, 0).astype(np.float32),
        "place": np.where(occupied, limits.absence, 0).astype(np.float32),
        "dwell": dwell_seconds,
        "appearance": appearance,
    }


def speed_measure(movement: MotionGrid, limits: MotionLimits) -> FloatArray:
    """Speed of every cell relative to its limit, float32 (gh, gw)."""
    # It counts in full from an occupancy of a fifth; below are windows that only touch an object.
    out: FloatArray = np.minimum(movement.occupancy / MIN_OCCUPANCY, 1) * movement.speed / limits.speed
    return out


def frame_measures(
    movement: MotionGrid, limits: MotionLimits, without: Sequence[Box] = ()
) -> dict[MeasureName, float]:
    """The measures of the whole frame.

    Parameters
    ----------
    without : boxes whose cells are taken to be empty, working pixels.

    Returns
    -------
    crowding : share of occupied cells; stillness : −log10 of the share that moves; dispersal : mean velocity
    away from the centroid of the occupied cells, less what they have in common, relative to the speed limit.
    """
    occupied = movement.occupancy >= MIN_OCCUPANCY
    for x0, y0, x1, y1 in without:
        rows = slice(max(y0 // CELL_SIZE - _MARGIN, 0), -(-y1 // CELL_SIZE) + _MARGIN)
        occupied[rows, max(x0 // CELL_SIZE - _MARGIN, 0) : -(-x1 // CELL_SIZE) + _MARGIN] = False
    share = float(occupied.mean())
    moving = float((occupied & (movement.speed > _STANDING_SPEED * limits.speed)).mean())
    return {
        "crowding": share,
        "stillness": float(-np.log10(moving + 1 / occupied.size)),
        "dispersal": _outward_velocity(movement, limits, occupied) if share >= _MIN_CROWD_SHARE else 0.0,
    }


def _outward_velocity(movement: MotionGrid, limits: MotionLimits, occupied: np.ndarray) -> float:
    y, x = np.nonzero(occupied)
    away = np.stack([x - x.mean(), y - y.mean()], axis=1)
    length = np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1)
    velocity = movement.velocity[y, x] / limits.speed[y, x][:, None]
    velocity = velocity - velocity.mean(axis=0)  # all going one way is no dispersal
    return float(max((velocity * away / length).sum(axis=1).mean(), 0))
