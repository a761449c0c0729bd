"""Similarities to one number, and the laws that it keeps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from anomalist.memory.scenes.scene_index import (
    anomaly_probability,
    nova_score,
    side_support,
    support_contrast,
)
from anomalist.types.common import FloatArray

similarities = arrays.arrays(
    np.float32, st.tuples(st.integers(1, 4), st.integers(1, 12)), elements=st.floats(-1, 1, width=32)
)
temperatures = st.floats(0.01, 2)


@settings(max_examples=40)
@given(similarities, temperatures)
def test_support_lies_between_the_mean_and_the_highest(values: FloatArray, temperature: float) -> None:
    found = side_support(values, temperature)
    assert (found <= values.max(1) + 1e-5).all()
    assert (found >= values.mean(1) - 1e-5).all()


@settings(max_examples=40)
@given(similarities, temperatures, st.floats(-0.5, 0.5, width=32))
def test_support_moves_with_what_is_added(values: FloatArray, temperature: float, more: float) -> None:
    moved = side_support(values + np.float32(more), temperature)
    assert moved == pytest.approx(side_support(values, temperature) + more, abs=1e-4)


def test_what_is_not_there_does_not_count() -> None:
    some = np.array([[0.5, 0.3, -np.inf], [-np.inf] * 3], np.float32)
    found = side_support(some, 0.1)
    assert found[0] == pytest.approx(side_support(some[:1, :2], 0.1)[0])
    assert np.isneginf(found[1])
    assert np.isneginf(side_support(np.empty((1, 0), np.float32), 0.1))


@settings(max_examples=40)
@given(similarities, st.floats(0.05, 1))
def test_the_difference_is_the_softmax_on_another_scale(values: FloatArray, temperature: float) -> None:
    ahead, behind = values, values[:, ::-1] * np.float32(0.5)
    weights = np.exp(np.hstack([ahead, behind]).astype(np.float64) / temperature)
    share = weights[:, : ahead.shape[1]].sum(1) / weights.sum(1)
    difference = support_contrast(side_support(ahead, temperature), side_support(behind, temperature))
    assert anomaly_probability(difference, temperature) == pytest.approx(share, abs=1e-4)


def test_nova_takes_the_best_category() -> None:
    by_category = np.full((1, 2, 10), -np.inf, np.float32)
    by_category[0, 0, :2] = 0.8
    by_category[0, 1] = 0.4
    assert nova_score(by_category, np.full((1, 10), 0.5, np.float32))[0] == pytest.approx(0.9 * 0.8 - 0.5)
    assert nova_score(np.empty((2, 0, 10), np.float32), np.zeros((2, 10), np.float32)).tolist() == [-1, -1]
