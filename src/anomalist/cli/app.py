"""Entry point of the command line: ``learn``, ``profiles``, ``doctor``, ``demo`` and all command groups.

Results go to stdout, progress and messages to stderr.

Exit codes: 0 done; 1 a verdict that --fail-on names; 2 nothing could be done (wrong use, missing or
damaged input, full disk); 3 done, but some pictures could not be judged; 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterator
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anomalist import __version__
from anomalist.cli import (
    ask,
    audit,
    audit_checks,
    chat,
    edge,
    eval,
    inspect,
    mcp,
    memory,
    models,
    outliers,
    query,
    rules,
    second_opinion,
    serve,
    triage,
)
from anomalist.cli.terminal import (
    EXIT_INTERRUPTED,
    DeviceOption,
    Effort,
    EffortOption,
    JsonOption,
    ProfileOption,
    limit_threads,
    say_if_busy,
    use_device,
)
from anomalist.errors import AnomalistError, DataError

if TYPE_CHECKING:
    from anomalist.vision.profile import Profile

EXTRAS = {
    "accelerate": "models",
    "alembic": "server",
    "argon2": "server",
    "asyncua": "plant",
    "av": "video",
    "bitsandbytes": "models",
    "decord": "video",
    "fastapi": "server",
    "gguf": "models",
    "grpc": "ray",
    "grpc_reflection": "ray",
    "httpx": "plant",
    "langchain": "models",
    "langchain_core": "models",
    "langchain_openai": "models",
    "langgraph": "models",
    "llguidance": "models",
    "mcp": "mcp",
    "onnxruntime": "edge",
    "openvino": "openvino",
    "multipart": "server",
    "paho": "plant",
    "prometheus_client": "server",
    "pyarrow": "ray",
    "python_multipart": "server",
    "ray": "ray",
    "sqlalchemy": "server",
    "uvicorn": "server",
}
"""Import name of a package that only an extra installs → that extra."""

OF_A_FOLDER = {"groups", "limit", "effort", "seed", "roi", "backbone", "products", "drop_outliers"}
"""Options of ``learn`` that a profile has already where it is learned again from feedback."""

app = typer.Typer(
    help="Looks at pictures and videos, finds what is wrong, and explains it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog="Exit codes: 0 done, 1 --fail-on matched, 2 nothing done, 3 some pictures not judged.",
)
app.add_typer(serve.app, name="accounts")
app.add_typer(audit.app, name="audit")
app.add_typer(eval.app, name="eval")
app.add_typer(edge.app, name="import")
app.add_typer(memory.app, name="memory")
app.add_typer(models.app, name="models")
app.add_typer(rules.app, name="rules")


def main() -> None:
    """Run the command line; what the user can mend is one line on stderr."""
    try:
        app()
    except AnomalistError as error:
        _print_error(error)
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        missing = _missing_extra(error)
        if missing is None:
            raise
        _print_error(missing)
        sys.exit(missing.exit_code)
    except SystemExit as ending:
        if ending.code == EXIT_INTERRUPTED:  # typer takes the interrupt itself, and says nothing
            _print_interrupted()
        raise
    except KeyboardInterrupt:  # in what is imported before a command begins
        _print_interrupted()
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _print_interrupted() -> None:
    kept = "What is finished in a folder (--out) is kept"
    typer.echo(f"Interrupted. {kept}; run the same command to go on there.", err=True)


def _missing_extra(error: ModuleNotFoundError) -> AnomalistError | None:
    """What to install for a package of an extra of anomalist; None for any other package."""
    package = (error.name or "").partition(".")[0]
    extra = EXTRAS.get(package)
    if extra is None:
        return None
    return DataError(f"This needs the package {package}.", f"pip install 'anomalist[{extra}]'")


def _print_error(error: AnomalistError) -> None:
    from rich.text import Text

    from anomalist.cli.terminal import err

    err.print(Text("Error: ", "bold red") + Text(error.message), soft_wrap=True)
    if error.remedy:
        err.print(Text("       " + error.remedy), soft_wrap=True)


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit
    limit_threads()


@app.command()
def learn(
    context: typer.Context,
    profile: ProfileOption,
    normals: Annotated[
        Path | None, typer.Argument(metavar="NORMAL_DIR", help="Pictures without defects.")
    ] = None,
    groups: Annotated[
        Path | None,
        typer.Option(help="CSV image,group: pictures of the same object share a group and stay together."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="Learn from a random sample of at most this many.")
    ] = None,
    effort: EffortOption = Effort.normal,
    seed: Annotated[int, typer.Option(help="Of every random choice.")] = 0,
    roi: Annotated[Path | None, typer.Option(help="Picture whose white part is what counts.")] = None,
    backbone: Annotated[
        str | None,
        typer.Option(help="A transformers vision backbone, e.g. facebook/dinov2-small, or a plug-in."),
    ] = None,
    defects: Annotated[
        Path | None,
        typer.Option(help="Labelled defects to learn from: <kind>/*, masks in ground_truth/<kind>/ if any."),
    ] = None,
    from_feedback: Annotated[
        bool,
        typer.Option(
            "--from-feedback",
            help="Learn the profile again as it was, and from pictures that people called fine.",
        ),
    ] = False,
    products: Annotated[
        bool,
        typer.Option(
            "--products",
            help="One profile of several products: NORMAL_DIR has a folder for each. --roi and --defects are "
            "folders then, with <product>.png and <product>/<kind>/*.",
        ),
    ] = False,
    drop_outliers: outliers.OutliersOption = None,
    force: Annotated[bool, typer.Option(help="Replace a profile that is already there.")] = False,
    device: DeviceOption = None,
) -> None:
    """Learn what normal looks like from a folder of good pictures."""
    from anomalist.audit.recording import record_learning
    from anomalist.cli.terminal import err, pausable_progress_bars
    from anomalist.pipeline import learn as learn_profile
    from anomalist.pipeline import learn_products
    from anomalist.storage.artifacts import profile_path
    from anomalist.vision.profile import MIXED_KIND, PROFILE_KIND, MixedProfile

    if from_feedback == (normals is not None):
        raise DataError(
            "What is to be learned from?", "Give a folder of good pictures, or --from-feedback; one of them."
        )
    if from_feedback and (given := _given_of(context, OF_A_FOLDER)):
        raise DataError(
            f"--from-feedback takes no {', '.join(given)}: it learns with the settings and the pictures that "
            "the profile has, and from new ones.",
            "Leave out what is named, or learn anew: anomalist learn NORMAL_DIR --profile NAME --force",
        )
    say_if_busy()
    use_device(device)
    if normals is None:
        _relearn_from_feedback(profile, defects)
        return
    kind = MIXED_KIND if products else PROFILE_KIND
    if kind.is_at(profile_path(profile)) and not force and sys.stdin.isatty():
        force = typer.confirm(f"The profile {profile} is already there. Replace it?", abort=True)
    with pausable_progress_bars() as (progress, pause):
        learned = (learn_products if products else learn_profile)(
            normals,
            profile=profile,
            groups=groups,
            limit=limit,
            effort=effort.value,
            seed=seed,
            roi=roi,
            backbone=backbone,
            defects=defects,
            outliers=outliers.handling(drop_outliers, pause),
            force=force,
            progress=progress,
        )
    several = learned.products if isinstance(learned, MixedProfile) else (learned,)
    record_learning(learned)
    for reason in (reason for each in several for reason in each.manifest.skipped):
        err.print(f"Skipped {reason}", markup=False, soft_wrap=True)
    for sentence in (sentence for each in several for sentence in _mask_sentences(each)):
        err.print(f"Masks: {sentence}", markup=False, soft_wrap=True)
    if products:
        typer.echo(f"{learned.name} is of {len(several)} products.", err=True)
    for each in several:
        typer.echo(_profile_summary(each), err=True)
        for line in outliers.describe_outliers(each.manifest):
            err.print(line, markup=False, soft_wrap=True)


def _given_of(context: typer.Context, names: Collection[str]) -> list[str]:
    """Those of these options that are on the command line, as they are written there."""
    return [
        "/".join((*option.opts, *option.secondary_opts))
        for option in context.command.params
        if option.name in names
        and (source := context.get_parameter_source(option.name)) is not None
        and source.name == "COMMANDLINE"
    ]


def _mask_sentences(learned: Profile) -> Iterator[str]:
    masks = learned.manifest.masks
    return iter(()) if masks is None else masks.sentences()


def _relearn_from_feedback(profile: str, defects: Path | None) -> None:
    from anomalist.audit.recording import record_learning
    from anomalist.cli.terminal import progress_bars
    from anomalist.feedback import relearn

    with progress_bars() as progress:
        learned, fine = relearn(profile, defects=defects, progress=progress)
    record_learning(learned)
    typer.echo(f"{_profile_summary(learned)}\nNew: {', '.join(case.source for case in fine)}.", err=True)


def _profile_summary(learned: Any) -> str:  # noqa: ANN401
    from anomalist.vision.calibration import DEFAULT_RATE, LOWEST_USEFUL, groups_needed

    calibration = learned.calibration
    how = {
        "cv+": "cross-fitted, so p-values are approximate",
        "jackknife": "each left out in turn, so p-values are approximate",
        "split": "kept apart for it",
    }[calibration.method]
    what = "groups" if learned.manifest.grouped else "pictures"
    text = (
        f"Learned {learned.name} from {len(learned.manifest.normals)} pictures. Calibrated on "
        f"{len(calibration.scores)} ({calibration.n_groups} {what}, {how}): false-alarm rates from "
        f"{calibration.lowest_rate:.3g} up can be asked for."
    )
    if calibration.n_groups < (needed := groups_needed(DEFAULT_RATE)):
        decided = calibration.rate_by_default
        until = f"until then {decided:.3g} is decided at"
        if decided < calibration.lowest_rate:
            least = groups_needed(LOWEST_USEFUL)
            until = f"with fewer than {least} nothing is decided, unless you ask for a higher rate"
        text += f"\nThe default rate of {DEFAULT_RATE:g} needs {needed} {what}; {until}."
    return text


app.command()(outliers.check)
app.command()(inspect.inspect)
app.command()(inspect.report)
app.command()(ask.ask)
app.command()(chat.chat)
app.command()(query.query)
app.command()(mcp.mcp)
app.command()(edge.export)
app.command()(serve.serve)
app.command("learn-scene")(triage.learn_scene)
app.command()(triage.triage)
app.command("second-opinion")(second_opinion.second_opinion)
app.command()(triage.feedback)
app.command()(audit_checks.review)


@app.command()
def profiles(json: JsonOption = False) -> None:
    """List what was learned: profiles of pictures, and scenes of cameras."""
    from rich.table import Table

    from anomalist.cli.terminal import err, out
    from anomalist.errors import ProfileError
    from anomalist.settings import Settings
    from anomalist.vision.learned import describe_learned, learned_folders

    place = Settings().profiles
    table = Table("name", "learned from", "detector", "effort", "learned", "digest", title=str(place))
    for path in learned_folders(place):
        try:
            learned = describe_learned(path)
        except ProfileError as error:
            err.print(f"{error.message}", markup=False, soft_wrap=True)
            continue
        if json:
            print(dumps(learned.content))
        table.add_row(
            path.name,
            learned.learned_from,
            learned.detector,
            learned.effort,
            learned.created,
            learned.digest[:12],
        )
    if not json:
        out.print(
            table
            if table.row_count
            else f"No profiles in {place} yet. Make one: anomalist learn NORMAL_DIR --profile NAME"
        )


@app.command()
def doctor(json: JsonOption = False) -> None:
    """Say what is installed, what would be used, and what is missing."""
    from anomalist.cli.models import check_installation, render_installation
    from anomalist.cli.terminal import out

    findings = check_installation()
    if json:
        print(findings.to_json())
    else:
        out.print(render_installation(findings))
    if not findings.able:
        raise typer.Exit(2)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for pictures, profiles and the report.")] = Path(
        "anomalist-demo"
    ),
) -> None:
    """Learn, inspect and report on real photographs that come with scikit-image."""
    from anomalist.cli.demo import run_demo

    run_demo(out)
