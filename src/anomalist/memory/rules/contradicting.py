"""Rules that can't both be right, or that take each other's matches away: said when one is written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from anomalist.memory.clauses import negated
from anomalist.memory.embedding import Encoder, load_encoder
from anomalist.memory.opposites import opposed, sides_of
from anomalist.memory.rules.keywords import KeywordFinder
from anomalist.memory.rules.rule import Rule
from anomalist.memory.rules.statements import plainly
from anomalist.types import Frozen

SAME = 0.65
"""Cosine similarity from which two rules are about the same: something to look at, not to refuse."""

_NOBODY = re.compile(r"\b(?:nobody|no[- ]one|no\s+(?:person|people|human))\b", re.I)
_NOT = re.compile(r"\b(?:not|no|never|without|isn't|aren't)\b\s*", re.I)


class Contradiction(Frozen):
    """A rule that another one contradicts."""

    rule: str = Field(description="id of the other rule")
    text: str
    why: Literal["polarity", "denial", "keyword"] = Field(
        description="it calls the same the opposite; it denies what this one says; a keyword is in its text"
    )
    similarity: float = Field(description="cosine similarity of the texts without their denials")
    words: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """For people."""
        what = {
            "polarity": f"calls the same the opposite (similarity {self.similarity:.2f})",
            "denial": f"says the opposite, and is of the same polarity (similarity {self.similarity:.2f})",
            "keyword": f"names what is a keyword of an anomaly: {', '.join(self.words)}",
        }[self.why]
        return f'{self.rule} "{self.text}" {what}.'


def contradictions(
    rule: Rule, others: Sequence[Rule], encoder: Encoder | None = None
) -> tuple[Contradiction, ...]:
    """The enabled rules that contradict one, the most alike first.

    Two rules contradict each other when they are about the same and either one is normal and the other
    anomalous, or one denies what the other says; and when a keyword of an anomaly stands in a normal rule.
    """
    found = []
    rivals = [other for other in others if other.enabled and other.id != rule.id]
    if not rivals:
        return ()
    texts = [_affirmed(each.text) for each in (rule, *rivals)]
    vectors = (encoder or load_encoder()).encode(texts)
    denies = negated(rule.text)
    for other, similarity in zip(rivals, (vectors[1:] @ vectors[0]).tolist(), strict=True):
        if opposed(sides_of(rule.text), sides_of(other.text)):
            continue
        contrary = other.polarity != rule.polarity
        denied = negated(other.text) != denies
        words = _keywords_in(rule, other) if contrary else ()
        if similarity >= SAME and contrary != denied:
            why: Literal["polarity", "denial", "keyword"] = "polarity" if contrary else "denial"
        elif words and not denied:
            why = "keyword"
        else:
            continue
        found.append(
            Contradiction(
                rule=other.id, text=other.text, why=why, similarity=round(similarity, 4), words=words
            )
        )
    return tuple(sorted(found, key=lambda each: -each.similarity))


def _keywords_in(one: Rule, other: Rule) -> tuple[str, ...]:
    """Keywords of the anomalous rule that the text of the normal one holds."""
    anomalous, normal = (one, other) if one.polarity == "anomalous" else (other, one)
    return KeywordFinder(anomalous.keywords).find(normal.text)


def _affirmed(text: str) -> str:
    """What a text is about, whether or not it denies it."""
    return plainly(_NOT.sub("", _NOBODY.sub("a person", text)))
