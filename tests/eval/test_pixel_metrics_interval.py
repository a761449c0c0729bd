from __future__ import annotations

import numpy as np
import pytest

from anomalist.eval.metrics import group_bootstrap
from anomalist.eval.pixel_metrics import GroupedPixels, pixel_auroc


def pictures(count: int, side: int, seed: int = 0) -> tuple[list[np.ndarray], list[np.ndarray], list[str]]:
    """Maps of objects that differ in brightness and in how well their defect shows; two an object."""
    rng = np.random.default_rng(seed)
    maps, masks, groups = [], [], []
    for index in range(count):
        mask = np.zeros((side, side + index % 3), bool)
        if index % 4 == 0:
            mask[: side // 3, : side // 2] = True
        brightness, contrast = rng.normal(0, 0.3), rng.normal(1, 0.7)
        maps.append((rng.normal(brightness, 1, mask.shape) + contrast * mask).astype(np.float32))
        masks.append(mask)
        groups.append(f"object {index // 2}")
    return maps, masks, groups


def grouped(maps: list[np.ndarray], masks: list[np.ndarray], groups: list[str]) -> GroupedPixels:
    pixels = GroupedPixels()
    for score_map, mask, group in zip(maps, masks, groups, strict=True):
        pixels.add(score_map, mask, group)
    return pixels


@pytest.mark.parametrize("large", [False, True])
def test_it_agrees_with_drawing_whole_maps_again(large: bool) -> None:
    maps, masks, groups = pictures(24, 60)  # 3,600 pixels, of which 1,024 are kept
    if large:  # one picture as large as all others together, its scores in a narrow band
        maps.append(np.random.default_rng(1).normal(0.5, 0.05, (300, 300)).astype(np.float32))
        masks.append(np.zeros((300, 300), bool))
        groups.append("object 0")
    names = sorted(set(groups))
    members = [[i for i, group in enumerate(groups) if group == name] for name in names]

    def exact(drawn: np.ndarray) -> float | None:
        chosen = [index for number in drawn for index in members[number]]
        return pixel_auroc([maps[i] for i in chosen], [masks[i] for i in chosen])

    expected = group_bootstrap(exact, names, seed=3, n=40)
    assert expected is not None
    assert expected[1] - expected[0] > 0.05
    assert grouped(maps, masks, groups).interval(seed=3, n=40) == pytest.approx(expected, abs=0.002)


@pytest.mark.parametrize("power", [1, 3])
def test_it_contains_the_measure_and_ignores_a_monotone_change(power: int) -> None:
    maps, masks, groups = pictures(24, 20)
    interval = grouped([score_map**power for score_map in maps], masks, groups).interval(seed=0)
    measured = pixel_auroc(maps, masks)
    assert interval is not None
    assert measured is not None
    assert interval[0] < measured < interval[1]
    assert interval == pytest.approx(grouped(maps, masks, groups).interval(seed=0), abs=1e-3)


def test_scores_that_are_mostly_tied_stay_tied() -> None:
    maps = [np.zeros((30, 30), np.float32) for _ in range(8)]
    masks = [np.arange(900).reshape(30, 30) < 90 for _ in range(8)]
    interval = grouped(maps, masks, [str(index) for index in range(8)]).interval(seed=0)
    assert interval == pytest.approx((0.5, 0.5))


@pytest.mark.parametrize(
    ("count", "truth"),
    [(0, False), (1, True), (2, True), (4, False)],
    ids=["nothing", "one picture", "one object", "normals only"],
)
def test_it_is_undefined_without_two_objects_or_two_classes(count: int, truth: bool) -> None:
    maps, masks, groups = pictures(count, 12)
    assert grouped(maps, [mask & truth for mask in masks], groups).interval(seed=0) is None


def test_only_anomalous_pixels_are_one_class() -> None:
    maps = [np.zeros((3, 3), np.float32)] * 2
    assert grouped(maps, [np.ones((3, 3), bool)] * 2, ["a", "b"]).interval(seed=0) is None


def test_it_repeats_with_its_seed() -> None:
    pixels = grouped(*pictures(24, 12))
    assert pixels.interval(seed=1) == pixels.interval(seed=1)
    assert pixels.interval(seed=1) != pixels.interval(seed=2)
