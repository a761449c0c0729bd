"""Open-vocabulary event queries ("someone on a bicycle") scored against captions by sentence embedding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from pydantic import Field

from anomalist.errors import DataError
from anomalist.memory.clauses import clauses, negated
from anomalist.memory.embedding import Encoder, load_encoder
from anomalist.types.common import BoolArray, FloatArray, Frozen

T = TypeVar("T")

MAX_ITEM_CHARACTERS = 300
"""Longest watch item: it names an event, and is no description of the place."""

ORDINARY_CLAUSES = (
    "two people are walking next to each other",
    "a person is standing in front of an entrance",
    "someone is sitting on a chair and waiting",
    "several cars are parked along the road",
    "a worker is standing at a machine",
    "there are walls, doors, trees and a path",
)
"""Reference clauses for the contrast where no usual captions of the scene are given."""

NO_CLAUSE_SCORE = -1.0
"""Score of a caption without any clause that can be compared."""


class CaptionMatch(Frozen):
    """The clause of a caption that is the best match for a watch item."""

    item: str
    clause: str
    similarity: float = Field(description="cosine similarity of clause and item, −1 to 1")
    score: float = Field(description="similarity minus contrast, clipped to [−1, 1]; above 0 it matches")


class Watch:
    """Scores captions against named events, clause by clause.

    The level of cosine similarities differs from scene to scene, so that no single threshold on them works
    for two scenes. The score is therefore a difference whose zero has a meaning:

    - with ``usual``, similarity of clause and item minus that of the clause and the most similar usual
      clause: above 0 the clause is more like the item than like anything usual. A clause that is itself
      usual never gets above 0.
    - without it, similarity of clause and item minus that of the item and the most similar of a few ordinary
      clauses (`ORDINARY_CLAUSES`): above 0 the clause is more like the item than these are. The same value is
      subtracted from every caption, so that this zero is rougher, and captions rank by similarity.

    A negated clause ("no one is running") is compared only with negated items ("nobody at the desk"), and an
    affirmative clause only with affirmative items.

    Parameters
    ----------
    items : what to watch for, in words; at most 300 characters each.
    usual : captions of the scene as it usually is.
    encoder : the sentence encoder; `load_encoder()` by default.

    Raises
    ------
    DataError : no items, or an item without letters, too long, or given twice.
    """

    def __init__(
        self, items: Sequence[str], *, usual: Sequence[str] = (), encoder: Encoder | None = None
    ) -> None:
        self.items = _valid_items(items)
        self._encoder = encoder or load_encoder()
        self._vectors = self._encoder.encode(self.items)
        self._item_negated = np.array([negated(item) for item in self.items])
        usual_clauses = sorted({part for text in _reject_string(usual, "usual") for part in clauses(text)})
        self._usual = self._encoder.encode(usual_clauses)
        self._usual_negated = np.array([negated(part) for part in usual_clauses], np.bool_)
        ordinary = self._vectors @ self._encoder.encode(ORDINARY_CLAUSES).T
        self._ordinary: FloatArray = ordinary.max(1)

    def scores(self, captions: Sequence[str | Sequence[str]]) -> FloatArray:
        """Score of each caption for each item, float32 (n, items) in [−1, 1].

        A caption is one text or several; its best clause counts. A caption without a comparable clause gets
        −1.
        """
        scored = _ClauseScores(self, captions)
        result = np.full((len(captions), len(self.items)), NO_CLAUSE_SCORE, np.float32)
        for row, numbers in enumerate(scored.rows):
            if numbers:
                result[row] = scored.scores[numbers].max(0)
        return result

    def matches(self, captions: Sequence[str | Sequence[str]]) -> list[tuple[CaptionMatch | None, ...]]:
        """For each caption, the best clause for each item; None where no clause is comparable with it."""
        scored = _ClauseScores(self, captions)
        return [
            tuple(self._best(scored, numbers, item) for item in range(len(self.items)))
            for numbers in scored.rows
        ]

    def _contrast(self, vectors: FloatArray, has_negation: BoolArray) -> FloatArray:
        """What is subtracted from the similarities of clauses, (clauses, items) or broadcastable to it.

        Negated clauses are compared with negated usual clauses, affirmative ones with affirmative ones.
        """
        if not len(self._usual):
            return self._ordinary
        likeness = np.where(has_negation[:, None] == self._usual_negated, vectors @ self._usual.T, 0)
        nearest: FloatArray = likeness.max(1, keepdims=True)
        return nearest

    def _best(self, scored: _ClauseScores, numbers: Sequence[int], item: int) -> CaptionMatch | None:
        counted = [number for number in numbers if scored.counts[number, item]]
        if not counted:
            return None
        best = max(counted, key=lambda number: scored.scores[number, item])
        return CaptionMatch(
            item=self.items[item],
            clause=scored.parts[best],
            similarity=float(scored.similarities[best, item]),
            score=float(scored.scores[best, item]),
        )


class _ClauseScores:
    """The distinct clauses of some captions, each scored once.

    ``rows`` holds the indices of each caption's clauses; ``similarities``, ``scores`` and ``counts`` are
    (clauses, items).
    """

    def __init__(self, watch: Watch, captions: Sequence[str | Sequence[str]]) -> None:
        numbers: dict[str, int] = {}
        self.rows: list[list[int]] = []
        for caption in _reject_string(captions, "captions"):
            texts = [caption] if isinstance(caption, str) else caption
            parts = [part for text in texts for part in clauses(text)]
            self.rows.append([numbers.setdefault(part, len(numbers)) for part in parts])
        self.parts = list(numbers)
        vectors = watch._encoder.encode(self.parts)
        has_negation = np.array([negated(part) for part in self.parts], np.bool_)
        self.counts: BoolArray = has_negation[:, None] == watch._item_negated
        self.similarities: FloatArray = vectors @ watch._vectors.T
        scores = np.clip(self.similarities - watch._contrast(vectors, has_negation), -1, 1)
        self.scores: FloatArray = np.where(self.counts, scores, np.float32(NO_CLAUSE_SCORE))


def _valid_items(items: Sequence[str]) -> tuple[str, ...]:
    """The items with white space collapsed; raises DataError for an item that can't be used."""
    tidy = tuple(" ".join(item.split()) for item in _reject_string(items, "items"))
    remedy = 'Name an event in a few words, as in "someone on a bicycle".'
    if not tidy:
        raise DataError("There is nothing to watch for.", remedy)
    seen: set[str] = set()
    for item in tidy:
        if len(item) > MAX_ITEM_CHARACTERS:
            raise DataError(
                f'The watch item "{item[:40]}…" has {len(item):,} characters, '
                f"more than {MAX_ITEM_CHARACTERS}.",
                remedy,
            )
        if not any(map(str.isalpha, item)):
            raise DataError(f'The watch item "{item}" has no words.', remedy)
        if item.casefold() in seen:
            raise DataError(f'The watch item "{item}" is there twice.', "Name it once.")
        seen.add(item.casefold())
    return tidy


def _reject_string(texts: Sequence[T], name: str) -> Sequence[T]:
    """Return ``texts``; raise TypeError for a single string, whose letters would be taken for texts."""
    if isinstance(texts, str):
        raise TypeError(f"{name} must be a sequence of texts, got one string")
    return texts
