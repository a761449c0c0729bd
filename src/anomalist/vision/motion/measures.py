"""Motion measures of a frame against per-cell histograms of normal footage.

Cell measures: speed, size, direction, place, dwell time, appearance. Frame measures: crowding, stillness,
dispersal. Limits are quantiles of the histograms; where counts are few, those of the row and of the whole
picture stand in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anomalist.types.clip import MeasureName
from anomalist.types.common import FloatArray
from anomalist.vision.motion.flow import MotionGrid

SPEED_BINS, SIZE_BINS, DIRECTIONS = 64, 32, 8
SPEED_EDGES = np.geomspace(0.5, 500.0, SPEED_BINS + 1)  # working pixels a second
SIZE_EDGES = np.linspace(0.0, 1.0, SIZE_BINS + 1)  # share of the window of the surroundings
MIN_OCCUPANCY = 0.2  # share of its window that stands out, from which on a cell counts as taken
_NEIGHBOURHOOD_SIGMA, _ROW_SIGMA = (
    2.0,
    5.0,
)  # cells: sigma of what counts as the same place, and as the same distance
_ROW_WEIGHT, _ALL_WEIGHT = 20.0, 5.0  # observations that the row, and the whole picture, stand for


@dataclass(frozen=True, eq=False)
class MotionHistograms:
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

    def __add__(self, other: MotionHistograms) -> MotionHistograms:
        return MotionHistograms(
            self.speeds + other.speeds,
            self.sizes + other.sizes,
            self.directions + other.directions,
            self.frames + other.frames,
        )


def empty_histograms(grid: tuple[int, int]) -> MotionHistograms:
    """No counts, for a grid of cells (rows, columns)."""
    speeds, sizes, directions = (
        np.zeros((bins, *grid), np.float32) for bins in (SPEED_BINS, SIZE_BINS, DIRECTIONS)
    )
    return MotionHistograms(speeds, sizes, directions, 0)


def count_frame(usual: MotionHistograms, movement: MotionGrid, around: MotionGrid) -> MotionHistograms:
    """Count one frame of normal footage: its arrays are added to in place, the frames are one more.

    Parameters
    ----------
    movement, around : what moves in windows of a body's size, and of its surroundings.
    """
    y, x = np.nonzero(movement.taken >= MIN_OCCUPANCY)
    np.add.at(usual.speeds, (bin_index(movement.speed[y, x], SPEED_EDGES), y, x), 1)
    np.add.at(usual.sizes, (bin_index(around.taken[y, x], SIZE_EDGES), y, x), 1)
    np.add.at(usual.directions, (direction_index(movement.velocity[y, x]), y, x), 1)
    return MotionHistograms(usual.speeds, usual.sizes, usual.directions, usual.frames + 1)


def bin_index(values: npt.NDArray[np.floating], edges: npt.NDArray[np.floating]) -> npt.NDArray[np.intp]:
    """Index of the bin of each value; what lies outside belongs to the first or the last."""
    return np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)


def direction_index(velocity: FloatArray) -> npt.NDArray[np.intp]:
    """Index of the direction of each velocity (…, 2): 0 to the right, 2 down, 4 to the left, 6 up."""
    angle = np.arctan2(velocity[..., 1], velocity[..., 0])
    return np.rint(angle * DIRECTIONS / (2 * np.pi)).astype(np.intp) % DIRECTIONS


def neighbourhood_counts(counts: FloatArray) -> FloatArray:
    """Counts (n, gh, gw) summed over the neighbourhood of every cell, nearer ones more."""
    from scipy.ndimage import gaussian_filter

    out: FloatArray = gaussian_filter(
        counts, (0, _NEIGHBOURHOOD_SIGMA, _NEIGHBOURHOOD_SIGMA), mode="constant"
    ) * (2 * np.pi * _NEIGHBOURHOOD_SIGMA**2)
    return out


def smoothed_counts(counts: FloatArray) -> FloatArray:
    """Counts (n, gh, gw) of the neighbourhood; where they are few, those of the row and of all stand in.

    Things at one height in the picture are about as far away, so they look about as fast and as large.

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
    """The value that ``share`` of what was counted at each place doesn't exceed.

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


LIMIT_QUANTILE = 0.98  # share of what was seen at a place that stays below its limit
_MIN_OBSERVATIONS = 50.0  # observations near a place, before a direction can be rare there
_MOVING_SPEED = 0.3  # of the speed limit: slower has no direction worth naming
_STANDING_SPEED = 0.2  # of the speed limit: slower stands still
_DWELL_OCCUPANCY = 0.35  # share of the window: what dwells must be there, not pass by
_MIN_CROWD_SHARE = 0.01  # share of the cells taken: fewer is no crowd that could disperse

CELL_MEASURES: tuple[MeasureName, ...] = ("speed", "size", "direction", "place", "dwell", "appearance")
FRAME_MEASURES: tuple[MeasureName, ...] = ("crowding", "stillness", "dispersal")
MEASURES = CELL_MEASURES + FRAME_MEASURES


@dataclass(frozen=True, eq=False)
class MotionLimits:
    """What is hardly ever exceeded at each place, computed once from the counts.

    Parameters
    ----------
    speed : float32 (gh, gw), working pixels a second.
    typical : float32 (gh, gw), the speed that half of what moves there doesn't exceed.
    size : float32 (gh, gw), share of the surroundings that stands out.
    rarity : float32 (DIRECTIONS, gh, gw), −log10 of the share of each direction and its neighbours; 0 where
        too little was seen.
    absence : float32 (gh, gw), −log10 of the share of time in which the place is taken.
    """

    speed: FloatArray
    typical: FloatArray
    size: FloatArray
    rarity: FloatArray
    absence: FloatArray


def motion_limits(usual: MotionHistograms) -> MotionLimits:
    """What the counts say is usual."""
    directions = neighbourhood_counts(usual.directions)
    total = directions.sum(axis=0)
    alike = directions + np.roll(directions, 1, axis=0) + np.roll(directions, -1, axis=0)
    rarity = -np.log10((alike + 3) / (total + DIRECTIONS))
    here = (
        neighbourhood_counts(usual.speeds.sum(axis=0)[None])[0]
        / neighbourhood_counts(np.ones((1, *total.shape), np.float32))[0]
    )
    return MotionLimits(
        speed=quantile_map(usual.speeds, SPEED_EDGES, LIMIT_QUANTILE),
        typical=quantile_map(usual.speeds, SPEED_EDGES, 0.5),
        size=quantile_map(usual.sizes, SIZE_EDGES, LIMIT_QUANTILE),
        rarity=np.where(total >= _MIN_OBSERVATIONS, np.maximum(rarity, 0), 0).astype(np.float32),
        absence=-np.log10((here + 1) / (usual.frames + 1)).astype(np.float32),
    )


class DwellTimer:
    """How long each place has been taken by something that stands still."""

    def __init__(self, grid: tuple[int, int]) -> None:
        self._seconds = np.zeros(grid, np.float32)

    def reset(self) -> None:
        """Start again from zero."""
        self._seconds[:] = 0

    def after(self, elapsed: float, movement: MotionGrid, limits: MotionLimits) -> FloatArray:
        """Seconds so far, float32 (gh, gw), ``elapsed`` seconds after the last call."""
        still = (movement.taken >= _DWELL_OCCUPANCY) & (movement.speed < _STANDING_SPEED * limits.speed)
        # Flow flickers: a moment of motion takes back little, whoever walks on takes it back soon.
        self._seconds += np.where(still, elapsed, -4 * elapsed)
        np.maximum(self._seconds, 0, out=self._seconds)
        return self._seconds.copy()


def cell_measures(
    movement: MotionGrid,
    around: MotionGrid,
    dwell_seconds: FloatArray,
    strange: FloatArray,
    limits: MotionLimits,
) -> dict[MeasureName, FloatArray]:
    """The measures of every place.

    Returns
    -------
    For each of ``CELL_MEASURES`` float32 (gh, gw): speed and size by their limits (1 is the limit), the
    rarity of
    the direction and of anything being there (−log10 of a share), seconds of standing still, and how unlike
    what usually moves here it looks (``strange``, 1 − cosine).
    """
    taken = movement.taken >= MIN_OCCUPANCY
    # Speed counts in full as soon as a fifth of the window moves; below, windows that only touch something.
    weight = np.minimum(movement.taken / MIN_OCCUPANCY, 1)
    direction = np.take_along_axis(limits.rarity, direction_index(movement.velocity)[None], 0)[0]
    goes = taken & (movement.speed > _MOVING_SPEED * limits.speed)
    return {
        "speed": weight * movement.speed / limits.speed,
        "size": np.where(taken, around.taken / limits.size, 0).astype(np.float32),
        "direction": np.where(goes, direction, 0).astype(np.float32),
        "place": np.where(taken, limits.absence, 0).astype(np.float32),
        "dwell": dwell_seconds,
        "appearance": strange,
    }


def frame_measures(movement: MotionGrid, limits: MotionLimits) -> dict[MeasureName, float]:
    """The measures of the whole picture: how much is taken, how little, and how it flees from its middle.

    Returns
    -------
    crowding : share of the cells that is taken; stillness : −log10 of the share that moves; dispersal : mean
    velocity away from the middle of what is taken, by the speed limit.
    """
    taken = movement.taken >= MIN_OCCUPANCY
    share = float(taken.mean())
    moving = float((taken & (movement.speed > _STANDING_SPEED * limits.speed)).mean())
    return {
        "crowding": share,
        "stillness": float(-np.log10(moving + 1 / taken.size)),
        "dispersal": _outward_velocity(movement, limits, taken) if share >= _MIN_CROWD_SHARE else 0.0,
    }


def _outward_velocity(movement: MotionGrid, limits: MotionLimits, taken: np.ndarray) -> float:
    y, x = np.nonzero(taken)
    away = np.stack([x - x.mean(), y - y.mean()], axis=1)
    length = np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1)
    velocity = movement.velocity[y, x] / limits.speed[y, x][:, None]
    return float(max((velocity * away / length).sum(axis=1).mean(), 0))
