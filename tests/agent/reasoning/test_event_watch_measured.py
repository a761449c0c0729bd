"""Watch items against what was measured: what motion tells, what it can't, and what a model adds."""

from __future__ import annotations

from typing import Any

import pytest

from anomalist.agent.reasoning.event_watch import MEASURE_STATEMENTS, EventWatch, quote_items
from anomalist.agent.reasoning.vlm_reasoner import apply_event_reply
from anomalist.errors import DataError
from anomalist.prompts.schemas import EventReply
from anomalist.types.clip import Event, Measured, MeasureName, WatchMatch
from tests.agent.event_cases import REPLY, make_caption, make_event

UNTOLD = ("someone on a bicycle", "people running", "a dog", "two people fighting", "a red car", "smoke")
UNTOLD += ("people walking", "something very slow", "a small object", "a person falls down")
TOLD: tuple[tuple[str, MeasureName], ...] = (
    ("a fast object", "speed"),
    ("somebody speeding", "speed"),
    ("something very big", "size"),
    ("someone walking the wrong way", "direction"),
    ("an object left behind", "dwell"),
    ("someone standing still for a long time", "dwell"),
    ("a crowd gathers", "crowding"),
    ("nobody moves", "stillness"),
    ("people scattering in panic", "dispersal"),
    ("someone enters the forbidden area", "forbidden zone"),
)
CAPTIONS: dict[MeasureName, str] = {
    "speed": "A fast object moves from left to right at 3.1 times the usual speed on the left, for 4.2 s.",
    "size": "A large object takes up 2.4 times the room that is hardly ever exceeded there, for 4.2 s.",
    "direction": "An object moves from right to left, which only 2% of what passes there does, for 4.2 s.",
    "place": "An object moves from left to right where something is only 1 in 500 of the time, for 3.0 s.",
    "dwell": "An object has been standing still for 24 s where things usually move on, for 20.2 s.",
    "crowding": "A crowd fills 34% of the picture, far more than usual, for 12.0 s.",
    "stillness": "The whole scene is still where there is usually movement, for 20.0 s.",
    "appearance": "An object looks unlike anything that usually moves here on the left, for 2.0 s.",
    "dispersal": "Everybody moves away from one place at once, for 2.0 s.",
    "forbidden zone": "An object enters a forbidden zone in the centre, for 2.0 s.",
}


def of(kind: MeasureName, *others: MeasureName) -> Event:
    names = (kind, *others)
    measures = tuple(Measured(name=name, surprise=1.2, value=1.0) for name in names)
    return make_event(kind=kind, measures=measures, caption=make_caption(CAPTIONS[kind]))


def one(watch: EventWatch, event: Event, **probabilities: float) -> WatchMatch:
    asked = {item: value for item in watch.items for value in probabilities.values()}
    (match,) = watch.matches(event, asked)
    return match


@pytest.fixture(scope="module")
def told() -> EventWatch:
    return EventWatch([item for item, _ in TOLD])


def test_every_measure_has_its_statements_and_its_caption() -> None:
    unlearned = {"activity"}  # of clips without a scene, which nothing is watched for in
    assert set(MEASURE_STATEMENTS) - unlearned == set(CAPTIONS)


def test_what_motion_can_not_tell_is_said_and_never_guessed() -> None:
    watch = EventWatch(UNTOLD)
    assert watch.beyond == UNTOLD
    for kind in CAPTIONS:
        for match in watch.matches(of(kind), {}):
            assert (match.matched, match.by, match.clause) == (None, None, "")
            assert -1 <= match.similarity <= 0


def test_what_a_measure_tells_is_matched_by_its_events_and_by_no_others(told: EventWatch) -> None:
    assert told.beyond == ()
    for kind in CAPTIONS:
        matches = told.matches(of(kind), {})
        assert [m.item for m in matches if m.matched] == [item for item, name in TOLD if name == kind]
        assert {m.matched for m in matches} <= {True, False}
        assert all(m.by == "measured" and (m.similarity > 0) == m.matched for m in matches)


def test_a_second_measure_that_stands_out_counts_too(told: EventWatch) -> None:
    matches = {match.item: match for match in told.matches(of("speed", "dwell"), {})}
    assert matches["an object left behind"].matched
    assert matches["an object left behind"].clause == "an object has been left behind"
    quiet = of("speed").model_copy(update={"measures": (Measured(name="dwell", surprise=0.4, value=1.0),)})
    assert not {m.item: m for m in told.matches(quiet, {})}["an object left behind"].matched


def test_what_a_model_says_of_the_event_is_held_against_the_items() -> None:
    watch = EventWatch(["someone on a bicycle", "people running", "a dog"])
    event = apply_event_reply(of("speed"), EventReply.model_validate(REPLY))
    bicycle, running, dog = watch.matches(event, {})
    assert (bicycle.matched, bicycle.by, bicycle.probability) == (True, "model", None)
    assert "bicycle" in bicycle.clause
    assert (running.matched, dog.matched) == (None, None)  # that it wasn't mentioned is no answer


@pytest.mark.parametrize(("yes", "matched"), [(0.9, True), (0.5, False), (0.1, False)])
def test_a_reply_to_the_item_itself_decides_what_motion_does_not_tell(yes: float, matched: bool) -> None:
    watch = EventWatch(["someone on a bicycle"])
    match = one(watch, of("speed"), yes=yes)
    assert (match.matched, match.by, match.probability) == (matched, "model", yes)
    said = apply_event_reply(of("speed"), EventReply.model_validate(REPLY))
    assert one(watch, said, yes=yes).matched == matched  # the question was more precise than the sentence


def test_a_model_does_not_take_back_what_was_measured() -> None:
    match = one(EventWatch(["a fast object"]), of("speed"), yes=0.1)
    assert (match.matched, match.by, match.probability) == (True, "measured", 0.1)


@pytest.mark.parametrize("items", [[""], ["..."], ["a dog", "A  Dog"], ["x" * 301]])
def test_items_that_can_not_be_watched_for_are_refused(items: list[str]) -> None:
    with pytest.raises(DataError):
        EventWatch(items)


def test_items_are_quoted_in_notes() -> None:
    values: Any = ["a dog", "smoke"]
    assert quote_items(values) == '"a dog", "smoke"'
