"""Pacing: gaps, repeated pictures, and frames that come too seldom to follow what moves."""

from __future__ import annotations

import numpy as np
import pytest

from anomalist.types.common import BoolArray, UInt8Array
from anomalist.vision.motion.pacing import GapMonitor, RateMonitor, RepeatMonitor

SHAPE = (60, 200)


def gaps(times: list[float]) -> list[float]:
    monitor = GapMonitor()
    return [monitor.gap(time) for time in times]


def test_even_frames_have_no_gap_whatever_their_rate() -> None:
    assert not any(gaps([0.1 * n for n in range(20)]))
    assert not any(gaps([5.0 * n for n in range(20)]))


def test_a_pause_is_a_gap_of_as_many_seconds_as_are_missing() -> None:
    found = gaps([*(0.1 * n for n in range(10)), 5.0, 5.1])
    assert found[10] == pytest.approx(4.0, abs=0.01)
    assert found[11] == 0


def test_a_few_dropped_frames_are_no_gap() -> None:
    assert not any(gaps([*(0.1 * n for n in range(10)), 1.3, 1.4]))


def textured(seed: int) -> UInt8Array:
    return np.random.default_rng(seed).integers(60, 190, SHAPE).astype(np.uint8)


def test_what_only_coding_changes_is_a_repeat_and_what_moves_is_not() -> None:
    monitor, still = RepeatMonitor(), textured(1)
    assert not monitor.repeats(still, 0.0)
    assert monitor.repeats(still.copy(), 0.1)
    coded = still.copy()
    coded[::7, ::7] += 1
    assert monitor.repeats(coded, 0.2)
    moved = still.copy()
    moved[20:40, 50:60] = 0
    assert not monitor.repeats(moved, 0.3)


def test_a_key_frame_of_a_still_picture_is_a_repeat_but_a_noisy_camera_never_is() -> None:
    rng, still = np.random.default_rng(3), np.full(SHAPE, 120, np.uint8)

    def noisy() -> UInt8Array:
        return (still + np.rint(3 * rng.standard_normal(SHAPE))).astype(np.uint8)

    monitor = RepeatMonitor()
    assert not monitor.repeats(still, 0.0)
    assert monitor.repeats(noisy(), 4.0)
    assert sum(monitor.repeats(noisy(), 4.1 + 0.1 * n) for n in range(9)) == 0


def blobs(step: float, pictures: int) -> list[tuple[UInt8Array, BoolArray]]:
    """A body, 10 pixels wide, that moves ``step`` pixels a picture."""
    made = []
    for n in range(pictures):
        mask = np.zeros(SHAPE, np.bool_)
        left = int(5 + (n * step) % 170)
        mask[20:45, left : left + 10] = True
        made.append((np.where(mask, 200, 100).astype(np.uint8), mask))
    return made


def too_low(step: float, pace: float | None, interval: float) -> bool:
    monitor, limit = RateMonitor(pace), np.full(SHAPE, 20, np.float32)
    answers = [
        monitor.too_low(grey, mask, limit, n * interval) for n, (grey, mask) in enumerate(blobs(step, 14))
    ]
    return answers[-1]


def test_what_overlaps_with_itself_can_be_followed() -> None:
    assert not too_low(2, pace=None, interval=0.1)


def test_what_jumps_by_its_width_can_not() -> None:
    assert too_low(12, pace=None, interval=1.0)


def test_the_pace_of_the_scene_says_it_before_anything_was_seen() -> None:
    assert too_low(0, pace=2.0, interval=0.5)
    assert not too_low(0, pace=2.0, interval=0.1)


def test_fast_things_alone_are_no_lack_of_frames() -> None:
    assert not too_low(12, pace=1.0, interval=0.1)
