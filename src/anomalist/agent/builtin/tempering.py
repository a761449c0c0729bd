"""One temperature for the small model, so that its probabilities mean what they say.

After Guo et al. (2017), but for options as they are asked for: averaged over the rotations of their order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from anomalist.agent.builtin.asking import about_region, about_whole
from anomalist.agent.builtin.showing import show
from anomalist.agent.messages import user_message
from anomalist.agent.options import GivesLogprobs, Question, by_logprobs, logprobs_each, rotations_of
from anomalist.prompts.rendering import Prompt
from anomalist.vision.drawn.cases import draw_case, draw_product

if TYPE_CHECKING:
    from anomalist.agent.builtin.asking import Asked
    from anomalist.types import UInt8Array

_FIRST_PRODUCT, _PRODUCTS = 3_000_000, 48  # neither learned from nor tested on
_WHOLE_SHARE, _ASKED = 0.25, 3
_TEMPERATURES = np.geomspace(0.4, 4, 93)

Answered = tuple[Question, int]
"""A question, and which of its options is right."""


def drawn_questions(count: int, seed: int) -> Iterator[list[Answered]]:
    """Draw pictures of products that training has not seen, each with what is asked about it."""
    products = [draw_product(_FIRST_PRODUCT + number) for number in range(_PRODUCTS)]
    for number in range(count):
        rng = np.random.default_rng((seed, number, 5))
        shown = show(rng, draw_case(rng, products))
        if not shown.facts:
            continue
        region, facts = shown.evidence.regions[0], shown.facts[0]
        if rng.random() < _WHOLE_SHARE:
            whole = shown.whole()
            yield [
                _question(whole, asked) for asked in about_whole(rng, region.id, facts, shown.media.pixels)
            ]
        else:
            view = shown.view(region)
            asked = about_region(rng, region.id, facts)[:_ASKED]
            yield [_question(view.pixels, each) for each in asked]


def temperature(model: GivesLogprobs, pictures: Iterator[list[Answered]], seed: int) -> float:
    """Return what logits have to be divided by so that the right options are least surprising.

    Parameters
    ----------
    model : gives log-probabilities of letters.
    pictures : questions, those about one picture together.
    seed : of the order of the options.

    Raises
    ------
    ValueError : the model gives no log-probabilities.
    """
    said = [each for questions in pictures for each in _said(model, questions, seed)]
    surprise = [
        sum(-math.log(max(1e-12, _probability(*each, warmth))) for each in said) for warmth in _TEMPERATURES
    ]
    return float(_TEMPERATURES[int(np.argmin(surprise))])


def soften(network: Any, warmth: float) -> None:  # noqa: ANN401
    """Divide a network's logits by a temperature, by its last normalisation: what is saved stays standard."""
    network.model.language_model.norm.weight.data /= warmth


def _question(picture: UInt8Array, asked: Asked) -> Answered:
    message = user_message(Prompt("tempering", "0" * 64, asked.text), [picture])
    return Question([message], asked.options), asked.right


_Said = tuple[Question, int, list[list[int]], list[list[float]]]


def _said(model: GivesLogprobs, questions: Sequence[Answered], seed: int) -> Iterator[_Said]:
    """What the model says to each rotation of each question: the orders, and log-probabilities by letter."""
    asked = [rotations_of(question, seed) for question, _ in questions]
    said = logprobs_each(model, asked)
    if said is None:
        raise ValueError("the model gives no log-probabilities")
    for (question, right), rotations, rows in zip(questions, asked, said, strict=True):
        yield question, right, [order for order, _ in rotations], rows


def _probability(
    question: Question, right: int, orders: list[list[int]], rows: list[list[float]], warmth: float
) -> float:
    """How probable the right option is at a temperature."""
    cooled = [[value / warmth for value in row] for row in rows]
    return by_logprobs(question.options, orders, cooled).probabilities[right]
