"""Who is next: equal shares of time, nothing saved up, and turns in the order of coming."""

from __future__ import annotations

import time
from collections import Counter
from threading import Thread

from anomalist.cameras.fair_share import FairShare, Turns


def served(share: FairShare, costs: dict[str, float], seconds: float) -> Counter[str]:
    """Seconds of each when all are always ready."""
    got: Counter[str] = Counter()
    while sum(got.values()) < seconds:
        name = share.choose(list(costs))
        share.charge(name, costs[name])
        got[name] += costs[name]  # type: ignore[assignment]
    return got


def test_dear_frames_get_no_more_time_than_cheap_ones() -> None:
    got = served(FairShare(), {"small": 1, "large": 20, "other": 1}, 600)
    assert max(got.values()) - min(got.values()) <= 20


def test_who_was_away_has_saved_up_nothing() -> None:
    share = FairShare()
    served(share, {"a": 1, "b": 1}, 1000)
    got = served(share, {"a": 1, "b": 1, "new": 1}, 30)
    assert max(got.values()) - min(got.values()) <= 1


def test_turns_are_taken_in_the_order_of_coming() -> None:
    turns, told = Turns(), list[int]()

    def take(number: int) -> None:
        with turns.mine():
            told.append(number)

    with turns.mine():
        threads = [Thread(target=take, args=(number,)) for number in range(8)]
        for number, thread in enumerate(threads, 2):
            thread.start()
            while len(turns._waiting) < number:
                time.sleep(0.001)
    for thread in threads:
        thread.join(60)
    assert told == list(range(8))
