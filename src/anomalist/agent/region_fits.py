"""How well single regions fit what a text says of their shape, size, tone, direction and place: 0 to 1."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from anomalist.agent.kinds import THIN, changed_kind
from anomalist.types import Box, Region
from anomalist.vision.attributes import POSITIONS, ROUND

SURE = 0.95
"""How well something fits where what was measured is plain; what is plainly not so fits as badly."""

SMALL, LARGE = 0.005, 0.05
"""Shares of what counts: up to the first a region is small, from the second on it is large."""

UPRIGHT = 20.0
"""Degrees off an axis from which a direction is diagonal."""

Measure = Callable[[Region, frozenset[str], tuple[int, int]], float]
"""From a region, the values that would fit, and (height, width) of the picture to a fit, 0 to 1."""


def weight(region: Region, top: float) -> float:
    """How much a region counts against the one with the highest peak."""
    return max(0.0, region.peak / top) if top > 0 else 1.0


def share(box: Box, position: str, cell: tuple[int, int], size: tuple[int, int]) -> float:
    """How much of a box lies in a cell (column, row): all of it in the one that its centre names."""
    (x, y), (height, width) = cell, size
    if POSITIONS[y][x] == position:
        return 1.0
    left, top, right, bottom = box
    across = min(right, (x + 1) * width / 3) - max(left, x * width / 3)
    down = min(bottom, (y + 1) * height / 3) - max(top, y * height / 3)
    return max(0.0, across) * max(0.0, down) / ((right - left) * (bottom - top))


def _edge(region: Region, values: frozenset[str], size: tuple[int, int]) -> float:
    touched = set(region.attributes.edges)
    if touched & values or (touched and not values):
        return SURE
    beside = any(side in region.attributes.position for side in _SIDES.keys() & values)
    above = any(_SIDES[side] in region.attributes.position for side in _SIDES.keys() & values)
    return 0.5 if beside or above else 1 - SURE


_SIDES = {"left": "left", "right": "right", "top": "upper", "bottom": "lower"}


def _form(region: Region, values: frozenset[str], size: tuple[int, int]) -> float:
    elongation = region.attributes.elongation
    lineness = float(np.interp(np.log(elongation), np.log([ROUND, THIN]), [1 - SURE, SURE]))
    if changed_kind(region, size) == "line":
        lineness = SURE
    return lineness if "line" in values else 1 - lineness


def _size(region: Region, values: frozenset[str], size: tuple[int, int]) -> float:
    share = np.log10(max(region.attributes.relative_size, 1e-9))
    largeness = float(np.interp(share, np.log10([SMALL, LARGE]), [1 - SURE, SURE]))
    return largeness if "large" in values else 1 - largeness


def _direction(region: Region, values: frozenset[str], size: tuple[int, int]) -> float:
    angle = region.attributes.orientation
    if angle is None:
        return 0.5
    off = min(angle, 180 - angle)
    told = "horizontal" if off < UPRIGHT else "vertical" if off > 90 - UPRIGHT else ""
    return SURE if (told or ("rising" if angle < 90 else "falling")) in values else 1 - SURE


def _is(holds: bool) -> float:
    return SURE if holds else 1 - SURE


MEASURED: dict[str, Measure] = {
    "edge": _edge,
    "form": _form,
    "size": _size,
    "direction": _direction,
    "tone": lambda region, values, _: _is(region.attributes.tone in values),
    "colour": lambda region, values, _: _is(region.attributes.colour in values),
    "texture": lambda region, values, _: _is(region.attributes.texture in values),
    "change": lambda region, values, _: 0.5 if region.change is None else _is(region.change in values),
    "kind": lambda region, values, size: _is(changed_kind(region, size) in values),
}
