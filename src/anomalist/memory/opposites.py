"""What a sentence encoder can't tell apart: fast and slow, one way and the other, open and closed.

To an encoder such opposites are about the same and so nearly equal. They are few and belong to the language,
so they are told by their words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_DIMENSIONS: Mapping[str, Mapping[str, str]] = {
    "pace": {
        "very fast": r"\bvery\s+(?:fast|quickly)\b",
        "fast": r"\b(?:fast|faster|quickly|rapidly)\b",
        "a little": r"\b(?:a\s+little|hardly)\b",
        "slowly": r"\b(?:slow|slower|slowly)\b",
        "at the usual speed": r"\bat\s+(?:the|a)\s+(?:usual|normal)\s+(?:speed|pace)\b",
    },
    "way": {
        "from left to right": r"\bfrom\s+left\s+to\s+right\b",
        "from right to left": r"\bfrom\s+right\s+to\s+left\b",
    },
    "depth": {
        "towards the camera": r",?\s*\btowards?\s+the\s+camera\b",
        "away from the camera": r",?\s*\baway\s+from\s+the\s+camera\b",
    },
    "place": {
        name: rf"\b(?:in|on|at)\s+the\s+{name}\b"
        for name in (
            *("upper left", "upper right", "lower left", "lower right"),
            *("left", "right", "centre", "top", "bottom"),
        )
    },
    "state": {"open": r"\bopen(?:ed)?\b", "closed": r"\b(?:closed|shut)\b"},
    "fill": {"empty": r"\bempty\b", "full": r"\b(?:full|crowded)\b"},
    "size": {"large": r"\b(?:large|big|huge)\b", "small": r"\b(?:small|tiny)\b"},
}
"""The sides of each dimension, the first one that is found counts, as patterns."""

_FOUND = {
    name: [(side, re.compile(pattern, re.I)) for side, pattern in each.items()]
    for name, each in _DIMENSIONS.items()
}

Sides = Mapping[str, str]


def sides_of(text: str) -> Sides:
    """On which side of each dimension a text is; dimensions that it says nothing of are missing."""
    found = {}
    for name, patterns in _FOUND.items():
        side = next((side for side, pattern in patterns if pattern.search(text)), None)
        if side is not None:
            found[name] = side
    return found


def opposed(one: Sides, other: Sides) -> bool:
    """Whether two texts are on different sides of any dimension."""
    return any(other.get(name, side) != side for name, side in one.items())


def every_side(dimension: str) -> tuple[str, ...]:
    """The sides of a dimension, in words that follow a verb."""
    return tuple(_DIMENSIONS[dimension])


def without_sides(text: str, *dimensions: str) -> str:
    """A text without what it says of these dimensions."""
    for name in dimensions:
        for _, pattern in _FOUND[name]:
            text = pattern.sub("", text)
    return " ".join(text.split()).strip(" ,")
