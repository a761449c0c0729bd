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
from pydantic import Field

from anomalist.memory.embedding import Encoder, load_encoder
from anomalist.memory.opposites import opposed, sides_of
from anomalist.memory.rules.comparing import Compared, Sides
from anomalist.memory.rules.keywords import KeywordFinder
from anomalist.memory.rules.rule import Rule
from anomalist.memory.rules.shipped import shipped_anomalies
from anomalist.memory.rules.statements import Statement, statements
from anomalist.types import FloatArray, Frozen

WITNESSES = 4
"""Statements of a caption, the most anomalous ones, whose mean is its score: one may be a slip."""

OUTRIGHT = 0.1
"""What a keyword adds to the score of a caption, in cosine similarity."""

SILENT = -0.3
"""Score of a caption that only denies: about as ordinary as can be."""


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
        texts = ([rule.text for rule in self.anomalous], [rule.text for rule in self.normal])
        self._sides = Sides(*texts, encoder or load_encoder())
        self._opposites = [sides_of(rule.text) for rule in self.anomalous]
        self._finders = [KeywordFinder(rule.keywords) for rule in self.anomalous]
        self._anything = KeywordFinder(word for rule in self.anomalous for word in rule.keywords)

    def read(self, captions: Sequence[str]) -> Readings:
        """Hold each caption against the rules; equal statements are compared once."""
        if isinstance(captions, str):
            raise TypeError("captions must be a sequence of texts, got one string")
        said = {caption: statements(caption) for caption in dict.fromkeys(captions)}
        compared = self._sides.compare([part for parts in said.values() for part in parts], self._anything)
        scores = {caption: self._score(parts, compared) for caption, parts in said.items()}
        matches = {caption: self._matches(parts, compared, "anomalous") for caption, parts in said.items()}
        normal = {caption: self._matches(parts, compared, "normal") for caption, parts in said.items()}
        return Readings(
            np.array([scores[caption] for caption in captions], np.float32),
            tuple(matches[caption] for caption in captions),
            tuple(normal[caption] for caption in captions),
        )

    def _score(self, parts: Sequence[Statement], compared: dict[tuple[str, bool], Compared]) -> float:
        """Of one caption; its denials can only speak for rules that deny."""
        found = [compared[part.plain, part.denies] for part in dict.fromkeys(parts)]
        counted = [each for each in found if not each.denies or each.fits]
        if not found:
            return float("nan")
        if not counted:
            return SILENT
        best = sorted((each.contrast for each in counted), reverse=True)[:WITNESSES]
        outright = any(each.outright and not each.said_normal for each in counted)
        return float(np.mean(best)) + OUTRIGHT * outright

    def _matches(
        self, parts: Sequence[Statement], compared: dict[tuple[str, bool], Compared], polarity: str
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

    def _broken(self, part: Statement, each: Compared) -> list[RuleMatch]:
        """The nearest anomalous rule, if it is nearer than the usual, and those whose keywords fall."""
        if each.said_normal or not len(each.anomalous):
            return []
        nearest = int(each.anomalous.argmax())
        found = []
        for number in range(len(self.anomalous)) if each.outright else [nearest]:
            words = () if part.denies else self._finders[number].find(part.plain)
            similarity = float(each.anomalous[number])
            # "Fast" breaks no rule on what is very fast, though an encoder takes them for the same.
            contrary = not words and opposed(sides_of(part.plain), self._opposites[number])
            if words or (number == nearest and each.fits and not contrary):
                found.append(_match(self.anomalous[number], part, similarity, each.usual, words))
        return found

    def _kept(self, part: Statement, each: Compared) -> list[RuleMatch]:
        if not len(each.normal):
            return []
        number = int(each.normal.argmax())
        similarity, other = float(each.normal[number]), each.nearest
        return [_match(self.normal[number], part, similarity, other, ())] if each.said_normal else []


def _match(rule: Rule, part: Statement, similarity: float, other: float, words: tuple[str, ...]) -> RuleMatch:
    return RuleMatch(
        rule=rule.id,
        text=rule.text,
        clause=part.clause,
        similarity=round(similarity, 4),
        margin=round(similarity - other, 4),
        keywords=words,
    )
