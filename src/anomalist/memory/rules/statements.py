"""Normalisation of captions to plain statements, keyword search by stem, and content words.

From "On the right side, the second man in a cap seems to be running, waving a flag" come the plain statements
"a person is running" and "a person is waving a flag", which can be compared with rules. Only closed lists of
words are used (ordinals, sides, words for people, hedges), none of them specific to a topic. Keywords are
found by their stems.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from anomalist.memory.clauses import (
    ARTICLES,
    AUXILIARIES,
    CONJUNCTIONS,
    COUNTS,
    PREPOSITIONS,
    PRONOUNS,
    clauses,
    negated,
    verb_forms,
)
from anomalist.memory.rules.appearance import set_appearance_aside

_KEYWORD_TOKEN = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_SUFFIXES = ("ies", "ing", "ed", "es", "s")
_MIN_STEM_LETTERS = 3
_FUNCTION_WORDS = ARTICLES | AUXILIARIES | CONJUNCTIONS | COUNTS | PREPOSITIONS | PRONOUNS
_GENERIC_WORDS = """
person people human someone somebody individual group object objects item items thing things area areas
zone zones location locations place places period periods time times kind kinds type types way manner
behavior behaviors behaviour behaviours movement movements motion activity activities action actions
direction environment information service services safety security threat hazard hazards reason purpose
comparison nature large small big little high low tall short long fast slow very quickly slowly new old
usual unusual normal abnormal typical common general regular irregular clear apparent sensitive public
physical specific designated extended such like etc where when due not only than other others without
doing having being using creating indicating including showing displaying containing causing engaging
coming going moving seeking making presence emergency traffic pedestrian pedestrians commonly seen
missing
"""
"""Words too general to say anything alone."""

_GENERIC = frozenset(_GENERIC_WORDS.split())


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, in order."""
    return [match.group().lower() for match in _KEYWORD_TOKEN.finditer(text)]


def stem(word: str) -> str:
    """Stem of a word by suffix stripping: "bicycles", "bicycle" → "bicycl"; "running", "runs" → "run".

    Rough, but applied to keyword and text alike.
    """
    for ending in _SUFFIXES:
        if word.endswith(ending) and len(word) - len(ending) >= _MIN_STEM_LETTERS and not word.endswith("ss"):
            word = word[: -len(ending)] + ("y" if ending == "ies" else "")
            break
    if len(word) > _MIN_STEM_LETTERS and word[-1] == word[-2] and word[-1] not in "aeiousl":
        word = word[:-1]
    return word[:-1] if word.endswith("e") and len(word) > _MIN_STEM_LETTERS else word


class KeywordFinder:
    """Finds keywords, of one word or several in a row, in texts.

    Parameters
    ----------
    keywords : single words or phrases; compared by stem.
    """

    def __init__(self, keywords: Iterable[str]) -> None:
        self._by_first_stem: dict[str, list[tuple[list[str], str]]] = {}
        for keyword in keywords:
            stems = [stem(word) for word in words_of(keyword)]
            if stems:
                self._by_first_stem.setdefault(stems[0], []).append((stems, keyword))

    def find(self, text: str) -> tuple[str, ...]:
        """The keywords that occur in a text, each once, in the order of their first occurrence."""
        return self.find_in([stem(word) for word in words_of(text)])

    def find_in(self, stems: Sequence[str]) -> tuple[str, ...]:
        """`find` for a text given as the stems of its words."""
        found = (
            keyword
            for place, first in enumerate(stems)
            for wanted, keyword in self._by_first_stem.get(first, ())
            if list(stems[place : place + len(wanted)]) == wanted
        )
        return tuple(dict.fromkeys(found))


def content_words(text: str) -> tuple[str, ...]:
    """The content words of a text, each once: without function words, general words and words in "-ly".

    Text in brackets is left out as an explanation.
    """
    words = words_of(re.sub(r"\(.*?\)", " ", text))
    return tuple(
        dict.fromkeys(
            word
            for word in words
            if len(word) >= _MIN_STEM_LETTERS
            and word not in _FUNCTION_WORDS
            and word not in _GENERIC
            and not word.endswith("ly")
        )
    )


