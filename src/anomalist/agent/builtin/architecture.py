"""What the small model is made of: stock classes of transformers, a tokenizer and a chat template.

FastVLM (Vasu et al. 2025), which is LLaVA (Liu et al. 2023) with an eye of convolutions: here a ResNet (He et
al. 2016) as the eye and a Llama as the voice. Convolutions with batch normalisation learn from few pictures,
and fast on processors. Everything is saved and loaded as any model of the kind.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomalist.agent.builtin.documents import END, IMAGE, MODEL_TURN, SYSTEM_TURN, USER_TURN

if TYPE_CHECKING:
    from transformers import FastVlmForConditionalGeneration, LlavaProcessor, PreTrainedTokenizerFast

SIDE = 192
"""Every picture is brought to this square: of a closer look each half is 96 pixels wide and 192 high."""

STRIDE = 32
"""Pixels to a token, each way."""

IMAGE_TOKENS = (SIDE // STRIDE) ** 2
VOCABULARY = 2048
WINDOW = 4096
"""Tokens that a conversation may have."""

MEANT_AFTER = 3
"""Layers of the voice after which training asks what the right option says; its letter is looked for in those
that follow."""

_LOUDER = 5
"""How much larger than usual word vectors begin, so that what a token is isn't drowned by what it sees."""

PAD = "<|pad|>"
SPECIAL = (PAD, SYSTEM_TURN, USER_TURN, MODEL_TURN, END, IMAGE)

TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for block in message['content'] %}"
    "{% if block['type'] == 'image' %}<image>{% elif block['type'] == 'text' %}{{ block['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer on texts; any text can be written with it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token=END, pad_token=PAD, model_max_length=WINDOW
    )


def make_processor(tokenizer: PreTrainedTokenizerFast) -> LlavaProcessor:
    """Return the processor that goes with the model."""
    from transformers import CLIPImageProcessorPil, LlavaProcessor

    size = {"height": SIDE, "width": SIDE}
    pictures = CLIPImageProcessorPil(
        size=size, crop_size=size, do_center_crop=False, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    return LlavaProcessor(
        pictures,
        tokenizer,
        patch_size=STRIDE,
        vision_feature_select_strategy="full",
        chat_template=TEMPLATE,
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
            "max_position_embeddings": WINDOW,
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
            "hidden_size": 256,  # of the last of them, which is what FastVLM asks for
        },
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = FastVlmForConditionalGeneration(config)
        _let_like_find_like(network.model.language_model)
    return network


def _let_like_find_like(voice: Any) -> None:  # noqa: ANN401
    """Begin with heads that find where a word was said before, and say what stood before it there.

    To choose an option takes finding it by what it says and naming its letter, two tokens before. From random
    weights that was not found in a thousand steps. So the first layer begins with heads that look one and two
    tokens back, and two later ones with heads that look from a thought to where it was said: the induction
    heads of Olsson et al. (2022), set by hand in the manner of Trockman & Kolter (2023), and free to change.
    A third head of the first layer looks three back: from a cell of a closer look's normal half to its
    counterpart.
    """
    import torch

    voice.embed_tokens.weight.data *= _LOUDER
    size, width = voice.layers[0].self_attn.head_dim, voice.config.hidden_size
    frame = torch.nn.init.orthogonal_(torch.empty(width, width)).reshape(-1, size, width)
    said, before = frame[0], frame[1:4]  # of this token; of one, two and three before
    first, finding = voice.layers[0].self_attn, voice.layers[MEANT_AFTER : MEANT_AFTER + 2]
    for head in range(3):
        rows = slice(head * size, (head + 1) * size)
        _look_back(first, rows, head + 1)
        _carry(first, rows, said, before[head])
    for head in range(2):
        rows = slice(head * size, (head + 1) * size)
        for attention in (layer.self_attn for layer in finding):
            attention.q_proj.weight.data[rows] = 2 * said
            attention.k_proj.weight.data[rows] = said
            _carry(attention, rows, before[head], said)


def _carry(attention: Any, rows: slice, taken: Any, given: Any) -> None:  # noqa: ANN401
    """Have a head take from one part of what a token holds, and write it to another."""
    attention.v_proj.weight.data[rows] = taken
    attention.o_proj.weight.data[:, rows] = 0.2 * given.T


def _look_back(attention: Any, rows: slice, tokens: int) -> None:  # noqa: ANN401
    """Have a head look so many tokens back, whatever they are: its key turned by that many positions."""
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
