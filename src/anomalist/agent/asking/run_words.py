"""Words of questions about runs, what they stand for in a query (``run_words.toml``), and what was read."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal, cast

from anomalist.querying.columns import TableName
from anomalist.querying.query import Condition, Measure, Operator, Trend, clock_time
from anomalist.types.common import Frozen

About = Literal["pictures", "clips"]
"""What a run holds."""

WORDS_FILE = Path(__file__).with_name("run_words.toml")

TIME_WORDS = re.compile(
    r"\b(?:(since|from|after|before|until|till|up to) )?"
    r"(today|yesterday|this week|last week|this month|last month|\d{4}-\d{2}-\d{2})(?:'s)?\b"
)
TIME_OPERATORS: Mapping[str, Operator] = {
    "since": ">=", "from": ">=", "after": ">", "before": "<", "until": "<=", "till": "<=", "up to": "<=",
}  # fmt: skip

_HOUR = r"(?:\d{1,2}(?::\d{2})?(?: ?(?:[ap]\.?m\.?|o'clock))?|noon|midday|midnight)"
CLOCK_SPAN = re.compile(rf"\b(?:between|from) ({_HOUR}) (?:and|to|until|till) ({_HOUR})(?![\w.])")
CLOCK_BOUND = re.compile(rf"\b(since|from|after|before|until|till|up to) ({_HOUR})(?![\w.])")
"""What may be times of day; `clock_of` says whether it is one."""
DAY_PARTS: Mapping[str, tuple[int, ...]] = {
    "morning": tuple(range(5, 12)),
    "afternoon": tuple(range(12, 18)),
    "evening": tuple(range(18, 22)),
    "night": (*range(5), 22, 23),
}
"""Hours of the parts of a day."""
PART_OF_DAY = re.compile(
    rf"\b(?:(?:in|during|at) (?:the )?|(this|yesterday)(?:'s)? )({'|'.join(DAY_PARTS)})s?\b"
)
TIME_OF_DAY = re.compile(
    r"\b(?:(?:what |which )?(?:time|hour)s? of (?:the )?day|what (?:time|hours?)|which hours?)\b"
)
_NAMED_HOURS = {"noon": "12:00", "midday": "12:00", "midnight": "00:00"}


def clock_of(words: str, beside: str = "") -> str | None:
    """A time of day as HH:MM; None of a number that neither it nor the one ``beside`` it says to be one.

    "6" is a time of day in "between 6 and 8 pm", and only a number in "after 6".
    """
    if words in _NAMED_HOURS:
        return _NAMED_HOURS[words]
    own, other = (each.replace(".", "") for each in (words, beside))
    half = re.search(r"[ap]m", own) or re.search(r"[ap]m", other)
    if not half and other not in _NAMED_HOURS and not re.search(r":|o'clock", f"{own} {other}"):
        return None
    number = re.match(r"[\d:]+", own)
    return None if number is None else clock_time(f"{number[0]} {half[0] if half else ''}")


_SO_MANY = (
    r"(?= (?:[\w-]+ ){0,2}"
    r"(?:number|count|amount|share|percentage|proportion|fraction|rate|quota|ratio|yield)s?\b)"
)
_EXTREMES = (
    ("worst", r"(?:worst|worse)"),
    ("best", r"(?:best|better)"),
    ("least", r"(?:least(?! (?:severe|critical|serious))(?: (?:common|frequent|often|of))?)"),
    ("least", rf"(?:fewest|fewer|rarest|(?:lowest|lower|smallest|smaller){_SO_MANY})"),
    ("most", r"(?:most(?: (?:common|frequent|often|of))?)"),
    ("most", rf"(?:more|commonest|(?:highest|higher|largest|biggest){_SO_MANY})"),
)
"""Words by which one group is chosen; "highest" and "lowest" only of a number or a share."""

FREQUENCY = re.compile(r"\b(?:common|frequent|often|rarest|commonest)\b")
SUPERLATIVE = re.compile(
    rf"\b(?:{'|'.join(words for _, words in _EXTREMES)}|only"
    r"|highest|lowest|largest|biggest|smallest|longest|shortest)\b"
)

NUMBERS = {
    "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "twenty": 20, "a": 1, "an": 1,
}  # fmt: skip


def asks_time_of_day(plain: str) -> bool:
    """Whether a question in lower case names an hour, or asks for one."""
    span = CLOCK_SPAN.search(plain)
    bounds = CLOCK_BOUND.finditer(plain)
    return bool(
        TIME_OF_DAY.search(plain)
        or (span and clock_of(span[1], span[2]))
        or any(clock_of(bound[2]) for bound in bounds)
    )


@dataclass(frozen=True)
class Phrase:
    """A pattern in lower case, and the condition that it stands for."""

    pattern: re.Pattern[str]
    condition: Condition


@dataclass(frozen=True)
class RunWords:
    """The content of ``run_words.toml``, with its patterns made.

    Parameters
    ----------
    conditions, events : phrases of pictures and clips, and of events.
    camera_trouble : what clips that were not judged, and cameras that show nothing, are called.
    places : patterns by place.
    groups : patterns by column.
    measures : patterns by measure, in the order in which they count.
    fillers : words that need no part.
    """

    conditions: tuple[Phrase, ...]
    events: tuple[Phrase, ...]
    camera_trouble: tuple[Phrase, ...]
    places: Mapping[str, re.Pattern[str]]
    groups: Mapping[str, tuple[str, ...]]
    measures: Mapping[Measure, re.Pattern[str]]
    fillers: frozenset[str]

    def is_filler(self, word: str) -> bool:
        """Whether a word needs no part in a query."""
        known = word in self.fillers or word.removesuffix("'s") in self.fillers
        return known or not any(map(str.isalnum, word))

    def column_of(self, word: str) -> str:
        """The column that rows are grouped by for a word; kind where it is none of them."""
        for column, patterns in self.groups.items():
            if any(re.fullmatch(pattern, word) for pattern in patterns):
                return column
        return "kind"

    @property
    def group_pattern(self) -> str:
        """A pattern of all words for columns, the longest first."""
        patterns = [pattern for each in self.groups.values() for pattern in each]
        return "|".join(f"(?:{pattern})" for pattern in sorted(patterns, key=len, reverse=True))


class _PhraseEntry(Frozen):
    when: str
    patterns: tuple[str, ...]

    def phrase(self) -> Phrase:
        column, operator, value = re.fullmatch(r"(\w+)(!=|<=|>=|=|<|>|~)(.*)", self.when).groups()  # type: ignore[union-attr]
        values = tuple(value.split("|"))
        condition = Condition(column=column, operator=cast("Operator", operator), values=values)
        return Phrase(_any_of(self.patterns), condition)


class _WordsFile(Frozen):
    condition: tuple[_PhraseEntry, ...]
    event: tuple[_PhraseEntry, ...]
    camera_trouble: tuple[_PhraseEntry, ...]
    place: dict[str, tuple[str, ...]]
    group: dict[str, tuple[str, ...]]
    measure: dict[str, tuple[str, ...]]
    fillers: dict[str, str]


@cache
def run_words() -> RunWords:
    """The words, read once."""
    file = _WordsFile.model_validate(tomllib.loads(WORDS_FILE.read_text(encoding="utf-8")))
    return RunWords(
        conditions=tuple(entry.phrase() for entry in file.condition),
        events=tuple(entry.phrase() for entry in file.event),
        camera_trouble=tuple(entry.phrase() for entry in file.camera_trouble),
        places={place: _any_of(patterns) for place, patterns in file.place.items()},
        groups=file.group,
        measures={cast("Measure", each): _any_of(patterns) for each, patterns in file.measure.items()},
        fillers=frozenset(file.fillers["words"].split()),
    )


def _any_of(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w-])(?:{'|'.join(patterns)})(?![\w-])")


@dataclass
class ReadingState:
    """What was read so far; ``text`` has blanks where it was read.

    ``part_guessed``: no word said the share of what it is, so that what the question names may say it.
    """

    text: str
    about: About
    where: list[Condition] = field(default_factory=list)
    by: list[str] = field(default_factory=list)
    trend: Trend | None = None
    measure: Measure | None = None
    of: str | None = None
    part: tuple[Condition, ...] = ()
    part_guessed: bool = False
    lowest: bool = False
    sort: str | None = None
    top: int | None = None
    table: TableName | None = None
    stated: set[str] = field(default_factory=set)
    ungrouped: str = ""
    listing: bool = False

    def take(self, pattern: str | re.Pattern[str]) -> re.Match[str] | None:
        """The first match of a pattern, which is blanked."""
        found = re.search(pattern, self.text)
        if found:
            self.blank(found)
        return found

    def blank(self, found: re.Match[str]) -> None:
        """Mark a match as read."""
        self.text = f"{self.text[: found.start()]} \x00 {self.text[found.end() :]}"

    def add(self, column: str, operator: Operator, value: str | float) -> None:
        """Add a condition."""
        self.where.append(Condition(column=column, operator=operator, values=(value,)))

    def group(self, column: str) -> None:
        """Group by a column, or by a length of time."""
        if column == "hour of day":
            self.by.append("hour")
        elif column in ("day", "hour", "week", "month"):
            self.trend = cast("Trend", column)
        elif column not in self.by:
            self.by.append("folder" if column == "camera" and self.about == "pictures" else column)
        self.stated.add("by")

    def take_extreme(self) -> str:
        """Which group is asked for, "worst", "best", "least" or "most"; "" where no word says one."""
        taken = (name for name, words in _EXTREMES if self.take(rf"\b(?:the )?{words}\b"))
        return next(taken, "")

    @property
    def columns(self) -> set[str]:
        """Columns of the conditions so far."""
        return {each.column for each in self.where}
