from __future__ import annotations

import pytest

from anomalist.agent.event_order import Order, leading, order_in
from tests.report.clip_records import event, track


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("Which event is worse?", Order("severity", True)),
        ("which is the least severe", Order("severity", False)),
        ("Which one is the fastest?", Order("speed", True)),
        ("is E2 slower than E1", Order("speed", False)),
        ("Which lasts longer?", Order("duration", True)),
        ("Did E1 come before E2?", Order("start", False)),
        ("what happened last", None),
        ("Is it faster than usual?", None),
        ("What happened after 5 s?", None),
        ("Where is it?", None),
    ],
)
def test_an_order_in_words(text: str, order: Order | None) -> None:
    assert order_in(text) == order


def test_who_leads() -> None:
    one, two = event(), event("E2", 4, 8, tracks=(track("T2", speed_ratio=0.7),))
    assert leading([one, two], Order("speed", True)) == (one,)
    assert leading([one, two], Order("duration", True)) == (two,)
    assert leading([one, two], Order("severity", True)) == (one, two)
    unknown = event("E3", tracks=())
    assert leading([one, unknown], Order("speed", True)) == ()