MAX_CAPTION_CHARACTERS = 4000
"""Characters of a caption that are read."""

_PICTURE = r"(?:image|picture|photo|photograph|scene|frame|video|view|footage|clip)"
_SIDE = (
    r"(?:left|right|middle|cent(?:er|re)|background|foreground|distance|front|back|top|bottom|corner|side)"
)
_IN_THE_PICTURE = re.compile(
    rf"\b(?:(?:visible|seen|shown|captured)\s+)?(?:in|of)\s+(?:the|this)\s+{_PICTURE}\b", re.I
)
_LEADING_POSITION = re.compile(
    rf"^(?:(?:starting|moving|going|looking|further|farther|from|on|in|at|to|towards?|near|the|far|left|right"
    rf"|upper|lower|hand|and|of|also|lastly|finally|additionally|meanwhile|next|then|{_SIDE}|{_PICTURE})\s+)*"
    rf"{_SIDE}\b\s*,?\s+(?=\w)",
    re.I,
)
_APART_FROM_OTHERS = re.compile(
    r"^(?:other|apart|aside|besides|in\s+addition)\s*(?:than|from|to)?\s+(?:the\s+|these\s+)?"
    r"(?:people|persons?|humans?|individuals?|pedestrians?|them|this|that)\s*,?\s*",
    re.I,
)
_EXISTENTIAL = re.compile(
    r"^there(?:\s+(?:is|are|was|were|(?:appears?|seems?)\s+to\s+be)|['’](?:s|re))\s+(?:also\s+)?", re.I
)
_HEDGES = re.compile(
    r"\b(?:also|possibly|probably|perhaps|likely|presumably|apparently|seemingly|currently|still|just)\b\s*",
    re.I,
)
_SEEMS_TO_BE = re.compile(
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
_STATEMENT_TOKEN = re.compile(r"[^\W_]+(?:['’.-][^\W_]+)*|,")


def _word_set(text: str) -> frozenset[str]:
    return frozenset(text.split())


SINGULAR_PEOPLE = _word_set(
    """
    person man woman boy girl child kid lady guy gentleman individual pedestrian figure someone somebody human
    adult teenager toddler one other
    """
)
PLURAL_PEOPLE = _word_set(
    """
    people persons men women boys girls children kids ladies individuals pedestrians figures adults teenagers
    them they others
    """
)
_COUNTING_WORDS = _word_set("another first second third next last other final remaining") | COUNTS
_STOP_WORDS = (
    _word_set(
        """
        left right middle center centre background foreground distance front back top bottom corner side sides
        starting going moving looking step steps image picture photo photograph scene frame video view further
        farther far upper lower lastly finally additionally also so next then other others else than aside
        visible one total number here is are
        """
    )
    | PLURAL_PEOPLE
    | SINGULAR_PEOPLE
    | ARTICLES
    | COUNTS
    | PREPOSITIONS
    | CONJUNCTIONS
    | PRONOUNS
)
_CACHED_CAPTIONS = 16_384  # rules and scenes parse the same captions
_LONGEST_SUBJECT = 14  # words before the verb


class CaptionStatement(NamedTuple):
    """One statement of a caption: verbatim, in plain form, and whether it is negated.

    ``appearance`` says that it describes looks and nothing else, which is compared with nothing.
    """

    clause: str
    plain: str
    has_negation: bool
    appearance: bool = False

    @property
    def key(self) -> tuple[str, bool]:
        """What it is compared by: its plain form, and whether it is negated."""
        return self.plain, self.has_negation


@lru_cache(_CACHED_CAPTIONS)
def statements(caption: str, spoken_of: frozenset[str] = frozenset()) -> tuple[CaptionStatement, ...]:
    """The statements of a caption in order, without those that only count or locate people.

    Descriptions of looks are set aside: "a man in a red shirt and no hat is running" states that a person is
    running, and denies nothing. Captions in other languages than English are split into sentences only. The
    first 4,000 characters of a caption are read.

    Parameters
    ----------
    caption : one text.
    spoken_of : nouns of looks that rules or scenes speak of, see `appearance_nouns`: these are not set aside.
    """
    found: list[CaptionStatement] = []
    for clause in clauses(caption[:MAX_CAPTION_CHARACTERS]):
        rest, only = set_appearance_aside(clause, spoken_of)
        said = clause if only else rest
        found += (CaptionStatement(clause, plain, negated(said), only) for plain in _plain_statements(said))
    return tuple(found)


def plain_form(text: str) -> str:
    """A whole rule or usual clause in the plain form of statements; unchanged where nothing would remain."""
    return _with_generic_subject(_without_position_and_doubt(text)) or " ".join(text.split()).lower()


def _plain_statements(clause: str) -> Iterator[str]:
    text = _without_position_and_doubt(clause)
    beside = _APART_FROM_OTHERS.match(text)
    body = text[beside.end() :] if beside else text
    there = _EXISTENTIAL.match(body)
    rest = body[there.end() :] if there else body
    if (beside or there) and not any(word in AUXILIARIES for word in _lower_words(rest)):
        parts = [part for follower in _FOLLOWED.split(rest) for part in _LISTED.split(follower)]
    else:
        parts = _FOLLOWED.split(rest)
    for part in parts:
        plain = _with_generic_subject(_without_position_and_doubt(part))
        if plain:
            first, *more = _AND_DOES.split(plain)
            yield first
            lead = re.match(r"(a person is|people are) ", first)
            yield from (f"{lead[0]}{action}" if lead else action for action in more)


def _without_position_and_doubt(text: str) -> str:
    """The text without position in the picture and without hedges ("seems to be", "probably")."""
    text = _HEDGES.sub("", _IN_THE_PICTURE.sub(" ", text))
    text = _SEEMS_TO_BE.sub(lambda match: match[1] or "is", text)
    text = _NUMBERED.sub("", " ".join(text.split()).strip(" ,:"))
    return _TRAILING.sub("", _LEADING_POSITION.sub("", text)).strip(" ,:")


def _with_generic_subject(text: str) -> str:
    """The statement with a human subject replaced by "a person" or "people"; "" when it says nothing."""
    text = _EXISTENTIAL.sub("", " ".join(text.split()).strip(" ,:")).lower()
    words = _lower_words(text)
    if all(word in _STOP_WORDS or word.isdigit() or word == "," for word in words):
        return ""
    found = _human_subject(text, words)
    if found is None:
        return text
    many, rest = found
    return f"{'people are' if many else 'a person is'} {rest}".strip()


def _human_subject(text: str, words: list[str]) -> tuple[bool, str] | None:
    """Whether a human subject is plural, and the text from its verb on; None if the subject isn't human."""
    head = next(
        (n for n, word in enumerate(words[:5]) if word not in ARTICLES and not _is_counting_word(word)), 0
    )
    counted = [word for word in words[:head] if _is_counting_word(word)]
    if head < len(words) and words[head] in SINGULAR_PEOPLE | PLURAL_PEOPLE:
        many = words[head] in PLURAL_PEOPLE
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
    spans = [match.start() for match in _STATEMENT_TOKEN.finditer(text)]
    if words[verb] in {"is", "are", "was", "were"}:
        verb += 1
    elif forms[verb] == "auxiliary":
        return None
    return (many, text[spans[verb] :]) if verb < len(words) else None


def _is_counting_word(word: str) -> bool:
    return word in _COUNTING_WORDS or word.isdigit() or bool(_ORDINAL.match(word))


def _lower_words(text: str) -> list[str]:
    return [match.group().lower().replace("’", "'") for match in _STATEMENT_TOKEN.finditer(text)]
