"""Work in several processes gives what work in one gives, in order; what kills a process is set aside."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import count, islice
from pathlib import Path

import pytest

from anomalist.errors import DataError, ProfileError
from anomalist.vision.worker_pool import LostItem, Work, WorkerPool, work_in_processes


def squares(numbers: Sequence[int]) -> Iterator[int]:
    for number in numbers:
        time.sleep(0.002 * (number % 3))
        yield number * number


def open_squares() -> Work[int, int]:
    return squares


def processes(numbers: Sequence[int]) -> Iterator[tuple[int, tuple[str, int]]]:
    import cv2

    for _ in numbers:
        time.sleep(0.02)
        yield os.getpid(), (os.environ["OMP_NUM_THREADS"], cv2.getNumThreads())


def open_processes() -> Work[int, tuple[int, tuple[str, int]]]:
    return processes


def deadly(poisons: frozenset[int], once: Path, numbers: Sequence[int]) -> Iterable[int]:
    """A number of ``poisons`` always kills; 5 does so the first time only."""
    for number in numbers:
        if number in poisons:
            os.kill(os.getpid(), signal.SIGKILL)
        if number == 5 and not once.exists():
            once.touch()
            os._exit(3)
        yield number * number


def open_deadly(poisons: frozenset[int], once: Path) -> Work[int, int]:
    return partial(deadly, poisons, once)


def open_nothing() -> Work[int, int]:
    raise ProfileError("There is no such profile.", "Learn one.")


def open_dying() -> Work[int, int]:
    os._exit(9)


def broken(numbers: Sequence[int]) -> Iterable[int]:
    raise KeyError("a mistake")


def open_broken() -> Work[int, int]:
    return broken


def large(numbers: Sequence[int]) -> Iterator[bytes]:
    for number in numbers:
        time.sleep(0.3 if number == 0 else 0)
        yield bytes(100_000)


def open_large() -> Work[int, bytes]:
    return large


def test_results_come_in_the_order_of_the_items_from_several_processes() -> None:
    done = list(work_in_processes(open_squares, iter(range(50)), 2, batch=4))
    assert done == [(n, n * n) for n in range(50)]
    assert list(work_in_processes(open_squares, [], 2)) == []
    told = [each for _, each in work_in_processes(open_processes, range(8), 2)]
    assert len({process for process, _ in told}) == 2
    assert {threads for _, threads in told} == {("1", 1)}


def variables(names: Sequence[str]) -> Iterator[str | None]:
    return (os.environ.get(name) for name in names)


def open_variables() -> Work[str, str | None]:
    return variables


def test_processes_have_their_share_of_the_cores_but_one_thread_of_linear_algebra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever the process that starts them has, a script say."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_WAIT_POLICY")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("anomalist.vision.worker_pool.usable_cores", lambda: 6)
    found = dict(work_in_processes(open_variables, names, 2))
    assert list(found.values()) == ["3", "3", "1", "PASSIVE"]
    assert not set(names) & os.environ.keys()
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    assert dict(work_in_processes(open_variables, names, 1))["OPENBLAS_NUM_THREADS"] == "2"


def test_few_items_are_shared_out_evenly() -> None:
    told = [each for _, each in work_in_processes(open_processes, range(6), 2, batch=16)]
    assert [told.count(each) for each in sorted(set(told))] == [3, 3]


def test_an_item_that_kills_two_processes_is_set_aside_and_the_others_are_done(tmp_path: Path) -> None:
    opening = partial(open_deadly, frozenset({3, 9}), tmp_path / "once")
    done = dict(work_in_processes(opening, range(12), 2, batch=4))
    assert list(done) == list(range(12))
    lost = {n: result for n, result in done.items() if isinstance(result, LostItem)}
    assert {n: each.words for n, each in lost.items()} == {3: "killed by SIGKILL", 9: "killed by SIGKILL"}
    assert all(done[n] == n * n for n in done if n not in lost)


def test_leaving_early_ends_the_processes() -> None:
    working = work_in_processes(open_processes, count(), 2)
    told = {process for _, (process, _) in islice(working, 6)}
    working.close()
    for process in told:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


def test_a_pool_that_was_closed_at_work_gives_the_results_of_what_comes_next() -> None:
    pool: WorkerPool[int, int] = WorkerPool(open_squares, 1)
    next(pool.work(range(100)))
    pool.close()
    with pool:
        assert [result for _, result in pool.work([12, 13])] == [144, 169]


def test_what_a_worker_can_not_open_is_raised_here() -> None:
    with pytest.raises(ProfileError, match="no such profile") as raised:
        list(work_in_processes(open_nothing, range(3), 2))
    assert raised.value.remedy == "Learn one."


def test_workers_that_never_get_ready_are_an_error() -> None:
    with pytest.raises(DataError, match=r"before they are ready \(exit code 9\)"):
        list(work_in_processes(open_dying, range(3), 1))


def test_a_mistake_in_a_worker_is_raised_with_its_traceback() -> None:
    with pytest.raises(RuntimeError, match="KeyError: 'a mistake'"):
        list(work_in_processes(open_broken, range(3), 1))


def test_a_slow_first_item_holds_up_workers_that_would_fill_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from anomalist.vision import worker_pool

    monkeypatch.setattr(worker_pool, "_MAX_WAITING_BYTES", 250_000)
    done = [n for n, _ in work_in_processes(open_large, range(40), 2, batch=5)]
    assert done == list(range(40))
