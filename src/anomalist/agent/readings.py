"""Read what a question or an option says about a picture: terms that can be held against evidence."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from anomalist.agent.option_words import (
    BOUNDS,
    COLUMNS,
    COUNTED,
    EDGES,
    MIDDLE,
    NEGATING_PHRASES,
    NEGATORS,
    NO,
    NUMBERS,
    PHRASES,
    ROWS,
    UNSAID,
    WHOLE,
    YES,
    Meaning,
)
from anomalist.vision.attributes import PLACES, POSITIONS

_WORD = re.compile(r"\w+(?:'\w+)?")
_SUBJECTS = {
    "it",
    "it's",
    "its",
    "there",
    "there's",
    "this",
    "that",
    "the",
    "everything",
    "i",
    "we",
    "nothing",
}
_LONGEST = 4
"""Words of the longest phrase."""
_FARTHEST = 8
"""Words that a place may take: "in the middle of the left hand side"."""


@dataclass(frozen=True)
class _Words:
    """What words mean here: squashed names of labelled kinds, phrases, and whether bare numbers count."""

    names: Mapping[str, str]
    phrases: Mapping[str, Meaning]
    counting: bool


@dataclass(frozen=True)
class Term:
    """One thing that a text says.

    Parameters
    ----------
    aspect : "answer" (yes or no), "label", "place", "edge", "form", "size", "tone", "colour", "texture",
        "direction", "change", "severity", "count", "kind", "named" (a labelled kind), "others" or "unsaid".
    values : any of them would make it true.
    nearly : values that fit too, less well: "on the left" of something at the lower left.
    negated : it says that this is not so.
    """

    aspect: str
    values: frozenset[str]
    nearly: frozenset[str] = frozenset()
    negated: bool = False


def read(
    text: str,
    names: Collection[str] = (),
    *,
    counting: bool = False,
    phrases: Mapping[str, Meaning] = PHRASES,
) -> tuple[Term, ...]:
    """Read the terms of a text, in its order; none where it says nothing that could be measured.

    Parameters
    ----------
    text : a question or an option.
    names : of labelled kinds, which count before what words mean in general.
    counting : whether a bare number counts things.
    phrases : what they mean; those of pictures by default.
    """
    terms: list[Term] = []
    named = {squashed(name): name for name in names}
    for number, (words, carried) in enumerate(_clauses(text)):
        if number == 0 and (answer := _answer(words)):
            terms.append(Term("answer", frozenset({answer})))
            words, carried = words[1:], False
        terms += _terms(words, _Words(named, phrases, counting), carried)
    return tuple(dict.fromkeys(terms))


def squashed(name: str) -> str:
    """A name as it is compared: small letters without spaces, dashes and endings of the plural."""
    return "".join(_stem(word) for word in _words(name))


def _words(text: str) -> list[str]:
    plain = text.casefold().replace("’", "'").replace("_", " ").replace("-", " ")
    return _WORD.findall(plain)


def _stem(word: str) -> str:
    for ending, rest in (("sses", "ss"), ("ches", "ch"), ("shes", "sh"), ("xes", "x")):
        if word.endswith(ending):
            return word.removesuffix(ending) + rest
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def _clauses(text: str) -> Iterator[tuple[list[str], bool]]:
    """Parts of a text whose denials end with them, and whether one goes on from the part before.

    It goes on in a list: "no scratches, dents or stains".
    """
    for sentence in re.split(r"[.;:!?()\n–—]|\bbut\b|\bexcept\b", text):
        parts = [words for part in sentence.split(",") if (words := _words(part))]
        last = max((at for at, words in enumerate(parts) if {"or", "nor"} & set(words)), default=-1)
        denied = False
        for at, words in enumerate(parts):
            listed = at <= last
            yield words, denied and listed
            denied = (_denies(words) and len(words) > 1) or (denied and listed)


def _denies(words: Sequence[str]) -> bool:
    return any(word in NEGATORS or word.endswith("n't") for word in words)


def _answer(words: Sequence[str]) -> str | None:
    """Whether a text begins with a yes or no that is an answer: not in "no defect"."""
    first, rest = words[0], words[1:]
    if first in YES:
        return "yes"
    return "no" if first in NO and (not rest or rest[0] in _SUBJECTS or first != "no") else None


def _terms(words: Sequence[str], known: _Words, negated: bool) -> Iterator[Term]:
    """Go through the words of a clause, longest phrases first."""
    bare = False
    at = 0
    while at < len(words):
        taken, found = _at(words, at, known)
        if found is not None:
            bare = False
            yield Term(found.aspect, found.values, found.nearly, negated and found.aspect != "others")
        elif (step := _negation(words, at)) is not None:
            taken = step
            fresh = words[at] in ("nor", "neither")
            negated = True if fresh else not negated
            bare = bare or words[at] in ("nothing", "none", "nowhere")
        at += taken
    if bare:
        yield Term("label", frozenset({"normal"}))


def _negation(words: Sequence[str], at: int) -> int | None:
    """How many words deny what follows."""
    if words[at] in NEGATORS or words[at].endswith("n't"):
        return 1
    return next((2 for phrase in NEGATING_PHRASES if phrase.split() == list(words[at : at + 2])), None)


def _at(words: Sequence[str], at: int, known: _Words) -> tuple[int, Term | None]:
    """How many words from ``at`` on belong together, and what they say."""
    rest = list(words[at : at + _LONGEST])
    if rest[0] in ("none", "neither", "all", "both") and rest[1:2] == ["of"]:
        return len(words) - at, Term(
            "others", frozenset({"none" if rest[0] in ("none", "neither") else "all"})
        )
    if rest[0] in UNSAID or " ".join(rest[:2]) in UNSAID:
        return len(words) - at, Term("unsaid", frozenset({"unsaid"}))
    for count in range(len(rest), 0, -1):
        joined = "".join(_stem(word) for word in rest[:count])
        if joined in known.names:
            return count, Term("named", frozenset({known.names[joined]}))
    for count in range(len(rest), 0, -1):
        phrase = " ".join(rest[:count])
        stemmed = " ".join(_stem(word) for word in rest[:count])
        meaning = known.phrases.get(phrase) or known.phrases.get(stemmed)
        if meaning:
            return count, Term(*meaning)
    if found := _place(words[at : at + _FARTHEST]):
        return found
    return _counted(words[at : at + 2 * _LONGEST], known.counting)


def _counted(words: Sequence[str], counting: bool) -> tuple[int, Term | None]:
    """Read "two defects", "more than one event"; bare numbers where things are counted."""
    bound = next((b for b in BOUNDS if b.split() == list(words[:2])), None)
    at = 2 if bound else 0
    number = NUMBERS.get(words[at]) if at < len(words) else None
    if number is None or not (counting or any(word in COUNTED for word in words[at + 1 : at + 3])):
        return 1, None
    if bound is None or not number.isdigit():
        return at + 1, Term("count", frozenset({number}))
    low, high = BOUNDS[bound](int(number))
    return at + 1, Term("count", frozenset(map(str, range(max(0, low), high + 1))))


def _place(words: Sequence[str]) -> tuple[int, Term] | None:
    """Read "upper left", "left of the centre", "the middle", "right half", "left edge", "edge"."""
    row: int | None = None
    column: int | None = None
    middle, taken = False, 0
    for at, word in enumerate(words):
        if word in ROWS and row is None:
            row = ROWS[word]
        elif word in COLUMNS and column is None:
            column = COLUMNS[word]
        elif word in MIDDLE and not middle:
            middle = True
        elif not (taken and word in ("of", "the", "hand") and at < 4):
            break
        if word not in ("of", "the", "hand"):
            taken = at + 1
    after = words[taken] if taken < len(words) else ""
    if not taken:
        return (1, Term("edge", frozenset())) if after in EDGES else None
    if after in EDGES:
        sides = [("top", "", "bottom")[row]] if row is not None else []
        sides += [("left", "", "right")[column]] if column is not None else []
        return taken + 1, Term("edge", frozenset(sides))
    rows = range(3) if row is None else (row,)
    columns = range(3) if column is None else (column,)
    wide = frozenset(POSITIONS[y][x] for y in rows for x in columns)
    if row is None and column is None:
        return taken, Term("place", frozenset({"centre"}))
    if after in WHOLE and not middle:
        return taken + 1, Term("place", wide)
    cell = POSITIONS[1 if row is None else row][1 if column is None else column]
    return taken, Term(
        "place", frozenset({cell}), frozenset() if middle else (wide - {cell}).intersection(PLACES)
    )
