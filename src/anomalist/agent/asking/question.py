"""Question parsing: text and language, multiple-choice options, and entity extraction.

A question has at most 2,000 characters. Quoted text in it is data: it may be a file name and is otherwise
ignored. Multiple choice in plain text ("Where is it? A) upper left B) lower right") is parsed strictly: a
question that merely contains a letter is none. Entities are regions, events, files, a rate, a time in
seconds, a severity, a label, a date and a position.
"""

from __future__ import annotations

import re
import string
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import cast

from anomalist.agent.tools.memory import Since
from anomalist.errors import DataError
from anomalist.types.clip import EVENT_ID
from anomalist.types.common import SEVERITIES, Label
from anomalist.types.image import REGION_ID
from anomalist.vision.attributes import POSITIONS

MAX_QUESTION_CHARS = 2000
"""Longest question, characters."""

QUOTED = re.compile(r"“[^”]*”|\"[^\"]*\"|«[^»]*»|„[^“”]*[“”]|`[^`]*`|(?<!\w)'[^']{12,}'(?!\w)")
"""Quoted text, which is data."""

FILE_NAME = re.compile(r"[\w./-]+\.(?:jpe?g|png|bmp|tiff?|webp|mp4|avi|mkv|mov|webm)\b", re.I)
"""Name or path of a picture or clip."""

LEFT_OUT = re.compile(
    r"\b(?:except|excepting|excluding|apart from|but not|leaving out)(?: for)?"
    rf" (?:the |picture |clip )*{FILE_NAME.pattern}",
    re.I,
)
"""A picture or clip that a question leaves out by name."""

ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_ORDINAL = rf"the ({'|'.join(ORDINALS)}|last)"
_PICTURE_NOUN = r"(?: (?:one|of them|picture|image|tile|part|clip|board))"
ORDINAL = re.compile(rf"\b{_ORDINAL}\b(?:{_PICTURE_NOUN}|[?.!,]|$)")
"""A picture or clip by its place in a list, in lower case: "the second one"."""
POINTING = re.compile(
    rf"(?:please )?(?:show|open|display|give|tell|see)(?: me)?(?: about)? {_ORDINAL}{_PICTURE_NOUN}?[ ?.!]*"
)
"""A question that only points at one: "show me the second one"."""


@dataclass(frozen=True)
class Question:
    """A normalised question.

    Parameters
    ----------
    text : the question on one line.
    plain : the same in lower case, without quoted text.
    quoted : the quoted texts.
    """

    text: str
    plain: str
    quoted: tuple[str, ...]


def read_question(text: str) -> Question:
    """Normalise a question.

    Raises DataError when it is empty, only quoted text, or too long.
    """
    if len(text) > MAX_QUESTION_CHARS:
        raise DataError(
            f"The question has {len(text):,} characters; at most {MAX_QUESTION_CHARS:,} are read.",
            "Ask in a sentence.",
        )
    printable = "".join(c if c.isprintable() else " " for c in text)
    line = " ".join(printable.split())
    if not any(map(str.isalnum, line)):
        raise DataError("The question is empty.", 'Ask for instance: "Is anything wrong, and where?"')
    plain = " ".join(QUOTED.sub(" … ", line).casefold().replace("’", "'").split())
    if not any(map(str.isalnum, plain)):
        raise DataError("The question is only quoted text, which is read as data.", "Ask outside the quotes.")
    return Question(line, plain, tuple(QUOTED.findall(line)))


def strip_quoted(text: str) -> str:
    """The text without quoted passages; a single word in quotes is a name and stays."""
    return QUOTED.sub(lambda quoted: quoted[0] if len(quoted[0].split()) == 1 else " … ", text)


def strip_file_names(text: str) -> str:
    """The text with "it" for names of pictures and clips, whose words say nothing about what is asked."""
    return FILE_NAME.sub("it", text)


