"""What stands still is background in any light; what moves or is new stands out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalist.types.common import UInt8Array
from anomalist.vision.motion.extractor import (
    AdaptiveBackground,
    Background,
    foreground_mask,
    median_background,
)
from tests.street import SIZE, Camera, grey_of, make_film

EMPTY = grey_of(make_film(0.1))


def flat(level: float, noise: float = 1.0, size: tuple[int, int] = (24, 32)) -> Background:
    return Background(np.full(size, level, np.float32), np.full(size, noise, np.float32))


def grey(level: float, size: tuple[int, int] = (24, 32)) -> UInt8Array:
    return np.full(size, level, np.uint8)


def test_who_passes_by_is_not_in_the_background() -> None:
    film = make_film(30, people=1)
    background = median_background(frame.pixels[..., 0] for frame in film.frames(rate=2))
    clean = np.mean([frame.pixels[..., 0] for frame in make_film(1).frames()], axis=0)
    assert np.abs(background.grey - clean).max() < 5
    assert np.median(background.noise) == pytest.approx(1.5, abs=0.6)  # that of the sensor


def test_only_so_many_pictures_are_taken() -> None:
    taken = []

    def pictures() -> object:
        for index in range(1000):
            taken.append(index)
            yield grey(100)

    median_background(pictures())  # type: ignore[arg-type]
    assert len(taken) <= 121


def test_shapes_that_differ_and_no_picture_are_refused() -> None:
    with pytest.raises(TypeError, match=r"\(4, 5\) and noise \(5, 4\)"):
        Background(np.zeros((4, 5), np.float32), np.zeros((5, 4), np.float32))
    with pytest.raises(ValueError, match="array"):
        median_background([])
    with pytest.raises(ValueError, match="shape"):
        median_background([grey(1), grey(1, (5, 5))])


@settings(max_examples=30)
@given(st.floats(0.5, 1.9))
def test_brighter_or_darker_light_is_no_difference(light: float) -> None:
    """White can't get any brighter, and that is no difference either."""
    start = Background(EMPTY.astype(np.float32), np.full(SIZE, 1.5, np.float32))
    lit = grey_of(make_film(0.1, seed=1, camera=lambda _: Camera(light=light)))
    assert (AdaptiveBackground(start).difference(lit, 0.0) > 1).mean() < 0.002


def test_the_limit_of_a_difference_is_one() -> None:
    adapting = AdaptiveBackground(flat(100))
    picture = grey(100)
    picture[5:9, 5:9], picture[15:19, 15:19] = 111, 113
    difference = adapting.difference(picture, 0.0)
    assert difference[7, 7] < 1 < difference[17, 17]
    assert difference[0, 0] == 0
    assert Background(np.zeros((1, 1), np.float32), np.full((1, 1), 10, np.float32)).limit[0, 0] == 50


def test_half_of_a_lasting_change_is_taken_up_in_half_a_minute() -> None:
    adapting = AdaptiveBackground(flat(100))
    picture = grey(100)
    picture[5:9, 5:9] = 140
    for second in range(31):
        adapting.difference(picture, float(second))
    assert adapting.grey[7, 7] == pytest.approx(120, abs=0.5)
    assert adapting.grey[0, 0] == pytest.approx(100)


def test_what_stops_for_some_seconds_still_stands_out() -> None:
    adapting = AdaptiveBackground(flat(100))
    picture = grey(100)
    picture[5:9, 5:9] = 200
    for step in range(100):
        difference = adapting.difference(picture, step / 10)
    assert difference[7, 7] > 3


def test_what_may_not_be_the_scene_is_not_learned() -> None:
    adapting = AdaptiveBackground(flat(100))
    covered = np.tile(np.arange(32, dtype=np.uint8) * 6, (24, 1))
    for second in range(100):
        adapting.difference(covered, float(second), learn=False)
    assert (adapting.grey == 100).all()


def test_a_clock_that_goes_back_changes_nothing() -> None:
    adapting = AdaptiveBackground(flat(100))
    picture = grey(100)
    picture[5:9, 5:9] = 140
    for time in (10.0, 5.0):
        adapting.difference(picture, time)
    assert adapting.grey[7, 7] == 100


def test_specks_go_gaps_close_and_what_moves_needs_less_difference() -> None:
    difference, speed = np.zeros((2, 30, 30), np.float32)
    difference[3, 3] = 9  # a speck
    difference[10:20, 8:11] = difference[10:20, 12:15] = 2  # a body with a gap
    difference[10:14, 20:25] = difference[20:24, 20:25] = 0.7
    speed[20:24, 20:25] = 9
    mask = foreground_mask(difference, speed, 5.0)
    assert not mask[3, 3]
    assert mask[12:18, 8:15].all()
    assert not mask[10:14, 20:25].any()
    assert mask[20:24, 20:25].all()


def test_a_mask_is_not_shifted() -> None:
    difference = np.zeros((40, 40), np.float32)
    difference[10:24, 12:20] = 2
    assert np.array_equal(foreground_mask(difference, np.zeros_like(difference), 5.0), difference > 0)
