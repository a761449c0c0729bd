"""Case store: user feedback on findings with embeddings, in one table for pictures and events.

A case is never changed or deleted. It can be undone, which is stored with user and time. Several processes
may read and write the same file; a case that was added survives a crash.
"""

from __future__ import annotations

import getpass
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from anomalist.errors import DataError
from anomalist.memory.vector_index import VectorIndex
from anomalist.settings import Settings
from anomalist.storage.files import utc_now
from anomalist.storage.row_store import Row, RowStore, is_stored
from anomalist.types.common import FloatArray, Frozen

Action = Literal["seen", "dismissed", "escalate", "confirmed", "corrected"]


_ACTING: ContextVar[str | None] = ContextVar("acting", default=None)


@contextmanager
def acting_as(name: str) -> Iterator[None]:
    """Let everything in this context be done in a person's name: a server acts for those who ask it."""
    token = _ACTING.set(name)
    try:
        yield
    finally:
        _ACTING.reset(token)


def current_user() -> str:
    """Who acts: as `acting_as` says, else the login name of the user, or "unknown"."""
    if (acting := _ACTING.get()) is not None:
        return acting
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container without a user of that number
        return "unknown"


class Feedback(Frozen):
    """What a person says about one finding: an event of a video, or a picture or a region of it."""

    action: Action = Field(
        description="of events: seen, dismissed (not worth watching), escalate; "
        "of pictures: confirmed, corrected (kind and severity are the person's)"
    )
    media: Literal["picture", "event"]
    source: str = Field(description="path or address of the picture or video")
    who: str = Field(default_factory=current_user, min_length=1)
    sha256: str | None = Field(None, description="hex digest of the file")
    key: str | None = Field(None, description="key of the record that the feedback is about")
    part: str | None = Field(None, description="id of the event or region in that record: E1, R2")
    start: float | None = Field(None, ge=0, allow_inf_nan=False, description="seconds")
    end: float | None = Field(None, ge=0, allow_inf_nan=False, description="seconds")
    text: str = Field("", description="caption of the event, or of what is seen in the picture")
    kind: str | None = Field(None, description="kind of anomaly")
    severity: int | None = Field(None, ge=0, le=4, description="index into SEVERITIES; 0: it is normal")
    profile: str | None = Field(None, description="name of the profile or scene")
    note: str = ""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.start is not None and self.end is not None and self.end < self.start:
            raise ValueError(f"the end, {self.end} s, is before the start, {self.start} s")
        return self


class Case(Feedback):
    """Stored feedback, with id, time and whether it was undone."""

    id: str = Field(pattern=r"^case:[1-9]\d*$")
    created: str = Field(description="UTC, ISO 8601")
    undone: str | None = Field(None, description="when it was undone, UTC, ISO 8601; None: it holds")
    undone_by: str | None = None


class SimilarCase(NamedTuple):
    """A case and the cosine similarity of its embedding to the query, −1 to 1."""

    case: Case
    similarity: float


_SELECTED = "in case:{}:"
"""Note of a case that is part of a selection, which it names."""

_COLUMNS = ", ".join(f'"{name}"' for name in Feedback.model_fields)


