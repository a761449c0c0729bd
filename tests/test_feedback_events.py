"""Feedback on events moves what is alike, can be taken back, and names the event that is meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from anomalist.errors import DataError
from anomalist.feedback import (
    event_rank_adjustments,
    find_event,
    record_event_feedback,
    stored_rank_adjustments,
    undo_event_feedback,
)
from anomalist.memory.cases import CaseStore
from anomalist.types.clip import ClipRecord, event_key
from tests.vision.motion.test_events import event


def record(source: str = "a.mp4", *events: str, scene: str = "cam") -> ClipRecord:
    made = tuple(
        event(kind).model_copy(update={"id": f"E{i}"}) for i, kind in enumerate(events or ("speed",), 1)
    )
    return ClipRecord(source=source, status="ok", events=made, scene=scene, width=160, height=120, key="k")


def test_dismissed_lowers_what_is_alike_and_nothing_else(tmp_path: Path) -> None:
    past, now = record(), record("b.mp4", "speed", "dwell")
    with CaseStore(tmp_path / "cases.sqlite") as store:
        record_event_feedback(store, past, past.events[0], "dismissed", "a cat")
        moved = event_rank_adjustments(store, [now])
    assert moved[event_key("b.mp4", "E1")].value < 0
    assert moved[event_key("b.mp4", "E1")].cases == ("case:1",)
    assert moved[event_key("b.mp4", "E2")].value == 0


def test_escalate_raises_and_taking_it_back_undoes_that(tmp_path: Path) -> None:
    now = record()
    with CaseStore(tmp_path / "cases.sqlite") as store:
        record_event_feedback(store, now, now.events[0], "escalate")
        assert event_rank_adjustments(store, [now])[event_key("a.mp4", "E1")].value > 0
        assert undo_event_feedback(store, now, now.events[0]).undone is not None
        assert all(moved.value == 0 for moved in event_rank_adjustments(store, [now]).values())
        with pytest.raises(DataError, match="no feedback"):
            undo_event_feedback(store, now, now.events[0])


def test_another_scene_is_not_moved(tmp_path: Path) -> None:
    past = record()
    with CaseStore(tmp_path / "cases.sqlite") as store:
        record_event_feedback(store, past, past.events[0], "dismissed")
        assert event_rank_adjustments(store, [record("b.mp4", scene="other")]) == {}


def test_without_a_store_nothing_is_moved_and_none_is_made() -> None:
    from anomalist.settings import Settings

    assert stored_rank_adjustments([record()]) == {}
    assert not (Settings().home / "cases.sqlite").exists()


@pytest.mark.parametrize(("name", "source"), [("a.mp4:E1", "x/a.mp4"), ("x/a.mp4:E1", "x/a.mp4")])
def test_an_event_is_found_by_its_clip(name: str, source: str) -> None:
    found, _ = find_event([record("x/a.mp4"), record("b.mp4")], name)
    assert found.source == source


def test_clips_of_one_name_are_told_apart_as_tables_print_them() -> None:
    records = [record("yard/a/1.mp4"), record("yard/b/1.mp4")]
    with pytest.raises(DataError, match=r"Known: a.1\.mp4:E1, b.1\.mp4:E1"):
        find_event(records, "1.mp4:E1")
    for name, meant in (("a/1.mp4:E1", records[0]), ("b/1.mp4:E1", records[1])):
        assert find_event(records, name)[0] is meant
    assert find_event([record("1.mp4"), record("b/1.mp4")], "1.mp4:E1")[0].source == "1.mp4"


def test_the_id_alone_is_enough_for_one_clip_and_too_little_for_two() -> None:
    assert find_event([record()], "E1")[1].id == "E1"
    with pytest.raises(DataError, match="more than one"):
        find_event([record(), record("b.mp4")], "E1")
    with pytest.raises(DataError, match=r"no event E7.*Known: a\.mp4:E1"):
        find_event([record()], "E7")
