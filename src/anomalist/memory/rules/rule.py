"""What a rule is: one sentence on what is normal, or not, and all that is known of where it comes from."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from anomalist.types import Frozen

Polarity = Literal["normal", "anomalous"]
RuleKind = Literal["activity", "object", "place"]
Origin = Literal["induced", "person", "shipped"]

LONGEST_RULE = 300
"""Characters: a rule is one sentence."""

MOST_KEYWORDS = 20


def _line(text: str) -> str:
    """The text on one line; raises ValueError unless it is a sentence that can be compared."""
    line = " ".join(text.split())
    if not any(map(str.isalpha, line)):
        raise ValueError("a rule has words")
    if len(line) > LONGEST_RULE:
        raise ValueError(f"a rule has at most {LONGEST_RULE} characters, this one has {len(line):,}")
    return line


def _words(words: tuple[str, ...]) -> tuple[str, ...]:
    """Keywords in lower case, each once; raises ValueError for too many or what is no word."""
    tidy = tuple(dict.fromkeys(" ".join(word.lower().split()) for word in words))
    if len(tidy) > MOST_KEYWORDS:
        raise ValueError(f"a rule has at most {MOST_KEYWORDS} keywords")
    if wrong := [word for word in tidy if not re.search(r"\w", word) or len(word) > 60]:
        raise ValueError(f"{wrong[0][:40]!r} is no keyword")
    return tidy


RuleText = Annotated[str, AfterValidator(_line)]
Keywords = Annotated[tuple[str, ...], AfterValidator(_words)]


class Example(Frozen):
    """A caption that a rule comes from."""

    number: int = Field(ge=1, description="its row in the file, from 1, the heading not counted")
    text: str


class Support(Frozen):
    """What an induced rule rests on."""

    source: str = Field(description="the file of captions, as the user named it")
    sha256: str = Field(description="hex digest of that file")
    captions: tuple[int, ...] = Field(description="rows that say it, from 1")
    of: int = Field(ge=1, description="captions in the file")
    batches: int = Field(ge=0, description="batches that say it")
    of_batches: int = Field(ge=1)
    examples: tuple[Example, ...] = Field((), description="some of these captions, as they were")
    by: str = Field("", description="the language model that read them, and its prompts; empty: none did")


class Rule(Frozen):
    """One rule. A changed rule is a new version of the same id."""

    id: str = Field(pattern=r"^rule:[a-z0-9-]+$")
    text: RuleText
    polarity: Polarity
    kind: RuleKind
    keywords: Keywords = Field((), description="words that alone, in a clause, say that it is so")
    severity: int = Field(0, ge=0, le=4, description="floor: what it matches is at least that severe")
    origin: Origin
    version: int = Field(1, ge=1)
    enabled: bool = True
    support: Support | None = Field(None, description="of an induced rule")
    note: str = Field("", description="why it is as it is: why it was dropped, who wants it")


class RuleVersion(Frozen):
    """A rule as it was from some time on."""

    rule: Rule
    time: str = Field(description="UTC, ISO 8601")
    who: str
