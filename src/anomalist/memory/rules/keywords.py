"""Words that give a rule away: found in a text whatever their ending."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from anomalist.memory.grammar import (
    ARTICLES,
    AUXILIARIES,
    CONJUNCTIONS,
    COUNTS,
    PREPOSITIONS,
    PRONOUNS,
)

_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_ENDINGS = ("ies", "ing", "ed", "es", "s")
_SHORTEST = 3  # letters of a stem
_GRAMMAR = ARTICLES | AUXILIARIES | CONJUNCTIONS | COUNTS | PREPOSITIONS | PRONOUNS
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
"""Words that say how, how much or in general, and so nothing alone."""

_GENERIC = frozenset(_GENERIC_WORDS.split())


def words_of(text: str) -> list[str]:
    """The words of a text, in lower case and order."""
    return [match.group().lower() for match in _WORD.finditer(text)]


def stem(word: str) -> str:
    """What is left of a word without its ending: "bicycles", "bicycle" → "bicycl"; "running", "runs" → "run".

    Rough, and the same for what is looked for and what is looked in.
    """
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _SHORTEST and not word.endswith("ss"):
            word = word[: -len(ending)] + ("y" if ending == "ies" else "")
            break
    if len(word) > _SHORTEST and word[-1] == word[-2] and word[-1] not in "aeiousl":
        word = word[:-1]
    return word[:-1] if word.endswith("e") and len(word) > _SHORTEST else word


class KeywordFinder:
    """Finds keywords, of one word or several in a row, in texts.

    Parameters
    ----------
    keywords : the words; each is found with other endings too.
    """

    def __init__(self, keywords: Iterable[str]) -> None:
        self._by_first: dict[str, list[tuple[list[str], str]]] = {}
        for keyword in keywords:
            stems = [stem(word) for word in words_of(keyword)]
            if stems:
                self._by_first.setdefault(stems[0], []).append((stems, keyword))

    def find(self, text: str) -> tuple[str, ...]:
        """The keywords that a text holds, each once, in the order in which they come."""
        return self.find_in([stem(word) for word in words_of(text)])

    def find_in(self, stems: Sequence[str]) -> tuple[str, ...]:
        """The same for a text given as the stems of its words."""
        found = (
            keyword
            for place, first in enumerate(stems)
            for wanted, keyword in self._by_first.get(first, ())
            if list(stems[place : place + len(wanted)]) == wanted
        )
        return tuple(dict.fromkeys(found))


def telling_words(text: str) -> tuple[str, ...]:
    """The words of a text that say something alone, each once: no grammar, nothing general, no "-ly".

    What stands in brackets is an explanation and left out.
    """
    words = words_of(re.sub(r"\(.*?\)", " ", text))
    return tuple(
        dict.fromkeys(
            word
            for word in words
            if len(word) >= _SHORTEST
            and word not in _GRAMMAR
            and word not in _GENERIC
            and not word.endswith("ly")
        )
    )
