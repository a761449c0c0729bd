from __future__ import annotations

import pytest

from anomalist.memory.opposites import opposed, sides_of, without_sides


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
    assert opposed(sides_of(one), sides_of(other)) is are
    assert opposed(sides_of(other), sides_of(one)) is are


def test_what_is_said_of_dimensions_can_be_taken_out() -> None:
    text = "an object moves from left to right, towards the camera at the usual speed in the centre"
    assert without_sides(text, "pace", "way", "depth", "place") == "an object moves"
