"""Synthetic defects: what they change, and that their labels follow what can be seen."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import cv2
import numpy as np
import pytest

from anomalist.types.common import FloatArray, UInt8Array
from anomalist.vision.synthetic_defects import (
    DEFECT,
    FILLINGS,
    IGNORE,
    MASK_RENDERERS,
    NORMAL,
    Filling,
    add_defect,
    augment,
)
from anomalist.vision.synthetic_textures import Rng, render_surface

N = 96


@cache
def _surface(seed: int) -> UInt8Array:
    return render_surface(seed, N)


def picture(seed: int) -> FloatArray:
    """A fresh float32 copy, so that tests see what changes it."""
    return _surface(seed).astype(np.float32) / np.float32(255)


def only(
    monkeypatch: pytest.MonkeyPatch,
    mask: Callable[[Rng, int], FloatArray] | None = None,
    filling: Filling | None = None,
) -> None:
    """Let every defect have this mask, this filling."""
    for table, value in ((MASK_RENDERERS, mask), (FILLINGS, filling)):
        for name in table if value else ():
            monkeypatch.setitem(table, name, value)


def square(rng: Rng, n: int) -> FloatArray:
    mask = np.zeros((n, n), np.float32)
    mask[40:56, 40:56] = 1
    return mask


def darker(rng: Rng, image: FloatArray, donor: FloatArray, mask: FloatArray) -> FloatArray:
    return image - np.float32(0.4)


def grey_picture(seed: int) -> FloatArray:
    return np.repeat(picture(seed)[..., :1], 3, 2)


@pytest.mark.parametrize("name", MASK_RENDERERS)
def test_every_mask_is_soft_and_somewhere(name: str) -> None:
    for seed in range(6):
        mask = MASK_RENDERERS[name](np.random.default_rng(seed), N)
        assert mask.shape == (N, N)
        assert mask.dtype == np.float32
        assert mask.min() >= 0
        assert mask.max() <= 1
        if name in ("spot", "crack"):  # the others may begin outside
            assert mask.max() > 0


@pytest.mark.parametrize("name", FILLINGS)
def test_every_filling_changes_the_picture(name: str) -> None:
    image, donor = picture(1), picture(2)
    mask = np.zeros((N, N), np.float32)
    mask[30:60, 30:60] = 1
    for seed in range(6):
        filled = FILLINGS[name](np.random.default_rng(seed), image, donor, mask)
        assert filled.shape == image.shape
        assert filled.dtype == np.float32
        assert np.isfinite(filled).all()
        assert np.abs(filled - image)[30:60, 30:60].max() > 0.01
    assert np.array_equal(image, picture(1))
    assert np.array_equal(donor, picture(2))


def test_a_defect_has_three_labels_and_is_a_function_of_its_seed() -> None:
    for seed in range(25):
        image, donor = picture(seed), picture(seed + 1)
        changed, label = add_defect(np.random.default_rng(seed), image, donor)
        again, same = add_defect(np.random.default_rng(seed), image, donor)
        assert changed.shape == image.shape
        assert changed.dtype == np.float32
        assert 0 <= changed.min() <= changed.max() <= 1
        assert label.dtype == np.uint8
        assert set(np.unique(label)) <= {NORMAL, DEFECT, IGNORE}
        assert np.array_equal(changed, again)
        assert np.array_equal(label, same)
        assert np.array_equal(image, picture(seed))


def test_most_defects_can_be_seen_and_some_can_not() -> None:
    labels = [add_defect(np.random.default_rng(s), picture(s % 30), picture(s % 30))[1] for s in range(80)]
    visible = [bool((label == DEFECT).any()) for label in labels]
    assert 45 < sum(visible) < 79


# --- labels ------------------------------------------------------------------------------------------------


def scene(surroundings: str, seed: int) -> FloatArray:
    if surroundings == "white":  # can't become lighter
        return np.ones((N, N, 3), np.float32)
    if surroundings == "noise":  # hides a lot
        return np.random.default_rng(seed).uniform(0, 1, (N, N, 1)).repeat(3, 2).astype(np.float32)
    return picture(seed % 30)


@pytest.mark.parametrize("surroundings", ["white", "noise", "surface"])
def test_labels_follow_what_can_be_seen(surroundings: str) -> None:
    labels = set()
    for seed in range(40):
        image = scene(surroundings, seed)
        changed, label = add_defect(np.random.default_rng(seed), image, image[::-1])
        difference = np.abs(changed - image).max(2)
        nearby = cv2.dilate(difference, np.ones((17, 17), np.uint8))
        # What is called normal has hardly changed: no visible fringe is taught as normal.
        assert difference[label == NORMAL].max(initial=0) <= 0.01 + 1e-6
        # What is ignored has changed, and what is called a defect visibly so, at least among its neighbours.
        assert (difference[label == IGNORE] > 0.005 - 1e-6).all()
        assert (nearby[label == DEFECT] > 0.016).all()
        assert (label == DEFECT).sum() == 0 or (label == DEFECT).sum() >= 6
        labels.add(frozenset(np.unique(label).tolist()))
    assert any(DEFECT in found for found in labels)
    assert any(DEFECT not in found for found in labels)


def test_a_defect_that_changes_nothing_leaves_everything_normal(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(rng: Rng, image: FloatArray, donor: FloatArray, mask: FloatArray) -> FloatArray:
        return image

    only(monkeypatch, filling=nothing)
    for seed in range(12):
        changed, label = add_defect(np.random.default_rng(seed), grey_picture(seed), grey_picture(seed))
        assert changed == pytest.approx(grey_picture(seed), abs=1e-6)
        assert (label == NORMAL).all()


def test_outside_its_mask_the_picture_stays_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, square)
    for seed in range(12):
        image = picture(seed)
        changed, label = add_defect(np.random.default_rng(seed), image, picture(seed + 1))
        far = np.ones((N, N), bool)
        far[12:84, 12:84] = False  # the edge of the mask is softened over up to 25 pixels
        assert np.array_equal(changed[far], image[far])
        assert (label[far] == NORMAL).all()
        assert not np.array_equal(changed, image)


def test_a_defect_on_a_grey_picture_is_grey() -> None:
    for seed in range(20):
        changed, _ = add_defect(np.random.default_rng(seed), grey_picture(seed), picture(seed + 3))
        assert np.ptp(changed, axis=2).max() < 1e-6
        assert np.ptp(augment(np.random.default_rng(seed), changed), axis=2).max() < 1e-6


def test_a_dark_square_on_an_even_picture_is_labelled_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, square, darker)
    even = np.full((N, N, 3), 0.7, np.float32)
    for seed in range(10):
        _, label = add_defect(np.random.default_rng(seed), even, even)
        assert (label[44:52, 44:52] == DEFECT).all()
        ring = np.ones((N, N), bool)
        ring[34:62, 34:62] = False
        assert not (label[ring] == DEFECT).any()


def test_a_fringe_that_can_be_seen_is_ignored_rather_than_normal(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, square, darker)
    even = np.full((N, N, 3), 0.7, np.float32)
    fringes = 0
    for seed in range(12):
        changed, label = add_defect(np.random.default_rng(seed), even, even)
        fringe = (label != DEFECT) & (np.abs(changed - even).max(2) > 0.01 + 1e-6)
        assert (label[fringe] == IGNORE).all()
        fringes += bool(fringe.any())
    assert fringes > 6


def test_what_is_pasted_from_the_picture_itself_is_no_defect_where_it_is_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On an even picture nothing that is cut and pasted can be seen, but for its gain."""

    def pasted(rng: Rng, image: FloatArray, donor: FloatArray, mask: FloatArray) -> FloatArray:
        return donor[::-1]

    only(monkeypatch, filling=pasted)
    even = np.full((N, N, 3), 0.4, np.float32)
    for seed in range(12):
        _, label = add_defect(np.random.default_rng(seed), even, even)
        assert (label == NORMAL).all()


