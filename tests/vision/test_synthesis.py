"""Synthetic defects: what they change, and that their labels follow what can be seen."""

from __future__ import annotations

import numpy as np
import pytest

from anomalist.types import FloatArray
from anomalist.vision.surfaces import Rng, surface
from anomalist.vision.synthesis import DEFECT, FILLINGS, IGNORE, MASKS, NORMAL, add_defect, disturb

N = 96


def picture(seed: int, n: int = N) -> FloatArray:
    return surface(seed, n).astype(np.float32) / 255


def grey_picture(seed: int) -> FloatArray:
    return np.repeat(picture(seed)[..., :1], 3, 2)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("name", MASKS)
def test_every_mask_is_soft_and_somewhere(name: str, seed: int) -> None:
    mask = MASKS[name](np.random.default_rng(seed), N)
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


@pytest.mark.parametrize("seed", range(40))
def test_a_defect_has_three_labels_and_is_a_function_of_its_seed(seed: int) -> None:
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
    labels = [add_defect(np.random.default_rng(s), picture(s), picture(s))[1] for s in range(150)]
    visible = [bool((label == DEFECT).any()) for label in labels]
    assert 90 < sum(visible) < 148


@pytest.mark.parametrize("surroundings", ["white", "noise", "surface"])
def test_what_can_not_be_seen_is_never_labelled_a_defect(surroundings: str) -> None:
    invisible = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        image = {
            "white": np.ones((N, N, 3), np.float32),  # can't become lighter
            "noise": rng.uniform(0, 1, (N, N, 1)).repeat(3, 2).astype(np.float32),  # hides a lot
            "surface": picture(seed),
        }[surroundings]
        changed, label = add_defect(rng, image, image[::-1])
        difference = np.abs(changed - image).max(2)
        assert not (label[difference == 0] == IGNORE).any()
        if (label == DEFECT).any():
            assert difference.max() > 0.02
            assert (label == DEFECT).sum() >= 6
        else:
            invisible += 1
    assert invisible > 0


def test_a_defect_that_changes_nothing_leaves_everything_normal(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(rng: Rng, image: FloatArray, donor: FloatArray, mask: FloatArray) -> FloatArray:
        return image

    for name in FILLINGS:
        monkeypatch.setitem(FILLINGS, name, nothing)
    for seed in range(20):
        changed, label = add_defect(np.random.default_rng(seed), grey_picture(seed), grey_picture(seed))
        assert changed == pytest.approx(grey_picture(seed), abs=1e-6)
        assert (label == NORMAL).all()


@pytest.mark.parametrize("seed", range(20))
def test_outside_its_mask_the_picture_stays_as_it_was(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def square(rng: Rng, n: int) -> FloatArray:
        mask = np.zeros((n, n), np.float32)
        mask[40:56, 40:56] = 1
        return mask

    for name in MASKS:
        monkeypatch.setitem(MASKS, name, square)
    image = picture(seed)
    changed, label = add_defect(np.random.default_rng(seed), image, picture(seed + 1))
    far = np.ones((N, N), bool)
    far[12:84, 12:84] = False  # the edge of the mask is softened over up to 25 pixels
    assert np.array_equal(changed[far], image[far])
    assert (label[far] == NORMAL).all()
    assert not np.array_equal(changed, image)


@pytest.mark.parametrize("seed", range(40))
def test_a_defect_on_a_grey_picture_is_grey(seed: int) -> None:
    changed, _ = add_defect(np.random.default_rng(seed), grey_picture(seed), picture(seed + 3))
    assert np.ptp(changed, axis=2).max() < 1e-6
    assert np.ptp(disturb(np.random.default_rng(seed), changed), axis=2).max() < 1e-6


def test_a_dark_square_on_an_even_picture_is_labelled_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def square(rng: Rng, n: int) -> FloatArray:
        mask = np.zeros((n, n), np.float32)
        mask[40:56, 40:56] = 1
        return mask

    def darker(rng: Rng, image: FloatArray, donor: FloatArray, mask: FloatArray) -> FloatArray:
        return image - np.float32(0.4)

    for name in MASKS:
        monkeypatch.setitem(MASKS, name, square)
    for name in FILLINGS:
        monkeypatch.setitem(FILLINGS, name, darker)
    even = np.full((N, N, 3), 0.7, np.float32)
    for seed in range(10):
        _, label = add_defect(np.random.default_rng(seed), even, even)
        assert (label[44:52, 44:52] == DEFECT).all()
        ring = np.ones((N, N), bool)
        ring[34:62, 34:62] = False
        assert not (label[ring] == DEFECT).any()


@pytest.mark.parametrize("seed", range(20))
def test_disturbing_a_picture_keeps_its_size_and_range_and_changes_it(seed: int) -> None:
    image = picture(seed)
    changed = disturb(np.random.default_rng(seed), image)
    assert changed.shape == image.shape
    assert changed.dtype == np.float32
    assert 0 <= changed.min() <= changed.max() <= 1
    assert not np.array_equal(changed, image)
    assert np.array_equal(changed, disturb(np.random.default_rng(seed), image))
    assert np.array_equal(image, picture(seed))
