"""AnomalyRuler-base, as published: keywords, and smoothing by two averages and a majority.

Steps 4 and 5 of Yang et al., "Follow the Rules: Reasoning for Video Anomaly Detection with Large Language
Models", ECCV 2024, without a language model. Its threshold is the mean of the clip's own averages. So it uses
the future of the clip, and a clip in which every frame says a keyword has s = τ and, as > is strict, no
anomaly at all. It is here to be compared with; the product decides by `matching` and `deciding`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from anomalist.errors import DataError
from anomalist.memory.rules.keywords import KeywordFinder, stem, telling_words, words_of
from anomalist.memory.rules.rule import Polarity, Rule, RuleKind
from anomalist.memory.rules.shipped import usual_clauses
from anomalist.types import FloatArray

ALPHA = 0.33
HALF_WINDOW = 5  # frames on either side that vote

_HEADING = re.compile(r"^[#*\s]*([^:]{3,80}?)\s*:?[*\s]*:?[*\s]*$")
_ITEM = re.compile(r"^(?:\d{1,3}[.)]|[-*•])\s+(.+)$")
_NOT_NORMAL = re.compile(r"anomal|abnormal|unusual|forbidden|suspicious", re.I)
_OF_THINGS = re.compile(r"object|non-human|environment|thing", re.I)

Floats = npt.NDArray[np.float64]


def read_rules(path: Path) -> tuple[Rule, ...]:
    """Rules of a text file: headings that name polarity and kind, and under each a list, one rule a line.

    Raises DataError when it can't be read or has no list of anomalies.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise DataError(f'The rules "{path}" can\'t be read: {reason}.') from error
    polarity: Polarity | None = None
    kind: RuleKind = "activity"
    rules: list[Rule] = []
    for line in map(str.strip, lines):
        item = _ITEM.match(line)
        if item and polarity and any(map(str.isalpha, item[1])):
            text = item[1][:300]
            keywords = telling_words(text)[:20] if polarity == "anomalous" else ()
            number = len(rules) + 1
            rules.append(
                Rule(
                    id=f"rule:file-{number}",
                    text=text,
                    polarity=polarity,
                    kind=kind,
                    keywords=keywords,
                    origin="person",
                )
            )
        elif not item and (heading := _HEADING.match(line)):
            polarity = "anomalous" if _NOT_NORMAL.search(heading[1]) else "normal"
            kind = "object" if _OF_THINGS.search(heading[1]) else "activity"
    if not any(rule.polarity == "anomalous" for rule in rules):
        raise DataError(
            f'"{path}" lists no anomaly rules.',
            'Write a heading such as "Anomaly activities:" and one rule a line under it, as "1. running".',
        )
    return tuple(rules)


def keywords_of(rules: Sequence[Rule]) -> tuple[str, ...]:
    """The keywords of anomaly rules without those that are in a normal rule, or usual nearly everywhere.

    The published method has a language model choose them; here it is the contrast that does.
    """
    normal = {
        stem(word) for rule in rules if rule.polarity == "normal" for word in words_of(_bare(rule.text))
    }
    ordinary = {stem(word) for text in usual_clauses() for word in words_of(text)}
    chosen = (
        word
        for rule in rules
        if rule.polarity == "anomalous"
        for word in rule.keywords
        if stem(word) not in normal | ordinary
    )
    return tuple(dict.fromkeys(chosen))


def base_scores(captions: Sequence[str], keywords: Sequence[str]) -> FloatArray:
    """Scores of the captions of one clip, float32 (n,) in [0, 1]."""
    finder = KeywordFinder(keywords)
    said = {caption: bool(finder.find(caption)) for caption in dict.fromkeys(captions)}
    return smoothed(np.array([said[caption] for caption in captions], np.float64)).astype(np.float32)


def smoothed(hits: Floats) -> Floats:
    """Step 5 over the frames of one clip, float (n,) of 0 and 1."""
    if not len(hits):
        return hits
    averages = average(hits, ALPHA)
    threshold = float(averages.mean())
    above = averages > threshold
    votes = [
        above[max(0, place - HALF_WINDOW) : place + HALF_WINDOW + 1].mean() > 0.5
        for place in range(len(above))
    ]
    return average(np.array(votes, np.float64), threshold)


def average(values: Floats, alpha: float) -> Floats:
    """s_t = Σ (1 − α)^(t−i) y_i / Σ (1 − α)^(t−i) over i ≤ t, float (n,)."""
    from scipy.signal import lfilter

    decay = [1.0, -(1.0 - alpha)]
    out: Floats = lfilter([1.0], decay, values) / lfilter([1.0], decay, np.ones(len(values)))
    return out


def _bare(text: str) -> str:
    return re.sub(r"\(.*?\)", " ", text)
