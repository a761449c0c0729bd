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
