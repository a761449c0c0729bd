"""The next token after many prompts that begin alike: what they share, the picture above all, is read once."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from anomalist.agent.conversation import Prompt

if TYPE_CHECKING:
    import torch
    from torch import Tensor

ROWS = 8
"""Prompts that run side by side; each holds its own copy of the keys and values of what is shared."""

PER_TOKEN = frozenset({"input_ids", "mm_token_type_ids", "token_type_ids"})
PER_PICTURE = frozenset({"pixel_values", "pixel_attention_mask", "image_grid_thw", "image_sizes"})
"""Inputs of models that see a picture through its tokens, so that keys and values hold all of it."""


def next_token_logits(network: Any, prompts: Sequence[Prompt]) -> Tensor:  # noqa: ANN401 -- transformers
    """Return the logits of the token after each prompt.

    Prompts with the same pictures form a group. What all prompts of a group begin with goes through the
    network once, if all their pictures are in it; then each goes on from a copy of those keys and values.
    Prompts of one length give the same as one by one, up to rounding.

    Parameters
    ----------
    network : a model of transformers, which must take ``logits_to_keep``.
    prompts : at least one.

    Returns
    -------
    float32 (prompts, vocabulary), on the CPU.
    """
    import torch

    logits: dict[int, Tensor] = {}
    by_pictures = sorted(range(len(prompts)), key=lambda at: _pictures(prompts[at]))
    with torch.inference_mode():
        for _, members in itertools.groupby(by_pictures, key=lambda at: _pictures(prompts[at])):
            group = sorted(members, key=lambda at: prompts[at].length)
            logits |= zip(group, _group_logits(network, [prompts[at] for at in group]), strict=True)
    return torch.stack([logits[at] for at in range(len(prompts))])


def _pictures(prompt: Prompt) -> tuple[int, ...]:
    return tuple(id(picture) for picture in prompt.pictures)


def _group_logits(network: Any, group: Sequence[Prompt]) -> Iterator[Tensor]:  # noqa: ANN401
    """Give the logits for prompts with the same pictures, sorted by length."""
    keep = _shared(network, group)
    if not keep:
        for prompt in group:
            yield from _forward(network, _placed(network, prompt), logits_to_keep=1).logits[:, -1]
        return
    placed = [_placed(network, prompt) for prompt in group]
    start = {name: _cut(name, value, slice(keep)) for name, value in placed[0].items()}
    shared = _forward(network, start, use_cache=True, logits_to_keep=1).past_key_values
    for chunk in itertools.batched(placed, _rows(shared)) if False else _batches(placed, _rows(shared)):
        rests = [
            {name: _cut(name, value, slice(keep, None)) for name, value in inputs.items() if _of_tokens(name)}
            for inputs in chunk
        ]
        yield from _continued(network, shared, rests)
