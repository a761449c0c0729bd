"""Rule matching: each statement of a caption against rules of both polarities, by sentence embedding.

The score of a caption is the mean over its top-k most anomalous statements, never over all: one cyclist among
twelve walkers must count. A statement matches an anomalous rule where it is more similar to it than to any
normal rule or usual clause, or where it contains one of the rule's keywords. A negated statement ("no one is
running") is compared only with negated rules ("nobody is at the desk").

The float32 vectors of the rules and usual clauses that ship are read from a file, so that hundreds of
sentences need not be embedded at every start. Its metadata hold the hash of the sentences and the name of the
encoder; where they don't fit, all sentences are embedded instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import Field

from anomalist.errors import DataError
from anomalist.memory.clauses import find_modifiers, modifiers_conflict, negated
from anomalist.memory.embedding import (
    ENCODER_NAME,
    HIDDEN_SIZE,
    Encoder,
    lines_sha256,
    load_encoder,
    read_vectors,
    write_vectors,
)
from anomalist.memory.rules.appearance import appearance_nouns
from anomalist.memory.rules.rule import Rule, shipped_anomalies, usual_clauses
from anomalist.memory.rules.statements import CaptionStatement, KeywordFinder, plain_form, statements
from anomalist.types.common import BoolArray, FloatArray, Frozen

VECTORS = Path(__file__).parents[1] / "data" / "rules.safetensors"
"""Vectors of the rules and usual clauses that ship; written by ``scripts/build_rules.py``."""


def encode_with_shipped(texts: Sequence[str], encoder: Encoder) -> FloatArray:
    """Unit vectors of texts in plain form, float32 (n, d): read from the shipped file or else embedded."""
    known = _shipped_vectors(VECTORS) if encoder.name == ENCODER_NAME else {}
    new = [text for text in dict.fromkeys(texts) if text not in known]
    vectors = {**known, **dict(zip(new, encoder.encode(new), strict=True))}
    if not texts:
        return np.empty((0, encoder.dimensions), np.float32)
    return np.stack([vectors[text] for text in texts])


def write_rule_vectors(path: Path = VECTORS) -> int:
    """Embed the shipped rules and usual clauses and write their vectors; returns how many."""
    texts = _embedded_texts()
    write_vectors(path, load_encoder().encode(texts), _vector_metadata(texts))
    return len(texts)


@cache
def _shipped_vectors(path: Path) -> Mapping[str, FloatArray]:
    """Shipped vectors by plain text; empty where the file is of other texts, which are then embedded."""
    texts = _embedded_texts()
    try:
        vectors = read_vectors(
            path, _vector_metadata(texts), (len(texts), HIDDEN_SIZE), "the rules that ship"
        )
    except DataError:
        return {}
    return dict(zip(texts, vectors, strict=True))


def _embedded_texts() -> tuple[str, ...]:
    """Plain forms of the shipped rules and usual clauses, each once."""
    texts = [rule.text for rule in shipped_anomalies()] + list(usual_clauses())
    return tuple(dict.fromkeys(map(plain_form, texts)))


def _vector_metadata(texts: Sequence[str]) -> dict[str, str]:
    return {"encoder": ENCODER_NAME, "sentences": lines_sha256(texts)}


NEAREST_RULES = 10
"""Nearest rules whose mean similarity counts; the nearest alone depends too much on its wording."""

MIN_SIMILARITY = 0.45
"""Cosine similarity below which a statement and a rule are about different things."""


@dataclass(frozen=True, eq=False)
class StatementComparison:
    """Similarities of one statement to all rules.

    Parameters
    ----------
    has_negation : whether it is negated; rules that it isn't compared with have similarity −1.
    anomalous, normal : float32 (m,), similarity to each rule.
    contrast : mean similarity to the nearest anomalous rules minus that to the nearest usual clauses.
    usual : highest similarity to a normal rule or usual clause.
    has_keyword : whether it contains a keyword.
    """

    has_negation: bool
    anomalous: FloatArray
    normal: FloatArray
    contrast: float
    usual: float
    has_keyword: bool

    @property
    def nearest(self) -> float:
        """Similarity to the nearest anomalous rule."""
        return float(self.anomalous.max(initial=-1))

    @property
    def fits(self) -> bool:
        """Whether the nearest anomalous rule is similar enough, and more so than anything usual."""
        return self.nearest >= max(MIN_SIMILARITY, self.usual) and not self.matches_normal_rule

    @property
    def matches_normal_rule(self) -> bool:
        """Whether a normal rule of the scene is more similar than any anomalous rule."""
        best = float(self.normal.max(initial=-1))
        return best >= MIN_SIMILARITY and best > self.nearest


class RuleVectors:
    """Vectors of anomalous rules, normal rules and usual clauses, to compare statements with.

    Parameters
    ----------
    anomalous, normal : texts of the rules.
    encoder : the sentence encoder.
    """

    def __init__(self, anomalous: Sequence[str], normal: Sequence[str], encoder: Encoder) -> None:
        self._encoder = encoder
        self._normal = [find_modifiers(text) for text in normal]
        self._sides = [self._encode(texts) for texts in (anomalous, normal, usual_clauses())]

    def _encode(self, texts: Sequence[str]) -> tuple[FloatArray, BoolArray]:
        """Vectors (m, d) of texts and which of them are negated, bool (m,)."""
        vectors = encode_with_shipped([plain_form(text) for text in texts], self._encoder)
        return vectors, np.array([negated(text) for text in texts], np.bool_)

    def _opposed(self, keys: Sequence[tuple[str, bool]]) -> BoolArray:
        """Which statements conflict with which normal rules by antonymous modifiers, bool (n, m)."""
        found = [
            [modifiers_conflict(modifiers, rule) for rule in self._normal]
            for modifiers in (find_modifiers(plain) for plain, _ in keys)
        ]
        return np.array(found, np.bool_).reshape(len(keys), len(self._normal))

    def compare(
        self, parts: Sequence[CaptionStatement], keywords: KeywordFinder
    ) -> dict[tuple[str, bool], StatementComparison]:
        """Comparison of every distinct statement, by its plain form and whether it is negated."""
        keys = list(dict.fromkeys(part.key for part in parts if not part.appearance))
        vectors = self._encoder.encode([plain for plain, _ in keys])
        has_negation = np.array([is_negated for _, is_negated in keys], np.bool_)
        alike = [vectors @ side.T for side, _ in self._sides]
        # A negated statement is compared with negated rules only, but with all usual clauses.
        comparable = [has_negation[:, None] == negated_rules for _, negated_rules in self._sides]
        comparable[2] = comparable[2] | has_negation[:, None]
        # A statement is not normal because its antonym is.
        comparable[1] = comparable[1] & ~self._opposed(keys)
        anomalous, normal, usual = (
            np.where(may, near, np.float32(-1)) for may, near in zip(comparable, alike, strict=True)
        )
        anomalous_similarity = (_top_k_mean(anomalous, 1) + _top_k_mean(anomalous, NEAREST_RULES)) / 2
        nearest_normal = normal.max(1, initial=-1)
        contrast = anomalous_similarity - np.maximum(_top_k_mean(usual, NEAREST_RULES), nearest_normal)
        most_usual = np.maximum(usual.max(1, initial=-1), nearest_normal)
        return {
            (plain, is_negated): StatementComparison(
                is_negated,
                anomalous[row],
                normal[row],
                float(contrast[row]),
                float(most_usual[row]),
                has_keyword=not is_negated and bool(keywords.find(plain)),
            )
            for row, (plain, is_negated) in enumerate(keys)
        }


def _top_k_mean(alike: npt.NDArray[np.float32], count: int) -> FloatArray:
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


TOP_K = 4
"""Statements of a caption whose mean is its score, the most anomalous ones: one alone may be an error."""

KEYWORD_BONUS = 0.1
"""Added to the score of a caption that contains a keyword, in units of cosine similarity."""

SAYS_NOTHING_SCORE = -0.3
"""Score of a caption that only denies, or only describes looks: at the low end of normal captions."""


class RuleMatch(Frozen):
    """A statement of a caption that matches a rule."""

    rule: str = Field(description="id of the rule")
    text: str = Field(description="text of the rule")
    clause: str = Field(description="the statement, as the caption words it")
    similarity: float = Field(description="cosine similarity of statement and rule, −1 to 1")
    margin: float = Field(description="similarity minus the highest similarity to the contrasting texts")
    keywords: tuple[str, ...] = Field((), description="keywords of the rule that occur in the statement")

    @property
    def rank(self) -> tuple[bool, float]:
        """What sorts the best match first: those with keywords, then by margin."""
        return not self.keywords, -self.margin


@dataclass(frozen=True, eq=False)
class RuleMatches:
    """Scores and rule matches of captions, before temporal smoothing.

    Parameters
    ----------
    scores : float32 (n,), anomaly score of each caption; NaN for a caption without statements.
    matches : of each caption, the anomalous rules that match it, the best first.
    normal : of each caption, the normal rules that match its statements, the best first.
    """

    scores: FloatArray
    matches: tuple[tuple[RuleMatch, ...], ...]
    normal: tuple[tuple[RuleMatch, ...], ...]


class RuleMatcher:
    """Matches captions with rules, statement by statement.

    Parameters
    ----------
    rules : of both polarities; disabled ones don't count. The shipped anomalies when None.
    encoder : the sentence encoder; `load_encoder()` by default.
    """

    def __init__(self, rules: Sequence[Rule] | None = None, *, encoder: Encoder | None = None) -> None:
        enabled = [rule for rule in (shipped_anomalies() if rules is None else rules) if rule.enabled]
        self.anomalous = tuple(rule for rule in enabled if rule.polarity == "anomalous")
        self.normal = tuple(rule for rule in enabled if rule.polarity == "normal")
        texts = ([rule.text for rule in self.anomalous], [rule.text for rule in self.normal])
        self._vectors = RuleVectors(*texts, encoder or load_encoder())
        self._modifiers = [find_modifiers(rule.text) for rule in self.anomalous]
        own = [rule for rule in enabled if rule.origin != "shipped"]
        self._spoken_of = appearance_nouns(text for rule in own for text in (rule.text, *rule.keywords))
        self._finders = [KeywordFinder(rule.keywords) for rule in self.anomalous]
        self._any_keyword = KeywordFinder(word for rule in self.anomalous for word in rule.keywords)

    def read(self, captions: Sequence[str]) -> RuleMatches:
        """Match each caption with the rules; equal statements are compared once."""
        if isinstance(captions, str):
            raise TypeError("captions must be a sequence of texts, got one string")
        found = {caption: statements(caption, self._spoken_of) for caption in dict.fromkeys(captions)}
        every = [part for parts in found.values() for part in parts]
        compared = self._vectors.compare(every, self._any_keyword)
        scores = {caption: self._score(parts, compared) for caption, parts in found.items()}
        matches = {caption: self._matches(parts, compared, "anomalous") for caption, parts in found.items()}
        normal = {caption: self._matches(parts, compared, "normal") for caption, parts in found.items()}
        return RuleMatches(
            np.array([scores[caption] for caption in captions], np.float32),
            tuple(matches[caption] for caption in captions),
            tuple(normal[caption] for caption in captions),
        )

    def _score(
        self, parts: Sequence[CaptionStatement], compared: dict[tuple[str, bool], StatementComparison]
    ) -> float:
        """Score of one caption; negated statements count only where they match a negated anomalous rule."""
        found = [compared[part.key] for part in dict.fromkeys(parts) if not part.appearance]
        counted = [each for each in found if not each.has_negation or each.fits]
        if not parts:
            return float("nan")
        if not counted:
            return SAYS_NOTHING_SCORE
        best = sorted((each.contrast for each in counted), reverse=True)[:TOP_K]
        has_keyword = any(each.has_keyword and not each.matches_normal_rule for each in counted)
        return float(np.mean(best)) + KEYWORD_BONUS * has_keyword

    def _matches(
        self,
        parts: Sequence[CaptionStatement],
        compared: dict[tuple[str, bool], StatementComparison],
        polarity: str,
    ) -> tuple[RuleMatch, ...]:
        """The best match of each matching rule, those with keywords first, then by margin."""
        best: dict[str, RuleMatch] = {}
        for part in parts:
            if part.appearance:
                continue
            each = compared[part.key]
            found = (
                self._anomalous_matches(part, each)
                if polarity == "anomalous"
                else self._normal_matches(part, each)
            )
            for match in found:
                known = best.get(match.rule)
                # A keyword makes sure of a match, whatever else of the caption is nearer to the rule.
                if known is None or match.rank < known.rank:
                    best[match.rule] = match
        return tuple(sorted(best.values(), key=lambda match: match.rank))

    def _anomalous_matches(self, part: CaptionStatement, each: StatementComparison) -> list[RuleMatch]:
        """The nearest anomalous rule, if more similar than anything usual, and rules whose keywords occur."""
        if each.matches_normal_rule or not len(each.anomalous):
            return []
        nearest = int(each.anomalous.argmax())
        found = []
        for number in range(len(self.anomalous)) if each.has_keyword else [nearest]:
            words = () if part.has_negation else self._finders[number].find(part.plain)
            similarity = float(each.anomalous[number])
            # "Fast" matches no rule on what is very fast, though their embeddings are nearly equal.
            contrary = not words and modifiers_conflict(find_modifiers(part.plain), self._modifiers[number])
            if words or (number == nearest and each.fits and not contrary):
                found.append(_rule_match(self.anomalous[number], part, similarity, each.usual, words))
        return found

    def _normal_matches(self, part: CaptionStatement, each: StatementComparison) -> list[RuleMatch]:
        if not len(each.normal):
            return []
        number = int(each.normal.argmax())
        similarity, other = float(each.normal[number]), each.nearest
        return (
            [_rule_match(self.normal[number], part, similarity, other, ())]
            if each.matches_normal_rule
            else []
        )


def _rule_match(
    rule: Rule, part: CaptionStatement, similarity: float, other: float, words: tuple[str, ...]
) -> RuleMatch:
    return RuleMatch(
        rule=rule.id,
        text=rule.text,
        clause=part.clause,
        similarity=round(similarity, 4),
        margin=round(similarity - other, 4),
        keywords=words,
    )
