"""Random weights that find where a word was said before."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from anomalist.agent.builtin.architecture import make_network, train_tokenizer

LETTERS = "ABCD"
WORDS = ("hole", "crack", "spot", "stain")


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return train_tokenizer([" " + " ".join(WORDS)] * 5)


@pytest.mark.parametrize("called", range(len(WORDS)))
def test_before_any_training_a_called_word_is_found_where_it_was_listed(tokenizer: Any, called: int) -> None:
    voice = make_network(tokenizer, 0).eval().model.language_model
    voice.set_attn_implementation("eager")  # which tells where it looks
    listed = "\n".join(f"{letter}. {word}" for letter, word in zip(LETTERS, WORDS, strict=True))
    ids = tokenizer.encode(f"<|user|>{listed}<|end|><|user|> {WORDS[called]}<|end|><|assistant|>")
    word = tokenizer.encode(f" {WORDS[called]}")
    assert len(word) == 1

    with torch.no_grad():
        looks = voice(torch.tensor([ids]), output_attentions=True).attentions[1][0]

    at = ids.index(word[0])
    two_back = looks[1, -1, : len(ids) - 3]  # of the second head, where a reply begins; not the call itself
    assert int(two_back.argmax()) == at


def test_the_same_seed_gives_the_same_weights(tokenizer: Any) -> None:
    first, second = (make_network(tokenizer, 1).state_dict() for _ in range(2))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
