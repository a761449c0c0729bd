"""Caption scores over time: AnomalyRuler-base as published, our smoothing, and fusion with scenes.

AnomalyRuler-base is steps 4 and 5 of Yang et al., "Follow the Rules: Reasoning for Video Anomaly Detection
with Large Language Models", ECCV 2024, without a language model: keyword matching, then an exponential
average, a majority vote and a second exponential average. Its threshold τ is the mean of the averages of the
clip itself. So it uses the future of the clip, and a clip in which every frame has a keyword has s = τ
throughout and, as the comparison is strict, no anomaly at all. It serves as a baseline.

Our own smoothing has two modes with separate figures: *offline* uses the future of the clip, *causal* does
not. Scores stay on the scale of similarities and are not taken relative to the mean of the clip, so that a
clip that is anomalous from its first to its last frame is found. Both widths were chosen on the odd-numbered
clips of labelled captions from two cameras.

Fusion is the mean of the scores by rules and by remembered scenes: both are differences of cosine
similarities, so that no scaling is needed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from anomalist.errors import DataError
from anomalist.memory.embedding import Encoder
from anomalist.memory.rules.rule import (
    MAX_KEYWORDS,
    Polarity,
    Rule,
    RuleKind,
    first_keywords,
    usual_clauses,
)
from anomalist.memory.rules.statements import KeywordFinder, content_words, stem, words_of
from anomalist.memory.scenes.memory import SceneMemory
from anomalist.types.clip import Mode
from anomalist.types.common import FloatArray

EMA_ALPHA = 0.33  # weight of the newest value in the first average, as published
HALF_WINDOW = 5  # frames on each side that vote

_HEADING = re.compile(r"^[#*\s]*([^:]{3,80}?)\s*:?[*\s]*:?[*\s]*$")
_LIST_ITEM = re.compile(r"^(?:\d{1,3}[.)]|[-*•])\s+(.+)$")
_ANOMALY_HEADING = re.compile(r"anomal|abnormal|unusual|forbidden|suspicious", re.I)
_OBJECT_HEADING = re.compile(r"object|non-human|environment|thing", re.I)

Floats = npt.NDArray[np.float64]


def read_rule_file(path: Path) -> tuple[Rule, ...]:
    """Read rules from a text file: headings that name polarity and kind, each with a list, one rule a line.

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
        item = _LIST_ITEM.match(line)
        if item and polarity and any(map(str.isalpha, item[1])):
            text = item[1][:300]
            keywords = first_keywords(content_words(text), MAX_KEYWORDS) if polarity == "anomalous" else ()
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
            polarity = "anomalous" if _ANOMALY_HEADING.search(heading[1]) else "normal"
            kind = "object" if _OBJECT_HEADING.search(heading[1]) else "activity"
    if not any(rule.polarity == "anomalous" for rule in rules):
        raise DataError(
            f'"{path}" lists no anomaly rules.',
            'Write a heading such as "Anomaly activities:" and one rule a line under it, as "1. running".',
        )
    return tuple(rules)


def contrastive_keywords(rules: Sequence[Rule]) -> tuple[str, ...]:
    """Keywords of the anomalous rules that occur in no normal rule and no usual clause.

    In the published method a language model chooses the keywords.
    """
    normal = {
        stem(word)
        for rule in rules
        if rule.polarity == "normal"
        for word in words_of(_without_brackets(rule.text))
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


def anomaly_ruler_scores(captions: Sequence[str], keywords: Sequence[str]) -> FloatArray:
    """AnomalyRuler-base scores of the captions of one clip, float32 (n,) in [0, 1]."""
    finder = KeywordFinder(keywords)
    hits = {caption: bool(finder.find(caption)) for caption in dict.fromkeys(captions)}
    return ema_majority_smoothing(np.array([hits[caption] for caption in captions], np.float64)).astype(
        np.float32
    )


def ema_majority_smoothing(hits: Floats) -> Floats:
    """Step 5 of AnomalyRuler: smooth the keyword hits (0 or 1) of the frames of one clip, float64 (n,)."""
    if not len(hits):
        return hits
    averages = exponential_average(hits, EMA_ALPHA)
    threshold = float(averages.mean())
    above = averages > threshold
    votes = [
        above[max(0, place - HALF_WINDOW) : place + HALF_WINDOW + 1].mean() > 0.5
        for place in range(len(above))
    ]
    return exponential_average(np.array(votes, np.float64), threshold)


def exponential_average(values: Floats, alpha: float) -> Floats:
    """Exponentially weighted mean s_t = Σ (1 − α)^(t−i) y_i / Σ (1 − α)^(t−i) over i ≤ t, float64 (n,)."""
    from scipy.signal import lfilter

    decay = [1.0, -(1.0 - alpha)]
    out: Floats = lfilter([1.0], decay, values) / lfilter([1.0], decay, np.ones(len(values)))
    return out


def _without_brackets(text: str) -> str:
    return re.sub(r"\(.*?\)", " ", text)


GAUSSIAN_STD = 18.0
"""Standard deviation of the window in offline mode, in captions; about a second of video."""

CAUSAL_TIME_CONSTANT = 30.0
"""Time constant of the causal mode, in captions."""

_GAUSSIAN_REACH = 4  # standard deviations at which the window is truncated


def smooth_over_time(
    scores: FloatArray, mode: Mode, *, spread: float = GAUSSIAN_STD, memory: float = CAUSAL_TIME_CONSTANT
) -> FloatArray:
    """Smooth the scores of the captions of one clip over time.

    Parameters
    ----------
    scores : float32 (n,) in the order of time; NaN, where a caption has no statements, is interpolated.
    mode : "causal" uses past captions only, "offline" the whole clip.
    spread, memory : standard deviation of the offline window and time constant of the causal one, in
        captions.

    Returns
    -------
    float32 (n,); NaN where no caption so far (causal) or within the window (offline) has a score.
    """
    known = np.isfinite(scores)
    values = np.where(known, scores, 0).astype(np.float64)
    weights = known.astype(np.float64)
    total, count = (
        (_exponential_sum(values, memory), _exponential_sum(weights, memory))
        if mode == "causal"
        else (_gaussian_sum(values, spread), _gaussian_sum(weights, spread))
    )
    out = np.full(len(scores), np.nan)
    np.divide(total, count, out=out, where=count > 1e-12)
    return out.astype(np.float32)


def _exponential_sum(values: Floats, memory: float) -> Floats:
    from scipy.signal import lfilter

    out: Floats = lfilter([1.0], [1.0, -np.exp(-1 / memory)], values)
    return out


def _gaussian_sum(values: Floats, spread: float) -> Floats:
    reach = int(_GAUSSIAN_REACH * spread)
    window = np.exp(-0.5 * (np.arange(-reach, reach + 1) / spread) ** 2)
    full = np.convolve(values, window) if len(values) else np.zeros(2 * reach)
    return full[reach : reach + len(values)]


def scene_scores(captions: Sequence[str], encoder: Encoder) -> FloatArray:
    """Score of each caption by the scenes that ship, float32 (n,)."""
    return SceneMemory(encoder=encoder).score_captions(captions).scores


def fuse_scores(rules: FloatArray, scenes: FloatArray) -> FloatArray:
    """Mean of rule and scene scores, float32 (n,), before smoothing; NaN where either is NaN."""
    mean: FloatArray = np.mean([rules, scenes], axis=0, dtype=np.float32)
    return mean
