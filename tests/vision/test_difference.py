from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalist.errors import MediaError
from anomalist.types.common import UInt8Array
from anomalist.vision.difference import find_difference, match_lighting, split_figure, two_tone_level
from tests.boards import HEIGHT, WIDTH, board, noisy, spot, textured, warped


def shaded(picture: UInt8Array, gain: float, offset: float, slope: float) -> UInt8Array:
    light = offset + slope * np.linspace(-1, 1, picture.shape[1])[None, :, None]
    return np.clip(np.rint(picture * gain + light), 0, 255).astype(np.uint8)


def coffee() -> UInt8Array:
    from skimage import data

    picture: UInt8Array = data.coffee()
    return picture


@given(
    noise=st.floats(0, 10),
    gain=st.floats(0.7, 1.1),
    offset=st.floats(-5, 20),
    slope=st.floats(-10, 10),
    x=st.floats(-1, 1),
    y=st.floats(-1, 1),
    dark=st.booleans(),
    seed=st.integers(0, 100),
)
@settings(max_examples=25, derandomize=True)
def test_noise_light_and_a_pixel_of_misalignment_are_no_difference(
    noise: float, gain: float, offset: float, slope: float, x: float, y: float, dark: bool, seed: int
) -> None:
    reference = board(dark)
    moved = warped(reference, [[1, 0, x], [0, 1, y], [0, 0, 1]])
    picture = noisy(shaded(moved, gain, offset, slope), noise, seed)
    found = find_difference(reference, picture)
    assert not found.mask.any()
    assert found.strength.max() < 1


@pytest.mark.parametrize("change", ["noise", "light", "shift", "rotation", "size", "blur", "same"])
def test_a_photograph_does_not_differ_from_itself(change: str) -> None:
    import cv2

    picture = coffee()
    height, width = picture.shape[:2]
    turn = np.vstack([cv2.getRotationMatrix2D((width / 2, height / 2), 1.5, 1), [0, 0, 1]])
    changed = {
        "noise": noisy(picture, 6),
        "light": shaded(picture, 0.8, 15, 10),
        "shift": noisy(warped(picture, [[1, 0, 6.4], [0, 1, -3.7], [0, 0, 1]]), 3),
        "rotation": noisy(warped(picture, turn), 3),
        "size": cv2.resize(picture, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA),
        "blur": cv2.GaussianBlur(picture, (0, 0), 0.9),
        "same": picture,
    }[change]
    found = find_difference(picture, changed)
    assert not found.mask.any()
    if change == "same":
        assert found.strength.max() == 0


@pytest.mark.parametrize("grey", [220, 40])
@pytest.mark.parametrize("x", [100, 245])
def test_a_difference_is_found_where_it_is(grey: int, x: int) -> None:
    """At (100, 80) a track is cut or widened, at (245, 165) a hole is made in a plate, or nothing changes."""
    place = (x, 80 if x == 100 else 165)
    reference = board()
    painted = spot(reference, place, 9, grey)
    found = find_difference(reference, noisy(painted, 3))
    truth = (painted != reference).any(axis=2)
    if not truth.any():
        assert not found.mask.any()
        return
    assert (found.mask & truth).sum() > 0.6 * truth.sum()
    assert (found.mask & ~truth).sum() < 0.5 * truth.sum()


@pytest.mark.parametrize("width", [2, 3, 5])
@pytest.mark.parametrize("gone", [True, False])
def test_thin_things_that_come_or_go_are_seen_in_spite_of_the_tolerance(width: int, gone: bool) -> None:
    import cv2

    plain = board()
    lined = cv2.line(plain.copy(), (20, 215), (180, 225), (40, 40, 40), width)
    found = find_difference(lined, plain) if gone else find_difference(plain, lined)
    rows, columns = np.nonzero(found.mask)
    assert rows.min() >= 208 and rows.max() <= 232
    assert columns.min() < 30 and columns.max() > 170


def test_a_change_of_colour_alone_is_a_difference() -> None:
    reference = board()
    picture = reference.copy()
    # Both have the same luma (ITU-R BT.601), 220.
    picture[60:90, 225:260] = (255, 211, 176)
    picture[60:90, 225:260][(reference[60:90, 225:260] == 40).all(axis=2)] = 40
    assert find_difference(reference, picture).mask[62:72, 240:258].any()


def test_nothing_is_compared_outside_the_reference_or_along_the_border() -> None:
    found = find_difference(board(), warped(board(), [[1, 0, 25], [0, 1, 0], [0, 0, 1]]))
    assert not found.compared[:, :25].any()
    assert not found.compared[[0, -1]].any()
    assert found.compared[10:-10, 40:-10].all()
    assert not found.strength[~found.compared].any()
    assert not found.mask.any()


def test_a_picture_that_the_reference_hardly_shows_is_refused() -> None:
    tiny = np.full((4, 4, 3), 7, dtype=np.uint8)
    with pytest.raises(MediaError, match="shows only 0%"):
        find_difference(tiny, tiny)


def test_the_light_is_matched_in_spite_of_defects() -> None:
    reference = board()[..., :1].astype(np.float32)
    lit = 0.8 * reference + 10
    lit += np.linspace(-5, 5, WIDTH, dtype=np.float32)[None, :, None]
    spoiled = lit.copy()
    spoiled[:60, :60] = 250
    everywhere = np.ones((HEIGHT, WIDTH), dtype=np.bool_)
    assert np.abs(match_lighting(reference, spoiled, everywhere) - lit).max() < 0.5


def test_an_even_picture_is_matched_by_an_offset() -> None:
    reference = np.full((20, 30, 1), 100, dtype=np.float32)
    everywhere = np.ones((20, 30), dtype=np.bool_)
    assert match_lighting(reference, reference + 30, everywhere) == pytest.approx(reference + 30)


def test_figure_and_ground_need_two_tones_and_a_rarer_one() -> None:
    two = board()[..., 0].astype(np.float32)
    level, rarer = two_tone_level(two)
    assert level is not None and 40 < level < 220
    assert rarer == "dark"
    assert two_tone_level(255 - two)[1] == "light"
    assert two_tone_level(textured()[..., 0].astype(np.float32)) == (None, None)
    assert two_tone_level(np.full((5, 5), 7, dtype=np.float32)) == (None, None)
    half = np.zeros((10, 10), dtype=np.float32)
    half[:5] = 255
    assert two_tone_level(half)[1] is None


def test_a_named_tone_of_structure_wins_over_the_rarer_one() -> None:
    two = board()[..., 0].astype(np.float32)
    everywhere = np.ones(two.shape, dtype=np.bool_)
    usual, other = split_figure(two, two, everywhere), split_figure(two, two, everywhere, "light")
    assert usual.before is not None and other.before is not None
    assert (usual.before == ~other.before).all()
