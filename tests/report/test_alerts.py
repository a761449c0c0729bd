from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalist.errors import DataError
from anomalist.memory.ranking import RankAdjustment
from anomalist.report.alerts import Alert, keys_by_rank, rank_alerts
from anomalist.types.clip import ClipRecord, Event, WatchMatch, event_key
from tests.report.clip_records import clip, event, track

KINDS = ("speed", "size", "stillness", "forbidden zone")
ASKED = WatchMatch(item="someone on a bicycle", similarity=0.5, matched=True)


@st.composite
def clips_strategy(draw: st.DrawFn) -> list[ClipRecord]:
    records = []
    for number in range(draw(st.integers(0, 4))):
        events = []
        for place in range(draw(st.integers(0, 4))):
            start = draw(st.floats(0, 60))
            x, y = draw(st.integers(0, 100)), draw(st.integers(0, 70))
            box = draw(st.sampled_from([(x, y, x + 12, y + 20), None]))
            asked = draw(st.sampled_from([(), (ASKED,)]))
            events.append(
                event(
                    f"E{place + 1}",
                    start,
                    start + draw(st.floats(0, 20)),
                    kind=draw(st.sampled_from(KINDS)),
                    box=box,
                    tracks=(track(box=box),) if box else (),
                    severity=draw(st.integers(0, 4)),
                    score=draw(st.sampled_from([0.0, 0.6, 0.6, 3.0, float("inf")])),
                    watched=asked,
                )
            )
        records.append(clip(f"{number}.mp4", *events, scene=draw(st.sampled_from(["yard", None]))))
    return records


@st.composite
def opinions(draw: st.DrawFn) -> dict[str, RankAdjustment]:
    keys = [event_key(f"{n}.mp4", f"E{m}") for n in range(4) for m in range(1, 5)]
    chosen = draw(st.lists(st.sampled_from(keys), unique=True))
    value = st.floats(-1, 1)
    return {
        key: RankAdjustment(value=draw(value), cases=("case:1",), reason="alike to one") for key in chosen
    }


def keys_of(records: list[ClipRecord]) -> list[str]:
    return sorted(event_key(record.source, e.id) for record in records for e in record.events)


@settings(max_examples=60)
@given(clips_strategy(), opinions(), st.randoms(use_true_random=False))
def test_no_event_is_lost_and_the_order_of_records_does_not_matter(
    records: list[ClipRecord], adjustments: dict[str, RankAdjustment], chance: random.Random
) -> None:
    alerts = rank_alerts(records, adjustments)
    assert sorted(key for alert in alerts for key in alert.keys) == keys_of(records)
    assert sorted(keys_by_rank(alerts)) == keys_of(records)
    assert [alert.id for alert in alerts] == [f"A{n}" for n in range(1, len(alerts) + 1)]
    assert [a.urgency for a in alerts] == sorted((a.urgency for a in alerts), reverse=True)
    shuffled = [r.replace(events=tuple(chance.sample(r.events, len(r.events)))) for r in records]
    chance.shuffle(shuffled)
    assert rank_alerts(shuffled, adjustments) == alerts


@settings(max_examples=60)
@given(clips_strategy(), opinions())
def test_nothing_lifts_or_lowers_by_more_than_a_step_of_severity_each(
    records: list[ClipRecord], adjustments: dict[str, RankAdjustment]
) -> None:
    severities = {event_key(r.source, e.id): e.severity for r in records for e in r.events}
    for alert in rank_alerts(records, adjustments):
        own = [severities[event_key(alert.source, id_)] for id_ in alert.events]
        assert alert.severity == max(own) == severities[alert.key]
        moved = alert.adjustment.value if alert.adjustment else 0
        own_share = alert.urgency - alert.severity - bool(alert.watched) - moved
        assert -1e-4 <= own_share < 1 + 1e-4  # urgency is told to four decimals
        for seen in alert.repeats:  # nothing worse hides behind what it is counted with
            assert max(severities[event_key(seen.source, id_)] for id_ in seen.events) <= alert.severity


