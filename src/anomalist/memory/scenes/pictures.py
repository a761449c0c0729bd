"""Pictures and sentences in one space, by a CLIP- or SigLIP-like model that the user names."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from anomalist.errors import ModelError
from anomalist.memory.embedding import Encoder
from anomalist.types import FloatArray, UInt8Array

if TYPE_CHECKING:
    import torch

_BATCH = 16
_REMEDY = "Name a folder, or a model that was fetched, such as openai/clip-vit-base-patch32."


@runtime_checkable
class PictureEncoder(Encoder, Protocol):
    """An encoder whose space holds pictures too."""

    def encode_pictures(self, pictures: Sequence[UInt8Array]) -> FloatArray:
        """Unit vectors, float32 (n, dimensions), of RGB pictures uint8 (H, W, 3)."""
        ...


class ContrastiveEncoder:
    """A model of transformers that embeds texts and pictures alike. Made by `open_picture_encoder`."""

    def __init__(self, name: str, model: Any, processor: Any) -> None:  # noqa: ANN401 - transformers' types vary
        self.name = name
        self._model = model
        self._processor = processor
        self.dimensions = len(self.encode(["a"])[0])

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Unit vectors, float32 (n, dimensions), one a text; a text that is too long is cut."""
        if isinstance(texts, str):
            raise TypeError("texts must be a sequence of strings, got one string")
        limit = self._model.config.text_config.max_position_embeddings
        parts = []
        for start in range(0, len(texts), _BATCH):
            batch = [text.encode("utf-8", "replace").decode() for text in texts[start : start + _BATCH]]
            inputs = self._processor.tokenizer(
                batch, return_tensors="pt", padding="max_length", truncation=True, max_length=limit
            )
            parts.append(self._unit(self._model.get_text_features, dict(inputs)))
        return self._joined(parts)

    def encode_pictures(self, pictures: Sequence[UInt8Array]) -> FloatArray:
        """Unit vectors, float32 (n, dimensions), of RGB pictures uint8 (H, W, 3)."""
        parts = []
        for start in range(0, len(pictures), _BATCH):
            batch = list(pictures[start : start + _BATCH])
            inputs = self._processor.image_processor(
                batch, return_tensors="pt", input_data_format="channels_last"
            )
            parts.append(self._unit(self._model.get_image_features, dict(inputs)))
        return self._joined(parts)

    def _unit(self, features: Any, inputs: dict[str, torch.Tensor]) -> FloatArray:  # noqa: ANN401
        import torch

        with torch.inference_mode():
            found = features(**inputs)
            found = getattr(found, "pooler_output", found)
            unit: FloatArray = torch.nn.functional.normalize(found.float(), dim=1).numpy()
        return unit

    def _joined(self, parts: Sequence[FloatArray]) -> FloatArray:
        return np.concatenate(parts) if parts else np.empty((0, self.dimensions), np.float32)


def open_picture_encoder(name: str) -> ContrastiveEncoder:
    """Load a CLIP- or SigLIP-like model from a folder, or one that was fetched from the Hugging Face Hub.

    Nothing is downloaded, no code of the model is run, only safetensors are read. The name of its space ends
    in a digest of the weights' file, so that vectors of two versions are never compared.

    Raises
    ------
    ModelError : it isn't there, can't be read, or doesn't embed both texts and pictures.
    """
    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer
    from transformers.utils import cached_file

    folder = Path(name)
    try:
        if not folder.is_dir():
            found = cached_file(name, "config.json", local_files_only=True)
            folder = Path(found).parent
        model = AutoModel.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, use_safetensors=True
        ).eval()
        processor = _Processor(
            AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False),
            AutoImageProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False),
        )
    except (OSError, ValueError, TypeError, ImportError, KeyError) as error:
        raise ModelError(f'The picture encoder "{name}" can\'t be loaded.', _REMEDY) from error
    if not hasattr(model, "get_text_features") or not hasattr(model, "get_image_features"):
        raise ModelError(f'"{name}" does not embed both texts and pictures.', _REMEDY)
    return ContrastiveEncoder(f"{folder.name}-{_digest(folder)}", model, processor)


class _Processor:
    def __init__(self, tokenizer: Any, image_processor: Any) -> None:  # noqa: ANN401
        self.tokenizer = tokenizer
        self.image_processor = image_processor


def _digest(folder: Path) -> str:
    """Twelve hex digits of the weights."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]
