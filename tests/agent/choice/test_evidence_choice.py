from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalist.agent.asking.draft import failure_draft
from anomalist.agent.choice.evidence_choice import choose_by_evidence
from anomalist.errors import DataError
from anomalist.types.common import Claim
from anomalist.types.image import Calibration, KnownKind, Record, Region
from anomalist.vision.detectors.known_kinds import KindSimilarity
from tests.agent.conftest import SIDE, make_region

ANY = "Is there any defect?"
CORNERS = ("upper left", "upper right", "lower left", "lower right")


def record(label: str | None = "anomalous", p: float | None = 0.01, **fields: Any) -> Record:
    """The record of a picture with one dark line at the upper left, unless said otherwise."""
    line = make_region(
        box=(10, 10, 70, 14), area=200, elongation=15.0, orientation=0.0, tone="darker", contrast_sigma=-5.0
    )
    calibration = Calibration(
        method="split",
        normals=100,
        groups=100,
        false_alarm_rate=0.05,
        reachable=True,
        normals_needed=19,
        instability=0.0,
        approximate=False,
        seed=0,
    )
    about: dict[str, Any] = {
        "source": "part.png",
        "status": "ok",
        "label": label,
        "p_value": p,
        "regions": (line,),
        "width": SIDE,
        "height": SIDE,
        "severity": 2,
        "calibration": calibration,
        "claims": (
            Claim(text="R1: a line.", evidence=("R1",)),
            Claim(text="It is high.", evidence=("score",)),
        ),
    } | fields
    return Record(**about)


GOOD = record("normal", 0.6, regions=(), severity=0)
OPEN = record("undecided", 0.04)


def named(name: str | None, similarity: float = 0.9) -> tuple[Region, ...]:
    known = KnownKind(name=name, similarity=similarity, cases=("case:crack/7", "case:crack/2"))
    return (record().regions[0].model_copy(update={"known": known}),)


@pytest.mark.parametrize(
    ("question", "options", "letter"),
    [
        (ANY, ("Yes", "No"), "A"),
        (ANY, ("No", "Yes"), "B"),
        (ANY, ("No, nothing is wrong", "Yes, something is"), "B"),
        ("Is the part free of defects?", ("Yes", "No"), "B"),
        ("Is this tile normal?", ("Yes.", "No."), "B"),
        ("So it's fine, right?", ("yes", "no"), "B"),
        ("Is the part OK?", ("OK", "NG"), "B"),
        ("Isn't it defective?", ("yes", "no"), "A"),
        ("Isn’t the part fine?", ("yes", "no"), "B"),
        ("Can't you see any defect?", ("yes", "no"), "A"),
        ("What is its state?", ("Defective", "Normal"), "A"),
        ("What is its state?", ("flawless", "damaged"), "B"),
        ("What do you see?", ("no defect", "a scratch", "a stain"), "B"),
        ("Where is the defect?", CORNERS, "A"),
        ("Where is it?", ("In the centre", "Top left corner", "bottom right", "None of these"), "B"),
        ("Where is it?", ("centre", "lower right", "none of these"), "C"),
        ("Where is it?", ("not at the upper left", "on the left"), "B"),
        ("Is the defect at the upper left?", ("Yes", "No"), "A"),
        ("Is the defect at the lower right?", ("Yes", "No"), "B"),
        ("Is it on the left side?", ("Yes", "No"), "A"),
        ("Which half?", ("The left half", "The right half"), "A"),
        ("What does it look like?", ("a thin dark line", "a round bright spot", "a large stain"), "A"),
        ("What does it look like?", ("elongated", "round"), "A"),
        ("How does it run?", ("vertically", "horizontally", "diagonally"), "B"),
        ("How dark is it?", ("darker than around", "lighter than around"), "A"),
        ("How many defects are there?", ("0", "1", "2", "several"), "B"),
        ("How bad is it?", ("minor", "moderate", "critical"), "B"),
        ("What kind is it?", ("a stain", "a crack", "a hole"), "B"),
        (ANY, ("Yes, at the lower right", "Yes, at the upper left", "No"), "B"),
    ],
)
def test_the_option_that_fits_is_chosen(question: str, options: tuple[str, ...], letter: str) -> None:
    choice = choose_by_evidence(question, options, record())
    assert choice.letter == letter
    assert choice.claims
    assert math.isclose(sum(choice.probabilities), 1)


