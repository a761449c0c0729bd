"""The words that questions about a run are made of: names in its records, and words of the trade.

Names of products, folders, kinds, places, cameras, zones and people come from the records; each is a
condition.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from anomalist.querying.columns import TableName, nearest_words
from anomalist.querying.query import Condition
from anomalist.querying.tables import Tables

_NAMED: Mapping[TableName, tuple[str, ...]] = {
    "pictures": ("product", "profile", "folder", "kinds", "kind", "model"),
    "regions": ("kind", "place"),
    "clips": ("camera", "folder"),
    "events": ("kind", "zone", "place"),
    "feedback": ("person",),
}
"""Columns whose values are words of questions; the first that holds a word gives its condition."""

MAX_VALUES = 2000
"""Values of a column that are words; of more, names would be too many to be told apart."""

_COMMON = frozenset(
    [
        "good",
        "bad",
        "test",
        "train",
        "normal",
        "anomalous",
        "defect",
        "defects",
        "picture",
        "pictures",
        "image",
        "images",
        "part",
        "parts",
        "clip",
        "clips",
        "all",
        "new",
        "old",
        "run",
        "runs",
        "out",
        "in",
        "on",
        "left",
        "right",
        "top",
        "bottom",
        "results",
        "data",
    ]
)
"""Folder names that are words of questions, too, and name no group."""


@dataclass(frozen=True)
class Name:
    """A name in the records.

    Parameters
    ----------
    text : as the records hold it.
    table, column : that hold it.
    """

    text: str
    table: TableName
    column: str

    @property
    def condition(self) -> Condition:
        """Rows that the name is of."""
        return Condition(column=self.column, values=(self.text,))


class RunVocabulary:
    """Names in the records of a run, found in texts with or without a plural s."""

    def __init__(self, tables: Tables) -> None:
        self._names: dict[str, Name] = {}
        for name in _names(tables):
            key = _normal(name.text)
            if len(key) > 1 and key not in _COMMON:
                self._names.setdefault(key, name)
        keys = sorted(self._names, key=len, reverse=True)
        alternatives = "|".join(_flexible(key) for key in keys)
        self._pattern = re.compile(rf"(?<![\w-])(?:{alternatives})(?![\w-])") if keys else None

    @property
    def names(self) -> tuple[Name, ...]:
        """All names, products and folders first."""
        return tuple(self._names.values())

    def find(self, text: str) -> Iterator[tuple[re.Match[str], Name]]:
        """The names in a text in lower case, the longest at each place."""
        for match in self._pattern.finditer(text) if self._pattern else ():
            name = self._named(match[0])
            if name is not None:
                yield match, name

    def nearest(self, word: str, most: int = 2, cutoff: float = 0.5) -> list[str]:
        """Known names that are spelt most like a word."""
        return nearest_words(word, [name.text for name in self.names], most, cutoff)

    def groups(self) -> list[str]:
        """Products, or else folders, or else cameras: what a run is made of."""
        for column in ("product", "folder", "camera"):
            found = [name.text for name in self.names if name.column == column]
            if len(found) > 1:
                return found
        return []

    def _named(self, text: str) -> Name | None:
        key = _normal(text)
        singular = (key, *_singulars(key))
        return next((self._names[each] for each in singular if each in self._names), None)


def _names(tables: Tables) -> Iterator[Name]:
    for table, columns in _NAMED.items():
        for column in columns:
            values = tables.distinct(table, column)
            if len(values) > MAX_VALUES:
                continue
            for value in values:
                parts = value.split("/") if column == "folder" else value.split(", ")
                yield from (Name(part, table, column) for part in dict.fromkeys((value, *parts)))


def _normal(text: str) -> str:
    return " ".join(re.sub(r"[_\s]+", " ", text.casefold()).split())


def _singulars(word: str) -> Iterator[str]:
    for ending, replacement in (("ies", "y"), ("es", ""), ("s", "")):
        if word.endswith(ending):
            yield word.removesuffix(ending) + replacement


def _flexible(key: str) -> str:
    """A name as a pattern: words apart by spaces, underscores or hyphens, with a plural or none."""
    words = [re.escape(word) for word in key.split()]
    stem = r"[\s_-]+".join(words)
    if key.endswith("y"):
        return rf"{stem}|{stem[:-1]}ies"
    return rf"{stem}(?:e?s)?"
