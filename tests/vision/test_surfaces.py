"""Procedural surfaces: functions of their seed, of every family, none like another."""

from __future__ import annotations

import math

import numpy as np
import pytest

from anomalist.types import FloatArray
from anomalist.vision.surfaces import FAMILIES, Rng, power_noise, surface


@pytest.mark.parametrize("n", [32, 65, 128])
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_draws_fields_of_any_size(name: str, n: int) -> None:
    first, again, other = (FAMILIES[name](np.random.default_rng(seed), n) for seed in (1, 1, 2))
    assert first.shape == (n, n)
    assert first.dtype == np.float32
    assert np.isfinite(first).all()
    assert np.abs(first).max() < 30
    assert np.array_equal(first, again)
    if name == "plain":
        assert not first.any()
    else:
        assert first.std() > 0.01
        assert not np.array_equal(first, other)


@pytest.mark.parametrize("n", [64, 256])
def test_a_surface_is_a_function_of_its_seed(n: int) -> None:
    first, again, other = surface(11, n), surface(11, n), surface(12, n)
    assert first.shape == (n, n, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_surfaces_are_of_all_kinds() -> None:
    some = [surface(seed, 64).astype(float) for seed in range(60)]
    grey = [np.ptp(picture, axis=2).max() < 2 for picture in some]
    assert 15 < sum(grey) < 45
    assert min(picture.mean() for picture in some) < 80 < 170 < max(picture.mean() for picture in some)
    assert min(picture.std() for picture in some) < 12 < 50 < max(picture.std() for picture in some)


@pytest.mark.parametrize(
    ("seed", "mean", "spread"),
    [
        (0, (66.3, 37.5, 107.3), 30.9),
        (1, (52.9, 76.3, 21.5), 27.8),
        (2, (156.2, 156.2, 156.2), 16.7),
        (3, (143.0, 143.0, 143.0), 36.8),
        (4, (118.4, 90.3, 89.7), 26.8),
        (5, (142.4, 57.2, 125.6), 38.0),
    ],
)
def test_the_surfaces_are_those_that_the_shipped_weights_were_trained_on(
    seed: int, mean: tuple[float, float, float], spread: float
) -> None:
    """Not to the last bit, which may differ between processors."""
    picture = surface(seed).astype(float)
    assert picture.mean((0, 1)) == pytest.approx(mean, abs=0.5)
    assert picture.std() == pytest.approx(spread, abs=0.5)


def test_a_family_can_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(rng: Rng, n: int) -> FloatArray:
        raise AssertionError("this family was left out")

    monkeypatch.setitem(FAMILIES, "cells", forbidden)
    for seed in range(30):
        surface(seed, 32, without=("cells",))
    with pytest.raises(AssertionError, match="left out"):
        for seed in range(30):
            surface(seed, 32)


# --- noise ------------------------------------------------------------------------------------------------


def neighbours_agree(field: FloatArray, axis: int) -> float:
    """Correlation of pixels with the next ones along an axis."""
    return float(np.corrcoef(field.ravel(), np.roll(field, 1, axis).ravel())[0, 1])


@pytest.mark.parametrize("slope", [0.0, 1.0, 2.0])
def test_noise_has_mean_0_and_variance_1(slope: float) -> None:
    field = power_noise(np.random.default_rng(0), 64, slope)
    assert field.mean() == pytest.approx(0, abs=1e-5)
    assert field.std() == pytest.approx(1, abs=1e-4)


def test_a_steeper_spectrum_is_smoother() -> None:
    agreement = [
        neighbours_agree(power_noise(np.random.default_rng(0), 64, slope), 0) for slope in (0.0, 0.8, 1.6)
    ]
    assert abs(agreement[0]) < 0.1
    assert agreement[0] < agreement[1] < agreement[2]


@pytest.mark.parametrize(("angle", "axis"), [(0.0, 1), (math.pi / 2, 0)])
def test_noise_is_stretched_along_its_angle(angle: float, axis: int) -> None:
    field = power_noise(np.random.default_rng(0), 64, 1.0, stretch=30, angle=angle)
    assert neighbours_agree(field, axis) > neighbours_agree(field, 1 - axis) + 0.3
