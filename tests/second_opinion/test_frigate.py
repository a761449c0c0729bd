"""What Frigate exports is read, whole or damaged, and clips are found by their names."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pytest

from anomalist.errors import DataError
from anomalist.second_opinion.frigate import NvrItem, clip_of, read_export
from tests.second_opinion.exports import EVENTS, GONE, REVIEW, RUNNER, START, event


def export(folder: Path, events: object = EVENTS, review: object = REVIEW) -> Path:
    (folder / "events.json").write_text(json.dumps(events))
    (folder / "review.json").write_text(json.dumps(review))
    return folder


def test_events_and_reviews_are_read_with_everything_that_they_say(tmp_path: Path) -> None:
    found = read_export(export(tmp_path))
    assert found.problems == ()
    kinds = [item.kind for item in found.items]
    assert (kinds.count("event"), kinds.count("review")) == (4, 1)
    runner = next(item for item in found.items if item.id == RUNNER)
    assert [(said.where, said.text) for said in runner.said][:5] == [
        ("label", "person"),
        ("sub-label", "Joe"),
        ("zone", "lawn"),
        ("zone", "porch"),
        ("description", "A person enters the frame from the left."),
    ]
    assert len(runner.said) == 8
    assert (runner.box, runner.start) == ((0.3, 0.3, 0.4, 0.6), START)
    review = next(item for item in found.items if item.kind == "review")
    assert (review.labels, review.parts, review.start) == (("person",), (RUNNER,), START)
    assert [said.where for said in review.said] == ["label", "title", "scene", "summary", "summary"]


def test_a_file_that_is_cut_in_half_gives_what_is_before_the_cut(tmp_path: Path) -> None:
    text = json.dumps(EVENTS)
    (tmp_path / "events.json").write_text(text[: text.index(GONE) + 20])
    (tmp_path / "review.json").write_text(json.dumps([REVIEW])[:200])
    found = read_export(tmp_path)
    assert len(found.items) == 3
    assert any("first 3 entries" in problem for problem in found.problems)
    assert any(problem.startswith("review.json") for problem in found.problems)


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "no valid JSON"), ("[]", "no event"), ('[{"a": 1}]', "neither an event"), ("[3, {", "first 1")],
)
def test_a_file_of_which_nothing_can_be_read_is_an_error(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "events.json").write_text(text)
    with pytest.raises(DataError, match=said):
        read_export(tmp_path)


def test_a_folder_without_json_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no JSON"):
        read_export(tmp_path)


def test_odd_fields_are_left_out_and_lose_nothing_else(tmp_path: Path) -> None:
    odd = event(RUNNER, sub_label=["Joe", 0.9], zones=None, end_time=None, label="dog")
    odd["data"] = {"box": [10, 20, 300, 400], "description": None}
    (item,) = (each for each in read_export(export(tmp_path, [odd])).items if each.kind == "event")
    assert (item.box, item.end, item.labels) == (None, None, ("dog",))
    assert [said.text for said in item.said] == ["dog", "Joe"]


ITEM = NvrItem(id="17.5-abc", kind="event", camera="front", start=START, end=START + 5)


def local(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%Y%m%d_%H%M%S")


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("front-17.5-abc.mp4", False),
        (f"clip_front_{START - 5:.0f}-{START + 10:.0f}.mp4", False),
        (f"front_{local(START - 60)}-{local(START + 60)}_x1y2.mp4", False),
        (f"clip_front_{START + 4:.0f}-{START + 30:.0f}.mp4", True),
    ],
)
def test_a_clip_is_found_by_id_or_by_camera_and_time(name: str, part: bool) -> None:
    others = [Path("front-99.mp4"), Path(f"clip_back_{START - 5:.0f}-{START + 9:.0f}.mp4")]
    found = clip_of(ITEM, [*others, Path(name)])
    assert (found.clip, found.part) == (Path(name), part)


def test_clips_of_another_time_are_said_to_be_that() -> None:
    late = Path(f"clip_front_{START + 100:.0f}-{START + 200:.0f}.mp4")
    assert "another time" in clip_of(ITEM, [late]).why
    assert clip_of(ITEM, [Path("other.mp4")]).why == "No clip of it is there."


@pytest.mark.parametrize("start", [None, float("nan"), float("inf"), 10**400, "yesterday"])
def test_clips_are_not_said_to_be_of_another_time_where_none_is_known(start: object, tmp_path: Path) -> None:
    odd = json.loads(json.dumps(EVENTS[0])) | {"id": "odd", "camera": "front", "start_time": start}
    (item,) = (each for each in read_export(export(tmp_path, [odd])).items if each.kind == "event")
    late = Path(f"clip_front_{START + 100:.0f}-{START + 200:.0f}.mp4")
    assert item.start is None and "another time" not in clip_of(item, [late]).why


@pytest.mark.parametrize("camera", ["front_door", "store_front", "front2"])
def test_the_clip_of_a_camera_with_a_longer_name_is_not_taken(camera: str) -> None:
    when = f"{START - 5:.0f}-{START + 10:.0f}"
    local_time = f"{local(START - 60)}-{local(START + 60)}"
    others = [Path(f"clip_{camera}_{when}.mp4"), Path(f"{camera}_{local_time}_x1y2.mp4")]
    assert clip_of(ITEM, others).clip is None
    assert clip_of(ITEM.replace(camera=camera), others).clip == others[0]


@pytest.mark.parametrize("id", ["12", "1718987129.30", "abc"])
def test_the_clip_of_an_event_whose_id_only_begins_or_ends_so_is_not_taken(id: str) -> None:
    other, own = Path("yard-1718987129.308396-abcd12.mp4"), Path(f"yard_{id}_low.mp4")
    item = NvrItem(id=id, kind="event", camera="yard")
    assert clip_of(item, [other]).clip is None
    assert clip_of(item, [other, own]).clip == own
    review = NvrItem(id="r", kind="review", camera="yard", parts=(id,))
    assert clip_of(review, [other]).clip is None
