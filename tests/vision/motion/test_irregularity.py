"""What goes to and fro is told from what gets somewhere, whatever the camera does."""

from __future__ import annotations

import numpy as np
import pytest

from anomalist.types.common import FloatArray
from anomalist.vision.motion.irregularity import IrregularMotion, irregular_shares, residual_velocity
from tests.street import make_film, walker

HEIGHT, WIDTH = 96, 144


def similarity(turn: float, zoom: float, right: float) -> FloatArray:
    y, x = np.mgrid[:80, :120].astype(np.float32)
    return np.stack([zoom * x - turn * y + right, turn * x + zoom * y], axis=-1)


@pytest.mark.parametrize("camera", [(0.0, 0.0, 20.0), (0.1, 0.0, 0.0), (0.0, 0.1, -5.0)])
def test_pan_turn_and_zoom_are_taken_out_and_what_moves_in_itself_stays(
    camera: tuple[float, float, float],
) -> None:
    velocity = similarity(*camera)
    velocity[30:50, 40:60] += (30, 0)
    left = residual_velocity(velocity)
    assert np.abs(left[:20]).max() < 1
    assert left[40, 50] == pytest.approx((30, 0), abs=1)


@pytest.mark.parametrize("size", [(6, 192), (192, 6)])
def test_the_motion_of_the_camera_is_taken_out_of_a_narrow_strip(size: tuple[int, int]) -> None:
    velocity = np.zeros((*size, 2), np.float32)
    velocity[...] = (20, 5)
    assert np.abs(residual_velocity(velocity)).max() < 0.1


@pytest.mark.parametrize("size", [(8, 8), (240, 3), (1, 1)])
def test_a_picture_too_small_to_tell_the_motion_of_the_camera_keeps_its_own(size: tuple[int, int]) -> None:
    velocity = np.full((*size, 2), 20, np.float32)
    assert (residual_velocity(velocity) == velocity).all()


def share(places: list[float], pan: float = 0.0) -> float:
    """The last irregular share of a patch at successive places, pixels, before a camera that pans."""
    import cv2

    rng = np.random.default_rng(0)
    ground = cv2.GaussianBlur(rng.uniform(0, 255, (HEIGHT, 2 * WIDTH)).astype(np.float32), (0, 0), 2)
    patch = cv2.GaussianBlur(rng.uniform(0, 255, (40, 30)).astype(np.float32), (0, 0), 2)
    motion, found = IrregularMotion(HEIGHT, WIDTH), 0.0
    for index, place in enumerate(places):
        picture = 4 * (ground - 127) + 127
        left = round(40 + pan * index + place)
        picture[28:68, left : left + 30] = 4 * (patch - 127) + 127
        from_ = round(pan * index)
        view = np.clip(picture[:, from_ : from_ + WIDTH], 0, 255).astype(np.uint8)
        found = motion.update(view, index / 10)
    return found


@pytest.mark.parametrize("pan", [0.0, 3.0])
def test_a_way_that_gets_somewhere_is_straight_and_one_to_and_fro_is_not(pan: float) -> None:
    straight = share([4.0 * index for index in range(7)], pan)
    struggling = share([0.0, 4.0, 1.0, 5.0, 0.0, 4.0, 1.0], pan)
    assert straight < 0.15
    assert struggling > 0.4


@pytest.mark.parametrize("pan", [3, 6, 9])
@pytest.mark.parametrize("seed", range(3))
def test_what_comes_into_a_panning_picture_is_not_taken_for_motion(pan: int, seed: int) -> None:
    import cv2

    rng = np.random.default_rng(seed)
    grain = cv2.GaussianBlur(rng.uniform(0, 255, (HEIGHT, 2 * WIDTH)).astype(np.float32), (0, 0), 2)
    ground = np.clip(4 * (grain - 127) + 127, 0, 255).astype(np.uint8)
    motion = IrregularMotion(HEIGHT, WIDTH)
    shares = [motion.update(ground[:, pan * n : pan * n + WIDTH].copy(), n / 10) for n in range(8)]
    assert shares[1:] == [0.0] * 7


def test_nothing_is_said_of_the_first_picture_nor_of_what_stands_still() -> None:
    assert np.isnan(share([0.0]))
    assert share([0.0] * 4) == 0


def test_the_shares_of_a_clip_have_the_times_of_its_frames() -> None:
    times, shares = irregular_shares(make_film(2, walker(0.5, 60.0)))
    assert times.tolist() == pytest.approx([index / 10 for index in range(20)])
    assert np.isnan(shares[0])
    known = shares[np.isfinite(shares)]
    assert len(known) >= 15  # the first pictures show the same
    assert ((known >= 0) & (known <= 1)).all()