def foreign_language(question: Question) -> str | None:
    """The language of a question that is not English, or "another language"; None for English."""
    letters = [c for c in question.plain if c.isalpha()]
    if letters and sum(ord(c) > 0x24F for c in letters) > len(letters) / 2:
        return "another language"
    # "E1" is an id, and no Italian "e".
    words = re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)?", re.sub(r"\b[ret]\d+\b", " ", question.plain))
    known = _frequent_words()
    scores = {name: sum(word in frequent for word in words) for name, frequent in known.items()}
    english = max(scores.pop("English"), sum(word.split("'")[0] in known["English"] for word in words))
    best = max(scores, key=lambda name: scores[name])
    return best if scores[best] > english and scores[best] >= 2 else None


@cache
def _frequent_words() -> dict[str, frozenset[str]]:
    text = Path(__file__).with_name("languages.toml").read_text(encoding="utf-8")
    return {name: frozenset(words.split()) for name, words in tomllib.loads(text).items()}


_LETTER_FORMATS = (r"[(\[]?{letter}[)\]]\s*", r"{letter}\.\s+", r"{letter}:\s+")
"""Formats of an option letter; a text uses one of them throughout, in upper or lower case."""

_LETTER_STYLES = tuple(
    re.compile(rf"(?<![\w.'(\[])(?:{sign.format(letter=f'([{letters}])')})")
    for sign in _LETTER_FORMATS
    for letters in ("A-Z", "a-z")
)
_BARE_LETTER = re.compile(r"[A-Za-z]\)")
"""A letter with ")" occurs in no sentence, so it marks an option wherever it stands."""

_LINE_START = re.compile(r"(?:^|\n)[ \t>*•-]*$")
_OPTION_LINE = re.compile(r"\s*[(\[]?([A-Za-z])(?:[)\]]\s*|[.:]\s+)\S")
_AFTER_QUESTION = re.compile(r"(?:^|[?:.!,;…–—\n-])\s*$")
_AFTER_OPTION = re.compile(r"(?:\bor|[,;])\s*$", re.I)
_TRAILING_JOINERS = re.compile(r"(?:[\s.,;?!]|\b(?:or|and|and/or|vs|versus)$)+$", re.I)
_AFTER_OPTIONS = re.compile(
    r"^(.+?)[.;!]\s+((?:please )?(?:answer|reply|respond|choose|pick|select)\b.*|[^?]+\?)$", re.I | re.S
)
"""Text after the last option that isn't part of it: "Answer with the letter." or the question itself."""


@dataclass(frozen=True)
class MultipleChoice:
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
        """Question and options on one line, in a form that `read_multiple_choice` parses."""
        options = (f"{string.ascii_uppercase[i]}) {option}" for i, option in enumerate(self.options))
        return " ".join(filter(None, [self.question, *options]))


def read_multiple_choice(text: str) -> MultipleChoice | None:
    """Parse options that are marked with letters; None for an ordinary question.

    Parameters
    ----------
    text : as typed. Letters must be consecutive from A, at least two, all in one format ("A)", "(A)", "A.",
        "A:", or in lower case), within a line or on lines of their own. Letters in quoted text don't count.
    """
    text = text.replace("\r\n", "\n").strip()
    masked = QUOTED.sub(lambda quoted: "”" * len(quoted[0]), text)
    found = [
        marks for style in _LETTER_STYLES if (marks := _option_marks(list(style.finditer(masked)), masked))
    ]
    if not found:
        return None
    marks = min(found, key=lambda each: each[0].start())
    by_line = all(_LINE_START.search(masked[: mark.start()]) for mark in marks)
    question, options = _split_option_lines(text, marks) if by_line else _split_inline_options(text, marks)
    options = [_TRAILING_JOINERS.sub("", " ".join(option.split())) for option in options]
    if not all(any(map(str.isalnum, option)) for option in options):
        return None
    question = " ".join(question.split()).rstrip(" -–—:,;*•>")
    return MultipleChoice(question if any(map(str.isalnum, question)) else "", tuple(options))


