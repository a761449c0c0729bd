"""What a question names."""

from __future__ import annotations

import pytest

from anomalist.agent.asking.question import extract_entities, feedback_kind, read_question


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("at a false-alarm rate of 0.02", 0.02),
        ("with 1 % false alarms", 0.01),
        ("only two percent", 0.02),
        ("2,5 % please", 0.025),
        ("how large is R1", None),
    ],
)
def test_rates(text: str, rate: float | None) -> None:
    assert extract_entities(read_question(text)).rate == rate


def test_regions_events_pictures_and_places() -> None:
    named = extract_entities(
        read_question("Is r2 in tile-1.png, at the top left, larger than R1? And E3 at 1:05?")
    )
    assert named.regions == ("R2", "R1")
    assert named.events == ("E3",)
    assert named.pictures == ("tile-1.png",)
    assert named.position == "upper left"
    assert named.seconds == 65


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("This is a scratch, severity 3.", "scratch"),
        ("It's a dent.", "dent"),
        ("This is fine.", None),
        ("That was a false alarm.", None),
        ("Correct: it is a stain, not a crack.", "stain"),
        ("Confirmed, that is a real defect.", None),
    ],
)
def test_kinds_that_people_name(text: str, kind: str | None) -> None:
    assert feedback_kind(read_question(text)) == kind


def test_severity() -> None:
    assert extract_entities(read_question("This is a scratch, severity 3.")).severity == 3
    assert extract_entities(read_question("list the critical ones")).severity == 4


def test_the_words_of_a_file_name_are_no_entities() -> None:
    named = extract_entities(read_question("Is R1 in bad/left-r2-e3-critical.png a worst.mp4?"))
    assert (named.regions, named.events) == (("R1",), ())
    assert (named.position, named.label, named.severity, named.order) == (None, None, None, None)
    assert named.pictures == ("bad/left-r2-e3-critical.png", "worst.mp4")
