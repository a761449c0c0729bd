"""Clauses put plainly: who is counted, from which side and with how much doubt is left away.

A captioner says "On the right side, the second man in a cap seems to be running, waving a flag". What can be
compared with a rule in that is "a person is running" and "a person is waving a flag". It goes by words of the
language alone (ordinals, sides, words for people, words of doubt), never by what is described.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from anomalist.memory.clauses import clauses, negated
from anomalist.memory.grammar import (
    ARTICLES,
    AUXILIARIES,
    CONJUNCTIONS,
    COUNTS,
    PREPOSITIONS,
    PRONOUNS,
    verb_forms,
)

MOST_CHARACTERS = 4000
"""Of a caption: no camera sees more than fits in there; what follows isn't read."""

_PICTURE = r"(?:image|picture|photo|photograph|scene|frame|video|view|footage|clip)"
_SIDE = (
    r"(?:left|right|middle|cent(?:er|re)|background|foreground|distance|front|back|top|bottom|corner|side)"
)
_SHOWN = re.compile(
    rf"\b(?:(?:visible|seen|shown|captured)\s+)?(?:in|of)\s+(?:the|this)\s+{_PICTURE}\b", re.I
)
_LEAD = re.compile(
    rf"^(?:(?:starting|moving|going|looking|further|farther|from|on|in|at|to|towards?|near|the|far|left|right"
    rf"|upper|lower|hand|and|of|also|lastly|finally|additionally|meanwhile|next|then|{_SIDE}|{_PICTURE})\s+)*"
    rf"{_SIDE}\b\s*,?\s+(?=\w)",
    re.I,
)
_BESIDE = re.compile(
    r"^(?:other|apart|aside|besides|in\s+addition)\s*(?:than|from|to)?\s+(?:the\s+|these\s+)?"
    r"(?:people|persons?|humans?|individuals?|pedestrians?|them|this|that)\s*,?\s*",
    re.I,
)
_THERE = re.compile(
    r"^there(?:\s+(?:is|are|was|were|(?:appears?|seems?)\s+to\s+be)|['’](?:s|re))\s+(?:also\s+)?", re.I
)
_DOUBT = re.compile(
    r"\b(?:also|possibly|probably|perhaps|likely|presumably|apparently|seemingly|currently|still|just)\b\s*",
    re.I,
)
_SEEMS = re.compile(
    r"\b(?:(is|are|was|were)\s+)?(?:appears?|seems?|looks?)\s+(?:to\s+be|like|as\s+if)\b", re.I
)
_NUMBERED = re.compile(r"^(?:\(?\d{1,2}[).:]|[-•*])\s*")
_TRAILING = re.compile(r"\s*,?\s*\b(?:and\s+)?(?:finally|lastly|so\s+on|so\s+forth|etc|as\s+well)\s*$", re.I)
_ORDINAL = re.compile(r"(?:\w+-)?(?:first|second|third|\d*(?:st|nd|rd)|\w*th)$")
_FOLLOWED = re.compile(
    r"\s*,?\s*(?:and\s+)?(?:followed\s+by|(?:next\s+to|behind|beside|in\s+front\s+of)\s+(?:them|him|her|it)"
    r"\s*,?\s*(?:is|are|stands?)?(?=\s+(?:an?|another|the|one|two|three|several|some)\b))\s*",
    re.I,
)
_LISTED = re.compile(
    r"\s*,\s*(?:and\s+|or\s+)?|\s+and\s+(?=(?:an?|the|some|several|few|two|three|\w+s)\b)", re.I
)
_AND_DOES = re.compile(r"\s*,\s*(?:and\s+)?(?=\w{3,}ing\b)", re.I)
_WORD = re.compile(r"[^\W_]+(?:['’.-][^\W_]+)*|,")


def _words_in(text: str) -> frozenset[str]:
    return frozenset(text.split())


