"""What labels could teach: a supervised bag of words, leave one clip out. A ceiling for scale, no method."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from anomalist.eval.caption_clips import CaptionedClip
from anomalist.memory.rules.keywords import words_of
from anomalist.types import FloatArray

LEAST_CAPTIONS = 5  # different ones with a word that is learned from
RIDGE = 3.0

Floats = npt.NDArray[np.float64]


def bag_of_words(clips: Sequence[CaptionedClip]) -> list[FloatArray]:
    """Scores of each clip, float32 (n,), by ridge regression of the other clips' labels on their words.

    Words weigh (1 + log of their count) × log(captions / captions with the word), and captions have length 1.
    """
    counts = {caption: Counter(words_of(caption)) for clip in clips for caption in clip.captions}
    having = Counter(word for words in counts.values() for word in words)
    vocabulary = {word: n for n, word in enumerate(w for w, c in having.items() if c >= LEAST_CAPTIONS)}
    rarity = np.log(len(counts) / np.array([having[word] for word in vocabulary] or [1]))
    parts = []
    for clip in clips:
        features = _features([counts[caption] for caption in clip.captions], vocabulary, rarity)
        parts.append((features, features.T @ features, features.T @ clip.labels.astype(np.float64)))
    width = len(vocabulary) + 1
    gram = sum((part[1] for part in parts), np.zeros((width, width)))
    target = sum((part[2] for part in parts), np.zeros(width))
    penalty = RIDGE * np.eye(width)
    return [
        (features @ np.linalg.solve(gram - own + penalty, target - aimed)).astype(np.float32)
        for features, own, aimed in parts
    ]


def _features(texts: Sequence[Counter[str]], vocabulary: dict[str, int], rarity: Floats) -> Floats:
    """Weights of the words of each text, and a 1 for the constant, (n, words + 1)."""
    features = np.zeros((len(texts), len(vocabulary) + 1))
    for row, words in enumerate(texts):
        for word, count in words.items():
            if word in vocabulary:
                features[row, vocabulary[word]] = (1 + np.log(count)) * rarity[vocabulary[word]]
    features /= np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    features[:, -1] = 1
    return features
