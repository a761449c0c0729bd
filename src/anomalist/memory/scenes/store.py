"""Scene store: scenes that users add, with vectors, search and a conformal threshold.

The index is derived from the rows. The threshold is calibrated on the camera's own normal captions, because
the level of similarities differs from scene to scene, so that no threshold holds for two cameras.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydantic import Field

from anomalist.errors import CalibrationError, DataError
from anomalist.memory.embedding import Encoder, load_encoder
from anomalist.memory.scenes.scene import (
    RememberedScene,
    ScenePolarity,
    apply_frame,
    framing_for,
    shipped_scene_vectors,
    shipped_scenes,
)
from anomalist.memory.scenes.scene_index import load_index, save_index
from anomalist.memory.vector_index import IntArray, VectorIndex, index_kind
from anomalist.storage.files import utc_now
from anomalist.storage.row_store import Row, RowStore
from anomalist.storage.sqlite import SqliteSchema
from anomalist.types.common import FloatArray, Frozen

DEFAULT_FALSE_ALARM_RATE = 0.05
"""Share of normal captions that may be called anomalous."""


class SceneThreshold(Frozen):
    """The score from which a caption is anomalous, and what it was calibrated on."""

    value: float
    rate: float = Field(gt=0, lt=1, description="share of normal captions that may be called anomalous")
    captions: int = Field(ge=1, description="normal captions that it was calibrated on")


def captions_needed(rate: float) -> int:
    """The fewest normal captions that support a false-alarm rate."""
    return math.ceil(1 / rate) - 1


def conformal_threshold(scores: FloatArray, rate: float = DEFAULT_FALSE_ALARM_RATE) -> SceneThreshold:
    """The lowest threshold whose conformal p-value (Vovk et al. 2005) is at most ``rate``.

    Parameters
    ----------
    scores : float32 (n,) of normal captions that are not in the memory; NaN is left out.
    rate : share of normal captions that may be called anomalous, above 0 and below 1.

    Raises
    ------
    CalibrationError : too few captions for that rate.
    """
    if not 0 < rate < 1:
        raise CalibrationError(f"A false-alarm rate lies between 0 and 1, got {rate:g}.")
    known = np.sort(scores[np.isfinite(scores)])[::-1]
    above = math.floor(rate * (len(known) + 1) + 1e-9) - 1
    if above < 0:
        raise CalibrationError(
            f"{len(known)} normal captions can't support a false-alarm rate of {rate:g}.",
            f"Give at least {captions_needed(rate)}, or ask for a higher rate.",
        )
    value = float(np.nextafter(known[above], np.float32(np.inf)))
    return SceneThreshold(value=value, rate=rate, captions=len(known))


def cross_fit_halves(captions: Sequence[str]) -> tuple[tuple[Sequence[str], Sequence[str]], ...]:
    """Two folds for cross-fitting: (known, scored), each half scored by a memory that holds the other.

    Neighbouring captions of a video are nearly equal, so the halves are the earlier and the later captions.
    """
    middle = len(captions) // 2
    earlier, later = captions[:middle], captions[middle:]
    return (earlier, later), (later, earlier)


SCENE_SCHEMA = SqliteSchema(
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

_REBUILD_SHARE = 0.2  # share of new or deleted rows from which the index is built again
_COLUMNS = "id, side, category, text, source"
_ALL = 2**62


BuildIndex = Callable[[FloatArray, IntArray], VectorIndex]
"""Indexes vectors, float32 (n, d), under ids int64 (n,)."""


class SimilarScene(NamedTuple):
    """A scene and its cosine similarity to the query, −1 to 1."""

    scene: RememberedScene
    similarity: float


class SceneStore(RowStore):
    """The scenes in one row store, made where there is none; a context manager. Not for several threads.

    Several processes may read and write the same file; what was added survives a crash. Every method
    raises DataError, which names the file, when it is damaged, locked for too long or can't be written.

    Parameters
    ----------
    path : the file; the index stands beside it (``.index``) once there are many scenes.
    encoder : the sentence encoder; `load_encoder()` by default.

    Raises
    ------
    DataError : the file was made with another encoder, or isn't a memory file.
    """

    def __init__(self, path: str | Path, encoder: Encoder | None = None) -> None:
        self.encoder = encoder or load_encoder()
        self._index: VectorIndex | None = None
        self._live: IntArray = np.empty(0, np.int64)
        self._version = -1
        super().__init__(Path(path), SCENE_SCHEMA)
        try:
            with self._rows.errors(), self._rows.transaction():
                self._check_space()
        except BaseException:
            self.close()
            raise

    def add(self, scenes: Sequence[RememberedScene]) -> tuple[RememberedScene, ...]:
        """Embed scenes and store them in one transaction; each gets an id of its own.

        Duplicates of a stored scene (same polarity, category and text) are left out. Returns the new scenes.
        """
        frames = framing_for(self.encoder)
        texts = [apply_frame(scene.text, scene.side, scene.category, frames) for scene in scenes]
        return self.add_vectors(scenes, self.encoder.encode(texts))

    def add_vectors(
        self, scenes: Sequence[RememberedScene], vectors: FloatArray
    ) -> tuple[RememberedScene, ...]:
        """`add` with given vectors, unit float32 (n, d), of the store's encoder."""
        if vectors.shape != (len(scenes), self.encoder.dimensions):
            raise DataError(
                f'The memory file "{self.place}" takes vectors {(len(scenes), self.encoder.dimensions)}, '
                f"got {vectors.shape}."
            )
        created = utc_now()
        stored = []
        with self._rows.errors(), self._rows.transaction():
            for scene, vector in zip(scenes, vectors.astype("<f4"), strict=True):
                row = self._rows.execute(
                    "INSERT INTO scenes (created, side, category, text, source, vector)"
                    f" VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING {_COLUMNS}",
                    [created, scene.side, scene.category, scene.text, scene.source, vector.tobytes()],
                ).fetchone()
                if row is not None:
                    stored.append(_scene_from_row(row))
        return tuple(stored)

    def delete(self, ids: Sequence[str | int]) -> int:
        """Delete scenes by id, all or none; returns how many. Raises DataError for an unknown id."""
        numbers = list(dict.fromkeys(map(scene_number, ids)))
        with self._rows.errors(), self._rows.transaction():
            for number in numbers:
                if not self._rows.execute("DELETE FROM scenes WHERE id = ?", [number]).rowcount:
                    raise DataError(f'There is no scene:{number} in "{self.place}".')
        return len(numbers)

    def calibrate(self, threshold: SceneThreshold) -> None:
        """Store the threshold of the camera, in place of an earlier one."""
        with self._rows.errors(), self._rows.transaction():
            self._rows.execute("DELETE FROM calibration")
            values = [utc_now(), threshold.value, threshold.rate, threshold.captions]
            self._rows.execute("INSERT INTO calibration VALUES (?, ?, ?, ?)", values)

    def threshold(self) -> SceneThreshold | None:
        """The threshold of the camera, where it was calibrated."""
        with self._rows.errors():
            row = self._rows.execute("SELECT * FROM calibration").fetchone()
            if row is None:
                return None
            return SceneThreshold(value=row["threshold"], rate=row["rate"], captions=row["captions"])

    def list(
        self, *, side: ScenePolarity | None = None, category: str | None = None, most: int = -1
    ) -> tuple[RememberedScene, ...]:
        """Scenes by id, optionally of one polarity or category; at most ``most``, all with −1."""
        with self._rows.errors():
            rows = self._rows.execute(
                f"SELECT {_COLUMNS} FROM scenes WHERE (:side IS NULL OR side = :side)"
                " AND (:category IS NULL OR category = :category) ORDER BY id LIMIT :most",
                {"side": side, "category": category, "most": _ALL if most < 0 else most},
            )
            return tuple(map(_scene_from_row, rows))

    def scenes_and_vectors(self) -> tuple[tuple[RememberedScene, ...], FloatArray]:
        """All scenes by id, and their vectors, unit float32 (n, d), as they are at one moment."""
        with self._rows.errors():
            rows = self._rows.execute(f"SELECT {_COLUMNS}, vector FROM scenes ORDER BY id").fetchall()
            return tuple(map(_scene_from_row, rows)), self._vectors(rows)[1]

    def search(
        self, text: str, k: int = 10, *, side: ScenePolarity | None = None, category: str | None = None
    ) -> tuple[SimilarScene, ...]:
        """The k nearest scenes to a text, the most similar first, optionally of one polarity or category."""
        query = self.encoder.encode([apply_frame(text, "normal", "", "none")])
        with self._rows.errors():
            while True:
                index = self._current_index()
                allowed = np.isin(index.numbers, self._selected_ids(side, category))
                products, numbers = index.search(query, k, None if allowed.all() else allowed)
                near = [(int(n), float(p)) for n, p in zip(numbers[0], products[0], strict=True) if n >= 0]
                scenes = self._scenes([number for number, _ in near])
                if len(scenes) == len(near):  # else another process has deleted one since: search again
                    return tuple(SimilarScene(scenes[number], alike) for number, alike in near)

    def build_index(self, large: BuildIndex) -> None:
        """Build the index now, one of many scenes by ``large``; else that is done by the first search."""
        with self._rows.errors():
            self._current_index(large)

    def _selected_ids(self, side: ScenePolarity | None, category: str | None) -> IntArray:
        """Ids of the stored scenes of a polarity and category, as far as given."""
        if side is None and category is None:
            return self._live
        rows = self._rows.execute(
            "SELECT id FROM scenes WHERE (:side IS NULL OR side = :side)"
            " AND (:category IS NULL OR category = :category)",
            {"side": side, "category": category},
        )
        return np.array([row["id"] for row in rows], np.int64)

    def _current_index(self, large: BuildIndex | None = None) -> VectorIndex:
        """The index, updated to the current rows where needed. Ids are never used twice."""
        self._live = np.array([r["id"] for r in self._rows.execute("SELECT id FROM scenes")], np.int64)
        path = self._rows.derived.with_name(self._rows.derived.name + ".index")
        index = self._index or load_index(path, self.encoder.name)
        known = np.isin(self._live, index.numbers) if index else np.zeros(len(self._live), np.bool_)
        stale = (~known).sum() + (len(index) - known.sum() if index else 0)
        if index is not None and index.dimensions == self.encoder.dimensions and not stale:
            self._index = index
            return index
        if index is None or index.kind != index_kind(len(self._live)) or stale > _REBUILD_SHARE * len(index):
            rows = self._rows.execute("SELECT id, vector FROM scenes ORDER BY id")
            numbers, vectors = self._vectors(rows)
            many = large is not None and index_kind(len(numbers)) == "ivf"
            index = large(vectors, numbers) if large and many else VectorIndex.build(vectors, numbers)
        else:
            new = self._live[~known].tolist()
            rows = self._rows.execute(
                f"SELECT id, vector FROM scenes WHERE id >= {min(new, default=0)} ORDER BY id"
            )
            numbers, vectors = self._vectors(rows)
            fresh = np.isin(numbers, new)
            index.add(vectors[fresh], numbers[fresh])
        if index.kind != "flat":
            save_index(index, path, self.encoder.name)
        self._index = index
        return index

    def _vectors(self, rows: Iterable[Row]) -> tuple[IntArray, FloatArray]:
        found = [(row["id"], row["vector"]) for row in rows]
        data = np.frombuffer(b"".join(blob for _, blob in found), "<f4").astype(np.float32)
        return np.array([id for id, _ in found], np.int64), data.reshape(-1, self.encoder.dimensions)

    def _scenes(self, numbers: Sequence[int]) -> dict[int, RememberedScene]:
        """The scenes of these ids that are there."""
        found = (
            self._rows.execute(f"SELECT {_COLUMNS} FROM scenes WHERE id = ?", [number]).fetchone()
            for number in numbers
        )
        return {row["id"]: _scene_from_row(row) for row in found if row is not None}

    def _check_space(self) -> None:
        """Store the encoder's name in a new file; refuse a file with vectors of another encoder."""
        row = self._rows.execute("SELECT * FROM space").fetchone()
        mine = (self.encoder.name, self.encoder.dimensions)
        if row is None:
            self._rows.execute("INSERT INTO space VALUES (?, ?)", mine)
        elif (row["name"], row["dimensions"]) != mine:
            raise DataError(
                f'The memory file "{self.place}" was made with {row["name"]} ({row["dimensions"]} numbers), '
                f"not with {mine[0]} ({mine[1]}).",
                "Use that encoder, or build a new memory file.",
            )


