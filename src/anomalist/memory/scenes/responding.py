"""How much remembered scenes speak for an anomaly. Similarities in, numbers out.

A single number a side: with the k nearest memories of a side, support = T·log(mean(exp(similarity / T))),
which is their highest similarity for a small temperature T and their mean for a large one. What counts is
the support of the anomalous side less that of the normal side, a difference of cosine similarities. It is
Flashback's softmax over both sides' nearest on another scale: σ(difference / T) is the anomalous share of
the softmax.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from anomalist.types import FloatArray, Frozen

Scoring = Literal["contrast", "nova"]

NOVA_WEIGHT = 0.90
NOVA_HALF = 10
"""Nearest memories of a category that count: half of the twenty that NOVA writes for each."""


class Weighing(Frozen):
    """How memories are weighed. The defaults were chosen on captions of clips with odd numbers."""

    k: int = Field(30, ge=1, description="nearest memories of each side that count")
    temperature: float = Field(0.4, gt=0, description="in cosine similarity; small: the nearest alone counts")
    alpha: float = Field(
        0.95,
        gt=0,
        le=1,
        description="multiplies anomalous vectors after they were made unit: doubt counts less",
    )
    scoring: Scoring = Field("contrast", description="nova: the best category, by means of its nearest ten")


def support(similarities: FloatArray, temperature: float) -> FloatArray:
    """Support of one side, float32 (n,), from its nearest similarities (n, k); −inf where there are none.

    Entries of −inf stand for memories that are not there.
    """
    if not similarities.shape[1]:
        return np.full(len(similarities), -np.inf, np.float32)
    there = np.isfinite(similarities)
    highest = np.where(there.any(1), similarities.max(1), 0).astype(np.float64)
    grown = np.where(there, np.exp((similarities - highest[:, None]) / temperature), 0)
    with np.errstate(divide="ignore"):
        total = np.log(grown.sum(1) / np.maximum(there.sum(1), 1))
    result: FloatArray = (highest + temperature * total).astype(np.float32)
    return result


def contrast(anomalous: FloatArray, normal: FloatArray) -> FloatArray:
    """Anomalous support less normal support, float32 (n,), −2 to 2; a side without memories counts −1."""
    sides = (np.maximum(side, -1) for side in (anomalous, normal))
    result: FloatArray = np.subtract(*sides)
    return result


def nova(by_category: FloatArray, normal: FloatArray) -> FloatArray:
    """NOVA's difference, float32 (n,): 0.90 u⁺ − u⁻ of the best category.

    Parameters
    ----------
    by_category : float32 (n, categories, 10), of the nearest in each; −inf where there are fewer.
    normal : float32 (n, 10), of the nearest normal ones.
    """
    if not by_category.shape[1]:
        return np.full(len(by_category), -1, np.float32)
    ahead = _mean(by_category).max(1)
    result: FloatArray = (NOVA_WEIGHT * ahead - _mean(normal)).astype(np.float32)
    return result


def probability(differences: FloatArray, temperature: float) -> FloatArray:
    """The anomalous share of the softmax, float32 (n,) in 0 to 1."""
    from scipy.special import expit

    result: FloatArray = expit(differences / temperature).astype(np.float32)
    return result


def _mean(similarities: FloatArray) -> FloatArray:
    """Over the last axis of what is there; −1 where nothing is."""
    there = np.isfinite(similarities)
    total = np.where(there, similarities, 0).sum(-1)
    mean: FloatArray = np.where(there.any(-1), total / np.maximum(there.sum(-1), 1), -1).astype(np.float32)
    return mean
