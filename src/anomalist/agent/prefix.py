"""The next token after prompts that begin alike: what they share, the picture above all, is read once."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from anomalist.agent.conversation import Prompt
from anomalist.agent.generation import on_device
from anomalist.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor

ROWS = 8
"""Prompts that run side by side; each holds a copy of the keys and values of what is shared."""

PER_TOKEN = frozenset({"input_ids", "mm_token_type_ids", "token_type_ids", "position_ids"})
PER_PICTURE = frozenset({"pixel_values", "pixel_attention_mask", "image_grid_thw", "image_sizes"})
"""Inputs of models that see pictures by their tokens only, so that keys and values hold all of a picture."""

Inputs = dict[str, "Tensor"]


def next_token_logits(network: Any, prompts: Sequence[Prompt]) -> Tensor:  # noqa: ANN401 -- transformers
    """Return the logits of the token after each prompt.

    Prompts with the same pictures form a group. What a group has in common from its first token on goes
    through the network once, if all the pictures are in it; from a copy of those keys and values each prompt
    goes on by itself. Up to rounding this is the same as one prompt after the other.

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
    order = sorted(range(len(prompts)), key=lambda at: (_pictures(prompts[at]), prompts[at].length))
    with torch.inference_mode():
        for _, members in itertools.groupby(order, key=lambda at: _pictures(prompts[at])):
            group = list(members)
            inputs = [_placed(network, prompts[at]) for at in group]
            keep = _shared_length(network, inputs)
            rows = _continued(network, inputs, keep) if keep else _each(network, inputs)
            logits.update(zip(group, rows, strict=True))
    return torch.stack([logits[at].float().cpu() for at in range(len(prompts))])


def letter_tokens(tokenizer: Any, letters: Sequence[str]) -> list[tuple[int, ...]]:  # noqa: ANN401
    """Return for each letter the tokens that stand for it at the beginning of a reply."""
    bare, spaced = (
        [tokenizer.encode(before + letter, add_special_tokens=False) for letter in letters]
        for before in ("", " ")
    )
    for letter, tokens in zip(letters, bare, strict=True):
        if len(tokens) != 1 or bare.count(tokens) > 1:
            raise ModelError(f"The option letter {letter!r} is not a token of this model.")
    if any(len(tokens) != 1 for tokens in spaced):  # counted for some letters only, it would favour them
        return [tuple(tokens) for tokens in bare]
    return [tuple({*one, *other}) for one, other in zip(bare, spaced, strict=True)]


def log_sum(logprobs: Sequence[float]) -> float:
    """Add probabilities given as logarithms."""
    top = max(logprobs)
    return top + math.log(sum(math.exp(each - top) for each in logprobs))


def _pictures(prompt: Prompt) -> tuple[int, ...]:
    return tuple(id(picture) for picture in prompt.pictures)


def _placed(network: Any, prompt: Prompt) -> Inputs:  # noqa: ANN401
    """Return the inputs without a mask (nothing needs one), with positions where a model counts in 3-D.

    Models of the Qwen-VL kind remember the offset between tokens and positions from the last prompt that
    they saw. Positions that are handed over don't depend on what was asked before.
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


def _shared_length(network: Any, group: Sequence[Inputs]) -> int:  # noqa: ANN401
    """Return how many first tokens can be read once for all; 0 where that is not possible or no use."""
    if len(group) == 1 or not group[0].keys() <= PER_TOKEN | PER_PICTURE:
        return 0
    tokens = [inputs["input_ids"][0].tolist() for inputs in group]
    shortest = min(len(each) for each in tokens)
    columns = enumerate(zip(*tokens, strict=False))
    # the last token of a prompt stays with it: its logits are wanted
    shared = min(shortest - 1, next((at for at, column in columns if len(set(column)) > 1), shortest))
    picture = getattr(network.config, "image_token_id", None)
    if "pixel_values" in group[0] and (picture is None or any(picture in each[shared:] for each in tokens)):
        return 0
    return shared


def _each(network: Any, group: Sequence[Inputs]) -> Iterator[Tensor]:  # noqa: ANN401
    """Give the logits after each prompt, read from its first token."""
    for inputs in group:
        yield network(**on_device(network, inputs), use_cache=False, logits_to_keep=1).logits[0, -1]


def _continued(network: Any, group: Sequence[Inputs], keep: int) -> Iterator[Tensor]:  # noqa: ANN401
    """Give the logits after each prompt, of which the first ``keep`` tokens are read once."""
    import torch
    from torch.nn.functional import pad
    from transformers.cache_utils import DynamicLayer

    start = {name: _part(name, value, slice(keep)) for name, value in group[0].items()}
    shared = network(**on_device(network, start), use_cache=True, logits_to_keep=1).past_key_values
    rows = ROWS if all(isinstance(layer, DynamicLayer) for layer in shared.layers) else 1
    for first in range(0, len(group), rows):
        rests = [
            {name: inputs[name][..., keep:] for name in ("input_ids", "position_ids") if name in inputs}
            for inputs in group[first : first + rows]
        ]
        lengths = [rest["input_ids"].shape[-1] for rest in rests]
        # Padded behind: attention looks back only, so nothing sees the padding.
        batch: Inputs = {
            name: torch.cat([pad(rest[name], (0, max(lengths) - rest[name].shape[-1])) for rest in rests], -2)
            for name in rests[0]
        }
        batch["logits_to_keep"] = torch.tensor(lengths)[:, None] - 1
        cache = copy.deepcopy(shared)
        if len(rests) > 1:
            cache.batch_repeat_interleave(len(rests))
        yield from network(**on_device(network, batch), past_key_values=cache, use_cache=True).logits[:, 0]


def _part(name: str, value: Tensor, tokens: slice) -> Tensor:
    """Cut what has one entry per token."""
    return value[..., tokens] if name in PER_TOKEN else value
