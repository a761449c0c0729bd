"""Questions about pictures as a whole: answered from how they compare with the normals."""

from __future__ import annotations

import pytest

from anomalist.agent.asking.answering import answer
from anomalist.agent.tools.subject import Subject
from anomalist.types.common import MediaSummary, Verdict
from anomalist.types.image import EvidenceSummary, Record
from anomalist.types.shift import InputChange, InputShift, RunDrift

MOVED = InputChange(name="shift", value=0.05, words="moved by 12 px (10 px to the right, 6 px down)")
BRIGHT = InputChange(name="brightness", value=1.1, words="brighter by 10%")
DRIFT = RunDrift(
    name="brightness",
    since=41,
    noticed=55,
    evidence=300,
    words="the light is brighter by 12% since about picture 41",
)


def record(number: int, shift: InputShift | None) -> Record:
    """One record with its comparison."""
    undecided = bool(shift and shift.changes)
    return Record(
        media=MediaSummary(source=f"/in/{number}.png", width=9, height=9),
        evidence=EvidenceSummary(score=1.0, p_value=0.5, input_shift=shift),
        verdict=Verdict(label="undecided" if undecided else "normal", severity=0, reasoner="evidence"),
        status="ok",
    )


def subject(*shifts: InputShift | None) -> Subject:
    """A subject of pictures with these comparisons."""
    return Subject(records=tuple(record(number, shift) for number, shift in enumerate(shifts)))


def shift(
    *changes: InputChange, small: tuple[InputChange, ...] = (), drift: RunDrift | None = None
) -> InputShift:
    """How a picture compares."""
    return InputShift(statistics={}, changes=changes, corrected=small, drift=drift)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Has the camera moved?", "12 px"),
        ("Did the parts shift?", "12 px"),
        ("Is this the same product?", "It is the product"),
        ("Is it out of focus?", "No"),
        ("Has the light changed?", "brighter by 10%"),
    ],
)
def test_one_picture(text: str, said: str) -> None:
    reply = answer(subject(shift(MOVED, small=(BRIGHT,))), text)
    assert reply.answered
    assert said in reply.text
    assert reply.intent == "input"
    assert all(claim.evidence == ("input",) for claim in reply.claims)


def test_of_a_run_it_says_how_many() -> None:
    reply = answer(subject(shift(MOVED), shift(), shift(MOVED)), "Has the camera been moved?")
    assert "2 of 3 pictures" in reply.text
    assert "12 px" in reply.text
    assert answer(subject(shift(), shift()), "Has the camera moved?").text.startswith("No: none of the 2")


def test_drift_is_said() -> None:
    reply = answer(subject(shift(drift=DRIFT), shift()), "Did the setup drift?")
    assert "since about picture 41" in reply.text


def test_where_nothing_was_compared_it_is_not_answered_from_that() -> None:
    assert answer(subject(None), "Has the camera moved?").intent != "input"


BLURRED = InputChange(name="sharpness", value=-1.0, words="blurred, fine detail is 37% of the usual")
OTHER = InputChange(name="product", value=0.1, words="not the product that was learned")
BRIGHTER = InputChange(name="brightness", value=1.5, words="brighter by 50%")


@pytest.mark.parametrize(
    ("text", "change", "when_as_learned"),
    [
        ("Is it in focus?", BLURRED, "Yes"),
        ("Isn't it in focus?", BLURRED, "Yes"),
        ("Is the picture sharp?", BLURRED, "Yes"),
        ("Is it sharp enough?", BLURRED, "Yes"),
        ("Is it still in focus?", BLURRED, "Yes"),
        ("Is it not sharp enough?", BLURRED, "No"),
        ("Is it out of focus?", BLURRED, "No"),
        ("Is it blurry?", BLURRED, "No"),
        ("Is it not blurred?", BLURRED, "Yes"),
        ("Is this the right product?", OTHER, "Yes"),
        ("Is this the same product?", OTHER, "Yes"),
        ("Is this a different product?", OTHER, "No"),
        ("Is it the wrong part type?", OTHER, "No"),
        ("Is the light the same?", BRIGHTER, "Yes"),
        ("Is the light unchanged?", BRIGHTER, "Yes"),
        ("Has the light changed?", BRIGHTER, "No"),
        ("Is it overexposed?", BRIGHTER, "No"),
        ("Has the camera moved?", MOVED, "No"),
        ("Hasn't the camera moved?", MOVED, "No"),
        ("Has the camera not moved?", MOVED, "Yes"),
    ],
)
def test_yes_and_no_go_by_what_is_asked(text: str, change: InputChange, when_as_learned: str) -> None:
    otherwise = "No" if when_as_learned == "Yes" else "Yes"
    for pictures in (1, 3):
        assert answer(subject(*[shift()] * pictures), text).text.startswith(when_as_learned)
        reply = answer(subject(*[shift(change)] * pictures), text)
        assert reply.text.startswith(otherwise)
        assert change.words in reply.text and reply.dropped == ()


def test_too_dark_is_not_said_of_what_is_brighter() -> None:
    bright = subject(shift(BRIGHTER))
    assert answer(bright, "Is it too dark?").text.startswith("No")
    assert answer(bright, "Is it too bright?").text.startswith("Yes")


def test_a_small_difference_is_no_clear_yes() -> None:
    for pictures in (1, 3):
        small = subject(*[shift(small=(BRIGHTER,))] * pictures)
        assert answer(small, "Is the light the same?").text.startswith("Nearly")
        assert answer(small, "Has the light changed?").text.startswith("A little")
        assert answer(small, "Has the light changed?").dropped == ()


def test_not_all_are_in_focus_and_some_were_not_compared() -> None:
    reply = answer(subject(shift(BLURRED), shift(), None), "Are they in focus?")
    assert reply.text.startswith("Not all: 1 of 2 pictures")
    assert "1 of 3 pictures could not be compared in this." in reply.text and reply.dropped == ()


def test_what_was_not_looked_at_is_neither_yes_nor_no() -> None:
    for text in ("Is it in focus?", "Is it blurry?"):
        reply = answer(subject(shift(OTHER)), text)
        assert reply.text == f"That could not be compared: as a whole the picture is {OTHER.words}."
        reply = answer(subject(shift(OTHER), shift(OTHER)), text)
        assert reply.text == "2 of 2 pictures could not be compared in this."
        assert reply.dropped == ()