@settings(max_examples=40)
@given(clips_strategy(), st.floats(0, 1), st.data())
def test_feedback_moves_an_event_in_its_direction_only(
    records: list[ClipRecord], value: float, data: st.DataObject
) -> None:
    before = rank_alerts(records)
    if not before:
        return
    chosen = data.draw(st.sampled_from(before))
    up, down = (
        rank_alerts(
            records, {key: RankAdjustment(value=sign * value, cases=("case:1",)) for key in chosen.keys}
        )
        for sign in (1, -1)
    )

    def place(alerts: tuple[Alert, ...]) -> int:
        return next(n for n, alert in enumerate(alerts) if chosen.key in alert.keys)

    assert place(up) <= place(before)
    assert urgency(down, chosen.key) <= chosen.urgency <= urgency(up, chosen.key)


def urgency(alerts: tuple[Alert, ...], key: str) -> float:
    return next(alert.urgency for alert in alerts if key in alert.keys)


def ranked(*events: Event) -> list[str]:
    """Each event in a scene of its own, so that none is counted with another."""
    records = [clip(f"{e.id}.mp4", e, scene=e.id) for e in events]
    return [alert.event for alert in rank_alerts(records)]


def test_severity_comes_first_then_the_score_then_how_long_it_lasts() -> None:
    assert ranked(
        event("E1", severity=1, score=9),
        event("E2", severity=3, score=0.6),
        event("E3", severity=2, score=0.6),
        event("E4", severity=2, score=3),
        event("E5", severity=2, score=3, end=9),
    ) == ["E2", "E5", "E4", "E3", "E1"]


def test_what_was_asked_for_goes_up_by_one_step() -> None:
    asked = event("E2", severity=2, watched=(ASKED,))
    assert ranked(event("E1", severity=2), asked, event("E3", severity=3, score=9)) == ["E3", "E2", "E1"]
    (alert,) = rank_alerts([clip("a.mp4", asked)])
    assert alert.watched == ("someone on a bicycle",)
    assert "because you asked for “someone on a bicycle”" in alert.reason


def test_what_was_asked_for_but_does_not_fit_moves_nothing() -> None:
    missed = ASKED.replace(matched=False)
    (alert,) = rank_alerts([clip("a.mp4", event(watched=(missed,)))])
    assert alert.watched == ()
    assert "asked" not in alert.reason


def test_the_reason_of_feedback_is_shown() -> None:
    lowered = RankAdjustment(value=-0.62, cases=("case:3",), reason="alike to 1 dismissed (case:3)")
    (alert,) = rank_alerts([clip("a.mp4", event())], {"a.mp4#E1": lowered})
    assert alert.adjustment == lowered
    assert "0.62 of a step down by feedback (alike to 1 dismissed (case:3))" in alert.reason


def test_what_is_merged_is_lowered_only_if_all_of_it_was_dismissed() -> None:
    record = clip("a.mp4", event("E1", 1, 2), event("E2", 3, 4))
    lowered = RankAdjustment(value=-0.5, cases=("case:3",), reason="alike to 1 dismissed (case:3)")
    one = rank_alerts([record], {"a.mp4#E1": lowered})
    both = rank_alerts([record], {"a.mp4#E1": lowered, "a.mp4#E2": lowered})
    assert [alert.adjustment for alert in (*one, *both)] == [None, lowered]


def test_merged_events_span_the_whole_stretch_and_the_worst_leads() -> None:
    (alert,) = rank_alerts([clip("a.mp4", event("E1", 1, 2), event("E2", 3, 4, severity=3, score=2))])
    assert (alert.start, alert.end, alert.event, alert.events) == (1, 4, "E2", ("E1", "E2"))
    assert (alert.severity, alert.peak) == (3, 3.5)
    assert "2 events close together" in alert.reason


def test_repeats_are_counted_with_their_sources_and_times() -> None:
    records = [clip("a.mp4", event(score=1.0)), clip("b.mp4", event("E1", 4, 5, score=1.4)), clip("c.mp4")]
    (alert,) = rank_alerts(records)
    assert alert.key == "b.mp4#E1"
    assert alert.keys == ("b.mp4#E1", "a.mp4#E1")
    assert alert.times == 2
    assert [(seen.source, seen.start) for seen in alert.repeats] == [("a.mp4", 1)]
    assert "1 more stretch like it counted here" in alert.reason


def test_two_records_of_a_source_are_refused() -> None:
    with pytest.raises(DataError, match=r"two records of \"a\.mp4\""):
        rank_alerts([clip("a.mp4", event()), clip("a.mp4")])
