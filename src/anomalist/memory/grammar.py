"""English words of the closed classes, and a guess at which words of a sentence are verbs.

It goes by endings, neighbours and the words below, which belong to the language and to no topic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

Form = Literal["", "auxiliary", "ing", "finite"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


AUXILIARIES = _words(
    """
    is are was were am be been being has have had does do did can could will would shall should may
    might must cannot appear appears seem seems isn't aren't wasn't weren't hasn't haven't hadn't
    doesn't don't didn't can't couldn't won't wouldn't there's he's she's it's they're
    """
)
PRONOUNS = _words(
    """
    there he she it they we i you someone somebody everyone everybody nobody there's he's she's it's
    they're
    """
)
"""That begin a clause, because they are subjects."""

ARTICLES = _words("a an the this that these those his her its their my our your")
COUNTS = _words(
    """
    another each every all some any no none neither both several many few most others one two three four
    five six seven eight nine ten eleven twelve first second third fourth fifth sixth seventh eighth
    ninth tenth last
    """
)
PREPOSITIONS = _words(
    """
    about above across after against ahead along among around as at away back backwards before behind
    below beside between beyond by down for forwards from in inside into left near of off on onto out
    outside over past right round through to together toward towards under up upon via with within
    without again alone
    """
)
CONJUNCTIONS = _words("and but or nor while whereas then yet so because when who which")
IRREGULAR = _words(
    """
    beat bent broke brought came caught drew drove fell fled flew fought gave got went held hid hit kept
    knelt laid leapt lost made met put ran rode sat shook slid stole stood struck swung threw took wore
    """
)
"""Pasts that their ending doesn't show."""

_NOT_ING = _words("thing something nothing anything everything during king ring string")


def verb_forms(words: Sequence[str]) -> list[Form]:
    """For each word of a sentence, in lower case, what kind of verb it seems to be; "" for none.

    Commas count as words.
    """
    forms: list[Form] = []
    for place, word in enumerate(words):
        before = words[place - 1] if place else ""
        after = words[place + 1] if place + 1 < len(words) else ""
        forms.append(_form(word, before, after))
    return forms


def opens_clause(word: str) -> bool:
    """Whether a word can begin the subject of a clause: an article, a count, a number, a pronoun."""
    return word in ARTICLES or word in COUNTS or word in PRONOUNS or word[:1].isdigit()


def _form(word: str, before: str, after: str) -> Form:
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
