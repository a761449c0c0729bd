"""Experts of an ensemble: what they give, on one scale."""

from __future__ import annotations

import numpy as np
import pytest

from anomalist.types.common import FloatArray
from anomalist.vision.detectors.experts import (
    NEIGHBOURS,
    SURFACE,
    EnsembleModel,
    ExpertMaps,
    ExpertScale,
    localized,
    map_weights,
    without_idle,
)


def test_an_expert_without_weight_is_not_run_any_more() -> None:
    model = EnsembleModel(None, object())  # type: ignore[arg-type]
    assert without_idle(model, {SURFACE: 0.0}).surface is None
    assert without_idle(model, {SURFACE: 0.1}).surface is not None


def test_maps_are_combined_in_units_of_the_scores_of_normals() -> None:
    scale = ExpertScale.fit([1.0, 2.0, 3.0], [np.full((4, 4), 1.0, np.float32)])
    assert scale.standardise(2.0) == 0
    model = EnsembleModel(None, None, {NEIGHBOURS: scale, SURFACE: scale})  # type: ignore[arg-type]
    found = ExpertMaps(
        {NEIGHBOURS: np.full((4, 4), 9.0, np.float32), SURFACE: np.ones((8, 8), np.float32)},
        {NEIGHBOURS: 2.0, SURFACE: 3.0},
    )
    score = model.score(found, {NEIGHBOURS: 0.0, SURFACE: 1.0})
    joined = model.join(found, {NEIGHBOURS: 0.0, SURFACE: 1.0})
    assert score == pytest.approx(scale.standardise(3.0))
    assert joined == pytest.approx(np.zeros((8, 8)), abs=1e-6)


def test_the_map_of_surface_net_counts_twice() -> None:
    assert map_weights({NEIGHBOURS: 0.3, SURFACE: 0.2}) == {NEIGHBOURS: 0.3, SURFACE: 0.4}


def flat_top() -> FloatArray:
    """A map that is nearly level over a patch of 16 pixels, a little higher at its upper left."""
    values = np.zeros((64, 96), np.float32)
    values[16:32, 32:48] = 10
    values[17, 33] = 10.2
    return values


def test_the_highest_pixel_is_where_the_picture_differs_from_its_surroundings() -> None:
    picture = np.full((64, 96, 3), 150, np.uint8)
    picture[26:29, 42:44] = 60
    picture[50:60, 70:80] = 0  # far from what is suspicious
    found = localized(flat_top(), picture, 16.0)
    row, column = np.unravel_index(int(found.argmax()), found.shape)
    assert 26 <= row < 29 and 42 <= column < 44
    assert np.array_equal(found[flat_top() == 0], flat_top()[flat_top() == 0])
    assert (found >= flat_top()).all() and found.max() <= 10.2 * 1.05 + 1e-5


def test_a_clear_peak_stays_and_so_does_a_map_of_an_even_picture() -> None:
    picture = np.full((64, 96, 3), 150, np.uint8)
    assert localized(flat_top(), picture, 16.0) == pytest.approx(flat_top(), abs=1e-4)
    picture[26:29, 42:44] = 60
    clear = flat_top()
    clear[18, 34] = 11
    assert localized(clear, picture, 16.0).argmax() == clear.argmax()
    assert np.array_equal(localized(np.zeros_like(clear), picture, 16.0), np.zeros_like(clear))


def test_what_lies_outside_the_region_of_interest_is_not_raised() -> None:
    picture = np.full((64, 96, 3), 150, np.uint8)
    picture[26:29, 42:44] = 60
    inside = np.ones((64, 96), bool)
    inside[:, 40:] = False
    found = localized(flat_top(), picture, 16.0, inside)
    assert np.array_equal(found[~inside], flat_top()[~inside])
    assert np.array_equal(localized(flat_top(), picture, 16.0, np.zeros_like(inside)), flat_top())
