"""The command line. Results go to stdout, progress and messages to stderr.

Exit codes: 0 done; 1 a verdict that --fail-on names; 2 nothing could be done (wrong use, missing or damaged
input, full disk); 3 done, but some pictures could not be judged; 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anomalist import __version__
from anomalist.errors import AnomalistError

if TYPE_CHECKING:
    from anomalist.pipeline import Inspector
    from anomalist.types import Record

app = typer.Typer(
    help="Looks at pictures, finds what is wrong, and explains it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog="Exit codes: 0 done, 1 --fail-on matched, 2 nothing done, 3 some pictures not judged.",
)
evaluation = typer.Typer(help="Measure on labelled data.", no_args_is_help=True)
app.add_typer(evaluation, name="eval")

FAIL_ON, NOT_JUDGED, INTERRUPTED = 1, 3, 130


class Effort(StrEnum):
    """How long learning may take."""

    fast = "fast"
    normal = "normal"
    thorough = "thorough"


class FailOn(StrEnum):
    """Verdicts that make ``inspect`` exit with 1."""

    anomalous = "anomalous"
    undecided = "undecided"


ProfileOption = Annotated[str, typer.Option("--profile", help="A name, or a folder (with a slash).")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON Lines on stdout instead of a table.")]
RateOption = Annotated[
    float | None,
    typer.Option(help="Share of normal pictures that may be called anomalous; 0.05 when not asked."),
]
EffortOption = Annotated[Effort, typer.Option(help="fast: no training; thorough: several times normal.")]


def main() -> None:
    """Run the command line; what the user can mend is one line on stderr."""
    try:
        app()
    except AnomalistError as error:
        _complain(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        typer.echo("Interrupted. What was finished is kept; run the same command to go on.", err=True)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _complain(error: AnomalistError) -> None:
    from rich.text import Text

    from anomalist.terminal import err

    err.print(Text("Error: ", "bold red") + Text(error.message), soft_wrap=True)
    if error.remedy:
        err.print(Text("       " + error.remedy), soft_wrap=True)


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command()
def learn(
    normals: Annotated[Path, typer.Argument(metavar="NORMAL_DIR", help="Pictures without defects.")],
    profile: ProfileOption,
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
        str | None, typer.Option(help="A transformers vision backbone, e.g. facebook/dinov2-small.")
    ] = None,
    force: Annotated[bool, typer.Option(help="Replace a profile that is already there.")] = False,
) -> None:
    """Learn what normal looks like from a folder of good pictures."""
    from anomalist.pipeline import learn as learn_profile
    from anomalist.terminal import err, progress_bars
    from anomalist.vision.profile import profile_path

    there = profile_path(profile) / "profile.json"
    if there.exists() and not force and sys.stdin.isatty():
        force = typer.confirm(f"The profile {profile} is already there. Replace it?", abort=True)
    with progress_bars() as progress:
        learned = learn_profile(
            normals,
            profile=profile,
            groups=groups,
            limit=limit,
            effort=effort.value,
            seed=seed,
            roi=roi,
            backbone=backbone,
            force=force,
            progress=progress,
        )
    for reason in learned.manifest.skipped:
        err.print(f"Skipped {reason}", markup=False, soft_wrap=True)
    typer.echo(_learned(learned), err=True)


def _learned(learned: Any) -> str:  # noqa: ANN401 - Profile is imported late
    from anomalist.vision.calibration import DEFAULT_RATE, groups_needed

    calibration = learned.calibration
    how = "cross-fitted, so p-values are approximate" if calibration.method == "cv+" else "kept apart for it"
    what = "groups" if learned.manifest.grouped else "pictures"
    text = (
        f"Learned {learned.name} from {len(learned.manifest.normals)} pictures. Calibrated on "
        f"{len(calibration.scores)} ({calibration.n_groups} {what}, {how}): false-alarm rates from "
        f"{1 / (calibration.n_groups + 1):.3g} up can be asked for."
    )
    if calibration.n_groups < (needed := groups_needed(DEFAULT_RATE)):
        text += f"\nThe default rate of {DEFAULT_RATE:g} needs {needed} {what}; verdicts stay undecided."
    return text


@app.command()
def inspect(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH…", help="Pictures and folders.")],
    profile: ProfileOption,
    false_alarm_rate: RateOption = None,
    json: JsonOption = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for records, maps, masks, reports, CSV and COCO; resumes.")
    ] = None,
    policy: Annotated[
        Path | None, typer.Option(help="Severity policy (TOML) instead of the shipped one.")
    ] = None,
    fail_on: Annotated[
        FailOn | None, typer.Option(help="Exit with 1 when a picture gets this verdict.")
    ] = None,
) -> None:
    """Inspect pictures: verdict, score, mask, severity and reasons."""
    from anomalist.agent.policy import load_policy
    from anomalist.errors import DataError
    from anomalist.pipeline import Inspector
    from anomalist.terminal import err, results_table
    from anomalist.terminal import out as stdout
    from anomalist.vision.media import list_images

    listing = list_images(paths)
    if listing.skipped:
        err.print(f"{listing.skipped} files that are not pictures by name were left out.")
    if not listing.images:
        raise DataError(f"No pictures in {', '.join(map(str, paths))}.")
    inspector = Inspector(profile, false_alarm_rate=false_alarm_rate, policy=load_policy(policy))
    records = _inspected(inspector, listing.images, out, echo=json)
    if not json:
        stdout.print(results_table(records))
    if fail_on and any(record.label == fail_on.value for record in records):
        raise typer.Exit(FAIL_ON)
    if any(record.status == "error" for record in records):
        raise typer.Exit(NOT_JUDGED)


def _inspected(
    inspector: Inspector, images: tuple[Path, ...], out: Path | None, *, echo: bool
) -> list[Record]:
    """Inspect, into a run folder where one is named; ``echo`` prints each record as it is done."""
    from anomalist.audit.log import RunFolder
    from anomalist.audit.run import inspect_into, unfinished
    from anomalist.report.files import write_reports
    from anomalist.terminal import err, progress_bars

    def shown(stream: Any, total: int) -> list[Record]:  # noqa: ANN401 - any iterator of records
        records = []
        with progress_bars() as progress:
            for done, record in enumerate(stream, 1):
                records.append(record)
                progress("inspecting", done, total)
                if echo:
                    print(record.model_dump_json(), flush=True)
        return records

    if out is None:
        return shown((i.record for i in inspector.inspect_many(images)), len(images))
    with RunFolder.open(out) as folder:
        open_ones = unfinished(inspector, folder, images)
        if len(open_ones) < len(images):
            err.print(f"{len(images) - len(open_ones)} of {len(images)} pictures were done before.")
        remember_calibration(inspector, folder)
        records = shown(inspect_into(inspector, folder, open_ones), len(open_ones))
        every = folder.records()
        report = write_reports(every, out, calibrations_of(folder, every))
    err.print(f"Report: {report}", markup=False, soft_wrap=True)
    return records


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What `inspect --out DIR` wrote.")],
    title: Annotated[str | None, typer.Option(help="Heading of the report.")] = None,
) -> None:
    """Write the reports of a run again, from its records alone."""
    from anomalist.audit.log import RunFolder
    from anomalist.report.files import write_reports

    run = RunFolder(folder)
    records = run.records()
    typer.echo(write_reports(records, folder, calibrations_of(run, records), title=title))


@app.command()
def profiles(json: JsonOption = False) -> None:
    """List the learned profiles."""
    from rich.table import Table

    from anomalist.errors import ProfileError
    from anomalist.settings import Settings
    from anomalist.terminal import err, out
    from anomalist.vision.profile import read_manifest

    place = Settings().profiles
    table = Table("name", "pictures", "detector", "effort", "learned", "digest", title=str(place))
    for path in sorted(place.iterdir()) if place.is_dir() else []:
        if not path.is_dir() or path.name.startswith("."):
            continue
        try:
            manifest = read_manifest(path)
        except ProfileError as error:
            err.print(f"{error.message}", markup=False, soft_wrap=True)
            continue
        fields = (
            str(len(manifest.normals)),
            manifest.detector,
            manifest.effort,
            manifest.created,
            manifest.digest[:12],
        )
        if json:
            print(manifest.model_copy(update={"normals": (), "name": path.name}).model_dump_json())
        table.add_row(path.name, *fields)
    if not json:
        out.print(
            table
            if table.row_count
            else f"No profiles in {place} yet. Make one: anomalist learn NORMAL_DIR --profile NAME"
        )


@app.command()
def doctor(json: JsonOption = False) -> None:
    """Say what is installed, what would be used, and what is missing."""
    from anomalist.doctor import check, render
    from anomalist.terminal import out

    findings = check()
    if json:
        print(findings.model_dump_json())
    else:
        out.print(render(findings))
    if not findings.able:
        raise typer.Exit(2)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for pictures, profiles and the report.")] = Path(
        "anomalist-demo"
    ),
) -> None:
    """Learn, inspect and report on real photographs that come with scikit-image."""
    from anomalist.demo import run_demo

    run_demo(out)


@evaluation.command()
def detection(
    data: Annotated[Path, typer.Option(help="Folder with good/, one folder a defect and ground_truth/.")],
    train_normals: Annotated[int, typer.Option(help="Good pictures to learn from, at least.")],
    groups: Annotated[Path | None, typer.Option(help="CSV image,group; whole groups go to one side.")] = None,
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


def remember_calibration(inspector: Inspector, folder: Any) -> None:  # noqa: ANN401 - RunFolder is imported late
    """Keep the normals' scores in the run folder, so that reports can draw them without the profile."""
    calibration = inspector.profile.calibration
    folder.write_calibration(
        inspector.profile.name,
        inspector.profile_digest,
        calibration.scores.tolist(),
        [str(group) for group in calibration.groups],
        {"method": calibration.method},
    )


def calibrations_of(folder: Any, records: list[Record]) -> dict[str, Any]:  # noqa: ANN401
    """The calibrations that the records of a run folder rest on, by profile digest."""
    digests = {record.profile_digest for record in records if record.profile_digest}
    found = {digest: folder.calibration(digest) for digest in sorted(digests)}
    return {digest: content for digest, content in found.items() if content is not None}
