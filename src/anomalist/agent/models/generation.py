"""Generation with transformers: greedy decoding, JSON-schema constraint, timeout, prefix KV cache.

Grammar-constrained decoding (llguidance; Willard and Louf 2023) masks every token that would violate the JSON
schema. Generation stops at a timeout or when it is cancelled. Prompts with a common prefix, mostly the
picture, share its key/value cache: the prefix is prefilled once.
"""

from __future__ import annotations

import copy
import itertools
import json
import math
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.messages.ai import UsageMetadata

from anomalist.agent.models.chat_inputs import PromptInputs
from anomalist.errors import ModelError

if TYPE_CHECKING:
    import torch
    from llguidance import LLTokenizer
    from llguidance._lib import JsonCompileOptions
    from torch import Tensor


JSON_LAYOUT: JsonCompileOptions = {
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
}
"""JSON formatted as by `json.dumps`: with flexible white space a small model can emit blanks endlessly, all
of which the grammar accepts."""


def response_schema(response_format: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the JSON schema of an OpenAI-style ``response_format``; None for free text.

    Raises
    ------
    ModelError : an unknown type of format.
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


def grammar_tokenizer(tokenizer: Any, end_tokens: Sequence[int]) -> LLTokenizer:  # noqa: ANN401
    """Prepare the vocabulary for `JsonSchemaLogitsProcessor`; about a second for 150,000 tokens.

    Parameters
    ----------
    tokenizer : a fast tokenizer of transformers.
    end_tokens : end-of-sequence token ids.

    Raises
    ------
    ModelError : a slow tokenizer, whose vocabulary can't be read.
    """
    from llguidance.hf import from_tokenizer

    try:
        return from_tokenizer(tokenizer, eos_token=list(end_tokens))
    except ValueError as error:
        raise ModelError(f"The tokenizer of this model can't write JSON by schema: {error}.") from error


class JsonSchemaLogitsProcessor:
    """Logits processor for transformers that sets tokens violating a JSON schema to −∞; for one sequence.

    A reply that ends with an end token is valid; one cut off at the token limit is a prefix of a valid reply.

    Parameters
    ----------
    tokens : the vocabulary, from `grammar_tokenizer`.
    schema : the JSON schema.
    prompt_length : tokens of the prompt, to which the schema doesn't apply.

    Raises
    ------
    ModelError : the schema can't be compiled to a grammar, with the reason.
    """

    def __init__(self, tokens: LLTokenizer, schema: Mapping[str, Any], prompt_length: int) -> None:
        from llguidance import LLMatcher

        grammar = LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=JSON_LAYOUT)
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


@dataclass(frozen=True)
class GeneratedReply:
    """A generated text with finish reason and token counts of prompt and reply."""

    text: str
    finish: Literal["stop", "length"]
    read: int
    wrote: int

    @property
    def usage(self) -> UsageMetadata:
        """The token counts as LangChain's `UsageMetadata`."""
        return UsageMetadata(
            input_tokens=self.read, output_tokens=self.wrote, total_tokens=self.read + self.wrote
        )


class GenerationCancelled(Exception):  # noqa: N818
    """The caller no longer waits for the reply."""


