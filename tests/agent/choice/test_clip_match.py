"""Options about a clip are held against its events; what was not measured is said."""

from __future__ import annotations

import pytest

from anomalist.agent.choice.evidence_choice import choose_by_evidence
from anomalist.types.clip import Trouble
from tests.report.clip_records import clip, dark, event, track

SLOW = event(
    "E2", 6.0, 9.0, kind="dwell", score=1.2, severity=1, box=(100, 70, 124, 94), zone="gate",
    tracks=(track("T2", speed_ratio=0.3, size_ratio=0.4, direction="towards the camera"),), measures=(),
)  # fmt: skip
ONE = clip("yard.mp4", event())
TWO = clip("yard.mp4", event(), SLOW)
CALM = clip("calm.mp4")
YES = ("yes", "no")


@pytest.mark.parametrize(
    ("question", "options", "letter"),
    [
        ("Is anything wrong?", YES, "A"),
        ("Is everything normal?", YES, "B"),
        ("Where is it?", ("on the left", "on the right"), "A"),
        ("Where is it?", ("at the lower right", "in the centre", "on the left"), "C"),
        ("What is unusual?", ("something is too fast", "someone is loitering"), "A"),
        ("How does it move?", ("faster than usual", "slower than usual"), "A"),
        ("How does it move?", ("from right to left", "from left to right"), "B"),
        ("Is it moving to the left?", YES, "B"),
        ("How many events are there?", ("0", "1", "2"), "B"),
        ("How many things stand out?", ("none", "one", "several"), "B"),
        ("When does it happen?", ("in the first half", "in the second half"), "A"),
        ("When does it happen?", ("at the beginning", "in the middle", "at the end"), "A"),
        ("When does it happen?", ("after 5 s", "before 5 s"), "B"),
        ("When does it happen?", ("between 0.5 and 2.5 s", "from 4 s to 6 s"), "A"),
        ("When does it start?", ("1 s", "2 s", "8 s"), "A"),
        ("When does it end?", ("at 0:01", "at 0:02", "at 0:08"), "B"),
        ("How long does it last?", ("1 s", "5 s"), "A"),
        ("How long does it last?", ("less than 2 s", "more than 2 s"), "A"),
        ("Does anything happen in the first half?", YES, "A"),
        ("Does anything happen in the second half of the video?", YES, "B"),
        ("Does anything happen after 5 s?", YES, "B"),
        ("Does anything happen in the last 5 seconds?", YES, "B"),
        ("How bad is it?", ("minor", "moderate", "critical"), "B"),
        ("In which half of the video does it happen?", ("first", "second"), "A"),
        ("Is it at the top?", YES, "B"),
        ("Does it begin before 0.5 s?", YES, "B"),
        ("Is there more than one event?", YES, "B"),
        ("Is there at least one event?", YES, "A"),
        ("Is it larger than usual?", YES, "B"),
        ("Does the event last longer than 5 s?", YES, "B"),
        ("Should this be watched?", YES, "A"),
        ("Which is true?", ("nothing happens", "a fast object passes on the left"), "B"),
    ],
)
def test_one_event(question: str, options: tuple[str, ...], letter: str) -> None:
    choice = choose_by_evidence(question, options, ONE)
    assert choice.letter == letter
    assert choice.claims and all(set(claim.evidence) <= {"score", "E1"} for claim in choice.claims)
    turned = choose_by_evidence(question, options[::-1], ONE)
    assert turned.best[0] == len(options) - 1 - choice.best[0]


