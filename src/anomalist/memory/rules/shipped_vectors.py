"""Vectors of the rules and usual clauses that ship, so that a start needn't embed hundreds of sentences.

They are those that the encoder makes, to the last bit that counts (float32). They carry the hash of the
sentences and the name of the encoder; vectors of others are not used, and everything is embedded instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from anomalist.errors import DataError
from anomalist.memory.embedding import NAME, Encoder, load_encoder
from anomalist.memory.minilm import WIDTH
from anomalist.memory.rules.shipped import shipped_anomalies, usual_clauses
from anomalist.memory.rules.statements import plainly
from anomalist.memory.vector_file import digest_of, read_vectors, write_vectors
from anomalist.types import FloatArray

VECTORS = Path(__file__).parents[1] / "data" / "rules.safetensors"


def encoded(texts: Sequence[str], encoder: Encoder) -> FloatArray:
    """Unit vectors of plain texts, float32 (n, d): those that ship are read, the others are embedded."""
    known = _shipped(VECTORS) if encoder.name == NAME else {}
    new = [text for text in dict.fromkeys(texts) if text not in known]
    vectors = {**known, **dict(zip(new, encoder.encode(new), strict=True))}
    if not texts:
        return np.empty((0, encoder.dimensions), np.float32)
    return np.stack([vectors[text] for text in texts])


def write(path: Path = VECTORS) -> int:
    """Embed what ships and write the vectors; returns how many."""
    texts = _texts()
    write_vectors(path, load_encoder().encode(texts), _about(texts))
    return len(texts)


@cache
def _shipped(path: Path) -> Mapping[str, FloatArray]:
    """What ships by its plain text; nothing where the file is not of it, which only costs time."""
    texts = _texts()
    try:
        vectors = read_vectors(path, _about(texts), (len(texts), WIDTH), "the rules that ship")
    except DataError:
        return {}
    return dict(zip(texts, vectors, strict=True))


def _texts() -> tuple[str, ...]:
    """What is embedded of the rules and clauses: their plain forms, each once."""
    said = [rule.text for rule in shipped_anomalies()] + list(usual_clauses())
    return tuple(dict.fromkeys(map(plainly, said)))


def _about(texts: Sequence[str]) -> dict[str, str]:
    return {"encoder": NAME, "sentences": digest_of(texts)}