@pytest.mark.parametrize(
    ("question", "options", "letter"),
    [
        (ANY, ("Yes", "No"), "B"),
        ("So it's broken, right? Is it defective?", ("Yes", "No"), "B"),
        ("Is it normal?", ("Yes", "No"), "A"),
        ("What do you see?", ("a scratch", "no defect"), "B"),
        ("How many defects are there?", ("none", "one", "two"), "A"),
    ],
)
def test_a_normal_picture_has_no_defect(question: str, options: tuple[str, ...], letter: str) -> None:
    assert choose_by_evidence(question, options, GOOD).letter == letter


@pytest.mark.parametrize(
    ("question", "options"),
    [
        ("What is it made of?", ("Steel", "Wood")),
        ("Why is it broken?", ("It was dropped at the upper left", "It is old")),
        ("Is the crack new?", ("Yes", "No")),
        ("What is this?", ("A tile", "A bottle", "None of these")),
        ("Which?", ("Yes", "No")),
    ],
)
def test_what_evidence_does_not_speak_to_is_not_guessed(question: str, options: tuple[str, ...]) -> None:
    choice = choose_by_evidence(question, options, record())
    assert choice.letter is None
    assert choice.why_not
    assert choice.probabilities == pytest.approx((1 / len(options),) * len(options))
    assert choice.claims == ()


def test_options_that_cannot_be_told_apart_are_equally_probable() -> None:
    choice = choose_by_evidence("Where is it?", ("upper left", "in the top left corner", "centre"), record())
    assert choice.probabilities[0] == choice.probabilities[1] > choice.probabilities[2]
    assert choice.letter is None
    assert choice.best == (0, 1)


def test_an_undecided_verdict_leans_little() -> None:
    choice = choose_by_evidence(ANY, ("Yes", "No"), OPEN)
    assert 0.5 <= choice.probabilities[0] <= 0.56


@given(p=st.floats(0.0001, 1), label=st.sampled_from(["normal", "anomalous", "undecided"]))
def test_yes_and_no_never_contradict_the_verdict(p: float, label: str) -> None:
    yes, no = choose_by_evidence(ANY, ("Yes", "No"), record(label, p)).probabilities
    assert {"normal": yes < no, "anomalous": yes > no}.get(label, abs(yes - no) < 0.11)


def test_a_picture_that_was_not_judged_tells_nothing() -> None:
    broken = Record(source="part.png", status="error", error="unreadable")
    assert choose_by_evidence(ANY, ("Yes", "No"), broken).letter is None
    assert choose_by_evidence("Where?", CORNERS, broken).letter is None


def test_without_p_value_the_label_counts() -> None:
    assert choose_by_evidence(ANY, ("Yes", "No"), record("anomalous", None)).letter == "A"
    assert choose_by_evidence(ANY, ("Yes", "No"), record("undecided", None)).letter is None


def test_the_map_tells_places_where_nothing_is_marked() -> None:
    strange = np.zeros((SIDE, SIDE), np.float32)
    strange[240, 250] = 1
    choice = choose_by_evidence("Where is it most likely?", CORNERS, record(regions=()), score_map=strange)
    assert choice.letter == "D"
    assert choice.claims[0].evidence == ("score",)
    assert (
        choose_by_evidence("Where?", CORNERS, record(regions=()), score_map=np.zeros_like(strange)).letter
        is None
    )


def test_labelled_kinds_count_before_words() -> None:
    options = ("a stain", "crack", "rolled in scale")
    choice = choose_by_evidence("What kind?", options, record(regions=named("crack")))
    assert choice.letter == "B"
    assert choice.claims[0].evidence == ("R1", "case:crack/7", "case:crack/2")


@pytest.mark.parametrize(
    "options",
    [
        ("A defect of the kind stain", "A defect of the kind crack"),
        ("a defect of the kind copper", "a defect of the kind crack"),
        ("some other defect", "a crack"),
        ("a hole", "crack"),
    ],
)
def test_kinds_that_no_labelled_case_has_are_none_of_theirs(options: tuple[str, ...]) -> None:
    assert choose_by_evidence("Which kind?", options, record(regions=named("crack"))).letter == "B"


