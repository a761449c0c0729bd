"""What is unusual in a frame: measures at every place and of the whole, each against what is usual there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from anomalist.clips import MeasureName
from anomalist.types import FloatArray
from anomalist.vision.motion.movement import Movement
from anomalist.vision.motion.usual import (
    DIRECTIONS,
    SIZE_EDGES,
    SPEED_EDGES,
    TAKEN,
    Usual,
    direction_of,
    limit,
    near,
)

HARDLY_EVER = 0.98  # share of what was seen at a place that stays below its limit
_KNOWN = 50.0  # observations near a place, before a direction can be rare there
_MOVING = 0.3  # of the speed limit: slower has no direction worth naming
_STANDING = 0.2  # of the speed limit: slower stands still
_OCCUPIED = 0.35  # share of the window: what dwells must be there, not pass by
_CROWD = 0.01  # share of the cells taken: fewer is no crowd that could disperse

PLACES: tuple[MeasureName, ...] = ("speed", "size", "direction", "place", "dwell", "appearance")
WHOLES: tuple[MeasureName, ...] = ("crowding", "stillness", "dispersal")
MEASURES = PLACES + WHOLES


@dataclass(frozen=True, eq=False)
class Limits:
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


def limits_of(usual: Usual) -> Limits:
    """What the counts say is usual."""
    directions = near(usual.directions)
    total = directions.sum(axis=0)
    alike = directions + np.roll(directions, 1, axis=0) + np.roll(directions, -1, axis=0)
    rarity = -np.log10((alike + 3) / (total + DIRECTIONS))
    here = near(usual.speeds.sum(axis=0)[None])[0] / near(np.ones((1, *total.shape), np.float32))[0]
    return Limits(
        speed=limit(usual.speeds, SPEED_EDGES, HARDLY_EVER),
        typical=limit(usual.speeds, SPEED_EDGES, 0.5),
        size=limit(usual.sizes, SIZE_EDGES, HARDLY_EVER),
        rarity=np.where(total >= _KNOWN, np.maximum(rarity, 0), 0).astype(np.float32),
        absence=-np.log10((here + 1) / (usual.frames + 1)).astype(np.float32),
    )


class Dwelling:
    """How long each place has been taken by something that stands still."""

    def __init__(self, grid: tuple[int, int]) -> None:
        self._seconds = np.zeros(grid, np.float32)

    def forget(self) -> None:
        """Start again from zero."""
        self._seconds[:] = 0

    def after(self, elapsed: float, movement: Movement, limits: Limits) -> FloatArray:
        """Seconds so far, float32 (gh, gw), ``elapsed`` seconds after the last call."""
        still = (movement.taken >= _OCCUPIED) & (movement.speed < _STANDING * limits.speed)
        # Flow flickers: a moment of motion takes back little, whoever walks on takes it back soon.
        self._seconds += np.where(still, elapsed, -4 * elapsed)
        np.maximum(self._seconds, 0, out=self._seconds)
        return self._seconds.copy()


def at_places(
    movement: Movement, around: Movement, dwelt: FloatArray, strange: FloatArray, limits: Limits
) -> dict[MeasureName, FloatArray]:
    """The measures of every place.

    Returns
    -------
    For each of ``PLACES`` float32 (gh, gw): speed and size by their limits (1 is the limit), the rarity of
    the direction and of anything being there (−log10 of a share), seconds of standing still, and how unlike
    what usually moves here it looks (``strange``, 1 − cosine).
    """
    taken = movement.taken >= TAKEN
    # Speed counts in full as soon as a fifth of the window moves; below, windows that only touch something.
    weight = np.minimum(movement.taken / TAKEN, 1)
    direction = np.take_along_axis(limits.rarity, direction_of(movement.velocity)[None], 0)[0]
    goes = taken & (movement.speed > _MOVING * limits.speed)
    return {
        "speed": weight * movement.speed / limits.speed,
        "size": np.where(taken, around.taken / limits.size, 0).astype(np.float32),
        "direction": np.where(goes, direction, 0).astype(np.float32),
        "place": np.where(taken, limits.absence, 0).astype(np.float32),
        "dwell": dwelt,
        "appearance": strange,
    }


def of_whole(movement: Movement, limits: Limits) -> dict[MeasureName, float]:
    """The measures of the whole picture: how much is taken, how little, and how it flees from its middle.

    Returns
    -------
    crowding : share of the cells that is taken; stillness : −log10 of the share that moves; dispersal : mean
    velocity away from the middle of what is taken, by the speed limit.
    """
    taken = movement.taken >= TAKEN
    share = float(taken.mean())
    moving = float((taken & (movement.speed > _STANDING * limits.speed)).mean())
    return {
        "crowding": share,
        "stillness": float(-np.log10(moving + 1 / taken.size)),
        "dispersal": _outward(movement, limits, taken) if share >= _CROWD else 0.0,
    }


def _outward(movement: Movement, limits: Limits, taken: np.ndarray) -> float:
    y, x = np.nonzero(taken)
    away = np.stack([x - x.mean(), y - y.mean()], axis=1)
    length = np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1)
    velocity = movement.velocity[y, x] / limits.speed[y, x][:, None]
    return float(max((velocity * away / length).sum(axis=1).mean(), 0))
