"""Novelty: isolation within a picture, distance to others, and what the head is told of both."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from anomalist.vision.features.surface_net import (
    NOVELTY_MAPS,
    clipped_z_score,
    intra_image_novelty,
    isolation,
    nearest_distance,
    novelty_maps,
)

Shapes = pytest.mark.parametrize("shape", [(1, 2, 1, 2), (2, 8, 3, 5), (3, 64, 8, 8)])


def vectors(*shape: int, seed: int = 0) -> Tensor:
    """Random unit vectors along axis 1."""
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(drawn, dim=1)


def isolation_one_by_one(descriptors: Tensor) -> np.ndarray:
    """One minus the log-mean-exp of similarities to the others, in float64 loops."""
    batch, d, height, width = descriptors.shape
    result = np.zeros((batch, height * width))
    for b, picture in enumerate(descriptors.double().reshape(batch, d, -1).numpy()):
        for i, patch in enumerate(picture.T):
            others = [math.exp(float(patch @ other) / 0.07) for j, other in enumerate(picture.T) if j != i]
            result[b, i] = 1 - 0.07 * math.log(sum(others) / len(others))
    return result.reshape(batch, height, width)


# --- within a picture -------------------------------------------------------------------------------------


@Shapes
def test_isolation_is_that_of_a_slow_loop(shape: tuple[int, ...]) -> None:
    descriptors = vectors(*shape)
    assert isolation(descriptors).numpy() == pytest.approx(isolation_one_by_one(descriptors), abs=1e-4)


def test_patches_that_are_all_alike_are_not_isolated_and_opposite_ones_are() -> None:
    same = vectors(1, 16, 1, 1).expand(1, 16, 4, 4)
    assert isolation(same).numpy() == pytest.approx(0, abs=1e-4)
    opposite = torch.cat([same[..., :1, :1], -same[..., :1, :1]], 3)
    assert isolation(opposite).numpy() == pytest.approx(2, abs=1e-4)


@given(st.integers(0, 1000), st.permutations(range(12)))
@settings(max_examples=25)
def test_isolation_does_not_depend_on_where_patches_are(seed: int, order: list[int]) -> None:
    descriptors = vectors(1, 8, 3, 4, seed=seed)
    moved = descriptors.flatten(2)[..., order].reshape(descriptors.shape)
    expected = isolation(descriptors).flatten(1)[:, order]
    assert isolation(moved).flatten(1).numpy() == pytest.approx(expected.numpy(), abs=1e-5)


def test_pictures_do_not_see_each_other() -> None:
    descriptors = vectors(3, 8, 4, 4)
    alone = torch.cat([isolation(one[None]) for one in descriptors])
    assert isolation(descriptors).numpy() == pytest.approx(alone.numpy(), abs=1e-5)


@given(st.integers(0, 1000), st.integers(0, 35), st.integers(1, 3))
@settings(max_examples=25)
def test_a_few_odd_patches_are_the_most_isolated_even_next_to_each_other(
    seed: int, place: int, odd: int
) -> None:
    usual, other = vectors(2, 64, seed=seed)
    places = [(place + k) % 36 for k in range(odd)]
    patches = usual.repeat(36, 1)
    patches[places] = other
    patches = torch.nn.functional.normalize(patches + 0.3 * vectors(36, 64, seed=seed + 1), dim=1)
    found = isolation(patches.T.reshape(1, 64, 6, 6)).flatten()
    assert set(found.argsort(descending=True)[:odd].tolist()) == set(places)


# --- from others ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 7, 50])
@Shapes
def test_the_nearest_distance_is_that_of_a_brute_force_search(shape: tuple[int, ...], n: int) -> None:
    descriptors, others = vectors(*shape), vectors(*shape[:2], n, seed=1)
    each = descriptors.flatten(2)[..., :, None] - others[..., None, :]  # (B, d, patches, n)
    expected = each.square().sum(1).amin(2).reshape(shape[0], *shape[2:])
    found = nearest_distance(descriptors, others)
    assert found.numpy() == pytest.approx(expected.numpy(), abs=1e-5)
    assert found.min() > -1e-5
    assert found.max() < 4 + 1e-5


def test_a_patch_among_the_others_has_distance_0_and_more_others_are_never_farther() -> None:
    descriptors, others = vectors(2, 16, 3, 3), vectors(2, 16, 20, seed=1)
    both = torch.cat([others, descriptors.flatten(2)], 2)
    assert nearest_distance(descriptors, both).numpy() == pytest.approx(0, abs=1e-5)
    assert (nearest_distance(descriptors, others[..., :9]) >= nearest_distance(descriptors, others)).all()


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_novelty_is_in_standard_deviations_and_clipped(scale: float) -> None:
    distances = torch.linspace(-100, 100, 401) * scale
    found = clipped_z_score(distances, torch.tensor(scale), torch.tensor(scale))
    assert -4 <= found.min() <= found.max() <= 12
    assert (found.diff() >= 0).all()
    inside = (found > -4) & (found < 12)
    expected = (distances - scale) / (scale + 0.02)
    assert found[inside].numpy() == pytest.approx(expected[inside].numpy(), rel=1e-5, abs=1e-5)


def test_no_spread_at_all_does_not_make_a_small_distance_novel() -> None:
    assert clipped_z_score(torch.tensor([0.01]), 0.0, 0.0).item() == pytest.approx(0.5)


# --- what the head is told ----------------------------------------------------------------------------------


def test_unknown_novelty_is_0_and_flagged_as_unknown() -> None:
    alone, novelty = torch.rand(3, 4, 5), torch.rand(3, 4, 5) + 1
    novelty[1] = torch.nan
    maps = novelty_maps(alone, novelty)
    assert maps.shape == (3, NOVELTY_MAPS, 4, 5)
    assert torch.isfinite(maps).all()
    assert not maps[1, :2].any()
    for known in (0, 2):
        assert (maps[known, 1] == 1).all()
        assert maps[known, 0].numpy() == pytest.approx(novelty[known].numpy() / 4)
    assert torch.equal(maps[:, 2], alone)


def test_no_novelty_is_unknown_novelty() -> None:
    alone = torch.rand(2, 4, 4)
    assert torch.equal(novelty_maps(alone, None), novelty_maps(alone, torch.full_like(alone, torch.nan)))
    assert not novelty_maps(alone, None)[:, :2].any()


def test_isolation_within_a_picture_is_in_standard_deviations() -> None:
    alone = torch.rand(2, 16, 16)
    within = novelty_maps(alone, None)[:, 3]
    assert within.mean((1, 2)).numpy() == pytest.approx(0, abs=1e-5)
    spread = alone.std((1, 2))
    assert within.std((1, 2)).numpy() == pytest.approx((spread / (spread + 0.02) / 4).numpy(), abs=1e-5)
    assert torch.allclose(novelty_maps(alone + 1, None)[:, 3], within, atol=1e-5)
    lone = torch.zeros(1, 32, 32)
    lone[0, 3, 4] = 2  # 32 standard deviations
    assert novelty_maps(lone, None)[0, 3].max() == 3


def test_novelty_within_a_picture_equals_a_slow_loop() -> None:
    rng = np.random.default_rng(3)
    raw = rng.normal(size=(2, 5, 9, 12)).astype(np.float32)
    unit = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    found = intra_image_novelty(torch.from_numpy(unit)).numpy()
    for picture, own in zip(unit, found, strict=True):
        distance = np.zeros((9, 12))
        for y, x in np.ndindex(9, 12):
            elsewhere = [
                2 - 2 * float(picture[:, y, x] @ picture[:, v, u])
                for v, u in np.ndindex(9, 12)
                if abs(v - y) > 3 or abs(u - x) > 3
            ]
            distance[y, x] = min(elsewhere)  # a hundredth of 108 patches is one
        expected = (distance - distance.mean()) / (distance.std(ddof=1) + 0.02)
        assert own == pytest.approx(expected.clip(-4, 12), abs=1e-3)


def test_in_a_picture_without_an_elsewhere_nothing_is_novel() -> None:
    descriptors = torch.nn.functional.normalize(torch.randn(1, 8, 4, 4), dim=1)
    assert (intra_image_novelty(descriptors) == 0).all()


def test_a_lone_odd_patch_is_the_most_novel_of_its_picture() -> None:
    descriptors = torch.zeros(1, 8, 10, 10)
    descriptors[:, 0] = 1
    descriptors[:, :, 6, 2] = torch.eye(8)[3]
    found = intra_image_novelty(descriptors)[0]
    assert found.argmax() == 6 * 10 + 2
    assert found.max() > 5
