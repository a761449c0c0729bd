"""The pool of products at each step depends on the step alone, wherever training goes on."""

from __future__ import annotations

import itertools

import pytest

from anomalist.training.pretraining import sliding_pool


@pytest.mark.parametrize(("size", "every", "start"), [(3, 2, 0), (3, 2, 5), (1, 1, 4), (4, 3, 2)])
def test_each_number_has_its_products_wherever_one_begins(size: int, every: int, start: int) -> None:
    alive = itertools.islice(map(list, sliding_pool(str, size, every, start)), 10)

    for number, products in enumerate(alive, start):
        assert products == [str(number // every + k) for k in range(size)]
