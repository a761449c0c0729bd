"""Scene index: one vector index per polarity and negation, support scores of both polarities.

One number a polarity: with its k nearest scenes, support = T·log(mean(exp(similarity / T))), which is
their highest similarity for a small temperature T and their mean for a large one. The score is anomalous
support less normal support, a difference of cosine similarities. It is Flashback's softmax over the
nearest of both on another scale: σ(difference / T) is the anomalous share of the softmax. NOVA's scoring
by category is the alternative.

An index is cached in a file beside the rows that it was built from. The rows are what counts: a file that
is missing, cut short, of other rows or of another encoder is built again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from anomalist.memory.clauses import negated
from anomalist.memory.scenes.scene import POLARITIES, RememberedScene, ScenePolarity
from anomalist.memory.vector_index import IntArray, VectorIndex
from anomalist.storage.files import write_atomically
from anomalist.types.common import BoolArray, FloatArray, Frozen

SceneScoring = Literal["contrast", "nova"]

NOVA_WEIGHT = 0.90
NOVA_TOP_K = 10
"""Nearest memories of a category that count: half of the twenty that NOVA writes for each."""


class SceneScoringConfig(Frozen):
    """How the nearest scenes are scored. The defaults were chosen on captions of clips with odd numbers."""

    k: int = Field(30, ge=1, description="nearest memories of each side that count")
    temperature: float = Field(0.4, gt=0, description="in cosine similarity; small: the nearest alone counts")
    alpha: float = Field(
        0.95,
        gt=0,
        le=1,
        description="multiplies anomalous vectors after they were made unit: doubt counts less",
    )
    scoring: SceneScoring = Field(
        "contrast", description="nova: the best category, by means of its nearest ten"
    )


def side_support(similarities: FloatArray, temperature: float) -> FloatArray:
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


def support_contrast(anomalous: FloatArray, normal: FloatArray) -> FloatArray:
    """Anomalous support less normal support, float32 (n,), −2 to 2; a side without memories counts −1."""
    sides = (np.maximum(side, -1) for side in (anomalous, normal))
    result: FloatArray = np.subtract(*sides)
    return result


def nova_score(by_category: FloatArray, normal: FloatArray) -> FloatArray:
    """NOVA's difference, float32 (n,): 0.90 u⁺ − u⁻ of the best category.

    Parameters
    ----------
    by_category : float32 (n, categories, 10), of the nearest in each; −inf where there are fewer.
    normal : float32 (n, 10), of the nearest normal ones.
    """
    if not by_category.shape[1]:
        return np.full(len(by_category), -1, np.float32)
    ahead = _mean_similarity(by_category).max(1)
    result: FloatArray = (NOVA_WEIGHT * ahead - _mean_similarity(normal)).astype(np.float32)
    return result


def anomaly_probability(differences: FloatArray, temperature: float) -> FloatArray:
    """The anomalous share of the softmax, float32 (n,) in 0 to 1."""
    from scipy.special import expit

    result: FloatArray = expit(differences / temperature).astype(np.float32)
    return result


def _mean_similarity(similarities: FloatArray) -> FloatArray:
    """Over the last axis of what is there; −1 where nothing is."""
    there = np.isfinite(similarities)
    total = np.where(there, similarities, 0).sum(-1)
    mean: FloatArray = np.where(there.any(-1), total / np.maximum(there.sum(-1), 1), -1).astype(np.float32)
    return mean


_FILE_MAGIC = b"anomalist index 1\n"


def save_index(index: VectorIndex, path: Path, space: str) -> None:
    """Write an index in place of an earlier one: a new file, on the disk before it takes the name."""
    import faiss

    body = index.numbers.astype("<i8").tobytes() + faiss.serialize_index(index.index).tobytes()
    about = {
        "space": space,
        "kind": index.kind,
        "count": len(index),
        "sha256": hashlib.sha256(body).hexdigest(),
    }
    write_atomically(path, _FILE_MAGIC + json.dumps(about).encode() + b"\n" + body)


def load_index(path: Path, space: str) -> VectorIndex | None:
    """The index in a file; None where there is none that is whole and of this space."""
    import faiss

    try:
        data = path.read_bytes()
    except OSError:
        return None
    mark, _, rest = data.partition(b"\n")
    head, _, body = rest.partition(b"\n")
    with contextlib.suppress(ValueError, KeyError, TypeError, RuntimeError):
        about = json.loads(head)
        sound = mark + b"\n" == _FILE_MAGIC and about["space"] == space
        if sound and about["sha256"] == hashlib.sha256(body).hexdigest():
            end = 8 * about["count"]
            numbers = np.frombuffer(body[:end], "<i8").astype(np.int64)
            index = faiss.deserialize_index(np.frombuffer(body[end:], np.uint8))
            return VectorIndex(index, numbers, about["kind"])
    return None


MIN_SIMILARITY = 0.45
"""A negated query that is less similar to a scene is about something else."""


@dataclass(frozen=True, eq=False)
class SceneMatches:
    """Nearest scenes and support scores of some queries.

    Parameters
    ----------
    differences : float32 (n,), how much each query is more like anomalous scenes than like normal ones.
    anomalous_support, normal_support : float32 (n,), support of either polarity.
    scenes : what the numbers mean.
    similarities, numbers : by side, float32 and int64 (n, k), the nearest scenes, −inf and −1 for none.
    """

    differences: FloatArray
    anomalous_support: FloatArray
    normal_support: FloatArray
    scenes: tuple[RememberedScene, ...]
    similarities: dict[ScenePolarity, FloatArray]
    numbers: dict[ScenePolarity, IntArray]
    own: SceneMatches | None = None

    def with_own_scenes(self, own: SceneMatches) -> SceneMatches:
        """The same with the camera's own scenes, which count even where they are few.

        What is most alike among its normal scenes counts as normal at least as much as the others. One of its
        anomalous scenes counts where it is nearer than anything normal.
        """
        normal, own_normal = (
            _top_similarity(self.similarities["normal"]),
            _top_similarity(own.similarities["normal"]),
        )
        own_anomalous = _top_similarity(own.similarities["anomalous"])
        normal_support = np.maximum(self.normal_support, own_normal)
        difference = self.differences + self.normal_support - normal_support
        named = np.where(
            own_anomalous >= MIN_SIMILARITY, own_anomalous - np.maximum(normal, own_normal), difference
        )
        return replace(
            self, differences=np.maximum(difference, named), normal_support=normal_support, own=own
        )

    def nearest(self, row: int, side: ScenePolarity, count: int) -> list[tuple[RememberedScene, float]]:
        """The scenes of one side that are most like a query, own ones among them, the most similar first."""
        found = [*self._found(row, side), *(self.own._found(row, side) if self.own else ())]
        return sorted(found, key=lambda pair: -pair[1])[:count]

    def _found(self, row: int, side: ScenePolarity) -> Iterator[tuple[RememberedScene, float]]:
        pairs = zip(self.numbers[side][row], self.similarities[side][row], strict=True)
        return ((self.scenes[number], float(alike)) for number, alike in pairs if number >= 0)


class SceneIndex:
    """Scenes by polarity and negation, each with its own index.

    Negated queries use the nearest scene of each polarity alone: few scenes are negated, most of those are
    about something else.

    Anomalous vectors are multiplied by alpha after they were made unit, and the indexes take them as they
    are, so that the penalty stays.

    Parameters
    ----------
    scenes : what is remembered.
    vectors : float32 (n, d), unit.
    scoring_config : how the nearest scenes are scored.
    """

    def __init__(
        self, scenes: Sequence[RememberedScene], vectors: FloatArray, scoring_config: SceneScoringConfig
    ) -> None:
        if len(scenes) != len(vectors):
            raise ValueError(f"got {len(scenes)} scenes and {len(vectors)} vectors")
        self.scenes = tuple(scenes)
        self._scoring_config = scoring_config
        has_negation = np.array([negated(scene.text) for scene in scenes], np.bool_)
        self._categories = [scene.category for scene in scenes]
        anomalous = np.array([scene.side == "anomalous" for scene in scenes], np.bool_)
        self._indexes: dict[tuple[ScenePolarity, bool], VectorIndex] = {}
        sides: tuple[tuple[ScenePolarity, BoolArray], ...] = (
            ("normal", ~anomalous),
            ("anomalous", anomalous),
        )
        for side, which in sides:
            scale = np.float32(scoring_config.alpha if side == "anomalous" else 1)
            for negated_rows in (False, True):
                rows = np.flatnonzero(which & (has_negation == negated_rows))
                self._indexes[side, negated_rows] = VectorIndex.build(vectors[rows] * scale, rows)

    def query(self, vectors: FloatArray, has_negation: BoolArray) -> SceneMatches:
        """Matches of queries, float32 (n, d); negated queries are compared with negated scenes."""
        scoring_config = self._scoring_config
        products: dict[ScenePolarity, FloatArray] = {}
        numbers: dict[ScenePolarity, IntArray] = {}
        for side in POLARITIES:
            products[side], numbers[side] = self._search(side, vectors, has_negation, scoring_config.k)
        anomalous_support, normal_support = (
            side_support(products[side], scoring_config.temperature) for side in ("anomalous", "normal")
        )
        if scoring_config.scoring == "nova":
            differences = nova_score(*self._by_category(vectors, has_negation))
        else:
            differences = support_contrast(anomalous_support, normal_support)
        differences = np.where(has_negation, _negated_scores(products), differences)
        unscaled = {**products, "anomalous": products["anomalous"] / np.float32(scoring_config.alpha)}
        return SceneMatches(differences, anomalous_support, normal_support, self.scenes, unscaled, numbers)

    def _search(
        self,
        side: ScenePolarity,
        vectors: FloatArray,
        has_negation: BoolArray,
        k: int,
        category: str | None = None,
    ) -> tuple[FloatArray, IntArray]:
        products = np.full((len(vectors), k), -np.inf, np.float32)
        numbers = np.full((len(vectors), k), -1, np.int64)
        for negated_rows in (False, True):
            rows = np.flatnonzero(has_negation == negated_rows)
            index = self._indexes[side, negated_rows]
            allowed = None
            if category is not None:
                allowed = np.array([self._categories[n] == category for n in index.numbers], np.bool_)
            if len(rows):
                products[rows], numbers[rows] = index.search(vectors[rows], k, allowed)
        return products, numbers

    def _by_category(self, vectors: FloatArray, has_negation: BoolArray) -> tuple[FloatArray, FloatArray]:
        """Nearest ten similarities of each anomalous category (n, categories, 10), and normal (n, 10)."""
        half = NOVA_TOP_K
        names = sorted({scene.category for scene in self.scenes if scene.side == "anomalous"})
        alpha = np.float32(self._scoring_config.alpha)
        each = [self._search("anomalous", vectors, has_negation, half, name)[0] / alpha for name in names]
        stacked = np.stack(each, axis=1) if each else np.empty((len(vectors), 0, half), np.float32)
        return stacked, self._search("normal", vectors, has_negation, half)[0]


def _negated_scores(products: dict[ScenePolarity, FloatArray]) -> FloatArray:
    """Anomaly scores of negated queries, float32 (n,); −1 where no negated scene is similar enough."""
    nearest, usual = _top_similarity(products["anomalous"]), _top_similarity(products["normal"])
    difference: FloatArray = np.where(nearest >= MIN_SIMILARITY, nearest - usual, np.float32(-1))
    return difference


def _top_similarity(similarities: FloatArray) -> FloatArray:
    """The first of each row, which is the highest, float32 (n,); −1 where there is none."""
    highest: FloatArray = np.maximum(similarities[:, 0], np.float32(-1))
    return highest
