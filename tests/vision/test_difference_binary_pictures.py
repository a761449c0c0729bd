from __future__ import annotations

import numpy as np

from anomalist.vision.difference import split_figure, two_tone_level
from tests.boards import board, textured


def test_figure_and_ground_need_two_tones_and_a_rarer_one() -> None:
    two = board()[..., 0].astype(np.float32)
    level, rarer = two_tone_level(two)
    assert level is not None and 40 < level < 220
    assert rarer == "dark"
    assert two_tone_level(255 - two)[1] == "light"
    assert two_tone_level(textured()[..., 0].astype(np.float32)) == (None, None)
    assert two_tone_level(np.full((5, 5), 7, dtype=np.float32)) == (None, None)
    half = np.zeros((10, 10), dtype=np.float32)
    half[:5] = 255
    assert two_tone_level(half)[1] is None


def test_a_named_tone_of_structure_wins_over_the_rarer_one() -> None:
    two = board()[..., 0].astype(np.float32)
    everywhere = np.ones(two.shape, dtype=np.bool_)
    usual, other = split_figure(two, two, everywhere), split_figure(two, two, everywhere, "light")
    assert usual.before is not None and other.before is not None
    assert (usual.before == ~other.before).all()
