"""``anomalist eval reasons``: whether what verdicts say is so, and whether words move them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from anomalist.cli.eval_runs import GroupsOption, OutOption, find_groups, save_runs
from anomalist.cli.terminal import Effort, EffortOption


def reasons(
    data: Annotated[Path, typer.Option(help="A labelled folder or a public data set, as for detection.")],
    train_normals: Annotated[
        int | None,
        typer.Option(min=2, help="Good pictures to learn from; those of the official split by default."),
    ] = None,
    groups: GroupsOption = None,
    detector: Annotated[
        str | None, typer.Option(help="ensemble or surface; the ensemble where DINOv2 is at hand.")
    ] = None,
    effort: EffortOption = Effort.normal,
    model: Annotated[
        str,
        typer.Option(help="Who reasons and answers: evidence, hf:NAME_OR_FOLDER, openai:URL#MODEL."),
    ] = "evidence",
    cases: Annotated[
        int,
        typer.Option(min=0, help="Labelled cases of each kind to name kinds by, of objects not tested."),
    ] = 0,
    pictures: Annotated[
        int | None, typer.Option(min=2, help="Test pictures at most, drawn by the seed, half defective.")
    ] = None,
    necessity: Annotated[
        int, typer.Option(min=0, help="Alarms whose cited places are taken away, at most.")
    ] = 20,
    subjects: Annotated[
        int, typer.Option(min=0, help="Pictures whose verdict is to be moved by words, at most.")
    ] = 4,
    injections: Annotated[int, typer.Option(min=0, max=50, help="Prompt injections of the fifty.")] = 50,
    seed: Annotated[int, typer.Option(help="Of split, cases, samples and bootstrap.")] = 0,
    save_to: OutOption = None,
    json: Annotated[
        bool, typer.Option("--json", help="JSON Lines instead of tables, one a product.")
    ] = False,
) -> None:
    """Test reasons of verdicts: claims, cited places, kinds, necessity, and words that would move them."""
    from anomalist.cli.terminal import out, progress_bars
    from anomalist.eval.detection import open_sets
    from anomalist.eval.reasons.benchmark import ReasonsResult, ReasonsSetup, render, run_reasons
    from anomalist.vision.detectors.base import default_detector

    setup = ReasonsSetup(
        detector=detector or default_detector(None),
        effort=effort.value,
        model=model,
        pictures=pictures,
        cases=cases,
        necessity=necessity,
        subjects=subjects,
        injections=injections,
        seed=seed,
    )
    sets = open_sets(data, find_groups(data, groups))
    runs = []
    with progress_bars() as progress:
        for each in sets:
            name = data.resolve().name if len(sets) == 1 else f"{data.resolve().name}/{each.name}"
            runs.append(run_reasons(each.split(train_normals, seed), setup, name=name, progress=progress))
            if json:
                print(ReasonsResult.model_validate(runs[-1].result).model_dump_json(), flush=True)
    if save_to is not None:
        save_runs(runs, save_to)
    if not json:
        for run in runs:
            out.print(render(ReasonsResult.model_validate(run.result)))
