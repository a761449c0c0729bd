"""Words of questions about runs, as patterns of the parts of a query that they stand for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from anomalist.querying.query import Condition, Measure


class Phrase(NamedTuple):
    """A pattern in lower case, and the conditions that it stands for."""

    pattern: re.Pattern[str]
    conditions: tuple[Condition, ...]


def _phrase(pattern: str, *conditions: str) -> Phrase:
    parsed = []
    for text in conditions:
        found = re.fullmatch(r"(\w+)(!=|<=|>=|=|<|>|~)(.*)", text)
        assert found is not None
        column, operator, value = found.groups()
        parsed.append(Condition.model_validate({"column": column, "operator": operator, "values": (value,)}))
    return Phrase(re.compile(rf"\b(?:{pattern})\b"), tuple(parsed))


_NOT = r"(?:not|n't|never)"
_LEVEL = r"(?:severity |grade )?"

CONDITION_PHRASES: tuple[Phrase, ...] = (
    _phrase(
        r"(?:could|can|did)(?:n't| not) (?:be )?(?:judged?|read|opened?|decoded?|inspected|analysed)|unreadable|"
        r"(?:you )?could(?:n't| not) (?:read|open)|not judged|unjudged|with (?:an )?errors?|failed to (?:read|open|load)",
        "status=error",
    ),
    _phrase(rf"{_LEVEL}critical or (?:worse|higher|above)", "severity>=critical"),
    _phrase(
        rf"{_LEVEL}major (?:or|and) (?:worse|higher|above|more|up|critical)|(?:at least|from) major(?: up)?|"
        r"severe|serious|grave|badly (?:damaged|broken)",
        "severity>=major",
    ),
    _phrase(
        rf"{_LEVEL}moderate (?:or|and) (?:worse|higher|above|more|up)|(?:at least|from) moderate(?: up)?|"
        r"worse than minor",
        "severity>=moderate",
    ),
    _phrase(rf"{_LEVEL}minor (?:or|and) (?:worse|higher|above|more|up)|at least minor", "severity>=minor"),
    _phrase(rf"{_LEVEL}critical", "severity=critical"),
    _phrase(rf"{_LEVEL}major", "severity=major"),
    _phrase(rf"{_LEVEL}moderate", "severity=moderate"),
    _phrase(rf"{_LEVEL}minor", "severity=minor"),
    _phrase(
        r"undecided|unclear|unsure|unresolved|not (?:yet )?decided|uncertain|borderline|doubtful|"
        r"need(?:s|ing)? (?:a )?(?:second|closer|human) look(?: by (?:a person|somebody|someone))?|"
        r"need(?:s|ing)? (?:a )?(?:person|human|review)(?: to look)?",
        "label=undecided",
    ),
    _phrase(
        rf"anomalous|defective|faulty|bad|flagged|fail(?:ed|ures?|ing|s)?|reject(?:s|ed)?|scrap(?:ped)?|broken|"
        r"damaged|ng|nok|not ok|not okay|not good|wrong|thrown out|sorted out|abnormal|anomal(?:y|ies)|"
        rf"(?:did|do|does|have|has)(?: {_NOT}|n't) pass(?:ed)?|throw out|sort out|alarms?",
        "label=anomalous",
    ),
    _phrase(
        r"normal|good|passed|pass|fine|ok|okay|accepted|clean|flawless|without (?:a |any )?defects?|"
        r"free of defects?|in order|faultless",
        "label=normal",
    ),
)
"""Phrases of pictures and clips, the longer and stronger ones first."""

EVENT_PHRASES: tuple[Phrase, ...] = (
    _phrase(r"too fast|fast|speeding|racing|ran|running", "kind=speed"),
    _phrase(r"stand(?:ing|s)? still|loiter(?:ed|ing)?|stay(?:ed|ing)? (?:for )?(?:too )?long|dwell(?:ed|ing)?", "kind=dwell"),
    _phrase(r"(?:against|in) the wrong (?:way|direction)|wrong[- ]way", "kind=direction"),
    _phrase(r"forbidden (?:zone|area)s?|(?:where )?nobody (?:may|should) (?:be|go)|trespass\w*", "kind=forbidden zone"),
)  # fmt: skip
"""Phrases of events."""

CAMERA_TROUBLE = _phrase(
    r"(?:could|can)(?:n't| not) be (?:judged|seen|watched)|black|covered|blind(?:ed)?|unjudged|not judged|"
    r"undecided|unclear",
    "label=undecided",
)

TIME_WORDS = re.compile(
    r"\b(?:(since|from|after|before|until|till|up to) )?"
    r"(today|yesterday|this week|last week|this month|last month|\d{4}-\d{2}-\d{2})\b"
)
TIME_OPERATORS = {
    "since": ">=",
    "from": ">=",
    "after": ">",
    "before": "<",
    "until": "<=",
    "till": "<=",
    "up to": "<=",
}

PLACES: Mapping[str, str] = {
    "upper left": r"(?:upper|top)[ -]left(?: corner)?",
    "upper right": r"(?:upper|top)[ -]right(?: corner)?",
    "lower left": r"(?:lower|bottom)[ -]left(?: corner)?",
    "lower right": r"(?:lower|bottom)[ -]right(?: corner)?",
    "centre": r"(?:in the )?(?:centre|center|middle)",
    "top": r"at the (?:top|upper (?:edge|border))",
    "bottom": r"at the (?:bottom|lower (?:edge|border))",
    "left": r"(?:on|at) the left(?: edge| side| border)?",
    "right": r"(?:on|at) the right(?: edge| side| border)?",
}
"""Places of regions, by how they are put into words; the longer ones first."""

GROUP_WORDS: Mapping[str, tuple[str, ...]] = {
    "product": (r"products?", r"part types?", r"types? of part"),
    "folder": (r"folders?", r"director(?:y|ies)", r"shifts?", r"lines?", r"lots?", r"groups?"),
    "kind": (r"kinds?", r"types?", r"defect types?", r"kinds? of (?:defects?|anomal(?:y|ies)|events?)", r"categor(?:y|ies)", r"defect"),
    "severity": (r"severit(?:y|ies)", r"grades?", r"how bad"),
    "label": (r"labels?", r"verdicts?", r"results?", r"outcomes?"),
    "place": (r"places?", r"positions?", r"locations?"),
    "camera": (r"cameras?",),
    "day": (r"days?", r"dates?"),
    "hour": (r"hours?",),
    "week": (r"weeks?",),
    "month": (r"months?",),
    "profile": (r"profiles?",),
    "person": (r"persons?", r"people", r"users?", r"inspectors?"),
    "why": (r"reasons?", r"whys?"),
    "name": (r"clips?", r"pictures?"),
}  # fmt: skip
"""Columns by the words for them after "by", "per" and "each"."""

MEASURE_WORDS: tuple[tuple[Measure, re.Pattern[str]], ...] = (
    ("share", re.compile(
        r"\b(?:what |which )?(?:share|percentage|percent|per cent|proportion|fraction|part)(?= (?:of|are|is|were))"
        r"|\bhow (?:large|big|high) is the (?:share|percentage|proportion)"
        r"|\b(?:share|percentage|proportion|rate) of\b")),
    ("median", re.compile(r"\bmedian\b")),
    ("mean", re.compile(r"\b(?:mean|average|on average|avg)\b")),
    ("count", re.compile(
        r"\bhow (?:many|often|frequent(?:ly)?)\b|\bcounts?(?: of)?\b|\b(?:the )?(?:total )?number of\b|\btotal(?: number)?\b"
        r"|\bin total\b|\bhow many is that\b")),
    ("list", re.compile(
        r"\b(?:which|list|show(?: me)?|give me|name|find|display|print|what (?:are|were) the|all|every|"
        r"are there(?: any)?|is there|were there(?: any)?|was there|any|anything|did anything|was any(?:body|one|thing)?|"
        r"what)\b")),
)  # fmt: skip
"""Measures by the words for them, the more specific ones first."""

NUMBERS = {
    "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
    "twenty": 20, "a": 1, "an": 1,
}  # fmt: skip

FILLERS = frozenset(
    [
        "a",
        "an",
        "the",
        "of",
        "on",
        "in",
        "at",
        "is",
        "are",
        "was",
        "were",
        "be",
        "been",
        "do",
        "does",
        "did",
        "have",
        "has",
        "had",
        "i",
        "you",
        "we",
        "they",
        "he",
        "she",
        "it",
        "its",
        "there",
        "that",
        "this",
        "these",
        "those",
        "them",
        "with",
        "by",
        "for",
        "to",
        "from",
        "and",
        "or",
        "as",
        "please",
        "me",
        "us",
        "our",
        "my",
        "your",
        "can",
        "could",
        "would",
        "will",
        "shall",
        "should",
        "tell",
        "see",
        "want",
        "like",
        "to",
        "know",
        "need",
        "look",
        "looked",
        "looking",
        "at",
        "get",
        "got",
        "give",
        "us",
        "some",
        "any",
        "all",
        "show",
        "one",
        "ones",
        "picture",
        "pictures",
        "image",
        "images",
        "photo",
        "photos",
        "part",
        "parts",
        "piece",
        "pieces",
        "item",
        "items",
        "product",
        "products",
        "tile",
        "tiles",
        "board",
        "boards",
        "sample",
        "samples",
        "file",
        "files",
        "unit",
        "units",
        "run",
        "batch",
        "lot",
        "result",
        "results",
        "record",
        "records",
        "inspection",
        "inspected",
        "check",
        "checked",
        "found",
        "find",
        "many",
        "much",
        "still",
        "now",
        "just",
        "only",
        "so",
        "far",
        "then",
        "out",
        "up",
        "what",
        "which",
        "how",
        "who",
        "where",
        "when",
        "kind",
        "kinds",
        "type",
        "types",
        "here",
        "ok",
        "thanks",
        "hi",
        "hello",
        "each",
        "every",
        "other",
        "over",
        "time",
        "more",
        "most",
        "than",
        "also",
        "again",
        "really",
        "actually",
        "currently",
        "overall",
        "total",
        "number",
        "come",
        "came",
        "made",
        "make",
        "makes",
        "produced",
        "during",
        "per",
        "verdict",
        "label",
        "folder",
        "shift",
        "line",
        "camera",
        "cameras",
        "clip",
        "clips",
        "video",
        "videos",
        "event",
        "events",
        "alert",
        "alerts",
        "alarm",
        "alarms",
        "happen",
        "happened",
        "happens",
        "night",
        "last",
        "recorded",
        "recording",
        "recordings",
        "detected",
        "detection",
        "marked",
        "mark",
        "defect",
        "defects",
        "fault",
        "faults",
        "flaw",
        "flaws",
        "problem",
        "problems",
        "anomaly",
        "area",
        "severity",
        "place",
        "side",
        "lie",
        "about",
        "pass",
        "passes",
        "list",
        "every",
        "display",
        "was",
        "anybody",
        "anyone",
        "somebody",
        "watch",
        "worth",
        "interesting",
        "inspector",
        "between",
        "among",
        "throughout",
        "spot",
        "spots",
        "region",
        "regions",
        "object",
        "objects",
        "say",
        "said",
        "people",
        "person",
        "gave",
        "feedback",
        "into",
        "such",
        "distributed",
        "distribution",
        "split",
        "break",
        "down",
        "broken",
        "breakdown",
        "results'",
        "counts",
        "summary",
        "overview",
        "summarise",
        "summarize",
        "exactly",
        "be's",
        "it's",
        "i'd",
        "i'm",
        "we'd",
        "let's",
        "let",
        "whole",
        "entire",
        "following",
        "reason",
        "reasons",
        "why",
        "because",
        "share",
        "percentage",
        "score",
        "scores",
        "value",
        "values",
        "highest",
        "lowest",
        "often",
        "frequent",
        "have",
        "show's",
        "rate",
        "rates",
        "what's",
        "how's",
        "who's",
        "there's",
        "where's",
        "seen",
        "size",
        "sizes",
        "lasted",
        "lasts",
        "lasting",
        "common",
    ]
)
"""Words that add nothing to a question once its parts are read."""
