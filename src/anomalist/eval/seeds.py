"""Several runs of one contender that differ in their seed, as one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean, stdev

from pydantic import Field

from anomalist.eval.detection import DetectionResult
from anomalist.types import Frozen

MEASURES = (
    "image_auroc",
    "image_average_precision",
    "pixel_auroc",
    "aupro",
    "aupimo",
    "aupimo_median",
    "aupimo_zero_rate",
    "false_alarm_rate",
    "undecided_rate",
    "undecided_rate_normals",
    "undecided_rate_defects",
    "learn_seconds",
    "ms_per_image",
)
"""Fields of a result that are averaged."""

BY_DEFECT = ("image_auroc_by_defect", "pixel_auroc_by_defect", "aupro_by_defect")
"""Likewise, those that hold a number for each kind of defect."""


class Spread(Frozen):
    """A measure over the seeds for which it is defined."""

    mean: float
    std: float | None = Field(description="sample standard deviation; None of a single value")
    n: int = Field(description="seeds for which it is defined")


class SeedSummary(Frozen):
    """The measures of one contender over all its seeds; None is "undefined for every seed"."""

    data: str
    contender: str
    effort: str | None
    seeds: tuple[int, ...]
    measures: dict[str, Spread | None]
    by_defect: dict[str, dict[str, Spread | None]] = Field(description="measure, then kind of defect")


def over_seeds(results: Sequence[DetectionResult]) -> list[list[DetectionResult]]:
    """Results of one contender and effort together, in the order in which each first came."""
    runs: dict[tuple[str, str | None], list[DetectionResult]] = {}
    for result in results:
        runs.setdefault((result.contender, result.effort), []).append(result)
    return list(runs.values())


def summary(runs: Sequence[DetectionResult]) -> SeedSummary:
    """Mean and standard deviation of every measure over the runs of one contender, at least one."""
    kinds = sorted({kind for run in runs for kind in run.n_by_defect})
    return SeedSummary(
        data=runs[0].data,
        contender=runs[0].contender,
        effort=runs[0].effort,
        seeds=tuple(run.seed for run in runs),
        measures={name: spread([getattr(run, name) for run in runs]) for name in MEASURES},
        by_defect={
            name: {kind: spread([getattr(run, name).get(kind) for run in runs]) for kind in kinds}
            for name in BY_DEFECT
        },
    )


def spread(values: Iterable[float | None]) -> Spread | None:
    """Mean and sample standard deviation of the values that are defined; None without any."""
    defined = [value for value in values if value is not None]
    if not defined:
        return None
    return Spread(mean=fmean(defined), std=stdev(defined) if len(defined) > 1 else None, n=len(defined))
