"""Sentences held against what was measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from anomalist.agent.tools.claims import check_claim
from anomalist.agent.tools.subject import Subject
from anomalist.errors import DataError
from tests.subjects import judged, scratched

BORNE_OUT = (
    "The part is defective.",
    "There is a scratch at the upper left.",
    "A dark horizontal line is visible in the upper left.",
    "There are two defects.",
    "R2 is a bright spot in the lower right.",
    "The score is 3.2.",
    "The scratch R1 is 60 px wide.",
    "There is no stain.",
    "There is one scratch.",
    "There is a scratch at the upper left and a bright spot at the lower right.",
    "Two defects: a scratch and a spot.",
    "There are two defects, one is a scratch.",
    "Picture part.png is anomalous.",
)
CONTRADICTED = (
    "Everything is fine.",
    "There is a scratch at the lower right.",  # a scratch, and something there, but not the same thing
    "A bright line at the upper left.",
    "There are five defects.",
    "There is no scratch.",
    "R2 is at the upper left.",
    "The score is 9.",
    "R1 is 200 px wide.",
    "There are three defects.",
    "There are two scratches.",
    "There is a scratch at the upper left and a bright spot at the upper right.",
    "There is a scratch at the lower right and a spot at the upper left.",
    "The severity is major.",
)
NOT_TESTABLE = (
    "The scratch was caused by a forklift.",
    "There is a scratch left by a careless operator.",
    "The serial number is 4417.",
    "A cat sits on the table.",
    "It is made of steel.",
)


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    return scratched(tmp_path / "part.png")


@pytest.mark.parametrize(
    ("sentence", "status"),
    [
        *((each, "borne out") for each in BORNE_OUT),
        *((each, "contradicted") for each in CONTRADICTED),
        *((each, "not testable") for each in NOT_TESTABLE),
    ],
)
def test_a_sentence_about_a_picture_is_held_against_its_record(
    subject: Subject, sentence: str, status: str
) -> None:
    checked = check_claim(subject, sentence)
    assert checked.status == status, checked.why
    assert checked.why and checked.ids


def test_words_that_nothing_stands_for_are_named(subject: Subject) -> None:
    checked = check_claim(subject, "There is a scratch and a banana.")
    assert (checked.status, checked.unread) == ("not testable", ("banana",))


def test_a_part_that_is_wrong_is_enough_to_contradict_a_sentence(subject: Subject) -> None:
    assert (
        check_claim(subject, "There is a scratch at the lower right and a banana.").status == "contradicted"
    )


def test_nothing_is_said_of_what_is_undecided_or_failed(subject: Subject) -> None:
    (record,) = subject.records
    undecided = replace(subject, records=(record.replace(label="undecided", why_undecided="blurred"),))
    checked = check_claim(undecided, "There is a scratch.")
    assert checked.status == "not testable" and "blurred" in checked.why
    assert check_claim(undecided, "The part is fine.").status == "not testable"


@pytest.fixture
def run(subject: Subject, tmp_path: Path) -> Subject:
    others = [judged(tmp_path / f"good-{number}.png") for number in range(3)]
    return replace(subject, records=(*subject.records, *others))


@pytest.mark.parametrize(
    ("sentence", "status"),
    [
        ("1 picture is anomalous.", "borne out"),
        ("1 of 4 pictures is anomalous.", "borne out"),
        ("1 of 9 pictures is anomalous.", "contradicted"),
        ("Three pictures are normal.", "borne out"),
        ("No picture is anomalous.", "contradicted"),
        ("All pictures are normal.", "contradicted"),
        ("part.png has a scratch at the upper left.", "borne out"),
        ("good-1.png has a scratch.", "contradicted"),
        ("The batch smells of oil.", "not testable"),
        ("2 pictures are purple.", "not testable"),
    ],
)
def test_a_sentence_about_a_run_counts_or_names_a_picture(run: Subject, sentence: str, status: str) -> None:
    checked = check_claim(run, sentence)
    assert checked.status == status, checked.why


@pytest.mark.parametrize(
    ("sentence", "status"),
    [
        ("All bricks are normal.", "borne out"),
        ("All of the tiles are normal.", "contradicted"),
        ("All of the tiles are anomalous.", "borne out"),
        ("3 of 3 bricks are normal.", "borne out"),
        ("3 of the 4 bricks are normal.", "contradicted"),
        ("None of the bricks is anomalous.", "borne out"),
        ("All blobs are normal.", "not testable"),
    ],
)
def test_all_of_a_product_are_those_of_that_product(run: Subject, sentence: str, status: str) -> None:
    products = [
        record.replace(profile="brick") if record.label == "normal" else record for record in run.records
    ]
    checked = check_claim(replace(run, records=tuple(products)), sentence)
    assert checked.status == status, checked.why


@pytest.mark.parametrize(
    ("sentence", "status"),
    [
        ("No picture is anomalous.", "not testable"),
        ("None of the pictures is critical.", "not testable"),
        ("All pictures are normal.", "not testable"),
        ("All pictures are anomalous.", "contradicted"),
        ("No picture is normal.", "contradicted"),
        ("3 pictures are normal.", "borne out"),
        ("No picture is undecided.", "contradicted"),
        ("1 picture is undecided.", "borne out"),
    ],
)
def test_what_has_no_verdict_bears_out_neither_none_nor_all(run: Subject, sentence: str, status: str) -> None:
    _, *goods = run.records
    undecided = goods[0].replace(source="und.png", label="undecided", why_undecided="blurred")
    failed = goods[0].replace(source="bad.png", status="error", error="cut off", verdict=None)
    subject = replace(run, records=(*goods, undecided, failed))
    checked = check_claim(subject, sentence)
    assert checked.status == status, checked.why


@pytest.mark.parametrize("sentence", ["", "R7 is a scratch."])
def test_what_there_is_not_is_an_error(subject: Subject, sentence: str) -> None:
    with pytest.raises(DataError):
        check_claim(subject, sentence)
