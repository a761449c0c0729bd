"""JSON by schema: which tokens stay."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch

from anomalist.agent.models.generation import (
    JsonSchemaLogitsProcessor,
    eos_token_ids,
    grammar_tokenizer,
    response_schema,
)
from anomalist.agent.models.local import LocalChatModel
from anomalist.errors import ModelError
from anomalist.prompts.schemas import Description, Judgement

PROMPT = 3

DESCRIPTION = {
    "scene": "A grey tile – matt, 5 × 5 cm.",
    "observations": [{"text": 'a "thin" dark line', "evidence": ["R1"]}],
    "text_seen": [],
}
JUDGEMENT = {
    "claims": [{"text": "a thin dark line on the left", "evidence": ["R1", "score"]}],
    "label": "anomalous",
    "kind": "line",
    "severity_step": "same",
    "severity_reason": "",
    "severity_evidence": [],
}


def writable(model: LocalChatModel, schema: dict[str, Any], text: str) -> int:
    """Say how many tokens of a text may be written under a schema; the end of the reply is one more."""
    tokenizer, ends = model.processor.tokenizer, eos_token_ids(model.network)
    mask = JsonSchemaLogitsProcessor(grammar_tokenizer(tokenizer, ends), schema, PROMPT)
    tokens = [*tokenizer.encode(text, add_special_tokens=False), ends[0]]
    for at, token in enumerate(tokens):
        ids = torch.tensor([[0] * PROMPT + tokens[:at]])
        scores = mask(ids, torch.zeros(1, model.network.config.get_text_config().vocab_size))
        assert torch.isfinite(scores).any()
        if not torch.isfinite(scores[0, token]):
            return at
    return len(tokens)


@pytest.mark.parametrize("family", ["idefics3", "qwen2_5_vl"])
@pytest.mark.parametrize(("form", "value"), [(Description, DESCRIPTION), (Judgement, JUDGEMENT)])
def test_every_reply_of_a_form_can_be_written_and_ended(
    opened: Callable[..., LocalChatModel], family: str, form: type, value: dict[str, Any]
) -> None:
    form.model_validate(value)
    model, text = opened(family), json.dumps(value, ensure_ascii=False)
    whole = len(model.processor.tokenizer.encode(text, add_special_tokens=False)) + 1
    assert writable(model, form.model_json_schema(), text) == whole


@pytest.mark.parametrize(
    ("wrong", "at_latest"),
    [
        ("Sure! {", 1),
        ("[", 1),
        ("<|im_end|>", 1),
        ('{"verdict"', 6),
        ('{"claims": []', 8),
        ('{"claims": [{"text": "a", "evidence": []', 40),
        (json.dumps(JUDGEMENT).replace("anomalous", "maybe"), 90),
        (json.dumps(JUDGEMENT)[:-1], 200),
    ],
)
def test_what_breaks_the_schema_can_not_be_written(
    opened: Callable[..., LocalChatModel], wrong: str, at_latest: int
) -> None:
    model = opened("qwen2_5_vl")
    tokens = model.processor.tokenizer.encode(wrong, add_special_tokens=False)
    written = writable(model, Judgement.model_json_schema(), wrong)
    assert written < len(tokens) + 1
    assert written <= at_latest


def test_blanks_can_not_be_written_for_ever(opened: Callable[..., LocalChatModel]) -> None:
    assert writable(opened("qwen2_5_vl"), {"type": "object"}, "{   ") == 1


@pytest.mark.parametrize(
    ("form", "schema"),
    [
        (None, None),
        ({"type": "text"}, None),
        ({"type": "json_object"}, {"type": "object"}),
        ({"type": "json_schema", "json_schema": {"schema": {"type": "integer"}}}, {"type": "integer"}),
    ],
)
def test_the_schema_is_found_in_the_request(form: dict[str, Any] | None, schema: object) -> None:
    assert response_schema(form) == schema


def test_a_slow_tokenizer_is_refused() -> None:
    with pytest.raises(ModelError, match="by schema"):
        grammar_tokenizer(object(), [0])
