"""What people see in a terminal: progress on stderr, tables on stdout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console

from anomalist.types import Record

if TYPE_CHECKING:
    from rich.console import RenderableType

    from anomalist.vision.detectors import Progress

out = Console()
err = Console(stderr=True)

_COLOURS = {"anomalous": "bold red", "undecided": "yellow", "normal": "green", "error": "magenta"}
_REASONS = 10  # of the most urgent pictures; the report has them all


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """Show a bar for each kind of work on stderr; gives the function that reports progress."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description:>12}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bars:
        tasks = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield report


def results(records: Sequence[Record]) -> RenderableType:
    """The records as a table, the most urgent first, and under it why for all that is not plainly normal."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    from anomalist.report.summary import by_urgency, outcome
    from anomalist.report.wording import main_reason, number, severity_word, short_names

    ordered = by_urgency(records)
    place, names = short_names(ordered)
    table = Table(title=Text(place) if place else None, title_justify="left", title_style="dim")
    for heading in ("picture", "verdict", "severity", "kind", "p"):
        table.add_column(heading, overflow="fold")
    reasons: list[RenderableType] = []
    for record, name in zip(ordered, names, strict=True):
        verdict = outcome(record)
        severity = severity_word(record) if record.severity else ""
        severity += " if real" if severity and verdict == "undecided" else ""
        cells = (Text(record.kind or ""), number(record.p_value))
        table.add_row(Text(name), Text(verdict, _COLOURS[verdict]), severity, *cells)
        if verdict != "normal" and len(reasons) < _REASONS:
            reason = main_reason(record) if record.status == "ok" else record.error or ""
            reasons.append(Padding(Text.assemble((f"{name}  ", _COLOURS[verdict]), reason), (1, 0, 0, 0)))
    return Group(table, *reasons)
