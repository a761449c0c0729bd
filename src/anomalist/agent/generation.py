"""How a network of transformers writes a reply: greedily, within a time, until it is told to stop."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.messages.ai import UsageMetadata

from anomalist.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Written:
    """What a model wrote: the text, why it ended, and how many tokens it read and wrote."""

    text: str
    finish: Literal["stop", "length"]
    read: int
    wrote: int

    @property
    def usage(self) -> UsageMetadata:
        """The counts as LangChain names them."""
        return UsageMetadata(
            input_tokens=self.read, output_tokens=self.wrote, total_tokens=self.read + self.wrote
        )


class Cancelled(Exception):  # noqa: N818 -- nothing went wrong
    """Nobody waits for the reply any more."""


@contextmanager
def halting(network: Any, timeout: float | None, cancelled: threading.Event | None) -> Iterator[None]:  # noqa: ANN401
    """End what a network does when it takes too long or is cancelled.

    The clock is looked at in every layer, not only after every token: to read the pictures takes minutes on
    a slow machine.

    Raises
    ------
    ModelError : after ``timeout`` seconds.
    Cancelled : once ``cancelled`` is set.
    """
    from transformers.modeling_layers import GradientCheckpointingLayer

    deadline = math.inf if timeout is None else time.monotonic() + timeout

    def look(*_: object) -> None:
        if cancelled is not None and cancelled.is_set():
            raise Cancelled
        if time.monotonic() > deadline:
            raise ModelError(
                f"The model took longer than {timeout:g} s for one reply.",
                "Allow more time, or take a smaller model.",
            )

    layers = [layer for layer in network.modules() if isinstance(layer, GradientCheckpointingLayer)]
    hooks = [module.register_forward_pre_hook(look) for module in (network, *layers)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def write_greedily(network: Any, tokenizer: Any) -> None:  # noqa: ANN401
    """Let a network always take the most probable token, whatever it was published with.

    Sampling would give another verdict each time, and a penalty on repetitions breaks JSON. The tokens that
    end a reply stay, and that of the tokenizer is one of them.
    """
    from transformers import GenerationConfig

    published = network.generation_config.eos_token_id
    ends = published if isinstance(published, list) else [published]
    ends = [end for end in dict.fromkeys([*ends, tokenizer.eos_token_id]) if end is not None]
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else ends[0]
    network.generation_config = GenerationConfig(do_sample=False, eos_token_id=ends, pad_token_id=pad)


def end_tokens(network: Any) -> list[int]:  # noqa: ANN401
    """Return the tokens that end a reply, after `write_greedily`."""
    return list(network.generation_config.eos_token_id)


def on_device(network: Any, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:  # noqa: ANN401
    """Move inputs to where a network is, pictures in its dtype."""
    return {
        name: value.to(network.device, network.dtype if value.is_floating_point() else None)
        for name, value in inputs.items()
    }
