"""The network behind the sentence embeddings: MiniLM-L6-H384, a BERT of six layers.

Written out because `transformers` takes seconds to import for the same numbers (a test compares them).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

LAYERS = 6
HEADS = 12
WIDTH = 384
EPSILON = 1e-12  # of the layer norms


def token_states(weights: Mapping[str, torch.Tensor], ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The last hidden states, float32 (n, tokens, 384).

    Parameters
    ----------
    weights : by the names of the published file.
    ids : int64 (n, tokens), token numbers.
    mask : bool (n, tokens), False where a row is padded.
    """
    from torch.nn import functional

    def linear(name: str, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def norm(name: str, x: torch.Tensor) -> torch.Tensor:
        name = f"{name}.LayerNorm"
        return functional.layer_norm(x, (WIDTH,), weights[f"{name}.weight"], weights[f"{name}.bias"], EPSILON)

    n, tokens = ids.shape
    states = functional.embedding(ids, weights["embeddings.word_embeddings.weight"])
    states = states + weights["embeddings.token_type_embeddings.weight"][0]
    states = norm("embeddings", states + weights["embeddings.position_embeddings.weight"][:tokens])
    for number in range(LAYERS):
        layer = f"encoder.layer.{number}"
        query, key, value = (
            linear(f"{layer}.attention.self.{part}", states).view(n, tokens, HEADS, -1).transpose(1, 2)
            for part in ("query", "key", "value")
        )
        seen = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None, :])
        seen = linear(f"{layer}.attention.output.dense", seen.transpose(1, 2).reshape(n, tokens, WIDTH))
        states = norm(f"{layer}.attention.output", states + seen)
        inner = functional.gelu(linear(f"{layer}.intermediate.dense", states))
        states = norm(f"{layer}.output", states + linear(f"{layer}.output.dense", inner))
    return states
