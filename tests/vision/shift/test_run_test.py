"""The test of a run for drift: valid at any time, and quick where something drifts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from anomalist.types.shift import InputChange, InputShift, RunDrift
from anomalist.vision.shift.run_test import Martingale, RunTest
from tests.vision.shift.watched_runs import model, shift


def watch(seed: int, drift: float, start: int, length: int, pictures: int) -> tuple[int, RunDrift] | None:
    """When drift is noticed in a run whose light rises by a share, from a picture on, over some length."""
    rng = np.random.default_rng(seed)
    test = RunTest(model(rng), seed)
    for number in range(pictures):
        found = test.observe(shift(rng, drift * np.clip((number - start) / length, 0, 1)))
        if found is not None:
            return number, found
    return None


def test_quiet_runs_are_seldom_called_drifting() -> None:
    assert sum(watch(seed, 0.0, 0, 1, 300) is not None for seed in range(40)) <= 6


@pytest.mark.parametrize(("start", "length"), [(0, 50), (0, 200), (150, 100)])
def test_a_drift_of_the_light_is_noticed_within_fifty_pictures(start: int, length: int) -> None:
    noticed = [watch(seed, 0.2, start, length, start + 200) for seed in range(5)]
    assert all(found is not None and found[0] - start <= 50 for found in noticed)
    # One run in twenty may be called drifting for something else before.
    assert sum(found is not None and "brighter" in found[1].words for found in noticed) >= 4


def test_a_sudden_change_is_dated_to_where_it_began() -> None:
    noticed = watch(3, 0.2, 100, 1, 200)
    assert noticed is not None
    assert 90 <= noticed[1].since <= 112
    assert noticed[1].noticed == noticed[0] + 1


def test_how_far_it_has_drifted_is_said_of_many_pictures_and_not_of_the_last_few() -> None:
    """Light that differs by a third from picture to picture, as under several lamps."""
    said = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        usual = model(rng)
        normals = usual.normals.copy()
        normals[:, 0] = rng.uniform(-0.35, 0.35, len(normals))
        test, found = RunTest(replace(usual, normals=normals), seed), None
        while found is None:
            darker = float(rng.uniform(-0.35, 0.35) + np.log(0.7))
            found = test.observe(InputShift(statistics={"brightness": darker}))
        said.append(float(found.words.split(" by ")[1].split("%")[0]))
    assert np.abs(np.array(said) - 30).mean() <= 6.5


def test_drift_once_found_stays() -> None:
    rng = np.random.default_rng(0)
    test = RunTest(model(rng))
    found = [test.observe(shift(rng, 0.2)) for _ in range(60)]
    first = next(each for each in found if each is not None)
    assert test.observe(shift(rng)) == first


def test_capital_is_conserved_in_the_mean_over_all_ranks() -> None:
    """A fair game: over uniform p-values the bets neither win nor lose."""
    wins = []
    for rank in range(200):
        martingale = Martingale(list(range(200)), np.random.default_rng(0))
        wins.append(martingale.observe(rank + 0.5))
    assert np.mean(wins) == pytest.approx(1, abs=0.02)


def test_what_cannot_be_registered_is_not_watched() -> None:
    rng = np.random.default_rng(1)
    test = RunTest(replace(model(rng), template=None))
    for _ in range(100):
        moved = shift(rng)
        assert test.observe(moved.replace(statistics={**moved.statistics, "dx": 99.0})) is None


def test_of_moved_parts_only_the_place_is_watched() -> None:
    rng = np.random.default_rng(2)
    test = RunTest(model(rng))
    moved = InputChange(name="shift", value=0.1, words="moved by 25 px")
    found = None
    for _ in range(40):
        values = dict(shift(rng).statistics) | {"sharpness": -50.0, "dx": 40.0}
        found = test.observe(InputShift(statistics=values, changes=(moved,)))
    assert found is not None
    assert found.name == "shift"
