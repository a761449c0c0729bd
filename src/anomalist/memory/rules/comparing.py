"""Statements against the rules of both polarities and against what is usual, by sentence embedding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anomalist.memory.clauses import negated
from anomalist.memory.embedding import Encoder
from anomalist.memory.opposites import opposed, sides_of
from anomalist.memory.rules.keywords import KeywordFinder
from anomalist.memory.rules.shipped import usual_clauses
from anomalist.memory.rules.shipped_vectors import encoded
from anomalist.memory.rules.statements import Statement, plainly
from anomalist.types import BoolArray, FloatArray

NEIGHBOURS = 10
"""Nearest rules whose mean similarity counts: one alone depends too much on how it is worded."""

LEAST_SIMILARITY = 0.45
"""A statement that is less similar to a rule is about something else."""


@dataclass(frozen=True, eq=False)
class Compared:
    """One statement against all rules.

    Parameters
    ----------
    denies : whether it says that something is not so; −1 stands for rules that it can't be compared with.
    anomalous, normal : float32 (m,), similarity to each rule.
    contrast : how much more it is like anomalies than like what is ordinary, by several of both.
    usual : similarity to what is most alike among normal rules and usual clauses.
    outright : whether it says a keyword.
    """

    denies: bool
    anomalous: FloatArray
    normal: FloatArray
    contrast: float
    usual: float
    outright: bool

    @property
    def nearest(self) -> float:
        """Similarity to the nearest anomalous rule."""
        return float(self.anomalous.max(initial=-1))

    @property
    def fits(self) -> bool:
        """Whether it is about what the nearest anomalous rule is about, more than about anything usual."""
        return self.nearest >= max(LEAST_SIMILARITY, self.usual) and not self.said_normal

    @property
    def said_normal(self) -> bool:
        """Whether a normal rule of the scene says that, and says it better than any anomalous one."""
        best = float(self.normal.max(initial=-1))
        return best >= LEAST_SIMILARITY and best > self.nearest


class Sides:
    """The vectors of anomalous and normal rules and of usual clauses.

    Parameters
    ----------
    anomalous, normal : texts of the rules.
    encoder : what makes vectors of texts.
    """

    def __init__(self, anomalous: Sequence[str], normal: Sequence[str], encoder: Encoder) -> None:
        self._encoder = encoder
        self._normal = [sides_of(text) for text in normal]
        self._sides = [self._side(texts) for texts in (anomalous, normal, usual_clauses())]

    def _side(self, texts: Sequence[str]) -> tuple[FloatArray, BoolArray]:
        """Vectors (m, d) of rules and which of them deny."""
        vectors = encoded([plainly(text) for text in texts], self._encoder)
        return vectors, np.array([negated(text) for text in texts], np.bool_)

    def _opposed(self, keys: Sequence[tuple[str, bool]]) -> BoolArray:
        """Which statements are opposites of which normal rules, bool (n, m)."""
        found = [
            [opposed(sides, rule) for rule in self._normal]
            for sides in (sides_of(plain) for plain, _ in keys)
        ]
        return np.array(found, np.bool_).reshape(len(keys), len(self._normal))

    def compare(
        self, parts: Sequence[Statement], keywords: KeywordFinder
    ) -> dict[tuple[str, bool], Compared]:
        """Every different statement, by its plain form and whether it denies."""
        keys = list(dict.fromkeys((part.plain, part.denies) for part in parts))
        vectors = self._encoder.encode([plain for plain, _ in keys])
        denies = np.array([denied for _, denied in keys], np.bool_)
        alike = [vectors @ side.T for side, _ in self._sides]
        # A denial breaks rules that deny; whether it is ordinary is asked of all that is.
        comparable = [denies[:, None] == deny for _, deny in self._sides]
        comparable[2] = comparable[2] | denies[:, None]
        # Nor is something normal because its opposite is.
        comparable[1] = comparable[1] & ~self._opposed(keys)
        anomalous, normal, usual = (
            np.where(may, near, np.float32(-1)) for may, near in zip(comparable, alike, strict=True)
        )
        ahead = (_nearest(anomalous, 1) + _nearest(anomalous, NEIGHBOURS)) / 2
        nearest_normal = normal.max(1, initial=-1)
        contrast = ahead - np.maximum(_nearest(usual, NEIGHBOURS), nearest_normal)
        most_usual = np.maximum(usual.max(1, initial=-1), nearest_normal)
        return {
            (plain, denied): Compared(
                denied,
                anomalous[row],
                normal[row],
                float(contrast[row]),
                float(most_usual[row]),
                outright=not denied and bool(keywords.find(plain)),
            )
            for row, (plain, denied) in enumerate(keys)
        }


def _nearest(alike: npt.NDArray[np.float32], count: int) -> FloatArray:
    """Mean of the highest similarities of each row, float32 (n,); −1 where there are none to compare."""
    if not alike.shape[1]:
        return np.full(len(alike), -1, np.float32)
    count = min(count, alike.shape[1])
    top = np.partition(alike, alike.shape[1] - count, axis=1)[:, -count:]
    comparable = top > -1
    total = np.where(comparable, top, 0).sum(1)
    mean: FloatArray = np.where(comparable.any(1), total / np.maximum(comparable.sum(1), 1), -1).astype(
        np.float32
    )
    return mean
