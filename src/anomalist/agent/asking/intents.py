"""What a question is after: by what it means, and by patterns where meaning alone is not enough."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np

from anomalist.agent.asking.question import Question
from anomalist.memory.embedding import load_encoder
from anomalist.types import FloatArray, Frozen

About = Literal["picture", "clip", "batch"]
FILE = Path(__file__).with_name("intents.toml")

VECTORS = FILE.with_name("intents.safetensors")
"""The phrasings as vectors, made by ``scripts/build_intents.py``."""

BEYOND = "beyond"
"""What no tool can tell."""

NEAREST = 2
"""Examples of an intent whose mean similarity counts."""

PATTERN = 0.3
"""What a pattern that fits adds to the cosine similarity."""

LEAST = 0.4
"""Below this nothing is understood."""


class Intent(Frozen):
    """One intent as the data file has it."""

    on: tuple[About, ...]
    examples: tuple[str, ...]
    patterns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reading:
    """What a question was taken for.

    Parameters
    ----------
    intent : its name, "beyond" for what can't be told.
    score : cosine similarity to the nearest phrasings, with what a pattern adds.
    runner_up : the next best intent.
    margin : by how much it is behind.
    """

    intent: str
    score: float
    runner_up: str
    margin: float


@cache
def intents() -> dict[str, Intent]:
    """All intents by name, as the file lists them."""
    content = tomllib.loads(FILE.read_text(encoding="utf-8"))
    return {name: Intent.model_validate(entry) for name, entry in content.items()}


def read_intent(question: Question, about: About) -> Reading:
    """Find the intent of a question about a picture, a clip, or a batch or a picture of it."""
    known = intents()
    (vector,) = load_encoder().encode([question.plain])
    alike = _vectors() @ vector
    scores: dict[str, float] = {}
    start = 0
    for name, intent in known.items():
        stop = start + len(intent.examples)
        if about in intent.on or (about == "batch" and "picture" in intent.on):
            fits = any(re.search(pattern, question.plain, re.IGNORECASE) for pattern in intent.patterns)
            scores[name] = float(np.sort(alike[start:stop])[-NEAREST:].mean()) + PATTERN * fits
        start = stop
    best, second = sorted(scores, key=lambda name: -scores[name])[:2]
    if scores[best] < LEAST:
        return Reading(BEYOND, scores[best], best, 0.0)
    return Reading(best, scores[best], second, scores[best] - scores[second])


def examples(known: dict[str, Intent]) -> tuple[list[str], str]:
    """All phrasings in the order of the file, and their hash."""
    texts = [text for intent in known.values() for text in intent.examples]
    return texts, hashlib.sha256(json.dumps(texts).encode()).hexdigest()


@cache
def _vectors() -> FloatArray:
    """Unit vectors of all phrasings, float32 (n, 384): those that ship where they are of these texts."""
    from safetensors import safe_open

    texts, digest = examples(intents())
    if VECTORS.exists():
        with safe_open(str(VECTORS), "numpy") as file:
            if file.metadata().get("texts") == digest:
                return np.asarray(file.get_tensor("vectors"), np.float32)
    return load_encoder().encode(texts)
