"""An event as a vector: those of one kind, at one place, going one way, at one speed and size are near."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from anomalist.clips import Event, MeasureName
from anomalist.types import FloatArray

SPACE = "motion-1"
ALIKE = 0.85
"""Cosine similarity from which two events are alike: what differs in kind never is."""

_KINDS: tuple[MeasureName, ...] = (
    "speed",
    "size",
    "direction",
    "place",
    "dwell",
    "appearance",
    "crowding",
    "stillness",
    "dispersal",
    "forbidden zone",
)
_GRID = 3
_NEAR = 0.22  # of the picture: how far an event may move and still be at one place
_KIND, _PLACE, _WAY, _SPEED, _SIZE = 1.0, 0.7, 0.6, 0.5, 0.5  # weights
_OCTAVES = 4.0  # of speed or size, from a quarter of what is usual on: a right angle


def signature(event: Event, size: tuple[int, int]) -> FloatArray:
    """The vector of an event.

    Parameters
    ----------
    size : (height, width) of the frames in pixels.

    Returns
    -------
    float32 (25,), of length 1.
    """
    kind = np.array([event.kind == name for name in _KINDS], np.float64)
    track = event.tracks[0] if event.tracks else None
    way = np.zeros(2)
    if track is not None and track.direction:
        (x0, y0), (x1, y1) = (_middle(box) for _, box in (track.path[0], track.path[-1]))
        way = _unit(np.array([x1 - x0, y1 - y0]))
    parts = (
        _KIND * kind,
        _PLACE * _place(event, size),
        _WAY * way,
        _SPEED * _octave(track.speed_ratio if track else 1.0),
        _SIZE * _octave(track.size_ratio if track else 1.0),
    )
    return _unit(np.concatenate(parts)).astype(np.float32)


def _place(event: Event, size: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Bumps over a 3×3 grid around the middle of the event's box; all alike for an event of the whole."""
    if event.box is None:
        return _unit(np.ones(_GRID**2))
    x, y = _middle(event.box)
    at = np.array([x / size[1], y / size[0]])
    steps = (np.arange(_GRID) + 0.5) / _GRID
    grid = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    return _unit(np.exp(-0.5 * ((grid - at) ** 2).sum(axis=1) / _NEAR**2))


def _octave(ratio: float) -> npt.NDArray[np.float64]:
    """A ratio as an angle, so that twice as much is as far from once as from four times."""
    angle = np.clip((np.log2(max(ratio, 1e-3)) + 2) / _OCTAVES, 0, 1) * np.pi / 2
    return np.array([np.cos(angle), np.sin(angle)])


def _middle(box: tuple[int, int, int, int]) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def _unit(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    length = float(np.linalg.norm(values))
    return values / length if length else values
