"""Remembered scenes by side, those that deny apart, each shelf with an index of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from anomalist.memory.clauses import negated
from anomalist.memory.index import IntArray, VectorIndex
from anomalist.memory.scenes import responding
from anomalist.memory.scenes.responding import Weighing
from anomalist.memory.scenes.scene import SIDES, Scene, Side
from anomalist.types import BoolArray, FloatArray

LEAST_SIMILARITY = 0.45
"""A denial that is less similar to a scene is about something else."""


@dataclass(frozen=True, eq=False)
class Answers:
    """What shelves say to some queries.

    Parameters
    ----------
    differences : float32 (n,), how much each query is more like anomalous scenes than like normal ones.
    ahead, behind : float32 (n,), support of the anomalous and of the normal side.
    scenes : what the numbers mean.
    similarities, numbers : by side, float32 and int64 (n, k), the nearest scenes, −inf and −1 for none.
    """

    differences: FloatArray
    ahead: FloatArray
    behind: FloatArray
    scenes: tuple[Scene, ...]
    similarities: dict[Side, FloatArray]
    numbers: dict[Side, IntArray]
    own: Answers | None = None

    def anchored(self, own: Answers) -> Answers:
        """The same, where the camera's own scenes count, few as they may be.

        What is most alike among its normal scenes counts as normal at least as much as the others. One of its
        anomalous scenes counts where it is nearer than anything normal.
        """
        normal, mine = _highest(self.similarities["normal"]), _highest(own.similarities["normal"])
        accused = _highest(own.similarities["anomalous"])
        behind = np.maximum(self.behind, mine)
        difference = self.differences + self.behind - behind
        named = np.where(accused >= LEAST_SIMILARITY, accused - np.maximum(normal, mine), difference)
        return replace(self, differences=np.maximum(difference, named), behind=behind, own=own)

    def nearest(self, row: int, side: Side, count: int) -> list[tuple[Scene, float]]:
        """The scenes of one side that are most like a query, own ones among them, the most similar first."""
        found = [*self._found(row, side), *(self.own._found(row, side) if self.own else ())]
        return sorted(found, key=lambda pair: -pair[1])[:count]

    def _found(self, row: int, side: Side) -> Iterator[tuple[Scene, float]]:
        pairs = zip(self.numbers[side][row], self.similarities[side][row], strict=True)
        return ((self.scenes[number], float(alike)) for number, alike in pairs if number >= 0)


class Shelves:
    """Scenes to be asked by vectors.

    What denies is judged by the nearest scene of each side alone: few scenes deny, and most of those are
    about something else.

    Anomalous vectors are multiplied by alpha after they were made unit, and the indexes take them as they
    are, so that the penalty stays.

    Parameters
    ----------
    scenes : what is remembered.
    vectors : float32 (n, d), unit.
    weighing : how memories count.
    """

    def __init__(self, scenes: Sequence[Scene], vectors: FloatArray, weighing: Weighing) -> None:
        if len(scenes) != len(vectors):
            raise ValueError(f"got {len(scenes)} scenes and {len(vectors)} vectors")
        self.scenes = tuple(scenes)
        self._weighing = weighing
        denies = np.array([negated(scene.text) for scene in scenes], np.bool_)
        self._categories = [scene.category for scene in scenes]
        anomalous = np.array([scene.side == "anomalous" for scene in scenes], np.bool_)
        self._indexes: dict[tuple[Side, bool], VectorIndex] = {}
        sides: tuple[tuple[Side, BoolArray], ...] = (("normal", ~anomalous), ("anomalous", anomalous))
        for side, which in sides:
            scale = np.float32(weighing.alpha if side == "anomalous" else 1)
            for deny in (False, True):
                rows = np.flatnonzero(which & (denies == deny))
                self._indexes[side, deny] = VectorIndex.build(vectors[rows] * scale, rows)

    def ask(self, vectors: FloatArray, denies: BoolArray) -> Answers:
        """Answers to queries, float32 (n, d); what denies is compared with what denies."""
        weighing = self._weighing
        products: dict[Side, FloatArray] = {}
        numbers: dict[Side, IntArray] = {}
        for side in SIDES:
            products[side], numbers[side] = self._search(side, vectors, denies, weighing.k)
        ahead, behind = (
            responding.support(products[side], weighing.temperature) for side in ("anomalous", "normal")
        )
        if weighing.scoring == "nova":
            differences = responding.nova(*self._by_category(vectors, denies))
        else:
            differences = responding.contrast(ahead, behind)
        differences = np.where(denies, _denied(products), differences)
        unscaled = {**products, "anomalous": products["anomalous"] / np.float32(weighing.alpha)}
        return Answers(differences, ahead, behind, self.scenes, unscaled, numbers)

    def _search(
        self, side: Side, vectors: FloatArray, denies: BoolArray, k: int, category: str | None = None
    ) -> tuple[FloatArray, IntArray]:
        products = np.full((len(vectors), k), -np.inf, np.float32)
        numbers = np.full((len(vectors), k), -1, np.int64)
        for deny in (False, True):
            rows = np.flatnonzero(denies == deny)
            index = self._indexes[side, deny]
            allowed = None
            if category is not None:
                allowed = np.array([self._categories[n] == category for n in index.numbers], np.bool_)
            if len(rows):
                products[rows], numbers[rows] = index.search(vectors[rows], k, allowed)
        return products, numbers

    def _by_category(self, vectors: FloatArray, denies: BoolArray) -> tuple[FloatArray, FloatArray]:
        """Nearest ten similarities of each anomalous category (n, categories, 10), and normal (n, 10)."""
        half = responding.NOVA_HALF
        names = sorted({scene.category for scene in self.scenes if scene.side == "anomalous"})
        alpha = np.float32(self._weighing.alpha)
        each = [self._search("anomalous", vectors, denies, half, name)[0] / alpha for name in names]
        stacked = np.stack(each, axis=1) if each else np.empty((len(vectors), 0, half), np.float32)
        return stacked, self._search("normal", vectors, denies, half)[0]


def _denied(products: dict[Side, FloatArray]) -> FloatArray:
    """How much a denial speaks for an anomaly, float32 (n,); −1 where it is like none that denies."""
    nearest, usual = _highest(products["anomalous"]), _highest(products["normal"])
    difference: FloatArray = np.where(nearest >= LEAST_SIMILARITY, nearest - usual, np.float32(-1))
    return difference


def _highest(similarities: FloatArray) -> FloatArray:
    """The first of each row, which is the highest, float32 (n,); −1 where there is none."""
    highest: FloatArray = np.maximum(similarities[:, 0], np.float32(-1))
    return highest
