"""Documents without pictures: which option says the same, and what its letter is.

To choose by a picture takes two things, seeing and naming an option by its letter. Words alone teach the
second far sooner.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar, get_args

from anomalist.agent.builtin import phrasings
from anomalist.agent.builtin.asking import about_region
from anomalist.agent.builtin.documents import (
    END,
    MODEL_TURN,
    USER_TURN,
    Document,
    Piece,
    answered,
    following,
    told_of,
)
from anomalist.agent.builtin.saying import NAMES, any_of, region_sentence
from anomalist.agent.options import lettered
from anomalist.vision.drawn.facts import DEFECT_KINDS, Direction, Facts, Hue, Tone
from anomalist.vision.strokes import Rng

T = TypeVar("T")

_SENTENCE_SHARE, _TOLD_SHARE = 0.4, 0.5
_LISTS, _CALLS, _TOLD = 3, 12, 5
"""Lists of options in a document, and how often one is called by its name or told in a sentence."""

_KINDS = {str(kind): names for kind, names in NAMES.items()}
_LISTED: Sequence[tuple[str, Mapping[str, tuple[str, ...]]]] = (
    ("kind", _KINDS), ("kind", _KINDS), ("tone", phrasings.TONES), ("direction", phrasings.DIRECTIONS),
    ("shape", {key: names for key, names in phrasings.SHAPES.items() if key != "jagged line"}),
    ("hue", phrasings.HUES), ("place", phrasings.PLACES),
)  # fmt: skip
_SHAPELESS = ("scratch", "crack", "bend", "texture change", "nothing")


def draw_letters(rng: Rng) -> Document:
    """Draw a document about a sentence, or lists of options."""
    return about_a_sentence(rng) if rng.random() < _SENTENCE_SHARE else about_options(rng)


def about_options(rng: Rng) -> Document:
    """Lists of options, which are then called: by a name, by another that means the same, by a sentence."""
    lists = (_list(rng, told=rng.random() < _TOLD_SHARE) for _ in range(_LISTS))
    return Document((Piece(USER_TURN, False),), tuple(lists), (), (), ())


def _list(rng: Rng, *, told: bool) -> tuple[Piece, ...]:
    about, listed = _LISTED[int(rng.integers(len(_LISTED)))]
    told = told and about != "place"  # which sentences don't tell
    keys = [list(listed)[i] for i in rng.permutation(len(listed))[: int(rng.integers(2, len(listed) + 1))]]
    plain = rng.random() < 0.5
    options = [listed[key][0] if plain else any_of(rng, listed[key]) for key in keys]
    pieces = [Piece(lettered(options) + END, False)]
    for at in rng.integers(len(keys), size=_TOLD if told else _CALLS):
        if told:
            call = region_sentence("R1", _with(_imagined(rng), about, keys[at]), compared=rng.random() < 0.3)
        else:
            call = options[at] if rng.random() < 0.5 else any_of(rng, listed[keys[at]])
        letter = string.ascii_uppercase[at] + END
        pieces += [
            Piece(f"{USER_TURN}{call}{END}{MODEL_TURN}", False),
            Piece(letter, True, listed[keys[at]][0]),
        ]
    return tuple(pieces)


def _with(facts: Facts, about: str, value: str) -> Facts:
    """Change one fact, and the kind where that fact is not told of it."""
    if about != "kind" and facts.kind in _SHAPELESS:
        facts = replace(facts, kind="stain")
    if about == "kind" and value == "nothing":
        return Facts("nothing")
    changed: dict[str, Any] = {about: value}
    return replace(facts, **changed)


def about_a_sentence(rng: Rng) -> Document:
    """Questions about a sentence, without a picture: which option says the same, and what its letter is."""
    facts = _imagined(rng)
    name = f"R{rng.integers(1, 4)}"
    question, said = told_of(rng, name, facts, compared=rng.random() < 0.5)
    asked = about_region(rng, name, facts, plain_share=0.75)
    branches = tuple(following(answered(each, "")) for each in asked)
    return Document((Piece(USER_TURN + question.text + said.text, False),), branches, (), (), ())


def _imagined(rng: Rng) -> Facts:
    """Facts that a sentence tells; what it would not tell is None."""
    kind = DEFECT_KINDS[int(rng.integers(len(DEFECT_KINDS)))]
    if kind == "nothing":
        return Facts(kind)
    shaped = kind not in _SHAPELESS

    def one(values: Sequence[T], share: float = 1.0) -> T | None:
        return values[int(rng.integers(len(values)))] if rng.random() < share else None

    return Facts(
        kind,
        tone=one(get_args(Tone)),
        hue=one(get_args(Hue), 0.4),
        shape=one(("line", "round", "elongated", "irregular")) if shaped else None,
        direction=one(get_args(Direction), 0.5),
        count=one((1, 2, 3, 4, 5)) if kind in ("spot", "scratch") else None,
        faint=one((False, True)),
    )
