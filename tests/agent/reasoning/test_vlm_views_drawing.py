"""Boxes, sheets and ways in pictures for a model."""

from __future__ import annotations

import numpy as np

from anomalist.agent.reasoning.vlm_views import GAP, GREY, contact_sheet, draw_boxes, draw_trajectory
from anomalist.types.common import UInt8Array
from anomalist.vision.drawing import LINE_COLOUR


def black(height: int = 100, width: int = 200) -> UInt8Array:
    return np.zeros((height, width, 3), np.uint8)


def drawn(picture: UInt8Array) -> tuple[int, int, int, int]:
    """The box around what has the colour of lines."""
    rows, columns = np.nonzero((picture == LINE_COLOUR).all(2))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def test_a_box_is_drawn_around_what_it_marks_and_covers_nothing_of_it() -> None:
    picture = draw_boxes(black(), {"T1": (20, 60, 40, 80)}, max_side=400)
    assert picture.shape == (200, 400, 3)
    assert not picture[120:160, 40:80].any()
    assert (picture[163, 60] == LINE_COLOUR).all()


def test_boxes_that_reach_beyond_the_picture_are_cut_and_those_outside_left_out() -> None:
    plain = draw_boxes(black(), {"T1": (300, 10, 320, 30), "T2": (50, 50, 50, 60)}, max_side=200)
    assert not plain.any()
    assert draw_boxes(black(), {"T1": (-30, -30, 500, 500)}, max_side=200).any()


def test_a_sheet_holds_its_tiles_in_reading_order() -> None:
    tiles = [np.full((10, 20, 3), value, np.uint8) for value in (1, 2, 3)]
    page = contact_sheet(tiles)
    assert page.shape == (20 + GAP, 40 + GAP, 3)
    assert (page[0, 0, 0], page[0, -1, 0], page[-1, 0, 0], page[-1, -1, 0]) == (1, 2, 3, GREY)


def test_a_way_is_drawn_from_its_start_to_its_end() -> None:
    picture = black()
    assert draw_trajectory(picture, np.array([[20.0, 50.0], [100.0, 52.0], [160.0, 50.0], [161.0, 50.0]]))
    left, top, right, bottom = drawn(picture)
    assert left < 20
    assert right >= 161
    assert 30 < top < bottom < 70


def test_what_stays_where_it_is_has_no_way() -> None:
    picture = black()
    assert not draw_trajectory(picture, np.array([[20.0, 50.0], [23.0, 50.0]]))
    assert not draw_trajectory(picture, np.zeros((0, 2)))
    assert not picture.any()
