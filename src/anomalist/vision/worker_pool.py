"""Worker processes: work on items in several processes, in their order; what kills a process is set aside.

Results are handed over in the order of the items, and workers run ahead as far as memory allows. Where a
process dies (killed for memory, a crash in native code), the items whose results are missing are tried again,
each alone in a process; the one that kills that, too, gets a `LostItem` in place of its result.
"""

from __future__ import annotations

import itertools
import math
import multiprocessing
import os
import signal
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from typing import Any, Generic, Self, TypeVar

from anomalist.errors import AnomalistError, DataError
from anomalist.settings import THREAD_VARIABLES
from anomalist.vision.prefetch import prefetch

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

Work = Callable[[Sequence[ItemT]], Iterable[ResultT]]
"""Works on a batch of items: one result an item, in their order."""

_READY, _RESULT, _FAILED = b"ready", b"result", b"failed"
_AHEAD = 3
"""Results that a worker makes before the last of them is taken."""
_QUEUED = 2
"""Batches that a worker has at most, so that it never waits for the next."""
_MAX_WAITING_BYTES = 1 << 29
"""Of results that came out of order; those that are next are always taken."""
_MAX_FAILED_STARTS = 2


@dataclass(frozen=True)
class LostItem:
    """Stands for the result of an item that two processes have died of."""

    exit_code: int | None

    @property
    def words(self) -> str:
        """How the process ended: "killed by SIGSEGV"."""
        return _ending(self.exit_code)


