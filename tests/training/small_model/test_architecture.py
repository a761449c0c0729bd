"""Random weights that find where a word was said before."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from anomalist.training.small_model.architecture import MEANING_LAYER, make_network, train_tokenizer

LETTERS = "ABCD"
WORDS = ("hole", "crack", "spot", "stain")


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return train_tokenizer([" " + " ".join(WORDS)] * 5)


def test_before_any_training_a_called_word_is_found_where_it_was_listed(tokenizer: Any) -> None:
    language_model = make_network(tokenizer, 0).eval().model.language_model
    language_model.set_attn_implementation("eager")  # which tells where it looks
    listed = "\n".join(f"{letter}. {word}" for letter, word in zip(LETTERS, WORDS, strict=True))
    for called in WORDS:
        ids = tokenizer.encode(f"<|user|>{listed}<|end|><|user|> {called}<|end|><|assistant|>")
        word = tokenizer.encode(f" {called}")
        assert len(word) == 1

        with torch.no_grad():
            looks = language_model(torch.tensor([ids]), output_attentions=True).attentions

        listed_at, called_at = (at for at, token in enumerate(ids) if token == word[0])
        assert int(looks[0][0, 1, -1].argmax()) == len(ids) - 3  # the second head looks two tokens back
        assert int(looks[MEANING_LAYER][0, 1, called_at, :called_at].argmax()) == listed_at


def test_the_same_seed_gives_the_same_weights(tokenizer: Any) -> None:
    first, second = (make_network(tokenizer, 1).state_dict() for _ in range(2))
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[name]) for name, value in first.items())
