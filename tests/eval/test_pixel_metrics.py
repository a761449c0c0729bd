from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import label
from sklearn.metrics import roc_auc_score

from anomalist.eval.pixel_metrics import (
    PixelCurve,
    SparseHistogram,
    aupro,
    mask_iou,
    merge_counts,
    ordered_keys,
    peak_inside,
    pixel_auroc,
    thin_to_quantiles,
)

Arrays = Sequence[np.ndarray]


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
@settings(max_examples=25)
def test_pixel_auroc_equals_scikit_learn_over_all_pixels(seed: int, levels: int) -> None:
    maps, masks = pictures(seed, levels)
    truth = np.concatenate([mask.ravel() for mask in masks])
    values = np.concatenate([score_map.ravel() for score_map in maps])
    assert pixel_auroc(maps, masks) == pytest.approx(roc_auc_score(truth, values), abs=1e-12)


@given(st.integers(0, 10**6), st.sampled_from([1, 3, 50]), st.sampled_from([0.05, 0.3, 1.0]))
@settings(max_examples=25)
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
@settings(max_examples=20)
def test_measures_ignore_a_monotone_change_of_the_scores(seed: int) -> None:
    maps, masks = pictures(seed, 50)
    changed = [(np.expm1(score_map / 8) - 100).astype(np.float32) for score_map in maps]
    assert pixel_auroc(changed, masks) == pytest.approx(pixel_auroc(maps, masks), abs=1e-12)
    assert aupro(changed, masks) == pytest.approx(aupro(maps, masks), abs=1e-9)


def test_one_by_one_equals_all_at_once_in_any_order() -> None:
    maps, masks = pictures(3, 50)
    curve = PixelCurve()
    for score_map, mask in reversed(list(zip(maps, masks, strict=True))):
        curve.add(score_map, mask)
    assert curve.counts().auroc() == pixel_auroc(maps, masks)
    assert curve.counts().aupro() == pytest.approx(aupro(maps, masks), abs=1e-12)


@given(st.integers(0, 10**6))
@settings(max_examples=20)
def test_parts_counted_apart_and_put_together_equal_all_at_once(seed: int) -> None:
    maps, masks = pictures(seed, 50)
    curves = [PixelCurve(), PixelCurve(), PixelCurve()]
    for number, (score_map, mask) in enumerate(zip(maps, masks, strict=True)):
        curves[number % 2].add(score_map, mask)
    counts = merge_counts([curve.counts() for curve in curves])  # the last one has seen nothing
    assert counts.auroc() == pixel_auroc(maps, masks)
    assert counts.aupro() == pytest.approx(aupro(maps, masks), abs=1e-12)


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=40))
@settings(max_examples=60)
def test_keys_never_turn_an_order_round(values: list[float]) -> None:
    numbers = np.array(values, dtype=np.float32)
    keys = ordered_keys(numbers)
    assert np.all(np.diff(keys[np.argsort(numbers)].astype(np.int64)) >= 0)
    assert keys.max() < 1 << 24


@given(st.integers(0, 10**6), st.integers(1, 300), st.integers(1, 40))
@settings(max_examples=40)
def test_thinned_keys_keep_the_share_above_any_threshold(seed: int, size: int, limit: int) -> None:
    keys = np.random.default_rng(seed).integers(0, 60, size=size).astype(np.uint32)
    kept = thin_to_quantiles(keys, limit)
    assert kept.size == min(size, limit)
    for threshold in range(61):
        assert abs((kept >= threshold).mean() - (keys >= threshold).mean()) < 1 / limit


def test_memory_grows_with_the_scores_that_occur() -> None:
    tally = SparseHistogram(1)
    tally.add(0, np.array([5, 5, 9000, (1 << 24) - 1], dtype=np.uint32), np.array([1.0, 2.0, 3.0, 4.0]))
    tally.add(0, np.array([4095, 4096, 5], dtype=np.uint32))
    keys, (sums,) = tally.used()
    assert dict(zip(keys.tolist(), sums.tolist(), strict=True)) == {
        5: 4.0,
        4095: 1.0,
        4096: 1.0,
        9000: 3.0,
        (1 << 24) - 1: 4.0,
    }
    assert tally._sums.size == 4 * 4096


def test_infinite_and_negative_scores_keep_their_order() -> None:
    maps, masks = strip([-np.inf, -3.0, -2.0, -0.0, 0.0, 1e-30, np.inf], [0, 0, 0, 0, 1, 1, 1])
    assert pixel_auroc(maps, masks) == pytest.approx(11.5 / 12)  # −0 and 0 are tied


@pytest.mark.parametrize("truth", [[0, 0, 0], [1, 1, 1]])
def test_pixel_measures_of_one_class_are_undefined(truth: list[int]) -> None:
    maps, masks = strip([1, 2, 3], truth)
    assert pixel_auroc(maps, masks) is None
    assert aupro(maps, masks) is None
    assert PixelCurve().counts().auroc() is None


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
        PixelCurve().counts().aupro(limit)


def test_the_peak_is_the_first_of_the_highest_pixels() -> None:
    score_map = np.array([[0, 2, 0], [2, 1, -np.inf]], dtype=np.float32)
    first, second = np.zeros((2, 3), dtype=bool), np.zeros((2, 3), dtype=bool)
    first[0, 1] = second[1, 0] = True
    assert peak_inside(score_map, first)
    assert not peak_inside(score_map, second)
    assert not peak_inside(score_map, np.roll(first, 1, axis=1))  # one pixel beside it is outside


masks_and_others = st.integers(1, 30).flatmap(
    lambda size: st.tuples(*[st.lists(st.booleans(), min_size=size, max_size=size)] * 2)
)


@given(masks_and_others)
@settings(max_examples=60)
def test_iou_is_a_share_that_is_the_same_both_ways(rows: tuple[list[bool], list[bool]]) -> None:
    one, other = (np.array([row]) for row in rows)
    found = mask_iou(one, other)
    assert found == mask_iou(other, one)
    if not (one.any() or other.any()):
        assert found is None
        return
    assert found is not None
    assert 0 <= found <= 1
    assert (found == 1) == np.array_equal(one, other)
    assert (found == 0) == (not (one & other).any())
    if one.any():
        assert peak_inside(one.astype(np.float32), one)


def test_iou_by_hand() -> None:
    one, other = np.zeros((4, 4), dtype=bool), np.zeros((4, 4), dtype=bool)
    one[:2, :2] = other[1:3, :3] = True
    assert mask_iou(one, other) == 2 / 8


def test_masks_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        mask_iou(np.ones((1, 2), dtype=bool), np.ones((2, 2), dtype=bool))
    with pytest.raises(ValueError, match="one shape"):
        peak_inside(np.ones((1, 2), dtype=np.float32), np.ones((2, 2), dtype=bool))
