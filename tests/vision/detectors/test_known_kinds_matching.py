from __future__ import annotations

import numpy as np
import pytest

from anomalist.errors import DataError
from anomalist.vision.detectors.known_kinds import (
    MAX_PATCHES,
    PatchSetClassifier,
    TokenKindClassifier,
    WeightedPatches,
    largest_box,
    logistic_regression,
    mirror_images,
    mirrored_boxes,
    peak_mask,
    picture_token,
    place_token,
    select_patches,
    tokens_in_box,
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


# --- kinds by tokens --------------------------------------------------------------------------------------


def tokens_of(direction: int, count: int, seed: int = 0) -> np.ndarray:
    """Mean tokens of one kind, float32 (count, WIDE): all share a direction, which tells nothing."""
    rng = np.random.default_rng((seed, direction))
    raw = np.ones(WIDE) + np.eye(WIDE)[direction] + rng.normal(0, 0.1, (count, WIDE))
    return np.asarray(raw, np.float32)


def classifier(*counts: int, centre: np.ndarray | None = None) -> TokenKindClassifier:
    """Cases of the kinds a, b, …, as many as is said of each."""
    kinds = [kind for kind, count in zip("abc", counts, strict=False) for _ in range(count)]
    tokens = np.concatenate([tokens_of(at, count) for at, count in enumerate(counts)])
    return TokenKindClassifier.of(
        tokens, [f"{kind}/{i}" for i, kind in enumerate(kinds)], kinds, centre=centre
    )


def largest_share(found: TokenKindClassifier, token: np.ndarray) -> str:
    shares = found.similarity_to_kinds(token).shares
    assert sum(shares.values()) == pytest.approx(1)
    return max(shares, key=lambda name: shares[name])


@pytest.mark.parametrize("counts", [(8, 8, 8), (8, 2, 2), (1, 1, 1)])
def test_a_place_has_the_kind_whose_tokens_it_has(counts: tuple[int, ...]) -> None:
    known = classifier(*counts)
    for direction, kind in enumerate("abc"):
        (token,) = tokens_of(direction, 1, seed=1)
        found = known.classify(token)
        assert found.name in (kind, None)
        assert largest_share(known, token) == kind
        assert {case.split("/")[0] for case in known.similarity_to_kinds(token).cases} == {f"case:{kind}"}


def test_the_cases_and_the_similarity_are_those_of_the_kind_that_is_named() -> None:
    known = classifier(8, 8, centre=np.ones(WIDE, np.float32))
    (token,) = tokens_of(1, 1, seed=1)
    found = known.classify(token)
    assert found.name == "b"
    difference = (token - 1) / np.linalg.norm(token - 1)
    rows = [int(case.split("/")[1]) for case in found.cases]
    similar = known.cases.vectors[rows] @ difference
    assert found.similarity == pytest.approx(float(similar[0]), abs=1e-5)
    assert list(similar) == sorted(similar, reverse=True) and len(similar) == 3


def test_a_place_unlike_all_cases_has_no_known_kind() -> None:
    found = classifier(8, 8, centre=np.ones(WIDE, np.float32)).classify(tokens_of(5, 1)[0])
    assert found.name is None
    assert len(found.cases) == 3


def test_one_kind_is_named_too() -> None:
    found = classifier(4, centre=np.ones(WIDE, np.float32))
    assert found.classify(tokens_of(0, 1, seed=1)[0]).name == "a"
    assert found.similarity_to_kinds(tokens_of(0, 1, seed=1)[0]).shares == {"a": 1.0}


def test_a_kind_with_more_cases_is_not_preferred() -> None:
    few, many = tokens_of(0, 3) - 1, tokens_of(1, 60) - 1
    weights, intercepts = logistic_regression(np.concatenate([few, many]), np.array([0] * 3 + [1] * 60))
    between = np.asarray(np.eye(WIDE)[0] + np.eye(WIDE)[1]) / 2
    first, second = between @ weights + intercepts
    assert abs(first - second) < 1


def test_the_regression_minimises_what_it_says() -> None:
    from sklearn.linear_model import LogisticRegression

    vectors, numbers = np.concatenate([tokens_of(at, 5) - 1 for at in range(3)]), np.repeat([0, 1, 2], 5)
    weights, intercepts = logistic_regression(vectors, numbers)
    other = LogisticRegression(C=10, tol=1e-8, max_iter=1000).fit(vectors, numbers)
    assert np.allclose(weights, other.coef_.T, atol=0.02)
    assert np.allclose(intercepts - intercepts.mean(), other.intercept_ - other.intercept_.mean(), atol=0.02)


def test_novel_tokens_count_and_surroundings_do_not() -> None:
    grid, novelty = np.zeros((8, 8, 2), np.float32), np.zeros((8, 8), np.float32)
    grid[..., 0], grid[3, 3], novelty[3, 3] = 1, (0, 1), 1
    assert place_token(grid, novelty, (16, 16, 40, 40), (64, 64)) == pytest.approx([0, 1])
    assert place_token(grid, novelty, (48, 48, 64, 64), (64, 64)) == pytest.approx([1, 0])
    assert picture_token(grid, np.kron(novelty, np.ones((8, 8), np.float32))) == pytest.approx([0, 1])
    assert picture_token(grid) == pytest.approx([63 / 64, 1 / 64])
    assert picture_token(grid, np.ones((64, 64), np.float32)) == pytest.approx([63 / 64, 1 / 64])


@pytest.mark.parametrize(
    ("box", "count"),
    [((0, 0, 64, 64), 64), ((17, 17, 18, 18), 1), ((63, 63, 64, 64), 1), ((15, 0, 17, 8), 2)],
)
def test_a_box_takes_the_tokens_that_it_touches(box: tuple[int, int, int, int], count: int) -> None:
    assert tokens_in_box(np.zeros((8, 8, 3), np.float32), box, (64, 64)).shape == (count, 3)


def test_the_place_is_the_largest_part_of_what_is_near_the_peak() -> None:
    score_map = np.zeros((40, 50), np.float32)
    score_map[5:9, 10:20] = 1
    score_map[30:32, 40:42] = 0.9
    score_map[20:30, 0:10] = 0.3
    mask = peak_mask(score_map)
    assert mask[31, 41] and not mask[25, 5]
    assert largest_box(mask) == (10, 5, 20, 9)


def kinds_of(tokens: np.ndarray, mirrored: np.ndarray, kinds: list[str]) -> TokenKindClassifier:
    ids = [f"{kind}/{i}" for i, kind in enumerate(kinds)]
    return TokenKindClassifier.of(tokens, ids, kinds, centre=np.ones(WIDE, np.float32), mirrored=mirrored)


def test_mirrored_cases_are_learned_from_where_they_show_more_of_their_kind() -> None:
    """Each case shows its kind on one side alone; the new ones show it on the other."""
    noise = np.random.default_rng(3).normal(0, 0.1, (12, WIDE))
    left, right = (np.eye(WIDE)[at : at + 2].repeat(6, 0) for at in (0, 2))
    kinds = ["a"] * 6 + ["b"] * 6
    known = kinds_of(1 + left + noise, 1 + (right + noise)[:, None], kinds)
    assert known.mirrored is not None and known.mirrored.shape == (12, 1, WIDE)
    for direction, kind in ((2, "a"), (3, "b")):
        assert largest_share(known, np.asarray(np.ones(WIDE) + np.eye(WIDE)[direction], np.float32)) == kind


def test_mirrored_cases_are_left_out_where_kinds_differ_by_the_side() -> None:
    noise = np.random.default_rng(3).normal(0, 0.1, (12, WIDE))
    own = np.eye(WIDE)[:2].repeat(6, 0)
    kinds = ["at the left"] * 6 + ["at the right"] * 6
    known = kinds_of(1 + own + noise, (1 + own[::-1] + noise)[:, None].repeat(3, 1), kinds)
    assert known.mirrored is None
    assert largest_share(known, np.asarray(np.ones(WIDE) + np.eye(WIDE)[0], np.float32)) == "at the left"


def test_boxes_are_mirrored_as_pictures_are() -> None:
    picture = np.zeros((9, 14, 3), np.uint8)
    picture[2:5, 1:7] = 255
    for mirrored, (x0, y0, x1, y1) in zip(
        mirror_images(picture), mirrored_boxes((1, 2, 7, 5), picture.shape), strict=True
    ):
        assert (mirrored[y0:y1, x0:x1] == 255).all() and mirrored.sum() == picture.sum()
