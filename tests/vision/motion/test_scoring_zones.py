"""Forbidden zones: a body counts by the size that bodies have there, far from the camera and near."""

from __future__ import annotations

import numpy as np
import pytest

from anomalist.vision.motion.scoring import is_entered

BODY_CELLS = np.linspace(4, 64, 30, dtype=np.float32)[:, None]  # small at the top, large at the bottom


@pytest.mark.parametrize(
    ("zone", "rows", "columns", "entered"),
    [
        (
            (0, 6),
            slice(2, 4),
            slice(5, 7),
            True,
        ),  # somebody far away, smaller than a quarter of a body nearby
        ((20, 30), slice(24, 26), slice(5, 7), False),  # as large nearby: a shadow, or a cat
        ((20, 30), slice(20, 26), slice(5, 10), True),
        ((29, 30), slice(29, 30), slice(0, 20), True),  # a strip that holds less than a quarter of a body
        ((29, 30), slice(29, 30), slice(0, 10), False),
        ((0, 6), slice(20, 30), slice(0, 20), False),  # somewhere else
    ],
)
def test_a_quarter_of_a_body_as_large_as_bodies_are_there_enters_a_zone(
    zone: tuple[int, int], rows: slice, columns: slice, entered: bool
) -> None:
    cells = np.zeros((30, 20), bool)
    width = 12 if zone == (29, 30) else 20
    cells[zone[0] : zone[1], :width] = True
    share = np.zeros((30, 20), np.float32)
    share[rows, columns] = 1
    assert is_entered(cells, share, BODY_CELLS) is entered


def test_less_than_a_cell_is_nobody_however_small_bodies_are() -> None:
    cells = np.ones((4, 4), bool)
    share = np.zeros((4, 4), np.float32)
    share[0, 0] = 0.9
    assert not is_entered(cells, share, np.full((4, 1), 0.5, np.float32))
