"""Products that take turns: some are alive at a time, and the oldest makes room for the next."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")


def pools(draw: Callable[[int], T], size: int, every: int, start: int = 0) -> Iterator[deque[T]]:
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
