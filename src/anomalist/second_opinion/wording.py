"""Sentences of recorders in words that can be measured: what a thing is gives way to "something"."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_PEOPLE = (
    "person", "persons", "people", "man", "men", "woman", "women", "individual", "individuals", "figure",
    "pedestrian", "visitor", "someone", "somebody", "adult", "child", "boy", "girl", "he", "she",
)  # fmt: skip
_VEHICLES = ("car", "cars", "vehicle", "vehicles", "sedan", "suv", "van", "truck", "pickup")
_NAMES = {"person": _PEOPLE, "car": _VEHICLES, "truck": _VEHICLES, "bus": ("bus", "vehicle")}
"""Words for what a label of the recorder stands for."""

_SIDES = {"left": "from left to right", "right": "from right to left"}
_OUT = {"right": "from left to right", "left": "from right to left"}
_FRAME = r"(?:(?:in|into|in to|out of|of)? ?(?:the |this )?(?:frame|scene|picture|view|image|area|video) )?"
_ENTERS = re.compile(
    rf"\b(?:enter(?:s|ed|ing)?|com(?:es|ing)|came|appear(?:s|ed|ing)?|arriv(?:es|ed|ing)) {_FRAME}"
    r"from (?:the )?(?P<side>left|right)(?: hand)?(?: side)?"
    r"(?: of the (?:frame|scene|picture|view|image))?\b",
    re.I,
)
_LEAVES = re.compile(
    rf"(?<!from )\b(?:exit(?:s|ed|ing)?|leav(?:es|ing)|left|disappear(?:s|ed|ing)?) {_FRAME}"
    r"(?:to|towards?|on|at) (?:the )?(?P<side>left|right)(?: hand)?(?: side)?"
    r"(?: of the (?:frame|scene|picture|view|image))?\b",
    re.I,
)
_APPROACHES = re.compile(r"\bapproach(?:es|ed|ing)? the camera\b", re.I)
_MOVES = re.compile(
    r"\b(?:is |was |are |were )?(?:walk|mov|driv|rid|stroll|pass|cross|head|travel|proceed|go)"
    r"(?:s|es|ed|ing|e)?\b(?: (?:by|past|along|through))?|\b(?:drove|rode|went|goes)\b",
    re.I,
)
_ACROSS = re.compile(r"\bacross (?:the |this )?(?:frame|scene|picture|view|image|area)\b", re.I)
RUNS = re.compile(r"\b(?:run|runs|running|ran|sprint\w*|jog\w*|rush\w*|hurr\w*)\b", re.I)
"""Words for a gait: fast by itself, not by what is usual at a place."""

USUAL = re.compile(r"\b(?:unusual\w*|usual|abnormal\w*|normal\w*|anomal\w*)\b", re.I)
"""Words for what is measured of a scene; what is suspicious or a problem is another matter."""


@dataclass(frozen=True)
class PlainSentence:
    """A sentence to be measured.

    Parameters
    ----------
    text : the sentence, with what a thing is left out.
    assumed : the words that were left out, which nothing measured stands for.
    """

    text: str
    assumed: tuple[str, ...]


def plain_sentence(sentence: str, labels: Sequence[str]) -> PlainSentence:
    """Put a sentence in words that can be measured.

    ``labels`` are what the recorder calls the things that it is about: their names give way to "something".
    """
    names = {name for label in labels for name in (label, f"{label}s", *_NAMES.get(label, ()))}
    found: list[str] = []

    def left_out(match: re.Match[str]) -> str:
        found.append(match[0].lower())
        return "something"

    text = sentence
    if names:
        each = "|".join(re.escape(name.replace("_", " ")) for name in sorted(names, key=len, reverse=True))
        text = re.sub(rf"\b(?:{each})\b", left_out, text, flags=re.I)
    text = _ENTERS.sub(lambda match: f"moves {_SIDES[match['side'].lower()]}", text)
    text = _LEAVES.sub(lambda match: f"moves {_OUT[match['side'].lower()]}", text)
    text = _APPROACHES.sub("moves towards the camera", text)
    text = _ACROSS.sub("", _MOVES.sub("moves", text))
    return PlainSentence(re.sub(r"\s+", " ", text).strip(), tuple(dict.fromkeys(found)))
