"""Objects and trails: what moves alike is one, what runs into somebody is another."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomalist.types.common import BoolArray, FloatArray
from anomalist.vision.motion.captions import direction_words
from anomalist.vision.motion.flow import IntegralImages, integral_images
from anomalist.vision.motion.tracks import MovingObject, Tracker, box_iou, moving_objects

BOX = st.tuples(st.floats(0, 50), st.floats(0, 50), st.floats(1, 50), st.floats(1, 50))


def _sums(mask: BoolArray, velocity: FloatArray) -> IntegralImages:
    return integral_images(mask, *(np.ascontiguousarray(velocity[..., axis]) for axis in (0, 1)))


def test_two_that_touch_and_move_apart_are_two_objects() -> None:
    mask = np.zeros((40, 80), np.bool_)
    mask[8:32, 16:64] = True
    velocity = np.zeros((40, 80, 2), np.float32)
    velocity[:, :40, 0], velocity[:, 40:, 0] = 20.0, -20.0
    found = sorted(moving_objects(_sums(mask, velocity), 2.0), key=lambda one: one.box)
    assert [one.box for one in found] == [(16, 8, 40, 32), (40, 8, 64, 32)]
    assert [one.velocity[0] for one in found] == pytest.approx([20, -20])
    assert [one.area for one in found] == [576, 576]


def test_a_box_at_the_border_ends_with_the_picture() -> None:
    mask = np.zeros((225, 398), bool)  # of a height and a width that cells do not divide
    mask[200:, 380:] = True
    (found,) = moving_objects(integral_images(mask, *np.full((2, 225, 398), 30.0, np.float32)), 1.0)
    assert found.box == (380, 200, 398, 225)


def test_nothing_gives_no_object() -> None:
    nothing = _sums(np.zeros((40, 80), np.bool_), np.zeros((40, 80, 2), np.float32))
    assert moving_objects(nothing, 2.0) == []


def test_an_object_keeps_its_trail_and_a_cut_gives_a_new_one() -> None:
    def seen(x: int) -> list[MovingObject]:
        return [MovingObject((x, 10, x + 8, 30), 120, (20.0, 0.0), np.array([[3, x // 4]]))]

    tracker = Tracker()
    numbers = [tracker.follow(seen(2 * i), i / 10)[0].number for i in range(10)]
    assert set(numbers) == {1}
    assert tracker.tracked_objects[0].path[0][0] == 0.0
    tracker.reset()
    assert tracker.follow(seen(20), 1.0)[0].number == 2


def test_who_is_not_seen_for_long_is_lost() -> None:
    tracker = Tracker()
    here = [MovingObject((10, 10, 18, 30), 120, (0.0, 0.0), np.array([[3, 3]]))]
    first = tracker.follow(here, 0.0)[0].number
    assert tracker.follow(here, 0.5)[0].number == first
    assert tracker.follow(here, 2.0)[0].number != first


@given(a=BOX, b=BOX)
def test_overlap_is_symmetric_and_a_share(
    a: tuple[float, float, float, float], b: tuple[float, float, float, float]
) -> None:
    boxes = np.array([[x, y, x + w, y + h] for x, y, w, h in (a, b)])
    table = box_iou(boxes, boxes)
    assert table[0, 1] == pytest.approx(table[1, 0])
    assert 0 <= table[0, 1] <= 1 + 1e-9
    assert table.diagonal() == pytest.approx(1)


@pytest.mark.parametrize(
    ("end", "words"),
    [
        ((50, 0), "from left to right"),
        ((-50, 0), "from right to left"),
        ((0, 50), "towards the camera"),
        ((0, -50), "away from the camera"),
        ((50, 40), "from left to right, towards the camera"),
        ((3, 3), ""),
    ],
)
def test_a_way_in_words(end: tuple[float, float], words: str) -> None:
    assert direction_words((0, 0), end, 10.0) == words
