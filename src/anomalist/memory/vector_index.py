"""Nearest-neighbour index (faiss) by inner product: flat, HNSW or IVF by the number of vectors.

Exact while they are few, approximate when they are many. Vectors are taken as they come. Nothing is
normalised here: what was scaled down on purpose (see `scenes.scene_index`) stays so.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from anomalist.types.common import FloatArray

IntArray = npt.NDArray[np.int64]

IndexKind = Literal["flat", "hnsw", "ivf"]

FLAT_UP_TO = 20_000
"""Vectors that are compared one by one: 3 ms a query, and nothing is missed."""

HNSW_UP_TO = 200_000
"""Vectors in a graph; beyond it takes too long to build, and cells of half-precision vectors are searched."""

HNSW_LINKS = 32
EF_CONSTRUCTION = 80
EF_SEARCH = 200
NPROBE = 28
_TRAINING_VECTORS_PER_CELL = 39  # vectors a cell; fewer make faiss complain
_CELLS_PER_ROOT = 4  # cells: four times the square root of the number of vectors
_EXACT_SHARE = (
    0.05  # share of the vectors that a search is limited to, below which they are compared one by one
)


def index_kind(count: int) -> IndexKind:
    """The kind of index for so many vectors."""
    return "flat" if count <= FLAT_UP_TO else "hnsw" if count <= HNSW_UP_TO else "ivf"


class VectorIndex:
    """Vectors under numbers. Made by `build`; not for several threads.

    ``numbers`` is int64 (n,), the number of each vector in the order in which they were added.
    """

    def __init__(self, index: Any, numbers: IntArray, kind: IndexKind) -> None:  # noqa: ANN401
        self.index = index
        self.numbers = numbers
        self.kind = kind

    @classmethod
    def build(cls, vectors: FloatArray, numbers: IntArray, kind: IndexKind | None = None) -> VectorIndex:
        """Index of vectors, float32 (n, d); of the kind that fits their number unless one is named."""
        import faiss

        kind = kind or index_kind(len(vectors))
        dimensions = vectors.shape[1]
        index: Any
        if kind == "hnsw":
            index = faiss.IndexHNSWFlat(dimensions, HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)
            index.hnsw.efConstruction = EF_CONSTRUCTION
        elif kind == "ivf":
            index = _train_ivf(vectors)
        else:
            index = faiss.IndexFlatIP(dimensions)
        index.add(np.ascontiguousarray(vectors, np.float32))
        return cls(index, numbers.astype(np.int64), kind)

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def dimensions(self) -> int:
        """Length of a vector."""
        return int(self.index.d)

    def add(self, vectors: FloatArray, numbers: IntArray) -> None:
        """Add vectors, float32 (m, d), under numbers that are not there yet."""
        self.index.add(np.ascontiguousarray(vectors, np.float32))
        self.numbers = np.concatenate([self.numbers, numbers.astype(np.int64)])

    def search(
        self, queries: FloatArray, k: int, allowed: npt.NDArray[np.bool_] | None = None
    ) -> tuple[FloatArray, IntArray]:
        """The nearest of the allowed vectors for each query, the nearest first.

        Parameters
        ----------
        queries : float32 (m, d).
        k : how many at most, at least 1.
        allowed : bool (n,) in the order of ``numbers``; all when None.

        Returns
        -------
        Inner products float32 (m, k) and numbers int64 (m, k). Where there are fewer than k, −inf and −1.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        if queries.ndim != 2 or queries.shape[1] != self.dimensions:
            raise ValueError(f"queries must be (m, {self.dimensions}), got {queries.shape}")
        products = np.full((len(queries), k), -np.inf, np.float32)
        found = np.full((len(queries), k), -1, np.int64)
        places = None if allowed is None else np.flatnonzero(allowed)
        count = len(self) if places is None else len(places)
        if not count or not len(queries):
            return products, found
        queries = np.ascontiguousarray(queries, np.float32)
        most = min(k, count)
        if places is not None and (count <= _EXACT_SHARE * len(self) or count <= FLAT_UP_TO):
            near, rows = _exact_search(self.index, places, queries, most)
        else:
            near, rows = self.index.search(queries, most, params=self._parameters(places))
        products[:, :most] = np.where(rows >= 0, near, -np.inf)
        found[:, :most] = np.where(rows >= 0, self.numbers[rows], -1)
        return products, found

    def _parameters(self, places: IntArray | None) -> Any:  # noqa: ANN401
        import faiss

        known: Any = faiss  # its stubs lack most of this
        chosen = {} if places is None else {"sel": faiss.IDSelectorBatch(places)}
        if self.kind == "hnsw":
            return known.SearchParametersHNSW(efSearch=EF_SEARCH, **chosen)
        if self.kind == "ivf":
            return known.SearchParametersIVF(nprobe=NPROBE, **chosen)
        return known.SearchParameters(**chosen)


def _train_ivf(vectors: FloatArray) -> Any:  # noqa: ANN401
    """A trained index of cells; the same vectors give the same cells."""
    import faiss

    count, dimensions = vectors.shape
    cells = max(1, min(int(_CELLS_PER_ROOT * count**0.5), count // _TRAINING_VECTORS_PER_CELL))
    half = faiss.ScalarQuantizer.QT_fp16
    index = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatIP(dimensions), dimensions, cells, half, faiss.METRIC_INNER_PRODUCT, False
    )
    index.cp.niter = 5
    drawn = np.random.default_rng(0).permutation(count)[: cells * _TRAINING_VECTORS_PER_CELL]
    index.train(np.ascontiguousarray(vectors[drawn], np.float32))
    return index


def _exact_search(
    index: Any,  # noqa: ANN401
    places: IntArray,
    queries: FloatArray,
    k: int,
) -> tuple[FloatArray, IntArray]:
    """The nearest among a few places, compared one by one."""
    if hasattr(index, "make_direct_map"):
        index.make_direct_map()
    vectors = index.reconstruct_batch(places)
    products = queries @ vectors.T
    order = np.argsort(-products, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(products, order, 1), places[order]
