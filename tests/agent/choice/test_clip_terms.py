from __future__ import annotations

import pytest

from anomalist.agent.choice.clip_terms import EventOrder, events_at_extreme, parse_order
from tests.report.clip_records import event, track


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("Which event is worse?", EventOrder("severity", True)),
        ("which is the least severe", EventOrder("severity", False)),
        ("Which one is the fastest?", EventOrder("speed", True)),
        ("is E2 slower than E1", EventOrder("speed", False)),
        ("Which lasts longer?", EventOrder("duration", True)),
        ("Did E1 come before E2?", EventOrder("start", False)),
        ("what happened last", None),
        ("Is it faster than usual?", None),
        ("What happened after 5 s?", None),
        ("Where is it?", None),
    ],
)
def test_an_order_in_words(text: str, order: EventOrder | None) -> None:
    assert parse_order(text) == order


def test_who_leads() -> None:
    one, two = event(), event("E2", 4, 8, tracks=(track("T2", speed_ratio=0.7),))
    assert events_at_extreme([one, two], EventOrder("speed", True)) == (one,)
    assert events_at_extreme([one, two], EventOrder("duration", True)) == (two,)
    assert events_at_extreme([one, two], EventOrder("severity", True)) == (one, two)
    unknown = event("E3", tracks=())
    assert events_at_extreme([one, unknown], EventOrder("speed", True)) == ()
