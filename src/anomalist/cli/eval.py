"""``anomalist eval``: benchmarks on labelled data, one command each."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anomalist.cli.eval_reasons import reasons
from anomalist.cli.eval_runs import (
    CacheOption,
    GroupsOption,
    OutOption,
    all_sets,
    cache_folder,
    checks,
    compare,
    find_groups,
    save_runs,
)
from anomalist.cli.eval_severity import severity
from anomalist.cli.terminal import (
    Effort,
    EffortOption,
    RateOption,
    RayOption,
    WorkersOption,
)
from anomalist.errors import DataError

if TYPE_CHECKING:
    from anomalist.composition import Measure

OpenOnlyOption = Annotated[
    bool, typer.Option("--open-only", help="Leave the questions unopened that are kept apart.")
]
JsonObjectOption = Annotated[bool, typer.Option("--json", help="One JSON object on stdout instead of text.")]

app = typer.Typer(help="Measure on labelled data.", no_args_is_help=True)


class DetectorChoice(StrEnum):
    """What can be measured."""

    ensemble = "ensemble"
    surface = "surface"
    zero_shot = "zero-shot"
    unlabelled = "unlabelled"


@app.command()
def detection(
    data: Annotated[
        Path,
        typer.Option(help="Folder with good/, one folder a defect and ground_truth/, or a public data set."),
    ],
    train_normals: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Good pictures to learn from, at least; with 0, what learns is zero-shot. "
            "A data set with an official split has its own, of which so many are drawn.",
        ),
    ] = None,
    groups: GroupsOption = None,
    detector: Annotated[
        list[str] | None,
        typer.Option(
            help="ensemble (the default where DINOv2 is at hand) and surface learn from normals, zero-shot "
            "from none, unlabelled compares the test pictures with each other. Peers: neighbours, pyod:KNN, "
            "anomalib:Patchcore, peer:SCRIPT. Repeat it to compare."
        ),
    ] = None,
    peer_python: Annotated[
        Path | None,
        typer.Option(help="Interpreter of the environment that has anomalib, or what a SCRIPT needs."),
    ] = None,
    effort: Annotated[
        list[Effort] | None,
        typer.Option(help="As of learn. Repeat it to compare."),
    ] = None,
    seed: Annotated[
        list[int] | None,
        typer.Option(help="Of split, learning and bootstrap; 0 when not asked. Repeat it for the mean."),
    ] = None,
    false_alarm_rate: RateOption = None,
    workers: WorkersOption = 1,
    ray: RayOption = None,
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder in which runs are kept, with their times, and found again."),
    ] = None,
    save_to: OutOption = None,
    json: Annotated[
        bool,
        typer.Option("--json", help="JSON Lines instead of a table: each run, then means if several seeds."),
    ] = False,
) -> None:
    """Learn from some good pictures of a labelled folder, or from none, and score the rest."""
    from anomalist.cli.terminal import out, progress_bars
    from anomalist.eval.detection import (
        DetectionResult,
        contenders,
        group_runs_by_contender,
        run_detection,
        summarize_seeds,
    )
    from anomalist.eval.detection_tables import render
    from anomalist.eval.peers.source import is_peer, peer_contender
    from anomalist.eval.result_cache import RUNS, ResultCache
    from anomalist.vision.detectors.base import default_detector

    named = detector or [default_detector(None)]
    own = [name for name in named if not is_peer(name)]
    unknown = sorted(set(own) - set(DetectorChoice))
    if unknown:
        raise DataError(
            f"There is no detector {unknown[0]}.",
            f"Known are {', '.join(DetectorChoice)}, neighbours, pyod:NAME, anomalib:NAME and peer:SCRIPT.",
        )
    normals = 1 if train_normals is None else train_normals
    saved, results = [], []
    with ExitStack() as stack:
        measure = _on_cluster(ray, workers, stack)
        asked = [
            *(
                replace(each, workers=workers, measure=measure)
                for each in (contenders(own, effort or ["normal"], normals, false_alarm_rate) if own else ())
            ),
            *(
                peer_contender(name, peer_python, false_alarm_rate)
                for name in dict.fromkeys(named)
                if is_peer(name)
            ),
        ]
        progress = stack.enter_context(progress_bars())
        kept = None if cache is None else stack.enter_context(ResultCache(cache, RUNS))
        for run in run_detection(
            data,
            asked,
            train_normals=train_normals,
            groups=find_groups(data, groups),
            seeds=seed or [0],
            cache=kept,
            progress=progress,
        ):
            saved.append(run)
            results.append(DetectionResult.model_validate(run.result))
            if json:
                print(results[-1].model_dump_json(), flush=True)
    if save_to is not None:
        save_runs(saved, save_to)
    if not json:
        out.print(render(results))
        return
    for runs in group_runs_by_contender(results):
        if len(runs) > 1:
            print(summarize_seeds(runs).model_dump_json())


def _on_cluster(ray: str | None, workers: int, stack: ExitStack) -> Measure | None:
    """What measures on a Ray cluster, connected until the stack is closed; None where none is named."""
    if ray is None:
        return None
    from anomalist.cluster.connection import RayOptions, connected
    from anomalist.cluster.measuring import measure_on_cluster

    options = RayOptions(ray, workers if workers > 1 else None)
    stack.enter_context(connected(options))
    return partial(measure_on_cluster, options=options)


@app.command()
def reference(
    data: Annotated[
        Path, typer.Option(help="Folder with <pair>_temp.jpg, <pair>_test.jpg and boxes.csv, as DeepPCB has.")
    ],
    fit: Annotated[
        str,
        typer.Option(
            help="Margin and labelled examples come from pairs whose name starts so, figures from others."
        ),
    ] = "00041",
    seed: Annotated[int, typer.Option(help="Of the choice of examples.")] = 0,
    json: Annotated[
        bool, typer.Option("--json", help="One JSON object on stdout instead of a table.")
    ] = False,
) -> None:
    """Compare pictures with their references and score what is found, and how it is named."""
    from anomalist.cli.terminal import out, progress_bars
    from anomalist.eval.reference import evaluate_reference, render

    with progress_bars() as progress:
        result = evaluate_reference(data, fit=fit, seed=seed, progress=progress)
    if json:
        print(result.model_dump_json())
    else:
        out.print(render(result))


@app.command()
def seeing(
    model: Annotated[str, typer.Option(help="Who looks: hf:NAME_OR_FOLDER or openai:URL#MODEL.")],
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder with mtd, neu and deeppcb, as far as they are there; without it, drawn places only."
        ),
    ] = None,
    count: Annotated[int, typer.Option(min=10, help="Places of each source.")] = 300,
    seed: Annotated[int, typer.Option(help="Of the choice of places and of the order of options.")] = 0,
    json: Annotated[
        bool, typer.Option("--json", help="One JSON object a source on stdout instead of a table.")
    ] = False,
) -> None:
    """Show a vision-language model where to look, and score what it says is there."""
    from anomalist.agent.models.selection import open_model
    from anomalist.cli.terminal import out, progress_bars
    from anomalist.eval.vision_language import evaluate_seeing, render

    results = []
    with progress_bars() as progress:
        for result in evaluate_seeing(open_model(model), model, data, count, seed, progress):
            results.append(result)
            if json:
                print(result.model_dump_json(), flush=True)
    if not json:
        out.print(render(results))


@app.command()
def video(
    data: Annotated[
        Path,
        typer.Option(
            help="Folder with training/, testing/, labels.csv (clip,frame,label) and masks/, "
            "or a public data set."
        ),
    ],
    no_profile: Annotated[
        bool, typer.Option("--no-profile", help="Learn nothing: measure each test clip by itself.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="One JSON object on stdout instead of a table.")
    ] = False,
) -> None:
    """Learn a scene from normal clips and score labelled ones."""
    from anomalist.cli.terminal import out, progress_bars
    from anomalist.eval.video import evaluate_unlearned, evaluate_video, render

    with progress_bars() as progress:
        result = evaluate_unlearned(data, progress) if no_profile else evaluate_video(data, progress)
    if json:
        print(result.model_dump_json())
    else:
        out.print(render(result))


@app.command()
def captions(
    data: Annotated[
        Path, typer.Option(help="Folder with 01.csv, 02.csv, … (frame,label,caption), event_labels.csv.")
    ],
    rules: Annotated[
        Path | None,
        typer.Option(help="Text file with rules for the published base; DATA/rules.txt if it is there."),
    ] = None,
    normal: Annotated[
        Path | None,
        typer.Option(help="Normal captions of the scene (lines, or a CSV) to induce rules from."),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="One JSON object on stdout instead of a table.")
    ] = False,
) -> None:
    """Score labelled captions by rules and remembered scenes, with the past alone and with all of a clip."""
    from anomalist.cli.terminal import out, progress_bars
    from anomalist.eval.captions import evaluate_captions, render

    with progress_bars() as progress:
        result = evaluate_captions(data, rules=rules, normal=normal, progress=progress)
    if json:
        print(result.model_dump_json())
    else:
        out.print(render(result))


@app.command()
def asking(
    data: Annotated[Path, typer.Option(help="Folder with mtd/, deeppcb/ and ped2/.")],
    work: Annotated[
        Path | None, typer.Option(help="Folder in which what is learned is kept, and found again.")
    ] = None,
    open_only: OpenOnlyOption = False,
    json: JsonObjectOption = False,
) -> None:
    """Ask the project's questions about real pictures and clips, and grade the answers."""
    from anomalist.cli.terminal import progress_bars
    from anomalist.eval.question_answering import evaluate_asking, render

    with progress_bars() as progress:
        result = evaluate_asking(data, work=work, open_only=open_only, progress=progress)
    print(result.model_dump_json() if json else render(result))


