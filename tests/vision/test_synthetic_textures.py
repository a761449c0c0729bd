"""Procedural surfaces: functions of their arguments; pictures of a product alike, products not."""

from __future__ import annotations

import math
from itertools import pairwise

import cv2
import numpy as np
import pytest

from anomalist.types.common import FloatArray, UInt8Array
from anomalist.vision import synthetic_textures
from anomalist.vision.synthetic_textures import TEXTURE_FAMILIES, Rng, is_rigid, power_noise, render_surface

RIGID = [seed for seed in range(60) if is_rigid(seed)][:6]
LOOSE = [seed for seed in range(60) if not is_rigid(seed)][:6]
TEXTURED = [name for name in TEXTURE_FAMILIES if name != "plain"]


def rng(seed: int) -> Rng:
    return np.random.default_rng(seed)


def all_but(name: str) -> tuple[str, ...]:
    return (*(other for other in TEXTURE_FAMILIES if other != name), "blemishes")


def detail(picture: UInt8Array) -> FloatArray:
    """Grey without what is smooth, which is light."""
    grey = picture.mean(2).astype(np.float32)
    return np.asarray(grey - cv2.GaussianBlur(grey, (0, 0), 4), np.float32)


# --- families ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [32, 65])
@pytest.mark.parametrize("name", TEXTURE_FAMILIES)
def test_every_family_draws_fields_of_any_size(name: str, n: int) -> None:
    first, again, elsewhere, other = (
        TEXTURE_FAMILIES[name](rng(what), rng(where), n) for what, where in ((1, 2), (1, 2), (1, 3), (4, 2))
    )
    assert first.shape == (n, n)
    assert first.dtype == np.float32
    assert np.isfinite(first).all()
    assert np.array_equal(first, again)
    if name == "plain":
        assert not first.any()
    else:
        assert not np.array_equal(first, elsewhere)
        assert not np.array_equal(first, other)


@pytest.mark.parametrize("name", TEXTURED)
def test_fields_have_about_zero_mean_and_unit_spread(name: str) -> None:
    fields = [TEXTURE_FAMILIES[name](rng(seed), rng(100 + seed), 64) for seed in range(8)]
    assert -0.6 < np.mean(fields) < 0.8
    assert 0.3 < np.mean([field.std() for field in fields]) < 1.3
    assert np.abs(fields).max() < 15


@pytest.mark.parametrize("name", TEXTURE_FAMILIES)
def test_what_a_field_is_like_does_not_depend_on_where_things_lie(name: str) -> None:
    """Else everything that is drawn later would differ between the pictures of a product."""
    states = []
    for seed, side in ((0, 32), (1, 32), (0, 160)):
        what = rng(7)
        TEXTURE_FAMILIES[name](what, rng(seed), side)
        states.append(what.bit_generator.state)
    assert states[0] == states[1] == states[2]


@pytest.mark.parametrize("name", ["rough", "cells", "plain"])
def test_a_family_can_be_left_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(what: Rng, where: Rng, n: int) -> FloatArray:
        raise AssertionError("this family was left out")

    monkeypatch.setitem(TEXTURE_FAMILIES, name, forbidden)
    for seed in range(20):
        render_surface(seed, 32, without=(name,))
    with pytest.raises(AssertionError, match="left out"):
        for seed in range(20):
            render_surface(seed, 32)


def test_leaving_families_out_changes_surfaces() -> None:
    bare = [render_surface(seed, 32, without=all_but("plain")) for seed in range(10)]
    every = [render_surface(seed, 32) for seed in range(10)]
    assert not any(np.array_equal(one, other) for one, other in zip(bare, every, strict=True))
    assert np.mean([detail(one).std() for one in bare]) < 0.8 * np.mean([detail(one).std() for one in every])


# --- pictures ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [64, 256])
def test_a_surface_is_a_function_of_its_arguments(n: int) -> None:
    first, again, other, redrawn = (
        render_surface(11, n),
        render_surface(11, n),
        render_surface(12, n),
        render_surface(11, n, draw=1),
    )
    assert first.shape == (n, n, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert np.array_equal(redrawn, render_surface(11, n, draw=1))
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, redrawn)


def test_surfaces_are_of_all_kinds() -> None:
    some = [render_surface(seed, 32).astype(float) for seed in range(60)]
    grey = [np.ptp(picture, axis=2).max() < 2 for picture in some]
    assert 15 < sum(grey) < 45
    assert min(picture.mean() for picture in some) < 80 < 170 < max(picture.mean() for picture in some)
    assert min(picture.std() for picture in some) < 12 < 50 < max(picture.std() for picture in some)
    assert 8 < sum(is_rigid(seed) for seed in range(60)) < 28


