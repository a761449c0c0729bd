"""The results of MMAD as tables for a terminal, published rows beside measured ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from anomalist.eval.mmad.questions import DETECTION, SUBTASKS
from anomalist.eval.mmad.scoring import Accuracy, MmadResult, MmadScores
from anomalist.vision.media.masks import listed

if TYPE_CHECKING:
    from rich.console import RenderableType


def render(results: Sequence[MmadResult]) -> RenderableType:
    """Each result in detail, then all beside the published rows."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = []
    for result in results:
        parts += [_detail(result), *(Text(note, style="yellow") for note in _notes(result))]
    return Group(*parts, _beside_published(results))


def heading(result: MmadResult) -> str:
    """What was asked, in words: "1-shot, with domain knowledge, with evidence"."""
    setup = result.setup
    return ", ".join(
        (
            f"{setup.shots}-shot",
            f"{'with' if setup.knowledge else 'without'} domain knowledge",
            f"{'with' if setup.evidence else 'without'} detector evidence",
        )
    )


def _detail(result: MmadResult) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    title = Text(f"MMAD by {result.answered_by}: {heading(result)}")
    table = Table("subtask", "n", "right", "95 % interval", "chance", "unanswered", "reference", title=title)
    reference = result.reference.table["Average"] if result.reference else {}
    rows = [(name, result.ours.by_subtask.get(name)) for name in SUBTASKS]
    for name, found in (*rows, ("Average", result.ours.average)):
        printed = reference.get(name)
        table.add_row(
            f"{name} (balanced)" if name == DETECTION else name,
            *_cells(found),
            _one_digit(printed),
        )
    return table


def _cells(found: Accuracy | None) -> tuple[str, ...]:
    if found is None:
        return ("0", "-", "-", "-", "-")
    span = (
        "-" if found.interval is None else f"{100 * found.interval[0]:.1f} to {100 * found.interval[1]:.1f}"
    )
    return (
        str(found.n),
        f"{100 * found.value:.1f}",
        span,
        f"{100 * found.chance:.1f}",
        f"{100 * found.unanswered:.1f} %",
    )


def _notes(result: MmadResult) -> Iterator[str]:
    other = result.ours_without_faults
    if other is not None and other.average is not None:
        yield (
            f"Without the {len(result.left_out)} pictures of the list of faults: "
            f"{100 * other.average.value:.1f} by our rules{_reference_without(result)}."
        )
    if result.reference is not None and result.reference.dropped:
        yield (
            f"{result.reference.dropped} questions left the reference's denominator; "
            "by our rules they are wrong."
        )
    for names, what in (
        (result.missing, "pictures are missing and in no figure"),
        (result.problems, "faults of the data"),
        (result.failures, "pictures could not be answered and count as wrong"),
    ):
        if names:
            yield f"{len(names)} {what}: {listed(names)}"


def _reference_without(result: MmadResult) -> str:
    other = result.reference_without_faults
    return "" if other is None else f", {other.average:.1f} by the reference's"


def _beside_published(results: Sequence[MmadResult]) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table("who", "detection", "average", "source", title="Beside published results, in percent")
    for result in results:
        table.add_row(
            Text(f"{result.answered_by}, {heading(result)}", style="bold"),
            _percent(result.ours.by_subtask.get(DETECTION)),
            _percent(result.ours.average),
            _measured(result.ours),
        )
        if result.reference is not None:
            printed = result.reference.table["Average"]
            table.add_row(
                "  the same, scored as the reference does",
                _one_digit(printed.get(DETECTION)),
                f"{printed['Average']:.1f}",
                "measured; the prompt is ours",
            )
    for row in results[0].published:
        table.add_row(row.who, _one_digit(row.detection), f"{row.average:.1f}", row.source, style="dim")
    return table


def _measured(scores: MmadScores) -> str:
    return f"measured, {scores.questions} questions about {scores.pictures} pictures"


def _percent(found: Accuracy | None) -> str:
    return "-" if found is None else f"{100 * found.value:.1f}"


def _one_digit(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
