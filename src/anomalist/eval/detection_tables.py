"""Tables of detection results: one in detail, or mean and standard deviation over seeds side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from anomalist.eval.detection import DetectionResult, group_runs_by_contender
from anomalist.eval.metrics import Interval, mean_std

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text


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
    yield _Row(
        "pixel AP",
        lambda r: r.pixel_average_precision,
        _format_number,
        lambda _: "average precision over all pixels",
    )
    yield _Row("AUPIMO", lambda r: r.aupimo, _format_number, _aupimo)
    yield _Row("peak on defect", lambda r: r.peak_on_defect, _format_percent, _peak)
    yield _Row("mask IoU", lambda r: r.mask_iou_median, _format_number, _masks)
    yield _Row(
        "SegF1",
        lambda r: r.seg_f1,
        _format_number,
        lambda r: f"F1 of all pixels in predicted masks; best threshold {_format_number(r.seg_f1_oracle)}",
    )
    yield _Row("masks on normals", lambda r: r.normal_mask_rate, _format_percent, _normal_masks)
    yield from _decision_rows()
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


def _decision_rows() -> Iterator[_Row]:
    """What is decided at the asked rate, beside what the best threshold would find."""
    yield _Row(
        "false alarms",
        lambda r: r.false_alarm_rate,
        _format_percent,
        lambda r: f"asked {_format_percent(r.asked_false_alarm_rate)}",
        lambda r: r.false_alarm_rate_interval,
    )
    yield _Row("found", lambda r: r.found_at_asked_rate, _format_percent, _found)
    yield _Row(
        "calibration efficiency",
        lambda r: r.calibration_efficiency,
        _format_number,
        lambda _: "found, divided by what the best threshold finds at the measured rate",
    )
    yield _Row(
        "image F1",
        lambda r: r.image_f1,
        _format_number,
        lambda r: f"of the labels; best threshold {_format_number(r.image_f1_oracle)}",
    )
    yield _Row(
        "wrong if decided",
        lambda r: r.error_when_decided,
        _format_percent,
        lambda r: f"of the {_format_percent(r.coverage)} that are decided",
    )
    yield _Row("undecided", lambda r: r.undecided_rate, _format_percent, _undecided)


def _by_defect(kind: str) -> _Row:
    def rests_on(result: Result) -> str:
        pixels = _format_number(result.pixel_auroc_by_defect.get(kind))
        overlap = _format_number(result.aupro_by_defect.get(kind))
        peak = _format_percent(result.peak_on_defect_by_defect.get(kind))
        chance = _format_percent(result.peak_chance_by_defect.get(kind))
        iou = _format_number(result.mask_iou_median_by_defect.get(kind))
        empty = _format_percent(result.empty_mask_rate_by_defect.get(kind))
        return (
            f"{result.n_by_defect.get(kind, 0)} pictures; pixel AUROC {pixels}, AUPRO {overlap}; "
            f"peak on defect {peak}, chance {chance}; mask IoU {iou}, {empty} empty"
        )

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


def _peak(result: Result) -> str:
    return f"highest pixel of the map, chance {_format_percent(result.peak_chance)}"


def _masks(result: Result) -> str:
    return f"median over {result.masks.used} masks, {_format_percent(result.empty_mask_rate)} found empty"


def _normal_masks(result: Result) -> str:
    return f"{_format_percent(result.normal_pixel_rate)} of all pixels of normal pictures"


def _found(result: Result) -> str:
    measured = _format_percent(result.oracle_at_measured_rate)
    asked = _format_percent(result.oracle_at_asked_rate)
    return f"best threshold: {measured} at the measured false-alarm rate, {asked} at the asked one"


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
