"""How well a detector that has seen only good pictures finds the defective ones."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from pydantic import Field

from anomalist import __version__
from anomalist.eval.datasets import load_folder, split
from anomalist.eval.metrics import Interval
from anomalist.eval.scoring import DetectionMetrics, evaluate
from anomalist.types import Inspection

if TYPE_CHECKING:
    from rich.console import RenderableType

Progress = Callable[[str, int, int], None]


class DetectionResult(DetectionMetrics):
    """`DetectionMetrics` with what the run cost and how to repeat it."""

    data: str = Field(description="name of the data folder")
    seed: int
    effort: str
    learn_seconds: float
    ms_per_image: float | None = Field(description="wall time of inspecting alone")
    peak_memory_mb: float | None = Field(description="largest resident size of this process, 10⁶ bytes")
    threads: int
    version: str = __version__


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
    from anomalist.vision.detectors import silent

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
            progress=progress or silent,
        )
        learn_seconds = time.perf_counter() - start
        watch = _Stopwatch()
        inspector = Inspector(profile, false_alarm_rate=false_alarm_rate)
        inspections = inspector.inspect_many(item.path for item in parts.test)
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


def render(result: DetectionResult) -> RenderableType:
    """Lay a result out as a table for people, with its notes underneath."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    title = Text(f"Detection on {result.data}: {result.detector or 'nothing judged'}")
    table = Table(title=title, show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column(style="dim")
    defects = result.n_test - result.n_test_normals
    counts = f"{result.n_test_normals} normal, {defects} defective pictures, split by {result.split}"
    interval = _span(result.image_auroc_interval, _number)
    table.add_row("image AUROC", _number(result.image_auroc), interval + counts)
    for kind, value in result.image_auroc_by_defect.items():
        table.add_row(Text(f"  {kind}"), _number(value), f"{result.n_by_defect[kind]} pictures")
    table.add_row("pixel AUROC", _number(result.pixel_auroc), f"{result.n_empty_masks} empty masks left out")
    table.add_row("AUPRO", _number(result.aupro), "per-region overlap up to 30 % false positives")
    interval = _span(result.false_alarm_rate_interval, _percent)
    asked = f"asked {_percent(result.asked_false_alarm_rate)}"
    table.add_row("false alarms", _percent(result.false_alarm_rate), interval + asked)
    on_normals, on_defects = result.undecided_rate_normals, result.undecided_rate_defects
    each = f"normals {_percent(on_normals)}, defects {_percent(on_defects)}"
    table.add_row("undecided", _percent(result.undecided_rate), each)
    table.add_row("not judged", str(result.n_errors), "errors, in none of the figures above")
    run = f"{result.n_train} good pictures, effort {result.effort}, seed {result.seed}"
    table.add_row("learning", f"{result.learn_seconds:.0f} s", run)
    speed = "-" if result.ms_per_image is None else f"{result.ms_per_image:.0f} ms"
    table.add_row("inspecting", speed, f"a picture, {result.threads} threads")
    memory = "-" if result.peak_memory_mb is None else f"{result.peak_memory_mb:.0f} MB"
    table.add_row("peak memory", memory, f"version {result.version}")
    return Group(table, *(Text(f"Note: {note}", style="yellow") for note in result.notes))


def _reported(
    inspections: Iterator[Inspection], total: int, progress: Progress | None
) -> Iterator[Inspection]:
    for done, inspection in enumerate(inspections, start=1):
        if progress is not None:
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


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.3g} %"


def _span(interval: Interval | None, form: Callable[[float], str]) -> str:
    return "" if interval is None else f"95 % interval {form(interval[0])} to {form(interval[1])}; "
