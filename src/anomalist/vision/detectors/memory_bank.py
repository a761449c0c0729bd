"""PatchCore memory bank: descriptors of normal patches, thinned to a greedy coreset, searched with FAISS.

Roth et al. 2022, "Towards Total Recall in Industrial Anomaly Detection"; k-centre greedy after Sener &
Savarese 2018.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from anomalist.types.common import BoolArray, FloatArray

CORESET_SIZE = 4000
"""Patches in a memory bank at most."""
CORESET_CANDIDATES = 20_000
"""Patches sampled from all pictures together, from which the coreset is chosen."""


@dataclass(frozen=True, eq=False)
class MemoryBank:
    """Memory bank of normal patches: descriptors with their picture and place.

    Parameters
    ----------
    vectors : float32 (n, d), n > 0.
    pictures : int32 (n,), which picture each patch comes from.
    places : float32 (n, 2), its centre (x, y) relative to that picture, 0 to 1.

    Raises
    ------
    ValueError : the shapes don't fit each other, or are empty.
    """

    vectors: FloatArray
    pictures: npt.NDArray[np.int32]
    places: FloatArray

    def __post_init__(self) -> None:
        n = len(self.vectors)
        if self.vectors.ndim != 2 or n == 0 or self.pictures.shape != (n,) or self.places.shape != (n, 2):
            raise ValueError(
                "expected vectors (n, d), pictures (n,), places (n, 2) with n > 0, "
                f"got {self.vectors.shape}, {self.pictures.shape}, {self.places.shape}"
            )

    def distances(self, vectors: FloatArray) -> FloatArray:
        """Squared L2 distance of each of ``vectors`` (m, d) to its nearest neighbour; float32 (m,), ≥ 0."""
        if vectors.shape[1] != self.vectors.shape[1]:
            raise ValueError(
                f"descriptors have {vectors.shape[1]} dimensions, the bank {self.vectors.shape[1]}"
            )
        distances, _ = self._index.search(np.ascontiguousarray(vectors, np.float32), 1)
        return np.asarray(np.maximum(distances[:, 0], 0), np.float32)

    def nearest(self, vector: FloatArray) -> int:
        """Row of the patch nearest to ``vector``, float32 (d,)."""
        _, rows = self._index.search(np.ascontiguousarray(vector[None], np.float32), 1)
        return int(rows[0, 0])

    def distances_excluding(self, vectors: FloatArray, excluded: npt.NDArray[np.int32]) -> FloatArray:
        """Distances to the bank without the ``excluded`` pictures (leave-one-out); float32 (m,).

        So a picture in the bank is scored as if it were new. Raises ValueError when nothing is left.
        """
        kept = ~np.isin(self.pictures, excluded)
        if not kept.any():
            raise ValueError("no picture is left in the bank")
        return MemoryBank(self.vectors[kept], self.pictures[kept], self.places[kept]).distances(vectors)

    @cached_property
    def _index(self) -> Any:  # noqa: ANN401
        import faiss

        index = faiss.IndexFlatL2(self.vectors.shape[1])
        index.add(np.ascontiguousarray(self.vectors, np.float32))
        return index


@dataclass(frozen=True, eq=False)
class PatchSample:
    """Descriptors float32 (n, d) with their picture int32 (n,) and relative centre (x, y) float32 (n, 2)."""

    vectors: FloatArray
    pictures: npt.NDArray[np.int32]
    places: FloatArray


def sample_patches(
    descriptors: npt.NDArray[np.floating[Any]],
    picture: int,
    inside: BoolArray | None,
    most: int,
    rng: np.random.Generator,
) -> PatchSample:
    """Draw at most ``most`` of the patches of one picture, without repeats.

    Parameters
    ----------
    descriptors : float32 (h, w, d).
    picture : its number.
    inside : bool (h, w), which patches count; None for all.
    """
    height, width, _ = descriptors.shape
    able = np.arange(height * width) if inside is None else np.flatnonzero(inside)
    chosen = np.sort(rng.choice(able, min(most, len(able)), replace=False))
    rows, columns = np.divmod(chosen, width)
    places = np.stack([(columns + 0.5) / width, (rows + 0.5) / height], 1).astype(np.float32)
    return PatchSample(
        descriptors[rows, columns].astype(np.float32), np.full(len(chosen), picture, np.int32), places
    )


def join_patches(parts: list[PatchSample]) -> PatchSample:
    """Concatenate the patches of several pictures."""
    return PatchSample(
        np.concatenate([p.vectors for p in parts]),
        np.concatenate([p.pictures for p in parts]),
        np.concatenate([p.places for p in parts]),
    )


def build_bank(patches: PatchSample, seed: int, size: int = CORESET_SIZE) -> MemoryBank:
    """Build a bank of at most ``size`` patches by a greedy coreset."""
    kept = greedy_coreset(patches.vectors, size, np.random.default_rng(seed))
    return MemoryBank(patches.vectors[kept], patches.pictures[kept], patches.places[kept])


def greedy_coreset(vectors: FloatArray, size: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Choose rows so that every row is near a chosen one (k-centre greedy, Sener & Savarese 2018).

    Starts anywhere and adds the row farthest from all chosen ones: the largest distance left is at most twice
    the smallest possible. ``vectors`` is float32 (n, d). Returns int64 (min(size, n),), no row twice.
    """
    n = len(vectors)
    if size >= n:
        return np.arange(n)
    squares = np.einsum("ij,ij->i", vectors, vectors)
    chosen = np.empty(size, np.int64)
    chosen[0] = rng.integers(n)
    distance = np.full(n, np.inf, np.float32)
    for k in range(1, size):
        last = chosen[k - 1]
        step = squares + squares[last] - 2 * (vectors @ vectors[last])
        np.minimum(distance, step, out=distance)
        distance[last] = -np.inf  # never chosen again, even when only duplicates are left
        chosen[k] = int(distance.argmax())
    return chosen