def _ending(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        with suppress(ValueError):
            return f"killed by {signal.Signals(-exit_code).name}"
    return f"exit code {exit_code}"


def usable_cores() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS and Windows
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def work_in_processes(
    open_work: Callable[[], Work[ItemT, ResultT]],
    items: Iterable[ItemT],
    workers: int,
    batch: int = 1,
) -> Generator[tuple[ItemT, ResultT | LostItem], None, None]:
    """Yield each item with its result; see `WorkerPool`.

    Closing the generator, or leaving it early, ends the processes.
    """
    with WorkerPool(open_work, workers) as pool:
        yield from pool.work(items, batch)


def _cut(items: Iterator[ItemT], size: int) -> Iterator[list[ItemT]]:
    while part := list(itertools.islice(items, size)):
        yield part


@dataclass(eq=False)
class _Batch(Generic[ItemT]):
    """Items that go to a worker together; ``results`` are pickled, or stand for one that is lost."""

    items: list[ItemT]
    alone: bool = False
    results: deque[bytes | LostItem] = field(default_factory=deque)
    done: int = 0
    taken: int = 0

    def add(self, result: bytes | LostItem) -> None:
        self.results.append(result)
        self.done += 1


@dataclass(eq=False)
class _Worker(Generic[ItemT]):
    process: Any
    connection: Connection
    batches: deque[_Batch[ItemT]] = field(default_factory=deque)
    ready: bool = False

    def takes(self, batch: _Batch[ItemT]) -> bool:
        """Whether it can have a batch; what is tried alone must be alone."""
        if batch.alone or (self.batches and self.batches[0].alone):
            return not self.batches
        return len(self.batches) < _QUEUED


class WorkerPool(Generic[ItemT, ResultT]):
    """Processes that work on batches of items; a context manager that ends them.

    A process is started when there is a batch for it, and stays until the end. Each has its share of the
    cores for its threads, unless ``OMP_NUM_THREADS`` says otherwise, and `THREAD_VARIABLES`.

    Parameters
    ----------
    open_work : called once in each process; pickled, as are items and results.
    workers : processes at most.
    """

    def __init__(self, open_work: Callable[[], Work[ItemT, ResultT]], workers: int) -> None:
        self._open_work = open_work
        self._count = workers
        self._workers: list[_Worker[ItemT]] = []
        self._again: deque[_Batch[ItemT]] = deque()  # to be given out
        self._open: deque[_Batch[ItemT]] = deque()  # not handed over yet, in order
        self._waiting_bytes = 0
        self._failed_starts = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def work(
        self, items: Iterable[ItemT], batch: int = 1
    ) -> Generator[tuple[ItemT, ResultT | LostItem], None, None]:
        """Yield each item with its result, in the order of the items. All must be taken, or the pool closed.

        Parameters
        ----------
        items : drawn as they are needed.
        batch : items that are worked on together at most; fewer where there are few.

        Raises
        ------
        AnomalistError : ``open_work`` raised it, or no process can be started.
        RuntimeError : anything else went wrong in a process; its traceback is in the message.
        """
        source = iter(items)
        first = list(itertools.islice(source, batch * self._count))
        size = min(batch, max(1, math.ceil(len(first) / self._count)))
        batches = _cut(itertools.chain(first, source), size)
        while True:
            self._give_out(batches)
            if not self._open:
                return
            head = self._open[0]
            while head.results:
                result = head.results.popleft()
                item = head.items[head.taken]
                head.taken += 1
                if isinstance(result, LostItem):
                    yield item, result
                else:
                    self._waiting_bytes -= len(result)
                    yield item, ForkingPickler.loads(result)
            if head.taken == len(head.items):
                self._open.popleft()
            else:
                self._listen()

    def _give_out(self, batches: Iterator[list[ItemT]]) -> None:
        """Give every worker that has room a batch: first what is tried again, then new ones."""
        while True:
            if self._again:
                batch: _Batch[ItemT] | None = self._again[0]
            elif len(self._open) < (_QUEUED + 1) * self._count:
                items = next(batches, None)
                batch = _Batch(items) if items is not None else None
                if batch is not None:
                    self._open.append(batch)
                    self._again.append(batch)
            else:
                return
            if batch is None or (worker := self._worker_for(batch)) is None:
                return
            self._again.popleft()
            worker.batches.append(batch)
            with suppress(OSError):  # it has died: that is seen when it is listened to
                worker.connection.send(batch.items)

    def _worker_for(self, batch: _Batch[ItemT]) -> _Worker[ItemT] | None:
        idle = next((each for each in self._workers if not each.batches), None)
        if idle is not None:
            return idle
        if len(self._workers) < self._count:
            self._workers.append(_start(self._open_work, self._count))
            return self._workers[-1]
        free = (each for each in self._workers if each.takes(batch))
        return min(free, key=lambda each: len(each.batches), default=None)

    def _listen(self) -> None:
        """Take what workers have: of the one with the next batch always, of others while there is room."""
        first = self._open[0]
        heard = self._workers
        if self._waiting_bytes >= _MAX_WAITING_BYTES:
            # Where nobody has it yet, somebody must come free for it.
            heard = [each for each in self._workers if first in each.batches] or heard
        by_connection = {each.connection: each for each in heard}
        for connection in wait(list(by_connection)):
            worker = by_connection[connection]  # type: ignore[index]
            try:
                kind, content = worker.connection.recv_bytes(), worker.connection.recv_bytes()
            except (EOFError, OSError):
                self._bury(worker)
                continue
            self._take(worker, kind, content)

    def _take(self, worker: _Worker[ItemT], kind: bytes, content: bytes) -> None:
        if kind == _READY:
            worker.ready, self._failed_starts = True, 0
        elif kind == _FAILED:
            error = ForkingPickler.loads(content)
            raise error if isinstance(error, AnomalistError) else RuntimeError(f"a worker failed:\n{error}")
        else:
            self._waiting_bytes += len(content)
            worker.batches[0].add(content)
            if worker.batches[0].done == len(worker.batches[0].items):
                worker.batches.popleft()

    def _bury(self, worker: _Worker[ItemT]) -> None:
        """Have what a dead worker was working on done by others."""
        self._workers.remove(worker)
        worker.connection.close()
        worker.process.join()
        code = worker.process.exitcode
        if not worker.ready:
            self._failed_starts += 1
            if self._failed_starts > _MAX_FAILED_STARTS:
                raise DataError(
                    f"The worker processes end before they are ready ({_ending(code)}).",
                    "There may be too little memory for them: use fewer.",
                )
            self._again.extendleft(reversed(worker.batches))
            return
        suspects: list[_Batch[ItemT]] = []
        for batch in worker.batches:
            if batch.alone:
                batch.add(LostItem(code))
                continue
            # Any of these may be the cause: a worker is ahead of what was taken of it.
            alone = [_Batch([item], alone=True) for item in batch.items[batch.done :]]
            place = self._open.index(batch) + 1
            for offset, each in enumerate(alone):
                self._open.insert(place + offset, each)
            del batch.items[batch.done :]
            suspects += alone
        self._again.extendleft(reversed(suspects))

    def close(self) -> None:
        """End the processes, and forget what they had to do; what comes next starts new ones."""
        for worker in self._workers:
            worker.connection.close()
            worker.process.terminate()
        for worker in self._workers:
            worker.process.join(5)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        self._workers.clear()
        self._again.clear()
        self._open.clear()
        self._waiting_bytes = self._failed_starts = 0


def _start(open_work: Callable[[], Work[Any, Any]], workers: int) -> _Worker[Any]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, open_work), daemon=True)
    with _started_with(max(1, usable_cores() // workers)):
        process.start()
    theirs.close()
    return _Worker(process, ours)


@contextmanager
def _started_with(threads: int) -> Iterator[None]:
    """Processes that start within have so many threads; an interruption is the business of this one."""
    said = os.environ.get("OMP_NUM_THREADS", str(threads))
    wanted = {"OMP_NUM_THREADS": said, "MKL_NUM_THREADS": said, **THREAD_VARIABLES}
    given = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(given)
    masked = hasattr(signal, "pthread_sigmask")  # not on Windows
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if masked else None
    try:
        yield
    finally:
        if before is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for name in given:
            os.environ.pop(name, None)


def _serve(connection: Connection, open_work: Callable[[], Work[Any, Any]]) -> None:
    """Work on the batches that come, until the connection is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        _limit_opencv()
        work = open_work()
        _send(connection, _READY, None)
        for result in prefetch(_results, connection, work, depth=_AHEAD):
            _send(connection, _RESULT, result)
    except (BrokenPipeError, ConnectionResetError):
        return  # whoever asked is gone
    except Exception as error:
        told = error if isinstance(error, AnomalistError) else traceback.format_exc()
        with suppress(OSError):
            _send(connection, _FAILED, told)


def _results(connection: Connection, work: Work[Any, Any]) -> Iterator[object]:
    while True:
        try:
            batch = connection.recv()
        except EOFError:
            return
        yield from work(batch)


def _send(connection: Connection, kind: bytes, content: object) -> None:
    connection.send_bytes(kind)
    connection.send(content)


def _limit_opencv() -> None:
    """Its threads are its own and know nothing of OpenMP's variables."""
    import cv2

    if threads := os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]:
        cv2.setNumThreads(int(threads))
