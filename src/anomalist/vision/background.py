"""What is learned from, drawn by a second process while this one trains."""

from __future__ import annotations

import multiprocessing
import queue
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")

_PATIENCE = 30.0
"""Seconds between looks at whether the process is still there; a first result can take long."""


def in_background(draw: Callable[..., Iterable[T]], *arguments: object, ahead: int) -> Iterator[T]:
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
            yield drawn.get(timeout=_PATIENCE)
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
