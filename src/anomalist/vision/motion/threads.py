"""One thread for each small piece of work: the pieces run beside each other already."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_thread_each() -> Iterator[None]:
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
