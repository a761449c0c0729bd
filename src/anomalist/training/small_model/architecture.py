"""Architecture of the small vision-language model: stock classes of transformers, random weights.

FastVLM (Vasu et al. 2025), that is LLaVA (Liu et al. 2023) with a convolutional vision encoder: here a ResNet
(He et al. 2016) as the vision encoder and a Llama as the language model. Convolutions with batch
normalisation train on few pictures, and fast on CPUs. It is saved and loaded like any FastVLM of
transformers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomalist.training.small_model.documents import (
    END_TOKEN,
    IMAGE_TOKEN,
    MODEL_TURN,
    SYSTEM_TURN,
    USER_TURN,
)

if TYPE_CHECKING:
    from transformers import FastVlmForConditionalGeneration, LlavaProcessor, PreTrainedTokenizerFast


IMAGE_SIZE = 192
"""Every picture is resized to this square; each half of a closer view is 96 pixels wide and 192 high."""

STRIDE = 32
"""Side of the square of pixels that is one image token."""

IMAGE_TOKENS = (IMAGE_SIZE // STRIDE) ** 2
"""Tokens of a picture."""
VOCABULARY_SIZE = 2048
"""Tokens of the vocabulary, special ones included."""
CONTEXT_LENGTH = 4096
"""Context length, tokens."""

MEANING_LAYER = 3
"""Layer after which an auxiliary loss predicts the right option's text; later layers find its letter."""

_EMBEDDING_GAIN = 5
"""Gain of the initial token embeddings, so that attention doesn't drown the token's identity."""

PAD_TOKEN = "<|pad|>"
SPECIAL_TOKENS = (PAD_TOKEN, SYSTEM_TURN, USER_TURN, MODEL_TURN, END_TOKEN, IMAGE_TOKEN)

CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for block in message['content'] %}"
    "{% if block['type'] == 'image' %}<image>{% elif block['type'] == 'text' %}{{ block['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
"""Jinja template of a conversation."""


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer on texts; it encodes any text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token=END_TOKEN, pad_token=PAD_TOKEN, model_max_length=CONTEXT_LENGTH
    )


def make_processor(tokenizer: PreTrainedTokenizerFast) -> LlavaProcessor:
    """Return the processor that goes with the model."""
    from transformers import CLIPImageProcessorPil, LlavaProcessor

    size = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    pictures = CLIPImageProcessorPil(
        size=size, crop_size=size, do_center_crop=False, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    return LlavaProcessor(
        pictures,
        tokenizer,
        patch_size=STRIDE,
        vision_feature_select_strategy="full",
        chat_template=CHAT_TEMPLATE,
    )


def make_network(tokenizer: PreTrainedTokenizerFast, seed: int) -> FastVlmForConditionalGeneration:
    """Return the network with random weights."""
    import torch
    from transformers import FastVlmConfig, FastVlmForConditionalGeneration

    config = FastVlmConfig(
        text_config={
            "model_type": "llama",
            "vocab_size": len(tokenizer),
            "hidden_size": 256,
            "intermediate_size": 768,
            "num_hidden_layers": 6,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "max_position_embeddings": CONTEXT_LENGTH,
            "attention_bias": True,
            "tie_word_embeddings": True,
            "pad_token_id": tokenizer.pad_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "bos_token_id": None,
        },
        vision_config={
            "model_type": "resnet",
            "layer_type": "basic",
            "embedding_size": 32,
            "hidden_sizes": [32, 64, 128, 256],
            "depths": [1, 1, 2, 2],
            "hidden_size": 256,  # of the last stage, as FastVLM expects
        },
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE_TOKEN),
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = FastVlmForConditionalGeneration(config)
        _init_induction_heads(network.model.language_model)
    return network


def _init_induction_heads(language_model: Any) -> None:  # noqa: ANN401
    """Initialise induction heads: find an earlier occurrence of a token and copy what preceded it.

    To choose an option the model must find it by its text and copy its letter, two tokens before; from random
    weights it did not learn that in a thousand steps. So the first layer starts with previous-token heads
    that attend one and two tokens back, and two later layers with heads that attend to an earlier occurrence:
    the induction heads of Olsson et al. (2022), initialised by hand in the manner of Trockman & Kolter (2023)
    and trained on. A third head of the first layer attends three back: from a cell of a closer view's normal
    half to its counterpart.
    """
    import torch

    language_model.embed_tokens.weight.data *= _EMBEDDING_GAIN
    size, width = language_model.layers[0].self_attn.head_dim, language_model.config.hidden_size
    frame = torch.nn.init.orthogonal_(torch.empty(width, width)).reshape(-1, size, width)
    current, before = frame[0], frame[1:4]  # subspaces of this token, and of those one to three before
    first, finding = (
        language_model.layers[0].self_attn,
        language_model.layers[MEANING_LAYER : MEANING_LAYER + 2],
    )
    for head in range(3):
        rows = slice(head * size, (head + 1) * size)
        _init_previous_token_head(first, rows, head + 1)
        _init_value_and_output(first, rows, current, before[head])
    for head in range(2):
        rows = slice(head * size, (head + 1) * size)
        for attention in (layer.self_attn for layer in finding):
            attention.q_proj.weight.data[rows] = 2 * current
            attention.k_proj.weight.data[rows] = current
            _init_value_and_output(attention, rows, before[head], current)


def _init_value_and_output(attention: Any, rows: slice, taken: Any, given: Any) -> None:  # noqa: ANN401
    """Set a head's value and output projections: read one subspace of the residual stream, write another."""
    attention.v_proj.weight.data[rows] = taken
    attention.o_proj.weight.data[:, rows] = 0.2 * given.T


def _init_previous_token_head(attention: Any, rows: slice, tokens: int) -> None:  # noqa: ANN401
    """Make a previous-token head: its constant query is its key rotated by that many positions (RoPE)."""
    import torch

    size = rows.stop - rows.start
    pairs = size // 8  # of those that turn fastest
    angles = tokens * 10_000.0 ** (-2 * torch.arange(pairs) / size)
    for projection in (attention.q_proj, attention.k_proj):
        projection.weight.data[rows] = 0
    key, query = attention.k_proj.bias.data[rows], attention.q_proj.bias.data[rows]
    key[:pairs] = 6.0
    query[:pairs], query[size // 2 : size // 2 + pairs] = 6.0 * angles.cos(), -6.0 * angles.sin()


def save_model(folder: Path, network: Any, processor: LlavaProcessor) -> None:  # noqa: ANN401
    """Save a model as transformers does, weights in half precision; they are used in single precision."""
    import torch
    from transformers import GenerationConfig

    network.generation_config = GenerationConfig(
        eos_token_id=processor.tokenizer.eos_token_id, pad_token_id=processor.tokenizer.pad_token_id
    )
    network.to(torch.float16).save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"dtype": "float32"}, indent=2) + "\n")
    processor.save_pretrained(folder)