@app.command()
def questions(
    data: Annotated[
        Path, typer.Option(help="Folder with mtd/, deeppcb/ and neu/; what isn't there is left out.")
    ],
    cases: Annotated[
        int, typer.Option(min=1, help="Labelled cases of each kind, of objects that aren't asked about.")
    ] = 10,
    train_normals: Annotated[int, typer.Option(min=1, help="Good tiles to learn from, at least.")] = 300,
    effort: EffortOption = Effort.normal,
    seed: Annotated[int, typer.Option(help="Of split, cases, wording and order of options.")] = 0,
    json: Annotated[
        bool, typer.Option("--json", help="One JSON object on stdout instead of a table.")
    ] = False,
) -> None:
    """Ask multiple-choice questions made from ground truth: is it defective, where, and of which kind."""
    from anomalist.cli.terminal import out, progress_bars
    from anomalist.eval.multiple_choice import evaluate_questions, render
    from anomalist.eval.multiple_choice_sources import QuestionSetup

    setup = QuestionSetup(cases=cases, train_normals=train_normals, effort=effort.value, seed=seed)
    with progress_bars() as progress:
        result = evaluate_questions(data, setup, progress)
    if json:
        print(result.model_dump_json())
    else:
        out.print(render(result))


@app.command()
def sentences(
    data: Annotated[
        Path, typer.Option(help="Folder with sentences.csv and memory_sentences.csv, as uca has.")
    ],
    json: Annotated[
        bool, typer.Option("--json", help="One JSON object on stdout instead of a table.")
    ] = False,
) -> None:
    """Score labelled sentences by remembered scenes: what ships, and with sentences of other videos."""
    from anomalist.cli.terminal import out, progress_bars
    from anomalist.eval.sentences import evaluate_sentences, render

    with progress_bars() as progress:
        result = evaluate_sentences(data, progress=progress)
    if json:
        print(result.model_dump_json())
    else:
        out.print(render(result))