class CaseStore(RowStore):
    """The cases in one row store, made where there is none; a context manager. Not for several threads.

    Every method raises DataError, which names the file, when it is damaged, locked for too long or can't be
    written, and when there is no case with the given id.

    Parameters
    ----------
    path : the file; by default ``cases.sqlite`` in the home of the settings.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        super().__init__(Path(path) if path is not None else Settings().cases)

    def add(self, feedback: Feedback, vectors: Mapping[str, npt.ArrayLike] | None = None) -> Case:
        """Store feedback and its embeddings, by embedding space, in one transaction."""
        blobs = {space: _vector_blob(space, vector) for space, vector in (vectors or {}).items()}
        with self._rows.errors(), self._rows.transaction():
            row = self._insert(feedback)
            for space, blob in blobs.items():
                self._attach(row["id"], space, blob)
            return _case_from_row(row)

    def add_selection(
        self, feedback: Feedback, parts: Sequence[tuple[Feedback, Mapping[str, npt.ArrayLike]]]
    ) -> Case:
        """Store feedback on a selection and on each of its parts, all or nothing; undoing it undoes them all.

        Parameters
        ----------
        feedback : on the selection as a whole.
        parts : feedback on one picture or event each, with its embeddings by space.

        Returns
        -------
        The case of the selection. Those of its parts name it in their note.
        """
        blobs = [
            {space: _vector_blob(space, each) for space, each in vectors.items()} for _, vectors in parts
        ]
        with self._rows.errors(), self._rows.transaction():
            row = self._insert(feedback)
            for (part, _), vectors in zip(parts, blobs, strict=True):
                note = f"{_SELECTED.format(row['id'])} {part.note}".rstrip()
                number = self._insert(part.replace(note=note))["id"]
                for space, blob in vectors.items():
                    self._attach(number, space, blob)
            return _case_from_row(row)

    def attach(self, id: str | int, space: str, vector: npt.ArrayLike) -> None:
        """Store an embedding of a case, in place of an earlier one in the same space.

        ``vector`` is (d,) with d ≥ 1; the first vector of a space fixes d. Raises DataError for another d, a
        zero vector, or values that aren't finite.
        """
        blob = _vector_blob(space, vector)
        with self._rows.errors(), self._rows.transaction():
            self._attach(self._row(id)["id"], space, blob)

    def undo(self, id: str | int, who: str | None = None) -> Case:
        """Mark a case as undone, and with a selection its parts; it stays in the file.

        Raises DataError if it is undone already.
        """
        with self._rows.errors(), self._rows.transaction():
            case = _case_from_row(self._row(id))
            if case.undone:
                raise DataError(f"{case.id} was undone already, by {case.undone_by} at {case.undone}.")
            undone = [utc_now(), who or current_user()]
            row = self._rows.execute(
                "UPDATE cases SET undone = ?, undone_by = ? WHERE id = ? RETURNING *",
                [*undone, _case_number(id)],
            ).fetchone()
            self._rows.execute(
                "UPDATE cases SET undone = ?, undone_by = ? WHERE undone IS NULL AND note LIKE ?",
                [*undone, f"{_SELECTED.format(row['id'])}%"],
            )
            return _case_from_row(row)

    def get(self, id: str | int) -> Case:
        """The case with an id, "case:12" or 12, undone or not."""
        with self._rows.errors():
            return _case_from_row(self._row(id))

    def with_parts(self, id: str | int) -> tuple[Case, ...]:
        """A case and, where it is of a selection, those of its parts that hold or were undone with it."""
        with self._rows.errors():
            whole = _case_from_row(self._row(id))
            rows = self._rows.execute(
                "SELECT * FROM cases WHERE note LIKE ? ORDER BY id",
                [f"{_SELECTED.format(_case_number(id))}%"],
            ).fetchall()
            parts = tuple(map(_case_from_row, rows))
            return (whole, *(part for part in parts if part.undone == whole.undone))

    def list(
        self, profile: str | None = None, action: Action | None = None, undone: bool = False
    ) -> tuple[Case, ...]:
        """Cases, the newest first, optionally of one profile or action; undone ones only on request."""
        with self._rows.errors():
            rows = self._rows.execute(
                "SELECT * FROM cases WHERE (:profile IS NULL OR profile = :profile)"
                " AND (:action IS NULL OR action = :action) AND (:undone OR undone IS NULL) ORDER BY id DESC",
                {"profile": profile, "action": action, "undone": undone},
            )
            return tuple(map(_case_from_row, rows))

    def version(self) -> tuple[int, int]:
        """Cases ever added, and undone ones: something else after each change that matters to readers."""
        with self._rows.errors():
            row = self._rows.execute(
                "SELECT coalesce(max(id), 0) AS added, count(undone) AS undone FROM cases"
            ).fetchone()
            return row["added"], row["undone"]

    def vectors(self, space: str, *, profile: str | None = None) -> tuple[tuple[Case, ...], FloatArray]:
        """Cases with an embedding in a space that are not undone, the newest first, and the embeddings.

        Optionally of one profile; "" for those without one. The embeddings are unit vectors, float32 (n, d);
        (0, 0) where there are none.
        """
        with self._rows.errors():
            numbers, vectors = self._vectors(space, profile)
            return tuple(_case_from_row(self._row(number)) for number in numbers), vectors

    def similar(
        self, space: str, vector: npt.ArrayLike, k: int, *, profile: str | None = None
    ) -> tuple[SimilarCase, ...]:
        """The k nearest cases that are not undone to ``vector`` (d,), the most similar first.

        ``profile`` as in `vectors`.

        Raises DataError when the space holds vectors of another length.
        """
        return self.similar_to_each(space, [vector], k, profile=profile)[0]

    def similar_to_each(
        self, space: str, vectors: Sequence[npt.ArrayLike], k: int, *, profile: str | None = None
    ) -> tuple[tuple[SimilarCase, ...], ...]:
        """`similar` for several vectors, each (d,); the cases are read once."""
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        queries = [np.frombuffer(_vector_blob(space, vector), "<f4") for vector in vectors]
        with self._rows.errors():
            numbers, stored = self._vectors(space, profile)
            if not numbers or not queries:
                return ((),) * len(queries)
            for query in queries:
                if stored.shape[1] != len(query):
                    raise DataError(_wrong_length(space, stored.shape[1], len(query)))
            index = VectorIndex.build(stored, np.arange(len(numbers)))
            likeness, found = index.search(_normalised(np.stack(queries)), min(k, len(numbers)))
            known = {place: _case_from_row(self._row(numbers[place])) for place in np.unique(found).tolist()}
            return tuple(
                tuple(
                    SimilarCase(known[int(place)], float(similarity))
                    for place, similarity in zip(places, row, strict=True)
                )
                for places, row in zip(found, likeness, strict=True)
            )

    def _vectors(self, space: str, profile: str | None) -> tuple[Sequence[int], FloatArray]:
        rows = self._rows.execute(
            'SELECT id, vector FROM cases JOIN embeddings ON "case" = id WHERE space = :space'
            " AND undone IS NULL AND (:profile IS NULL OR coalesce(profile, '') = :profile) ORDER BY id DESC",
            {"space": space, "profile": profile},
        ).fetchall()
        stored = [np.frombuffer(row["vector"], "<f4") for row in rows]
        unit = _normalised(np.stack(stored)) if stored else np.empty((0, 0), np.float32)
        return [row["id"] for row in rows], unit

    def _insert(self, feedback: Feedback) -> Row:
        values = [getattr(feedback, name) for name in Feedback.model_fields]
        marks = ", ".join("?" * len(values))
        row: Row = self._rows.execute(
            f"INSERT INTO cases (created, {_COLUMNS}) VALUES (?, {marks}) RETURNING *", [utc_now(), *values]
        ).fetchone()
        return row

    def _row(self, id: str | int) -> Row:
        row: Row | None = self._rows.execute(
            "SELECT * FROM cases WHERE id = ?", [_case_number(id)]
        ).fetchone()
        if row is None:
            raise DataError(f'There is no case:{_case_number(id)} in "{self.place}".')
        return row

    def _attach(self, number: int, space: str, blob: bytes) -> None:
        known = self._rows.execute(
            "SELECT length(vector) AS size FROM embeddings WHERE space = ? LIMIT 1", [space]
        ).fetchone()
        if known and known["size"] != len(blob):
            raise DataError(_wrong_length(space, known["size"] // 4, len(blob) // 4))
        self._rows.execute(
            'INSERT INTO embeddings VALUES (?, ?, ?) ON CONFLICT ("case", space)'
            " DO UPDATE SET vector = excluded.vector",
            [number, space, blob],
        )


def list_cases(
    path: str | Path | None = None, *, profile: str | None = None, undone: bool = False
) -> tuple[Case, ...]:
    """`CaseStore.list` of a file, by default that of this user; nothing is made where there is none."""
    place = Path(path) if path is not None else Settings().cases
    if not is_stored(place):
        return ()
    with CaseStore(place) as store:
        return store.list(profile, undone=undone)


def _case_number(id: str | int) -> int:
    match = re.fullmatch(r"(?:case:)?([1-9]\d{0,17})", str(id))
    if not match:
        raise DataError(f'"{id}" is not the id of a case.', "Ids look like case:12.")
    return int(match[1])


def _case_from_row(row: Row) -> Case:
    values = {name: row[name] for name in Case.model_fields}
    return Case(**{**values, "id": f"case:{row['id']}"})


def _vector_blob(space: str, vector: npt.ArrayLike) -> bytes:
    """The vector as little-endian float32; raises DataError for a vector without a direction."""
    if not space:
        raise DataError("The space of an embedding has no name.", "Name what made the embedding.")
    with np.errstate(over="ignore"):
        array = np.asarray(vector, "<f4")
    if array.ndim != 1 or not len(array):
        raise DataError(f'An embedding in "{space}" must be (d,), got {array.shape}.')
    if not np.isfinite(array).all() or not array.any():
        raise DataError(f'An embedding in "{space}" must be finite and not all zero.')
    return array.tobytes()


def _normalised(vectors: npt.NDArray[np.float32]) -> FloatArray:
    wide = vectors.astype(np.float64)  # squares of float32 values may overflow float32
    unit: FloatArray = (wide / np.linalg.norm(wide, axis=1, keepdims=True)).astype(np.float32)
    return unit


def _wrong_length(space: str, want: int, got: int) -> str:
    return f'Embeddings in "{space}" have {want} numbers, got {got}.'
