"""``anomalist eval compare`` and ``anomalist eval all``: saved runs side by side, and everything at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anomalist.errors import DataError

if TYPE_CHECKING:
    from anomalist.eval.saved_runs import SavedRun

CacheOption = Annotated[
    Path | None,
    typer.Option(help="Folder in which results are kept and found again; the home folder's when not asked."),
]
GroupsOption = Annotated[
    Path | None,
    typer.Option(help="CSV image,group, also looked for in DATA; whole groups go to one side."),
]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", help="Folder for each run as JSON, to compare, and a page of all."),
]


def find_groups(data: Path, groups: Path | None) -> Path | None:
    """The table of groups, taken from the data where it is not here."""
    return data / groups if groups and not groups.exists() and (data / groups).exists() else groups


def compare(
    first: Annotated[Path, typer.Argument(help="A run that was saved with --out.")],
    second: Annotated[Path, typer.Argument(help="Another run of the same benchmark on the same data.")],
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="One JSON object instead of a table.")] = False,
) -> None:
    """Say by a paired bootstrap whether two runs differ by more than chance, on what both judged."""
    from anomalist.cli.terminal import out
    from anomalist.eval.saved_runs import compare_runs, load_run, render

    found = compare_runs(load_run(first), load_run(second), seed)
    if json:
        print(found.model_dump_json())
    else:
        out.print(render(found))


def all_sets(
    data: Annotated[Path, typer.Option(help="Folder with a folder for each data set.")],
    out: Annotated[Path, typer.Option(help="Folder for each run as JSON, and a page of all.")],
    seed: Annotated[int, typer.Option(help="Of splits, learning and bootstrap.")] = 0,
    only: Annotated[
        list[str] | None, typer.Option(help="Name of a folder of DATA; the others are left out. Repeatable.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option(help="Markdown file to write the figures of all runs to, as well.")
    ] = None,
    cache: CacheOption = None,
) -> None:
    """Measure every data set in a folder that is in a known layout, with the defaults."""
    from anomalist.cli.terminal import err, progress_bars
    from anomalist.eval.all_sets import SkippedSet, run_all
    from anomalist.eval.run_markdown import write_markdown

    runs: list[SavedRun] = []
    skipped: list[tuple[str, str]] = []
    with progress_bars() as progress:
        for each in run_all(data, cache or cache_folder(), only=only, seed=seed, progress=progress):
            if isinstance(each, SkippedSet):
                err.print(f"Skipped {each.name}: {each.why}", markup=False)
                skipped.append((each.name, each.why.replace(str(each.folder), each.folder.name)))
                continue
            runs.append(each)
            save_runs(runs, out)  # after each, so that a run that is stopped leaves what is done
    if page is not None:
        write_markdown(runs, page, skipped, only or ())
    if not runs:
        raise DataError(f"Nothing in {data} could be measured.", "What was skipped is said above.")


def checks(
    data: Annotated[Path, typer.Option(help="Folder with checks.json and images/, as sdls has.")],
    references: Annotated[
        int, typer.Option(min=2, help="Normal pictures of each check to compare with; they are not tested.")
    ] = 4,
    model: Annotated[
        str | None, typer.Option(help="Who also reads the expectations; nobody when not asked.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of references, orders of options and the bootstrap.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="One JSON object instead of a table.")] = False,
) -> None:
    """Check pictures against written expectations: by plain neighbours of references, and by a model."""
    from anomalist.agent.models.selection import open_model
    from anomalist.cli.terminal import out, progress_bars
    from anomalist.eval.context_checks import evaluate_checks, render_checks, token_describer

    opened = None if model is None else (model, open_model(model))
    with progress_bars() as progress:
        result = evaluate_checks(
            data, token_describer(), references=references, model=opened, seed=seed, progress=progress
        )
    if json:
        print(result.model_dump_json())
    else:
        out.print(render_checks(result))


def save_runs(runs: Sequence[SavedRun], folder: Path) -> None:
    """Write each run as JSON and the page of all, and say where."""
    from anomalist.cli.terminal import err
    from anomalist.eval.run_page import write_page
    from anomalist.eval.saved_runs import save_run

    for run in runs:
        save_run(run, folder)
    err.print(f"{len(runs)} saved; the page is {write_page(runs, folder)}.", markup=False)


def cache_folder() -> Path:
    """Where results are kept when nobody says otherwise."""
    from anomalist.settings import Settings

    return Settings().home / "eval"
