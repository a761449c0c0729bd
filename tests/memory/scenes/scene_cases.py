"""Scenes and an encoder for tests: a vector for each first word, so that what is alike is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from anomalist.memory.scenes.scene import RememberedScene, ScenePolarity
from anomalist.types.common import FloatArray


class LetterPairEncoder:
    """Texts as counts of letter pairs, length 1: like texts are alike, nothing needs to be loaded."""

    def __init__(self, name: str = "letter pairs", dimensions: int = 64) -> None:
        self.name = name
        self.dimensions = dimensions

    def encode(self, texts: Sequence[str]) -> FloatArray:
        vectors = np.full((len(texts), self.dimensions), 1e-3, np.float32)
        for row, text in enumerate(texts):
            for first, second in zip(text.lower(), text.lower()[1:], strict=False):
                vectors[row, (ord(first) * 31 + ord(second)) % self.dimensions] += 1
        unit: FloatArray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit


def scene(
    text: str, side: ScenePolarity = "anomalous", category: str = "theft", number: int = 1
) -> RememberedScene:
    return RememberedScene(id=f"scene:{number}", side=side, category=category, text=text)


def unit(draw: np.random.Generator, count: int, dimensions: int) -> FloatArray:
    vectors = draw.standard_normal((count, dimensions)).astype(np.float32)
    result: FloatArray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return result
