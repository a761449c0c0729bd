"""ahead: like map, in order; errors come in their place; leaving early stops the thread."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from itertools import islice

import pytest

from anomalist.vision.motion.scene import Scene
from anomalist.vision.motion.scoring import FrameScorer
from anomalist.vision.prefetch import prefetch, prefetch_in_process, sliding_pool
from tests.street import make_film, walker


@pytest.mark.parametrize("count", [0, 1, 2, 3, 50])
def test_it_gives_what_map_gives(count: int) -> None:
    assert list(prefetch(range(count), lambda n: n * n)) == [n * n for n in range(count)]


def test_an_error_comes_after_what_was_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise OSError("broken")

    got = []
    with pytest.raises(OSError, match="broken"):
        for item in prefetch(items(), lambda n: n):
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

    for _ in prefetch(items(), lambda n: n):
        break
    import gc

    gc.collect()
    assert closed.wait(2)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]


def test_watching_ahead_equals_watching_frame_by_frame(street: Scene) -> None:
    film = make_film(8, walker(3.0, 60.0, speed=4.0), people=42, cuts=(50,))
    simple, fast = FrameScorer(street), FrameScorer(street)
    one_by_one = [simple.see(frame) for frame in film.frames()]
    for a, b in zip(one_by_one, fast.watching(film.frames()), strict=True):
        assert (a.time, a.cut, a.trouble, a.leading, a.normalised_scores, a.box) == (
            b.time,
            b.cut,
            b.trouble,
            b.leading,
            b.normalised_scores,
            b.box,
        )


def test_results_come_in_order_and_no_more_than_are_taken() -> None:
    assert list(islice(prefetch_in_process(range, 3, 1000, ahead=2), 5)) == [3, 4, 5, 6, 7]


def test_a_process_that_has_ended_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anomalist.vision.prefetch._POLL_SECONDS", 0.2)
    drawn = prefetch_in_process(range, 2, ahead=2)
    assert [next(drawn), next(drawn)] == [0, 1]
    with pytest.raises(RuntimeError, match="has ended"):
        next(drawn)


@pytest.mark.parametrize(("size", "every", "start"), [(3, 2, 0), (3, 2, 5), (1, 1, 4), (4, 3, 2)])
def test_each_number_has_its_products_wherever_one_begins(size: int, every: int, start: int) -> None:
    alive = itertools.islice(map(list, sliding_pool(str, size, every, start)), 10)

    for number, products in enumerate(alive, start):
        assert products == [str(number // every + k) for k in range(size)]
