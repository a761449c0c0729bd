"""Multiple choice in plain text: "Where is it? A) upper left B) lower right" as a question and its options.

Read strictly: what might be an ordinary question with a letter in it stays one.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from anomalist.agent.asking.question import QUOTED

_SIGNS = (r"[(\[]?{letter}[)\]]\s*", r"{letter}\.\s+", r"{letter}:\s+")
"""How a letter may be marked; a text has one way throughout, in capitals or in small letters."""

_STYLES = tuple(
    re.compile(rf"(?<![\w.'(\[])(?:{sign.format(letter=f'([{letters}])')})")
    for sign in _SIGNS
    for letters in ("A-Z", "a-z")
)
_BARE = re.compile(r"[A-Za-z]\)")
"""Said in no sentence: these may follow anything."""

_LINE_START = re.compile(r"(?:^|\n)[ \t>*•-]*$")
_LINE = re.compile(r"\s*[(\[]?([A-Za-z])(?:[)\]]\s*|[.:]\s+)\S")
_BEGINS = re.compile(r"(?:^|[?:.!,;…–—\n-])\s*$")
_LISTED = re.compile(r"(?:\bor|[,;])\s*$", re.I)
_JOINING = re.compile(r"(?:[\s.,;?!]|\b(?:or|and|and/or|vs|versus)$)+$", re.I)
_TAIL = re.compile(
    r"^(.+?)[.;!]\s+((?:please )?(?:answer|reply|respond|choose|pick|select)\b.*|[^?]+\?)$", re.I | re.S
)
"""What follows the last option and is none: "Answer with the letter." or the question itself."""


@dataclass(frozen=True)
class Lettered:
    """A multiple-choice question.

    Parameters
    ----------
    question : without the options; empty where only options were given.
    options : option ``i`` has letter ``i`` of the alphabet.
    """

    question: str
    options: tuple[str, ...]

    @property
    def text(self) -> str:
        """The whole on one line, as it is read again."""
        lettered = (f"{string.ascii_uppercase[i]}) {option}" for i, option in enumerate(self.options))
        return " ".join(filter(None, [self.question, *lettered]))


def read_lettered(text: str) -> Lettered | None:
    """Read options that are marked with letters; None for an ordinary question.

    Parameters
    ----------
    text : as it was typed. Letters must follow each other from A, at least two, all marked in one way
        ("A)", "(A)", "A.", "A:", or small ones), inside a line or on lines of their own. What is quoted in it
        marks nothing.
    """
    text = text.replace("\r\n", "\n").strip()
    masked = QUOTED.sub(lambda quoted: "”" * len(quoted[0]), text)
    found = [marks for style in _STYLES if (marks := _marks(list(style.finditer(masked)), masked))]
    if not found:
        return None
    marks = min(found, key=lambda each: each[0].start())
    by_line = all(_LINE_START.search(masked[: mark.start()]) for mark in marks)
    question, options = _on_lines(text, marks) if by_line else _in_line(text, marks)
    options = [_JOINING.sub("", " ".join(option.split())) for option in options]
    if not all(any(map(str.isalnum, option)) for option in options):
        return None
    question = " ".join(question.split()).rstrip(" -–—:,;*•>")
    return Lettered(question if any(map(str.isalnum, question)) else "", tuple(options))


def asked_in(text: str) -> str:
    """The question without its options; an ordinary question as it is."""
    lettered = read_lettered(text)
    return text if lettered is None else lettered.question


def gathered(lines: Iterable[str]) -> Iterator[str]:
    """Join options that come line by line, "A) yes" and then "B) no", until another line or an empty one."""
    held: list[str] = []
    for line in lines:
        mark = _LINE.match(line)
        if mark and mark[1].upper() == string.ascii_uppercase[len(held) : len(held) + 1]:
            held.append(line.rstrip("\n"))
            continue
        if held:
            yield "\n".join(held)
            held = []
        yield line
    if held:
        yield "\n".join(held)


def _marks(marks: Sequence[re.Match[str]], masked: str) -> Sequence[re.Match[str]]:
    """The marks of one style where they are those of options; else none."""
    marks = [mark for mark in marks if not _inside(masked[: mark.start()])]
    on_lines = [mark for mark in marks if _LINE_START.search(masked[: mark.start()])]
    marks = on_lines if len(on_lines) > 1 else marks
    letters = "".join(mark[1] for mark in marks).upper()
    if len(letters) < 2 or not string.ascii_uppercase.startswith(letters):
        return ()
    first, *others = marks
    begins = _BARE.match(first[0]) or _BEGINS.search(masked[: first.start()])
    listed = all(_LISTED.search(masked[: mark.start()]) for mark in others)
    return marks if begins or listed else ()


def _inside(before: str) -> bool:
    """Whether a parenthesis is open, which the one after the letter closes: "(region A)"."""
    return before.rfind("(") > before.rfind(")")


def _in_line(text: str, marks: Sequence[re.Match[str]]) -> tuple[str, list[str]]:
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    options = [text[mark.end() : end] for mark, end in zip(marks, ends, strict=True)]
    question = text[: marks[0].start()]
    if tail := _TAIL.match(options[-1].strip()):
        options[-1] = tail[1]
        question = f"{question} {tail[2]}"
    return question, options


def _on_lines(text: str, marks: Sequence[re.Match[str]]) -> tuple[str, list[str]]:
    """An option is its line, with indented ones that follow; all other lines are the question's."""
    question = [text[: marks[0].start()]]
    options = []
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    for mark, end in zip(marks, ends, strict=True):
        own, *others = text[mark.end() : end].split("\n")
        while others and others[0][:1].isspace() and others[0].strip(" \t>*•-"):
            own = f"{own} {others.pop(0)}"
        options.append(own)
        question += others
    return " ".join(question), options
