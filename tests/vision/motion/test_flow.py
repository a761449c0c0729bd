"""Optical flow over half a second: right in pixels a second, whatever the clock does."""

from __future__ import annotations

import numpy as np
import pytest

from anomalist.types.image import FloatArray, UInt8Array
from anomalist.vision.motion.flow import FLOW_SPAN, ChainedFlow
from tests.scenes import SIZE, Camera, filmed, grey_of

Way = tuple[float, float]


def seen(right: float, down: float) -> UInt8Array:
    """The still street, seen by a camera that is so many pixels further to the left and up."""
    return grey_of(filmed(0.1, camera=lambda _: Camera(right=-right, down=-down)))


def velocities(way: Way, times: list[float]) -> list[FloatArray]:
    following = ChainedFlow(*SIZE)
    return [following.velocity(seen(way[0] * time, way[1] * time), time) for time in times]


def middle(velocity: FloatArray) -> FloatArray:
    return np.asarray(np.median(velocity[20:-20, 20:-20], axis=(0, 1)), np.float32)


@pytest.mark.parametrize(
    "times", [[0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0.0, 0.05, 0.25, 0.3, 0.5, 0.62, 0.7], [5.0, 5.2, 5.4]]
)
def test_what_moves_evenly_has_its_speed_at_any_frame_rate(times: list[float]) -> None:
    for way in [(12.0, 0.0), (-12.0, 0.0), (0.0, 8.0), (0.0, -8.0), (9.0, -6.0), (0.0, 0.0)]:
        assert middle(velocities(way, times)[-1]) == pytest.approx(way, abs=0.7)


def test_the_first_picture_shows_no_motion() -> None:
    assert not velocities((12, 0), [3.0])[0].any()


def test_what_swings_to_and_fro_cancels_out() -> None:
    following = ChainedFlow(*SIZE)
    found = []
    for index in range(16):
        time = index / 10
        velocity = following.velocity(seen(2 * np.sin(2 * np.pi * time / FLOW_SPAN), 0), time)
        found.append(abs(middle(velocity)[0]))
    assert max(found[:4]) > 5
    assert max(found[6:]) < 1


def test_what_is_forgotten_says_nothing_about_motion() -> None:
    following = ChainedFlow(*SIZE)
    following.velocity(seen(0, 0), 0.0)
    following.reset()
    assert not following.velocity(seen(9, 0), 0.1).any()
    assert middle(following.velocity(seen(10, 0), 0.2)) == pytest.approx((10, 0), abs=1)


def test_a_mirrored_picture_moves_the_other_way() -> None:
    plain, mirrored = ChainedFlow(*SIZE), ChainedFlow(*SIZE)
    for time in (0.0, 0.1, 0.2):
        picture = seen(12 * time, 5 * time)
        there = plain.velocity(picture, time)
        back = mirrored.velocity(np.ascontiguousarray(picture[:, ::-1]), time)
    assert middle(back) == pytest.approx(middle(there) * [-1, 1], abs=0.5)
