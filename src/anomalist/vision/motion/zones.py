"""Zones that a person draws: places to ignore, to watch more closely, or where nothing may be."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, ValidationError

from anomalist.errors import DataError
from anomalist.types import BoolArray, Frozen
from anomalist.vision.motion.movement import CELL


class Zone(Frozen):
    """A polygon with a name and a meaning."""

    name: str = Field(min_length=1, max_length=80)
    kind: Literal["ignore", "watch", "forbidden"]
    polygon: tuple[tuple[float, float], ...] = Field(
        min_length=3, description="corners (x, y) as shares of width and height, 0 to 1"
    )


class _File(Frozen):
    zones: tuple[Zone, ...] = Field(min_length=1)


_EXAMPLE = (
    '{"zones": [{"name": "tracks", "kind": "forbidden", '
    '"polygon": [[0.1, 0.6], [0.9, 0.6], [0.9, 1], [0.1, 1]]}]}'
)


def read_zones(path: Path) -> tuple[Zone, ...]:
    """Read zones from JSON.

    Raises
    ------
    DataError : not readable, not in that form, corners outside the picture, or two zones of one name.
    """
    try:
        zones = _File.model_validate(json.loads(path.read_text(encoding="utf-8"))).zones
    except (OSError, ValueError) as error:
        detail = _first(error) if isinstance(error, ValidationError) else str(error)
        raise DataError(f"The zones in {path} can't be used: {detail}.", f"Example: {_EXAMPLE}") from error
    for zone in zones:
        if not all(0 <= value <= 1 for corner in zone.polygon for value in corner):
            raise DataError(
                f'The zone "{zone.name}" in {path} has corners outside the picture.',
                "Corners are shares of width and height, from 0 to 1.",
            )
    names = [zone.name for zone in zones]
    if len(set(names)) < len(names):
        raise DataError(f"Two zones in {path} have the same name.", "Name each differently.")
    return zones


def _first(error: ValidationError) -> str:
    problem = error.errors()[0]
    return f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"


def cells_in(zone: Zone, grid: tuple[int, int]) -> BoolArray:
    """Which cells of a grid (rows, columns) have their middle in the zone: bool (gh, gw)."""
    import cv2

    gh, gw = grid
    fine = 2 * CELL
    corners = np.rint(np.array(zone.polygon) * [gw * fine, gh * fine]).astype(np.int32)
    drawn = cv2.fillPoly(np.zeros((gh * fine, gw * fine), np.uint8), [corners], [1])
    inside: BoolArray = drawn[fine // 2 :: fine, fine // 2 :: fine] > 0
    return inside


def counting(zones: Sequence[Zone], grid: tuple[int, int]) -> BoolArray:
    """Which cells count, bool (gh, gw): all that are in no zone to be ignored.

    Raises DataError when nothing is left.
    """
    counts = np.ones(grid, np.bool_)
    for zone in zones:
        if zone.kind == "ignore":
            counts &= ~cells_in(zone, grid)
    if not counts.any():
        raise DataError("The zones to be ignored cover the whole picture.", "Draw them smaller.")
    return counts
