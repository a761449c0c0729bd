from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalist.eval import pixel_metrics
from anomalist.eval.pixel_metrics import FPR_BOUNDS, PimoCurves, aupimo

Arrays = Sequence[np.ndarray]


def pictures(seed: int, levels: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Maps of different sizes with ``levels`` whole-number values: three normal ones, three with defects."""
    rng = np.random.default_rng(seed)
    maps, masks = [], []
    for index in range(6):
        shape = tuple(rng.integers(6, 14, size=2))
        mask = (rng.random(shape) < 0.25) & (index % 2 == 0)
        mask[0, 0] = index % 2 == 0
        maps.append((rng.integers(0, levels, size=shape) + levels // 3 * mask).astype(np.float32))
        masks.append(mask)
    return maps, masks


def slow_curves(maps: Arrays, masks: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """Shared rates (T,) and recalls (pictures, T), threshold by threshold and picture by picture."""
    thresholds = sorted({float(value) for score_map in maps for value in score_map.ravel()}, reverse=True)
    rates, recalls = [0.0], [[0.0 for mask in masks if mask.any()]]
    for threshold in thresholds:
        flagged = [score_map >= threshold for score_map in maps]
        rates.append(np.mean([f.mean() for f, mask in zip(flagged, masks, strict=True) if not mask.any()]))
        recalls.append([f[mask].mean() for f, mask in zip(flagged, masks, strict=True) if mask.any()])
    return np.array(rates), np.array(recalls).T


def slow_aupimo(maps: Arrays, masks: Arrays, bounds: tuple[float, float]) -> np.ndarray:
    """Mean recall over the logarithm of the rate, by Gauss-Legendre quadrature between any two rates."""
    rates, recalls = slow_curves(maps, masks)
    corners = np.log(np.unique(np.clip([*bounds, *rates[rates > 0]], *bounds)))
    nodes, weights = np.polynomial.legendre.leggauss(24)
    widths = np.diff(corners)[:, None] / 2
    at = (corners[:-1, None] + widths) + widths * nodes
    return np.array(
        [
            float(
                (np.interp(np.exp(at), rates, recall) * weights * widths).sum()
                / np.log(bounds[1] / bounds[0])
            )
            for recall in recalls
        ]
    )


@given(
    st.integers(0, 10**6),
    st.sampled_from([1, 3, 50, 30_000]),
    st.sampled_from([(0.05, 0.5), (0.02, 0.03), (0.3, 1.0)]),
)
@settings(max_examples=30)
def test_it_equals_the_slow_definition(seed: int, levels: int, bounds: tuple[float, float]) -> None:
    maps, masks = pictures(seed, levels)
    assert aupimo(maps, masks, bounds) == pytest.approx(slow_aupimo(maps, masks, bounds), abs=1e-6)


@given(st.integers(0, 10**6))
@settings(max_examples=20)
def test_a_strictly_increasing_change_of_all_maps_changes_nothing(seed: int) -> None:
    maps, masks = pictures(seed, 50)
    changed = [(np.expm1(score_map / 8) - 100).astype(np.float32) for score_map in maps]
    assert np.array_equal(aupimo(changed, masks, (0.05, 0.5)), aupimo(maps, masks, (0.05, 0.5)))


@given(st.integers(0, 10**6), st.permutations(range(6)))
@settings(max_examples=20)
def test_the_order_of_the_pictures_changes_nothing_but_the_order(seed: int, order: list[int]) -> None:
    maps, masks = pictures(seed, 50)
    areas = aupimo(maps, masks, (0.05, 0.5))
    shuffled = aupimo([maps[i] for i in order], [masks[i] for i in order], (0.05, 0.5))
    assert areas is not None
    assert shuffled == pytest.approx([areas[i // 2] for i in order if i % 2 == 0], abs=1e-12)


# Two normal pictures, of 10 pixels and of 40: a pixel of the first is a rate of 0.05, of the second 0.0125.
@pytest.mark.parametrize(
    ("small", "large", "defect", "bounds", "expected"),
    [
        ([1] * 10, [1] * 40, [2, 2], (0.05, 0.5), 1.0),
        ([2] * 10, [2] * 40, [1, 1], (0.05, 0.5), 0.0),
        ([1] * 10, [1] * 40, [2, 0], (0.05, 0.5), 0.5),
        # One pixel of the small picture outranks the defect: nothing up to a rate of 0.05, all beyond.
        ([3] + [1] * 9, [1] * 40, [2], (0.0125, 0.2), np.log(0.2 / 0.05) / np.log(0.2 / 0.0125)),
        # The same in the large one counts a quarter of it.
        ([1] * 10, [3] + [1] * 39, [2], (0.0125, 0.2), 1.0),
        ([1] * 10, [3, 3] + [1] * 38, [2], (0.0125, 0.1), np.log(0.1 / 0.025) / np.log(0.1 / 0.0125)),
        # All tied: recall equals the rate.
        ([1] * 10, [1] * 40, [1], (0.05, 0.5), 0.45 / np.log(10)),
    ],
)
def test_by_hand(
    small: list[int], large: list[int], defect: list[int], bounds: tuple[float, float], expected: float
) -> None:
    maps = [np.array([values], dtype=np.float32) for values in (small, large, defect)]
    masks = [np.zeros((1, 10), bool), np.zeros((1, 40), bool), np.ones((1, len(defect)), bool)]
    assert aupimo(maps, masks, bounds) == pytest.approx([expected])


def test_normal_pixels_of_defective_pictures_are_no_false_positives() -> None:
    normal, defective = np.ones((10, 10), np.float32), np.full((4, 4), 9, np.float32)
    mask = np.zeros((4, 4), bool)
    mask[0, 0] = True
    assert aupimo([normal, defective], [np.zeros((10, 10), bool), mask], (0.05, 0.5)) == [1.0]


def test_many_normal_pixels_give_what_trapezoids_over_the_logarithm_give() -> None:
    rng = np.random.default_rng(0)
    normals = rng.normal(size=(4, 500, 1000)).astype(np.float32)
    score_map = rng.normal(3.5, 1, size=(100, 150)).astype(np.float32)
    maps, masks = [*normals, score_map], [*np.zeros(normals.shape, bool), np.ones(score_map.shape, bool)]
    falling = np.sort(normals, axis=None)[::-1]
    first, last = round(FPR_BOUNDS[0] * falling.size), round(FPR_BOUNDS[1] * falling.size)
    recall = np.array([(score_map >= value).mean() for value in falling[first - 1 : last]])
    logs = np.log(np.arange(first, last + 1))
    expected = np.trapezoid(recall, logs) / (logs[-1] - logs[0])
    assert 0.2 < expected < 0.8
    assert aupimo(maps, masks) == pytest.approx([expected], abs=2e-3)


def test_a_large_defect_is_measured_as_exactly_as_a_small_one() -> None:
    """At rates of whole pixels of one normal picture, by the sum over its segments."""
    rng = np.random.default_rng(1)
    normal = rng.normal(size=(1000, 100)).astype(np.float32)
    defect = rng.normal(3.5, 1, size=(100, 90)).astype(np.float32)
    bounds = 4e-5, 4e-4
    falling = np.sort(normal, axis=None)[::-1].astype(np.float64)
    recall = np.array(
        [1 - np.searchsorted(np.sort(defect, None), each) / defect.size for each in falling[:60]]
    )
    rates = np.arange(1, 61) / normal.size
    # What the normal pixel itself ties with is nothing: recall jumps at it and is level up to the next.
    expected = 0.0
    for rate, upto, after in zip(rates[:-1], rates[1:], recall[1:], strict=True):
        low, high = max(rate, bounds[0]), min(upto, bounds[1])
        if low < high:
            expected += after * np.log(high / low)
    expected /= np.log(bounds[1] / bounds[0])
    found = aupimo([normal, defect], [np.zeros(normal.shape, bool), np.ones(defect.shape, bool)], bounds)
    assert found == pytest.approx([expected], abs=1e-6)


@pytest.mark.parametrize("kept", [8, 60])
def test_where_few_normal_pixels_are_kept_exactly_the_others_count_all_the_same(
    kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    maps, masks = pictures(5, 30_000)
    bounds = 0.05, 0.5
    whole = aupimo(maps, masks, bounds)
    monkeypatch.setattr(pixel_metrics, "_MAX_TOP", kept)
    assert aupimo(maps, masks, bounds) == pytest.approx(whole, abs=1e-6)


def test_a_rate_finer_than_one_normal_pixel_is_undefined() -> None:
    curves = PimoCurves()
    assert curves.finest is None
    curves.add(np.zeros((3, 3), np.float32), np.ones((3, 3), bool))
    assert curves.areas((0.05, 0.5)) is None
    for size in (10, 20):
        curves.add(np.zeros((1, size), np.float32), np.zeros((1, size), bool))
    assert curves.finest == 1 / 40
    assert curves.areas((0.025, 0.5)) is not None
    assert curves.areas((0.024, 0.5)) is None


def test_without_a_defect_it_is_undefined() -> None:
    assert aupimo([np.zeros((9, 9), np.float32)], [np.zeros((9, 9), bool)], (0.05, 0.5)) is None


@pytest.mark.parametrize("bounds", [(0.0, 0.1), (0.1, 0.1), (0.2, 0.1), (0.1, 1.1)])
def test_bounds_that_make_no_range_are_refused(bounds: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="bounds"):
        aupimo([], [], bounds)


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
        PimoCurves().add(score_map, mask)
