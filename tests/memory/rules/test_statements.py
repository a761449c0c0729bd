from __future__ import annotations

import time

import pytest

from anomalist.memory.rules.statements import KeywordFinder, content_words, plain_form, statements, stem


@pytest.mark.parametrize(
    ("caption", "plain"),
    [
        ("On the left, the second man in a cap seems to be running.", ["a person is running"]),
        ("There are twelve people in the picture.", []),
        ("Two women are possibly sitting on a bench.", ["people are sitting on a bench"]),
        ("1. A boy is juggling, waving a flag", ["a person is juggling", "a person is waving a flag"]),
        ("Apart from the people, there is a kiosk and a fountain.", ["a kiosk", "a fountain"]),
    ],
)
def test_statements_are_put_plainly(caption: str, plain: list[str]) -> None:
    assert [part.plain for part in statements(caption)] == plain


def test_denials_are_told_from_what_is_affirmed() -> None:
    found = statements("Nobody is juggling, and a girl is reading.")
    assert [(part.plain, part.has_negation) for part in found] == [
        ("nobody is juggling", True),
        ("a person is reading", False),
    ]


@pytest.mark.parametrize("caption", ["", " ", "…!?", "\n\n", "12 34"])
def test_a_caption_that_says_nothing_has_no_statements(caption: str) -> None:
    assert statements(caption) == ()


def test_other_languages_keep_their_sentences() -> None:
    assert [p.plain for p in statements("Ein Mann läuft über die Straße. 一个人在跑步。")] == [
        "ein mann läuft über die straße",
        "一个人在跑步",
    ]


def test_a_very_long_caption_is_read_to_a_limit_and_soon() -> None:
    started = time.process_time()
    found = statements("A man is juggling and shouting, " * 400 + "A woman is flying.")
    assert time.process_time() - started < 10
    assert found
    assert not any("flying" in part.plain for part in found)


def test_a_rule_is_put_into_the_same_form() -> None:
    assert (
        plain_form("Some people are juggling") == plain_form("People are juggling") == "people are juggling"
    )
    assert plain_form("person") == "person"


@pytest.mark.parametrize(
    "words", [("bicycle", "bicycles"), ("running", "runs"), ("carry", "carries"), ("box", "boxes")]
)
def test_endings_do_not_matter(words: tuple[str, str]) -> None:
    assert stem(words[0]) == stem(words[1])


def test_keywords_of_several_words_are_found_in_a_row_only() -> None:
    finder = KeywordFinder(["kick scooter", "juggling"])
    assert finder.find("Two kick scooters and a man who juggles") == ("kick scooter", "juggling")
    assert finder.find("kick the scooter") == ()
    assert finder.find("") == ()


def test_general_words_tell_nothing() -> None:
    assert content_words("A person is quickly juggling torches (or clubs)") == ("juggling", "torches")
