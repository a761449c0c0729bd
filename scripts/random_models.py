"""Vision-language models and object detectors of real architectures with random weights, made offline.

They know nothing, but they are saved, loaded, quantised and run by the same code as the models that people
download, and their folders look the same. The tests use tiny ones, ``bench_options.py`` larger ones.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

CORPUS = [
    '{"label": "anomalous", "severity": 2, "claims": [{"text": "a thin dark line", "evidence": ["R1"]}]}',
    "What kind of defect is there? A. scratch B. crack C. dent D. stain. Answer with the letter only.",
    "The picture shows a tile with a crack on the left edge, touching the border, darker than around it.",
    "Answer with the letter of the right option only. user assistant system User Assistant System",
]
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for block in message['content'] %}"
    "{% if block['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif block['type'] == 'text' %}{{ block['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PLAIN_CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
DIALOGUE = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}:"
    "{% if message['content'] is string %} {{ message['content'] }}{% else %}"
    "{% for block in message['content'] %}"
    "{% if block['type'] == 'image' %}<image>"
    "{% elif block['type'] == 'text' %} {{ block['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<end_of_utterance>\n"
    "{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)


def train_tokenizer(special: list[str], end: str, pad: str) -> Any:  # noqa: ANN401
    """Return a byte-level BPE tokenizer of a few hundred tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=len(alphabet) + len(special) + 512, special_tokens=special, initial_alphabet=alphabet
    )
    core.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token=end, pad_token=pad)


def save_idefics3(folder: Path, *, width: int = 64, layers: int = 2, tile: int = 28, tiles: int = 2) -> Path:
    """Save an Idefics3 model; a picture becomes up to tiles² + 1 tiles of (tile / 7 / 2)² tokens each."""
    from transformers import Idefics3Config, Idefics3ImageProcessorPil, Idefics3Processor

    tokenizer, config, seq_len = _idefics3_parts(width, layers, tile, Idefics3Config)
    processor = Idefics3Processor(
        Idefics3ImageProcessorPil(size={"longest_edge": tiles * tile}, max_image_size={"longest_edge": tile}),
        tokenizer,
        image_seq_len=seq_len,
        chat_template=DIALOGUE,
    )
    _save_network(config, folder, tokenizer.eos_token_id)
    processor.save_pretrained(folder)
    return folder


def save_smolvlm(folder: Path, *, width: int = 64, layers: int = 2, tile: int = 28, tiles: int = 2) -> Path:
    """Save a SmolVLM model in the way of the published ones: parts, and a processor that wants videos."""
    from transformers import SmolVLMConfig, SmolVLMImageProcessorPil

    tokenizer, config, seq_len = _idefics3_parts(width, layers, tile, SmolVLMConfig)
    _save_network(config, folder, tokenizer.eos_token_id)
    pictures = SmolVLMImageProcessorPil(
        size={"longest_edge": tiles * tile}, max_image_size={"longest_edge": tile}
    )
    pictures.save_pretrained(folder)
    _save_stock(folder, tokenizer, DIALOGUE, "SmolVLMProcessor")
    (folder / "processor_config.json").write_text(
        json.dumps({"processor_class": "SmolVLMProcessor", "image_seq_len": seq_len})
    )
    return folder


def save_llava(folder: Path, *, width: int = 64, layers: int = 2, side: int = 56) -> Path:
    """Save a LLaVA model; every picture is scaled to side × side and takes (side / 14)² tokens."""
    from transformers import CLIPImageProcessorPil, LlavaConfig, LlavaProcessor

    special = ["<|endoftext|>", "<|im_start|>", "<end_of_utterance>", "<image>"]
    tokenizer = train_tokenizer(special, "<end_of_utterance>", "<|endoftext|>")
    config = LlavaConfig(
        text_config={**_text_sizes(width, layers), "model_type": "llama", "vocab_size": len(tokenizer)},
        vision_config={
            "model_type": "clip_vision_model",
            "hidden_size": width,
            "intermediate_size": 2 * width,
            "projection_dim": width,
            "num_hidden_layers": layers,
            "num_attention_heads": max(2, width // 64),
            "image_size": side,
            "patch_size": 14,
        },
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    processor = LlavaProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side}),
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=DIALOGUE,
    )
    _save_network(config, folder, tokenizer.eos_token_id)
    processor.save_pretrained(folder)
    return folder


