"""Times from timestamps that may be wrong."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomalist.vision.media.decoding import MonotonicClock

JUMP = "wrong clock: timestamps jump once at {} s; times go on from there"


@pytest.mark.parametrize(
    ("stamps", "expected", "notes"),
    [
        ([5.0, 5.1, 5.25], [0.0, 0.1, 0.25], []),
        ([5.0, 5.1, 2.0, 2.1], [0.0, 0.1, 0.2, 0.3], [JUMP.format(0.2)]),
        ([5.0, 5.1, 99.0, 99.1], [0.0, 0.1, 0.2, 0.3], [JUMP.format(0.2)]),
        ([5.0, None, 5.2], [0.0, 0.1, 0.2], []),
        ([None, None, None], [0.0, 0.1, 0.2], []),
        ([5.0, 5.0, 5.1], [0.0, 0.001, 0.1], []),
    ],
)
def test_times_follow_the_timestamps_as_long_as_they_make_sense(
    stamps: list[float | None], expected: list[float], notes: list[str]
) -> None:
    clock = MonotonicClock(0.1, leap=10)
    assert [clock.time(stamp) for stamp in stamps] == pytest.approx(expected)
    assert clock.notes() == notes


def test_a_pause_that_was_waited_for_is_no_jump() -> None:
    clock = MonotonicClock(0.1, leap=10)
    assert [clock.time(0.0), clock.time(60.0, waited=59.9)] == [0.0, 60.0]
    assert clock.notes() == []


def test_after_a_restart_time_goes_on_by_what_was_waited() -> None:
    clock = MonotonicClock(0.1, leap=10)
    clock.time(1000.0)
    clock.restart()
    assert clock.time(3.0, waited=7.5) == 7.5
    assert clock.time(3.1, waited=0.1) == pytest.approx(7.6)
    assert clock.notes() == []


stamps = st.one_of(st.none(), st.floats(-1e6, 1e6))


@given(st.lists(st.tuples(stamps, st.booleans(), st.floats(0, 100)), max_size=50))
def test_times_only_grow_whatever_comes(events: list[tuple[float | None, bool, float]]) -> None:
    clock = MonotonicClock(0.04, leap=10)
    last = -math.inf
    for stamp, restart, waited in events:
        if restart:
            clock.restart()
        time = clock.time(stamp, waited)
        assert last < time < math.inf
        last = time