@app.command()
def runs(
    open_only: OpenOnlyOption = False,
    json: JsonObjectOption = False,
) -> None:
    """Ask questions about made-up runs in the words of inspectors and auditors, and grade the answers."""
    from anomalist.cli.terminal import progress_bars
    from anomalist.eval.run_questions import evaluate_run_questions, render

    with progress_bars() as progress:
        result = evaluate_run_questions(open_only=open_only, progress=progress)
    print(result.model_dump_json() if json else render(result))


@app.command()
def mmad(
    data: Annotated[
        Path, typer.Option(help="Folder with mmad.json, its pictures and domain_knowledge.json.")
    ],
    model: Annotated[
        str, typer.Option(help="Who answers: evidence, hf:NAME_OR_FOLDER, openai:URL#MODEL.")
    ] = "evidence",
    shots: Annotated[
        list[int] | None,
        typer.Option(min=0, max=1, help="Normal templates to compare with. Repeat it for both."),
    ] = None,
    domain_knowledge: Annotated[
        bool, typer.Option("--domain-knowledge", help="Show a model what is known about each product.")
    ] = False,
    evidence: Annotated[
        bool, typer.Option(help="Whether a model is shown what the detector measured.")
    ] = True,
    pictures: Annotated[
        int | None, typer.Option(min=1, help="Pictures of each data set at most, drawn by the seed.")
    ] = None,
    leave_out: Annotated[
        Path | None,
        typer.Option(help="List of pictures with known faults, one a line: scored with and without them."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of samples, orders of options and the bootstrap.")] = 0,
    cache: CacheOption = None,
    save_to: OutOption = None,
    json: Annotated[
        bool, typer.Option("--json", help="One JSON object a number of shots instead of tables.")
    ] = False,
) -> None:
    """Ask MMAD's questions about industrial pictures; score them by our rules and by the reference's."""
    from anomalist.cli.terminal import out, progress_bars
    from anomalist.eval.mmad.answering import MmadSetup
    from anomalist.eval.mmad.benchmark import run_mmad
    from anomalist.eval.mmad.tables import render

    runs = []
    with progress_bars() as progress:
        for count in dict.fromkeys(shots or [0]):
            setup = MmadSetup(
                model=model, shots=count, knowledge=domain_knowledge, evidence=evidence, seed=seed
            )
            run = run_mmad(
                data,
                setup,
                pictures=pictures,
                leave_out=leave_out,
                cache=cache or cache_folder(),
                progress=progress,
            )
            runs.append(run)
            if json:
                print(run.result.model_dump_json(), flush=True)
    if not json:
        out.print(render([run.result for run in runs]))
    if save_to is not None:
        save_runs([run.saved() for run in runs], save_to)


app.command()(checks)
app.command()(reasons)
app.command()(severity)
app.command()(compare)
app.command("all")(all_sets)