@pytest.mark.parametrize(("place", "letter"), [("upper left", "A"), ("lower right", "B"), ("bottom", None)])
def test_a_place_in_the_question_says_which_region_is_meant(place: str, letter: str | None) -> None:
    spur = make_region(2, box=(200, 200, 210, 210), position="lower right").model_copy(
        update={"known": KnownKind(name="spur", similarity=0.9, cases=("case:spur/1",))}
    )
    seen = record(regions=(*named("crack"), spur))
    question = f"What kind is the defect at the {place}?"
    assert choose_by_evidence(question, ("crack", "spur"), seen).letter == letter
    kinds = ("A defect of the kind crack", "A defect of the kind spur")
    assert choose_by_evidence(question, kinds, seen).letter == letter


@pytest.mark.parametrize(
    ("question", "options", "letter"),
    [
        ("Where is R1?", CORNERS, "A"),
        ("Where is R2?", CORNERS, "D"),
        ("Where is r2 in left-r1.png?", CORNERS, "D"),
        ("Is R2 a scratch?", ("yes", "no"), "B"),
        ("Is R1 a scratch?", ("yes", "no"), "A"),
        ("Where is the smallest defect?", CORNERS, "D"),
        ("Where is the largest defect?", CORNERS, "A"),
    ],
)
def test_options_are_about_the_region_that_the_question_names(
    question: str, options: tuple[str, ...], letter: str
) -> None:
    spot = make_region(2, (80, 80, 86, 86), 36, position="lower right", tone="lighter")
    both = record(regions=(*record().regions, spot))
    assert choose_by_evidence(question, options, both).letter == letter


@pytest.mark.parametrize(
    ("question", "options", "letter"),
    [
        ("How many scratches are there?", ("2", "1", "none"), "B"),
        ("How many defects are there?", ("2", "1", "none"), "A"),
        ("How many dents?", ("2", "1", "0"), "C"),
        ("How many defects are on the right?", ("2", "1", "0"), "B"),
        ("Is there more than one scratch?", ("yes", "no"), "B"),
        ("Are there two defects?", ("yes", "no"), "A"),
    ],
)
def test_of_a_kind_only_regions_like_it_are_counted(
    question: str, options: tuple[str, ...], letter: str
) -> None:
    patch = make_region(2, (60, 60, 90, 90), 900, position="lower right", tone="lighter")
    assert choose_by_evidence(question, options, record(regions=(*record().regions, patch))).letter == letter


def test_of_as_many_regions_as_are_measured_at_most_no_higher_number_is_chosen() -> None:
    many = record(regions=tuple(make_region(number + 1) for number in range(20)))
    assert choose_by_evidence("How many defects are there?", ("20", "30"), many).letter is None
    assert choose_by_evidence("How many defects are there?", ("3", "5 or more"), many).letter == "B"


KINDS = ("a scratch", "a stain")


@pytest.mark.parametrize(
    ("question", "options", "letter"),
    [
        ("Where is the defect not?", ("upper left", "lower right"), "B"),
        ("Which side is not damaged?", ("the left side", "the right side"), "B"),
        ("Which side is fine?", ("the left side", "the right side"), "B"),
        ("Which side is not fine?", ("the left side", "the right side"), "A"),
        ("Which of these is not there?", KINDS, "B"),
        ("Which of the following statements is false?", ("There's a scratch", "There's a stain"), "B"),
        ("Which of these isn't visible?", ("a dark line", "a thin line"), None),
        ("What is not fine with it?", KINDS, "A"),
        ("What colour has a good one?", ("it is darker", "it is lighter"), "A"),
    ],
)
def test_what_is_not_there_is_the_option_that_does_not_fit(
    question: str, options: tuple[str, ...], letter: str | None
) -> None:
    choice = choose_by_evidence(question, options, record())
    assert choice.letter == letter, choice.why_not
    assert all("fits best" not in claim.text for claim in choice.claims) or letter == "A"


