"""Scenes that users add: rows in one SQLite file with their vectors, and an index that follows the rows."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from anomalist.errors import DataError
from anomalist.memory.database import Layout, Store, explained, now, transaction
from anomalist.memory.embedding import Encoder, load_encoder
from anomalist.memory.index import IntArray, VectorIndex, kind_for
from anomalist.memory.scenes.calibrating import Threshold
from anomalist.memory.scenes.framing import framed, frames_for
from anomalist.memory.scenes.saved import load_index, save_index
from anomalist.memory.scenes.scene import Scene, Side
from anomalist.types import FloatArray

SCENE_FILE = Layout(
    "memory file",
    "scene",
    0x616E6F73,  # "anos"
    1,
    """
CREATE TABLE space (name TEXT PRIMARY KEY, dimensions INTEGER NOT NULL) STRICT;
CREATE TABLE scenes (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  created TEXT NOT NULL,
  side TEXT NOT NULL,
  category TEXT NOT NULL,
  text TEXT NOT NULL,
  source TEXT NOT NULL,
  vector BLOB NOT NULL,
  UNIQUE (side, category, text)
) STRICT;
CREATE TABLE calibration (
  created TEXT NOT NULL,
  threshold REAL NOT NULL,
  rate REAL NOT NULL,
  captions INTEGER NOT NULL
) STRICT;
CREATE INDEX scenes_of_category ON scenes (category);
""",
)

_STALE = 0.2  # share of new or deleted rows from which on the index is built again
_COLUMNS = "id, side, category, text, source"


class Near(NamedTuple):
    """A scene and the cosine similarity to what was asked for, −1 to 1."""

    scene: Scene
    similarity: float


class SceneStore(Store):
    """The scenes in one file, made where there is none; a context manager. Not for several threads.

    Several processes may read and write the same file; what was added is there after a crash. Every method
    raises DataError, which names the file, when it is damaged, locked for too long or can't be written.

    Parameters
    ----------
    path : the file; the index stands beside it as ``<name>.index`` once there are many scenes.
    encoder : what makes the vectors; `load_encoder()` by default.

    Raises
    ------
    DataError : the file was made with another encoder, or isn't a memory file.
    """

    def __init__(self, path: str | Path, encoder: Encoder | None = None) -> None:
        self.encoder = encoder or load_encoder()
        self._index: VectorIndex | None = None
        self._live: IntArray = np.empty(0, np.int64)
        self._version = -1
        super().__init__(Path(path), SCENE_FILE)
        try:
            with explained(self.path, SCENE_FILE), transaction(self._connection):
                self._check_space()
        except BaseException:
            self.close()
            raise

    def add(self, scenes: Sequence[Scene]) -> tuple[Scene, ...]:
        """Store scenes, all or none, and embed them; each gets an id of its own.

        What is there already, of the same side and category, is left out. Returns the new ones.
        """
        frames = frames_for(self.encoder)
        texts = [framed(scene.text, scene.side, scene.category, frames) for scene in scenes]
        return self.add_vectors(scenes, self.encoder.encode(texts))

    def add_vectors(self, scenes: Sequence[Scene], vectors: FloatArray) -> tuple[Scene, ...]:
        """The same with vectors, unit float32 (n, d), that the store's encoder made."""
        if vectors.shape != (len(scenes), self.encoder.dimensions):
            raise DataError(
                f'The memory file "{self.path}" takes vectors {(len(scenes), self.encoder.dimensions)}, '
                f"got {vectors.shape}."
            )
        created = now()
        stored = []
        with explained(self.path, SCENE_FILE), transaction(self._connection):
            for scene, vector in zip(scenes, vectors.astype("<f4"), strict=True):
                row = self._connection.execute(
                    "INSERT INTO scenes (created, side, category, text, source, vector)"
                    f" VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING {_COLUMNS}",
                    [created, scene.side, scene.category, scene.text, scene.source, vector.tobytes()],
                ).fetchone()
                if row is not None:
                    stored.append(_scene(row))
        return tuple(stored)

    def delete(self, ids: Sequence[str | int]) -> int:
        """Forget scenes by id, all or none; raises DataError for one that isn't there. Returns how many."""
        numbers = [scene_number(id) for id in ids]
        with explained(self.path, SCENE_FILE), transaction(self._connection):
            for number in numbers:
                if not self._connection.execute("DELETE FROM scenes WHERE id = ?", [number]).rowcount:
                    raise DataError(f'There is no scene:{number} in "{self.path}".')
        return len(numbers)

    def calibrate(self, threshold: Threshold) -> None:
        """Keep the threshold of the camera, in place of an earlier one."""
        with explained(self.path, SCENE_FILE), transaction(self._connection):
            self._connection.execute("DELETE FROM calibration")
            values = [now(), threshold.value, threshold.rate, threshold.captions]
            self._connection.execute("INSERT INTO calibration VALUES (?, ?, ?, ?)", values)

    def threshold(self) -> Threshold | None:
        """The threshold of the camera, where it was calibrated."""
        with explained(self.path, SCENE_FILE):
            row = self._connection.execute("SELECT * FROM calibration").fetchone()
            if row is None:
                return None
            return Threshold(value=row["threshold"], rate=row["rate"], captions=row["captions"])

    def list(
        self, *, side: Side | None = None, category: str | None = None, most: int = -1
    ) -> tuple[Scene, ...]:
        """Scenes in the order of their ids; of one side or category where named; at most ``most``."""
        with explained(self.path, SCENE_FILE):
            rows = self._connection.execute(
                f"SELECT {_COLUMNS} FROM scenes WHERE (?1 IS NULL OR side = ?1)"
                " AND (?2 IS NULL OR category = ?2) ORDER BY id LIMIT ?3",
                [side, category, most],
            )
            return tuple(map(_scene, rows))

    def vectors(self) -> FloatArray:
        """Vectors of all scenes in the order of their ids, unit float32 (n, d)."""
        with explained(self.path, SCENE_FILE):
            return self._vectors(self._connection.execute("SELECT id, vector FROM scenes ORDER BY id"))[1]

    def search(
        self, text: str, k: int = 10, *, side: Side | None = None, category: str | None = None
    ) -> tuple[Near, ...]:
        """The k scenes most like a text, the most similar first; of one side or category where named."""
        query = self.encoder.encode([framed(text, "normal", "", "none")])
        with explained(self.path, SCENE_FILE):
            index = self._current()
            allowed = np.isin(index.numbers, self._wanted(side, category))
            products, numbers = index.search(query, k, None if allowed.all() else allowed)
            return tuple(
                Near(self._get(int(number)), float(alike))
                for number, alike in zip(numbers[0], products[0], strict=True)
                if number >= 0
            )

    def _wanted(self, side: Side | None, category: str | None) -> IntArray:
        """Ids of rows that are there, as far as they are asked for."""
        if side is None and category is None:
            return self._live
        rows = self._connection.execute(
            "SELECT id FROM scenes WHERE (?1 IS NULL OR side = ?1) AND (?2 IS NULL OR category = ?2)",
            [side, category],
        )
        return np.array([row["id"] for row in rows], np.int64)

    def _current(self) -> VectorIndex:
        """The index, as far as needed brought up to what is in the rows now. Ids are never used twice."""
        self._live = np.array([r["id"] for r in self._connection.execute("SELECT id FROM scenes")], np.int64)
        path = self.path.with_name(self.path.name + ".index")
        index = self._index or load_index(path, self.encoder.name)
        known = np.isin(self._live, index.numbers) if index else np.zeros(len(self._live), np.bool_)
        stale = (~known).sum() + (len(index) - known.sum() if index else 0)
        if index is not None and index.dimensions == self.encoder.dimensions and not stale:
            self._index = index
            return index
        if index is None or index.kind != kind_for(len(self._live)) or stale > _STALE * len(index):
            rows = self._connection.execute("SELECT id, vector FROM scenes ORDER BY id")
            numbers, vectors = self._vectors(rows)
            index = VectorIndex.build(vectors, numbers)
        else:
            new = self._live[~known].tolist()
            rows = self._connection.execute(
                f"SELECT id, vector FROM scenes WHERE id >= {min(new, default=0)} ORDER BY id"
            )
            numbers, vectors = self._vectors(rows)
            fresh = np.isin(numbers, new)
            index.add(vectors[fresh], numbers[fresh])
        if index.kind != "flat":
            save_index(index, path, self.encoder.name)
        self._index = index
        return index

    def _vectors(self, rows: sqlite3.Cursor) -> tuple[IntArray, FloatArray]:
        found = [(row["id"], row["vector"]) for row in rows]
        data = np.frombuffer(b"".join(blob for _, blob in found), "<f4").astype(np.float32)
        return np.array([id for id, _ in found], np.int64), data.reshape(-1, self.encoder.dimensions)

    def _get(self, number: int) -> Scene:
        row = self._connection.execute(f"SELECT {_COLUMNS} FROM scenes WHERE id = ?", [number]).fetchone()
        return _scene(row)

    def _check_space(self) -> None:
        """Note the encoder in a new file; refuse vectors of another one."""
        row = self._connection.execute("SELECT * FROM space").fetchone()
        mine = (self.encoder.name, self.encoder.dimensions)
        if row is None:
            self._connection.execute("INSERT INTO space VALUES (?, ?)", mine)
        elif (row["name"], row["dimensions"]) != mine:
            raise DataError(
                f'The memory file "{self.path}" was made with {row["name"]} ({row["dimensions"]} numbers), '
                f"not with {mine[0]} ({mine[1]}).",
                "Use that encoder, or build a new memory file.",
            )


def scene_number(id: str | int) -> int:
    """The number of a stored scene's id, "scene:7" or 7; raises DataError for anything else."""
    match = re.fullmatch(r"(?:scene:)?([1-9]\d{0,17})", str(id))
    if not match:
        raise DataError(f'"{str(id)[:40]}" is not the id of a stored scene.', "Ids look like scene:7.")
    return int(match[1])


def _scene(row: sqlite3.Row) -> Scene:
    return Scene(
        id=f"scene:{row['id']}",
        side=row["side"],
        category=row["category"],
        text=row["text"],
        source=row["source"],
    )
