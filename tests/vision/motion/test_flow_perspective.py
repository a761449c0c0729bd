"""Nearer bodies are larger: the line through their heights is found again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalist.vision.motion.flow import Perspective, fit_perspective
from anomalist.vision.motion.scene import Scene
from tests.scenes import AWAY, NEAR, body_height


def test_the_perspective_of_a_street_is_learned(street: Scene) -> None:
    rows = np.linspace(AWAY[0], NEAR[1], 8)
    real = np.array([body_height(row) for row in rows])
    assert street.manifest.perspective.heights(rows) == pytest.approx(real, rel=0.15)
    assert street.manifest.perspective.bodies > 50


@settings(deadline=None, max_examples=30)
@given(st.floats(8, 40), st.floats(-0.05, 0.3), st.integers(0, 9))
def test_a_line_is_found_again_and_heights_stay_in_bounds(top: float, slope: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.uniform(20, 220, 400)
    tall = np.maximum(top + slope * rows, 5) * rng.normal(1, 0.03, 400)
    boxes = [
        (10, round(y - h / 2), 10 + round(h / 2), round(y + h / 2)) for y, h in zip(rows, tall, strict=True)
    ]
    found = fit_perspective(boxes, 240)
    middle = np.array([120.0])
    assert found.heights(middle) == pytest.approx(np.maximum(top + slope * middle, 5), rel=0.12, abs=1)
    everywhere = found.heights(np.linspace(-1000, 1000, 50))
    assert everywhere.min() >= 4
    assert everywhere.max() <= max(2.5 * found.middle, 4) + 1e-3


def test_nobody_gives_a_flat_guess() -> None:
    guess = fit_perspective([], 200)
    assert guess == Perspective(at_top=20, slope=0, middle=20, aspect=0.5, bodies=0)
    assert set(guess.heights(np.array([0.0, 199.0])).tolist()) == {20.0}
