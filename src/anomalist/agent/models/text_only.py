"""Language models that read text only: their processor, and GGUF files, read once into safetensors.

A GGUF file of llama.cpp is unpacked by transformers and the package gguf to a folder under the home folder,
named by the hash of the file, and from then on loaded as any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anomalist.errors import ModelError
from anomalist.settings import Settings
from anomalist.storage.files import file_sha256, staged_folder

GGUF_SUFFIX = ".gguf"
_PROJECTOR_PREFIX = "mmproj"  # the vision part of llama.cpp's models, in a file of its own
_FINISHED = "config.json"


class TextProcessor:
    """A tokenizer in the place of a processor: conversations of text alone.

    Content blocks are joined to plain strings, the only form that the chat templates of language models know.

    Parameters
    ----------
    tokenizer : of transformers, with a chat template.
    """

    def __init__(self, tokenizer: Any) -> None:  # noqa: ANN401
        self.tokenizer = tokenizer
        self.chat_template = tokenizer.chat_template

    def apply_chat_template(
        self,
        conversation: Sequence[dict[str, Any]],
        *,
        processor_kwargs: object = None,
        **options: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """The tokenised conversation; options are those of the tokenizer."""
        turns = [
            {"role": turn["role"], "content": "\n\n".join(block["text"] for block in turn["content"])}
            for turn in conversation
        ]
        return self.tokenizer.apply_chat_template(turns, **options)


def takes_pictures(model: object) -> bool:
    """Whether a chat model may be shown pictures; of a server it isn't known beforehand."""
    return bool(getattr(model, "takes_pictures", True))


def is_text_only(model_type: str) -> bool:
    """Whether transformers knows a type of model as a language model, and not as one that sees."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    )

    return (
        model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
        and model_type not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    )


def find_gguf(place: Path) -> Path | None:
    """The GGUF file that a path names, as a file or as the only one in a folder without ``config.json``.

    Raises ModelError where a folder holds several.
    """
    if place.is_file():
        return place if place.suffix == GGUF_SUFFIX else None
    if not place.is_dir() or (place / "config.json").is_file():
        return None
    files = [path for path in sorted(place.glob(f"*{GGUF_SUFFIX}")) if _PROJECTOR_PREFIX not in path.name]
    if len(files) > 1:
        names = ", ".join(path.name for path in files[:3])
        raise ModelError(f"{place} holds several GGUF files ({names}).", "Name one of them: hf:FILE.gguf")
    return files[0] if files else None


def unpacked_gguf(file: Path) -> Path:
    """Folder of safetensors (bfloat16), config and tokenizer of a GGUF file; made where it isn't there yet.

    Whole or not at all; two processes may do so at once.

    Raises
    ------
    ModelError : the package gguf is missing, the file is damaged or of a kind that transformers can't read,
        it has no chat template, or there is no room.
    """
    from filelock import FileLock

    folder = Settings().models / f"{file.stem}-{file_sha256(file)[:12]}"
    if (folder / _FINISHED).is_file():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f".{folder.name}.lock")):
            if not (folder / _FINISHED).is_file():  # else another process was first
                network, tokenizer = _read_gguf(file)
                with staged_folder(folder) as staged:
                    tokenizer.save_pretrained(staged)
                    network.save_pretrained(staged)
    except OSError as error:
        raise ModelError(
            f"{file.name} can't be unpacked to {folder}: {error.strerror or error}.",
            "Make room there, or name another place in ANOMALIST_HOME.",
        ) from error
    return folder


def _read_gguf(file: Path) -> tuple[Any, Any]:
    """The network, dequantised, and the tokenizer of a GGUF file."""
    try:
        import gguf  # noqa: F401
    except ImportError as error:
        raise ModelError(
            f"{file.name} is a GGUF file; reading it takes the package gguf.",
            "pip install gguf, or let llama.cpp or Ollama serve the file: openai:URL#MODEL",
        ) from error
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    where = {"gguf_file": file.name, "local_files_only": True}
    try:
        tokenizer = AutoTokenizer.from_pretrained(file.parent, **where)
        network = AutoModelForCausalLM.from_pretrained(
            file.parent, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True), **where
        )
    except Exception as error:  # readers raise anything
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"{file.name} can't be read: {reason}",
            "It may be damaged, or of a kind that only llama.cpp reads, which can serve it: openai:URL#MODEL",
        ) from error
    if not tokenizer.chat_template:
        raise ModelError(f"{file.name} has no chat template: it is no model for conversations.")
    # The weights were dequantised; what is saved says so.
    network.config.__dict__.pop("quantization_config", None)
    network.hf_quantizer, network.is_quantized, network.quantization_method = None, False, None
    return network, tokenizer
