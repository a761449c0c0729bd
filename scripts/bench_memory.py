"""One million memories: time to build, memory, milliseconds a query and recall.

    python scripts/bench_memory.py --data $ANOMALIST_DATA/uca --vectors sentences.npy

Sentences are really embedded; a little seeded noise makes a million of them. Queries are sentences that
aren't among them. The truth is what comparing one by one finds. Random vectors would say nothing: they have
no neighbours. On a machine that does other work too, the figures called "own"
count only the time that the processor spent on this.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import time
from collections.abc import Sequence
from pathlib import Path

import faiss
import numpy as np

from anomalist.memory.embedding import load_encoder
from anomalist.memory.vector_index import IntArray, VectorIndex
from anomalist.types.common import FloatArray

K = 10
NOISE = 0.3
"""Length of the noise beside a unit vector: a copy has a cosine similarity of about 0.96 to its sentence."""

CHUNK = 100_000


def main() -> None:
    """Measure, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="sentences.csv and memory_sentences.csv")
    parser.add_argument("--count", type=int, default=1_000_000, help="memories")
    parser.add_argument("--sentences", type=int, default=20_000, help="of them really embedded")
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--vectors", type=Path, help=".npy of the sentences; written if it isn't there")
    asked = parser.parse_args()

    known = _sentences(asked.data / "memory_sentences.csv")[: asked.sentences]
    unseen = [text for text in _sentences(asked.data / "sentences.csv") if text not in set(known)]
    rate, queries = _embedded(unseen[: asked.queries])
    vectors = _kept(asked.vectors, known)
    memories = multiplied(vectors, asked.count)
    truth = nearest(memories, queries)
    start, worked = time.perf_counter(), time.process_time()
    index = VectorIndex.build(memories, np.arange(len(memories)))
    built, worked = time.perf_counter() - start, time.process_time() - worked
    del memories
    resident = _resident()
    found, milliseconds, own = searched(index, queries)
    print(
        json.dumps(
            {
                "memories": len(index),
                "sentences": len(vectors),
                "queries": len(queries),
                "index": index.kind,
                "build_s": round(built, 1),
                "build_own_s": round(worked, 1),
                "index_gib": round(faiss.serialize_index(index.index).nbytes / 2**30, 2),
                "resident_gib": round(resident, 2),
                "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
                "ms_a_query_median": round(float(np.median(milliseconds)), 2),
                "ms_a_query_p95": round(float(np.percentile(milliseconds, 95)), 2),
                "ms_a_query_own_median": round(float(np.median(own)), 2),
                "recall_at_10": round(recall(found, truth), 4),
                "sentences_a_second": round(rate[0], 1),
                "sentences_an_own_second": round(rate[1], 1),
                "load": round(os.getloadavg()[0], 1),
            }
        )
    )


def multiplied(vectors: FloatArray, count: int) -> FloatArray:
    """Unit vectors, float32 (count, d): the given ones, then again and again with noise."""
    draw = np.random.default_rng(0)
    result = np.empty((count, vectors.shape[1]), np.float32)
    for start in range(0, count, len(vectors)):
        part = vectors[: count - start]
        if start:
            noise = draw.standard_normal(part.shape, np.float32)
            part = part + noise * np.float32(NOISE / vectors.shape[1] ** 0.5)
        result[start : start + len(part)] = part / np.linalg.norm(part, axis=1, keepdims=True)
    return result


def nearest(memories: FloatArray, queries: FloatArray) -> IntArray:
    """The nearest ten one by one, int64 (n, 10)."""
    scores = np.empty((len(queries), 0), np.float32)
    numbers = np.empty((len(queries), 0), np.int64)
    for start in range(0, len(memories), CHUNK):
        part = memories[start : start + CHUNK]
        index = VectorIndex.build(part, np.arange(start, start + len(part)), kind="flat")
        near, found = index.search(queries, K)
        scores, numbers = np.hstack([scores, near]), np.hstack([numbers, found])
        best = np.argsort(-scores, axis=1)[:, :K]
        scores, numbers = np.take_along_axis(scores, best, 1), np.take_along_axis(numbers, best, 1)
    return numbers


def searched(index: VectorIndex, queries: FloatArray) -> tuple[IntArray, list[float], list[float]]:
    """What the index finds, one query at a time; the milliseconds of each, and those of its own work."""
    index.search(queries[:1], K)
    found, milliseconds, own = [], [], []
    for row in range(len(queries)):
        start, worked = time.perf_counter(), time.process_time()
        found.append(index.search(queries[row : row + 1], K)[1][0])
        own.append((time.process_time() - worked) * 1000)
        milliseconds.append((time.perf_counter() - start) * 1000)
    return np.stack(found), milliseconds, own


def recall(found: IntArray, truth: IntArray) -> float:
    """Share of the true nearest that were found."""
    return float(np.mean([len({*row} & {*true}) / K for row, true in zip(found, truth, strict=True)]))


def _embedded(texts: Sequence[str]) -> tuple[tuple[float, float], FloatArray]:
    """Sentences a second, by the clock and by the processor's own time, and their vectors."""
    encoder = load_encoder()
    encoder.encode(["to warm up"])
    start, worked = time.perf_counter(), time.process_time()
    vectors = encoder.encode(texts)
    taken = time.perf_counter() - start, time.process_time() - worked
    return (len(texts) / taken[0], len(texts) / taken[1]), vectors


def _kept(path: Path | None, texts: Sequence[str]) -> FloatArray:
    if path is not None and path.exists():
        kept: FloatArray = np.load(path, allow_pickle=False)
        return kept
    _, vectors = _embedded(texts)
    if path is not None:
        np.save(path, vectors)
    return vectors


def _sentences(path: Path) -> list[str]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(dict.fromkeys(row["sentence"] for row in csv.DictReader(file)))


def _resident() -> float:
    """GiB of memory that the process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**30


if __name__ == "__main__":
    main()