def question_without_options(text: str) -> str:
    """The question without its options; an ordinary question unchanged."""
    parsed = read_multiple_choice(text)
    return text if parsed is None else parsed.question


def join_option_lines(lines: Iterable[str]) -> Iterator[str]:
    """Join consecutive option lines, "A) yes", "B) no", into one text; other lines pass through."""
    held: list[str] = []
    for line in lines:
        mark = _OPTION_LINE.match(line)
        if mark and mark[1].upper() == string.ascii_uppercase[len(held) : len(held) + 1]:
            held.append(line.rstrip("\n"))
            continue
        if held:
            yield "\n".join(held)
            held = []
        yield line
    if held:
        yield "\n".join(held)


def _option_marks(marks: Sequence[re.Match[str]], masked: str) -> Sequence[re.Match[str]]:
    """The matches of one letter format if they mark options; else none."""
    marks = [mark for mark in marks if not _in_parenthesis(masked[: mark.start()])]
    on_lines = [mark for mark in marks if _LINE_START.search(masked[: mark.start()])]
    marks = on_lines if len(on_lines) > 1 else marks
    letters = "".join(mark[1] for mark in marks).upper()
    if len(letters) < 2 or not string.ascii_uppercase.startswith(letters):
        return ()
    first, *others = marks
    begins = _BARE_LETTER.match(first[0]) or _AFTER_QUESTION.search(masked[: first.start()])
    listed = all(_AFTER_OPTION.search(masked[: mark.start()]) for mark in others)
    return marks if begins or listed else ()


def _in_parenthesis(before: str) -> bool:
    """Whether a parenthesis is open before a letter, as in "(region A)"."""
    return before.rfind("(") > before.rfind(")")


def _split_inline_options(text: str, marks: Sequence[re.Match[str]]) -> tuple[str, list[str]]:
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    options = [text[mark.end() : end] for mark, end in zip(marks, ends, strict=True)]
    question = text[: marks[0].start()]
    if tail := _AFTER_OPTIONS.match(options[-1].strip()):
        options[-1] = tail[1]
        question = f"{question} {tail[2]}"
    return question, options


def _split_option_lines(text: str, marks: Sequence[re.Match[str]]) -> tuple[str, list[str]]:
    """An option is its line and indented lines after it; all other lines belong to the question."""
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


_PERCENT_WORDS = {
    "one": 1,
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "ten": 10,
    "fifteen": 15,
    "twenty": 20,
}
_POSITION_WORDS = {name: name for row in POSITIONS for name in row} | {
    "top left": "upper left",
    "top right": "upper right",
    "bottom left": "lower left",
    "bottom right": "lower right",
    "center": "centre",
    "middle": "centre",
}
_LABEL_PATTERNS: dict[str, Label] = {
    r"defect\w*|faulty|bad|flagged|failed|reject(?:ed)?|anomal\w+|damaged|broken|wrong|"
    r"throw|sort out|scrap": "anomalous",
    r"normal|good|fine|ok|okay|passed|accepted": "normal",
    r"undecided|unclear|unsure|open": "undecided",
}
_KIND_PATTERN = re.compile(
    r"\b(?:is|it's|was|as|of) (?:an? |the )?(?:real |true |small |large )?([a-z][a-z -]{2,30}?)"
    r"\s*(?:[,;.!]|$| not\b| severity\b)"
)
_NOT_A_KIND = re.compile(
    r"(?:fine|ok|okay|good|normal|acceptable|perfect|harmless|only|just)\b.*"
    r"|defect|real|false alarm|all right|alright|right|wrong|correct|bad|not.*|no .*|part.*"
)
_SIDES = ("left", "right", "top", "bottom")


@dataclass(frozen=True)
class Entities:
    """Entities in a question; None or empty where there is none."""

    regions: tuple[str, ...]
    events: tuple[str, ...]
    pictures: tuple[str, ...]
    rate: float | None
    seconds: float | None
    severity: int | None
    label: Label | None
    since: Since | None
    position: str | None
    side: str | None
    order: str | None

    @property
    def picture(self) -> str | None:
        """The first file name."""
        return self.pictures[0] if self.pictures else None


