"""Prefetch results in a thread or a process, in order; a sliding pool of generated products.

`prefetch` pays where the work releases the interpreter lock, as decoding and optical flow do. While it runs,
OpenCV, numpy and torch take one thread each (``single_threaded``): on small pictures their threads mostly
wait for each other, actively.
"""

from __future__ import annotations

import itertools
import multiprocessing
import queue
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

_POLL_SECONDS = 30.0
"""Seconds between checks whether the process is alive; a first result can take long."""


def prefetch_in_process(draw: Callable[..., Iterable[T]], *arguments: object, ahead: int) -> Iterator[T]:
    """Yield what ``draw`` yields, drawn by a process of its own.

    Parameters
    ----------
    draw : a function of a module, so that the other process finds it; its results are pickled.
    arguments : of ``draw``.
    ahead : how many results wait at most.

    Raises
    ------
    RuntimeError : the process has ended, and nothing more comes.
    """
    context = multiprocessing.get_context("spawn")
    drawn = context.Queue(maxsize=ahead)
    producer = context.Process(target=_produce, args=(drawn, draw, arguments), daemon=True)
    producer.start()
    while True:
        try:
            yield drawn.get(timeout=_POLL_SECONDS)
        except queue.Empty:
            if not producer.is_alive():
                raise RuntimeError("the process that draws has ended; see its error above") from None


def _produce(drawn: Any, draw: Callable[..., Iterable[object]], arguments: tuple[object, ...]) -> None:  # noqa: ANN401
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    for one in draw(*arguments):
        drawn.put(one)


def sliding_pool(draw: Callable[[int], T], size: int, every: int, start: int = 0) -> Iterator[deque[T]]:
    """Yield, for each number from ``start`` on, the products alive: i // every to i // every + size − 1.

    Parameters
    ----------
    draw : makes a product from its number.
    size : how many are alive.
    every : numbers after which one is replaced; the same pool is changed.
    """
    following = start // every + size
    alive = deque((draw(number) for number in range(following - size, following)), size)
    for number in itertools.count(start):
        yield alive
        if (number + 1) % every == 0:
            alive.append(draw(following))
            following += 1


@contextmanager
def single_threaded() -> Iterator[None]:
    """OpenCV, the linear algebra of numpy and torch take one thread until this is left.

    On pictures this small their threads mostly wait for each other, actively: with them, two cores are busy
    and a third fewer frames get done.
    """
    import cv2
    import torch
    from threadpoolctl import threadpool_limits

    opencv, of_torch = cv2.getNumThreads(), torch.get_num_threads()
    with threadpool_limits(limits=1):
        cv2.setNumThreads(1)
        torch.set_num_threads(1)
        try:
            yield
        finally:
            cv2.setNumThreads(opencv)
            torch.set_num_threads(of_torch)


_PREFETCHED = 3

Item = TypeVar("Item")
Result = TypeVar("Result")


def prefetch(items: Iterable[Item], work: Callable[[Item], Result]) -> Iterator[Result]:
    """Yield ``work(item)`` for every item, like ``map``; taking and working happen in one other thread.

    The consumer has one thread then, too (``single_threaded``). It pays where the work releases
    the interpreter lock, as decoding and optical flow do. What ``items`` or ``work`` raises is raised here,
    in its place in the order.
    """
    source = iter(items)
    with single_threaded(), ThreadPoolExecutor(max_workers=1, thread_name_prefix="ahead") as pool:

        def step() -> tuple[Result] | None:
            for item in source:
                return (work(item),)
            return None

        waiting: deque[Future[tuple[Result] | None]] = deque()
        try:
            while True:
                while len(waiting) < _PREFETCHED:
                    waiting.append(pool.submit(step))
                done = waiting.popleft().result()
                if done is None:
                    return
                yield done[0]
        finally:
            pool.shutdown(cancel_futures=True)
            close = getattr(source, "close", None)
            if close is not None:
                close()
