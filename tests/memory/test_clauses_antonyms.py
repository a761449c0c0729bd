from __future__ import annotations

import pytest

from anomalist.memory.clauses import find_modifiers, modifiers_conflict, strip_modifiers


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
