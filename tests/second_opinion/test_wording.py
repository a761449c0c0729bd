"""Sentences of recorders in words that can be measured."""

from __future__ import annotations

import pytest

from anomalist.second_opinion.wording import plain_sentence


@pytest.mark.parametrize(
    ("sentence", "plain"),
    [
        ("A person entered from the left.", "A something moves from left to right."),
        ("The man comes into the frame from the right side.", "The something moves from right to left."),
        ("He leaves the scene to the left", "something moves from right to left"),
        ("A woman is walking from left to right.", "A something moves from left to right."),
        ("She approaches the camera.", "something moves towards the camera."),
        ("A person walks across the frame.", "A something moves ."),
        ("A car entered from the left.", "A car moves from left to right."),
    ],
)
def test_what_a_thing_is_gives_way_and_its_way_stays(sentence: str, plain: str) -> None:
    assert plain_sentence(sentence, ["person"]).text == plain


def test_the_words_that_gave_way_are_kept() -> None:
    assert plain_sentence("A man and a woman pass.", ["person"]).assumed == ("man", "woman")
    assert plain_sentence("The waste bin moves.", ["waste_bin"]).assumed == ("waste bin",)
