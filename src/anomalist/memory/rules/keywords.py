"""Words that give a rule away: found in a text whatever their ending."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_ENDINGS = ("ies", "ing", "ed", "es", "s")
_SHORTEST = 3  # letters of a stem


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
