"""Captions cut into clauses, so that one statement among many can be matched, and which of them deny."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from anomalist.memory.grammar import CONJUNCTIONS, PREPOSITIONS, PRONOUNS, Form, opens_clause, verb_forms

_END = re.compile(
    r"(?<!\bno)(?<!\be\.g)(?<!\bi\.e)(?<!\bvs)(?<!\bapprox)[.!?…]++[\"')\]”’]*+(?=\s|$)|[;\n。！？；]|\s[–—]\s|—",
    re.IGNORECASE,
)
_JOINT = re.compile(
    r",\s*(?:\b(?:and|but|or|then|while|whereas|yet|so)\b\s*)*"
    r"|\b(?:and|but|or(?!\s+not\b)|while|whereas)\b\s*(?:then\b\s*)?"
    r"|\b(?=(?:without|with\s+no|rather\s+than|instead\s+of)\b)",
    re.IGNORECASE,
)
_EXCLUDING = re.compile(r"\s*(?:not|without|with\s+no|rather\s+than|instead\s+of)\b", re.IGNORECASE)
_WORD = re.compile(r"[^\W_]+(?:['’.-][^\W_]+)*|,")
_OPENING = re.compile(r"^(?:and|but|or|while|whereas|then)\s+(?=\w)", re.IGNORECASE)
_NO_SUBJECTS = PREPOSITIONS | CONJUNCTIONS | {"that", "where"}
_LONGEST_SUBJECT = 12  # words
_SEARCHED = 60  # words of a clause, for its verb

_AFFIRMED = re.compile(
    r"\bno\.?\s*\d|\bno\s+(?:fewer|less|more)\s+than\b|\bno\s+doubt\b|\bnot\s+(?:only|just|far)\b|\bor\s+not\b",
    re.IGNORECASE,
)
_DENIAL = re.compile(
    r"\b(?:no|not|none|nobody|nothing|nowhere|never|neither|nor|without|cannot|rather\s+than|instead\s+of)\b"
    r"|n['’]t\b",
    re.IGNORECASE,
)


def negated(clause: str) -> bool:
    """Whether a clause says that something is not so: "no one is running", "without a bicycle", "not moving".

    The clause counts as denied as a whole: "a man who is not wearing a helmet runs" is.
    """
    return _DENIAL.search(_AFFIRMED.sub(" ", clause)) is not None


def clauses(text: str) -> tuple[str, ...]:
    """The statements of a caption, in order; one that is made twice is there twice.

    Cuts at the ends of sentences, at ";" and dashes, and at commas, "and", "but", "while" and the like where
    a new verb follows. A verb without a subject gets that of the clause before it: "no one runs and shouts"
    is "no one runs", "no one shouts". What goes on with "without", "not" or "rather than" is there twice, up
    to that word and as a whole. Where no verb is recognised, and in other languages than English, sentences
    stay whole. Time grows with the length of the text.
    """
    parts = (part for sentence in _END.split(text) for part in _split(sentence))
    return tuple(part for part in parts if any(map(str.isalnum, part)))


@dataclass
class _Sentence:
    """Words of a sentence, commas among them, with their places and guessed forms."""

    text: str
    starts: list[int]
    words: list[str]
    forms: Sequence[Form]

    @classmethod
    def of(cls, text: str) -> _Sentence:
        found = [*_WORD.finditer(text)]
        words = [match.group().lower().replace("’", "'") for match in found]
        return cls(text, [match.start() for match in found], words, verb_forms(words))

    def number(self, place: int) -> int:
        """Number of the first word that begins at or after a place in the text."""
        return bisect_left(self.starts, place)

    def first(self, begin: int, end: int, *forms: Form) -> int | None:
        """Number of the first word in [begin, end) with one of these forms, if it is among the first 60."""
        return next((n for n in range(begin, min(end, begin + _SEARCHED)) if self.forms[n] in forms), None)


def _split(text: str) -> Iterator[str]:
    """Clauses of a sentence. "A runs without B" gives "A runs", then the whole, which denies."""
    sentence = _Sentence.of(text)
    joints = [*_JOINT.finditer(text)]
    begin, lead, excludes = 0, "", False
    for joint, stop in zip(joints, _stops(joints, len(text)), strict=True):
        said = text[begin : joint.start()]
        if not said.strip():
            continue
        if _EXCLUDING.match(text, joint.end()):
            if not excludes:
                yield _tidy(lead + said)
            excludes = True
            continue
        cut = _lead(sentence, begin, joint, stop, lead)
        if cut is not None:
            yield _tidy(lead + said)
            begin, lead, excludes = joint.end(), cut, False
    yield _tidy(lead + text[begin:])


def _stops(joints: Sequence[re.Match[str]], end: int) -> list[int]:
    """How far to look for the verb after each joint: to the next joint; after a comma to the next comma."""
    stops, comma, nearest = [], end, end
    for joint in reversed(joints):
        is_comma = joint.group().startswith(",")
        stops.append(comma if is_comma else nearest)
        nearest = joint.start()
        comma = nearest if is_comma else comma
    return stops[::-1]


def _lead(sentence: _Sentence, begin: int, joint: re.Match[str], stop: int, lead: str) -> str | None:
    """The subject to put before what follows a joint, or None where no new clause begins.

    ``begin`` is the place where the clause before the joint begins, ``lead`` the subject put before that one.
    """
    text, words, forms = sentence.text, sentence.words, sentence.forms
    left, middle, right, last = map(sentence.number, (begin, joint.start(), joint.end(), stop))
    if right >= last:
        return None
    if not lead and joint.group().startswith(",") and _EXCLUDING.match(text, begin):
        return ""
    if not lead and sentence.first(left, middle, "auxiliary", "ing", "finite") is None:
        return None
    if opens_clause(words[right]):
        strict = joint.group().strip().lower() in {"and", "or"}
        forms_wanted: tuple[Form, ...] = ("auxiliary", "ing") if strict else ("auxiliary", "ing", "finite")
        new = words[right] in PRONOUNS or sentence.first(right + 1, last, *forms_wanted) is not None
        return "" if new else None
    if forms[right]:
        return lead or _subject(sentence, begin, left, middle, forms[right])
    if words[right].endswith("ing") and sentence.first(left, middle, "ing") is not None:
        return lead or _subject(sentence, begin, left, middle, "ing")  # "walking and riding bicycles"
    near = forms[right + 1 : min(right + 3, last)]
    return "" if "auxiliary" in near and words[right] not in _NO_SUBJECTS else None


def _subject(sentence: _Sentence, begin: int, left: int, middle: int, form: Form) -> str | None:
    """What a verb of this form shares with the words [left, middle) before it; None: it is no verb here."""
    auxiliary = sentence.first(left, middle, "auxiliary")
    if form == "ing":
        same = sentence.first(left, middle, "ing")
        if same is None and auxiliary is not None:
            same = auxiliary + 1
    elif form == "finite" and auxiliary is not None:
        return None
    else:
        same = None
    verb = sentence.first(left, middle, "auxiliary", "ing", "finite") if same is None else same
    assert verb is not None
    end = sentence.starts[verb] if verb < len(sentence.starts) else len(sentence.text)
    return _short(sentence.text[begin:end])


def _short(subject: str) -> str:
    """The subject as it is put before a verb; nothing when it is too long to be one."""
    words = subject.split()
    return " ".join(words) + " " if 0 < len(words) <= _LONGEST_SUBJECT else ""


def _tidy(clause: str) -> str:
    words = " ".join(clause.split()).strip(' ,.:!?…"“”()[]')
    return _OPENING.sub("", words)
