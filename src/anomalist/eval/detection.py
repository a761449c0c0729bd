"""How well a detector that has seen only good pictures, or none at all, finds the defective ones."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import Field

from anomalist import __version__
from anomalist.eval.contenders import Contender
from anomalist.eval.datasets import load_folder, split
from anomalist.eval.scoring import DetectionMetrics, evaluate
from anomalist.types import Inspection
from anomalist.vision.detectors import Progress, silent


class DetectionResult(DetectionMetrics):
    """`DetectionMetrics` with what the run cost and how to repeat it."""

    data: str = Field(description="name of the data folder")
    contender: str = Field(description="what was measured: surface, zero-shot or unlabelled")
    seed: int
    effort: str | None = Field(description="of learning; None for what learns from no normals")
    learn_seconds: float
    ms_per_image: float | None = Field(description="wall time of inspecting alone")
    peak_memory_mb: float | None = Field(
        description="largest resident size of this process so far, 10⁶ bytes"
    )
    threads: int
    version: str = __version__


def evaluate_detection(
    data: Path,
    contender: Contender,
    *,
    train_normals: int,
    groups: Path | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> DetectionResult:
    """Let a contender learn from some of the good pictures of a folder and score what it says about the rest.

    Parameters
    ----------
    data : folder with ``good/``, one folder for each kind of defect and ``ground_truth/``.
    contender : one that learns from no normals is tested on the same pictures as the others.
    train_normals : good pictures to learn from, at least; whole groups are taken.
    groups : CSV file ``image,group``; without it the split is by picture.
    seed : of the split, of learning and of the bootstrap.
    progress : called with what is being done, how many are done and how many there are.

    Raises
    ------
    AnomalistError : the folder, the groups or the asked rate can't be used.
    """
    import torch

    from anomalist.pipeline import Inspector

    parts = split(load_folder(data, groups), train_normals, seed)
    if contender.effort is None:
        parts = replace(parts, train=())
    with TemporaryDirectory(prefix="anomalist-eval-") as folder:
        start = time.perf_counter()
        inspector = Inspector(contender.make(parts, seed, Path(folder), progress))
        learn_seconds = time.perf_counter() - start
        watch = _Stopwatch()
        inspections = watch.over(inspector.inspect_many(item.path for item in parts.test))
        metrics = evaluate(parts, _reported(inspections, len(parts.test), progress), seed)
    return DetectionResult(
        **dict(metrics),
        data=data.resolve().name,
        contender=contender.name,
        seed=seed,
        effort=contender.effort,
        learn_seconds=learn_seconds,
        ms_per_image=1000 * watch.seconds / watch.count if watch.count else None,
        peak_memory_mb=_peak_memory_mb(),
        threads=torch.get_num_threads(),
    )


def compare_detection(
    data: Path,
    contenders: Sequence[Contender],
    *,
    train_normals: int,
    groups: Path | None = None,
    seeds: Sequence[int] = (0,),
    progress: Progress = silent,
) -> Iterator[DetectionResult]:
    """Measure every contender with every seed, each pair once; a result comes as soon as it is there.

    See `evaluate_detection` for the parameters.
    """
    for contender in contenders:
        for seed in dict.fromkeys(seeds):
            yield evaluate_detection(
                data, contender, train_normals=train_normals, groups=groups, seed=seed, progress=progress
            )


def _reported(inspections: Iterator[Inspection], total: int, progress: Progress) -> Iterator[Inspection]:
    for done, inspection in enumerate(inspections, start=1):
        progress("inspecting", done, total)
        yield inspection


@dataclass
class _Stopwatch:
    """Measures the time spent inside an iterator, not in whoever consumes it."""

    seconds: float = 0.0
    count: int = 0

    def over(self, inspections: Iterator[Inspection]) -> Iterator[Inspection]:
        while True:
            start = time.perf_counter()
            inspection = next(inspections, None)
            self.seconds += time.perf_counter() - start
            if inspection is None:
                return
            self.count += 1
            yield inspection


def _peak_memory_mb() -> float | None:
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6  # bytes on macOS, KiB elsewhere