@pytest.mark.parametrize(
    ("seed", "draw", "mean", "spread"),
    [
        (0, 0, (105.2, 105.7, 133.9), 23.8),
        (0, 1, (105.4, 105.8, 134.0), 28.6),
        (1, 0, (73.4, 64.9, 57.6), 20.0),
        (2, 1, (132.1, 132.1, 132.1), 21.9),
        (3, 1, (143.2, 143.2, 143.2), 19.4),
        (4, 0, (118.9, 136.2, 101.6), 27.1),
        (5, 1, (113.4, 105.6, 103.0), 17.8),
    ],
)
def test_the_surfaces_are_those_that_the_shipped_weights_were_trained_on(
    seed: int, draw: int, mean: tuple[float, float, float], spread: float
) -> None:
    """Not to the last bit, which may differ between processors."""
    picture = render_surface(seed, draw=draw).astype(float)
    assert picture.mean((0, 1)) == pytest.approx(mean, abs=0.5)
    assert picture.std() == pytest.approx(spread, abs=0.5)


def test_pictures_of_a_product_share_their_palette_and_products_do_not() -> None:
    colours = np.array([[render_surface(s, 48, draw=d).mean((0, 1)) for d in range(2)] for s in range(16)])
    within = np.linalg.norm(colours[:, 0] - colours[:, 1], axis=1)
    between = np.linalg.norm(colours[1:, 0] - colours[:-1, 1], axis=1)
    assert within.mean() < 0.2 * between.mean()
    spreads = np.log([[render_surface(s, 48, draw=d).std() for d in range(2)] for s in range(16)])
    within, between = abs(spreads[:, 0] - spreads[:, 1]), abs(spreads[1:, 0] - spreads[:-1, 1])
    assert within.mean() < 0.6 * between.mean()


def test_a_product_has_the_same_palette_at_every_size() -> None:
    apart = [
        np.abs(render_surface(s, 48).mean((0, 1)) - render_surface(s, 96).mean((0, 1))).max()
        for s in range(8)
    ]
    assert np.mean(apart) < 10


def alike(seed: int, without: tuple[str, ...]) -> float:
    """Correlation of two draws of a product, pixel by pixel."""
    first, second = (detail(render_surface(seed, 48, without, draw)).ravel() for draw in (0, 1))
    return float(np.corrcoef(first, second)[0, 1])


@pytest.mark.parametrize("name", ["rough", "brushed", "tiling", "marks"])
def test_rigid_products_show_the_same_thing_at_the_same_place_and_others_do_not(name: str) -> None:
    rigid = np.mean([alike(seed, all_but(name)) for seed in RIGID])
    loose = np.mean([alike(seed, all_but(name)) for seed in LOOSE])
    assert rigid > 0.4
    assert abs(loose) < 0.3


# --- blemishes --------------------------------------------------------------------------------------------


def test_about_half_of_the_products_have_blemishes_unless_these_are_left_out() -> None:
    same = [
        np.array_equal(render_surface(s, 32), render_surface(s, 32, without=("blemishes",)))
        for s in range(20)
    ]
    assert 4 < sum(same) < 16


def test_blemishes_look_alike_and_lie_elsewhere_in_every_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    looks, places = [], []

    def noted(what: Rng, where: Rng, picture: FloatArray) -> FloatArray:
        looks.append(what.bit_generator.state)
        places.append(where.bit_generator.state)
        return picture

    monkeypatch.setattr(synthetic_textures, "add_blemishes", noted)
    for seed in RIGID:
        looks.clear()
        places.clear()
        for draw in range(3):
            render_surface(seed, 32, draw=draw)
        assert len(looks) in (0, 3)
        assert all(one == other for one, other in pairwise(looks))
        assert all(one != other for one, other in pairwise(places))
        if looks:
            break
    assert looks
    render_surface(seed, 32, without=("blemishes",))
    assert len(looks) == 3


# --- noise ------------------------------------------------------------------------------------------------


def neighbours_agree(field: FloatArray, axis: int) -> float:
    """Correlation of pixels with the next ones along an axis."""
    return float(np.corrcoef(field.ravel(), np.roll(field, 1, axis).ravel())[0, 1])


@pytest.mark.parametrize("slope", [0.0, 1.0, 2.0])
def test_noise_has_mean_0_and_variance_1(slope: float) -> None:
    field = power_noise(rng(0), 64, slope)
    assert field.mean() == pytest.approx(0, abs=1e-5)
    assert field.std() == pytest.approx(1, abs=1e-4)


def test_a_steeper_spectrum_is_smoother() -> None:
    agreement = [neighbours_agree(power_noise(rng(0), 64, slope), 0) for slope in (0.0, 0.8, 1.6)]
    assert abs(agreement[0]) < 0.1
    assert agreement[0] < agreement[1] < agreement[2]


@pytest.mark.parametrize(("angle", "axis"), [(0.0, 1), (math.pi / 2, 0)])
def test_noise_is_stretched_along_its_angle(angle: float, axis: int) -> None:
    field = power_noise(rng(0), 64, 1.0, stretch=30, angle=angle)
    assert neighbours_agree(field, axis) > neighbours_agree(field, 1 - axis) + 0.3
