"""Ranges and sampling by time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomalist.vision.media.frames import (
    MAX_LOST_FRAMES,
    DamageLog,
    Frame,
    FrameSampler,
    LiveFrameSampler,
)

PIXELS = np.zeros((2, 2, 3), np.uint8)


def taken(selection: FrameSampler, times: list[float]) -> list[float]:
    return [
        selection.take(Frame(i, time, PIXELS)).time for i, time in enumerate(times) if selection.wants(time)
    ]


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (FrameSampler(), [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]),
        (FrameSampler(0.2), [0.2, 0.3, 0.4, 0.5]),
        (FrameSampler(0.2, 0.4), [0.2, 0.3]),
        (FrameSampler(-3, 0.2), [0.0, 0.1]),
        (FrameSampler(9), []),
        (FrameSampler(0.4, 0.2), []),
        (FrameSampler(rate=5), [0.0, 0.2, 0.4]),
        (FrameSampler(rate=4), [0.0, 0.3, 0.5]),
        (FrameSampler(0.1, rate=5), [0.1, 0.3, 0.5]),
        (FrameSampler(rate=1000), [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]),
        (FrameSampler(rate=0.1), [0.0]),
    ],
)
def test_frames_are_taken_by_time(selection: FrameSampler, expected: list[float]) -> None:
    assert taken(selection, [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]) == expected


def test_after_a_long_gap_one_frame_serves_all_ticks_before() -> None:
    assert taken(FrameSampler(rate=1), [0.0, 0.5, 7.3, 7.9, 8.0, 8.1]) == [0.0, 7.3, 8.0]


@given(rate=st.sampled_from([1.0, 5.0, 12.5, 25.0, 29.97, 60.0]), count=st.integers(1, 400))
def test_a_rate_at_or_above_the_sources_takes_every_frame(rate: float, count: int) -> None:
    times = [number / rate for number in range(count)]
    assert taken(FrameSampler(rate=rate), times) == times


@given(
    rate=st.sampled_from([5.0, 10.0]),
    phase=st.floats(0, 0.1),
    jitter=st.lists(st.floats(-0.2, 0.2), min_size=2, max_size=200),
)
def test_arrivals_that_jitter_lose_no_frame_of_a_stream_at_that_rate(
    rate: float, phase: float, jitter: list[float]
) -> None:
    times = [0.0, *(phase + (number + 1 + off) / rate for number, off in enumerate(jitter))]
    found = taken(LiveFrameSampler(rate=rate), times)
    assert len(found) >= len(times) - 1, "one at most, at the beginning"


@given(
    source=st.sampled_from([12.0, 15.0, 25.0, 30.0, 60.0]),
    jitter=st.lists(st.floats(-0.4, 0.4), min_size=100, max_size=300),
)
def test_no_more_than_the_rate_is_taken_of_a_faster_stream(source: float, jitter: list[float]) -> None:
    times = [(number + off) / source for number, off in enumerate(jitter, 1)]
    found = taken(LiveFrameSampler(rate=10.0), times)
    assert len(found) <= 10 * (found[-1] - found[0]) + 2
    assert len(found) >= 0.8 * 10 * (found[-1] - found[0]), "nor are few"


def test_a_cut_stays_until_a_frame_is_taken_but_the_first_has_none() -> None:
    selection = FrameSampler(rate=1)
    selection.break_off(0.0)
    assert not selection.take(Frame(0, 0.0, PIXELS)).cut
    selection.break_off(0.5)
    assert selection.take(Frame(9, 1.0, PIXELS)).cut
    assert not selection.take(Frame(19, 2.0, PIXELS)).cut


@pytest.mark.parametrize("arguments", [(float("nan"), None, None), (0.0, None, 0.0), (0.0, None, -1.0)])
def test_nonsense_is_refused(arguments: tuple[float, None, float | None]) -> None:
    with pytest.raises(ValueError, match="must be"):
        FrameSampler(*arguments)


def test_neighbours_are_one_note_whatever_their_order_and_passes_do_not_add_up() -> None:
    damage = DamageLog()
    for _ in range(2):
        for index in (33, 35, 34, 32):
            damage.add_lost(index, index / 10)
        damage.add_lost(50, 5.0)
    assert damage.notes() == [
        "damaged: 4 frames from 3.2 s could not be decoded",
        "damaged: 1 frame from 5.0 s could not be decoded",
    ]


def test_many_places_are_summed_up_and_memory_is_bounded() -> None:
    damage = DamageLog()
    for index in range(0, 2 * (MAX_LOST_FRAMES + 10), 2):
        damage.add_lost(index, index / 10)
    assert len(damage.notes()) == 6
    assert (
        damage.notes()[-1]
        == f"damaged: {MAX_LOST_FRAMES + 5} more frames in other places could not be decoded"
    )


def test_an_early_end_is_told_from_a_rounded_one() -> None:
    damage = DamageLog()
    damage.set_end(9.96, 10.0, 0.1)
    assert damage.notes() == []
    damage.set_end(4.16, 10.0, 0.1)
    assert damage.notes() == ["cut short: ends at 4.1 s of 10.0 s"]
    assert damage.end == 4.16
    assert damage.lost_seconds(0.1) == pytest.approx(5.84)