ONE = _words_in(
    """
    person man woman boy girl child kid lady guy gentleman individual pedestrian figure someone somebody human
    adult teenager toddler one other
    """
)
MANY = _words_in(
    """
    people persons men women boys girls children kids ladies individuals pedestrians figures adults teenagers
    them they others
    """
)
_COUNTING = _words_in("another first second third next last other final remaining") | COUNTS
_SAYS_NOTHING = (
    _words_in(
        """
        left right middle center centre background foreground distance front back top bottom corner side sides
        starting going moving looking step steps image picture photo photograph scene frame video view further
        farther far upper lower lastly finally additionally also so next then other others else than aside
        visible one total number here is are
        """
    )
    | MANY
    | ONE
    | ARTICLES
    | COUNTS
    | PREPOSITIONS
    | CONJUNCTIONS
    | PRONOUNS
)
_REMEMBERED = 16_384  # captions: rules and scenes ask for the same ones
_LONGEST_SUBJECT = 14  # words before its verb


class Statement(NamedTuple):
    """One thing that a caption says: as it was written, put plainly, and whether it denies."""

    clause: str
    plain: str
    denies: bool


@lru_cache(_REMEMBERED)
def statements(caption: str) -> tuple[Statement, ...]:
    """What a caption says, in order; what only counts or places people is left out.

    Captions in other languages than English keep their sentences. Of a longer caption the first 4,000
    characters are read.
    """
    return tuple(
        Statement(clause, plain, negated(clause))
        for clause in clauses(caption[:MOST_CHARACTERS])
        for plain in _plain_parts(clause)
    )


def plainly(text: str) -> str:
    """A rule or a usual clause in the same plain form, whole; itself where nothing would be left."""
    return _plain(_stripped(text)) or " ".join(text.split()).lower()


def _plain_parts(clause: str) -> Iterator[str]:
    text = _stripped(clause)
    beside = _BESIDE.match(text)
    body = text[beside.end() :] if beside else text
    there = _THERE.match(body)
    rest = body[there.end() :] if there else body
    if (beside or there) and not any(word in AUXILIARIES for word in _words(rest)):
        parts = [part for follower in _FOLLOWED.split(rest) for part in _LISTED.split(follower)]
    else:
        parts = _FOLLOWED.split(rest)
    for part in parts:
        plain = _plain(_stripped(part))
        if plain:
            first, *more = _AND_DOES.split(plain)
            yield first
            lead = re.match(r"(a person is|people are) ", first)
            yield from (f"{lead[0]}{action}" if lead else action for action in more)


def _stripped(text: str) -> str:
    """Without where in the picture it is and how sure the captioner was."""
    text = _DOUBT.sub("", _SHOWN.sub(" ", text))
    text = _SEEMS.sub(lambda match: match[1] or "is", text)
    text = _NUMBERED.sub("", " ".join(text.split()).strip(" ,:"))
    return _TRAILING.sub("", _LEAD.sub("", text)).strip(" ,:")


def _plain(text: str) -> str:
    """The statement with its people called "a person" or "people"; "" when it says nothing."""
    text = _THERE.sub("", " ".join(text.split()).strip(" ,:")).lower()
    words = _words(text)
    if all(word in _SAYS_NOTHING or word.isdigit() or word == "," for word in words):
        return ""
    found = _human_subject(text, words)
    if found is None:
        return text
    many, rest = found
    return f"{'people are' if many else 'a person is'} {rest}".strip()


def _human_subject(text: str, words: list[str]) -> tuple[bool, str] | None:
    """Whether several people are the subject, and what follows from their verb on; None: no such subject."""
    head = next((n for n, word in enumerate(words[:5]) if word not in ARTICLES and not _counts(word)), 0)
    counted = [word for word in words[:head] if _counts(word)]
    if head < len(words) and words[head] in ONE | MANY:
        many = words[head] in MANY
    elif counted and head < len(words) and words[head] in AUXILIARIES:
        many = words[head] in {"are", "were", "have"}  # "the fifth is", "two are"
        head -= 1
    else:
        return None
    forms = verb_forms(words)
    stop = min(len(words), head + _LONGEST_SUBJECT)
    verb = next((n for n in range(head + 1, stop) if forms[n] in ("auxiliary", "ing")), None)
    if verb is None:
        return None
    spans = [match.start() for match in _WORD.finditer(text)]
    if words[verb] in {"is", "are", "was", "were"}:
        verb += 1
    elif forms[verb] == "auxiliary":
        return None
    return (many, text[spans[verb] :]) if verb < len(words) else None


def _counts(word: str) -> bool:
    return word in _COUNTING or word.isdigit() or bool(_ORDINAL.match(word))


def _words(text: str) -> list[str]:
    return [match.group().lower().replace("’", "'") for match in _WORD.finditer(text)]
