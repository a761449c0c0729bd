"""Vectors that ship beside the texts that they are of, in a file that says which texts and which encoder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from anomalist.errors import DataError
from anomalist.types import FloatArray
from anomalist.writing import write_whole

_REINSTALL = "Install it again: pip install --force-reinstall anomalist"


def digest_of(texts: Iterable[str]) -> str:
    """Hex SHA-256 of texts, a line each."""
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def write_vectors(path: Path, vectors: FloatArray, about: Mapping[str, str]) -> None:
    """Write vectors, (n, d) of any float type; the file appears whole or not at all."""
    from safetensors.numpy import save

    write_whole(path, save({"vectors": vectors}, metadata=dict(about)))


def read_vectors(path: Path, about: Mapping[str, str], shape: tuple[int, int], what: str) -> FloatArray:
    """Unit vectors, float32 (n, d).

    Parameters
    ----------
    about : what the file must say of itself: the hash of the texts, the name of the encoder.
    shape : that the vectors must have.
    what : they are of, in words: "the scenes that ship".

    Raises
    ------
    DataError : the file is missing or damaged, or is of other texts or of another encoder.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            said = file.metadata() or {}
            vectors = np.asarray(file.get_tensor("vectors"), np.float32)
    except (OSError, SafetensorError) as error:
        raise DataError(f"The vectors of {what} can't be read.", _REINSTALL) from error
    if said != about or vectors.shape != shape:
        raise DataError(f"The vectors of {what} are not those of the sentences.", _REINSTALL)
    unit: FloatArray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit
