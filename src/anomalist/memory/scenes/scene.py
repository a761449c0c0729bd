"""What a remembered scene is."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from anomalist.types import Frozen

Side = Literal["normal", "anomalous"]
SIDES: tuple[Side, Side] = ("normal", "anomalous")

LONGEST_SCENE = 600
"""Characters: a scene is a sentence or two."""


def _line(text: str) -> str:
    """The text on one line; raises ValueError unless it is a sentence that can be compared."""
    line = " ".join(text.split())
    if not any(map(str.isalpha, line)):
        raise ValueError("a scene has words")
    if len(line) > LONGEST_SCENE:
        raise ValueError(f"a scene has at most {LONGEST_SCENE} characters, this one has {len(line):,}")
    return line


def _category(text: str) -> str:
    """The category in lower case on one line; raises ValueError for what is no name."""
    name = " ".join(text.lower().split())
    if not any(map(str.isalpha, name)) or len(name) > 60:
        raise ValueError("a category is a name of at most 60 characters")
    return name


SceneText = Annotated[str, AfterValidator(_line)]
Category = Annotated[str, AfterValidator(_category)]


class Described(Frozen):
    """One side of a pair: of a normal scene the kind of place, of an anomalous one the kind of anomaly."""

    category: Category
    description: SceneText


class Pair(Frozen):
    """A normal scene and an anomalous one of the same place, as they are written in ``scenes.jsonl``."""

    normal: Described
    anomalous: Described


class Scene(Frozen):
    """One remembered scene."""

    id: str = Field(pattern=r"^scene:[a-z0-9-]+$")
    side: Side
    category: Category
    text: SceneText
    source: str = Field("shipped", description="where it comes from: shipped, a file of captions, a model")
