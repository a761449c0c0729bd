"""Clause splitting, negation detection and antonymous modifiers of English captions, by word lists.

A caption is split into clauses, so that one statement among many can be matched, and each clause is checked
for negation. Verbs are recognised by endings, neighbouring words and closed-class words; no word list is
specific to a topic.

Sentence encoders give antonyms (fast and slow, open and closed) nearly the same vector. Antonyms are
therefore compared by patterns: each text has at most one value per dimension (pace, way, state …), and two
texts conflict where their values differ.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

VerbForm = Literal["", "auxiliary", "ing", "finite"]


def _word_set(text: str) -> frozenset[str]:
    return frozenset(text.split())


AUXILIARIES = _word_set(
    """
    is are was were am be been being has have had does do did can could will would shall should may
    might must cannot appear appears seem seems isn't aren't wasn't weren't hasn't haven't hadn't
    doesn't don't didn't can't couldn't won't wouldn't there's he's she's it's they're
    """
)
PRONOUNS = _word_set(
    """
    there he she it they we i you someone somebody everyone everybody nobody there's he's she's it's
    they're
    """
)
"""Pronouns, which begin a clause as its subject."""

ARTICLES = _word_set("a an the this that these those his her its their my our your")
COUNTS = _word_set(
    """
    another each every all some any no none neither both several many few most others one two three four
    five six seven eight nine ten eleven twelve first second third fourth fifth sixth seventh eighth
    ninth tenth last
    """
)
PREPOSITIONS = _word_set(
    """
    about above across after against ahead along among around as at away back backwards before behind
    below beside between beyond by down for forwards from in inside into left near of off on onto out
    outside over past right round through to together toward towards under up upon via with within
    without again alone
    """
)
CONJUNCTIONS = _word_set("and but or nor while whereas then yet so because when who which")
IRREGULAR = _word_set(
    """
    beat bent broke brought came caught drew drove fell fled flew fought gave got went held hid hit kept
    knelt laid leapt lost made met put ran rode sat shook slid stole stood struck swung threw took wore
    """
)
"""Irregular past forms."""

_NOT_ING = _word_set("thing something nothing anything everything during king ring string")


def verb_forms(words: Sequence[str]) -> list[VerbForm]:
    """Guess the verb form of each word of a sentence, given in lower case; "" where it is no verb.

    Commas are words of their own.
    """
    forms: list[VerbForm] = []
    for place, word in enumerate(words):
        before = words[place - 1] if place else ""
        after = words[place + 1] if place + 1 < len(words) else ""
        forms.append(_verb_form(word, before, after))
    return forms


def opens_clause(word: str) -> bool:
    """Whether a word can begin the subject of a clause: an article, a count, a number, a pronoun."""
    return word in ARTICLES or word in COUNTS or word in PRONOUNS or word[:1].isdigit()


def _verb_form(word: str, before: str, after: str) -> VerbForm:
    if word in AUXILIARIES:
        return "auxiliary"
    if before in ARTICLES:
        return ""
    followed = after in {"", ","} or after in PREPOSITIONS or after in CONJUNCTIONS or opens_clause(after)
    followed = followed or after.endswith("ly")
    if word.endswith("ing") and len(word) > 4 and word not in _NOT_ING:
        return "ing" if followed or before in AUXILIARIES else ""
    if word in IRREGULAR:
        return "finite"
    ending = word.endswith("ed") or (word.endswith("s") and not word.endswith(("ss", "us", "is")))
    noun = before in {"", ","} or before in COUNTS or before in PREPOSITIONS or before[0].isdigit()
    return "finite" if len(word) > 3 and ending and followed and not noun else ""


_MODIFIER_PATTERNS: Mapping[str, Mapping[str, str]] = {
    "pace": {
        "very fast": r"\bvery\s+(?:fast|quickly)\b",
        "fast": r"\b(?:fast|faster|quickly|rapidly)\b",
        "a little": r"\b(?:a\s+little|hardly)\b",
        "slowly": r"\b(?:slow|slower|slowly)\b",
        "at the usual speed": r"\bat\s+(?:the|a)\s+(?:usual|normal)\s+(?:speed|pace)\b",
    },
    "way": {
        "from left to right": r"\bfrom\s+left\s+to\s+right\b",
        "from right to left": r"\bfrom\s+right\s+to\s+left\b",
    },
    "depth": {
        "towards the camera": r",?\s*\btowards?\s+the\s+camera\b",
        "away from the camera": r",?\s*\baway\s+from\s+the\s+camera\b",
    },
    "place": {
        name: rf"\b(?:in|on|at)\s+the\s+{name}\b"
        for name in (
            *("upper left", "upper right", "lower left", "lower right"),
            *("left", "right", "centre", "top", "bottom"),
        )
    },
    "state": {"open": r"\bopen(?:ed)?\b", "closed": r"\b(?:closed|shut)\b"},
    "fill": {"empty": r"\bempty\b", "full": r"\b(?:full|crowded)\b"},
    "size": {"large": r"\b(?:large|big|huge)\b", "small": r"\b(?:small|tiny)\b"},
}
"""Patterns for the values of each dimension; the first match counts."""

_COMPILED_PATTERNS = {
    name: [(value, re.compile(pattern, re.I)) for value, pattern in each.items()]
    for name, each in _MODIFIER_PATTERNS.items()
}

Modifiers = Mapping[str, str]
"""Value by dimension: {"pace": "very fast"}."""


def find_modifiers(text: str) -> Modifiers:
    """The value of each dimension that a text mentions."""
    found = {}
    for name, patterns in _COMPILED_PATTERNS.items():
        value = next((value for value, pattern in patterns if pattern.search(text)), None)
        if value is not None:
            found[name] = value
    return found


def modifiers_conflict(one: Modifiers, other: Modifiers) -> bool:
    """Whether two texts have different values in any dimension."""
    return any(other.get(name, value) != value for name, value in one.items())


def modifier_values(dimension: str) -> tuple[str, ...]:
    """The possible values of a dimension, worded so that they can follow a verb."""
    return tuple(_MODIFIER_PATTERNS[dimension])


def strip_modifiers(text: str, *dimensions: str) -> str:
    """The text without its modifiers in these dimensions."""
    for name in dimensions:
        for _, pattern in _COMPILED_PATTERNS[name]:
            text = pattern.sub("", text)
    return " ".join(text.split()).strip(" ,")


_SENTENCE_END = re.compile(
    r"(?<!\bno)(?<!\be\.g)(?<!\bi\.e)(?<!\bvs)(?<!\bapprox)[.!?…]++[\"')\]”’]*+(?=\s|$)|[;\n。！？；]|\s[–—]\s|—",
    re.IGNORECASE,
)
_CLAUSE_BOUNDARY = re.compile(
    r",\s*(?:\b(?:and|but|or|then|while|whereas|yet|so)\b\s*)*"
    r"|\b(?:and|but|or(?!\s+not\b)|while|whereas)\b\s*(?:then\b\s*)?"
    r"|\b(?=(?:without|with\s+no|rather\s+than|instead\s+of)\b)",
    re.IGNORECASE,
)
_EXCLUDING = re.compile(r"\s*(?:not|without|with\s+no|rather\s+than|instead\s+of)\b", re.IGNORECASE)
_WORD = re.compile(r"[^\W_]+(?:['’.-][^\W_]+)*|,")
_OPENING = re.compile(r"^(?:and|but|or|while|whereas|then)\s+(?=\w)", re.IGNORECASE)
_NEVER_SUBJECTS = PREPOSITIONS | CONJUNCTIONS | {"that", "where"}
_LONGEST_SUBJECT = 12  # words
_MAX_WORDS_TO_VERB = 60  # words of a clause that are searched for its verb

_AFFIRMED = re.compile(
    r"\bno\.?\s*\d|\bno\s+(?:fewer|less|more)\s+than\b|\bno\s+doubt\b|\bnot\s+(?:only|just|far)\b|\bor\s+not\b",
    re.IGNORECASE,
)
_NEGATION = re.compile(
    r"\b(?:no|not|none|nobody|nothing|nowhere|never|neither|nor|without|cannot|rather\s+than|instead\s+of)\b"
    r"|n['’]t\b",
    re.IGNORECASE,
)


def negated(clause: str) -> bool:
    """Whether a clause is negated: "no one is running", "without a bicycle", "not moving".

    A clause with a negation anywhere counts as negated: "a man who is not wearing a helmet runs".
    """
    return _NEGATION.search(_AFFIRMED.sub(" ", clause)) is not None


def clauses(text: str) -> tuple[str, ...]:
    """Split a caption into clauses, in order; repeated clauses are kept.

    Splits at sentence ends, ";" and dashes, and at commas, "and", "but", "while" and the like where a new
    verb follows. A verb without a subject gets the subject of the clause before it: "no one runs and shouts"
    gives "no one runs" and "no one shouts". A clause that continues with "without", "not" or "rather than" is
    given twice, up to that word and as a whole. Sentences without a recognised verb, and sentences in other
    languages than English, stay whole. Time is linear in the length of the text.
    """
    parts = (part for sentence in _SENTENCE_END.split(text) for part in _split_sentence(sentence))
    return tuple(part for part in parts if any(map(str.isalnum, part)))


@dataclass
class _TaggedSentence:
    """Words of a sentence (commas are words, too) with their character offsets and guessed verb forms."""

    text: str
    starts: list[int]
    words: list[str]
    forms: Sequence[VerbForm]

    @classmethod
    def of(cls, text: str) -> _TaggedSentence:
        found = [*_WORD.finditer(text)]
        words = [match.group().lower().replace("’", "'") for match in found]
        return cls(text, [match.start() for match in found], words, verb_forms(words))

    def number(self, place: int) -> int:
        """Index of the first word that begins at or after a character offset."""
        return bisect_left(self.starts, place)

    def first(self, begin: int, end: int, *forms: VerbForm) -> int | None:
        """Index of the first word in [begin, end) with one of these forms, among the first 60."""
        return next(
            (n for n in range(begin, min(end, begin + _MAX_WORDS_TO_VERB)) if self.forms[n] in forms), None
        )


def _split_sentence(text: str) -> Iterator[str]:
    """Clauses of a sentence. "A runs without B" gives "A runs", then the whole, which is negated."""
    sentence = _TaggedSentence.of(text)
    joints = [*_CLAUSE_BOUNDARY.finditer(text)]
    begin, lead, excludes = 0, "", False
    for joint, stop in zip(joints, _search_ends(joints, len(text)), strict=True):
        clause = text[begin : joint.start()]
        if not clause.strip():
            continue
        if _EXCLUDING.match(text, joint.end()):
            if not excludes:
                yield _strip_clause(lead + clause)
            excludes = True
            continue
        subject = _shared_subject(sentence, begin, joint, stop, lead)
        if subject is not None:
            yield _strip_clause(lead + clause)
            begin, lead, excludes = joint.end(), subject, False
    yield _strip_clause(lead + text[begin:])


def _search_ends(joints: Sequence[re.Match[str]], end: int) -> list[int]:
    """Where the search for a verb after each boundary ends: the next one; after a comma, the next comma."""
    stops, comma, nearest = [], end, end
    for joint in reversed(joints):
        is_comma = joint.group().startswith(",")
        stops.append(comma if is_comma else nearest)
        nearest = joint.start()
        comma = nearest if is_comma else comma
    return stops[::-1]


def _shared_subject(
    sentence: _TaggedSentence, begin: int, joint: re.Match[str], stop: int, lead: str
) -> str | None:
    """The subject to put before the text after a boundary ("joint"), or None where no new clause begins.

    ``begin`` is the offset where the clause before it begins, ``lead`` the subject put before that clause.
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
        forms_wanted: tuple[VerbForm, ...] = (
            ("auxiliary", "ing") if strict else ("auxiliary", "ing", "finite")
        )
        new = words[right] in PRONOUNS or sentence.first(right + 1, last, *forms_wanted) is not None
        return "" if new else None
    if forms[right]:
        return lead or _subject(sentence, begin, left, middle, forms[right])
    if words[right].endswith("ing") and sentence.first(left, middle, "ing") is not None:
        return lead or _subject(sentence, begin, left, middle, "ing")  # "walking and riding bicycles"
    near = forms[right + 1 : min(right + 3, last)]
    return "" if "auxiliary" in near and words[right] not in _NEVER_SUBJECTS else None


def _subject(sentence: _TaggedSentence, begin: int, left: int, middle: int, form: VerbForm) -> str | None:
    """The subject in the words [left, middle) that a verb of this form shares; None where it is no verb."""
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
    return _subject_prefix(sentence.text[begin:end])


def _subject_prefix(subject: str) -> str:
    """The subject with a space after it; "" where it is too long to be one."""
    words = subject.split()
    return " ".join(words) + " " if 0 < len(words) <= _LONGEST_SUBJECT else ""


def _strip_clause(clause: str) -> str:
    words = " ".join(clause.split()).strip(' ,.:!?…"“”()[]')
    return _OPENING.sub("", words)