@pytest.mark.parametrize(
    ("question", "options", "letter"),
    [
        ("Which event is worse?", ("E1", "E2"), "A"),
        ("Which event is less severe?", ("E1", "E2"), "B"),
        ("Which event is longer?", ("E1", "E2"), "B"),
        ("Which is the fastest?", ("E1", "E2"), "A"),
        ("Which came first?", ("E2", "E1"), "B"),
        ("Which stands out most?", ("E2", "E1"), "B"),
        ("Is E1 faster than E2?", YES, "A"),
        ("Is E2 worse than E1?", YES, "B"),
        ("Did E1 happen before E2?", YES, "A"),
        ("Did E1 happen after E2?", YES, "B"),
        ("Where is the slowest one?", ("on the left", "at the lower right"), "B"),
        ("Where is E2?", ("on the left", "at the lower right"), "B"),
        ("When is the longer one?", ("first half", "second half"), "B"),
        ("What happens after 5 s?", ("someone moves fast", "someone waits"), "B"),
        ("What happens on the left?", ("someone is too fast", "someone waits"), "A"),
        ("How many events are there in the second half?", ("0", "1", "2"), "B"),
        ("How many events are there?", ("0", "1", "2"), "C"),
        ("Is E2 in the zone gate?", YES, "A"),
        ("How long is E2?", ("1 s", "3 s"), "B"),
    ],
)
def test_two_events(question: str, options: tuple[str, ...], letter: str) -> None:
    choice = choose_by_evidence(question, options, TWO)
    assert choice.letter == letter
    cited = {id for claim in choice.claims for id in claim.evidence}
    assert cited <= {"score", "E1", "E2"}


@pytest.mark.parametrize(
    ("question", "options", "letter"),
    [
        ("Is anything wrong?", YES, "B"),
        ("Does anything happen after 5 s?", YES, "B"),
        ("How many events are there?", ("0", "1", "2"), "A"),
        ("How bad is it?", ("harmless", "moderate"), "A"),
        ("Is something too fast?", YES, "B"),
        ("Is there more than one event?", YES, "B"),
    ],
)
def test_nothing_stood_out(question: str, options: tuple[str, ...], letter: str) -> None:
    choice = choose_by_evidence(question, options, CALM)
    assert choice.letter == letter
    assert choice.claims[0].evidence == ("score",)


@pytest.mark.parametrize(
    ("question", "options"),
    [
        ("Who is it?", ("a thief", "a guard")),
        ("What does it ride?", ("a bicycle", "a skateboard")),
        ("What colour is it?", ("red", "blue")),
        ("When does it happen?", ("at 50 s", "at 60 s")),
        ("Which event is worse?", ("E1", "E2")),
        ("Is it in the first half?", ("after 20 s", "after 30 s")),
        ("When does E1 happen?", ("in the first 1.5 s", "after 1.5 s")),
    ],
)
def test_what_was_not_measured_is_not_guessed(question: str, options: tuple[str, ...]) -> None:
    equal = clip("yard.mp4", event(), event("E2", 6, 7))
    choice = choose_by_evidence(question, options, equal)
    assert choice.letter is None and choice.why_not


def test_what_could_not_be_judged_is_neither_yes_nor_no() -> None:
    assert choose_by_evidence("Is anything wrong?", YES, dark()).letter is None
    covered = clip("yard.mp4", troubles=(Trouble(kind="covered", start=6.0, end=9.0),))
    assert choose_by_evidence("Does anything happen after 5 s?", YES, covered).letter is None
    assert choose_by_evidence("Does anything happen before 5 s?", YES, covered).letter == "B"


def test_the_length_of_the_clip_is_not_that_of_an_event() -> None:
    choice = choose_by_evidence("How long is the clip?", ("1 s", "10 s"), ONE)
    assert choice.letter == "B" and choice.claims[0].evidence == ("yard.mp4",)


def test_without_a_duration_halves_mean_nothing() -> None:
    record = clip("yard.mp4", event(), duration=None)
    assert (
        choose_by_evidence("When is it?", ("in the first half", "in the second half"), record).letter is None
    )
    assert choose_by_evidence("When is it?", ("before 5 s", "after 5 s"), record).letter == "A"


@pytest.mark.parametrize(
    ("question", "letter"),
    [
        ("How many events happen after 5 s?", "C"),
        ("How many events happen in the last 5 s?", "C"),
        ("How many events are there in the first half?", "B"),
        ("How many events are there before E3?", "C"),
        ("How many events are there after E2?", "B"),
    ],
)
def test_times_put_nothing_in_order(question: str, letter: str) -> None:
    record = clip("yard.mp4", event(), event("E2", 6, 7), event("E3", 8, 9))
    assert choose_by_evidence(question, ("0", "1", "2", "3"), record).letter == letter
