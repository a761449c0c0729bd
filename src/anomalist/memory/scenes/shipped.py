"""The scenes that ship: pairs that people can read in ``data/scenes.jsonl``, and their vectors beside them.

The vectors are those of the sentences in their frames, so that nothing is embedded at the start. They carry
the hash of the sentences and the name of the encoder: vectors of other sentences are refused.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from anomalist.errors import DataError
from anomalist.memory import vector_file
from anomalist.memory.embedding import NAME, Encoder, load_encoder
from anomalist.memory.scenes.framing import framed, frames_for
from anomalist.memory.scenes.scene import Pair, Scene
from anomalist.settings import Settings
from anomalist.types import FloatArray

SCENES = Path(__file__).parents[1] / "data" / "scenes.jsonl"
VECTORS = SCENES.with_suffix(".safetensors")

_REINSTALL = "Install it again: pip install --force-reinstall anomalist"


@cache
def shipped_pairs() -> tuple[Pair, ...]:
    """The pairs in the order of the file."""
    try:
        return tuple(Pair.model_validate_json(line) for line in _lines())
    except (OSError, ValidationError) as error:
        raise DataError("The scenes that ship can't be read.", _REINSTALL) from error


@cache
def shipped_scenes() -> tuple[Scene, ...]:
    """Both scenes of pair 1, ``scene:1n`` and ``scene:1a``, of pair 2, and so on."""
    return tuple(
        Scene(id=f"scene:{number}{side[0]}", side=side, category=said.category, text=said.description)
        for number, pair in enumerate(shipped_pairs(), start=1)
        for side, said in (("normal", pair.normal), ("anomalous", pair.anomalous))
    )


def shipped_vectors(encoder: Encoder | None = None) -> FloatArray:
    """Vectors of `shipped_scenes`, unit float32 (n, d), for the sentence encoder or for another.

    Those of another encoder are made once and kept in the home of the settings.

    Raises
    ------
    DataError : those that ship are missing, damaged, or not those of the sentences.
    """
    if encoder is None or encoder.name == NAME:
        return _shipped()
    path = Settings().home / "memory" / f"{re.sub(r'[^A-Za-z0-9._-]', '_', encoder.name)}.safetensors"
    try:
        return _read(path, encoder)
    except DataError:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_vectors(path, encoder)
        return _read(path, encoder)


@cache
def _shipped() -> FloatArray:
    return _read(VECTORS, load_encoder())


def _read(path: Path, encoder: Encoder) -> FloatArray:
    shape = (len(shipped_scenes()), encoder.dimensions)
    return vector_file.read_vectors(path, _about(encoder), shape, "the scenes that ship")


def write_vectors(path: Path = VECTORS, encoder: Encoder | None = None) -> None:
    """Embed the scenes that ship and write their vectors, float16; the file appears whole or not at all."""
    encoder = encoder or load_encoder()
    frames = frames_for(encoder)
    texts = [framed(scene.text, scene.side, scene.category, frames) for scene in shipped_scenes()]
    vector_file.write_vectors(path, encoder.encode(texts).astype(np.float16), _about(encoder))


def _about(encoder: Encoder) -> dict[str, str]:
    digest = vector_file.digest_of(_lines())
    return {"encoder": encoder.name, "frames": frames_for(encoder), "sentences": digest}


def _lines() -> list[str]:
    return SCENES.read_text(encoding="utf-8").splitlines()
