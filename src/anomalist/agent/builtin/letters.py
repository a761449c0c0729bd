"""Documents without pictures: which option says the same, and what its letter is.

To choose by a picture takes two things, seeing and naming an option by its letter. Words alone teach the
second far sooner.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from typing import TypeVar, get_args

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
from anomalist.agent.builtin.saying import NAMES, any_of
from anomalist.agent.options import lettered
from anomalist.vision.drawn.facts import DEFECT_KINDS, Direction, Facts, Hue, Tone
from anomalist.vision.strokes import Rng

T = TypeVar("T")

_SENTENCE_SHARE = 0.4
_LISTS, _CALLS = 3, 12
"""Lists of options in a document, and how often one is called by its name."""

_LISTED: Sequence[Mapping[str, tuple[str, ...]]] = (
    {str(kind): names for kind, names in NAMES.items()},
    {str(kind): names for kind, names in NAMES.items()},
    phrasings.TONES, phrasings.SHAPES, phrasings.DIRECTIONS, phrasings.HUES, phrasings.PLACES,
)  # fmt: skip


def draw_letters(rng: Rng, sentence_share: float = _SENTENCE_SHARE) -> Document:
    """Draw a document about a sentence, or lists of options."""
    return about_a_sentence(rng) if rng.random() < sentence_share else about_options(rng)


def about_options(rng: Rng) -> Document:
    """Lists of options, which are then called by their names or by others that mean the same."""
    return Document(((USER_TURN, False),), tuple(_list(rng) for _ in range(_LISTS)), (), (), ())


def _list(rng: Rng) -> tuple[Piece, ...]:
    listed = _LISTED[int(rng.integers(len(_LISTED)))]
    keys = [list(listed)[i] for i in rng.permutation(len(listed))[: int(rng.integers(2, len(listed) + 1))]]
    plain = rng.random() < 0.5
    options = [listed[key][0] if plain else any_of(rng, listed[key]) for key in keys]
    pieces: list[Piece] = [(lettered(options) + END, False)]
    for at in rng.integers(len(keys), size=_CALLS):
        name = options[at] if rng.random() < 0.5 else any_of(rng, listed[keys[at]])
        pieces += [(f"{USER_TURN}{name}{END}{MODEL_TURN}", False), (string.ascii_uppercase[at] + END, True)]
    return tuple(pieces)


def about_a_sentence(rng: Rng) -> Document:
    """Questions about a sentence, without a picture: which option says the same, and what its letter is."""
    facts = _imagined(rng)
    name = f"R{rng.integers(1, 4)}"
    (question, _), (said, _) = told_of(rng, name, facts, compared=rng.random() < 0.5)
    asked = about_region(rng, name, facts, plain_share=0.75)
    branches = tuple(following(answered(each, "")) for each in asked)
    return Document(((USER_TURN + question + said, False),), branches, (), (), ())


def _imagined(rng: Rng) -> Facts:
    """Facts that a sentence tells; what it would not tell is None."""
    kind = DEFECT_KINDS[int(rng.integers(len(DEFECT_KINDS)))]
    if kind == "nothing":
        return Facts(kind)
    shaped = kind not in ("scratch", "crack", "bend", "texture change")

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
