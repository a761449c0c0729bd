"""The memory bank: nearest neighbours, the coreset, and which patches are kept."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalist.types.common import FloatArray
from anomalist.vision.detectors.memory_bank import (
    MemoryBank,
    PatchSample,
    build_bank,
    greedy_coreset,
    join_patches,
    sample_patches,
)


def vectors(n: int, d: int, seed: int = 0) -> FloatArray:
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def bank_of(rows: FloatArray, pictures: list[int] | None = None) -> MemoryBank:
    numbers = np.arange(len(rows)) if pictures is None else np.array(pictures)
    return MemoryBank(rows, numbers.astype(np.int32), np.zeros((len(rows), 2), np.float32))


def distances_one_by_one(rows: FloatArray, new: FloatArray) -> FloatArray:
    return np.array([min(float(((row - v) ** 2).sum()) for row in rows) for v in new], np.float32)


# --- neighbours -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "m", "d"), [(1, 1, 1), (30, 7, 5), (200, 300, 64)])
def test_the_search_finds_the_nearest_neighbour(n: int, m: int, d: int) -> None:
    rows, new = vectors(n, d), vectors(m, d, seed=1)
    found = bank_of(rows).distances(new)
    assert found.dtype == np.float32
    assert found == pytest.approx(distances_one_by_one(rows, new), abs=1e-4)


def test_a_patch_that_is_in_the_bank_has_distance_0_and_none_is_below() -> None:
    rows = 100 + vectors(500, 64)  # far from the origin, where rounding could give less than 0
    found = bank_of(rows).distances(rows)
    assert found.min() >= 0
    assert found.max() < 0.1


def test_neighbours_from_excluded_pictures_do_not_count() -> None:
    rows = np.array([[0.0], [1.0], [5.0], [9.0]], np.float32)
    bank = bank_of(rows, [0, 0, 1, 2])
    new = np.array([[0.0], [6.0]], np.float32)
    assert bank.distances_excluding(new, np.array([], np.int32)).tolist() == [0, 1]
    assert bank.distances_excluding(new, np.array([0], np.int32)).tolist() == [25, 1]
    assert bank.distances_excluding(new, np.array([0, 1], np.int32)).tolist() == [81, 9]
    assert bank.distances(new).tolist() == [0, 1]


def test_nothing_left_to_compare_with_is_an_error() -> None:
    with pytest.raises(ValueError, match="no picture is left"):
        bank_of(vectors(3, 2), [0, 0, 1]).distances_excluding(vectors(1, 2), np.array([0, 1], np.int32))


def test_descriptors_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="descriptors have 4 dimensions, the bank 3"):
        bank_of(vectors(5, 3)).distances(vectors(2, 4))


@pytest.mark.parametrize(
    ("rows", "pictures", "places"),
    [((0, 3), 0, (0, 2)), ((4, 3), 3, (4, 2)), ((4, 3), 4, (4, 3)), ((4,), 4, (4, 2))],
)
def test_a_bank_of_parts_that_do_not_fit_is_refused(
    rows: tuple[int, ...], pictures: int, places: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match="expected vectors"):
        MemoryBank(np.zeros(rows, np.float32), np.zeros(pictures, np.int32), np.zeros(places, np.float32))


# --- the coreset ------------------------------------------------------------------------------------------


def reach(rows: FloatArray, chosen: list[int]) -> float:
    """The largest distance of any row to its nearest chosen one."""
    gaps = np.linalg.norm(rows[:, None] - rows[chosen][None], axis=2)
    return float(gaps.min(1).max())


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(1, 5))
def test_the_coreset_covers_at_most_twice_as_badly_as_the_best_one(seed: int, size: int) -> None:
    rows = vectors(9, 2, seed)
    chosen = greedy_coreset(rows, size, np.random.default_rng(seed)).tolist()
    best = min(reach(rows, list(some)) for some in combinations(range(9), size))
    assert reach(rows, chosen) <= 2 * best + 1e-5


@pytest.mark.parametrize("size", [1, 4, 9])
def test_no_row_is_chosen_twice_even_when_all_are_the_same(size: int) -> None:
    rows = np.repeat(vectors(2, 3), 5, 0)
    chosen = greedy_coreset(rows, size, np.random.default_rng(0))
    assert len(set(chosen.tolist())) == len(chosen) == size
    assert size == 1 or {row % 9 // 5 for row in chosen.tolist()} == {0, 1}


def test_a_coreset_as_large_as_the_whole_keeps_every_row() -> None:
    assert greedy_coreset(vectors(5, 2), 5, np.random.default_rng(0)).tolist() == [0, 1, 2, 3, 4]
    assert greedy_coreset(vectors(5, 2), 50, np.random.default_rng(0)).tolist() == [0, 1, 2, 3, 4]


def test_a_rare_kind_of_patch_stays_in_the_bank() -> None:
    rows = np.concatenate([0.1 * vectors(400, 8), 0.1 * vectors(2, 8, seed=1) + 9])
    patches = PatchSample(rows, np.arange(402, dtype=np.int32), np.zeros((402, 2), np.float32))
    bank = build_bank(patches, seed=0, size=10)
    assert len(bank.vectors) == 10
    assert set(bank.pictures.tolist()) & {400, 401}
    assert np.array_equal(bank.vectors, rows[bank.pictures])


# --- patches ----------------------------------------------------------------------------------------------


def test_patches_are_drawn_without_repeats_and_know_where_they_come_from() -> None:
    grid = np.arange(4 * 5, dtype=np.float32).reshape(4, 5, 1)
    patches = sample_patches(grid, 7, None, 12, np.random.default_rng(0))
    assert len(set(patches.vectors[:, 0].tolist())) == 12
    assert set(patches.pictures.tolist()) == {7}
    columns, rows = (patches.places * [5, 4] - 0.5).T
    assert np.array_equal(grid[rows.round().astype(int), columns.round().astype(int)], patches.vectors)


def test_patches_outside_the_region_of_interest_are_left_out() -> None:
    grid = np.arange(16, dtype=np.float32).reshape(4, 4, 1)
    patches = sample_patches(grid, 0, grid[..., 0] > 12, 10, np.random.default_rng(0))
    assert sorted(patches.vectors[:, 0].tolist()) == [13, 14, 15]


def test_patches_of_several_pictures_are_joined_in_order() -> None:
    rng = np.random.default_rng(0)
    parts = [sample_patches(vectors(6, 3, k).reshape(2, 3, 3), k, None, 4, rng) for k in range(3)]
    joined = join_patches(parts)
    assert joined.vectors.shape == (12, 3)
    assert joined.pictures.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert np.array_equal(joined.places[4:8], parts[1].places)
