"""Synthetic cases as the pipeline sees them: marked regions with their facts, and the normal counterpart."""

from __future__ import annotations

import numpy as np
import pytest

from anomalist.training.synthetic_cases import SyntheticCase, draw_case, draw_product
from anomalist.training.synthetic_evidence import make_case_evidence
from anomalist.vision.regions import crop_window


@pytest.fixture(scope="module")
def cases() -> list[SyntheticCase]:
    products = [draw_product(seed) for seed in range(3)]
    return [draw_case(np.random.default_rng(seed), products, places=2) for seed in range(12)]


def test_each_region_has_the_facts_of_the_place_that_was_marked(cases: list[SyntheticCase]) -> None:
    compared = 0
    for seed, case in enumerate(cases):
        shown = make_case_evidence(np.random.default_rng(seed), case)
        for region, facts in zip(shown.evidence.regions, shown.facts, strict=True):
            x0, y0, x1, y1 = region.box
            assert any(place.mask[y0:y1, x0:x1].any() for place in case.marked if place.facts == facts)
            compared += 1
    assert compared > 12


def test_the_counterpart_is_the_normal_picture_at_the_same_window(cases: list[SyntheticCase]) -> None:
    compared = 0
    for seed, case in enumerate(cases):
        shown = make_case_evidence(np.random.default_rng(seed), case)
        for region in shown.evidence.regions:
            beside = shown.counterpart(region)
            assert (beside is None) == (shown.normal is None)
            if beside is not None:
                x0, y0, x1, y1 = crop_window(region.box, shown.media.size)
                assert np.array_equal(beside, case.normal[y0:y1, x0:x1])
                compared += 1
    assert compared > 5
