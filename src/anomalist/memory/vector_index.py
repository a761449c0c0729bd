"""Nearest-neighbour index (faiss) by inner product: flat, HNSW or IVF by the number of vectors.

Exact up to `FLAT_UP_TO` vectors, approximate beyond. Vectors are not normalised here: some are scaled on
purpose (see `anomalist.memory.scenes.scene_index`).
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from anomalist.types.common import FloatArray

IntArray = npt.NDArray[np.int64]

IndexKind = Literal["flat", "hnsw", "ivf"]

FLAT_UP_TO = 20_000
"""Largest number of vectors for exact search, about 3 ms a query."""

HNSW_UP_TO = 200_000
"""Largest number of vectors for HNSW; a larger graph takes too long to build, so IVF in half precision is
used."""

HNSW_LINKS = 32  # faiss: M
EF_CONSTRUCTION = 80
EF_SEARCH = 200
NPROBE = 28  # IVF cells that are searched
_TRAINING_VECTORS_PER_CELL = 39  # faiss warns below this
_CELLS_PER_ROOT = 4  # number of IVF cells over the square root of the number of vectors
_EXACT_SHARE = 0.05  # a search restricted to a smaller share of the vectors is exact


def index_kind(count: int) -> IndexKind:
    """The kind of index for so many vectors."""
    return "flat" if count <= FLAT_UP_TO else "hnsw" if count <= HNSW_UP_TO else "ivf"


class VectorIndex:
    """Vectors with integer ids. Made by `build`; not thread-safe.

    ``numbers`` is int64 (n,), the id of each vector in the order in which they were added.
    """

    def __init__(self, index: Any, numbers: IntArray, kind: IndexKind) -> None:  # noqa: ANN401
        self.index = index
        self.numbers = numbers
        self.kind = kind

    @classmethod
    def build(cls, vectors: FloatArray, numbers: IntArray, kind: IndexKind | None = None) -> VectorIndex:
        """Index vectors, float32 (n, d), under ids int64 (n,); the kind follows from n unless given."""
        kind = kind or index_kind(len(vectors))
        index = empty_index(vectors, kind)
        index.add(np.ascontiguousarray(vectors, np.float32))
        return cls(index, numbers.astype(np.int64), kind)

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def dimensions(self) -> int:
        """Length of a vector."""
        return int(self.index.d)

    def add(self, vectors: FloatArray, numbers: IntArray) -> None:
        """Add vectors, float32 (m, d), under new ids int64 (m,)."""
        self.index.add(np.ascontiguousarray(vectors, np.float32))
        self.numbers = np.concatenate([self.numbers, numbers.astype(np.int64)])

    def search(
        self, queries: FloatArray, k: int, allowed: npt.NDArray[np.bool_] | None = None
    ) -> tuple[FloatArray, IntArray]:
        """The k nearest of the allowed vectors for each query, the nearest first.

        Parameters
        ----------
        queries : float32 (m, d).
        k : number of neighbours, at least 1.
        allowed : bool (n,) in the order of ``numbers``; all when None.

        Returns
        -------
        Inner products float32 (m, k) and ids int64 (m, k), padded with −inf and −1.
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


def empty_index(vectors: FloatArray, kind: IndexKind) -> Any:  # noqa: ANN401
    """A faiss index that is ready to take vectors, float32 (n, d); one by IVF is trained on some of them."""
    import faiss

    dimensions = vectors.shape[1]
    if kind == "hnsw":
        index = faiss.IndexHNSWFlat(dimensions, HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = EF_CONSTRUCTION
        return index
    return _train_ivf(vectors) if kind == "ivf" else faiss.IndexFlatIP(dimensions)


def _train_ivf(vectors: FloatArray) -> Any:  # noqa: ANN401
    """A trained IVF index in half precision; deterministic for the same vectors."""
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
    """Exact search among the vectors at some positions of an index."""
    if hasattr(index, "make_direct_map"):
        index.make_direct_map()
    vectors = index.reconstruct_batch(places)
    products = queries @ vectors.T
    order = np.argsort(-products, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(products, order, 1), places[order]
