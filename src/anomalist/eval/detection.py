"""How well a detector that has seen only good pictures finds the defective ones."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from anomalist import __version__
from anomalist.eval.datasets import Item, Split, load_folder, load_mask, split
from anomalist.eval.metrics import Interval, PixelCurve, average_precision, group_bootstrap, image_auroc
from anomalist.types import BoolArray, Calibration, Evidence, Frozen, Inspection

if TYPE_CHECKING:
    from rich.console import RenderableType

Progress = Callable[[str, int, int], None]


class DetectionMetrics(Frozen):
    """What the inspections of one test set say. None is "undefined", never a stand-in value."""

    image_auroc: float | None
    image_auroc_interval: Interval | None = Field(description="95 %, bootstrap over groups")
    image_average_precision: float | None
    image_auroc_by_defect: dict[str, float | None] = Field(description="against all test normals")
    pixel_auroc: float | None
    aupro: float | None = Field(description="per-region overlap up to 30 % false-positive rate")
    asked_false_alarm_rate: float | None
    false_alarm_rate: float | None = Field(description="share of test normals with p ≤ the asked rate")
    false_alarm_rate_interval: Interval | None = Field(description="95 %, bootstrap over groups")
    undecided_rate: float | None
    undecided_rate_normals: float | None
    undecided_rate_defects: float | None
    n_train: int
    n_test: int = Field(description="pictures, with those that could not be judged")
    n_test_normals: int
    n_by_defect: dict[str, int]
    n_errors: int = Field(description="pictures that could not be judged; in no rate and no AUROC")
    n_empty_masks: int = Field(description="defective pictures left out of the pixel measures for it")
    split: Literal["groups", "pictures"]
    detector: str | None
    notes: tuple[str, ...] = Field(description="why something is undefined or should be read with care")


class DetectionResult(DetectionMetrics):
    """`DetectionMetrics` with what the run cost and how to repeat it."""

    data: str = Field(description="name of the data folder")
    seed: int
    effort: str
    learn_seconds: float
    ms_per_image: float | None = Field(description="wall time of inspecting alone")
    peak_memory_mb: float = Field(description="largest resident size of this process, 10⁶ bytes")
    threads: int
    version: str = __version__


@dataclass(frozen=True)
class _Judged:
    """A test picture that got a score."""

    item: Item
    score: float
    p_value: float | None
    undecided: bool
    calibration: Calibration | None


def evaluate_detection(
    data: Path,
    *,
    train_normals: int,
    groups: Path | None = None,
    seed: int = 0,
    effort: str = "normal",
    false_alarm_rate: float | None = None,
    progress: Progress | None = None,
) -> DetectionResult:
    """Learn from some of the good pictures of a folder and score what the detector says about the rest.

    Parameters
    ----------
    data : folder with ``good/``, one folder for each kind of defect and ``ground_truth/``.
    train_normals : good pictures to learn from, at least; whole groups are taken.
    groups : CSV file ``image,group``; without it the split is by picture.
    seed : of the split, of learning and of the bootstrap.
    effort : of learning.
    false_alarm_rate : asked for; None for the default.
    progress : called with what is being done, how many are done and how many there are.

    Raises
    ------
    AnomalistError : the folder, the groups or the asked rate can't be used.
    """
    import torch

    from anomalist.pipeline import Inspector, learn

    parts = split(load_folder(data, groups), train_normals, seed)
    train = [item.path for item in parts.train]
    with TemporaryDirectory(prefix="anomalist-eval-") as folder:
        profile = Path(folder) / "profile"
        start = time.perf_counter()
        learn(
            train,
            profile=profile,
            groups={str(item.path): item.group for item in parts.train} if parts.grouped else None,
            effort=effort,
            seed=seed,
            progress=progress,
        )
        learn_seconds = time.perf_counter() - start
        watch = _Stopwatch()
        inspections = Inspector(profile, false_alarm_rate).inspect_many(item.path for item in parts.test)
        metrics = evaluate(parts, _reported(watch.over(inspections), len(parts.test), progress), seed)
    return DetectionResult(
        **dict(metrics),
        data=data.resolve().name,
        seed=seed,
        effort=effort,
        learn_seconds=learn_seconds,
        ms_per_image=1000 * watch.seconds / watch.count if watch.count else None,
        peak_memory_mb=_peak_memory_mb(),
        threads=torch.get_num_threads(),
    )


def evaluate(parts: Split, inspections: Iterable[Inspection], seed: int = 0) -> DetectionMetrics:
    """Score the inspections of the test pictures; each is used once and let go.

    A picture with an error, without evidence or with a score that is not a number "could not be judged", and
    so could one that never came back: they are counted in ``n_errors`` and enter nothing else.

    Parameters
    ----------
    parts : the split; only ``parts.test`` is looked up.
    inspections : of the test pictures in any order, their source as ``str(item.path)``.
    seed : of the bootstrap.

    Raises
    ------
    ValueError : an inspection that was not asked for, or the same one twice.
    DataError : a mask that can't be used.
    """
    waiting = {str(item.path): item for item in parts.test}
    curve = PixelCurve()
    judged: list[_Judged] = []
    detector, first_error, empty = None, "", 0
    for inspection in inspections:
        record = inspection.record
        item = waiting.pop(record.source, None)
        if item is None:
            raise ValueError(f"{record.source} was not asked for, or came twice")
        evidence = _usable(inspection)
        if evidence is None:
            first_error = first_error or f"{item.name}: {record.error or 'no usable score'}"
            continue
        detector = evidence.detector.name
        undecided = record.label == "undecided"
        judged.append(_Judged(item, evidence.score, evidence.p_value, undecided, evidence.calibration))
        truth = _truth(item, evidence.score_map.shape)
        if truth is not None:
            curve.add(evidence.score_map, truth)
        elif item.mask is not None:
            empty += 1
    normals = [row for row in judged if row.item.normal]
    defects = [row for row in judged if not row.item.normal]
    return DetectionMetrics(
        **_ranking(judged, seed),
        pixel_auroc=curve.auroc(),
        aupro=curve.aupro(),
        **_false_alarms(normals, seed),
        undecided_rate=_mean([row.undecided for row in judged]),
        undecided_rate_normals=_mean([row.undecided for row in normals]),
        undecided_rate_defects=_mean([row.undecided for row in defects]),
        n_train=len(parts.train),
        n_test=len(parts.test),
        n_test_normals=sum(item.normal for item in parts.test),
        n_errors=len(parts.test) - len(judged),
        n_empty_masks=empty,
        split="groups" if parts.grouped else "pictures",
        detector=detector,
        notes=_notes(parts, judged, first_error),
    )
