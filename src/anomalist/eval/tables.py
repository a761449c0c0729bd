"""Detection results as tables, with mean and standard deviation over seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from pydantic import Field

from anomalist.eval.detection import DetectionResult
from anomalist.eval.metrics import Interval
from anomalist.types.common import Frozen

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text


AVERAGED_METRICS = (
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
"""Fields of a result that are averaged over seeds."""

AVERAGED_METRICS_BY_DEFECT = ("image_auroc_by_defect", "pixel_auroc_by_defect", "aupro_by_defect")
"""Fields with a number for each kind of defect that are averaged over seeds."""


class MeanStd(Frozen):
    """A measure over the seeds for which it is defined."""

    mean: float
    std: float | None = Field(description="sample standard deviation; None of a single value")
    n: int = Field(description="seeds for which it is defined")


class SeedSummary(Frozen):
    """The measures of one contender over its seeds; None where undefined for every seed."""

    data: str
    contender: str
    effort: str | None
    seeds: tuple[int, ...]
    measures: dict[str, MeanStd | None]
    by_defect: dict[str, dict[str, MeanStd | None]] = Field(description="measure, then kind of defect")


def group_runs_by_contender(results: Sequence[DetectionResult]) -> list[list[DetectionResult]]:
    """Results grouped by contender and effort, in order of first occurrence."""
    runs: dict[tuple[str, str | None], list[DetectionResult]] = {}
    for result in results:
        runs.setdefault((result.contender, result.effort), []).append(result)
    return list(runs.values())


def summarize_seeds(runs: Sequence[DetectionResult]) -> SeedSummary:
    """Mean and standard deviation of every measure over the runs of one contender, at least one."""
    kinds = sorted({kind for run in runs for kind in run.n_by_defect})
    return SeedSummary(
        data=runs[0].data,
        contender=runs[0].contender,
        effort=runs[0].effort,
        seeds=tuple(run.seed for run in runs),
        measures={name: mean_std([getattr(run, name) for run in runs]) for name in AVERAGED_METRICS},
        by_defect={
            name: {kind: mean_std([getattr(run, name).get(kind) for run in runs]) for kind in kinds}
            for name in AVERAGED_METRICS_BY_DEFECT
        },
    )


def mean_std(values: Iterable[float | None]) -> MeanStd | None:
    """Mean and sample standard deviation of the values that are defined; None without any."""
    defined = [value for value in values if value is not None]
    if not defined:
        return None
    return MeanStd(mean=fmean(defined), std=stdev(defined) if len(defined) > 1 else None, n=len(defined))


Result = DetectionResult


@dataclass(frozen=True)
class _Row:
    """One row of a table: how to get the value, format it, and describe its basis."""

    name: str
    value: Callable[[Result], float | None]
    form: Callable[[float | None], str]
    rests_on: Callable[[Result], str]
    interval: Callable[[Result], Interval | None] = lambda _: None


def render(results: Sequence[DetectionResult]) -> RenderableType:
    """Results as a table with notes below: one in detail, several in a column each.

    Several seeds of one contender get an extra column of means; with several contenders only means are shown.
    """
    return _single_table(results[0]) if len(results) == 1 else _comparison_table(results)


def _single_table(result: Result) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    title = Text(f"Detection on {result.data}: {result.detector or 'nothing judged'}")
    table = Table(title=title, show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column(style="dim")
    for row in _rows([result]):
        interval = row.interval(result)
        span = f"95 % interval {' to '.join(map(row.form, interval))}; " if interval else ""
        table.add_row(Text(row.name), row.form(row.value(result)), Text(span + row.rests_on(result)))
    return Group(table, *(Text(f"Note: {note}", style="yellow") for note in result.notes))


def _comparison_table(results: Sequence[Result]) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    contenders = group_runs_by_contender(results)
    columns = [[result] for result in results] if len(contenders) == 1 else []
    if not columns or len(results) > len(contenders):
        columns += contenders
    table = Table(title=Text(f"Detection on {results[0].data}"))
    table.add_column(style="bold")
    for runs in columns:
        table.add_column(Text(_heading(runs)), justify="right")
    for row in _rows(results):
        table.add_row(Text(row.name), *(_cell(row, runs) for runs in columns))
    notes = dict.fromkeys(
        f"Note: {_heading([result])}: {note}" for result in results for note in result.notes
    )
    return Group(table, *(Text(note, style="yellow") for note in notes))


def _heading(runs: Sequence[Result]) -> str:
    """Heading of a column: contender, effort, and seed or number of seeds."""
    run = f"seed {runs[0].seed}" if len(runs) == 1 else f"mean of {len(runs)} seeds"
    return " ".join(filter(None, (runs[0].contender, runs[0].effort, run)))


def _cell(row: _Row, runs: Sequence[Result]) -> Text:
    """A value with its interval below, or a mean with the standard deviation over seeds."""
    from rich.text import Text

    over = mean_std(row.value(run) for run in runs)
    cell = Text(row.form(over.mean if over else None))
    interval = row.interval(runs[0]) if len(runs) == 1 else None
    if interval:
        cell.append(f"\n{' to '.join(map(row.form, interval))}", "dim")
    elif over and over.std is not None:
        cell.append(f"\n± {row.form(over.std)}", "dim")
    return cell


def _rows(results: Sequence[Result]) -> Iterator[_Row]:
    yield _Row(
        "image AUROC", lambda r: r.image_auroc, _format_number, _pictures, lambda r: r.image_auroc_interval
    )
    for kind in sorted({kind for result in results for kind in result.n_by_defect}):
        yield _by_defect(kind)
    yield _Row(
        "pixel AUROC",
        lambda r: r.pixel_auroc,
        _format_number,
        lambda r: f"{r.n_empty_masks} empty masks left out",
        lambda r: r.pixel_auroc_interval,
    )
    yield _Row(
        "AUPRO", lambda r: r.aupro, _format_number, lambda _: "per-region overlap up to 30 % false positives"
    )
    yield _Row("AUPIMO", lambda r: r.aupimo, _format_number, _aupimo)
    yield _Row(
        "false alarms",
        lambda r: r.false_alarm_rate,
        _format_percent,
        lambda r: f"asked {_format_percent(r.asked_false_alarm_rate)}",
        lambda r: r.false_alarm_rate_interval,
    )
    yield _Row("undecided", lambda r: r.undecided_rate, _format_percent, _undecided)
    yield _Row(
        "not judged",
        lambda r: r.n_errors,
        _format_with_unit(""),
        lambda _: "errors, in none of the figures above",
    )
    yield _Row("learning", lambda r: r.learn_seconds, _format_with_unit(" s"), _learning)
    yield _Row(
        "inspecting",
        lambda r: r.ms_per_image,
        _format_with_unit(" ms"),
        lambda r: f"a picture, {r.threads} threads",
    )
    yield _Row(
        "peak memory", lambda r: r.peak_memory_mb, _format_with_unit(" MB"), lambda r: f"version {r.version}"
    )


def _by_defect(kind: str) -> _Row:
    def rests_on(result: Result) -> str:
        pixels = _format_number(result.pixel_auroc_by_defect.get(kind))
        overlap = _format_number(result.aupro_by_defect.get(kind))
        return f"{result.n_by_defect.get(kind, 0)} pictures; pixel AUROC {pixels}, AUPRO {overlap}"

    return _Row(
        f"  {kind}",
        lambda r: r.image_auroc_by_defect.get(kind),
        _format_number,
        rests_on,
        lambda r: r.image_auroc_by_defect_interval.get(kind),
    )


def _pictures(result: Result) -> str:
    defects = result.n_test - result.n_test_normals
    return f"{result.n_test_normals} normal, {defects} defective pictures, split by {result.split}"


def _aupimo(result: Result) -> str:
    missed = _format_percent(result.aupimo_zero_rate)
    return (
        f"mean over defective pictures, median {_format_number(result.aupimo_median)}, {missed} of them at 0"
    )


def _undecided(result: Result) -> str:
    on_normals, on_defects = result.undecided_rate_normals, result.undecided_rate_defects
    return f"normals {_format_percent(on_normals)}, defects {_format_percent(on_defects)}"


def _learning(result: Result) -> str:
    effort = f", effort {result.effort}" if result.effort else ""
    return f"{result.n_train} good pictures{effort}, seed {result.seed}"


def _format_number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _format_percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.3g} %"


def _format_with_unit(unit: str) -> Callable[[float | None], str]:
    return lambda value: "-" if value is None else f"{value:.0f}{unit}"
