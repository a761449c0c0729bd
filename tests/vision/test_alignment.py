from __future__ import annotations

import numpy as np
import pytest

from anomalist.errors import MediaError
from anomalist.types.common import UInt8Array
from anomalist.vision.alignment import AlignedReference, align
from tests.boards import HEIGHT, WIDTH, board, noisy, rgb, spot, warped

CORNERS = np.array([[0, 0, 1], [WIDTH, 0, 1], [0, HEIGHT, 1], [WIDTH, HEIGHT, 1]], dtype=float).T


def rotation(degrees: float, scale: float = 1.0) -> np.ndarray:
    import cv2

    return np.vstack([cv2.getRotationMatrix2D((WIDTH / 2, HEIGHT / 2), degrees, scale), [0, 0, 1]])


def shift(x: float, y: float) -> np.ndarray:
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]])


def resizing(factor: float) -> np.ndarray:
    offset = (factor - 1) / 2
    return np.array([[factor, 0, offset], [0, factor, offset], [0, 0, 1]])


PERSPECTIVE = np.array([[0.93, 0.02, 6], [-0.015, 0.95, 5], [-4e-4, 2e-4, 1]])


def off_by(found: AlignedReference, true: np.ndarray) -> float:
    """Largest distance of a corner from where it should be, pixels."""
    ends = [m @ CORNERS for m in (found.matrix, true)]
    return float(np.abs(ends[0][:2] / ends[0][2] - ends[1][:2] / ends[1][2]).max())


@pytest.mark.parametrize("change", ["nothing", "noise", "light", "a defect"])
def test_what_lies_right_is_left_as_it_is(change: str) -> None:
    reference = board()
    picture = {
        "nothing": reference,
        "noise": noisy(reference, 6),
        "light": (reference * 0.8 + 20).astype(np.uint8),
        "a defect": spot(reference, (100, 80), 12, 220),
    }[change]
    found = align(reference, picture)
    assert found.pixels is reference
    assert found.how == "compared with the reference as it lies"
    assert found.valid.all()
    assert found.agreement is not None and found.agreement > 0.85


@pytest.mark.parametrize(
    ("true", "said"),
    [
        (shift(7.4, -4.6), "a translation of 8"),
        (rotation(3), "rotation, scale and shear"),
        (rotation(-2, 0.93) @ shift(5, 2), "rotation, scale and shear"),
        (PERSPECTIVE, "a perspective transform"),
    ],
)
def test_the_simplest_transform_that_explains_a_picture_is_found(true: np.ndarray, said: str) -> None:
    reference = noisy(board(), 3, seed=1)
    picture = noisy((warped(board(), true) * 0.9 + 10).astype(np.uint8), 3, seed=2)
    found = align(reference, picture)
    assert said in found.how
    assert off_by(found, true) < 1.5


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.6])
def test_a_picture_of_another_size_is_the_same_picture(factor: float) -> None:
    size = round(WIDTH * factor), round(HEIGHT * factor)
    picture = warped(board(), resizing(factor), size)
    found = align(board(), picture)
    assert found.how == "compared with the reference, resized to the picture"
    assert found.pixels.shape == picture.shape
    assert found.valid.mean() > 0.98
    assert off_by(found, resizing(factor)) < 1


def test_a_part_of_the_view_is_found_at_its_place() -> None:
    picture = board()[30:210, 60:300]
    found = align(board(), np.ascontiguousarray(picture))
    assert off_by(found, shift(-60, -30)) < 1
    assert found.valid.mean() > 0.97


def test_what_the_reference_does_not_show_is_not_valid() -> None:
    found = align(board(), warped(board(), shift(20, 0)))
    assert not found.valid[:, :18].any()
    assert found.valid[:, 22:].all()


def unrelated(seed: int) -> UInt8Array:
    rng = np.random.default_rng(seed)
    import cv2

    grey = np.full((HEIGHT, WIDTH), 210, dtype=np.uint8)
    for _ in range(30):
        x, y, w, h = rng.integers((0, 0, 8, 8), (WIDTH, HEIGHT, 60, 60))
        cv2.ellipse(grey, (int(x), int(y)), (int(w), int(h)), int(rng.integers(180)), 0, 360, 50, 2)
    return rgb(grey)


def test_another_thing_is_refused_with_the_reason() -> None:
    for seed in range(4):
        with pytest.raises(
            MediaError, match=r"could not be aligned to the reference: only \d+% of their edges"
        ):
            align(board(), unrelated(seed))


def test_a_plain_picture_is_not_what_a_reference_full_of_structure_shows() -> None:
    dense = unrelated(1)
    blank = np.full_like(dense, 200)
    with pytest.raises(MediaError, match="the picture is plain"):
        align(dense, blank)
    with pytest.raises(MediaError, match="the reference is plain"):
        align(blank, dense)


def test_plain_pictures_are_compared_as_they_lie_and_it_is_said() -> None:
    reference = np.full((100, 120, 3), 128, dtype=np.uint8)
    found = align(reference, spot(reference, (60, 50), 5, 20))
    assert found.pixels is reference
    assert found.agreement is None
    assert "too plain to tell" in found.how


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (3, 4), (8, 8)])
def test_tiny_pictures_break_nothing(size: tuple[int, int]) -> None:
    picture = np.full((*size, 3), 90, dtype=np.uint8)
    assert align(picture, picture).pixels.shape == picture.shape
    assert align(board(), board()).valid.all()


def test_the_same_pictures_give_the_same_transform() -> None:
    picture = noisy(warped(board(), PERSPECTIVE), 3)
    first, second = (align(board(), picture) for _ in range(2))
    assert np.array_equal(first.matrix, second.matrix)
    assert np.array_equal(first.pixels, second.pixels)
