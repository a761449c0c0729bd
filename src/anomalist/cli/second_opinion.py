"""``anomalist second-opinion``: what a network video recorder says, held against what is measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anomalist.cli.terminal import JsonOption

if TYPE_CHECKING:
    from rich.console import RenderableType

    from anomalist.ranking import ClipRanking
    from anomalist.second_opinion.report import SecondOpinion
    from anomalist.triage import Triage

_COLOURS = {"borne out": "green", "contradicted": "bold red", "not testable": "dim"}


def second_opinion(
    export: Annotated[
        Path,
        typer.Argument(
            help="Folder with the JSON of Frigate's events or reviews and their clips, or one JSON."
        ),
    ],
    profile: Annotated[
        str | None,
        typer.Option(help="The scene that was learned. Without one the clips are uncalibrated."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the verdicts, and the report on the clips.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Give each sentence of a recorder's events a verdict: borne out, contradicted, or not testable."""
    from anomalist.audit.recording import open_trail
    from anomalist.cli.terminal import err, progress_bars, warn
    from anomalist.cli.terminal import out as stdout
    from anomalist.runs import ClipRun, finish_clip_run
    from anomalist.second_opinion.frigate import read_export
    from anomalist.second_opinion.report import Examiner, SecondOpinion, write_opinion
    from anomalist.triage import Triage

    found = read_export(export)
    for problem in found.problems:
        warn(problem)
    judge = _judge(profile)
    if (trail := open_trail()) is not None:
        if isinstance(judge, Triage):
            trail.begin_triage(judge, "second-opinion")
        else:
            trail.begin_ranking("second-opinion")
    items = []
    with ClipRun(judge, out, trail) as clips, progress_bars() as progress:
        examiner = Examiner(judge, lambda path: clips.clip(path, lambda *_: None))
        for number, item in enumerate(examiner.examine(found)):
            items.append(item)
            progress("events", number, len(found.items))
            if json:
                print(item.model_dump_json(), flush=True)
    scene = judge.scene.name if isinstance(judge, Triage) else None
    whole = SecondOpinion(export=str(export), scene=scene, items=tuple(items), problems=found.problems)
    if out is not None:
        if any(item.clip for item in items):
            finish_clip_run(out)
        page = write_opinion(whole, out)
        err.print(f"Report: {page}", markup=False, soft_wrap=True)
    if not json:
        stdout.print(opinion_table(whole))


def _judge(profile: str | None) -> Triage | ClipRanking:
    """What clips are judged with; without a scene they are ranked alone."""
    from anomalist.composition import TriageSettings
    from anomalist.ranking import ClipRanking
    from anomalist.triage import Triage

    return ClipRanking() if profile is None else Triage(TriageSettings(profile, model="evidence"))


def opinion_table(opinion: SecondOpinion) -> RenderableType:
    """The verdicts as a table, with their numbers under it."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from anomalist.report.wording import printable

    table = Table()
    for heading in ("event", "said", "verdict", "why"):
        table.add_column(heading, overflow="fold")
    for item in opinion.items:
        name = f"{item.camera} {item.id}"
        for each in item.opinions:
            said = f"{each.where}: {each.sentence}"
            verdict = Text(each.status, _COLOURS[each.status])
            table.add_row(Text(printable(name)), Text(printable(said)), verdict, Text(printable(each.why)))
            name = ""
        if not item.opinions:
            table.add_row(Text(printable(name)), Text("nothing"), "", Text("Nothing is said of it."))
    counts = ", ".join(f"{number} {status}" for status, number in opinion.counts.items())
    judged = "" if opinion.scene else " Uncalibrated: without --profile nothing can be tested."
    return Group(table, Text(f"{counts}.{judged}", "dim"))
