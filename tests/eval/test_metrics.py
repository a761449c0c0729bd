from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from anomalist.eval.metrics import average_precision, group_bootstrap, image_auroc, mean_std, recall_at_rate

# Few distinct values, so that ties are common, and extreme ones.
scores_and_labels = st.lists(
    st.tuples(st.sampled_from([-1e300, -2.5, -0.0, 0.0, 1e-12, 0.1, 0.2, 3.0, 1e300]), st.booleans()),
    min_size=2,
    max_size=40,
).filter(lambda rows: len({anomalous for _, anomalous in rows}) == 2)


def columns(rows: list[tuple[float, bool]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([score for score, _ in rows]), np.array([anomalous for _, anomalous in rows])


@given(scores_and_labels)
@settings(max_examples=60)
def test_image_auroc_equals_scikit_learn(rows: list[tuple[float, bool]]) -> None:
    scores, labels = columns(rows)
    assert image_auroc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


@given(scores_and_labels)
@settings(max_examples=60)
def test_average_precision_equals_scikit_learn(rows: list[tuple[float, bool]]) -> None:
    scores, labels = columns(rows)
    expected = average_precision_score(labels, scores)
    assert average_precision(scores, labels) == pytest.approx(expected, abs=1e-12)


@given(scores_and_labels)
@settings(max_examples=20)
def test_image_auroc_ignores_a_monotone_change_of_the_scores(rows: list[tuple[float, bool]]) -> None:
    scores, labels = columns(rows)
    ranks = np.unique(scores, return_inverse=True)[1]
    assert image_auroc(np.exp(ranks.astype(float)), labels) == image_auroc(scores, labels)


@pytest.mark.parametrize(
    ("scores", "labels", "expected"),
    [
        ([1.0, 2.0, 3.0, 4.0], [0, 0, 1, 1], 1.0),
        ([4.0, 3.0, 2.0, 1.0], [0, 0, 1, 1], 0.0),
        ([1.0, 1.0, 1.0], [0, 1, 1], 0.5),
        ([1.0, 2.0, 2.0, 3.0], [0, 0, 1, 1], 0.875),
        ([-np.inf, 0.0, np.inf], [0, 0, 1], 1.0),
    ],
)
def test_image_auroc_by_hand(scores: list[float], labels: list[int], expected: float) -> None:
    assert image_auroc(np.array(scores), np.array(labels, dtype=bool)) == expected


@pytest.mark.parametrize("measure", [image_auroc, average_precision])
@pytest.mark.parametrize("labels", [[], [True, True], [False, False]])
def test_one_class_is_undefined(measure: Any, labels: list[bool]) -> None:
    assert measure(np.zeros(len(labels)), np.array(labels, dtype=bool)) is None


@pytest.mark.parametrize("measure", [image_auroc, average_precision])
@pytest.mark.parametrize(
    ("scores", "labels"),
    [
        (np.array([1.0, np.nan]), np.array([True, False])),
        (np.array([1.0, 2.0, 3.0]), np.array([True, False])),
        (np.array([1.0, 2.0]), np.array([1, 0])),
    ],
)
def test_unusable_scores_are_refused(measure: Any, scores: np.ndarray, labels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="score"):
        measure(scores, labels)


@pytest.mark.parametrize(
    ("normals", "anomalous", "rate", "expected"),
    [
        ([1, 2, 3, 4], [3.5, 5, 6], 0.0, 2 / 3),  # strictly above the highest normal
        ([1, 2, 3, 4], [4, 5, 6], 0.0, 2 / 3),  # a tie with it is not above it
        ([1, 2, 3, 4], [3.5, 5, 6], 0.25, 1.0),
        ([1, 2, 3, 4], [2.5, 3.5, 6], 0.3, 2 / 3),  # no threshold flags 0.3; 0.25 is the next below
        ([1, 2, 2], [0, 2, 2, 2], 1 / 3, 3 / 8),  # half of the tied normals, so half of the tied defects
        ([1, 2], [1, 0], 0.75, 1 / 4),
        ([1, 2], [0, 0], 1.0, 1.0),
        ([1, 2], [0, 0], 0.5, 0.0),
    ],
)
def test_recall_at_a_rate_by_hand(
    normals: list[float], anomalous: list[float], rate: float, expected: float
) -> None:
    scores = np.array([*normals, *anomalous], dtype=float)
    labels = np.arange(scores.size) >= len(normals)
    assert recall_at_rate(scores, labels, rate) == pytest.approx(expected)


@given(scores_and_labels)
@settings(max_examples=60)
def test_recall_at_the_rate_of_a_threshold_is_the_best_of_scikit_learn(
    rows: list[tuple[float, bool]],
) -> None:
    scores, labels = columns(rows)
    rates, recalls, _ = roc_curve(labels, scores, drop_intermediate=False)
    for rate in rates:
        assert recall_at_rate(scores, labels, rate) == pytest.approx(recalls[rates == rate].max())


@given(scores_and_labels, st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=60)
def test_recall_never_falls_with_the_rate(rows: list[tuple[float, bool]], one: float, other: float) -> None:
    scores, labels = columns(rows)
    low, high = (recall_at_rate(scores, labels, rate) for rate in sorted((one, other)))
    assert low is not None
    assert high is not None
    assert 0 <= low <= high + 1e-12
    assert high <= 1 + 1e-12


@pytest.mark.parametrize("labels", [[], [True, True], [False, False]])
def test_recall_of_one_class_is_undefined(labels: list[bool]) -> None:
    assert recall_at_rate(np.zeros(len(labels)), np.array(labels, dtype=bool), 0.1) is None


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_recall_at_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="rate must be in"):
        recall_at_rate(np.array([1.0, 2.0]), np.array([False, True]), rate)


@given(st.lists(st.none() | st.floats(0, 1), max_size=8))
@settings(max_examples=60)
def test_a_spread_is_over_what_is_defined(values: list[float | None]) -> None:
    defined = [value for value in values if value is not None]
    found = mean_std(values)
    if not defined:
        assert found is None
        return
    assert found is not None
    assert (found.mean, found.n) == (pytest.approx(np.mean(defined)), len(defined))
    if len(defined) == 1:
        assert found.std is None
    else:
        assert found.std == pytest.approx(np.std(defined, ddof=1), abs=1e-12)


def test_bootstrap_over_single_items_agrees_with_the_normal_approximation() -> None:
    values = np.random.default_rng(0).normal(size=400)
    names = [f"item{index}" for index in range(400)]
    interval = group_bootstrap(lambda drawn: float(values[drawn].mean()), names, seed=1)
    margin = 1.96 * values.std() / 20
    assert interval == pytest.approx((values.mean() - margin, values.mean() + margin), abs=0.01)


def test_items_of_one_group_stay_together_and_widen_the_interval() -> None:
    values = np.repeat(np.random.default_rng(0).normal(size=40), 10)
    by_group = [f"group{index // 10}" for index in range(400)]
    by_item = [f"item{index}" for index in range(400)]

    def mean(drawn: np.ndarray) -> float:
        return float(values[drawn].mean())

    wide, narrow = group_bootstrap(mean, by_group, 0), group_bootstrap(mean, by_item, 0)
    assert wide is not None
    assert narrow is not None
    assert (wide[1] - wide[0]) / (narrow[1] - narrow[0]) == pytest.approx(10**0.5, rel=0.15)


def test_bootstrap_draws_whole_groups_only() -> None:
    drawn_sizes: set[int] = set()

    def size(drawn: np.ndarray) -> float:
        counts = np.bincount(drawn, minlength=5)
        assert counts[0] == counts[3] == counts[4]
        assert counts[1] == counts[2]
        drawn_sizes.add(drawn.size)
        return float(drawn.size)

    group_bootstrap(size, ["a", "b", "b", "a", "a"], seed=0, n=50)
    assert drawn_sizes == {4, 5, 6}


def test_bootstrap_repeats_with_its_seed() -> None:
    values = np.arange(10.0)
    names = [str(index) for index in range(10)]

    def mean(drawn: np.ndarray) -> float:
        return float(values[drawn].mean())

    assert group_bootstrap(mean, names, 5) == group_bootstrap(mean, names, 5)
    assert group_bootstrap(mean, names, 5) != group_bootstrap(mean, names, 6)


@pytest.mark.parametrize("groups", [[], ["only"], ["only", "only"]])
def test_fewer_than_two_groups_give_no_interval(groups: list[str]) -> None:
    assert group_bootstrap(lambda drawn: 1.0, groups, seed=0) is None


def test_a_statistic_that_is_mostly_undefined_gives_no_interval() -> None:
    assert group_bootstrap(lambda drawn: None, ["a", "b"], seed=0) is None
