"""The drift test: few false alarms however long one looks, and a change is found soon and dated right."""

from __future__ import annotations

import numpy as np
import pytest

from anomalist.audit.drift import LEVEL, drift_test, online_p_values

RUNS = 100


def run(
    normals: int, seed: int, shift: float = 0.0, since: int = 150, count: int = 400
) -> tuple[int | None, int | None]:
    chance = np.random.default_rng(seed)
    scores = chance.normal(size=count)
    scores[since:] += shift
    found = drift_test(online_p_values(chance.normal(size=normals).tolist(), scores.tolist(), seed))
    return found.alarm, found.began


@pytest.mark.parametrize("normals", [20, 200])
def test_undisturbed_runs_raise_few_false_alarms(normals: int) -> None:
    alarms = sum(run(normals, seed)[0] is not None for seed in range(RUNS))
    assert alarms <= LEVEL * RUNS


@pytest.mark.parametrize("shift", [2.0, -2.0])
def test_a_shift_either_way_is_seen_within_fifty_pictures_and_dated(shift: float) -> None:
    found = [run(50, seed, shift) for seed in range(20)]
    delays = [alarm - 150 for alarm, _ in found if alarm is not None]
    assert len(delays) == 20 and max(delays) < 50
    assert abs(np.median([began - 150 for _, began in found if began is not None])) <= 2


def test_p_values_are_uniform_with_ties_too() -> None:
    chance = np.random.default_rng(0)
    p = online_p_values([1.0] * 10, chance.integers(0, 2, 2000).tolist())
    assert abs(p.mean() - 0.5) < 0.03 and p.min() >= 0 and p.max() <= 1


def test_nothing_to_test_is_no_alarm() -> None:
    assert drift_test([]).alarm is None
