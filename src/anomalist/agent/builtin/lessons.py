"""What the small model learns from, lesson by lesson: drawn without end, a function of the recipe alone."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from anomalist.agent.builtin.architecture import train_tokenizer
from anomalist.agent.builtin.documents import Document, draw_document, draw_look
from anomalist.agent.builtin.letters import draw_letters
from anomalist.agent.builtin.packing import ROUNDED, Batch, Tokens, looked_at, side_by_side, tokenised
from anomalist.vision.drawn.cases import Product, draw_product
from anomalist.vision.pools import pools
from anomalist.vision.strokes import Rng

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class Recipe:
    """How a model is made; stored beside its weights."""

    eye_steps: int = 4300
    """Steps in which only the eye learns, before the words."""
    eye_batch: int = 12
    """Looks drawn for such a step; each is looked at as it is and mirrored in three ways."""
    eye_mixed: int = 10
    """Steps among which those are mixed, so that few of one look come together."""
    letter_steps: int = 220
    """Steps in which the voice learns, without pictures, to tell which option says the same as a sentence."""
    letter_batch: int = 10
    """Documents in such a step: sentences with what can be asked about them, and lists of options."""
    steps: int = 1400
    """Steps in which everything learns."""
    tokens: int = 4096
    """Tokens in a batch, padding included, at most."""
    sorted: int = 64
    """Documents that are sorted by length before they are put side by side."""
    pool: int = 160
    """Products alive at a time."""
    every: int = 4
    """Documents after which one product is replaced."""
    rate: float = 1e-3
    """Peak of the learning rate; of the matrices' (Muon, scaled to AdamW's step) twice as much."""
    warmup: int = 100
    ema: float = 0.998
    """Decay of the averaged weights, which are the ones that ship."""
    eye_rate: float = 0.3
    """Learning rate of the eye, as a share of the others', once words are learned."""
    eye_weight: float = 0.5
    """Weight of what the eye learns by itself, once words are learned."""
    first_weight: float = 4.0
    """Weight of the first token of a reply: an option's letter, or one that is easy anyway."""
    seed: int = 0
    vocabulary_from: int = 1500
    """Documents that the tokenizer is trained on."""


def steps_of(recipe: Recipe) -> int:
    """Count the steps of all three lessons: seeing, letters, and everything."""
    return recipe.eye_steps + recipe.letter_steps + recipe.steps


_FIRST_PRODUCT = 1_000_000  # far from the products of the embedded network


def documents(
    recipe: Recipe,
    start: int = 0,
    draw: Callable[[Rng, Sequence[Product]], Document] = draw_document,
) -> Iterator[Document]:
    """Yield the documents from number ``start`` on."""
    alive = pools(lambda number: draw_product(_FIRST_PRODUCT + number), recipe.pool, recipe.every, start)
    for number, pool in enumerate(alive, start):
        yield draw(np.random.default_rng((recipe.seed, number)), pool)


def vocabulary(recipe: Recipe) -> PreTrainedTokenizerFast:
    """Train the tokenizer of a recipe, on documents of their own with few products."""
    products = [draw_product(seed) for seed in range(4)]
    drawn = (
        draw_document(np.random.default_rng((recipe.seed, number, 1)), products)
        for number in range(recipe.vocabulary_from)
    )
    texts = (text for one in drawn for pieces in (one.beginning, *one.branches) for text, *_ in pieces)
    return train_tokenizer(texts)


def batches(recipe: Recipe, tokenizer: PreTrainedTokenizerFast, start: int = 0) -> Iterator[Batch]:
    """Yield the batches from document number ``start`` on: of pictures, then of sentences, then of both."""
    letters_from = recipe.eye_steps * recipe.eye_batch
    words_from = letters_from + recipe.letter_steps * recipe.letter_batch
    if start < letters_from:
        yield from _looks(recipe, start)
    if start < words_from:
        yield from _letters(recipe, tokenizer, max(start, letters_from), words_from)
    yield from _everything(recipe, tokenizer, max(start, words_from))


def _looks(recipe: Recipe, start: int) -> Iterator[Batch]:
    """Yield the batches of the eye's own lesson from look number ``start`` on, those of some steps mixed."""
    mixed = recipe.eye_mixed * recipe.eye_batch
    group = start // mixed * mixed
    drawn = documents(recipe, group, draw_look)
    for first in range(group, recipe.eye_steps * recipe.eye_batch, mixed):
        looks = [one for _ in range(mixed) for one in looked_at(next(drawn))]
        order = np.random.default_rng((recipe.seed, first, 4)).permutation(len(looks))
        for number, some in enumerate(np.array_split(order, recipe.eye_mixed), start=1):
            following = first + number * recipe.eye_batch
            if start < following <= recipe.eye_steps * recipe.eye_batch:
                yield side_by_side([looks[i] for i in some], following)


def _letters(recipe: Recipe, tokenizer: PreTrainedTokenizerFast, start: int, stop: int) -> Iterator[Batch]:
    """Yield batches of sentences with what can be asked about them, without pictures."""
    for first in range(start, stop, recipe.letter_batch):
        following = first + recipe.letter_batch
        told = (draw_letters(np.random.default_rng((recipe.seed, n, 3))) for n in range(first, following))
        yield side_by_side([tokenised(tokenizer, one) for one in told], following)


def _everything(recipe: Recipe, tokenizer: PreTrainedTokenizerFast, start: int) -> Iterator[Batch]:
    """Yield batches of pictures with words, without end.

    Documents of like length come together: some are drawn, sorted and cut into batches. Who goes on after one
    of these batches goes on with the next draw; what was left of this one is left out.
    """
    drawn = documents(recipe, start)
    for first in itertools.count(start, recipe.sorted):
        some = [tokenised(tokenizer, next(drawn)) for _ in range(recipe.sorted)]
        some = sorted(
            (one for one in some if len(one.ids) + ROUNDED <= recipe.tokens), key=lambda one: len(one.ids)
        )
        groups: list[list[Tokens]] = [[]]
        for one in some:
            if (len(groups[-1]) + 1) * (len(one.ids) + ROUNDED) > recipe.tokens:
                groups.append([])
            groups[-1].append(one)
        for at in np.random.default_rng((recipe.seed, first, 2)).permutation(len(groups)):
            yield side_by_side(groups[int(at)], first + recipe.sorted)
