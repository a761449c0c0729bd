from __future__ import annotations

import numpy as np
import pytest

from anomalist.errors import DataError
from anomalist.vision.detectors.known_kinds import (
    MAX_PATCHES,
    PatchSetClassifier,
    WeightedPatches,
    select_patches,
)

WIDE = 8


def textured(direction: int, seed: int, size: int = 6) -> np.ndarray:
    """Descriptors around one direction, float32 (size, size, WIDE), unit vectors."""
    rng = np.random.default_rng(seed)
    raw = np.eye(WIDE)[direction] + rng.normal(0, 0.2, (size, size, WIDE))
    return np.asarray(raw / np.linalg.norm(raw, axis=2, keepdims=True), np.float32)


def looks(kinds: str = "aabb") -> PatchSetClassifier:
    patches = tuple(select_patches(textured("ab".index(kind), seed)) for seed, kind in enumerate(kinds))
    return PatchSetClassifier(patches, tuple(kinds), tuple(f"{kind}/{i}" for i, kind in enumerate(kinds)))


@pytest.mark.parametrize(("direction", "kind"), [(0, "a"), (1, "b")])
def test_the_kind_that_is_most_alike_has_the_largest_share(direction: int, kind: str) -> None:
    likeness = looks().similarity_to_kinds(select_patches(textured(direction, 9)))
    assert max(likeness.shares, key=lambda name: likeness.shares[name]) == kind
    assert sum(likeness.shares.values()) == pytest.approx(1)
    assert {case.split("/")[0] for case in likeness.cases} == {f"case:{kind}"}


def test_how_many_cases_a_kind_has_gives_it_no_advantage() -> None:
    assert looks("aaaaaaaab").similarity_to_kinds(select_patches(textured(1, 9))).shares["b"] > 0.9


def test_one_odd_place_counts_where_the_map_says_so() -> None:
    plain, spotted = textured(2, 0, 20), textured(2, 1, 20)
    spotted[5:7, 5:7] = textured(0, 2, 2)
    strange = np.zeros((160, 160), np.float32)
    strange[40:56, 40:56] = 1
    case, other = select_patches(spotted, strange), select_patches(plain)
    found = PatchSetClassifier((case, other), ("spot", "plain"), ("spot/1", "plain/1"))
    again = textured(2, 3, 20)
    again[15:17, 2:4] = textured(0, 4, 2)
    where = np.zeros((160, 160), np.float32)
    where[120:136, 16:32] = 1
    assert found.similarity_to_kinds(select_patches(again, where)).shares["spot"] > 0.9


def test_patches_weigh_one_together_and_are_no_more_than_needed() -> None:
    ramp = np.linspace(0, 1, 400, dtype=np.float32).reshape(20, 20)
    for score_map in (None, ramp, np.ones((20, 20), np.float32)):
        patches = select_patches(textured(0, 0, 20), score_map)
        assert patches.vectors.shape == (MAX_PATCHES, WIDE)
        assert patches.weights.sum() == pytest.approx(1)
    assert len(select_patches(textured(0, 0, 3)).vectors) == 9


def test_likeness_of_two_pictures_does_not_depend_on_their_order() -> None:
    one, two = select_patches(textured(0, 0)), select_patches(textured(1, 1), np.eye(48, dtype=np.float32))
    assert one.similarity(two) == pytest.approx(two.similarity(one))
    assert one.similarity(one) == pytest.approx(2)


def test_without_cases_there_is_nothing_to_compare_with() -> None:
    with pytest.raises(DataError, match="cases"):
        PatchSetClassifier((), (), ())
    patch = WeightedPatches(np.ones((1, 1), np.float32), np.ones(1, np.float32))
    with pytest.raises(DataError, match="kind"):
        PatchSetClassifier((patch,), ("a", "b"), ("a/1",))
