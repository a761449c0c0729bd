from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import label
from sklearn.metrics import average_precision_score, roc_auc_score

from anomalist.eval.metrics import (
    PixelCurve,
    aupro,
    average_precision,
    group_bootstrap,
    image_auroc,
    pixel_auroc,
)

Arrays = Sequence[np.ndarray]

# Few distinct values, so that ties are common, and extreme ones.
scores_and_labels = st.lists(
    st.tuples(st.sampled_from([-1e300, -2.5, -0.0, 0.0, 1e-12, 0.1, 0.2, 3.0, 1e300]), st.booleans()),
    min_size=2,
    max_size=40,
).filter(lambda rows: len({anomalous for _, anomalous in rows}) == 2)


def columns(rows: list[tuple[float, bool]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([score for score, _ in rows]), np.array([anomalous for _, anomalous in rows])


@given(scores_and_labels)
@settings(max_examples=60, deadline=None)
def test_image_auroc_equals_scikit_learn(rows: list[tuple[float, bool]]) -> None:
    scores, labels = columns(rows)
    assert image_auroc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


@given(scores_and_labels)
@settings(max_examples=60, deadline=None)
def test_average_precision_equals_scikit_learn(rows: list[tuple[float, bool]]) -> None:
    scores, labels = columns(rows)
    expected = average_precision_score(labels, scores)
    assert average_precision(scores, labels) == pytest.approx(expected, abs=1e-12)


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


def pictures(seed: int, levels: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Maps of different sizes with ``levels`` whole-number values, three with blobs, one normal."""
    rng = np.random.default_rng(seed)
    maps, masks = [], []
    for index in range(4):
        height, width = rng.integers(6, 14, size=2)
        mask = np.zeros((height, width), dtype=bool)
        if index:
            mask = rng.random((height, width)) < 0.25
        score_map = rng.integers(0, levels, size=mask.shape) + 2 * mask
        maps.append(score_map.astype(np.float32))
        masks.append(mask)
    return maps, masks


def naive_aupro(maps: Arrays, masks: Arrays, limit: float) -> float:
    """The definition, threshold by threshold and region by region."""
    thresholds = sorted({float(value) for score_map in maps for value in score_map.ravel()}, reverse=True)
    points = [(0.0, 0.0)]
    for threshold in thresholds:
        overlaps, false, normal = [], 0, 0
        for score_map, mask in zip(maps, masks, strict=True):
            flagged = score_map >= threshold
            regions, count = label(mask, structure=np.ones((3, 3)))
            overlaps += [flagged[regions == region].mean() for region in range(1, count + 1)]
            false += int((flagged & ~mask).sum())
            normal += int((~mask).sum())
        points.append((false / normal, float(np.mean(overlaps))))
    area = 0.0
    for (x0, y0), (x1, y1) in pairwise(points):
        if x1 <= limit:
            area += (x1 - x0) * (y0 + y1) / 2
        elif x0 < limit:
            cut = y0 + (y1 - y0) * (limit - x0) / (x1 - x0)
            area += (limit - x0) * (y0 + cut) / 2
    return area / limit


@given(st.integers(0, 10**6), st.sampled_from([1, 3, 50, 30_000]))
@settings(max_examples=25, deadline=None)
def test_pixel_auroc_equals_scikit_learn_over_all_pixels(seed: int, levels: int) -> None:
    maps, masks = pictures(seed, levels)
    truth = np.concatenate([mask.ravel() for mask in masks])
    values = np.concatenate([score_map.ravel() for score_map in maps])
    assert pixel_auroc(maps, masks) == pytest.approx(roc_auc_score(truth, values), abs=1e-12)


@given(st.integers(0, 10**6), st.sampled_from([1, 3, 50]), st.sampled_from([0.05, 0.3, 1.0]))
@settings(max_examples=25, deadline=None)
def test_aupro_equals_the_slow_definition(seed: int, levels: int, limit: float) -> None:
    maps, masks = pictures(seed, levels)
    assert aupro(maps, masks, limit) == pytest.approx(naive_aupro(maps, masks, limit), abs=1e-9)


def test_close_scores_are_told_apart_well_enough() -> None:
    rng = np.random.default_rng(0)
    mask = rng.random((200, 200)) < 0.1
    score_map = (rng.normal(size=mask.shape) + mask).astype(np.float32)
    expected = roc_auc_score(mask.ravel(), score_map.ravel())
    assert pixel_auroc([score_map], [mask]) == pytest.approx(expected, abs=1e-6)


def strip(values: list[float], truth: list[int]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    return [np.array([values], dtype=np.float32)], [np.array([truth], dtype=bool)]


# Ten normal pixels, so each false positive is 10 %; the regions are the runs of ones.
@pytest.mark.parametrize(
    ("values", "truth", "expected"),
    [
        ([9, 9, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1], [1, 1] + [0] * 10, 1.0),
        # Everything tied: a straight line to (1, 1), at 0.3 it is 0.3 high.
        ([1] * 12, [1, 1] + [0] * 10, 0.15),
        # Half of the region at once, the other half after all normal pixels.
        ([9, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1], [1, 1] + [0] * 10, (0.5 + 0.5) / 2),
        # One false positive comes first, then the region: nothing up to 0.1, all from there to 0.3.
        ([8, 8, 9, 1, 1, 1, 1, 1, 1, 1, 1, 1], [1, 1] + [0] * 10, 2 / 3),
        # A large region found and a small one missed count the same.
        ([9, 9, 9, 1, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 1] + [0] * 9, 0.5),
    ],
)
def test_aupro_by_hand(values: list[float], truth: list[int], expected: float) -> None:
    assert aupro(*strip(values, truth)) == pytest.approx(expected)


def test_pixels_that_touch_at_a_corner_are_one_region() -> None:
    mask = np.zeros((4, 5), dtype=bool)
    mask[0, 0] = mask[1, 1] = mask[3, 3] = True
    score_map = np.zeros((4, 5), dtype=np.float32)
    score_map[3, 3] = 1  # one of two regions found, the other tied with the background
    assert aupro([score_map], [mask], 1.0) == pytest.approx((0.5 + 1) / 2)


def test_normal_pictures_count_towards_false_positives() -> None:
    maps, masks = strip([5, 1, 1], [1, 0, 0])
    alone = aupro(maps, masks)
    noisy = np.full((3, 3), 9, dtype=np.float32)
    assert alone == 1.0
    assert aupro([*maps, noisy], [*masks, np.zeros((3, 3), dtype=bool)]) == 0.0


@given(st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_measures_ignore_a_monotone_change_of_the_scores(seed: int) -> None:
    maps, masks = pictures(seed, 50)
    changed = [(np.expm1(score_map / 8) - 100).astype(np.float32) for score_map in maps]
    assert pixel_auroc(changed, masks) == pytest.approx(pixel_auroc(maps, masks), abs=1e-12)
    assert aupro(changed, masks) == pytest.approx(aupro(maps, masks), abs=1e-9)
    scores = np.array([float(score_map.max()) for score_map in maps])
    labels = np.array([bool(mask.any()) for mask in masks])
    assert image_auroc(np.arctan(scores), labels) == image_auroc(scores, labels)


def test_one_by_one_equals_all_at_once_in_any_order() -> None:
    maps, masks = pictures(3, 50)
    curve = PixelCurve()
    for score_map, mask in reversed(list(zip(maps, masks, strict=True))):
        curve.add(score_map, mask)
    assert curve.auroc() == pixel_auroc(maps, masks)
    assert curve.aupro() == pytest.approx(aupro(maps, masks), abs=1e-12)


def test_infinite_and_negative_scores_keep_their_order() -> None:
    maps, masks = strip([-np.inf, -3.0, -2.0, -0.0, 0.0, 1e-30, np.inf], [0, 0, 0, 0, 1, 1, 1])
    assert pixel_auroc(maps, masks) == pytest.approx(11.5 / 12)  # −0 and 0 are tied


@pytest.mark.parametrize("truth", [[0, 0, 0], [1, 1, 1]])
def test_pixel_measures_of_one_class_are_undefined(truth: list[int]) -> None:
    maps, masks = strip([1, 2, 3], truth)
    assert pixel_auroc(maps, masks) is None
    assert aupro(maps, masks) is None
    assert PixelCurve().auroc() is None


@pytest.mark.parametrize(
    ("score_map", "mask"),
    [
        (np.zeros((2, 3), np.float32), np.zeros((3, 2), bool)),
        (np.zeros(3, np.float32), np.zeros(3, bool)),
        (np.full((2, 2), np.nan, np.float32), np.zeros((2, 2), bool)),
    ],
)
def test_unusable_maps_are_refused(score_map: np.ndarray, mask: np.ndarray) -> None:
    with pytest.raises(ValueError, match="map"):
        PixelCurve().add(score_map, mask)


@pytest.mark.parametrize("limit", [0.0, -0.1, 1.1])
def test_a_false_positive_limit_outside_0_to_1_is_refused(limit: float) -> None:
    with pytest.raises(ValueError, match="fpr_limit"):
        PixelCurve().aupro(limit)


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
