"""How a network of transformers writes a reply: greedily, within a time, until it is told to stop."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.messages.ai import UsageMetadata

from anomalist.errors import ModelError

if TYPE_CHECKING:
    import torch
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


class Halt:
    """Ends a reply when it is cancelled, and raises when it takes too long; a stopping criterion."""

    def __init__(self, timeout: float | None, cancelled: threading.Event | None) -> None:
        self._timeout, self._cancelled = timeout, cancelled
        self._deadline = math.inf if timeout is None else time.monotonic() + timeout

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: object) -> torch.Tensor:  # noqa: ANN401
        """Say for the one sequence, after each token, whether it is to end."""
        import torch

        if time.monotonic() > self._deadline:
            raise ModelError(
                f"The model took longer than {self._timeout:g} s for one reply.",
                "Allow more time, or take a smaller model.",
            )
        done = self._cancelled is not None and self._cancelled.is_set()
        return torch.tensor([done], device=input_ids.device)


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
