"""What the small model reads and should write: text with pictures, of which parts are its own.

A document has a beginning, pictures among it, and branches that go on from it without seeing each other: many
questions about one picture then cost its reading once.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from anomalist.agent.builtin.asking import Asked, about_region, about_whole
from anomalist.agent.builtin.saying import any_of, description, judgement, region_sentence
from anomalist.agent.builtin.showing import Shown, show
from anomalist.agent.guidance import NO_GUIDANCE
from anomalist.agent.options import lettered
from anomalist.agent.two_looks import first_look, second_look
from anomalist.agent.vlm import REGIONS_SHOWN, SYSTEM
from anomalist.prompts.rendering import render
from anomalist.prompts.replies import written
from anomalist.types import Recall, UInt8Array
from anomalist.vision.drawn.cases import Product, draw_case
from anomalist.vision.drawn.facts import Facts
from anomalist.vision.strokes import Rng

IMAGE = "<image>"
SYSTEM_TURN, USER_TURN, MODEL_TURN, END = "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"

_TELL = (
    "Say in one sentence what {name} shows.", "What does {name} show? One sentence.",
    "Describe {name} in a sentence.",
    "Describe what is seen.", "What do you see? Answer in one sentence.", "Tell me what there is.",
)  # fmt: skip
_PIPELINE_SHARE, _WHOLE_SHARE, _WHOLE_LOOKS = 0.1, 0.15, 0.1
_ASKED, _AFTER = 4, 4
"""Questions about a region by themselves, and after it was said in a sentence what is seen."""


class Piece(NamedTuple):
    """Text of a document.

    Parameters
    ----------
    text : as the model reads or writes it.
    own : whether the model should have written it.
    means : what the option says whose letter it is, in the words of replies; "" where it is no letter.
    """

    text: str
    own: bool
    means: str = ""


@dataclass(frozen=True, eq=False)
class Document:
    """Text and pictures to learn from.

    Parameters
    ----------
    beginning : what all branches have read.
    branches : how it goes on, each by itself.
    pictures : uint8 (h, w, 3) each, in the order of their places in the beginning, then in the branches.
    grids : for each picture uint8 (CELLS, CELLS): numbers of `DEFECT_KINDS`, OUTLINED, BESIDE or IGNORED.
    facts : for each picture what its closer look shows; None for a whole picture.
    """

    beginning: tuple[Piece, ...]
    branches: tuple[tuple[Piece, ...], ...]
    pictures: tuple[UInt8Array, ...]
    grids: tuple[UInt8Array, ...]
    facts: tuple[Facts | None, ...]


def draw_document(rng: Rng, products: Sequence[Product]) -> Document:
    """Draw a case and make a document of it."""
    form = rng.random()
    if form < _PIPELINE_SHARE:
        places = int(rng.choice([1, 1, 1, 2, 3]))
        return two_looks(rng, show(rng, draw_case(rng, products, places)))
    shown = show(rng, draw_case(rng, products))
    if not shown.facts:
        return two_looks(rng, shown)
    return (
        about_the_whole(rng, shown) if form < _PIPELINE_SHARE + _WHOLE_SHARE else about_a_region(rng, shown)
    )


def draw_look(rng: Rng, products: Sequence[Product]) -> Document:
    """Draw what the eye learns from by itself, without words: a closer look or, seldom, a whole picture."""
    shown = show(rng, draw_case(rng, products))
    if not shown.facts or rng.random() < _WHOLE_LOOKS:
        return Document((), (), (shown.whole(),), (shown.whole_grid(),), (None,))
    region, facts = shown.evidence.regions[0], shown.facts[0]
    grid = shown.grid(region, facts)
    return Document((), (), (shown.view(region).pixels,), (grid,), (facts,))


def about_a_region(rng: Rng, shown: Shown) -> Document:
    """Questions about one region, seen from closer up."""
    region, facts = shown.evidence.regions[0], shown.facts[0]
    view = shown.view(region)
    asked = about_region(rng, region.id, facts)
    again = [asked[int(i)] for i in rng.permutation(len(asked))[:_AFTER]]
    told = told_of(rng, region.id, facts, compared=shown.normal is not None)
    # What was said tells the letter: how options are named is learned there first.
    after = [piece for each in again for piece in following(answered(each, ""))]
    branches = [answered(each, view.caption if rng.random() < 0.4 else "") for each in asked[:_ASKED]]
    branches.append((*told, *after))
    grid = shown.grid(region, facts)
    return Document((Piece(USER_TURN + IMAGE, False),), tuple(branches), (view.pixels,), (grid,), (facts,))


def about_the_whole(rng: Rng, shown: Shown) -> Document:
    """Questions about a picture with its region outlined."""
    asked = about_whole(rng, shown.evidence.regions[0].id, shown.facts[0], shown.media.pixels)
    branches = tuple(answered(each, "") for each in asked)
    pictures, grids = (shown.whole(),), (shown.whole_grid(),)
    return Document((Piece(USER_TURN + IMAGE, False),), branches, pictures, grids, (None,))


def two_looks(rng: Rng, shown: Shown) -> Document:
    """The conversation that the pipeline has with a model about a picture."""
    regions = shown.evidence.regions
    first = first_look(shown.media, shown.evidence, NO_GUIDANCE).text
    names = [region.id for region in regions]
    said = description(shown.media.pixels, [(n, f.place) for n, f in zip(names, shown.facts, strict=True)])
    views = [shown.view(region) for region in regions[:REGIONS_SHOWN]]
    captions = [view.caption for view in views]
    second = second_look(shown.media, shown.evidence, Recall(), NO_GUIDANCE, captions, ()).text
    judged = judgement(
        list(zip(names, shown.facts, strict=True))[:REGIONS_SHOWN], compared=shown.normal is not None
    )
    pieces = (
        Piece(f"{SYSTEM_TURN}{render(SYSTEM).text}{END}{USER_TURN}{IMAGE}{first}{END}{MODEL_TURN}", False),
        Piece(written(said) + END, True),
        Piece(f"{USER_TURN}{IMAGE * len(views)}{second}{END}{MODEL_TURN}", False),
        Piece(written(judged) + END, True),
    )
    facts = shown.facts[: len(views)]
    grids = [shown.grid(region, each) for region, each in zip(regions, facts, strict=False)]
    pictures = (shown.whole(), *(view.pixels for view in views))
    return Document(pieces, (), pictures, (shown.whole_grid(), *grids), (None, *facts))


def question_text(asked: Asked, caption: str) -> str:
    """Return a question with its options, as `anomalist.agent.options` asks it."""
    before = f"{caption}\n" if caption else ""
    return f"{before}{asked.text}\n{lettered(asked.options)}"


def answered(asked: Asked, caption: str) -> tuple[Piece, ...]:
    """Return the rest of a user's turn with a question, and the letter that answers it."""
    text = question_text(asked, caption)
    letter = string.ascii_uppercase[asked.right]
    return Piece(text + END + MODEL_TURN, False), Piece(letter + END, True, asked.means)


def following(pieces: tuple[Piece, ...]) -> tuple[Piece, ...]:
    """Make a question one that follows a reply."""
    first, *rest = pieces
    return first._replace(text=USER_TURN + first.text), *rest


def told_of(rng: Rng, name: str, facts: Facts, *, compared: bool) -> tuple[Piece, ...]:
    """Return a request to say what is seen, and the sentence that says it."""
    text = any_of(rng, _TELL).format(name=name)
    said = region_sentence(name, facts, compared=compared)
    return Piece(text + END + MODEL_TURN, False), Piece(said + END, True)
