"""The index of vectors: exact where few, close to exact where many, and it never scales what it is given."""

from __future__ import annotations

import numpy as np
import pytest

from anomalist.memory.vector_index import FLAT_UP_TO, HNSW_UP_TO, IndexKind, VectorIndex, index_kind
from anomalist.types.common import FloatArray
from tests.memory.scenes.scene_cases import unit

KINDS: tuple[IndexKind, ...] = ("flat", "hnsw", "ivf")


@pytest.fixture(scope="module")
def vectors() -> FloatArray:
    return unit(np.random.default_rng(0), 800, 16)


def numbers(count: int) -> np.ndarray:
    return np.arange(count) * 10 + 7


def test_the_kind_follows_the_number() -> None:
    counts = (0, FLAT_UP_TO, FLAT_UP_TO + 1, HNSW_UP_TO, HNSW_UP_TO + 1, 10**6)
    assert [index_kind(count) for count in counts] == ["flat", "flat", "hnsw", "hnsw", "ivf", "ivf"]


@pytest.mark.parametrize("kind", KINDS)
def test_finds_what_one_by_one_finds(vectors: FloatArray, kind: IndexKind) -> None:
    index = VectorIndex.build(vectors, numbers(800), kind)
    queries = unit(np.random.default_rng(1), 30, 16)
    products, found = index.search(queries, 5)
    truth = np.argsort(-(queries @ vectors.T), axis=1)[:, :5] * 10 + 7
    assert np.mean([len({*a} & {*b}) / 5 for a, b in zip(found, truth, strict=True)]) >= 0.95
    assert (np.diff(products, axis=1) <= 1e-6).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_vector_made_shorter_stays_shorter(vectors: FloatArray, kind: IndexKind) -> None:
    index = VectorIndex.build(vectors * np.float32(0.5), numbers(800), kind)
    products, found = index.search(vectors[:3], 1)
    assert found[:, 0].tolist() == [7, 17, 27]
    assert products[:, 0] == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.01, 0.6])
def test_only_what_is_allowed_is_found(
    vectors: FloatArray, kind: IndexKind, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anomalist.memory.vector_index.FLAT_UP_TO", 0)
    allowed = np.random.default_rng(2).random(800) < share
    products, found = VectorIndex.build(vectors, numbers(800), kind).search(vectors[:20], 4, allowed)
    assert set(found[found >= 0].tolist()) <= set(numbers(800)[allowed].tolist())
    best = np.where(allowed, vectors[:20] @ vectors.T, -1).max(1)
    assert np.mean(np.isclose(products[:, 0], best, atol=1e-3)) >= 0.95


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_what_is_added_is_found(vectors: FloatArray, kind: IndexKind) -> None:
    index = VectorIndex.build(vectors[:700], numbers(700), kind)
    index.add(vectors[700:], numbers(800)[700:])
    assert len(index) == 800
    assert index.search(vectors[750:752], 1)[1][:, 0].tolist() == [7507, 7517]


def test_where_there_is_too_little_the_rest_is_marked() -> None:
    empty = VectorIndex.build(np.empty((0, 4), np.float32), numbers(0))
    products, found = empty.search(np.ones((2, 4), np.float32), 3)
    assert (found == -1).all()
    assert np.isneginf(products).all()
    few = VectorIndex.build(np.eye(2, 4, dtype=np.float32), numbers(2))
    assert few.search(np.array([[2, 1, 0, 0]], np.float32), 3)[1].tolist() == [[7, 17, -1]]


def test_wrong_queries_are_refused(vectors: FloatArray) -> None:
    index = VectorIndex.build(vectors, numbers(800))
    with pytest.raises(ValueError, match=r"queries must be \(m, 16\), got \(2, 8\)"):
        index.search(np.ones((2, 8), np.float32), 1)
    with pytest.raises(ValueError, match="k must be at least 1"):
        index.search(vectors[:1], 0)
