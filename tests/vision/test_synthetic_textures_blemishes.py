"""Blemishes that are habitual: alike in all pictures of a product, at other places in each."""

from __future__ import annotations

import numpy as np

from anomalist.types.common import FloatArray
from anomalist.vision.synthetic_textures import Rng, add_blemishes

N = 64
EVEN = np.full((N, N, 3), 0.5, np.float32)


def rng(seed: int) -> Rng:
    return np.random.default_rng(seed)


def change(what: int, where: int) -> FloatArray:
    """What blemishes change of an even grey picture."""
    return np.asarray(add_blemishes(rng(what), rng(where), EVEN) - EVEN, np.float32)


def test_blemishes_follow_their_seeds_and_stay_in_range() -> None:
    for seed in range(15):
        picture = rng(seed).uniform(0, 1, (N, N, 3)).astype(np.float32)
        before = picture.copy()
        first, again = (add_blemishes(rng(seed), rng(seed + 100), picture) for _ in range(2))
        assert first.shape == picture.shape
        assert first.dtype == np.float32
        assert 0 <= first.min() <= first.max() <= 1
        assert np.array_equal(first, again)
        assert np.array_equal(picture, before)


def test_most_products_have_visible_blemishes_in_most_pictures() -> None:
    visible = np.array([np.abs(change(seed, seed + 50)).max() > 0.02 for seed in range(40)])
    assert 20 <= visible.sum() <= 40


def test_blemishes_are_as_grey_as_the_picture() -> None:
    assert max(np.ptp(change(seed, seed), axis=2).max() for seed in range(20)) < 1e-6


def test_what_blemishes_look_like_does_not_depend_on_where_they_lie() -> None:
    for product in range(12):
        states = []
        for where, n in ((1, N), (2, N), (1, 32)):
            what = rng(product)
            add_blemishes(what, rng(where), np.full((n, n, 3), 0.5, np.float32))
            states.append(what.bit_generator.state)
        assert states[0] == states[1] == states[2]


def test_the_pictures_of_a_product_have_alike_blemishes_at_other_places() -> None:
    changes = np.array([[change(what, where) for where in range(6)] for what in range(24)])
    seen = np.abs(changes).max((2, 3, 4)) > 0.02  # (products, pictures)
    assert not any(
        np.array_equal(one[0], one[1]) for one, s in zip(changes, seen, strict=True) if s[:2].all()
    )
    # Darker or lighter is the product's own, unless it has two habits.
    signs = np.sign(changes.sum((2, 3, 4)))
    one_sided = [len(set(sign[s])) == 1 for sign, s in zip(signs, seen, strict=True) if s.sum() > 1]
    assert len(one_sided) > 10
    assert np.mean(one_sided) > 0.7
    # And so is how much of the picture they cover.
    covered = np.log((np.abs(changes).max(4) > 0.02).mean((2, 3)) + 1e-3)
    assert covered.std(1).mean() < 0.8 * covered.std(0).mean()