def extract_entities(question: Question) -> Entities:
    """Extract the entities of a question; quoted text is searched for file names and ids only.

    What a file name says is no entity: "Is R1 in left-r2.png bad?" is about R1.
    """
    plain, ids = strip_file_names(question.plain), strip_file_names(question.text).upper()
    order = _superlative(plain)
    severity = re.search(r"\bseverity (?:of |is |level |grade )*([0-4])\b", plain)
    words = [level for level in SEVERITIES if order is None and _mentions(level, plain)]
    since = next((day for day in ("today", "yesterday", "this week", "this month") if day in plain), None)
    place = next(
        (
            _POSITION_WORDS[name]
            for name in sorted(_POSITION_WORDS, key=len, reverse=True)
            if _mentions(name, plain)
        ),
        None,
    )
    return Entities(
        regions=tuple(dict.fromkeys(re.findall(rf"\b{REGION_ID}\b", ids))),
        events=tuple(dict.fromkeys(re.findall(rf"\b{EVENT_ID}\b", ids))),
        pictures=tuple(dict.fromkeys(FILE_NAME.findall(question.text))),
        rate=_parse_rate(plain),
        seconds=_parse_seconds(plain),
        severity=int(severity[1]) if severity else SEVERITIES.index(words[0]) if words else None,
        label=next(
            (label for words, label in _LABEL_PATTERNS.items() if re.search(rf"\b({words})\b", plain)), None
        ),
        since=cast("Since | None", since),
        position=place,
        side=next(
            (side for side in _SIDES if re.search(rf"\b{side}(?:\w*)? (?:edge|border|side|rim)\b", plain)),
            None,
        ),
        order=order,
    )


def _superlative(plain: str) -> str | None:
    """The superlative in a question: "largest", "smallest", "worst" …"""
    if re.search(
        r"\bmost (?:critical|severe|serious|suspicious|anomalous|damaged|unusual|defective)\b", plain
    ):
        return "worst"
    extremes = ("largest", "biggest", "smallest", "worst", "strongest")
    return next((word for word in extremes if word in plain), None)


def feedback_kind(question: Question) -> str | None:
    """The kind of defect in feedback: "this is a scratch, severity 3" gives "scratch"."""
    found = _KIND_PATTERN.search(question.plain)
    word = found[1].strip() if found else ""
    return None if not word or _NOT_A_KIND.fullmatch(word) else word


def _mentions(name: str, plain: str) -> bool:
    return re.search(rf"\b{re.escape(name)}\b", plain) is not None


def _parse_rate(plain: str) -> float | None:
    """A false-alarm rate as a share: "1 %", "two percent", "0.02"."""
    words = re.search(rf"\b({'|'.join(_PERCENT_WORDS)}) (?:percent|per cent|%)", plain)
    if words:
        return _PERCENT_WORDS[words[1]] / 100
    percent = re.search(r"(\d+(?:[.,]\d+)?)\s*(?:%|percent|per cent)", plain)
    if percent:
        return float(percent[1].replace(",", ".")) / 100
    share = re.search(r"(?<![\d.])(0?[.,]\d+)\b", plain)
    return float(share[1].replace(",", ".")) if share else None


def _parse_seconds(plain: str) -> float | None:
    """A time of a clip: "at 12 s", "at second 3.5", "at 1:05"."""
    clock = re.search(r"\b(\d{1,2}):([0-5]\d)\b", plain)
    if clock:
        return 60.0 * int(clock[1]) + int(clock[2])
    found = re.search(r"\b(\d+(?:\.\d+)?)\s*(?:s|sec|secs|seconds?)\b|\bsecond (\d+(?:\.\d+)?)\b", plain)
    return float(found[1] or found[2]) if found else None
