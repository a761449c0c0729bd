"""Prefetching: run an iterator in another thread or process, a few results ahead of who consumes them.

`prefetch` runs it in a thread, which pays where the work releases the interpreter lock (decoding, OpenCV);
`prefetch_in_process` in a process of its own, for work in Python. Both take a function that returns an
iterable, keep its order, hold ``depth`` results at most, and end when it ends.
"""

from __future__ import annotations

import multiprocessing
import queue
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

_POLL_SECONDS = 30.0
"""Seconds between checks whether the process is alive; a first result can take long."""


def prefetch(
    draw: Callable[..., Iterable[T]], *arguments: object, depth: int = 3
) -> Generator[T, None, None]:
    """Yield what ``draw(*arguments)`` yields, drawn in one other thread.

    Errors are raised where they would come in the order. Closing it, or leaving it early, closes the
    iterator and ends the thread.

    Parameters
    ----------
    draw : returns the iterable; all of it is consumed in the thread.
    arguments : of ``draw``.
    depth : how many results are kept at most.
    """
    source = iter(draw(*arguments))

    def step() -> tuple[T] | None:
        for item in source:
            return (item,)
        return None

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch") as pool:
        pending: deque[Future[tuple[T] | None]] = deque()
        try:
            while True:
                while len(pending) < depth:
                    pending.append(pool.submit(step))
                done = pending.popleft().result()
                if done is None:
                    return
                yield done[0]
        finally:
            pool.shutdown(cancel_futures=True)
            close = getattr(source, "close", None)
            if close is not None:
                close()


def prefetch_in_process(
    draw: Callable[..., Iterable[T]], *arguments: object, depth: int = 3
) -> Generator[T, None, None]:
    """Yield what ``draw(*arguments)`` yields, drawn in a process of its own.

    Parameters
    ----------
    draw : a function of a module, so that the other process finds it; its results are pickled.
    arguments : of ``draw``, pickled too.
    depth : how many results are kept at most.

    Raises
    ------
    RuntimeError : the process has ended before ``draw`` did.
    """
    context = multiprocessing.get_context("spawn")
    results = context.Queue(maxsize=depth)
    producer = context.Process(target=_produce, args=(results, draw, arguments), daemon=True)
    producer.start()
    try:
        while True:
            try:
                done = results.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                if not producer.is_alive():
                    raise RuntimeError("the prefetching process has ended; see its error above") from None
                continue
            if done is None:
                return
            yield done[0]
    finally:
        producer.terminate()
        producer.join()


def _produce(results: Any, draw: Callable[..., Iterable[object]], arguments: tuple[object, ...]) -> None:  # noqa: ANN401
    """Put each result, in a tuple, into a queue, and None at the end."""
    _set_threads(1, 1)
    for item in draw(*arguments):
        results.put((item,))
    results.put(None)


@contextmanager
def single_threaded() -> Iterator[None]:
    """Limit OpenCV, numpy's linear algebra and torch to one thread each.

    On small pictures their threads mostly wait for each other, actively: with them two cores are busy, and a
    third fewer frames get done.
    """
    import cv2
    import torch
    from threadpoolctl import threadpool_limits

    threads = cv2.getNumThreads(), torch.get_num_threads()
    with threadpool_limits(limits=1):
        _set_threads(1, 1)
        try:
            yield
        finally:
            _set_threads(*threads)


def _set_threads(opencv: int, pytorch: int) -> None:
    import cv2
    import torch

    torch.set_num_threads(pytorch)
    cv2.setNumThreads(opencv)
