"""A question as it came in: length, language, quoted text, and what it names."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from anomalist.errors import DataError

LONGEST = 2000
"""Characters of a question."""

QUOTED = re.compile(r"“[^”]*”|\"[^\"]*\"|«[^»]*»|„[^“”]*[“”]|`[^`]*`|(?<!\w)'[^']{12,}'(?!\w)")
"""What is quoted is data: it says neither what is asked nor what to do."""


@dataclass(frozen=True)
class Question:
    """A question that can be worked on.

    Parameters
    ----------
    text : on one line.
    plain : the same in lower case, without what is quoted.
    quoted : what was quoted in it.
    """

    text: str
    plain: str
    quoted: tuple[str, ...]


def read_question(text: str) -> Question:
    """Tidy a question up.

    Raises DataError when it is empty, only quoted text, or too long.
    """
    if len(text) > LONGEST:
        raise DataError(
            f"The question has {len(text):,} characters; at most {LONGEST:,} are read.", "Ask in a sentence."
        )
    printable = "".join(c if c.isprintable() else " " for c in text)
    line = " ".join(printable.split())
    if not any(map(str.isalnum, line)):
        raise DataError("The question is empty.", 'Ask for instance: "Is anything wrong, and where?"')
    plain = " ".join(QUOTED.sub(" … ", line).casefold().replace("’", "'").split())
    if not any(map(str.isalnum, plain)):
        raise DataError("The question is only quoted text, which is read as data.", "Ask outside the quotes.")
    return Question(line, plain, tuple(QUOTED.findall(line)))


def unquoted(text: str) -> str:
    """A text without what is quoted in it; a word in quotes is a name, and stays."""
    return QUOTED.sub(lambda quoted: quoted[0] if len(quoted[0].split()) == 1 else " … ", text)


def foreign(question: Question) -> str | None:
    """The language of a question that is not English, or "another language"; None for English."""
    letters = [c for c in question.plain if c.isalpha()]
    if letters and sum(ord(c) > 0x24F for c in letters) > len(letters) / 2:
        return "another language"
    # "E1" is an id, and no Italian "e".
    words = re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)?", re.sub(r"\b[ret]\d+\b", " ", question.plain))
    known = _languages()
    scores = {name: sum(word in frequent for word in words) for name, frequent in known.items()}
    english = max(scores.pop("English"), sum(word.split("'")[0] in known["English"] for word in words))
    best = max(scores, key=lambda name: scores[name])
    return best if scores[best] > english and scores[best] >= 2 else None


@cache
def _languages() -> dict[str, frozenset[str]]:
    text = Path(__file__).with_name("languages.toml").read_text(encoding="utf-8")
    return {name: frozenset(words.split()) for name, words in tomllib.loads(text).items()}