@contextmanager
def stop_on_timeout(network: Any, timeout: float | None, cancelled: threading.Event | None) -> Iterator[None]:  # noqa: ANN401
    """Stop generation at a timeout or when it is cancelled, by forward pre-hooks on every layer.

    Not only after every token, because prefilling the pictures can take minutes on a slow machine.

    Raises
    ------
    ModelError : after ``timeout`` seconds.
    GenerationCancelled : once ``cancelled`` is set.
    """
    from transformers.modeling_layers import GradientCheckpointingLayer

    deadline = math.inf if timeout is None else time.monotonic() + timeout

    def check(*_: object) -> None:
        if cancelled is not None and cancelled.is_set():
            raise GenerationCancelled
        if time.monotonic() > deadline:
            raise ModelError(
                f"The model took longer than {timeout:g} s for one reply.",
                "Allow more time, or take a smaller model.",
            )

    layers = [layer for layer in network.modules() if isinstance(layer, GradientCheckpointingLayer)]
    hooks = [module.register_forward_pre_hook(check) for module in (network, *layers)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def set_greedy_decoding(network: Any, tokenizer: Any) -> None:  # noqa: ANN401
    """Replace the published generation config by greedy decoding.

    Sampling would make verdicts random, and a repetition penalty breaks JSON. The published end tokens are
    kept and joined by the tokenizer's.
    """
    from transformers import GenerationConfig

    published = network.generation_config.eos_token_id
    ends = published if isinstance(published, list) else [published]
    ends = [end for end in dict.fromkeys([*ends, tokenizer.eos_token_id]) if end is not None]
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else ends[0]
    network.generation_config = GenerationConfig(do_sample=False, eos_token_id=ends, pad_token_id=pad)


def eos_token_ids(network: Any) -> list[int]:  # noqa: ANN401
    """Return the end token ids, after `set_greedy_decoding`."""
    return list(network.generation_config.eos_token_id)


def move_to_device(network: Any, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:  # noqa: ANN401
    """Move inputs to the device of a network, floating-point ones in its dtype."""
    return {
        name: value.to(network.device, network.dtype if value.is_floating_point() else None)
        for name, value in inputs.items()
    }


BATCH_SIZE = 8
"""Prompts in one batch; each needs a copy of the key/value cache of the shared prefix."""

PER_TOKEN = frozenset({"input_ids", "mm_token_type_ids", "token_type_ids", "position_ids"})
PER_PICTURE = frozenset({"pixel_values", "pixel_attention_mask", "image_grid_thw", "image_sizes"})
"""Inputs of models that see pictures as tokens only, so that the key/value cache holds all of a picture."""

Inputs = dict[str, "Tensor"]


def next_token_logits(network: Any, prompts: Sequence[PromptInputs]) -> Tensor:  # noqa: ANN401
    """Return the logits of the token after each prompt, with a shared prefix cache.

    Prompts with the same pictures form a group. Their common prefix is prefilled once if it holds all the
    pictures; each prompt continues from a copy of its keys and values. Up to rounding, the result equals that
    of one prompt after the other.

    Parameters
    ----------
    network : a model of transformers.
    prompts : at least one.

    Returns
    -------
    float32 (prompts, vocabulary), on the CPU.
    """
    import torch

    logits: dict[int, Tensor] = {}
    order = sorted(range(len(prompts)), key=lambda at: (_picture_ids(prompts[at]), prompts[at].length))
    with torch.inference_mode():
        for _, members in itertools.groupby(order, key=lambda at: _picture_ids(prompts[at])):
            group = list(members)
            inputs = [_with_positions(network, prompts[at]) for at in group]
            keep = _prefix_length(network, inputs)
            rows = (
                _logits_after_prefix(network, inputs, keep) if keep else _logits_one_by_one(network, inputs)
            )
            logits.update(zip(group, rows, strict=True))
    return torch.stack([logits[at].float().cpu() for at in range(len(prompts))])


def letter_token_ids(tokenizer: Any, letters: Sequence[str]) -> list[tuple[int, ...]]:  # noqa: ANN401
    """Return for each letter the token ids that it may have at the beginning of a reply."""
    bare, spaced = (
        [tokenizer.encode(before + letter, add_special_tokens=False) for letter in letters]
        for before in ("", " ")
    )
    for letter, tokens in zip(letters, bare, strict=True):
        if len(tokens) != 1 or bare.count(tokens) > 1:
            raise ModelError(f"The option letter {letter!r} is not a token of this model.")
    if any(
        len(tokens) != 1 for tokens in spaced
    ):  # counting variants of some letters only would favour these
        return [tuple(tokens) for tokens in bare]
    return [tuple({*one, *other}) for one, other in zip(bare, spaced, strict=True)]


def logsumexp(logprobs: Sequence[float]) -> float:
    """log Σ exp of log-probabilities."""
    top = max(logprobs)
    return top + math.log(sum(math.exp(each - top) for each in logprobs))


def _picture_ids(prompt: PromptInputs) -> tuple[int, ...]:
    return tuple(id(picture) for picture in prompt.pictures)


def _with_positions(network: Any, prompt: PromptInputs) -> Inputs:  # noqa: ANN401
    """Return the inputs without attention mask, and with explicit position ids for models with 3-D positions.

    Models of the Qwen-VL family otherwise reuse the offset between tokens and positions of the last prompt.
    """
    inputs = {name: value for name, value in prompt.inputs.items() if name != "attention_mask"}
    if hasattr(network.base_model, "get_rope_index"):
        import torch

        if prompt.pictures:
            known = inputs.keys() & {"input_ids", "mm_token_type_ids", "image_grid_thw"}
            positions, _ = network.base_model.get_rope_index(**{name: inputs[name] for name in known})
        else:
            positions = torch.arange(prompt.length).expand(3, 1, -1)
        inputs["position_ids"] = positions
    return inputs


def _prefix_length(network: Any, group: Sequence[Inputs]) -> int:  # noqa: ANN401
    """Return the length of the shared prefix in tokens; 0 where it can't be cached."""
    if len(group) == 1 or not group[0].keys() <= PER_TOKEN | PER_PICTURE:
        return 0
    tokens = [inputs["input_ids"][0].tolist() for inputs in group]
    shortest = min(len(each) for each in tokens)
    columns = enumerate(zip(*tokens, strict=False))
    # The last token of each prompt is left out, because its logits are needed.
    shared = min(shortest - 1, next((at for at, column in columns if len(set(column)) > 1), shortest))
    picture = getattr(network.config, "image_token_id", None)
    if "pixel_values" in group[0] and (picture is None or any(picture in each[shared:] for each in tokens)):
        return 0
    return shared


def _logits_one_by_one(network: Any, group: Sequence[Inputs]) -> Iterator[Tensor]:  # noqa: ANN401
    """Yield the logits after each prompt, without a shared prefix."""
    for inputs in group:
        yield network(**move_to_device(network, inputs), use_cache=False, logits_to_keep=1).logits[0, -1]


def _logits_after_prefix(network: Any, group: Sequence[Inputs], keep: int) -> Iterator[Tensor]:  # noqa: ANN401
    """Yield the logits after each prompt; the first ``keep`` tokens are prefilled once."""
    import torch
    from torch.nn.functional import pad
    from transformers.cache_utils import DynamicLayer

    start = {name: _slice_tokens(name, value, slice(keep)) for name, value in group[0].items()}
    shared = network(**move_to_device(network, start), use_cache=True, logits_to_keep=1).past_key_values
    rows = BATCH_SIZE if all(isinstance(layer, DynamicLayer) for layer in shared.layers) else 1
    for first in range(0, len(group), rows):
        rests = [
            {name: inputs[name][..., keep:] for name in ("input_ids", "position_ids") if name in inputs}
            for inputs in group[first : first + rows]
        ]
        lengths = [rest["input_ids"].shape[-1] for rest in rests]
        # Right padding: attention is causal, so no real token attends to it.
        batch: Inputs = {
            name: torch.cat([pad(rest[name], (0, max(lengths) - rest[name].shape[-1])) for rest in rests], -2)
            for name in rests[0]
        }
        batch["logits_to_keep"] = torch.tensor(lengths)[:, None] - 1
        cache = copy.deepcopy(shared)
        if len(rests) > 1:
            cache.batch_repeat_interleave(len(rests))
        yield from network(**move_to_device(network, batch), past_key_values=cache, use_cache=True).logits[
            :, 0
        ]


def _slice_tokens(name: str, value: Tensor, tokens: slice) -> Tensor:
    """Slice inputs that have one entry per token."""
    return value[..., tokens] if name in PER_TOKEN else value
