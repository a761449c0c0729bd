"""Zones: drawn by a person, as shares of the picture; what can't be used is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from anomalist.errors import DataError
from anomalist.vision.motion.scene import Zone, cells_in, counted_cells, read_zones

HALF = [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]


def write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_zones_are_read(tmp_path: Path) -> None:
    file = write(tmp_path / "z.json", {"zones": [{"name": "lawn", "kind": "watch", "polygon": HALF}]})
    assert read_zones(file) == (Zone(name="lawn", kind="watch", polygon=tuple(map(tuple, HALF))),)


@pytest.mark.parametrize(
    "content",
    [
        "no json",
        {},
        {"zones": []},
        {"zones": [{"name": "a", "kind": "unknown", "polygon": HALF}]},
        {"zones": [{"name": "a", "kind": "watch", "polygon": HALF[:2]}]},
        {"zones": [{"name": "", "kind": "watch", "polygon": HALF}]},
        {"zones": [{"name": "a", "kind": "watch", "polygon": [[0, 0], [300, 0], [300, 200]]}]},
        {"zones": [{"name": "a", "kind": "watch", "polygon": HALF}] * 2},
    ],
)
def test_what_cannot_be_used_is_refused(tmp_path: Path, content: object) -> None:
    with pytest.raises(DataError, match=r"z\.json"):
        read_zones(write(tmp_path / "z.json", content))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="can't be used"):
        read_zones(tmp_path / "z.json")


def test_cells_of_half_a_picture() -> None:
    zone = Zone(name="a", kind="ignore", polygon=tuple(map(tuple, HALF)))
    inside = cells_in(zone, (6, 10))
    assert inside[:, :5].all()
    assert not inside[:, 5:].any()
    assert counted_cells([zone], (6, 10)).sum() == 30


def test_ignoring_everything_is_refused() -> None:
    whole = Zone(name="a", kind="ignore", polygon=((0, 0), (1, 0), (1, 1), (0, 1)))
    with pytest.raises(DataError, match="whole picture"):
        counted_cells([whole], (6, 10))


@pytest.mark.parametrize(
    ("corners", "cells"),
    [
        (((0.31, 0.31), (0.32, 0.31), (0.32, 0.32)), {(1, 3)}),  # a handle
        (((0, 0.35), (1, 0.35), (1, 0.36), (0, 0.36)), {(2, column) for column in range(10)}),  # a line
    ],
)
def test_a_zone_smaller_than_a_cell_holds_the_cells_that_it_touches(
    corners: tuple[tuple[float, float], ...], cells: set[tuple[int, int]]
) -> None:
    inside = cells_in(Zone(name="a", kind="forbidden", polygon=corners), (6, 10))
    assert set(zip(*map(list, inside.nonzero()), strict=True)) == cells
