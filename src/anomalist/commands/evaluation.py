"""``anomalist eval``: measure on labelled data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from anomalist.commands.options import Effort, EffortOption, RateOption

app = typer.Typer(help="Measure on labelled data.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep the name of a single command."""


@app.command()
def detection(
    data: Annotated[Path, typer.Option(help="Folder with good/, one folder a defect and ground_truth/.")],
    train_normals: Annotated[int, typer.Option(help="Good pictures to learn from, at least.")],
    groups: Annotated[
        Path | None,
        typer.Option(help="CSV image,group, also looked for in DATA; whole groups go to one side."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the split, of learning and of the bootstrap.")] = 0,
    effort: EffortOption = Effort.normal,
    false_alarm_rate: RateOption = None,
    json: Annotated[
        bool, typer.Option("--json", help="One JSON object on stdout instead of a table.")
    ] = False,
) -> None:
    """Learn from some good pictures of a labelled folder and score the rest."""
    from anomalist.eval.detection import evaluate_detection, render
    from anomalist.terminal import out, progress_bars

    if groups and not groups.exists() and (data / groups).exists():
        groups = data / groups
    with progress_bars() as progress:
        result = evaluate_detection(
            data,
            train_normals=train_normals,
            groups=groups,
            seed=seed,
            effort=effort.value,
            false_alarm_rate=false_alarm_rate,
            progress=progress,
        )
    if json:
        print(result.model_dump_json())
    else:
        out.print(render(result))
