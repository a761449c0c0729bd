"""Rules as records, the rules that ship, and files of captions.

A rule is one sentence on what is normal or anomalous, with its origin and support. General anomaly rules and
clauses that are usual nearly everywhere ship as text files in ``data/``. Files of captions are lines of text,
or a CSV with a column ``caption``.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from anomalist.errors import DataError
from anomalist.types.common import Frozen

Polarity = Literal["normal", "anomalous"]
RuleKind = Literal["activity", "object", "place"]
RuleOrigin = Literal["induced", "person", "shipped"]

MAX_RULE_CHARACTERS = 300
"""Longest rule: one sentence."""

MAX_KEYWORDS = 20
MAX_KEYWORD_CHARACTERS = 60


def _valid_rule_text(text: str) -> str:
    """The text on one line; raises ValueError unless it is a sentence that can be compared."""
    line = " ".join(text.split())
    if not any(map(str.isalpha, line)):
        raise ValueError("a rule has words")
    if len(line) > MAX_RULE_CHARACTERS:
        raise ValueError(f"a rule has at most {MAX_RULE_CHARACTERS} characters, this one has {len(line):,}")
    return line


def _valid_keywords(words: tuple[str, ...]) -> tuple[str, ...]:
    """Keywords in lower case, each once; raises ValueError for too many, or for one that is no word."""
    tidy = tuple(dict.fromkeys(" ".join(word.lower().split()) for word in words))
    if len(tidy) > MAX_KEYWORDS:
        raise ValueError(f"a rule has at most {MAX_KEYWORDS} keywords")
    if wrong := [word for word in tidy if not re.search(r"\w", word) or len(word) > MAX_KEYWORD_CHARACTERS]:
        raise ValueError(f"{wrong[0][:40]!r} is no keyword")
    return tidy


def can_be_rule(text: str) -> bool:
    """Whether a text can be that of a rule."""
    try:
        return bool(_valid_rule_text(text))
    except ValueError:
        return False


def first_keywords(words: Iterable[str], most: int) -> tuple[str, ...]:
    """The first of these words that can be keywords; a sentence without spaces is one word and can't."""
    return tuple(word for word in words if len(word) <= MAX_KEYWORD_CHARACTERS)[:most]


RuleText = Annotated[str, AfterValidator(_valid_rule_text)]
Keywords = Annotated[tuple[str, ...], AfterValidator(_valid_keywords)]


class SupportingCaption(Frozen):
    """A caption that a rule was induced from."""

    number: int = Field(ge=1, description="its row in the file, from 1, without the header")
    text: str


class RuleSupport(Frozen):
    """Support of an induced rule: the captions and batches that state it."""

    source: str = Field(description="the file of captions, as the user named it")
    sha256: str = Field(description="hex digest of that file")
    captions: tuple[int, ...] = Field(description="rows that state it, from 1")
    of: int = Field(ge=1, description="captions in the file")
    batches: int = Field(ge=0, description="batches that state it")
    of_batches: int = Field(ge=1)
    examples: tuple[SupportingCaption, ...] = Field((), description="some of these captions, verbatim")
    by: str = Field("", description="the language model that induced it, and its prompts; empty: none")


class Rule(Frozen):
    """One sentence with polarity, keywords, minimum severity and version; a change makes a new version."""

    id: str = Field(pattern=r"^rule:[a-z0-9-]+$")
    text: RuleText
    polarity: Polarity
    kind: RuleKind
    keywords: Keywords = Field((), description="words whose occurrence in a clause is a match")
    severity: int = Field(0, ge=0, le=4, description="minimum severity of what it matches")
    origin: RuleOrigin
    version: int = Field(1, ge=1)
    enabled: bool = True
    support: RuleSupport | None = Field(None, description="of an induced rule")
    note: str = Field("", description="why it was added, changed or dropped")


class RuleVersion(Frozen):
    """One version of a rule, with time and author."""

    rule: Rule
    time: str = Field(description="UTC, ISO 8601")
    who: str


MAX_CAPTIONS = 200_000
"""Most captions of one file."""


@dataclass(frozen=True)
class CaptionFile:
    """Captions and the file that they come from.

    Parameters
    ----------
    source : the path as given.
    sha256 : hex digest of the file's bytes.
    captions : one per row, in order; may be empty texts. Other columns are not read.
    """

    source: str
    sha256: str
    captions: tuple[str, ...]


def read_captions(path: Path) -> CaptionFile:
    """Read captions: the column ``caption`` of a ``.csv``, the non-empty lines of any other file.

    Raises
    ------
    DataError : the file can't be read, isn't UTF-8, has no such column, or holds no or too many captions.
    """
    try:
        data = path.read_bytes()
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise DataError(f'The captions "{path}" can\'t be read: {error.strerror}.') from error
    except UnicodeDecodeError as error:
        raise DataError(f'The captions "{path}" are not UTF-8 text.', "Save the file as UTF-8.") from error
    if path.suffix.lower() == ".csv":
        captions = _caption_column(path, text)
    else:
        captions = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not any(map(str.strip, captions)):
        raise DataError(f'"{path}" holds no captions.', "Write one a line, or a CSV with a column caption.")
    if len(captions) > MAX_CAPTIONS:
        raise DataError(f'"{path}" holds {len(captions):,} captions, more than {MAX_CAPTIONS:,}.')
    return CaptionFile(str(path), hashlib.sha256(data).hexdigest(), captions)


def _caption_column(path: Path, text: str) -> tuple[str, ...]:
    try:
        rows = csv.reader(io.StringIO(text, newline=""), strict=True)
        heading = next(rows, [])
        if "caption" not in heading:
            raise DataError(f'"{path}" has no column caption.', "Name the column in the first line.")
        place = heading.index("caption")
        return tuple(row[place] if place < len(row) else "" for row in rows if row)
    except csv.Error as error:
        raise DataError(f'"{path}" is not a CSV file: {error}.') from error


@cache
def shipped_anomalies() -> tuple[Rule, ...]:
    """The general anomaly rules, with ids ``rule:shipped-1`` and so on, in the order of ``anomalies.csv``."""
    rows = csv.DictReader(io.StringIO(_data_text("anomalies.csv")))
    return tuple(
        Rule.model_validate(
            {
                "id": f"rule:shipped-{number}",
                "text": row["text"],
                "polarity": "anomalous",
                "kind": row["kind"],
                "keywords": tuple(filter(None, row["keywords"].split(";"))),
                "severity": int(row["severity"]),
                "origin": "shipped",
            }
        )
        for number, row in enumerate(rows, start=1)
    )


@cache
def usual_clauses() -> tuple[str, ...]:
    """Clauses that are usual nearly everywhere, from ``usual.txt``."""
    lines = (line.strip() for line in _data_text("usual.txt").splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))


def _data_text(name: str) -> str:
    return files("anomalist.memory").joinpath("data", name).read_text(encoding="utf-8")
