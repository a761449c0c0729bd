"""Caption-only video anomaly detection: AnomalyRuler base, rules, scene memory, and their fusion.

Measured by the frame AUROC over all clips joined, with raw scores. A supervised bag of words
(leave-one-clip-out) serves as an upper bound.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from pydantic import Field

from anomalist.eval.clip_datasets import CaptionedClip, read_captioned_clips
from anomalist.eval.metrics import Interval, group_bootstrap, image_auroc
from anomalist.memory.embedding import Encoder, load_encoder
from anomalist.memory.rules.anomaly_ruler import (
    anomaly_ruler_scores,
    contrastive_keywords,
    fuse_scores,
    read_rule_file,
    scene_scores,
    smooth_over_time,
)
from anomalist.memory.rules.induction import induce_rules
from anomalist.memory.rules.matching import RuleMatcher
from anomalist.memory.rules.rule import read_captions
from anomalist.memory.rules.statements import words_of
from anomalist.memory.watch import NO_CLAUSE_SCORE, Watch
from anomalist.types.clip import Mode
from anomalist.types.common import BoolArray, FloatArray, Frozen

if TYPE_CHECKING:
    from rich.console import RenderableType


MIN_CAPTIONS = 5  # distinct captions that a word of the vocabulary occurs in
RIDGE_PENALTY = 3.0

Float64Array = npt.NDArray[np.float64]


def supervised_bag_of_words(clips: Sequence[CaptionedClip]) -> list[FloatArray]:
    """Scores of each clip, float32 (n,), by ridge regression of the other clips' labels on their words.

    Features are TF-IDF weights, (1 + log count) × log(captions / captions with the word), scaled to unit
    length.
    """
    counts = {caption: Counter(words_of(caption)) for clip in clips for caption in clip.captions}
    having = Counter(word for words in counts.values() for word in words)
    vocabulary = {word: n for n, word in enumerate(w for w, c in having.items() if c >= MIN_CAPTIONS)}
    rarity = np.log(len(counts) / np.array([having[word] for word in vocabulary] or [1]))
    parts = []
    for clip in clips:
        features = _tfidf_features([counts[caption] for caption in clip.captions], vocabulary, rarity)
        parts.append((features, features.T @ features, features.T @ clip.labels.astype(np.float64)))
    width = len(vocabulary) + 1
    gram = sum((part[1] for part in parts), np.zeros((width, width)))
    target = sum((part[2] for part in parts), np.zeros(width))
    penalty = RIDGE_PENALTY * np.eye(width)
    return [
        (features @ np.linalg.solve(gram - own + penalty, target - own_target)).astype(np.float32)
        for features, own, own_target in parts
    ]


def _tfidf_features(
    texts: Sequence[Counter[str]], vocabulary: dict[str, int], rarity: Float64Array
) -> Float64Array:
    """TF-IDF features of each text, and a constant 1, float64 (n, words + 1)."""
    features = np.zeros((len(texts), len(vocabulary) + 1))
    for row, words in enumerate(texts):
        for word, count in words.items():
            if word in vocabulary:
                features[row, vocabulary[word]] = (1 + np.log(count)) * rarity[vocabulary[word]]
    features /= np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    features[:, -1] = 1
    return features


class Aurocs(Frozen):
    """Frame AUROCs over the frames of several clips joined; None where undefined or not measured."""

    base: float | None = Field(description="AnomalyRuler-base with the keywords of the rules file")
    rules_causal: float | None
    rules_offline: float | None
    scenes_causal: float | None = Field(description="scene memory")
    scenes_offline: float | None
    fused_causal: float | None = Field(description="mean of rules and scenes, the default")
    fused_offline: float | None
    supervised_words: float | None = Field(
        description="upper bound: bag of words, trained on the labels of the other clips, smoothed offline"
    )
    word_count: float | None = Field(description="shortcut: the number of words, or its negative if better")
    position: float | None = Field(description="shortcut: the relative position in the clip alone")


class EventAuroc(Frozen):
    """Frame AUROC of one event, queried by its name in words, over the clips that are labelled for it."""

    item: str
    clips: int
    frames: int
    offline: float | None
    causal: float | None


class CaptionsResult(Aurocs):
    """Results on one set of captioned clips; raw scores, no rescaling by clip."""

    data: str
    clips: int
    frames: int
    anomalous_frames: int
    captions: int = Field(description="distinct captions")
    even: Aurocs = Field(description="on the even-numbered clips, on which no setting was chosen")
    fused_offline_interval: Interval | None = Field(description="95 %, bootstrap over clips")
    fused_causal_interval: Interval | None = Field(description="95 %, bootstrap over clips")
    events: dict[str, EventAuroc]
    rules: int = Field(description="anomalous rules")
    normal_rules: int
    keywords: int = Field(description="of AnomalyRuler-base")


def render(result: CaptionsResult) -> RenderableType:
    """The results as tables."""
    from rich.console import Group
    from rich.table import Table

    main = Table("frame AUROC", "all clips", "even clips", title=f"{result.data}: {result.clips} clips")
    for name in Aurocs.model_fields:
        main.add_row(
            name.replace("_", " "),
            _format_number(getattr(result, name)),
            _format_number(getattr(result.even, name)),
        )
    events = Table("event, by its name", "clips", "frames", "offline", "causal")
    for event in result.events.values():
        numbers = (
            str(event.clips),
            str(event.frames),
            _format_number(event.offline),
            _format_number(event.causal),
        )
        events.add_row(event.item, *numbers)
    return Group(main, events) if result.events else main


def _format_number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


Progress = Callable[[str, int, int], None]
RULES_FILE = "rules.txt"
BOOTSTRAP_RESAMPLES = 300
_MODES: tuple[Mode, ...] = ("causal", "offline")


@dataclass(frozen=True, eq=False)
class _Scores:
    """Scores of each clip, by the name of the method."""

    clips: tuple[CaptionedClip, ...]
    by_method: dict[str, list[FloatArray]]

    def aurocs(self, *, even: bool = False) -> Aurocs:
        """AUROCs of all clips, or of the even-numbered ones."""
        chosen = [n for n, clip in enumerate(self.clips) if clip.even or not even]
        if not chosen:
            return Aurocs(**dict.fromkeys(Aurocs.model_fields))
        labels = np.concatenate([self.clips[n].labels for n in chosen])
        found = {
            name: image_auroc(np.concatenate([scores[n] for n in chosen]), labels)
            for name, scores in self.by_method.items()
        }
        if found["word_count"] is not None:
            found["word_count"] = max(found["word_count"], 1 - found["word_count"])
        return Aurocs.model_validate({name: found.get(name) for name in Aurocs.model_fields})

    def interval(self, name: str) -> Interval | None:
        """Bootstrap interval of one method, over clips."""
        if name not in self.by_method:
            return None
        scores, labels = np.concatenate(self.by_method[name]), np.concatenate([c.labels for c in self.clips])
        groups = [clip.name for clip in self.clips for _ in clip.captions]
        return group_bootstrap(
            lambda drawn: image_auroc(scores[drawn], labels[drawn]), groups, seed=0, n=BOOTSTRAP_RESAMPLES
        )


def evaluate_captions(
    data: Path,
    *,
    rules: Path | None = None,
    normal: Path | None = None,
    progress: Progress = lambda *_: None,
    encoder: Encoder | None = None,
) -> CaptionsResult:
    """Score every clip of a folder by its captions.

    Parameters
    ----------
    data : folder with ``NN.csv`` (frame, label, caption) and optionally ``event_labels.csv``.
    rules : text file with rules for AnomalyRuler-base; by default ``rules.txt`` in the folder, if it exists.
    normal : normal captions of the scene, to induce rules from; without it, the rules that ship are used.
    progress : called with the current step, the number done and the total.
    encoder : the sentence encoder.

    Raises DataError when something can't be read.
    """
    clips = read_captioned_clips(data)
    encoder = encoder or load_encoder()
    rules = rules or (data / RULES_FILE if (data / RULES_FILE).exists() else None)
    induced = induce_rules(read_captions(normal), encoder=encoder).rules if normal else None
    matcher = RuleMatcher(induced, encoder=encoder)
    keywords = contrastive_keywords(read_rule_file(rules)) if rules else ()
    scored: dict[str, list[FloatArray]] = {
        "word_count": [np.array([len(c.split()) for c in clip.captions], np.float32) for clip in clips],
        "position": [np.linspace(0, 1, len(clip.captions), dtype=np.float32) for clip in clips],
        "supervised_words": [_smooth_scores(scores, "offline") for scores in supervised_bag_of_words(clips)],
    }
    if keywords:
        scored["base"] = [anomaly_ruler_scores(clip.captions, keywords) for clip in clips]
    progress("rules", 0, 3)
    by_rule = _by_clip(matcher.read(_all_captions(clips)).scores, clips)
    progress("scenes", 1, 3)
    by_scene = _by_clip(scene_scores(_all_captions(clips), encoder), clips)
    for mode in _MODES:
        scored[f"rules_{mode}"] = [_smooth_scores(scores, mode) for scores in by_rule]
        scored[f"scenes_{mode}"] = [_smooth_scores(scores, mode) for scores in by_scene]
        scored[f"fused_{mode}"] = [
            _smooth_scores(fuse_scores(*both), mode) for both in zip(by_rule, by_scene, strict=True)
        ]
    progress("events", 2, 3)
    result = _Scores(clips, scored)
    return CaptionsResult(
        **result.aurocs().model_dump(),
        data=data.name,
        clips=len(clips),
        frames=sum(len(clip.captions) for clip in clips),
        anomalous_frames=sum(int(clip.labels.sum()) for clip in clips),
        captions=len(set(_all_captions(clips))),
        even=result.aurocs(even=True),
        fused_offline_interval=result.interval("fused_offline"),
        fused_causal_interval=result.interval("fused_causal"),
        events=_event_aurocs(clips, encoder),
        rules=len(matcher.anomalous),
        normal_rules=len(matcher.normal),
        keywords=len(keywords),
    )


def _all_captions(clips: Sequence[CaptionedClip]) -> list[str]:
    return [caption for clip in clips for caption in clip.captions]


def _by_clip(scores: FloatArray, clips: Sequence[CaptionedClip]) -> list[FloatArray]:
    return np.split(scores, np.cumsum([len(clip.captions) for clip in clips])[:-1])


def _smooth_scores(scores: FloatArray, mode: Mode) -> FloatArray:
    """Smoothed scores; the lowest possible score where no caption has any."""
    return np.nan_to_num(smooth_over_time(scores, mode), nan=NO_CLAUSE_SCORE)


def _event_aurocs(clips: Sequence[CaptionedClip], encoder: Encoder) -> dict[str, EventAuroc]:
    """AUROCs of the labelled events, each queried by its name alone."""
    names = list(dict.fromkeys(name for clip in clips for name in clip.events))
    if not names:
        return {}
    items = [name.replace("_", " ") for name in names]
    unique = list(dict.fromkeys(_all_captions(clips)))
    scores = dict(zip(unique, Watch(items, encoder=encoder).scores(unique), strict=True))
    found = {}
    for column, (name, item) in enumerate(zip(names, items, strict=True)):
        labelled = [clip for clip in clips if name in clip.events]
        raw = [np.array([scores[c][column] for c in clip.captions], np.float32) for clip in labelled]
        labels: BoolArray = np.concatenate([clip.events[name] for clip in labelled])
        offline, causal = (
            image_auroc(np.concatenate([_smooth_scores(each, mode) for each in raw]), labels)
            for mode in _MODES[::-1]
        )
        found[name] = EventAuroc(
            item=item, clips=len(labelled), frames=int(labels.sum()), offline=offline, causal=causal
        )
    return found
