"""Scene memory benchmark: anomalous against normal sentences on surveillance videos.

Two memories: the scenes that ship, and these with sentences of other videos added, each with the polarity of
its video's class. The names of the scored videos only serve to group their sentences.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from anomalist.errors import DataError
from anomalist.eval.metrics import average_precision, image_auroc
from anomalist.memory.embedding import Encoder, load_encoder
from anomalist.memory.rules.anomaly_ruler import smooth_over_time
from anomalist.memory.scenes.memory import SceneMemory
from anomalist.memory.scenes.scene import (
    MAX_SCENE_CHARACTERS,
    RememberedScene,
    apply_frame,
    framing_for,
    shipped_scene_vectors,
    shipped_scenes,
)
from anomalist.types.common import BoolArray, FloatArray, Frozen

if TYPE_CHECKING:
    from rich.console import RenderableType


Progress = Callable[[str, int, int], None]
SENTENCES_FILE, MEMORY_FILE = "sentences.csv", "memory_sentences.csv"
NORMAL_CLASS = "Normal"

CONTEXT_TIME_CONSTANT = 3.0
"""Time constant of the causal smoothing over the sentences of a video, in sentences."""

_BATCH_SIZE = 500


class SentenceFigures(Frozen):
    """Results of one memory; None where undefined."""

    scenes: int = Field(description="scenes in the memory")
    auroc: float | None
    ap: float | None = Field(description="average precision")
    auroc_within: float | None = Field(description="among sentences of videos that have an event")
    ap_within: float | None
    auroc_context: float | None = Field(description="with causal smoothing over the sentences before")
    ap_context: float | None


class SentencesResult(Frozen):
    """Results on sentences, without ambiguous ones."""

    data: str
    sentences: int
    anomalous: int
    within: int = Field(description="sentences of videos that have an event")
    length_auroc: float | None = Field(description="baseline: the number of words")
    shipped: SentenceFigures
    built: SentenceFigures | None = Field(description="with sentences of other videos; None without any")


@dataclass(frozen=True)
class _Row:
    video: str
    sentence: str
    label: str


def evaluate_sentences(
    data: Path, *, encoder: Encoder | None = None, progress: Progress = lambda *_: None
) -> SentencesResult:
    """Score each sentence by itself, and smoothed with those before it.

    Parameters
    ----------
    data : folder with ``sentences.csv`` (video, sentence, label) and, for a built memory,
        ``memory_sentences.csv`` (class, sentence).
    encoder : the sentence encoder.
    progress : called with the number of embedded sentences of the memory.

    Raises DataError when something can't be read.
    """
    encoder = encoder or load_encoder()
    rows = [
        _Row(row["video"], row["sentence"], row["label"])
        for row in _read_csv_rows(data / SENTENCES_FILE, ("video", "sentence", "label"))
    ]
    counted = np.array([row.label in ("normal", "anomalous") for row in rows], np.bool_)
    labels = np.array([row.label == "anomalous" for row in rows], np.bool_)
    with_event = {row.video for row in rows if row.label != "normal"}
    within = counted & np.array([row.video in with_event for row in rows], np.bool_)
    lengths = np.array([len(row.sentence.split()) for row in rows], np.float32)
    built = None
    if (data / MEMORY_FILE).exists():
        built = _sentence_figures(
            _build_memory(data / MEMORY_FILE, {row.sentence for row in rows}, encoder, progress),
            rows,
            labels,
            counted,
            within,
        )
    return SentencesResult(
        data=data.name,
        sentences=int(counted.sum()),
        anomalous=int((labels & counted).sum()),
        within=int(within.sum()),
        length_auroc=image_auroc(lengths[counted], labels[counted]),
        shipped=_sentence_figures(SceneMemory(encoder=encoder), rows, labels, counted, within),
        built=built,
    )


def _sentence_figures(
    memory: SceneMemory, rows: Sequence[_Row], labels: BoolArray, counted: BoolArray, within: BoolArray
) -> SentenceFigures:
    scores = np.nan_to_num(memory.score_captions([row.sentence for row in rows]).scores, nan=-1)
    context = _with_context(scores, [row.video for row in rows])
    return SentenceFigures(
        scenes=len(memory.scenes),
        auroc=image_auroc(scores[counted], labels[counted]),
        ap=average_precision(scores[counted], labels[counted]),
        auroc_within=image_auroc(scores[within], labels[within]),
        ap_within=average_precision(scores[within], labels[within]),
        auroc_context=image_auroc(context[counted], labels[counted]),
        ap_context=average_precision(context[counted], labels[counted]),
    )


def _with_context(scores: FloatArray, videos: Sequence[str]) -> FloatArray:
    """Scores smoothed causally over the sentences of each video."""
    result = np.empty_like(scores)
    names = np.array(videos)
    for video in dict.fromkeys(videos):
        own = names == video
        result[own] = smooth_over_time(scores[own], "causal", memory=CONTEXT_TIME_CONSTANT)
    return result


def _build_memory(path: Path, left_out: set[str], encoder: Encoder, progress: Progress) -> SceneMemory:
    """The scenes that ship and the sentences of a file, without those that are scored."""
    sentences = dict.fromkeys(
        (row["sentence"][:MAX_SCENE_CHARACTERS], row["class"])
        for row in _read_csv_rows(path, ("class", "sentence"))
        if row["sentence"] not in left_out and any(map(str.isalpha, row["sentence"]))
    )
    scenes = [
        RememberedScene(
            id=f"scene:{number}",
            side="normal" if kind == NORMAL_CLASS else "anomalous",
            category=kind,
            text=text,
            source=path.name,
        )
        for number, (text, kind) in enumerate(sentences, start=1)
    ]
    frames = framing_for(encoder)
    texts = [apply_frame(scene.text, scene.side, scene.category, frames) for scene in scenes]
    parts = [shipped_scene_vectors(encoder)]
    for start in range(0, len(texts), _BATCH_SIZE):
        parts.append(encoder.encode(texts[start : start + _BATCH_SIZE]))
        progress("sentences", min(start + _BATCH_SIZE, len(texts)), len(texts))
    return SceneMemory([*shipped_scenes(), *scenes], np.concatenate(parts), encoder=encoder)


def _read_csv_rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="", strict=True)
            missing = [name for name in columns if name not in (reader.fieldnames or [])]
            if missing:
                raise DataError(f'"{path}" has no column {missing[0]}.')
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f'"{path}" can\'t be read: {error}.') from error
    if not rows:
        raise DataError(f'"{path}" holds no sentences.')
    return rows


def render(result: SentencesResult) -> RenderableType:
    """The results as a table."""
    from rich.table import Table

    title = f"{result.data}: {result.sentences} sentences, {result.anomalous} anomalous"
    table = Table("", "what ships", "with other videos", title=title)
    for name in SentenceFigures.model_fields:
        cells = (getattr(side, name) if side else None for side in (result.shipped, result.built))
        table.add_row(name.replace("_", " "), *map(_format_number, cells))
    table.add_row("shortcut: length", _format_number(result.length_auroc), "")
    return table


def _format_number(value: float | None) -> str:
    return "–" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
