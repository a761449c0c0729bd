"""Blocks: thresholds keep what they promise on the maxima, and never promise what the footage can't."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomalist.errors import CalibrationError
from anomalist.vision.motion.score_scale import BlockMaxima, block_length, split_blocks


def maxima(n: int, seconds: float = 60.0) -> BlockMaxima:
    return BlockMaxima(np.random.default_rng(0).gamma(2, 1, n).astype(np.float32), seconds, n * seconds)


@given(n=st.integers(1, 400), asked=st.floats(0.5, 30))
def test_no_more_blocks_are_above_the_threshold_than_promised(n: int, asked: float) -> None:
    blocks = maxima(n)
    if asked < blocks.supported:
        with pytest.raises(CalibrationError, match="support no fewer"):
            blocks.threshold(asked)
        return
    threshold, calibration = blocks.threshold(asked)
    above = int((blocks.maxima >= threshold).sum())
    assert (above + 1) / (n + 1) * 3600 / blocks.seconds <= calibration.promised_per_hour * (1 + 1e-6)
    assert calibration.supported


def test_the_nearest_promise_is_the_lowest_that_the_footage_supports() -> None:
    blocks = BlockMaxima(np.arange(9, dtype=np.float32), 30.0, 270.0)
    with pytest.raises(CalibrationError):
        blocks.threshold(1.0)
    threshold, calibration = blocks.threshold(1.0, nearest=True)
    assert threshold > 8
    assert (calibration.asked_per_hour, calibration.promised_per_hour) == (1.0, blocks.supported)
    assert not calibration.supported
    assert blocks.threshold(20.0, nearest=True) == blocks.threshold(20.0)


def test_the_default_takes_what_the_footage_supports_and_says_so() -> None:
    blocks = BlockMaxima(np.array([1, 3, 2], np.float32), 5.0, 15.0)
    threshold, calibration = blocks.threshold()
    assert threshold > 3
    assert calibration.promised_per_hour == pytest.approx(180)
    assert not calibration.supported


@pytest.mark.parametrize("asked", [0.0, -1.0, float("nan")])
def test_nonsense_is_refused(asked: float) -> None:
    with pytest.raises(CalibrationError):
        maxima(10).threshold(asked)


def test_how_often_a_score_is_reached() -> None:
    blocks = BlockMaxima(np.array([1, 2, 3], np.float32), 60.0, 180.0)
    assert blocks.per_hour(4) is None
    assert blocks.per_hour(2.5) == pytest.approx(2 / 4 * 60)


@pytest.mark.parametrize(("footage", "want"), [(60, 5), (4000, 20), (36000, 60), (1e6, 60)])
def test_blocks_are_long_where_there_is_much_footage(footage: float, want: float) -> None:
    assert block_length(footage) == want


@given(n=st.integers(1, 300), seconds=st.floats(0.5, 7))
def test_every_frame_is_in_one_block(n: int, seconds: float) -> None:
    parts = split_blocks(np.arange(n) / 10, seconds)
    assert np.concatenate(parts).tolist() == list(range(n))
