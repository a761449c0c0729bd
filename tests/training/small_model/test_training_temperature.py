"""The temperature is the one that says as much as is known; softening divides the logits by it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from langchain_core.messages import BaseMessage

from anomalist.agent.choice.model_choice import MultipleChoiceQuestion
from anomalist.agent.models.structured import user_message
from anomalist.prompts.templates import Prompt
from anomalist.training.small_model.architecture import make_network, train_tokenizer
from anomalist.training.small_model.training import (
    GradedQuestion,
    apply_temperature,
    draw_graded_questions,
    fit_temperature,
)

RIGHT, WRONG = "it is so", "it is not"


class Sure:
    """Says that what begins with a number is right, that many logits above the other option."""

    def option_logprobs(
        self, messages_list: Sequence[Sequence[BaseMessage]], letters: Sequence[str]
    ) -> list[list[float]] | None:
        rows = []
        for messages in messages_list:
            text = messages[-1].text
            logit = float(text.split()[0])
            first = text.index(RIGHT) < text.index(WRONG)
            rows.append([logit, 0.0] if first else [0.0, logit])
        return rows


def _asked(logit: float, right: int) -> GradedQuestion:
    message = user_message(Prompt("test", "0" * 64, f"{logit} Which?"), [])
    return MultipleChoiceQuestion([message], (RIGHT, WRONG)), right


@pytest.mark.parametrize("softmax_temperature", [0.5, 1.0, 2.5])
def test_the_temperature_is_what_the_answers_were_drawn_at(softmax_temperature: float) -> None:
    logits = np.random.default_rng(0).normal(0, 2, 60)
    shares = 1 / (1 + np.exp(-logits / softmax_temperature))
    questions = [
        [_asked(float(logit), 0)] * round(100 * share) + [_asked(float(logit), 1)] * round(100 * (1 - share))
        for logit, share in zip(logits, shares, strict=True)
    ]

    assert fit_temperature(Sure(), iter(questions), 0) == pytest.approx(softmax_temperature, rel=0.06)


def test_questions_to_temper_by_are_drawn_anew_by_seed() -> None:
    once, again, other = (list(draw_graded_questions(3, seed)) for seed in (0, 0, 1))

    assert [right for some in once for _, right in some] == [right for some in again for _, right in some]
    assert once[0][0][0].messages[0].content != other[0][0][0].messages[0].content
    assert all(0 <= right < len(question.options) for some in once for question, right in some)


def test_softening_divides_the_logits() -> None:
    tokenizer = train_tokenizer(["a b c"])
    network = make_network(tokenizer, 0).eval()
    ids = torch.tensor([[7, 8, 9]])
    with torch.no_grad():
        before = network(input_ids=ids).logits
        apply_temperature(network, 2.0)
        after = network(input_ids=ids).logits

    assert torch.allclose(before / 2, after, atol=1e-5)
    assert math.isfinite(float(after.sum()))
