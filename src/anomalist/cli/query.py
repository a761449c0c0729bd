"""``anomalist query``: typed queries over the records of runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anomalist.errors import DataError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from anomalist.querying.query import QueryResult


def query(
    what: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN… QUERY",
            help="Folders written by --out, then the query: 'label=anomalous by kind'.",
        ),
    ],
    json: Annotated[
        bool, typer.Option("--json", help="One JSON object on stdout instead of a table.")
    ] = False,
) -> None:
    """Ask the records of runs: filter, group, count, share, mean, trend, compare, find alike.

    'label=anomalous by kind', 'severity>=major folder=brick', 'share label=anomalous by product', 'mean score
    trend day', 'share label=anomalous compare folder=brick with folder=gravel', 'alike part.png', 'regions by
    place', 'feedback by person'.
    """
    *runs, asked = what
    if not runs:
        raise DataError("A run and a query are needed.", "anomalist query RUN 'label=anomalous by kind'")
    if Path(asked).is_dir():
        raise DataError("The query is missing.", f"anomalist query {asked} 'label=anomalous by kind'")
    from anomalist.querying.runs import query as query_runs

    result = query_runs(runs, asked)
    if json:
        print(result.model_dump_json())
        return
    from anomalist.cli.terminal import out

    out.print(query_table(result))


def query_table(result: QueryResult) -> RenderableType:
    """A result as a table, with what was asked above it and notes under it."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for place, name in enumerate(result.columns):
        numeric = any(isinstance(row[place], int | float) for row in result.rows)
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in result.rows:
        table.add_row(*(Text(format_cell(cell)) for cell in row))
    notes = []
    if result.query.measure == "list":
        notes.append(f"{result.matched:,} of {result.of:,}")
    if result.difference is not None:
        equal = f"; p = {result.p_value:.3g} if they were equal" if result.p_value is not None else ""
        notes.append(f"difference {result.difference:.3g}{equal}")
    if result.slope is not None:
        notes.append(f"slope {result.slope:.3g} a {result.query.trend}")
    return Group(Text(result.reading, "dim"), table, *(Text(note, "dim") for note in [*notes, *result.notes]))


def format_cell(cell: str | float | bool | None) -> str:
    """A cell as text: numbers with four significant digits, nothing for null."""
    if cell is None:
        return ""
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)
