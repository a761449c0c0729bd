"""An index kept in a file beside the rows that it was built from, so that a start needn't build it again.

The rows are what counts. A file that is missing, cut short, of other rows or of another encoder is built
again; nothing is ever lost with it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path

import numpy as np

from anomalist.memory.index import VectorIndex
from anomalist.writing import write_whole

_MARK = b"anomalist index 1\n"


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
    write_whole(path, _MARK + json.dumps(about).encode() + b"\n" + body)


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
        sound = mark + b"\n" == _MARK and about["space"] == space
        if sound and about["sha256"] == hashlib.sha256(body).hexdigest():
            end = 8 * about["count"]
            numbers = np.frombuffer(body[:end], "<i8").astype(np.int64)
            index = faiss.deserialize_index(np.frombuffer(body[end:], np.uint8))
            return VectorIndex(index, numbers, about["kind"])
    return None
