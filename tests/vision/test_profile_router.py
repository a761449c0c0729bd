"""Which product a class token belongs to, and how far off is too far."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from anomalist.types.common import FloatArray
from anomalist.vision.profile import ProductRouter

WIDTH = 16
DIGESTS = ("0" * 64, "1" * 64)


def tokens(towards: int, count: int, seed: int, spread: float = 0.1) -> FloatArray:
    """Unit vectors around one axis."""
    vectors = np.eye(WIDTH)[towards] + spread * np.random.default_rng(seed).normal(size=(count, WIDTH))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def router(count: int = 20, groups: npt.NDArray[np.int64] | None = None) -> ProductRouter:
    own = np.arange(count) if groups is None else groups
    return ProductRouter(
        ("nut", "bolt"),
        np.concatenate([tokens(0, count, 1), tokens(1, count, 2)]),
        np.repeat([0, 1], count),
        np.concatenate([own, own]),
    )


@pytest.mark.parametrize("count", [2, 3, 5, 20, 100])
def test_new_pictures_are_recognised_whatever_the_number_of_normals(count: int) -> None:
    for product, name in enumerate(("nut", "bolt")):
        found = router(count).match(tokens(product, 50, 3), DIGESTS)
        assert [match.name for match in found] == [name] * 50
        assert {match.digest for match in found} == {DIGESTS[product]}
        assert sum(match.distance > 1 for match in found) <= (5 if count < 5 else 1)
        assert all(match.next != match.name and match.next_ratio > 1 for match in found)


def test_what_lies_elsewhere_is_beyond_the_limit() -> None:
    assert all(match.distance > 1 for match in router().match(tokens(5, 50, 3), DIGESTS))


def test_a_picture_between_two_products_is_nearly_tied() -> None:
    middle = tokens(0, 1, 0, 0) + tokens(1, 1, 0, 0)
    (match,) = router().match(middle / np.float32(np.sqrt(2)), DIGESTS)
    assert match.next_ratio < 1.5


def test_pictures_of_one_object_do_not_vouch_for_each_other() -> None:
    """Twenty objects, five nearly equal pictures of each: the limit is that of the objects."""
    base = router()
    copies = np.repeat(base.tokens, 5, 0) + 1e-4 * np.random.default_rng(0).normal(size=(200, WIDTH))
    several = ProductRouter(
        base.names,
        copies.astype(np.float32),
        np.repeat(base.products, 5),
        np.repeat(base.groups, 5),
    )
    assert sum(match.distance > 1 for match in several.match(tokens(0, 50, 3), DIGESTS)) <= 1


def test_equal_pictures_are_no_trouble() -> None:
    same = np.repeat(np.eye(WIDTH, dtype=np.float32)[:2], 3, 0)
    plain = ProductRouter(("nut", "bolt"), same, np.repeat([0, 1], 3), np.tile(np.arange(3), 2))
    (match,) = plain.match(same[:1], DIGESTS)
    assert match.name == "nut"
    assert np.isfinite([match.distance, match.next_ratio]).all()


@pytest.mark.parametrize(
    ("products", "groups"),
    [
        (np.zeros(4, np.int64), np.arange(4)),
        (np.array([0, 0, 1, 1]), np.zeros(4, np.int64)),
        (np.arange(3), np.arange(3)),
    ],
)
def test_too_little_is_refused(products: npt.NDArray[np.int64], groups: npt.NDArray[np.int64]) -> None:
    with pytest.raises(ValueError, match=r"two products|products and groups"):
        ProductRouter(("nut", "bolt"), tokens(0, 4, 0), products, groups)
