"""Intent classification: a linear classifier on sentence embeddings, nearest phrasings and patterns.

The phrasings and patterns are in ``intents.toml``; ``intents.safetensors`` holds their vectors and the
classifier, fitted by ``scripts/build_intents.py``. A question that is similar to no phrasing is out of scope
(intent "beyond").
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from anomalist.agent.asking.question import Question
from anomalist.errors import ModelError
from anomalist.memory.embedding import load_encoder
from anomalist.types.common import FloatArray, Frozen

SubjectKind = Literal["picture", "clip", "batch"]
INTENTS_FILE = Path(__file__).with_name("intents.toml")
"""Phrasings and patterns of each intent."""

CLASSIFIER_FILE = INTENTS_FILE.with_name("intents.safetensors")
"""Vectors of the phrasings and the linear classifier; written by ``scripts/build_intents.py``."""

OUT_OF_SCOPE = "beyond"
"""Intent of questions that are out of scope."""

NEAREST_PHRASINGS = 3
"""Phrasings of an intent whose mean similarity counts."""

SIMILARITY_WEIGHT, PATTERN_WEIGHT = 6.0, 2.0
"""Weights of the similarity and of a matching pattern, relative to the classifier's log-probability."""

MIN_SIMILARITY = 0.35
"""Mean similarity below which a question is out of scope, unless a pattern matches."""


class Intent(Frozen):
    """One intent of ``intents.toml``."""

    on: tuple[SubjectKind, ...]
    examples: tuple[str, ...]
    patterns: tuple[str, ...] = ()


@dataclass(frozen=True)
class IntentPrediction:
    """The predicted intent of a question.

    Parameters
    ----------
    intent : its name, "beyond" for out of scope.
    score : its score; only comparable within one question.
    runner_up : the second-best intent.
    margin : score minus that of the runner-up.
    """

    intent: str
    score: float
    runner_up: str
    margin: float


@cache
def intents() -> dict[str, Intent]:
    """All intents by name, as the file lists them."""
    content = tomllib.loads(INTENTS_FILE.read_text(encoding="utf-8"))
    nouns = content.pop("nouns")
    found = {name: Intent.model_validate(entry) for name, entry in content.items()}
    return {
        name: intent.replace(examples=_expand_nouns(intent.examples, nouns)) for name, intent in found.items()
    }


def classify_intent(question: Question, about: SubjectKind) -> IntentPrediction:
    """Predict the intent of a question about a picture, a clip, or a batch.

    The score of an intent is the log-probability of a linear classifier plus the weighted similarity to the
    nearest phrasings plus a bonus for a matching pattern. A question similar to no phrasing is out of scope.
    """
    known, model = intents(), _load_classifier()
    (vector,) = load_encoder().encode([question.plain])
    logits = model.weights @ vector + model.offsets
    logits -= np.log(np.exp(logits - logits.max()).sum()) + logits.max()
    alike = model.vectors @ vector
    scores: dict[str, float] = {}
    near: dict[str, float] = {}
    for number, (name, intent) in enumerate(known.items()):
        if about not in intent.on and not (about == "batch" and "picture" in intent.on):
            continue
        fits = any(re.search(pattern, question.plain, re.IGNORECASE) for pattern in intent.patterns)
        near[name] = float(np.sort(alike[model.owners == number])[-NEAREST_PHRASINGS:].mean())
        scores[name] = (
            float(logits[model.order[number]]) + SIMILARITY_WEIGHT * near[name] + PATTERN_WEIGHT * fits
        )
        near[name] += fits
    best, second = sorted(scores, key=lambda name: -scores[name])[:2]
    if max(near.values()) < MIN_SIMILARITY:
        return IntentPrediction(OUT_OF_SCOPE, scores[best], best, 0.0)
    return IntentPrediction(best, scores[best], second, scores[best] - scores[second])


def _expand_nouns(texts: Sequence[str], nouns: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Phrasings with their placeholders filled in; the i-th nouns of several kinds come together."""
    filled = []
    for text in texts:
        kinds = [kind for kind in nouns if f"{{{kind}}}" in text]
        for i in range(max((len(nouns[kind]) for kind in kinds), default=1)):
            named = text
            for kind in kinds:
                named = named.replace(f"{{{kind}}}", nouns[kind][i % len(nouns[kind])])
            filled.append(named)
    return tuple(dict.fromkeys(filled))


def examples(known: Mapping[str, Intent]) -> tuple[list[str], list[str], str]:
    """All phrasings in the order of the file, the intent of each, and the hash of both."""
    pairs = [(text, name) for name, intent in known.items() for text in intent.examples]
    texts, owners = [text for text, _ in pairs], [name for _, name in pairs]
    return texts, owners, hashlib.sha256(json.dumps(pairs).encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class _IntentClassifier:
    """Phrasings as unit vectors float32 (n, 384), the number of the intent of each, and the classifier."""

    vectors: FloatArray
    owners: npt.NDArray[np.int64]
    weights: FloatArray
    offsets: FloatArray
    order: tuple[int, ...]


@cache
def _load_classifier() -> _IntentClassifier:
    """Load the shipped classifier. Raises ModelError when it was fitted to other phrasings."""
    from safetensors import safe_open

    _, owners, digest = examples(intents())
    with safe_open(str(CLASSIFIER_FILE), "numpy") as file:
        if file.metadata().get("texts") != digest:
            raise ModelError(
                f"{CLASSIFIER_FILE.name} is not of these phrasings.", "Run scripts/build_intents.py"
            )
        arrays = {name: np.asarray(file.get_tensor(name), np.float32) for name in file.keys()}  # noqa: SIM118
    names = list(intents())
    return _IntentClassifier(
        vectors=arrays["vectors"],
        owners=np.array([names.index(owner) for owner in owners]),
        weights=arrays["weights"],
        offsets=arrays["offsets"],
        order=tuple(sorted(names).index(name) for name in names),  # classes are sorted by name
    )
