"""Work on the next items in a thread while the last ones are used: in order, a few ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from anomalist.vision.motion.threads import one_thread_each

_AHEAD = 3

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(items: Iterable[Item], work: Callable[[Item], Result]) -> Iterator[Result]:
    """Yield ``work(item)`` for every item, like ``map``; taking and working happen in one other thread.

    Whoever uses the results has one thread then, too (``one_thread_each``). It pays where the work lets go of
    the interpreter, as decoding and optical flow do. What ``items`` or ``work`` raises is raised here, in its
    place in the order.
    """
    source = iter(items)
    with one_thread_each(), ThreadPoolExecutor(max_workers=1, thread_name_prefix="ahead") as pool:

        def step() -> tuple[Result] | None:
            for item in source:
                return (work(item),)
            return None

        waiting: deque[Future[tuple[Result] | None]] = deque()
        try:
            while True:
                while len(waiting) < _AHEAD:
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
