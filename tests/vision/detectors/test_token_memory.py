"""Distances of patch tokens: the fast search equals the plain one, and left-out pictures don't count."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalist.types.common import FloatArray
from anomalist.vision.detectors.memory_bank import MemoryBank
from anomalist.vision.detectors.token_memory import BANK_TOKENS, NormalTokens, TokenMemory, top_score


def unit(rng: np.random.Generator, *shape: int) -> FloatArray:
    """Random unit tokens, float32."""
    tokens = rng.normal(size=shape)
    return (tokens / np.linalg.norm(tokens, axis=-1, keepdims=True)).astype(np.float32)


def memory_of(grids: list[FloatArray]) -> TokenMemory:
    return TokenMemory.fit(grids, [None] * len(grids), 0)


@pytest.fixture
def grids() -> list[FloatArray]:
    """Four pictures of 6×5 tokens in 16 dimensions."""
    rng = np.random.default_rng(0)
    return [unit(rng, 6, 5, 16) for _ in range(4)]


def test_the_neighbour_distance_is_one_minus_the_highest_cosine(grids: list[FloatArray]) -> None:
    memory = memory_of(grids)
    asked = unit(np.random.default_rng(1), 3, 4, 16)
    cosines = asked.reshape(-1, 16) @ memory.bank.vectors.T
    expected = (1 - cosines.max(1)).reshape(3, 4)
    assert memory.neighbour_distances(asked) == pytest.approx(expected, abs=0.01)  # looked up in bfloat16


def test_a_token_of_the_bank_is_at_no_distance_unless_its_picture_is_left_out(
    grids: list[FloatArray],
) -> None:
    memory = memory_of(grids)
    assert memory.neighbour_distances(grids[2]).max() < 1e-3
    left_out = memory.neighbour_distances(grids[2], np.array([2], np.int32))
    others = memory_of([grids[0], grids[1], grids[3]])
    assert left_out.min() > 0.01
    assert left_out == pytest.approx(others.neighbour_distances(grids[2]), abs=0.01)


def test_the_gaussian_without_a_picture_is_that_of_the_others(grids: list[FloatArray]) -> None:
    left_out = memory_of(grids).mahalanobis_distances(grids[2], np.array([2], np.int32))
    others = memory_of([grids[0], grids[1], grids[3]])
    assert left_out == pytest.approx(others.mahalanobis_distances(grids[2]), rel=1e-3)


def test_the_mahalanobis_distance_is_that_of_the_formula(grids: list[FloatArray]) -> None:
    memory = memory_of(grids)
    vectors = memory.bank.vectors.astype(np.float64)
    centred = vectors - vectors.mean(0)
    covariance = centred.T @ centred / len(vectors)
    ridge = 0.01 * np.trace(covariance) / 16
    inverse = np.linalg.inv(covariance + ridge * np.eye(16))
    asked = unit(np.random.default_rng(1), 2, 2, 16).reshape(-1, 16) - vectors.mean(0)
    expected = np.sqrt(np.einsum("ni,ij,nj->n", asked, inverse, asked))
    got = memory.mahalanobis_distances((asked + vectors.mean(0)).astype(np.float32).reshape(2, 2, 16))
    assert got.ravel() == pytest.approx(expected, rel=1e-3)


def test_leaving_everything_out_leaves_nothing_out(grids: list[FloatArray]) -> None:
    memory = memory_of(grids)
    everything = np.arange(4, dtype=np.int32)
    assert np.array_equal(
        memory.neighbour_distances(grids[0], everything), memory.neighbour_distances(grids[0])
    )


def test_identical_normals_have_a_gaussian_all_the_same() -> None:
    memory = memory_of([np.tile(unit(np.random.default_rng(0), 16), (3, 3, 1))] * 2)
    assert np.isfinite(memory.mahalanobis_distances(unit(np.random.default_rng(1), 2, 2, 16))).all()


def test_only_what_counts_is_remembered(grids: list[FloatArray]) -> None:
    inside = np.zeros((6, 5), bool)
    inside[4:] = True
    memory = TokenMemory.fit(grids, [inside] * 4, 0)
    assert len(memory.bank.vectors) == 4 * inside.sum()
    assert memory.bank.places[:, 1].min() > 4 / 6


def test_every_picture_has_its_share_of_a_full_memory() -> None:
    grids = [unit(np.random.default_rng(i), 100, 100, 2) for i in range(4)]
    counts = np.bincount(memory_of(grids).bank.pictures)
    assert counts.tolist() == [BANK_TOKENS // 4] * 4


def test_the_nearest_row_is_that_of_the_most_novel_token() -> None:
    vectors = np.eye(3, dtype=np.float32)
    memory = TokenMemory(MemoryBank(vectors, np.arange(3, dtype=np.int32), np.zeros((3, 2), np.float32)))
    novel = np.array([0.1, 0.3, 0.95], np.float32)
    assert memory.nearest(np.stack([vectors[0], novel / np.linalg.norm(novel)])) == 2


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**16))
@settings(max_examples=40)
def test_the_top_score_lies_between_mean_and_maximum(height: int, width: int, seed: int) -> None:
    values = np.random.default_rng(seed).random((height, width)).astype(np.float32)
    assert values.mean() - 1e-5 <= top_score(values, None) <= values.max() + 1e-5


def test_the_top_score_looks_inside_the_region_of_interest_alone() -> None:
    values = np.array([[9.0, 1.0], [2.0, 3.0]], np.float32)
    assert top_score(values, np.array([[False, True], [True, True]])) == 3.0


def test_tokens_are_taken_once_and_only_by_who_needs_the_same() -> None:
    grids = [np.full((1, 1, 2), value, np.float16) for value in range(3)]
    tokens = NormalTokens("of the weights", 336, grids).only([2, 0])
    taken = tokens.take("of the weights", 336)
    assert [float(taken[i][0, 0, 0]) for i in (0, 1)] == [2, 0]
    assert tokens.take("of the weights", 336) == {}
    for digest, side in (("of others", 336), ("of the weights", 448)):
        assert NormalTokens("of the weights", 336, grids).take(digest, side) == {}


def test_the_gaussian_without_one_object_is_not_that_without_another(grids: list[FloatArray]) -> None:
    memory = memory_of(grids)
    leave = [np.array([number], np.int32) for number in (0, 1)]
    first, second, again = (memory.mahalanobis_distances(grids[0], leave[i]) for i in (0, 1, 0))
    assert np.array_equal(first, again) and not np.allclose(first, second)
