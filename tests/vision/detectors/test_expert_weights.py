"""Weights of experts from trials with synthetic defects."""

from __future__ import annotations

import numpy as np
import pytest

from anomalist.vision.detectors.expert_weights import PAINTERS, draw_trials, expert_weights
from tests.pictures import tile

NORMAL = [0.0, 1.0, 2.0, 3.0]


def test_an_expert_that_finds_the_defects_outweighs_one_that_does_not() -> None:
    weights = expert_weights(
        {"keen": NORMAL, "half": NORMAL, "blind": NORMAL},
        {"keen": [4.0, 5.0, 6.0, 7.0], "half": [2.0, 3.0, 4.0, 5.0], "blind": NORMAL},
    )
    assert weights["keen"] > weights["half"] > weights["blind"] == 0
    assert sum(weights.values()) == pytest.approx(1)


def test_an_expert_that_is_wrong_weighs_nothing() -> None:
    weights = expert_weights({"a": NORMAL, "b": NORMAL}, {"a": [5.0, 6.0], "b": [-1.0, -2.0]})
    assert weights == {"a": 1.0, "b": 0.0}


def test_where_no_expert_finds_anything_all_weigh_the_same() -> None:
    assert expert_weights({"a": NORMAL, "b": NORMAL}, {"a": NORMAL, "b": [-1.0]}) == {"a": 0.5, "b": 0.5}


def test_the_unit_of_a_score_does_not_matter() -> None:
    plain = expert_weights({"a": NORMAL, "b": NORMAL}, {"a": [2.5, 9.0], "b": [1.5, 0.5]})
    scaled = expert_weights(
        {"a": [100 * x - 7 for x in NORMAL], "b": NORMAL}, {"a": [243.0, 893.0], "b": [1.5, 0.5]}
    )
    assert scaled == pytest.approx(plain)


def test_every_group_gets_every_kind_of_defect_and_the_seed_decides() -> None:
    images = [tile(number) for number in range(6)]
    groups = np.array([0, 0, 1, 1, 2, 2])
    trials = draw_trials(images, groups, 3)
    assert len(trials) == 3 * len(PAINTERS)
    assert sorted({int(groups[index]) for index, _ in trials}) == [0, 1, 2]
    again = draw_trials(images, groups, 3)
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(trials, again, strict=True))
    assert any(
        not np.array_equal(a[1], b[1]) for a, b in zip(trials, draw_trials(images, groups, 4), strict=True)
    )


@pytest.mark.parametrize("kind", sorted(PAINTERS))
def test_a_defect_changes_a_part_of_the_picture(kind: str) -> None:
    rng = np.random.default_rng(0)
    image, donor = (tile(number, 96).astype(np.float32) / 255 for number in (0, 1))
    shares = []
    for _ in range(8):
        painted = PAINTERS[kind](rng, image, donor)
        assert painted.shape == image.shape and np.isfinite(painted).all()
        shares.append(float((np.abs(painted - image).max(2) > 0.02).mean()))
    assert 0.002 < np.median(shares) < 0.6


def test_pictures_of_any_shape_are_painted_on() -> None:
    images = [np.full((40, 90, 3), 120, np.uint8), np.full((90, 40, 3), 130, np.uint8)]
    for index, painted in draw_trials(images, np.array([0, 1]), 0):
        assert painted.shape == images[index].shape and painted.dtype == np.uint8
