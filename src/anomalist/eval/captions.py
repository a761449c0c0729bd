"""How well captions alone tell what is anomalous: the published base, rules, scene memory, and both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anomalist.clips import Mode
from anomalist.eval.caption_clips import CaptionedClip, read_clips
from anomalist.eval.caption_results import Aurocs, CaptionsResult, EventAuroc
from anomalist.eval.metrics import Interval, group_bootstrap, image_auroc
from anomalist.eval.words_ceiling import bag_of_words
from anomalist.memory.embedding import Encoder, load_encoder
from anomalist.memory.rules.base import base_scores, keywords_of, read_rules
from anomalist.memory.rules.captions import read_captions
from anomalist.memory.rules.deciding import over_time
from anomalist.memory.rules.fusion import fused, scene_scores
from anomalist.memory.rules.induction import induce
from anomalist.memory.rules.matching import RuleMatcher
from anomalist.memory.watch import NOTHING_SAID, Watch
from anomalist.types import BoolArray, FloatArray

Progress = Callable[[str, int, int], None]
RULES = "rules.txt"
RESAMPLES = 300


@dataclass(frozen=True, eq=False)
class _Scores:
    """Scores of each clip, by the name of the method."""

    clips: tuple[CaptionedClip, ...]
    by_method: dict[str, list[FloatArray]]

    def aurocs(self, *, even: bool = False) -> Aurocs:
        """Of all clips, or of the even ones."""
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
        """Of one method, over clips."""
        if name not in self.by_method:
            return None
        scores, labels = np.concatenate(self.by_method[name]), np.concatenate([c.labels for c in self.clips])
        groups = [clip.name for clip in self.clips for _ in clip.captions]
        return group_bootstrap(
            lambda drawn: image_auroc(scores[drawn], labels[drawn]), groups, seed=0, n=RESAMPLES
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
    data : folder of ``NN.csv`` (frame, label, caption) and, where there are any, ``event_labels.csv``.
    rules : text file with rules for the base; by default ``rules.txt`` in the folder, if it is there.
    normal : normal captions of the scene, to induce rules from; only general rules are used without them.
    progress : told what is being done.
    encoder : what makes vectors of texts.

    Raises DataError when something can't be read.
    """
    clips = read_clips(data)
    encoder = encoder or load_encoder()
    rules = rules or (data / RULES if (data / RULES).exists() else None)
    induced = induce(read_captions(normal), encoder=encoder).rules if normal else None
    matcher = RuleMatcher(induced, encoder=encoder)
    keywords = keywords_of(read_rules(rules)) if rules else ()
    scored: dict[str, list[FloatArray]] = {
        "word_count": [np.array([len(c.split()) for c in clip.captions], np.float32) for clip in clips],
        "position": [np.linspace(0, 1, len(clip.captions), dtype=np.float32) for clip in clips],
        "supervised_words": [_timed(scores, "offline") for scores in bag_of_words(clips)],
    }
    if keywords:
        scored["base"] = [base_scores(clip.captions, keywords) for clip in clips]
    progress("rules", 0, 3)
    by_rule = _by_clip(matcher.read(_joined(clips)).scores, clips)
    progress("scenes", 1, 3)
    by_scene = _by_clip(scene_scores(_joined(clips), encoder), clips)
    for mode in _MODES:
        scored[f"rules_{mode}"] = [_timed(scores, mode) for scores in by_rule]
        scored[f"scenes_{mode}"] = [_timed(scores, mode) for scores in by_scene]
        scored[f"fused_{mode}"] = [_timed(fused(*both), mode) for both in zip(by_rule, by_scene, strict=True)]
    progress("events", 2, 3)
    result = _Scores(clips, scored)
    return CaptionsResult(
        **result.aurocs().model_dump(),
        data=data.name,
        clips=len(clips),
        frames=sum(len(clip.captions) for clip in clips),
        anomalous_frames=sum(int(clip.labels.sum()) for clip in clips),
        captions=len(set(_joined(clips))),
        even=result.aurocs(even=True),
        fused_offline_interval=result.interval("fused_offline"),
        fused_causal_interval=result.interval("fused_causal"),
        events=_events(clips, encoder),
        rules=len(matcher.anomalous),
        normal_rules=len(matcher.normal),
        keywords=len(keywords),
    )


_MODES: tuple[Mode, ...] = ("causal", "offline")


def _joined(clips: Sequence[CaptionedClip]) -> list[str]:
    return [caption for clip in clips for caption in clip.captions]


def _by_clip(scores: FloatArray, clips: Sequence[CaptionedClip]) -> list[FloatArray]:
    return np.split(scores, np.cumsum([len(clip.captions) for clip in clips])[:-1])


def _timed(scores: FloatArray, mode: Mode) -> FloatArray:
    """Smoothed scores; where nothing was said at all, the lowest that there can be."""
    return np.nan_to_num(over_time(scores, mode), nan=NOTHING_SAID)


def _events(clips: Sequence[CaptionedClip], encoder: Encoder) -> dict[str, EventAuroc]:
    """Each labelled event, looked for by its name alone."""
    names = list(dict.fromkeys(name for clip in clips for name in clip.events))
    if not names:
        return {}
    items = [name.replace("_", " ") for name in names]
    unique = list(dict.fromkeys(_joined(clips)))
    scores = dict(zip(unique, Watch(items, encoder=encoder).scores(unique), strict=True))
    found = {}
    for column, (name, item) in enumerate(zip(names, items, strict=True)):
        labelled = [clip for clip in clips if name in clip.events]
        raw = [np.array([scores[c][column] for c in clip.captions], np.float32) for clip in labelled]
        labels: BoolArray = np.concatenate([clip.events[name] for clip in labelled])
        offline, causal = (
            image_auroc(np.concatenate([_timed(each, mode) for each in raw]), labels) for mode in _MODES[::-1]
        )
        found[name] = EventAuroc(
            item=item, clips=len(labelled), frames=int(labels.sum()), offline=offline, causal=causal
        )
    return found
