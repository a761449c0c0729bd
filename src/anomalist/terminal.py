"""What people see in a terminal: progress on stderr, tables on stdout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console

from anomalist.types import SEVERITIES, Record

if TYPE_CHECKING:
    from rich.table import Table

    from anomalist.vision.detectors import Progress

out = Console()
err = Console(stderr=True)

_COLOURS = {"anomalous": "bold red", "undecided": "yellow", "normal": "green", "error": "magenta"}


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


def results_table(records: Sequence[Record]) -> Table:
    """The records as a table, the most urgent first."""
    from rich.table import Table
    from rich.text import Text

    from anomalist.report.summary import by_urgency, outcome
    from anomalist.report.wording import main_reason, number, short_names

    ordered = by_urgency(records)
    place, names = short_names(ordered)
    table = Table(title=Text(place) if place else None, title_justify="left", title_style="dim")
    for heading in ("picture", "verdict", "severity", "kind", "p", "why"):
        table.add_column(heading, overflow="fold")
    for record, name in zip(ordered, names, strict=True):
        verdict = outcome(record)
        severity = SEVERITIES[record.severity] if record.severity else ""
        reason = main_reason(record) if record.status == "ok" else record.error or ""
        cells = (record.kind or "", number(record.p_value), reason)
        table.add_row(Text(name), Text(verdict, _COLOURS[verdict]), severity, *map(Text, cells))
    return table
