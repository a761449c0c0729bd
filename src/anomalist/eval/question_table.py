"""Results of questions as a table for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anomalist.eval.questioning import QuestionsResult

if TYPE_CHECKING:
    from rich.console import RenderableType

TARGETS = {"detection": 0.80, "place": 0.80, "kind": 0.60}


def render(result: QuestionsResult) -> RenderableType:
    """One row a data set and subtask, with what guessing and reading alone would reach."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    heads = ("data", "subtask", "n", "right", "95 % interval", "target", "chance", "text alone", "not told")
    table = Table(*heads, title=Text("Multiple choice from ground truth"))
    for row in result.results:
        span = "-" if row.interval is None else f"{row.interval[0]:.3f} to {row.interval[1]:.3f}"
        reached = row.value >= TARGETS[row.subtask]
        table.add_row(
            Text(row.data),
            row.subtask,
            str(row.n),
            Text(f"{row.value:.3f}", style="green" if reached else "yellow"),
            span,
            f"≥ {TARGETS[row.subtask]:.2f}",
            f"{row.chance:.3f}",
            f"{max(row.text_only, row.longest):.3f}",
            f"{100 * row.not_told:.1f} %",
        )
    about = (
        f"Detection is balanced accuracy, the others accuracy. {result.cases} labelled cases a kind, "
        f"{result.train_normals} good tiles learned from with effort {result.effort}, seed {result.seed}; "
        f"version {result.version}."
    )
    skipped = [Text(f"Not there: {', '.join(result.skipped)}.", style="yellow")] if result.skipped else []
    return Group(table, Text(about, style="dim"), *skipped)
