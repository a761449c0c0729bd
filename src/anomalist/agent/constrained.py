"""Replies that can't break a JSON schema: of each token, only those stay that keep the reply valid."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from anomalist.errors import ModelError

if TYPE_CHECKING:
    import torch
    from llguidance import LLTokenizer
    from llguidance._lib import JsonCompileOptions

LAYOUT: JsonCompileOptions = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""One way to write JSON, that of Python's own writer: with free white space a small model can write blanks
for ever, which is valid all the while."""


def schema_of(response_format: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the JSON schema that an OpenAI-style ``response_format`` asks for; None where any text will do.

    Raises
    ------
    ModelError : a format of a kind that doesn't exist.
    """
    match response_format:
        case None | {"type": "text"}:
            return None
        case {"type": "json_object"}:
            return {"type": "object"}
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
            return schema
        case _:
            raise ModelError(f"response_format {response_format!r} is none that a local model knows.")


def schema_tokens(tokenizer: Any, end_tokens: Sequence[int]) -> LLTokenizer:  # noqa: ANN401 -- transformers
    """Prepare the vocabulary for `SchemaMask`; takes about a second for 150,000 tokens.

    Parameters
    ----------
    tokenizer : a fast tokenizer of transformers.
    end_tokens : ids of the tokens that end a reply.

    Raises
    ------
    ModelError : a tokenizer of the slow kind, whose vocabulary can't be read.
    """
    from llguidance.hf import from_tokenizer

    try:
        return from_tokenizer(tokenizer, eos_token=list(end_tokens))
    except ValueError as error:
        raise ModelError(f"The tokenizer of this model can't write JSON by schema: {error}.") from error


class SchemaMask:
    """Sets the logits of every token that would break the schema to −∞; a logits processor of transformers.

    For one sequence. A reply that ends by itself is valid; one that is cut off at the limit of tokens is the
    beginning of a valid one.

    Parameters
    ----------
    tokens : the vocabulary, from `schema_tokens`.
    schema : the JSON schema.
    prompt_length : tokens of the prompt, which the schema doesn't concern.

    Raises
    ------
    ModelError : a schema that can't be followed, with the reason.
    """

    def __init__(self, tokens: LLTokenizer, schema: Mapping[str, Any], prompt_length: int) -> None:
        from llguidance import LLMatcher

        grammar = LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=LAYOUT)
        self._matcher = LLMatcher(tokens, grammar, log_level=0)
        self._seen = prompt_length
        self._check()

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Mask the scores of the next token.

        Parameters
        ----------
        input_ids : int (1, length), prompt and reply so far.
        scores : float (1, vocabulary); may be longer than the tokenizer's vocabulary.
        """
        import numpy as np
        import torch

        self._matcher.consume_tokens(input_ids[0, self._seen :].tolist())
        self._seen = input_ids.shape[1]
        self._check()
        packed = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        size = scores.shape[-1]
        allowed = np.zeros(size, dtype=bool)
        bits = np.unpackbits(packed, bitorder="little", count=min(size, 8 * packed.size))
        allowed[: bits.size] = bits
        return scores.masked_fill(~torch.from_numpy(allowed).to(scores.device), -torch.inf)

    def _check(self) -> None:
        if self._matcher.is_error():
            raise ModelError(f"The reply can't be held to its schema: {self._matcher.get_error()}.")