def scene_number(id: str | int) -> int:
    """The number of a stored scene's id, "scene:7" or 7; raises DataError for anything else."""
    match = re.fullmatch(r"(?:scene:)?([1-9]\d{0,17})", str(id))
    if not match:
        raise DataError(f'"{str(id)[:40]}" is not the id of a stored scene.', "Ids look like scene:7.")
    return int(match[1])


def _scene_from_row(row: Row) -> RememberedScene:
    return RememberedScene(
        id=f"scene:{row['id']}",
        side=row["side"],
        category=row["category"],
        text=row["text"],
        source=row["source"],
    )


def filter_scenes(
    scenes: Sequence[RememberedScene], side: ScenePolarity | None, category: str | None
) -> tuple[RememberedScene, ...]:
    """The scenes of a polarity and category, as far as given."""
    return tuple(
        scene
        for scene in scenes
        if side in (None, scene.side) and (category is None or scene.category == category)
    )


def search_shipped(
    text: str,
    k: int,
    *,
    side: ScenePolarity | None = None,
    category: str | None = None,
    encoder: Encoder | None = None,
) -> tuple[SimilarScene, ...]:
    """The k nearest shipped scenes to a text, the most similar first."""
    encoder = encoder or load_encoder()
    scenes = shipped_scenes()
    wanted = {scene.id for scene in filter_scenes(scenes, side, category)}
    index = VectorIndex.build(shipped_scene_vectors(encoder), np.arange(len(scenes)))
    allowed = np.array([scene.id in wanted for scene in scenes], np.bool_)
    products, numbers = index.search(encoder.encode([apply_frame(text, "normal", "", "none")]), k, allowed)
    found = zip(numbers[0], products[0], strict=True)
    return tuple(SimilarScene(scenes[number], float(alike)) for number, alike in found if number >= 0)
