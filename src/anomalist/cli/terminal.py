"""Shared by all commands: options, exit codes, consoles, progress bars, and the tables of results.

Tables go to stdout, progress to stderr. `limit_threads` must be called before numpy and torch are
imported.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console, Group

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from anomalist.memory.ranking import RankAdjustment
    from anomalist.report.document import Entry, EntryT, ReportDocument
    from anomalist.types.clip import ClipRecord
    from anomalist.types.image import Record
    from anomalist.vision.detectors.base import Progress


EXIT_FAIL_ON, EXIT_NOT_JUDGED, EXIT_INTERRUPTED = 1, 3, 130


class Effort(StrEnum):
    """How long learning may take."""

    fast = "fast"
    normal = "normal"
    thorough = "thorough"


class Device(StrEnum):
    """What networks run on."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


class KeepMedia(StrEnum):
    """Which pictures and clips the audit log keeps."""

    all = "all"
    anomalous = "anomalous"
    none = "none"


KeepMediaOption = Annotated[
    KeepMedia | None,
    typer.Option(
        help="Pictures or clips that the audit log keeps by content hash; as `audit settings` says when not "
        "asked. anomalous: all that are not called normal."
    ),
]
PublishOption = Annotated[
    list[str] | None,
    typer.Option(
        help="Where results go as well: https://…, mqtt://HOST/PREFIX, opc.tcp://HOST:PORT/. Repeat it for "
        "more; ANOMALIST_PUBLISH adds to it."
    ),
]
WorkersOption = Annotated[
    int,
    typer.Option(min=1, help="Processes that measure; each gets its share of the cores."),
]
RayOption = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Work on a Ray cluster: HOST:PORT of its head, auto for the one that this machine is in, local "
        "for one of its own. --workers are actors then, at most.",
    ),
]
ProfileOption = Annotated[str, typer.Option("--profile", help="A name, or a folder (with a slash).")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON Lines on stdout instead of a table.")]
RateOption = Annotated[
    float | None,
    typer.Option(help="Share of normal pictures that may be called anomalous; 0.05 when not asked."),
]
EffortOption = Annotated[
    Effort, typer.Option(help="fast: DINOv2 alone; normal: with SurfaceNet; thorough: larger pictures.")
]
DeviceOption = Annotated[
    Device | None,
    typer.Option(
        help="What networks run on; auto: cuda, else mps, else cpu. As ANOMALIST_DEVICE when not asked."
    ),
]


def limit_threads() -> None:
    """Limit the threads of libraries that are loaded after this by `THREAD_VARIABLES`."""
    from anomalist.settings import THREAD_VARIABLES

    for name, value in THREAD_VARIABLES.items():
        os.environ.setdefault(name, value)


def say_if_busy() -> None:
    """Say on stderr that other programs use the processor, so that long work does not look stuck."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load >= cores:
        text = f"This machine is busy (load {load:.1f} on {cores} cores): learning takes longer than usual."
        err.print(text, style="yellow")


def use_device(device: Device | None) -> None:
    """Run all networks of this process on a device; None leaves it to ``ANOMALIST_DEVICE``.

    Raises DetectorError at once when it is not there. Imports torch.
    """
    from anomalist.vision.features.backbones import resolve_device

    if device is not None:
        os.environ["ANOMALIST_DEVICE"] = device.value
    resolve_device()


out = Console()
err = Console(stderr=True)

_VERDICT_COLOURS = {"anomalous": "bold red", "undecided": "yellow", "normal": "green", "error": "magenta"}
_SEVERITY_COLOURS = ("dim", "yellow", "dark_orange", "red", "bold magenta")
_MAX_REASONS = 10  # of the most urgent pictures; the report has them all

MAX_TABLE_ROWS = 25
"""Alerts, and things not judged, that are shown; the report has them all."""


def warn(text: str) -> None:
    """Say something on stderr that ends nothing."""
    err.print(text, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """Show a bar for each kind of work on stderr; gives the function that reports progress."""
    with pausable_progress_bars() as (report, _):
        yield report


@contextmanager
def pausable_progress_bars() -> Iterator[tuple[Progress, Callable[[], None]]]:
    """`progress_bars`, and a function that takes them away until the next report, to ask something."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description:>12}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bars:
        tasks = {}

        def report(what: str, done: int, total: int) -> None:
            bars.start()
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield report, bars.stop


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
    from rich.padding import Padding
    from rich.text import Text

    from anomalist.report.input_changes import input_sentences
    from anomalist.report.picture_view import PictureReportView
    from anomalist.report.wording import number, severity_word

    def severity(entry: Entry[Record]) -> str:
        word = severity_word(entry.severity, none="")
        return f"{word} if real" if word and entry.outcome == "undecided" else word

    document = PictureReportView().document(records)
    columns: dict[str, Callable[[Entry[Record]], Text | str]] = {
        "picture": lambda entry: Text(entry.name),
        "verdict": lambda entry: Text(entry.outcome, _VERDICT_COLOURS[entry.outcome]),
        "severity": severity,
        "kind": lambda entry: Text(entry.record.kind or ""),
        "p": lambda entry: number(entry.record.p_value),
    }
    if any(record.product for record in records):
        columns["product"] = lambda entry: Text(entry.record.product_name or "")
    unclear = [entry for entry in document.entries if entry.outcome != "normal"][:_MAX_REASONS]
    notes = [
        Text.assemble((f"{entry.name}  ", _VERDICT_COLOURS[entry.outcome]), entry.reason) for entry in unclear
    ]
    first = [Text(sentence, "yellow") for sentence in input_sentences(records)]
    return _entry_table(document, columns, [Padding(note, (1, 0, 0, 0)) for note in (*first, *notes)])


def triage_table(
    records: Sequence[ClipRecord], adjustments: Mapping[str, RankAdjustment] | None = None
) -> RenderableType:
    """The alerts as a table, what to watch first on top, and under it all that could not be judged."""
    from rich.text import Text

    from anomalist.report.clip_view import AlertEntry, ClipReportView
    from anomalist.report.document import format_spans
    from anomalist.report.wording import UNGRADED, format_time_span, printable, severity_word

    def severity(entry: AlertEntry) -> Text:
        return Text(severity_word(entry.severity, UNGRADED), _SEVERITY_COLOURS[entry.severity])

    def what(entry: AlertEntry) -> Text:
        text = Text(printable(entry.alert.caption))
        if entry.alert.watched:
            text.append(f" Asked for: {printable(', '.join(entry.alert.watched))}.", "bold cyan")
        if entry.alert.times > 1:
            text.append(f" Seen {entry.alert.times} times.", "dim")
        return text

    document = ClipReportView(adjustments or {}).document(records)
    columns: dict[str, Callable[[AlertEntry], Text | str]] = {
        "": lambda entry: Text(entry.alert.id[1:], justify="right"),
        "severity": severity,
        "clip": lambda entry: Text(entry.name),
        "time": lambda entry: format_time_span(entry.alert.start, entry.alert.end),
        "what": what,
    }
    notes = [
        Text.assemble(
            ("not judged  ", "yellow"),
            f"{each.name}{format_spans(each.item.spans)}: {printable(each.item.why)}",
        )
        for each in document.unjudged[:MAX_TABLE_ROWS]
    ]
    notes += _more_line(len(document.unjudged) - MAX_TABLE_ROWS)
    if not document.entries:
        if document.records and document.summary.normal == document.summary.clips:
            return Group(Text("Nothing stood out.", "green"), *notes)
        return Group(Text(f"{document.headline}.", "yellow"), *notes)
    return _entry_table(document, columns, notes, max_rows=MAX_TABLE_ROWS)


def _entry_table(
    document: ReportDocument[EntryT, Any],
    columns: Mapping[str, Callable[[EntryT], Text | str]],
    notes: Sequence[RenderableType],
    max_rows: int | None = None,
) -> RenderableType:
    """The entries of a report as a table, by column headings, and notes under it."""
    from rich.table import Table
    from rich.text import Text

    title = Text(document.place) if document.place else None
    table = Table(title=title, title_justify="left", title_style="dim")
    for heading in columns:
        table.add_column(heading, overflow="fold")
    for entry in document.entries[:max_rows]:
        table.add_row(*(cell(entry) for cell in columns.values()))
    more = [] if max_rows is None else _more_line(len(document.entries) - max_rows)
    return Group(table, *more, *notes)


def _more_line(rest: int) -> list[Text]:
    from rich.text import Text

    return [Text(f"And {rest:,} more in the report.", "dim")] if rest > 0 else []
