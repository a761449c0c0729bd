"""Captions embedded and indexed on a cluster: an encoder whose texts are spread, shards that are merged."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from anomalist.cluster.connection import RayOptions, connected, told_environment
from anomalist.cluster.mapping import Columns, failure_columns, map_on_actors
from anomalist.errors import AnomalistError, ModelError
from anomalist.memory.embedding import open_encoder
from anomalist.memory.vector_index import IntArray, VectorIndex, empty_index
from anomalist.types.common import FloatArray

TEXTS_A_BATCH = 4096
"""Texts that an actor embeds at a time, at most."""
FEW_TEXTS = 512
"""Texts up to which this process embeds them itself."""
SHARD_VECTORS = 50_000
"""Vectors of a shard of an index, at most."""


class EncodingActor:
    """Embeds batches of texts.

    Parameters
    ----------
    name : of the encoder, as for `open_encoder`.
    meant : name of its space, with the digest of its weights where it has one.
    environment : variables that the driver has.
    """

    def __init__(self, name: str | None, meant: str, environment: Mapping[str, str]) -> None:
        os.environ.update(environment)
        self._failure: AnomalistError | None = None
        try:
            self._encoder = open_encoder(name)
            if self._encoder.name != meant:
                raise ModelError(
                    f"A node has another version of the encoder {meant}: {self._encoder.name}.",
                    "Give all nodes the same.",
                )
        except AnomalistError as error:
            self._failure = error

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
        """The vectors of the texts of a batch ("number", "text"); a row each, or one with an error."""
        if self._failure is not None:
            return {"number": [0], "vector": [b""], **failure_columns(self._failure)}
        vectors = self._encoder.encode([str(text) for text in batch["text"]])
        return {
            "number": list(map(int, batch["number"])),
            "vector": [vector.astype("<f4").tobytes() for vector in vectors],
            **failure_columns(None, len(vectors)),
        }


class ClusterEncoder:
    """An encoder whose texts are embedded on a cluster, each once; a few are embedded here.

    It keeps all vectors: 1.5 KB a text.

    Parameters
    ----------
    name : of the encoder, as for `open_encoder`; all nodes have it.
    options : which cluster.
    """

    def __init__(self, name: str | None, options: RayOptions) -> None:
        self._own = open_encoder(name)
        self._asked = name
        self._options = options
        self._rows: dict[str, int] = {}
        self.name = self._own.name
        self.dimensions = self._own.dimensions
        self._vectors: FloatArray = np.empty((0, self.dimensions), np.float32)

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Unit vectors, float32 (n, dimensions), one a text."""
        new = [text for text in dict.fromkeys(texts) if text not in self._rows]
        found = self._own.encode(new) if len(new) <= FEW_TEXTS else self._spread(new)
        self._rows |= {text: len(self._vectors) + number for number, text in enumerate(new)}
        self._vectors = np.concatenate([self._vectors, found])
        return self._vectors[[self._rows[text] for text in texts]]

    def _spread(self, texts: Sequence[str]) -> FloatArray:
        """Vectors of texts by actors; those of similar length together, so that little is padded."""
        order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
        columns: Columns = {"number": order, "text": [_sound(texts[number]) for number in order]}
        told = (self._asked, self.name, told_environment())
        found = np.empty((len(texts), self.dimensions), np.float32)
        with connected(self._options):
            for row in map_on_actors(EncodingActor, told, columns, TEXTS_A_BATCH, self._options):
                found[row["number"]] = np.frombuffer(row["vector"], "<f4")
        return found


def _sound(text: str) -> str:
    """The text without lone surrogates, which can't be sent."""
    return text.encode("utf-8", "replace").decode("utf-8")


def index_on_cluster(
    vectors: FloatArray, numbers: IntArray, options: RayOptions, shard: int = SHARD_VECTORS
) -> VectorIndex:
    """Index vectors as `VectorIndex.build` does with IVF: nodes fill shards, which are merged here.

    Parameters
    ----------
    vectors, numbers : float32 (n, d), and their ids int64 (n,).
    shard : vectors of a shard at most.
    """
    import faiss
    import ray

    index = empty_index(vectors, "ivf")
    with connected(options):
        trained = ray.put(faiss.serialize_index(index))
        fill = ray.remote(num_cpus=1, max_retries=3)(fill_shard)
        filled = [
            fill.remote(trained, np.ascontiguousarray(vectors[start : start + shard], np.float32))
            for start in range(0, len(vectors), shard)
        ]
        for each in filled:
            part = faiss.deserialize_index(np.array(ray.get(each)))
            index.merge_from(part, index.ntotal)
    return VectorIndex(index, numbers.astype(np.int64), "ivf")


def fill_shard(trained: Any, vectors: FloatArray) -> Any:  # noqa: ANN401
    """A trained index, serialised, with vectors added, serialised."""
    import faiss

    index = faiss.deserialize_index(np.array(trained))  # what Ray shares can't be written to
    index.add(np.ascontiguousarray(vectors, np.float32))
    return faiss.serialize_index(index)
