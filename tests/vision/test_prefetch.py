"""A prefetched iterator gives the same in order, from a thread or a process, and errors in their place."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from itertools import islice

import pytest

from anomalist.vision.motion.scene import Scene
from anomalist.vision.motion.scoring import FrameScorer
from anomalist.vision.prefetch import prefetch, prefetch_in_process
from tests.street import make_film, walker


@pytest.mark.parametrize("count", [0, 1, 2, 3, 50])
def test_results_are_those_of_the_iterator_in_order(count: int) -> None:
    assert list(prefetch(map, lambda n: n * n, range(count))) == [n * n for n in range(count)]


def test_an_error_comes_after_what_was_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise OSError("broken")

    got = []
    with pytest.raises(OSError, match="broken"):
        for item in prefetch(items):
            got.append(item)
    assert got == [1, 2]


def test_leaving_early_closes_the_source_and_ends_the_thread() -> None:
    closed = threading.Event()

    def items() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    for _ in prefetch(items):
        break
    import gc

    gc.collect()
    assert closed.wait(60)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


def test_prefetched_scoring_equals_scoring_frame_by_frame(street: Scene) -> None:
    film = make_film(8, walker(3.0, 60.0, speed=4.0), people=42, cuts=(50,))
    simple, fast = FrameScorer(street, floor=0.3), FrameScorer(street, floor=0.3)
    one_by_one = [simple.score(frame) for frame in film.frames()]
    listed = 0
    for a, b in zip(one_by_one, fast.score_all(film.frames()), strict=True):
        assert (a.time, a.cut, a.trouble, a.jump, a.kind) == (b.time, b.cut, b.trouble, b.jump, b.kind)
        assert a.score == pytest.approx(b.score, nan_ok=True)
        places = [[(each.leading, each.box) for each in one.anomalies] for one in (a, b)]
        assert places[0] == places[1]
        listed += len(places[0])
    assert listed > 3


def test_results_come_in_order_and_no_more_than_are_taken() -> None:
    assert list(islice(prefetch_in_process(range, 3, 1000, depth=2), 5)) == [3, 4, 5, 6, 7]


def test_it_ends_when_what_is_drawn_ends() -> None:
    assert list(prefetch_in_process(range, 5, depth=2)) == [0, 1, 2, 3, 4]


def test_a_process_that_has_died_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anomalist.vision.prefetch._POLL_SECONDS", 0.2)
    with pytest.raises(RuntimeError, match="has ended"):
        next(prefetch_in_process(os._exit, 3))
