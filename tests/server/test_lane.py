"""The lane does things in order, alike ones together, and says when it is full."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from anomalist.server.lane import Lane
from anomalist.server.problems import BusyError


def test_what_waits_and_is_alike_is_done_together() -> None:
    lane, gate, batches = Lane(room=10, together=3), threading.Event(), []

    def work(items: Sequence[int]) -> list[int]:
        batches.append(list(items))
        return [10 * item for item in items]

    first = lane.submit(gate.wait)
    futures = [lane.submit_batched("a" if number != 2 else "b", number, work) for number in range(6)]
    gate.set()
    assert [future.result(60) for future in futures] == [0, 10, 20, 30, 40, 50]
    assert batches == [[0, 1, 3], [2], [4, 5]]
    assert first.result(60)
    lane.close()


def test_a_full_lane_refuses_and_says_when_to_come_again() -> None:
    lane, gate, begun = Lane(room=2), threading.Event(), threading.Event()
    lane.submit(lambda: (begun.set(), gate.wait()))
    begun.wait(60)
    waiting = [lane.submit(lambda: 1) for _ in range(2)]
    with pytest.raises(BusyError) as busy:
        lane.submit(lambda: 2)
    assert busy.value.after >= 1
    gate.set()
    lane.close()
    assert [future.result() for future in waiting] == [1, 1], "what was accepted is done"


def test_an_error_reaches_all_that_were_done_together() -> None:
    lane, gate = Lane(room=10), threading.Event()

    def work(_: Sequence[int]) -> list[int]:
        raise ZeroDivisionError

    lane.submit(gate.wait)
    futures = [lane.submit_batched("a", number, work) for number in range(2)]
    gate.set()
    assert all(isinstance(future.exception(60), ZeroDivisionError) for future in futures)
    assert lane.submit(lambda: 3).result(60) == 3
    lane.close()


def test_with_two_threads_one_works_while_the_other_does_what_is_to_be_done_alone() -> None:
    lane, gate, begun = Lane(room=10, threads=2), threading.Event(), threading.Event()
    first = lane.submit(lambda: (begun.set(), gate.wait(60)))
    begun.wait(60)
    second = lane.submit(lambda: gate.is_set())
    beside = [
        lane.submit_batched("a", number, lambda items: [2 * item for item in items]) for number in (1, 2)
    ]
    assert [future.result(60) for future in beside] == [2, 4], "what waits before them holds nobody up"
    assert not first.done()
    gate.set()
    assert second.result(60), "two that are to be done alone are done one after the other"
    lane.close()


def test_two_threads_share_what_waits() -> None:
    lane, gate, batches = Lane(room=20, threads=2), threading.Event(), []
    both = threading.Barrier(3)

    def work(items: Sequence[int]) -> list[int]:
        batches.append(len(items))
        return list(items)

    def hold(_: Sequence[int]) -> list[int]:
        both.wait(60)
        gate.wait(60)
        return [0]

    for key in ("x", "y"):
        lane.submit_batched(key, 0, hold)
    both.wait(60)
    futures = [lane.submit_batched("a", number, work) for number in range(6)]
    gate.set()
    assert [future.result(60) for future in futures] == list(range(6))
    lane.close()
    assert max(batches) == 3
