"""Clauses: one statement each, with its subject and its count, and whether it denies."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomalist.memory.clauses import clauses, find_modifiers, modifiers_conflict, negated, strip_modifiers


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A cart is rolling down. A dog sleeps!", ["A cart is rolling down", "A dog sleeps"]),
        ("a cart rolls; smoke rises", ["a cart rolls", "smoke rises"]),
        ("The alarm rings — flames are rising", ["The alarm rings", "flames are rising"]),
        ("smoke\nsparks\n\n", ["smoke", "sparks"]),
        (
            "It moves 2.3 times as fast. Gate no. 5 is open.",
            ["It moves 2.3 times as fast", "Gate no. 5 is open"],
        ),
        ("A clerk is sitting and typing.", ["A clerk is sitting", "A clerk is typing"]),
        (
            "There is a clerk sitting and typing",
            ["There is a clerk sitting", "There is a clerk typing"],
        ),
        (
            "A clerk is reading, eating apples and humming",
            ["A clerk is reading", "A clerk is eating apples", "A clerk is humming"],
        ),
        ("The crane is idle, waiting for a load", ["The crane is idle", "The crane is waiting for a load"]),
        ("The welder stops and takes off a glove", ["The welder stops", "The welder takes off a glove"]),
        ("The welder stopped and looked at it", ["The welder stopped", "The welder looked at it"]),
        ("She took a box and went out", ["She took a box", "She went out"]),
        ("A guard is tall and is smoking", ["A guard is tall", "A guard is smoking"]),
        ("While a guard sleeps, a thief opens the safe", ["a guard sleeps", "a thief opens the safe"]),
        ("A guard sleeps while a thief opens the safe", ["A guard sleeps", "a thief opens the safe"]),
        ("A guard is awake but the gate is open", ["A guard is awake", "the gate is open"]),
        (
            "Boats are moored, gulls are circling and a child is shouting",
            ["Boats are moored", "gulls are circling", "a child is shouting"],
        ),
        (
            "One boat is leaving, a ship and a tug are arriving.",
            ["One boat is leaving", "a ship and a tug are arriving"],
        ),
        (
            "A cook stirs the pot without a glove",
            ["A cook stirs the pot", "A cook stirs the pot without a glove"],
        ),
        ("Without a glove, the cook is stirring", ["Without a glove", "the cook is stirring"]),
        ("The belt is turning, not stopping", ["The belt is turning", "The belt is turning, not stopping"]),
        ("he crawls rather than walking", ["he crawls", "he crawls rather than walking"]),
    ],
)
def test_each_statement_stands_by_itself_with_its_subject(text: str, expected: list[str]) -> None:
    assert list(clauses(text)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "There are crates, a ladder, and a forklift",
        "Besides the staff, there are boats on the lake, a pier with flags and a hut",
        "A cook in a white and spotted apron stirs the pot",
        "There are boats on the lake and swans on the shore",
        "A large, slow object, 2.3 times the usual size here, drifts left across the upper yard",
        "The safe is open and unguarded",
        "a cat and a dog are playing",
        "a walk in the park for a while",
        "Der Kran steht still, und der Wagen fährt",
        "two",
    ],
)
def test_what_belongs_together_stays_together(text: str) -> None:
    assert clauses(text) == (text,)


def test_counts_and_repeats_are_kept() -> None:
    text = "Three men are rowing and singing. The second one sits. The second one sits. 12 gulls are near."
    assert clauses(text) == (
        "Three men are rowing",
        "Three men are singing",
        "The second one sits",
        "The second one sits",
        "12 gulls are near",
    )


@pytest.mark.parametrize("text", ["", "  \n", "...", ", , and; —", '"!?"'])
def test_nothing_said_is_no_clause(text: str) -> None:
    assert [part for part in clauses(text) if part != "and"] == []


@pytest.mark.parametrize("text", ["猫が寝ている。犬が走る。", "猫が寝ている；犬が走る"])
def test_full_stops_of_other_scripts_end_sentences(text: str) -> None:
    assert clauses(text) == ("猫が寝ている", "犬が走る")


# --- negation ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "clause",
    [
        "no one is running",
        "No-one is here",
        "there is no vehicle",
        "nobody moves",
        "none of them stands",
        "without a bicycle",
        "a man with no hat",
        "not moving",
        "the gate isn't open",
        "the gate isn’t open",
        "they cannot see it",
        "it never stops",
        "neither boat moves",
        "nothing unusual happens",
        "the crew is no longer rowing",
        "he crawls rather than walking",
    ],
)
def test_a_denial_is_recognised(clause: str) -> None:
    assert negated(clause)


@pytest.mark.parametrize(
    "clause",
    [
        "someone is running",
        "a knot in the rope",
        "the notice board is nowadays bare",
        "platform no. 5 is open",
        "room No 7",
        "no fewer than three boats",
        "not only a boat",
        "there is no doubt that a boat is there",
        "not far from the shore",
        "whether or not it rains",
        "an unmanned boat",
        "",
    ],
)
def test_an_assertion_is_no_denial(clause: str) -> None:
    assert not negated(clause)


@pytest.mark.parametrize(
    ("text", "denied"),
    [
        ("No one is running or riding a horse.", [True, True]),
        ("The cart is not rolling or burning.", [True, True]),
        ("No one is running, but a man is riding a horse", [True, False]),
        ("A guard stands at the gate without a lamp and smokes", [False, True, False]),
        ("Nobody is moving; a lamp is burning", [True, False]),
    ],
)
def test_a_denial_reaches_as_far_as_its_clause(text: str, denied: list[bool]) -> None:
    assert [negated(part) for part in clauses(text)] == denied


# --- laws -------------------------------------------------------------------------------------------------

_WORDS = ("a", "man", "is", "are", "walking", "runs", ",", ".", ";", "the", "3", "boats", "there", "with")
_TURNS = ("and", "no", "one", "while", "not", "without", "but", "no", "and")
_SPEECH = st.lists(st.sampled_from(_WORDS + _TURNS), max_size=40).map(" ".join)


@given(st.one_of(_SPEECH, st.text(max_size=200)))
def test_clauses_are_tidy_and_lose_no_word(text: str) -> None:
    parts = clauses(text)
    assert all(part == " ".join(part.split()) and part for part in parts)
    said = " ".join(parts).lower()
    joints = {"and", "but", "while", "or", "then", "yet", "so", "whereas"}
    if text.isascii():
        assert all(word in said for word in text.lower().split() if word.isalnum() and word not in joints)


@given(_SPEECH)
def test_what_denies_is_never_lost(text: str) -> None:
    assert not negated(text) or any(negated(part) for part in clauses(text))


@pytest.mark.parametrize(
    "text",
    [
        "a, " * 3300,
        "and " * 2500,
        "is, a " * 1600,
        "x" * 10_000,
        "." * 9_999 + "x",
        "a man is walking and " * 480,
        "without " * 1250,
        "with" + " " * 9_000 + "x",
        '"' * 10_000,
    ],
)
def test_ten_thousand_characters_take_no_time(text: str) -> None:
    start = time.process_time()
    for part in clauses(text):
        negated(part)
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    ("one", "other", "are"),
    [
        ("an object moves fast", "an object moves slowly", True),
        ("an object moves very fast", "an object moves fast", True),
        ("an object moves at the usual speed", "an object moves a little", True),
        ("it goes from left to right", "it goes from right to left", True),
        ("it stands on the left", "it stands in the lower left", True),
        ("the gate is open", "the gate is closed", True),
        ("an object moves fast", "an object moves", False),
        ("it goes from left to right", "it stands on the left", False),
        ("a large dog", "a big dog", False),
    ],
)
def test_opposites(one: str, other: str, are: bool) -> None:
    assert modifiers_conflict(find_modifiers(one), find_modifiers(other)) is are
    assert modifiers_conflict(find_modifiers(other), find_modifiers(one)) is are


def test_what_is_said_of_dimensions_can_be_taken_out() -> None:
    text = "an object moves from left to right, towards the camera at the usual speed in the centre"
    assert strip_modifiers(text, "pace", "way", "depth", "place") == "an object moves"
