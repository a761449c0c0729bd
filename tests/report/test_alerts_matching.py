from __future__ import annotations

from typing import Any

import pytest

from anomalist.report.alerts import ClipEvent, is_repeat, merge_events
from anomalist.types.clip import ClipRecord, Event, Measured, WatchMatch
from tests.report.clip_records import clip, event, track


def stretches(*events: Event) -> list[list[str]]:
    groups = merge_events([ClipEvent(clip("a.mp4", *events), e) for e in events])
    return sorted(sorted(seen.event.id for seen in group) for group in groups)


def test_events_close_in_time_place_and_kind_are_one() -> None:
    assert stretches(event("E1", 1, 2), event("E2", 4, 5), event("E3", 9, 10)) == [["E1", "E2", "E3"]]


@pytest.mark.parametrize(
    "other",
    [
        {"start": 7.5, "end": 9},
        {"kind": "size"},
        {"zone": "gate"},
        {"box": (90, 40, 100, 60), "tracks": ()},
    ],
)
def test_events_apart_in_time_kind_zone_or_place_stay_apart(other: dict[str, Any]) -> None:
    second = event(**({"name": "E2", "start": 2.5, "end": 3} | other))
    assert stretches(event("E1", 1, 2), second) == [["E1"], ["E2"]]


def test_what_concerns_the_whole_picture_is_near_to_anything_of_its_kind() -> None:
    still = {"kind": "stillness", "box": None, "tracks": ()}
    assert stretches(event("E1", 1, 2, kind="stillness"), event("E2", 3, 4, **still)) == [["E1", "E2"]]


def test_events_of_different_sources_are_never_merged() -> None:
    records = [clip("a.mp4", event()), clip("b.mp4", event())]
    assert len(merge_events([ClipEvent(record, record.events[0]) for record in records])) == 2


def pair(other: ClipRecord) -> tuple[ClipEvent, ClipEvent]:
    one = clip("a.mp4", event())
    return ClipEvent(one, one.events[0]), ClipEvent(other, other.events[0])


def test_the_same_thing_seen_in_another_clip_of_the_scene_is_alike() -> None:
    one, other = pair(clip("b.mp4", event(start=5, end=9)))
    assert is_repeat(one, other)
    assert is_repeat(other, one)


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "size"},
        {"severity": 3},
        {"zone": "gate"},
        {"box": None},
        {"tracks": (track(direction="from right to left"),)},
        {"tracks": (track(speed_ratio=4.0),)},
        {"tracks": (track(size_ratio=4.0),)},
        {"tracks": ()},
        {"measures": (Measured(name="speed", surprise=2, value=9.0),)},
        {"box": (90, 10, 100, 20), "tracks": (track(box=(90, 10, 100, 20)),)},
        {"watched": (WatchMatch(item="running", similarity=0.5, matched=True),)},
    ],
)
def test_what_differs_in_any_way_is_not_alike(fields: dict[str, Any]) -> None:
    assert not is_repeat(*pair(clip("b.mp4", event(**fields))))


@pytest.mark.parametrize("scene", ["gate", None])
def test_places_of_another_scene_are_not_compared(scene: str | None) -> None:
    assert not is_repeat(*pair(clip("b.mp4", event(), scene=scene)))


def test_places_are_shares_of_the_frame() -> None:
    large = event(box=(36, 80, 60, 120), tracks=(track(box=(20, 80, 44, 120)),))
    assert is_repeat(*pair(clip("b.mp4", large, width=256, height=192)))
    assert not is_repeat(*pair(clip("b.mp4", large)))


def test_a_score_is_told_against_the_threshold() -> None:
    assert ClipEvent(clip("a.mp4"), event(score=1.5)).threshold_ratio == 3
    assert ClipEvent(clip("a.mp4", threshold=None), event()).threshold_ratio is None
    assert ClipEvent(clip("a.mp4"), event(kind="forbidden zone")).threshold_ratio is None
