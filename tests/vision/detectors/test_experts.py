"""Experts of an ensemble: what they give, on one scale."""

from __future__ import annotations

import numpy as np
import pytest

from anomalist.vision.detectors.experts import (
    NEIGHBOURS,
    SURFACE,
    EnsembleModel,
    ExpertMaps,
    ExpertScale,
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
    score, joined = model.combine(found, {NEIGHBOURS: 0.0, SURFACE: 1.0})
    assert score == pytest.approx(scale.standardise(3.0))
    assert joined == pytest.approx(np.zeros((8, 8)), abs=1e-6)
