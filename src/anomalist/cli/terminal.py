"""Shared by all commands: options, exit codes, consoles, progress bars, and the table of verdicts.

Tables go to stdout, progress to stderr. `use_passive_wait_policy` must be called before torch is
imported.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from anomalist.types.image import Record

if TYPE_CHECKING:
    from rich.console import RenderableType

    from anomalist.vision.detectors.base import Progress


EXIT_FAIL_ON, EXIT_NOT_JUDGED, EXIT_INTERRUPTED = 1, 3, 130


class Effort(StrEnum):
    """How long learning may take."""

    fast = "fast"
    normal = "normal"
    thorough = "thorough"


ProfileOption = Annotated[str, typer.Option("--profile", help="A name, or a folder (with a slash).")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON Lines on stdout instead of a table.")]
RateOption = Annotated[
    float | None,
    typer.Option(help="Share of normal pictures that may be called anomalous; 0.05 when not asked."),
]
EffortOption = Annotated[Effort, typer.Option(help="fast: no training; thorough: several times normal.")]


def use_passive_wait_policy() -> None:
    """Set OpenMP's wait policy to passive, for libraries that are loaded after this call.

    By default, waiting OpenMP threads spin and keep cores busy. Where other programs need the cores,
    too, a picture and a question take several times as long then: so do two runs at a time. Training is left
    as it is: alone on its cores it takes a third longer with passive waiting. Whoever set
    ``OMP_WAIT_POLICY`` knows better.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


out = Console()
err = Console(stderr=True)

_VERDICT_COLOURS = {"anomalous": "bold red", "undecided": "yellow", "normal": "green", "error": "magenta"}
_MAX_REASONS = 10  # of the most urgent pictures; the report has them all


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


def announce_model(asked: str) -> str:
    """Say on stderr who reasons, and return the spec of that model; ``auto`` is resolved here.

    Raises ModelError for a name that can't be one.
    """
    from anomalist.agent.models.selection import select_model

    selected = select_model(asked)
    err.print(selected.why, markup=False, highlight=False, soft_wrap=True)
    return selected.spec


def results_table(records: Sequence[Record]) -> RenderableType:
    """The records as a table, the most urgent first, and under it why for all that is not plainly normal."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    from anomalist.report.wording import (
        main_reason,
        number,
        outcome,
        severity_word,
        short_names,
        sort_by_urgency,
    )

    ordered = sort_by_urgency(records)
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
        table.add_row(Text(name), Text(verdict, _VERDICT_COLOURS[verdict]), severity, *cells)
        if verdict != "normal" and len(reasons) < _MAX_REASONS:
            reason = main_reason(record) if record.status == "ok" else record.error or ""
            reasons.append(
                Padding(Text.assemble((f"{name}  ", _VERDICT_COLOURS[verdict]), reason), (1, 0, 0, 0))
            )
    return Group(table, *reasons)
