"""What another process draws arrives in order; when it has ended, that is said rather than waited out."""

from __future__ import annotations

from itertools import islice

import pytest

from anomalist.vision import prefetch
from anomalist.vision.prefetch import prefetch_in_process


def test_results_come_in_order_and_no_more_than_are_taken() -> None:
    assert list(islice(prefetch_in_process(range, 3, 1000, ahead=2), 5)) == [3, 4, 5, 6, 7]


def test_a_process_that_has_ended_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefetch, "_POLL_SECONDS", 0.2)
    drawn = prefetch_in_process(range, 2, ahead=2)
    assert [next(drawn), next(drawn)] == [0, 1]
    with pytest.raises(RuntimeError, match="has ended"):
        next(drawn)
