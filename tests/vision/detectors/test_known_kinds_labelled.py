"""Labelled defects: which kind a region is like, and what a region looks like."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalist.types.common import FloatArray, UInt8Array
from anomalist.types.image import Region
from anomalist.vision.detectors.known_kinds import (
    KnownKindClassifier,
    region_signature,
)
from anomalist.vision.regions import find_regions
from tests.pictures import tile

# --- which kind -------------------------------------------------------------------------------------------


def unit(*values: float) -> FloatArray:
    vector = np.array(values, np.float32)
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


def cases_of(*pairs: tuple[FloatArray, str]) -> KnownKindClassifier:
    ids = [f"{kind}/{number}" for number, (_, kind) in enumerate(pairs)]
    return KnownKindClassifier.of(np.stack([vector for vector, _ in pairs]), ids, [kind for _, kind in pairs])


THREE = cases_of(
    (unit(1, 0.1, 0), "hole"), (unit(1, 0, 0.1), "hole"), (unit(1, 0.1, 0.1), "hole"),
    (unit(0, 1, 0.1), "scratch"), (unit(0.1, 1, 0), "scratch"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("vector", "kind"),
    [(unit(1, 0.05, 0), "hole"), (unit(1, 0.1, 0.15), "hole"), (unit(0, 1, 0), "scratch")],
)
def test_a_region_has_the_kind_of_the_nearest_cases(vector: FloatArray, kind: str) -> None:
    found = THREE.classify(vector)
    assert found.name == kind
    assert found.similarity == pytest.approx(float((THREE.vectors @ vector).max()))
    assert len(found.cases) == 3
    assert found.cases[0].startswith(f"case:{kind}/")


@pytest.mark.parametrize("vector", [unit(0, 0, 1), unit(-1, 0, 0), unit(1, 1, 0), unit(1, -1, 1)])
def test_what_is_like_no_case_is_unlike_any_known_kind_but_the_nearest_are_told(vector: FloatArray) -> None:
    found = THREE.classify(vector)
    assert found.name is None
    assert found.similarity < THREE.limit
    assert len(found.cases) == 3


def test_two_cases_outvote_a_third_that_is_hardly_nearer_but_not_one_that_is_much_nearer() -> None:
    def cases(other: FloatArray) -> KnownKindClassifier:
        return cases_of((other, "scratch"), (unit(1, 0.3, 0), "hole"), (unit(1, 0, 0.3), "hole"))

    assert cases(unit(1, -0.28, 0)).classify(unit(1, 0, 0)).name == "hole"
    found = cases_of((unit(1, 0, 0), "scratch"), (unit(1, 1, 0), "hole"), (unit(1, 0, 1), "hole"))
    assert found.classify(unit(1, 0, 0)).name == "scratch"


@pytest.mark.parametrize("same", [True, False])
def test_ties_go_to_the_case_that_comes_first_every_time(same: bool) -> None:
    vectors = [unit(1, 0)] * 2 if same else [unit(1, 0.2), unit(1, -0.2)]
    for first, second in (("hole", "scratch"), ("scratch", "hole")):
        cases = cases_of((vectors[0], first), (vectors[1], second))
        names = {cases.classify(unit(1, 0)).name for _ in range(5)}
        assert names == {first}
        assert cases.classify(unit(1, 0)).cases == (f"case:{first}/0", f"case:{second}/1")


def nearest_one_by_one(vectors: FloatArray, kinds: list[str], *, own: bool) -> list[float]:
    """How like its nearest other case of the same kind, or of another one, each case is."""
    found = []
    for i, kind in enumerate(kinds):
        others = [
            float(vectors[i] @ vectors[j]) for j in range(len(kinds)) if j != i and (kinds[j] == kind) == own
        ]
        found += [max(others)] if others else []
    return found


@settings(max_examples=40)
@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=10), st.integers(0, 1000))
def test_the_limit_keeps_cases_that_know_their_kind_from_those_that_do_not(
    kinds: list[str], seed: int
) -> None:
    drawn = np.random.default_rng(seed).normal(size=(len(kinds), 4)) + 1
    vectors = np.stack([unit(*row) for row in drawn])
    own, foreign = (nearest_one_by_one(vectors, kinds, own=same) for same in (True, False))

    limit = KnownKindClassifier.of(vectors, kinds, kinds).limit

    if len(own) < 3:
        assert limit == 0.5
    elif len(foreign) < 3:
        assert limit == pytest.approx(float(np.quantile(own, 0.1)), abs=1e-5)
    else:

        def split(at: float) -> float:
            return float(np.mean([x >= at for x in own]) + np.mean([x < at for x in foreign]))

        near = max(split(limit - 1e-5), split(limit + 1e-5))  # sums in another order round otherwise
        assert near >= max(split(at) for at in (*own, *foreign)) - 1e-9


def test_cases_of_one_object_do_not_say_how_alike_new_ones_will_be() -> None:
    vectors = np.stack([unit(1, 0, 0), unit(1, 0.01, 0), unit(1, 0, 0.5), unit(1, 0.01, 0.5)])
    kinds = ["hole"] * 4

    alone = KnownKindClassifier.of(vectors, kinds, kinds)
    grouped = KnownKindClassifier.of(vectors, kinds, kinds, ["a", "a", "b", "b"])

    assert alone.limit > 0.999
    assert grouped.limit == pytest.approx(float(vectors[0] @ vectors[2]), abs=0.01)
    assert KnownKindClassifier.of(vectors, kinds, kinds, [None] * 4).limit == alone.limit
    assert KnownKindClassifier.of(vectors, kinds, kinds, ["a"] * 4).limit == 0.5  # one object tells nothing


def test_the_order_of_cases_changes_nothing_but_ties() -> None:
    pairs = [(unit(1, 0.1, 0), "hole"), (unit(1, 0, 0.3), "hole"), (unit(0, 1, 0.1), "scratch")]
    names = {cases_of(*some).classify(unit(1, 0.2, 0.1)).name for some in permutations(pairs)}
    assert names == {"hole"}


# --- what a region looks like -----------------------------------------------------------------------------

SIDE, GRID = 128, 16


def region_at(picture: UInt8Array, box: tuple[int, int, int, int]) -> Region:
    x0, y0, x1, y1 = box
    marked = np.zeros(picture.shape[:2], bool)
    marked[y0:y1, x0:x1] = True
    (region,) = find_regions(picture, marked.astype(np.float32), marked)
    return region


def spotted(box: tuple[int, int, int, int], grey: int) -> UInt8Array:
    picture = tile(3, SIDE)
    picture[box[1] : box[3], box[0] : box[2]] = grey
    return picture


BOX = (40, 24, 64, 48)
NORMAL = unit(*np.random.default_rng(0).normal(size=8).tolist())


def grid_with(odd: FloatArray, box: tuple[int, int, int, int] = BOX) -> FloatArray:
    """Normal patches all over, odd ones in a box of pixels; float32 (16, 16, d)."""
    grid = np.tile(NORMAL, (GRID, GRID, 1))
    grid[box[1] // 8 : box[3] // 8, box[0] // 8 : box[2] // 8] = odd
    return grid


def signature_of(odd: FloatArray, grey: int, box: tuple[int, int, int, int] = BOX) -> FloatArray:
    region = region_at(spotted(box, grey), box)
    return region_signature(grid_with(odd, box), NORMAL, region, (SIDE, SIDE))


ODD, OTHER = (unit(*np.random.default_rng(seed).normal(size=8).tolist()) for seed in (1, 2))


@pytest.mark.parametrize(
    "box", [BOX, (0, 0, 8, 8), (120, 120, 128, 128), (0, 64, 128, 72), (3, 5, 4, 6), (127, 127, 128, 128)]
)
def test_a_signature_is_a_unit_vector_wherever_the_region_is(box: tuple[int, int, int, int]) -> None:
    vector = region_signature(
        np.tile(NORMAL, (GRID, GRID, 1)), NORMAL, region_at(spotted(box, 20), box), (SIDE, SIDE)
    )
    assert (vector.shape, vector.dtype) == ((8 + 6,), np.float32)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


def test_a_signature_moves_with_tone_and_with_what_the_patches_are_like() -> None:
    dark = signature_of(ODD, 20)
    assert float(dark @ signature_of(ODD, 25)) > 0.99
    assert float(dark @ signature_of(ODD, 230)) < 0.95
    assert float(dark @ signature_of(OTHER, 20)) < 0.95
    long = (0, 64, 128, 72)
    assert float(dark @ signature_of(ODD, 20, long)) < 0.99


def test_a_signature_does_not_depend_on_where_the_region_lies() -> None:
    assert float(signature_of(ODD, 20) @ signature_of(ODD, 20, (64, 72, 88, 96))) > 0.99


def test_only_patches_of_the_region_count_and_of_those_the_odd_ones() -> None:
    region = region_at(spotted(BOX, 20), BOX)
    grid = grid_with(ODD)
    expected = region_signature(grid, NORMAL, region, (SIDE, SIDE))
    elsewhere = grid.copy()
    elsewhere[10:, :] = OTHER
    assert np.array_equal(region_signature(elsewhere, NORMAL, region, (SIDE, SIDE)), expected)
    surroundings = grid.copy()
    surroundings[3, 5:8] = NORMAL  # a third of the box is as normal as can be
    assert region_signature(surroundings, NORMAL, region, (SIDE, SIDE)) == pytest.approx(expected, abs=1e-5)


def test_patches_that_are_all_normal_leave_a_finite_signature_of_shape_and_tone() -> None:
    vector = region_signature(
        np.tile(NORMAL, (GRID, GRID, 1)), NORMAL, region_at(spotted(BOX, 20), BOX), (SIDE, SIDE)
    )
    assert np.isfinite(vector).all()
    assert np.abs(vector[:8]).max() < 1e-3
