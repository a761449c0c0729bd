"""How a scene is put before it is embedded: who does it is left away, and each side has its own frame.

Two sentences on the same activity should be alike whoever is described; and a normal scene should not be
nearest to an anomalous one only because both have a man in a cap. Frames (Flashback's repulsive prompting)
push the two sides apart.
"""

from __future__ import annotations

import re
from typing import Literal

from anomalist.memory.embedding import Encoder
from anomalist.memory.rules.statements import plainly
from anomalist.memory.scenes.pictures import PictureEncoder
from anomalist.memory.scenes.scene import Side

Frames = Literal["none", "apart"]
"""How scenes are framed: not at all, or each side by words of its own."""

SENTENCES: Frames = "none"
"""For queries that are sentences: both are put plainly already, and words that only one of the two has make
them less alike."""

PICTURES: Frames = "apart"
"""For queries that are pictures, which have no words."""

_PEOPLE = r"(?:people|men|women|boys|girls|children|persons|teenagers|workers|adults|individuals|pedestrians)"
_MANY = re.compile(
    rf"^(?:(?:two|three|four|five|\w+ ten|several|some|many|a few|a (?:large |small )?group of)"
    rf" (?:young )?{_PEOPLE}|an? man and an? (?:wo)?man)\b(?= \w)",
    re.I,
)
_ONE = re.compile(
    r"^(?:(?:an?|one|the) (?:young |elderly |old |small |little )*"
    r"(?:man|woman|person|boy|girl|teenager|child|toddler|worker|adult)|someone|somebody)"
    r"(?: (?:in|with) (?:an? |the )?(?:\w+ )?\w+)?(?= (?!in\b|with\b)\w+s\b)",
    re.I,
)


def framed(description: str, side: Side, category: str, frames: Frames) -> str:
    """The text that stands for a scene in the memory of sentences."""
    text = _MANY.sub("people", _ONE.sub("a person", plainly(description), count=1), count=1)
    if frames == "none":
        return text
    return f"Normal scene: {text}" if side == "normal" else f"Anomalous scene: {category}, {text}"


def frames_for(encoder: Encoder) -> Frames:
    """How scenes are framed for what this encoder takes for queries."""
    return PICTURES if isinstance(encoder, PictureEncoder) else SENTENCES
