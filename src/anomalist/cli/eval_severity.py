"""``anomalist eval severity``: how bad a run says pictures are, against graded labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def severity(
    run: Annotated[Path, typer.Argument(help="Folder of a run, as inspect writes it.")],
    grades: Annotated[
        Path,
        typer.Option(help="CSV image,grade (a number, or none, minor, … critical), perhaps with group."),
    ],
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="One JSON object instead of a table.")] = False,
) -> None:
    """Compare the severities of a run with graded labels: Kendall's rank correlation and the C-index."""
    from anomalist.cli.terminal import out
    from anomalist.eval.severity import evaluate_severity, render

    result = evaluate_severity(run, grades, seed)
    if json:
        print(result.model_dump_json())
    else:
        out.print(render(result))
