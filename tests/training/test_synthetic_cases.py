"""Drawn cases follow from their generator, show what they say, and mark where it is."""

from __future__ import annotations

import numpy as np
import pytest

from anomalist.training.defect_renderers import DEFECT_KINDS, DEFECT_RENDERERS, Canvas
from anomalist.training.synthetic_cases import SyntheticCase, SyntheticProduct, draw_case, draw_product
from anomalist.vision.attributes import POSITION_NAMES


@pytest.fixture(scope="module")
def products() -> list[SyntheticProduct]:
    return [draw_product(seed) for seed in range(4)]


@pytest.fixture(scope="module")
def cases(products: list[SyntheticProduct]) -> list[SyntheticCase]:
    return [draw_case(np.random.default_rng(seed), products, places=1 + seed % 3) for seed in range(60)]


def test_the_same_generator_draws_the_same_case(products: list[SyntheticProduct]) -> None:
    first, second = (draw_case(np.random.default_rng(5), products, places=2) for _ in range(2))

    assert np.array_equal(first.pixels, second.pixels)
    assert np.array_equal(first.normal, second.normal)
    assert [place.facts for place in first.marked] == [place.facts for place in second.marked]


def test_pictures_and_masks_of_a_case_have_one_size(cases: list[SyntheticCase]) -> None:
    for case in cases:
        assert case.pixels.dtype == case.normal.dtype == np.uint8
        assert case.pixels.shape == case.normal.shape
        assert all(place.mask.shape == case.pixels.shape[:2] and place.mask.any() for place in case.marked)


def test_marked_places_lie_apart(cases: list[SyntheticCase]) -> None:
    assert any(len(case.marked) > 1 for case in cases)
    for case in cases:
        count = sum((place.mask.astype(int) for place in case.marked), np.zeros(case.pixels.shape[:2], int))
        assert count.max() <= 1


def test_every_kind_is_drawn(cases: list[SyntheticCase]) -> None:
    assert {place.facts.kind for case in cases for place in case.marked} >= set(DEFECT_KINDS)


def test_nothing_has_no_properties_but_its_place(cases: list[SyntheticCase]) -> None:
    marked = [place.facts for case in cases for place in case.marked]
    assert any(facts.kind == "nothing" for facts in marked)
    for facts in marked:
        if facts.kind in (None, "nothing"):
            assert (facts.tone, facts.hue, facts.shape, facts.count, facts.faint) == (None,) * 5
        assert facts.place in (None, *POSITION_NAMES)


@pytest.mark.parametrize("kind", DEFECT_RENDERERS)
def test_a_defect_changes_the_picture_inside_its_mask_most(
    kind: str, products: list[SyntheticProduct]
) -> None:
    product = products[1]  # with a pattern, which a bend needs
    picture, foreign = (each.astype(np.float32) / 255 for each in product.draws)
    part = np.ones(picture.shape[:2], np.float32)
    part[:, :60] = 0.0
    part[:, 60] = 0.5
    canvas = Canvas(picture, foreign, 1 - picture, part)

    for seed in range(3):
        after, mask, _ = DEFECT_RENDERERS[kind](np.random.default_rng(seed), canvas)  # type: ignore[index]
        change = np.abs(after - picture).max(2)

        assert after.dtype == np.float32
        assert 0 <= after.min() <= after.max() <= 1
        assert change[mask > 0.4].mean() > 1.5 * change[mask < 0.01].mean()
