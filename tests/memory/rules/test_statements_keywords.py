from __future__ import annotations

import pytest

from anomalist.memory.rules.statements import KeywordFinder, content_words, stem


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
