"""The question set: questions in plain words about real pictures, by relative path and hash."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from anomalist.errors import DataError
from anomalist.types import Frozen
from anomalist.unchanged import changed_since

FILE = Path(__file__).with_name("questions.json")

Check = Literal[
    "label", "place", "kind", "count", "size", "change", "search", "events", "when", "record", "severity",
    "confidence", "history", "action", "rate", "feedback", "unanswered",
]  # fmt: skip
"""What an answer is held against: labels of the data set, or for what has none, the record itself."""


class Learning(Frozen):
    """What is learned before the pictures are inspected; groups of the asked pictures are left out."""

    tiles: int = Field(description="good pictures, at least")
    cases: int = Field(description="labelled defects a kind")
    boards: int = Field(description="pairs whose labelled changes are known")
    clips: int = Field(description="normal clips of the scene")
    seed: int


class Asked(Frozen):
    """One picture, clip or batch that is asked about; paths are relative to the data folder."""

    id: str
    kind: Literal["tile", "board", "clip", "batch"]
    path: str = ""
    sha256: str = ""
    reference: str = ""
    reference_sha256: str = ""
    of: tuple[str, ...] = Field((), description="ids, of a batch")


class Question(Frozen):
    """One question, the intent that a person would see in it, and what it is asked about."""

    text: str
    intent: str
    check: Check
    leading: bool = Field(description="it suggests an answer")
    expects: str = Field("", description="of a search, what is listed; of another rate, the rate")
    on: tuple[str, ...] = Field(description="ids of what it is asked about")


class QuestionSet(Frozen):
    """All of it."""

    learn: Learning
    records: tuple[Asked, ...]
    open: tuple[Question, ...] = Field(description="that intents were worked on with")
    apart: tuple[Question, ...] = Field(description="written after the intents were frozen, asked once")


def read_questions(file: Path = FILE) -> QuestionSet:
    """Read the question set that ships."""
    return QuestionSet.model_validate_json(file.read_text(encoding="utf-8"))


def check_files(data: Path, records: Sequence[Asked]) -> None:
    """Raise DataError unless every picture that is asked about is there, byte for byte."""
    for record in records:
        for name, want in ((record.path, record.sha256), (record.reference, record.reference_sha256)):
            if not name:
                continue
            try:
                happened = changed_since(data / name, want)
            except OSError as error:
                raise DataError(
                    f"{data / name} can't be read: {error.strerror}.", "Is --data right?"
                ) from error
            if happened == "is gone":
                raise DataError(f"{data / name} can't be read: it is not there.", "Is --data right?")
            if happened is not None:
                raise DataError(f"{data / name} is not the picture that the questions are about.")