# --- what may change without anything being wrong -----------------------------------------------------------


@pytest.mark.parametrize("shape", [(96, 96), (33, 80), (80, 33)])
def test_disturbing_a_picture_keeps_its_size_and_range_and_changes_it(shape: tuple[int, int]) -> None:
    for seed in range(10):
        image = picture(seed)[: shape[0], : shape[1]]
        before = image.copy()
        changed = augment(np.random.default_rng(seed), image)
        assert changed.shape == image.shape
        assert changed.dtype == np.float32
        assert 0 <= changed.min() <= changed.max() <= 1
        assert not np.array_equal(changed, image)
        assert np.array_equal(changed, augment(np.random.default_rng(seed), image))
        assert np.array_equal(image, before)


@pytest.mark.parametrize("value", [-0.4, 1.3])
def test_values_out_of_range_are_clipped_first(value: float) -> None:
    image = np.full((32, 32, 3), value, np.float32)
    inside = np.full((32, 32, 3), min(max(value, 0), 1), np.float32)
    for seed in range(8):
        changed, same = (augment(np.random.default_rng(seed), one) for one in (image, inside))
        assert np.array_equal(changed, same)


def is_saved(image: FloatArray) -> bool:
    """Whether all values are whole grey levels, as they are after JPEG."""
    levels = image.astype(np.float64) * 255
    return bool(np.abs(levels - levels.round()).max() < 1e-3)


def test_some_pictures_are_saved_as_jpeg_and_keep_their_colours_and_greys() -> None:
    ramp = np.linspace(0.3, 0.6, 64, dtype=np.float32)
    red = np.broadcast_to(np.stack([ramp + 0.3, ramp / 2, ramp / 4], 1), (48, 64, 3))
    grey = np.broadcast_to(ramp[:, None], (48, 64, 3))
    saved = 0
    for seed in range(40):
        coloured, plain = (augment(np.random.default_rng(seed), image) for image in (red, grey))
        assert is_saved(coloured) == is_saved(plain)
        saved += is_saved(plain)
        means = coloured.mean((0, 1))
        assert means[0] > means[1] + 0.1 > means[2] + 0.1
        assert np.ptp(plain, axis=2).max() < 1e-6
    assert 4 < saved < 24


def test_what_was_darker_stays_darker() -> None:
    """Light, gamma and compression change how much, but not which."""
    image = np.full((64, 64, 3), 0.6, np.float32)
    image[24:40, 24:40] = 0.35
    for seed in range(20):
        changed = augment(np.random.default_rng(seed), image)
        assert changed[28:36, 28:36].mean() < changed[20:44, 8:16].mean() - 0.05
        assert changed[28:36, 28:36].mean() < changed[20:44, 48:56].mean() - 0.05
