"""What a question names: regions, events, pictures, a rate, a time, a severity, a kind, a place."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import cast

from anomalist.agent.asking.question import Question
from anomalist.agent.tools.remembering import Since
from anomalist.clips import EVENT_ID
from anomalist.types import REGION_ID, SEVERITIES, Label
from anomalist.vision.attributes import POSITIONS

_PERCENT = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "ten": 10, "fifteen": 15, "twenty": 20}
_PLACES = {name: name for row in POSITIONS for name in row} | {
    "top left": "upper left",
    "top right": "upper right",
    "bottom left": "lower left",
    "bottom right": "lower right",
    "center": "centre",
    "middle": "centre",
}
_LABELS: dict[str, Label] = {
    r"defect\w*|faulty|bad|flagged|failed|reject(?:ed)?|anomal\w+|damaged|broken|wrong|"
    r"throw|sort out|scrap": "anomalous",
    r"normal|good|fine|ok|okay|passed|accepted": "normal",
    r"undecided|unclear|unsure|open": "undecided",
}
_KIND = re.compile(
    r"\b(?:is|it's|was|as|of) (?:an? |the )?(?:real |true |small |large )?([a-z][a-z -]{2,30}?)"
    r"\s*(?:[,;.!]|$| not\b| severity\b)"
)
_NO_KIND = re.compile(
    r"(?:fine|ok|okay|good|normal|acceptable|perfect|harmless|only|just)\b.*"
    r"|defect|real|false alarm|all right|alright|right|wrong|correct|bad|not.*|no .*|part.*"
)
_SIDES = ("left", "right", "top", "bottom")


@dataclass(frozen=True)
class Named:
    """What was found in the words of a question; None or empty for what isn't named."""

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
        """The first file that is named."""
        return self.pictures[0] if self.pictures else None


def named_in(question: Question) -> Named:
    """Read what a question names. What is quoted counts as the name of a file, nothing else."""
    plain = question.plain
    order = _order(plain)
    severity = re.search(r"\bseverity (?:of |is |level |grade )*([0-4])\b", plain)
    words = [level for level in SEVERITIES if order is None and _says(level, plain)]
    since = next((day for day in ("today", "yesterday", "this week", "this month") if day in plain), None)
    place = next(
        (_PLACES[name] for name in sorted(_PLACES, key=len, reverse=True) if _says(name, plain)), None
    )
    files = re.findall(r"[\w./-]+\.(?:jpe?g|png|bmp|tiff?|webp|mp4|avi|mkv|mov|webm)\b", question.text, re.I)
    return Named(
        regions=tuple(dict.fromkeys(re.findall(rf"\b{REGION_ID}\b", question.text.upper()))),
        events=tuple(dict.fromkeys(re.findall(rf"\b{EVENT_ID}\b", question.text.upper()))),
        pictures=tuple(dict.fromkeys(files)),
        rate=_rate(plain),
        seconds=_seconds(plain),
        severity=int(severity[1]) if severity else SEVERITIES.index(words[0]) if words else None,
        label=next((label for words, label in _LABELS.items() if re.search(rf"\b({words})\b", plain)), None),
        since=cast("Since | None", since),
        position=place,
        side=next(
            (side for side in _SIDES if re.search(rf"\b{side}(?:\w*)? (?:edge|border|side|rim)\b", plain)),
            None,
        ),
        order=order,
    )


def _order(plain: str) -> str | None:
    """Which extreme is asked for: "largest", "smallest", "worst", …"""
    if re.search(
        r"\bmost (?:critical|severe|serious|suspicious|anomalous|damaged|unusual|defective)\b", plain
    ):
        return "worst"
    extremes = ("largest", "biggest", "smallest", "worst", "strongest")
    return next((word for word in extremes if word in plain), None)


def said_kind(question: Question) -> str | None:
    """The kind that a person names in feedback: "this is a scratch, severity 3" gives "scratch"."""
    found = _KIND.search(question.plain)
    word = found[1].strip() if found else ""
    return None if not word or _NO_KIND.fullmatch(word) else word


def _says(name: str, plain: str) -> bool:
    return re.search(rf"\b{re.escape(name)}\b", plain) is not None


def _rate(plain: str) -> float | None:
    """A false-alarm rate as a share: "1 %", "two percent", "0.02"."""
    words = re.search(rf"\b({'|'.join(_PERCENT)}) (?:percent|per cent|%)", plain)
    if words:
        return _PERCENT[words[1]] / 100
    percent = re.search(r"(\d+(?:[.,]\d+)?)\s*(?:%|percent|per cent)", plain)
    if percent:
        return float(percent[1].replace(",", ".")) / 100
    share = re.search(r"(?<![\d.])(0?[.,]\d+)\b", plain)
    return float(share[1].replace(",", ".")) if share else None


def _seconds(plain: str) -> float | None:
    """A time of a clip: "at 12 s", "at second 3.5", "at 1:05"."""
    clock = re.search(r"\b(\d{1,2}):([0-5]\d)\b", plain)
    if clock:
        return 60.0 * int(clock[1]) + int(clock[2])
    found = re.search(r"\b(\d+(?:\.\d+)?)\s*(?:s|sec|secs|seconds?)\b|\bsecond (\d+(?:\.\d+)?)\b", plain)
    return float(found[1] or found[2]) if found else None