def save_llama(folder: Path, *, width: int = 64, layers: int = 2, window: int = 4096) -> Path:
    """Save a Llama, which reads text only and whose chat template takes plain strings."""
    from transformers import LlamaConfig

    tokenizer = train_tokenizer(
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], "<|im_end|>", "<|endoftext|>"
    )
    sizes = _text_sizes(width, layers) | {"max_position_embeddings": window}
    config = LlamaConfig(vocab_size=len(tokenizer), **sizes)
    _save_network(config, folder, tokenizer.eos_token_id)
    tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(PLAIN_CHATML)
    return folder


def save_qwen(
    folder: Path,
    family: str = "qwen2_5_vl",
    *,
    text: Mapping[str, int] | None = None,
    vision: Mapping[str, int] | None = None,
    max_pixels: int = 28 * 28 * 64,
    dtype: str = "float32",
) -> Path:
    """Save a Qwen2.5-VL (or Qwen3-VL) model in the way of the published ones.

    A picture takes a token for each 28×28 (32×32) pixels; pictures keep their shape. ``text`` and ``vision``
    say where the sizes of the two networks differ from tiny.
    """
    from transformers import AutoConfig, Qwen2VLImageProcessorPil

    newer = family == "qwen3_vl"
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"]
    tokenizer = train_tokenizer([*special, "<|image_pad|>", "<|video_pad|>"], "<|im_end|>", "<|endoftext|>")
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in tokenizer.get_added_vocab()}
    text_sizes = _text_sizes(64, 2) | dict(text or {})
    width, head = text_sizes["hidden_size"], text_sizes["hidden_size"] // text_sizes["num_attention_heads"]
    vision_sizes = {
        "depth": 2,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_heads": 2,
        "out_hidden_size": width,
        "patch_size": 16 if newer else 14,
    } | dict(vision or {})
    newest = {"head_dim": head} if newer else {}
    last = vision_sizes["depth"] - 1
    special_layers = {"deepstack_visual_indexes": [0]} if newer else {"fullatt_block_indexes": [last]}
    config = AutoConfig.for_model(
        family,
        text_config={
            "model_type": f"{family}_text",
            # published models round the vocabulary up, so there are logits without a token
            "vocab_size": 64 * (len(tokenizer) // 64 + 1),
            "bos_token_id": None,
            "eos_token_id": ids["<|im_end|>"],
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e6,
                "mrope_section": [head // 2 - 2 * (head // 6), head // 6, head // 6],
            },
            **newest,
            **text_sizes,
        },
        vision_config=vision_sizes | special_layers,
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )
    # as in the published models: two end tokens, sampling on
    ends = [ids["<|im_end|>"], ids["<|endoftext|>"]]
    _save_network(config, folder, ends, dtype, do_sample=True, temperature=0.1)
    Qwen2VLImageProcessorPil(
        min_pixels=28 * 28 * 4, max_pixels=max_pixels, patch_size=vision_sizes["patch_size"]
    ).save_pretrained(folder)
    _save_stock(folder, tokenizer, CHATML, "Qwen3VLProcessor" if newer else "Qwen2_5_VLProcessor")
    return folder


def _idefics3_parts(width: int, layers: int, tile: int, config_class: Any) -> tuple[Any, Any, int]:  # noqa: ANN401
    """Return tokenizer, config and tokens a tile, which Idefics3 and SmolVLM share."""
    grid = [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
    special = ["<|endoftext|>", "<|im_start|>", "<end_of_utterance>", "<fake_token_around_image>", "<image>"]
    tokenizer = train_tokenizer([*special, "<global-img>", *grid], "<end_of_utterance>", "<|endoftext|>")
    config = config_class(
        text_config={
            **_text_sizes(width, layers),
            "model_type": "llama",
            "vocab_size": len(tokenizer),
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={
            "hidden_size": width,
            "intermediate_size": 2 * width,
            "num_hidden_layers": layers,
            "num_attention_heads": max(2, width // 64),
            "image_size": tile,
            "patch_size": 7,
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        pad_token_id=tokenizer.pad_token_id,
        scale_factor=2,
    )
    return tokenizer, config, (tile // 7 // 2) ** 2


def _text_sizes(width: int, layers: int) -> dict[str, int]:
    """Return the sizes that language models of all families call by the same names."""
    heads = max(2, width // 64)
    return {
        "hidden_size": width,
        "intermediate_size": 3 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": max(1, heads // 2),
        "max_position_embeddings": 4096,
    }


def _save_network(
    config: Any,  # noqa: ANN401
    folder: Path,
    end: int | list[int],
    dtype: str = "float32",
    **generation: Any,  # noqa: ANN401
) -> None:
    """Save random weights (always the same) as safetensors."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, GenerationConfig

    sees = hasattr(config, "vision_config")
    auto_class = AutoModelForImageTextToText if sees else AutoModelForCausalLM
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.random.fork_rng(), torch.device(device):
        torch.manual_seed(0)
        network = auto_class.from_config(config, dtype=getattr(torch, dtype))
        for parameter in network.parameters():
            # the usual 0.02 leaves a tiny network nearly blind to its input
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=min(0.2, parameter[0].numel() ** -0.5))
    network.generation_config = GenerationConfig(eos_token_id=end, **generation)
    network.save_pretrained(folder)


def _save_stock(folder: Path, tokenizer: Any, template: str, processor_class: str) -> None:  # noqa: ANN401
    """Save tokenizer and chat template, and name the processor where published models name it."""
    tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(template)
    for name in ("preprocessor_config.json", "tokenizer_config.json"):
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | {"processor_class": processor_class}))


def save_yolos(folder: Path, classes: Sequence[str] = ("person", "bicycle"), *, side: int = 64) -> Path:
    """Save a YOLOS object detector in the way of the published ones."""
    from transformers import YolosConfig, YolosImageProcessorPil

    config = YolosConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=[side, side],
        patch_size=16,
        num_detection_tokens=8,
        use_mid_position_embeddings=False,
        id2label=dict(enumerate(classes)),
        label2id={name: number for number, name in enumerate(classes)},
    )
    _save_detector(config, folder)
    YolosImageProcessorPil(size={"shortest_edge": side, "longest_edge": side}).save_pretrained(folder)
    return folder


def save_detr(folder: Path, classes: Sequence[str] = ("person", "bicycle"), *, side: int = 64) -> Path:
    """Save a DETR object detector with a ResNet of transformers as its backbone."""
    from transformers import DetrConfig, DetrImageProcessorPil, ResNetConfig

    backbone = ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 8, 8, 16],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage4"],
    )
    config = DetrConfig(
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone=None,
        backbone_config=backbone,
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        num_queries=8,
        id2label=dict(enumerate(classes)),
        label2id={name: number for number, name in enumerate(classes)},
    )
    _save_detector(config, folder)
    DetrImageProcessorPil(size={"shortest_edge": side, "longest_edge": side}).save_pretrained(folder)
    return folder


def _save_detector(config: Any, folder: Path) -> None:  # noqa: ANN401
    """Save random weights (always the same) of an object detector as safetensors."""
    import torch
    from transformers import AutoModelForObjectDetection

    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModelForObjectDetection.from_config(config).save_pretrained(folder)
