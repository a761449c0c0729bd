"""Scene index: one vector index per polarity and negation, support scores of both polarities.

Support of a polarity is the log-mean-exp of its k highest similarities, T·log(mean(exp(similarity / T))): the
highest of them for a small temperature T, their mean for a large one. The score is anomalous minus normal
support, a difference of cosine similarities. It is a rescaled form of Flashback's softmax over the nearest
scenes of both polarities (Lee et al. 2025): σ(difference / T) is the anomalous share of that softmax. The
alternative is the scoring by category of NOVA.

An index is cached in a file beside the rows that it was built from. The rows are authoritative: an index file
that is missing, truncated, of other rows or of another encoder is built again.
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
"""Weight of the anomalous similarity in NOVA's difference."""

NOVA_TOP_K = 10
"""Nearest scenes of a category that count: half of the twenty that NOVA generates for each."""


class SceneScoringConfig(Frozen):
    """How the nearest scenes are scored. Defaults: chosen on the captions of the odd-numbered clips."""

    k: int = Field(30, ge=1, description="nearest scenes of each polarity that count")
    temperature: float = Field(
        0.4, gt=0, description="in units of cosine similarity; small: only the nearest counts"
    )
    alpha: float = Field(
        0.95,
        gt=0,
        le=1,
        description="factor of the anomalous unit vectors (scaled anomaly penalisation, Flashback)",
    )
    scoring: SceneScoring = Field(
        "contrast", description="nova: the best category, by the mean of its nearest ten"
    )


def side_support(similarities: FloatArray, temperature: float) -> FloatArray:
    """Support of one polarity, float32 (n,), from its nearest similarities (n, k); −inf where there are none.

    Entries of −inf are padding where there are fewer than k scenes.
    """
    if not similarities.shape[1]:
        return np.full(len(similarities), -np.inf, np.float32)
    finite = np.isfinite(similarities)
    highest = np.where(finite.any(1), similarities.max(1), 0).astype(np.float64)
    weights = np.where(finite, np.exp((similarities - highest[:, None]) / temperature), 0)
    with np.errstate(divide="ignore"):
        total = np.log(weights.sum(1) / np.maximum(finite.sum(1), 1))
    result: FloatArray = (highest + temperature * total).astype(np.float32)
    return result


def support_contrast(anomalous: FloatArray, normal: FloatArray) -> FloatArray:
    """Anomalous minus normal support, float32 (n,), −2 to 2; a polarity without scenes counts as −1."""
    sides = (np.maximum(side, -1) for side in (anomalous, normal))
    result: FloatArray = np.subtract(*sides)
    return result


def nova_score(by_category: FloatArray, normal: FloatArray) -> FloatArray:
    """NOVA's difference, float32 (n,): 0.90 u⁺ − u⁻ of the best category.

    Parameters
    ----------
    by_category : float32 (n, categories, 10), similarities of the nearest in each; −inf is padding.
    normal : float32 (n, 10), similarities of the nearest normal scenes.
    """
    if not by_category.shape[1]:
        return np.full(len(by_category), -1, np.float32)
    best_category = _mean_similarity(by_category).max(1)
    result: FloatArray = (NOVA_WEIGHT * best_category - _mean_similarity(normal)).astype(np.float32)
    return result


def anomaly_probability(differences: FloatArray, temperature: float) -> FloatArray:
    """The anomalous share of the softmax, σ(difference / temperature), float32 (n,) in [0, 1]."""
    from scipy.special import expit

    result: FloatArray = expit(differences / temperature).astype(np.float32)
    return result


def _mean_similarity(similarities: FloatArray) -> FloatArray:
    """Mean of the finite similarities over the last axis; −1 where there are none."""
    finite = np.isfinite(similarities)
    total = np.where(finite, similarities, 0).sum(-1)
    mean: FloatArray = np.where(finite.any(-1), total / np.maximum(finite.sum(-1), 1), -1).astype(np.float32)
    return mean


_FILE_MAGIC = b"anomalist index 1\n"


def save_index(index: VectorIndex, path: Path, space: str) -> None:
    """Write an index; an earlier file is replaced atomically. ``space`` is the name of the encoder."""
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
    """Read an index; None where the file is missing, damaged or of another embedding space."""
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
"""Cosine similarity below which a query and a scene are about different things."""


@dataclass(frozen=True, eq=False)
class SceneMatches:
    """Nearest scenes and support scores of n queries.

    Parameters
    ----------
    differences : float32 (n,), the anomaly score: anomalous minus normal support.
    anomalous_support, normal_support : float32 (n,), support of each polarity.
    scenes : what ``numbers`` index into.
    similarities, numbers : by polarity, float32 and int64 (n, k), the nearest scenes; padded with −inf and
        −1.
    own : the matches among the camera's own scenes; None where these were not taken in.
    """

    differences: FloatArray
    anomalous_support: FloatArray
    normal_support: FloatArray
    scenes: tuple[RememberedScene, ...]
    similarities: dict[ScenePolarity, FloatArray]
    numbers: dict[ScenePolarity, IntArray]
    own: SceneMatches | None = None

    def with_own_scenes(self, own: SceneMatches) -> SceneMatches:
        """Matches with the camera's own scenes taken in, which count even where they are few.

        Normal support is raised to the highest similarity to an own normal scene. An own anomalous scene
        raises the score where it is more similar than every normal scene.
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
        """The nearest scenes of one polarity to a query, own ones included, the most similar first."""
        found = [*self._found(row, side), *(self.own._found(row, side) if self.own else ())]
        return sorted(found, key=lambda pair: -pair[1])[:count]

    def _found(self, row: int, side: ScenePolarity) -> Iterator[tuple[RememberedScene, float]]:
        pairs = zip(self.numbers[side][row], self.similarities[side][row], strict=True)
        return ((self.scenes[number], float(alike)) for number, alike in pairs if number >= 0)


class SceneIndex:
    """Scenes by polarity and negation, each with its own index.

    Negated queries use only the nearest scene of each polarity: few scenes are negated, and most of these are
    about something else.

    Anomalous unit vectors are multiplied by alpha (scaled anomaly penalisation, Flashback); the indexes don't
    normalise, so that the factor stays in the products.

    Parameters
    ----------
    scenes : the scenes to index.
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
        """Top ten similarities of each anomalous category (n, categories, 10) and of normal ones (n, 10)."""
        k = NOVA_TOP_K
        names = sorted({scene.category for scene in self.scenes if scene.side == "anomalous"})
        alpha = np.float32(self._scoring_config.alpha)
        each = [self._search("anomalous", vectors, has_negation, k, name)[0] / alpha for name in names]
        stacked = np.stack(each, axis=1) if each else np.empty((len(vectors), 0, k), np.float32)
        return stacked, self._search("normal", vectors, has_negation, k)[0]


def _negated_scores(products: dict[ScenePolarity, FloatArray]) -> FloatArray:
    """Anomaly scores of negated queries, float32 (n,); −1 where no negated scene is similar enough."""
    nearest, usual = _top_similarity(products["anomalous"]), _top_similarity(products["normal"])
    difference: FloatArray = np.where(nearest >= MIN_SIMILARITY, nearest - usual, np.float32(-1))
    return difference


def _top_similarity(similarities: FloatArray) -> FloatArray:
    """The first of each row, which is the highest, float32 (n,); −1 where there is none."""
    highest: FloatArray = np.maximum(similarities[:, 0], np.float32(-1))
    return highest
