"""The template expert: what lies where it does not belong, and what is missing."""

from __future__ import annotations

import numpy as np
import pytest

from anomalist.vision.detectors.template_memory import TemplateMemory, template_score
from scripts.generated_parts import make_part

PICTURES = [make_part("plate", seed)[0] for seed in range(12)]


@pytest.fixture(scope="module")
def memory() -> TemplateMemory:
    """Memory of twelve plates."""
    fitted = TemplateMemory.fit(PICTURES)
    assert fitted is not None
    return fitted


def test_a_missing_hole_differs_and_nothing_else(memory: TemplateMemory) -> None:
    picture, mask = make_part("plate", 2000, "missing")
    found, usual = memory.differences(picture), memory.differences(make_part("plate", 1000)[0])
    assert found is not None
    assert usual is not None
    y, x = np.unravel_index(int(found.argmax()), found.shape)
    assert mask[y, x]
    assert template_score(found, None) > 5 * template_score(usual, None)


def test_an_excluded_picture_scores_as_if_it_had_not_been_learned(memory: TemplateMemory) -> None:
    without = TemplateMemory.fit(PICTURES[1:])
    assert without is not None
    expected, found = (
        without.differences(PICTURES[0]),
        memory.differences(PICTURES[0], np.array([0], np.int32)),
    )
    assert expected is not None
    assert found is not None
    assert template_score(found, None) == pytest.approx(template_score(expected, None), rel=0.1)


def test_scores_are_the_same_after_reading_it_again(memory: TemplateMemory) -> None:
    again = TemplateMemory.of_arrays(memory.arrays())
    np.testing.assert_array_equal(again.differences(PICTURES[3]), memory.forget().differences(PICTURES[3]))


def test_what_does_not_lie_alike_has_no_template() -> None:
    assert TemplateMemory.fit([make_part("woven", seed)[0] for seed in range(8)]) is None
    assert TemplateMemory.fit([PICTURES[0], PICTURES[1][:200]]) is None


def test_another_size_or_product_is_not_compared(memory: TemplateMemory) -> None:
    assert memory.differences(PICTURES[0][:200]) is None
    assert memory.differences(make_part("cap", 1)[0]) is None


def test_the_score_counts_only_the_region_of_interest() -> None:
    differences = np.zeros((50, 50), np.float32)
    differences[0, 0] = 100
    inside = np.ones((50, 50), bool)
    inside[0, 0] = False
    assert template_score(differences, None) > 0
    assert template_score(differences, inside) == 0
