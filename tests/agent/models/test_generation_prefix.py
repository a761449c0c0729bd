"""Many questions on one picture: as fast as they should be, and the same as one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from langchain_core.messages import BaseMessage, HumanMessage

from anomalist.agent.models.chat_inputs import prepare_inputs
from anomalist.agent.models.generation import BATCH_SIZE, letter_token_ids, next_token_logits
from anomalist.agent.models.local import LocalChatModel
from anomalist.errors import ModelError

Opened = Callable[..., LocalChatModel]
AskAbout = Callable[..., list[BaseMessage]]
FAMILIES = ["idefics3", "smolvlm", "llava", "qwen2_5_vl", "qwen3_vl"]
LETTERS = "ABCD"


def directly(model: LocalChatModel, messages: Sequence[BaseMessage]) -> list[float]:
    """The same by the model alone: all inputs as the processor gives them, all logits, no cache."""
    inputs = prepare_inputs(model.processor, messages).inputs
    with torch.inference_mode():
        logprobs = model.network(**inputs, use_cache=False).logits[0, -1].log_softmax(-1)
    variants = letter_token_ids(model.processor.tokenizer, LETTERS)
    return [float(logprobs[list(tokens)].logsumexp(0)) for tokens in variants]


def questions(ask_about: AskAbout, pictures: Sequence[int], count: int) -> list[list[BaseMessage]]:
    """Questions of different lengths on the same pictures."""
    return [ask_about(f"Question {n}? " + "crack " * (n % 4), pictures) for n in range(count)]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("pictures", [(0,), (0, 1), ()], ids=["one picture", "two", "none"])
def test_together_is_the_same_as_one_by_one_and_as_the_model_alone(
    opened: Opened, ask_about: AskAbout, family: str, pictures: Sequence[int]
) -> None:
    model = opened(family)
    asked = questions(ask_about, pictures, BATCH_SIZE + 2)
    together = model.option_logprobs(asked, LETTERS)
    one_by_one = [model.option_logprobs([messages], LETTERS)[0] for messages in asked]
    alone = [directly(model, messages) for messages in asked]
    np.testing.assert_allclose(together, one_by_one, atol=1e-4)
    np.testing.assert_allclose(together, alone, atol=1e-4)
    assert np.ptp(together, axis=0).max() > 1e-2, "the questions must differ for this to show anything"


@pytest.mark.parametrize("family", ["idefics3", "qwen2_5_vl"])
def test_questions_on_several_pictures_keep_their_order(
    opened: Opened, ask_about: AskAbout, family: str
) -> None:
    model = opened(family)
    asked = [
        ask_about("One?", (0,)),
        ask_about("No picture?", ()),
        ask_about("Two?", (1,)),
        ask_about("Three, longer than the others?", (0,)),
        ask_about("Both?", (0, 1)),
        ask_about("No picture again?", ()),
    ]
    expected = [directly(model, messages) for messages in asked]
    np.testing.assert_allclose(model.option_logprobs(asked, LETTERS), expected, atol=1e-4)


def test_text_before_the_picture_that_differs_is_not_shared(opened: Opened, ask_about: AskAbout) -> None:
    model = opened("qwen2_5_vl")
    asked = []
    for word in ("First", "Second, longer"):
        rules, message = ask_about("What is it?")
        asked.append([rules.model_copy(update={"content": word}), message])
    expected = [directly(model, messages) for messages in asked]
    np.testing.assert_allclose(model.option_logprobs(asked, LETTERS), expected, atol=1e-4)


@pytest.mark.parametrize("texts", [("What?", "What?"), ("What?", "What?", "What? Say.")])
def test_the_same_question_twice_is_answered_twice(
    opened: Opened, ask_about: AskAbout, texts: Sequence[str]
) -> None:
    model = opened("idefics3")
    asked = [ask_about(text) for text in texts]
    expected = [directly(model, messages) for messages in asked]
    np.testing.assert_allclose(model.option_logprobs(asked, LETTERS), expected, atol=1e-4)


def test_asking_about_a_picture_before_changes_nothing(opened: Opened, ask_about: AskAbout) -> None:
    # Qwen models remember an offset of positions from the last picture
    model = opened("qwen2_5_vl")
    words = questions(ask_about, (), 3)
    before = model.option_logprobs(words, LETTERS)
    model.invoke(ask_about(pictures=(0, 1)), max_tokens=2)
    assert model.option_logprobs(words, LETTERS) == before


@pytest.mark.parametrize("family", ["idefics3", "qwen2_5_vl"])
def test_the_picture_is_looked_at_once(opened: Opened, ask_about: AskAbout, family: str) -> None:
    model = opened(family)
    looks: list[object] = []
    tower = model.network.get_encoder("image")
    hook = tower.register_forward_hook(lambda *_: looks.append(None))
    try:
        model.option_logprobs(questions(ask_about, (0,), 12), LETTERS)
    finally:
        hook.remove()
    assert len(looks) == 1


def test_quantised_weights_give_nearly_the_same_together(opened: Opened, ask_about: AskAbout) -> None:
    model = opened("qwen2_5_vl", "nf4")
    asked = questions(ask_about, (0,), 5)
    one_by_one = [model.option_logprobs([messages], LETTERS)[0] for messages in asked]
    np.testing.assert_allclose(model.option_logprobs(asked, LETTERS), one_by_one, atol=0.1)


def test_log_probabilities_are_such(opened: Opened, ask_about: AskAbout) -> None:
    (row,) = opened("idefics3").option_logprobs([ask_about()], LETTERS)
    assert len(row) == 4 and all(value < 0 for value in row) and np.exp(row).sum() < 1


def test_nothing_asked_is_nothing_answered(opened: Opened) -> None:
    assert opened("idefics3").option_logprobs([], LETTERS) == []


@pytest.mark.parametrize("letters", [["A", "Ω"], ["A", "AB"], ["A", "A"]])
def test_a_letter_that_is_not_a_token_of_its_own_is_an_error(
    opened: Opened, ask_about: AskAbout, letters: list[str]
) -> None:
    with pytest.raises(ModelError, match=letters[0] if letters[0] == letters[1] else letters[1]):
        opened("idefics3").option_logprobs([ask_about()], letters)


def test_logits_are_float32_on_the_cpu(opened: Opened, ask_about: AskAbout) -> None:
    model = opened("qwen2_5_vl", "nf4")
    prompts = [prepare_inputs(model.processor, [HumanMessage(word)]) for word in ("one", "two")]
    logits = next_token_logits(model.network, prompts)
    assert logits.dtype == torch.float32 and logits.shape == (
        2,
        model.network.config.get_text_config().vocab_size,
    )