@pytest.mark.parametrize(
    ("question", "options"),
    [
        ("How many pixels long is the scratch?", ("1", "60")),
        ("How many percent of it does the defect cover?", ("1", "50")),
        ("Is the defect longer than 100 pixels?", ("yes", "no")),
        ("Is the defect larger than 50 %?", ("yes", "no")),
        ("Is the anomaly score above 5?", ("yes", "no")),
    ],
)
def test_a_number_of_something_measured_is_not_guessed(question: str, options: tuple[str, ...]) -> None:
    assert choose_by_evidence(question, options, record()).letter is None


def test_likeness_gives_the_probabilities_of_kinds() -> None:
    likeness = KindSimilarity({"crack": 0.2, "blowhole": 0.7, "fray": 0.1}, ("case:blowhole/3",))
    choice = choose_by_evidence("Which kind?", ("Crack", "A blow-hole", "fray"), record(), likeness=likeness)
    assert choice.probabilities == pytest.approx((0.2, 0.7, 0.1))
    assert choice.letter == "B"
    assert choice.claims[0].evidence == ("R1", "case:blowhole/3")


def test_a_region_unlike_any_labelled_kind_names_none() -> None:
    assert choose_by_evidence("Which kind?", ("fray", "uneven"), record(regions=named(None))).letter is None


def test_claims_cite_ids_of_the_record() -> None:
    choice = choose_by_evidence("Where?", CORNERS, record())
    assert [claim.text for claim in choice.claims] == [
        "Of the options it fits best what was measured (R1).",
        "R1: a line.",
    ]


@pytest.mark.parametrize(
    "options", [(), ("Yes",), ("Yes", "yes ", ""), ("a", "a"), tuple("abcdefghijklmnopqrstuvwxyz1")]
)
def test_options_that_are_none_are_refused(options: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match="option"):
        choose_by_evidence(ANY, options, record())


@pytest.mark.parametrize("question", ["", "?", "¿Dónde está?", "x" * 50_000])
def test_any_question_is_taken(question: str) -> None:
    assert choose_by_evidence(question, CORNERS, record()).letter == "A"


TEXTS = st.sampled_from(
    [
        "Yes",
        "No",
        "upper left",
        "on the left",
        "centre",
        "a dark line",
        "a spot",
        "no defect",
        "none of these",
        "not on the left",
        "wood",
        "two defects",
        "at the edge",
        "a crack",
        "can't tell",
        "all of the above",
    ]
)


@settings(max_examples=150)
@given(
    options=st.lists(TEXTS, min_size=2, max_size=6, unique=True),
    seed=st.integers(0, 99),
    seen=st.sampled_from([record(), GOOD, OPEN, record(regions=named("crack"))]),
    question=st.sampled_from([ANY, "Where is it?", "Is it on the left?", ""]),
)
def test_the_order_of_options_changes_nothing(
    options: list[str], seed: int, seen: Record, question: str
) -> None:
    other = options.copy()
    random.Random(seed).shuffle(other)
    one, two = choose_by_evidence(question, options, seen), choose_by_evidence(question, other, seen)
    assert dict(zip(options, one.probabilities, strict=True)) == dict(
        zip(other, two.probabilities, strict=True)
    )
    assert {options[i] for i in one.best} == {other[i] for i in two.best}
    assert math.isclose(sum(one.probabilities), 1)
    assert (one.letter is None) == (two.letter is None)
    assert one.claims == two.claims
    assert one.why_not is None or " fits " in one.why_not or one.why_not == two.why_not


@pytest.mark.parametrize("status", ["ok", "error"])
@pytest.mark.parametrize("label", ["normal", None])
def test_what_could_not_be_judged_fits_no_option_and_is_said_to_whoever_asks(
    status: str, label: str | None
) -> None:
    asked = record("normal", status=status, error="It ends too early.")
    if label is None:
        asked = asked.replace(verdict=None)
    failed = status == "error" or label is None
    choice = choose_by_evidence(ANY, ["Yes", "No"], asked)
    assert (choice.letter is None) is failed
    assert ("could not be judged: It ends too early." in (choice.why_not or "")) is failed
    assert (failure_draft(asked) is not None) is failed
