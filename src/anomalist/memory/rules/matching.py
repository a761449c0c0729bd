"""Captions held against rules, statement by statement and by meaning.

A caption of twelve walkers and one cyclist is about a cyclist: what counts are the statements that speak
most for an anomaly, never the mean of all. Each statement is compared with the rules of both polarities. It
fits an anomalous rule where it is nearer to it than to anything normal or usual, or where it says one of
the rule's keywords. What denies ("no one is running") is compared only with rules that deny ("nobody is at
the desk").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import Field

from anomalist.memory.clauses import negated
from anomalist.memory.embedding import Encoder, load_encoder
from anomalist.memory.rules.keywords import KeywordFinder
from anomalist.memory.rules.rule import Rule
from anomalist.memory.rules.shipped import shipped_anomalies, usual_clauses
from anomalist.memory.rules.statements import Statement, plainly, statements
from anomalist.types import BoolArray, FloatArray, Frozen

NEIGHBOURS = 10
"""Nearest rules whose mean similarity counts: one alone depends too much on how it is worded."""

WITNESSES = 4
"""Statements of a caption, the most anomalous ones, whose mean is its score: one may be a slip."""

OUTRIGHT = 0.1
"""What a keyword adds to the score of a caption, in cosine similarity."""

LEAST_SIMILARITY = 0.45
"""A statement that is less similar to a rule is about something else."""

SILENT = -0.3
"""Score of a caption that only denies: about as ordinary as can be."""

SAME = 0.85
"""From this similarity to a normal rule on, a statement says the same as the rule, keyword or not."""


class RuleMatch(Frozen):
    """A statement of a caption that fits a rule."""

    rule: str = Field(description="id")
    text: str = Field(description="of the rule")
    clause: str = Field(description="as the caption says it")
    similarity: float = Field(description="cosine similarity of statement and rule, −1 to 1")
    margin: float = Field(description="that less the similarity to what is most alike among normal and usual")
    keywords: tuple[str, ...] = Field((), description="of the rule, that the statement says")


@dataclass(frozen=True, eq=False)
class Readings:
    """What rules make of some captions, before time is considered.

    Parameters
    ----------
    scores : float32 (n,), how much a caption speaks for an anomaly; NaN for one that says nothing.
    matches : of each caption, anomalous rules that it fits, the best first.
    normal : of each caption, normal rules that its statements fit, the best first.
    """

    scores: FloatArray
    matches: tuple[tuple[RuleMatch, ...], ...]
    normal: tuple[tuple[RuleMatch, ...], ...]


class RuleMatcher:
    """Holds captions against rules.

    Parameters
    ----------
    rules : of both polarities; disabled ones don't count. The shipped anomalies when None.
    encoder : what makes vectors of texts; `load_encoder()` by default.
    """

    def __init__(self, rules: Sequence[Rule] | None = None, *, encoder: Encoder | None = None) -> None:
        enabled = [rule for rule in (shipped_anomalies() if rules is None else rules) if rule.enabled]
        self.anomalous = tuple(rule for rule in enabled if rule.polarity == "anomalous")
        self.normal = tuple(rule for rule in enabled if rule.polarity == "normal")
        self._encoder = encoder or load_encoder()
        self._sides = {
            "anomalous": self._side([rule.text for rule in self.anomalous]),
            "normal": self._side([rule.text for rule in self.normal]),
            "usual": self._side(usual_clauses()),
        }
        self._finders = [KeywordFinder(rule.keywords) for rule in self.anomalous]
        self._anything = KeywordFinder(word for rule in self.anomalous for word in rule.keywords)

    def read(self, captions: Sequence[str]) -> Readings:
        """Hold each caption against the rules; equal statements are compared once."""
        if isinstance(captions, str):
            raise TypeError("captions must be a sequence of texts, got one string")
        said = {caption: statements(caption) for caption in dict.fromkeys(captions)}
        compared = self._compare([part for parts in said.values() for part in parts])
        scores = {caption: self._score(parts, compared) for caption, parts in said.items()}
        matches = {caption: self._matches(parts, compared, "anomalous") for caption, parts in said.items()}
        normal = {caption: self._matches(parts, compared, "normal") for caption, parts in said.items()}
        return Readings(
            np.array([scores[caption] for caption in captions], np.float32),
            tuple(matches[caption] for caption in captions),
            tuple(normal[caption] for caption in captions),
        )

    def _side(self, texts: Sequence[str]) -> tuple[FloatArray, BoolArray]:
        """Vectors (m, d) of rules and which of them deny."""
        vectors = self._encoder.encode([plainly(text) for text in texts])
        return vectors, np.array([negated(text) for text in texts], np.bool_)

    def _compare(self, parts: Sequence[Statement]) -> dict[tuple[str, bool], _Compared]:
        keys = list(dict.fromkeys((part.plain, part.denies) for part in parts))
        vectors = self._encoder.encode([plain for plain, _ in keys])
        denies = np.array([denied for _, denied in keys], np.bool_)
        alike = {
            name: np.where(denies[:, None] == deny, vectors @ side.T, np.float32(-1))
            for name, (side, deny) in self._sides.items()
        }
        ordinary = _nearest(alike["usual"], NEIGHBOURS)
        rest = np.maximum(ordinary, alike["normal"].max(1, initial=-1))
        ahead = (_nearest(alike["anomalous"], 1) + _nearest(alike["anomalous"], NEIGHBOURS)) / 2
        most_usual = np.maximum(alike["usual"].max(1, initial=-1), alike["normal"].max(1, initial=-1))
        return {
            key: _Compared(
                alike["anomalous"][row],
                alike["normal"][row],
                contrast=float(ahead[row] - rest[row]),
                usual=float(most_usual[row]),
                outright=not key[1] and bool(self._anything.find(key[0])),
            )
            for row, key in enumerate(keys)
        }

    def _score(self, parts: Sequence[Statement], compared: dict[tuple[str, bool], _Compared]) -> float:
        """Of one caption; its denials can only speak for rules that deny."""
        found = [compared[part.plain, part.denies] for part in dict.fromkeys(parts)]
        counted = [each for each in found if each.comparable]
        if not found:
            return float("nan")
        if not counted:
            return SILENT
        best = sorted((each.contrast for each in counted), reverse=True)[:WITNESSES]
        outright = any(each.outright and not each.said_normal for each in counted)
        return float(np.mean(best)) + OUTRIGHT * outright

    def _matches(
        self, parts: Sequence[Statement], compared: dict[tuple[str, bool], _Compared], polarity: str
    ) -> tuple[RuleMatch, ...]:
        """The best statement for each rule that is fitted, the rules by margin."""
        best: dict[str, RuleMatch] = {}
        for part in parts:
            each = compared[part.plain, part.denies]
            found = self._broken(part, each) if polarity == "anomalous" else self._kept(part, each)
            for match in found:
                if match.rule not in best or match.margin > best[match.rule].margin:
                    best[match.rule] = match
        return tuple(sorted(best.values(), key=lambda match: (-bool(match.keywords), -match.margin)))

    def _broken(self, part: Statement, each: _Compared) -> list[RuleMatch]:
        """The nearest anomalous rule, if it is nearer than the usual, and those whose keywords fall."""
        if each.said_normal or not len(each.anomalous):
            return []
        nearest = int(each.anomalous.argmax())
        found = []
        for number in range(len(self.anomalous)) if each.outright else [nearest]:
            words = () if part.denies else self._finders[number].find(part.plain)
            similarity = float(each.anomalous[number])
            fits = number == nearest and similarity >= max(LEAST_SIMILARITY, each.usual)
            if words or fits:
                found.append(_match(self.anomalous[number], part, similarity, each.usual, words))
        return found

    def _kept(self, part: Statement, each: _Compared) -> list[RuleMatch]:
        if not len(each.normal):
            return []
        number = int(each.normal.argmax())
        similarity, other = float(each.normal[number]), float(each.anomalous.max(initial=-1))
        fits = similarity >= LEAST_SIMILARITY and (similarity > other or similarity >= SAME)
        return [_match(self.normal[number], part, similarity, other, ())] if fits else []


@dataclass(frozen=True, eq=False)
class _Compared:
    """One statement against all rules: similarities (m,) and what follows from them."""

    anomalous: FloatArray
    normal: FloatArray
    contrast: float
    usual: float
    outright: bool

    @property
    def comparable(self) -> bool:
        return bool(self.anomalous.max(initial=-1) > -1)

    @property
    def said_normal(self) -> bool:
        """Whether a normal rule says just that, and says it better than any anomalous one."""
        best = float(self.normal.max(initial=-1))
        return best >= SAME and best >= float(self.anomalous.max(initial=-1))


def _match(rule: Rule, part: Statement, similarity: float, other: float, words: tuple[str, ...]) -> RuleMatch:
    return RuleMatch(
        rule=rule.id,
        text=rule.text,
        clause=part.clause,
        similarity=round(similarity, 4),
        margin=round(similarity - other, 4),
        keywords=words,
    )


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
