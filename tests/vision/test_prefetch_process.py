"""What another process yields arrives in order and ends with it; a process that has died is an error."""

from __future__ import annotations

import os
from itertools import islice

import pytest

from anomalist.vision import prefetch
from anomalist.vision.prefetch import prefetch_in_process


def test_results_come_in_order_and_no_more_than_are_taken() -> None:
    assert list(islice(prefetch_in_process(range, 3, 1000, depth=2), 5)) == [3, 4, 5, 6, 7]


def test_it_ends_when_what_is_drawn_ends() -> None:
    assert list(prefetch_in_process(range, 5, depth=2)) == [0, 1, 2, 3, 4]


def test_a_process_that_has_died_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefetch, "_POLL_SECONDS", 0.2)
    with pytest.raises(RuntimeError, match="has ended"):
        next(prefetch_in_process(os._exit, 3))
