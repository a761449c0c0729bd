"""``anomalist inspect`` and ``anomalist report``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anomalist.commands.options import FAIL_ON, NOT_JUDGED, JsonOption, RateOption
from anomalist.commands.waiting import wait_asleep
from anomalist.errors import DataError

if TYPE_CHECKING:
    from anomalist.agent.guidance import Guidance
    from anomalist.agent.looks import NormalCrop
    from anomalist.pipeline import Inspector
    from anomalist.types import Record
    from anomalist.vision.examiners import Examiner


_ONE_BASIS = (
    "Give one of --profile (what `anomalist learn` wrote), --reference (one good picture) "
    "and --unlabelled (the pictures themselves)."
)


class FailOn(StrEnum):
    """Verdicts that make ``inspect`` exit with 1."""

    anomalous = "anomalous"
    undecided = "undecided"


def inspect(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH…", help="Pictures and folders.")],
    profile: Annotated[
        str | None, typer.Option(help="What was learned: a name, or a folder (with a slash).")
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(help="Instead of a profile: one good picture of the same thing.")
    ] = None,
    unlabelled: Annotated[
        bool, typer.Option("--unlabelled", help="Instead of a profile: score pictures against each other.")
    ] = False,
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
    model: Annotated[
        str,
        typer.Option(
            help="Who reasons: builtin, hf:NAME_OR_FOLDER, openai:URL#MODEL, scripted:FILE, "
            "evidence (no model), or auto: the model of ANOMALIST_MODEL if it is there, else evidence."
        ),
    ] = "auto",
    product: Annotated[
        str | None, typer.Option(help="What the pictures show, in words for the model.")
    ] = None,
    product_knowledge: Annotated[
        Path | None, typer.Option(help="JSON in which --product is looked up, in MMAD's format.")
    ] = None,
    watch: Annotated[list[str] | None, typer.Option(help="What matters above all, in words.")] = None,
    ignore: Annotated[list[str] | None, typer.Option(help="What is no anomaly, in words.")] = None,
) -> None:
    """Inspect pictures: verdict, score, mask, severity and reasons.

    Without --profile, --reference or --unlabelled each picture is only compared with itself: scores rank the
    pictures, nothing is decided.
    """
    wait_asleep()
    from anomalist.agent.models import choose, reasoner_for
    from anomalist.agent.policy import load_policy
    from anomalist.picture_memory import PictureMemory
    from anomalist.pipeline import Inspector
    from anomalist.terminal import err, results
    from anomalist.terminal import out as stdout
    from anomalist.vision.media import list_images
    from anomalist.vision.profile import profile_path

    listing = list_images(paths)
    if listing.skipped:
        err.print(f"{listing.skipped} files that are not pictures by name were left out.")
    if not listing.images:
        raise DataError(f"No pictures in {', '.join(map(str, paths))}.")
    guidance = _guidance(product, product_knowledge, watch or (), ignore or ())
    basis = Basis(profile, reference, unlabelled, false_alarm_rate)
    examiner, normal_crop = _examiner(basis, listing.images)
    rules = load_policy(policy)
    choice = choose(model)
    err.print(choice.why, markup=False, highlight=False, soft_wrap=True)
    listener = _listener() if err.is_terminal and not json else None
    reasoner = reasoner_for(choice.spec, guidance=guidance, normal_crop=normal_crop, listener=listener)
    memory = PictureMemory(profile_path(profile).name) if profile is not None else None
    inspector = Inspector(examiner, policy=rules, reasoner=reasoner, memory=memory)
    records = _inspected(inspector, listing.images, out, echo=json)
    if not json:
        stdout.print(results(records))
    if fail_on and any(record.label == fail_on.value for record in records):
        raise typer.Exit(FAIL_ON)
    if any(record.error for record in records):
        raise typer.Exit(NOT_JUDGED)


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What inspect or triage wrote with --out.")],
    title: Annotated[str | None, typer.Option(help="Heading of the report.")] = None,
) -> None:
    """Write the reports of a run again, from its records alone."""
    from anomalist.audit.clip_log import CLIPS
    from anomalist.audit.log import RunFolder
    from anomalist.commands.triage import report_again
    from anomalist.report.files import write_reports

    if (folder / CLIPS).is_file():
        typer.echo(report_again(folder, title))
        return
    run = RunFolder(folder)
    records = run.records()
    typer.echo(write_reports(records, folder, run.calibrations(records), title=title))


@dataclass(frozen=True)
class Basis:
    """What the pictures are to be compared with, as asked for."""

    profile: str | None
    reference: Path | None
    unlabelled: bool
    rate: float | None


def _examiner(basis: Basis, images: Sequence[Path]) -> tuple[Examiner, NormalCrop]:
    """Choose what measures, and what is shown beside a region for comparison."""
    from anomalist.terminal import err, progress_bars
    from anomalist.vision.examine import checked_rate
    from anomalist.vision.examiners import ByProfile
    from anomalist.vision.normals import NearestNormal, no_counterpart
    from anomalist.vision.profile import load_profile

    given = [basis.profile is not None, basis.reference is not None, basis.unlabelled]
    if sum(given) > 1:
        raise DataError("What should the pictures be compared with?", _ONE_BASIS)
    if basis.profile is not None:
        learned = load_profile(basis.profile)
        return ByProfile(learned, checked_rate(learned, basis.rate)), NearestNormal(learned)
    if basis.rate is not None:
        raise DataError(
            "--false-alarm-rate has no meaning without --profile.", "Nothing is calibrated: leave it out."
        )
    if basis.reference is not None:
        from anomalist.vision.reference import AlignedCrop, load_reference

        against = load_reference(basis.reference)
        return against, AlignedCrop(against.reference)
    if basis.unlabelled:
        from anomalist.vision.mutual import Unlabelled

        with progress_bars() as progress:
            return Unlabelled(images, progress=progress), no_counterpart
    from anomalist.vision.zero_shot import ZeroShot

    err.print("No profile: each picture is compared with itself alone. Scores rank, they decide nothing.")
    return ZeroShot(), no_counterpart


def _guidance(
    product: str | None, knowledge: Path | None, watch: Sequence[str], ignore: Sequence[str]
) -> Guidance:
    from anomalist.agent.guidance import Guidance, product_knowledge

    if knowledge is not None and product is None:
        raise DataError("Which product of --product-knowledge?", "Name it with --product.")
    known = product_knowledge(knowledge, product) if knowledge is not None and product is not None else ()
    return Guidance(watch=tuple(watch), ignore=tuple(ignore), product=product, knowledge=known)


def _listener() -> Callable[[str], None]:
    """Show what a model writes, sentence by sentence, above the progress bar."""
    from anomalist.narration import Narration
    from anomalist.terminal import err

    return Narration(
        lambda sentence: err.print(f"  {sentence}", style="dim", markup=False, highlight=False)
    ).hear


def _inspected(
    inspector: Inspector, images: tuple[Path, ...], out: Path | None, *, echo: bool
) -> list[Record]:
    """Inspect, into a run folder where one is named; ``echo`` prints each record as it is done."""
    from anomalist.audit.log import RunFolder
    from anomalist.audit.run import inspect_into, unfinished
    from anomalist.report.files import write_reports
    from anomalist.terminal import err

    if out is None:
        return _shown((i.record for i in inspector.inspect_many(images)), len(images), echo=echo)
    with RunFolder.open(out) as folder:
        open_ones = unfinished(inspector, folder, images)
        if len(open_ones) < len(images):
            err.print(f"{len(images) - len(open_ones)} of {len(images)} pictures were done before.")
        records = _shown(inspect_into(inspector, folder, open_ones), len(open_ones), echo=echo)
        every = folder.records()
        report = write_reports(every, out, folder.calibrations(every))
    err.print(f"Report: {report}", markup=False, soft_wrap=True)
    return records


def _shown(stream: Iterable[Record], total: int, *, echo: bool) -> list[Record]:
    """Collect records as they are done, with progress on stderr."""
    from anomalist.report.summary import outcome
    from anomalist.terminal import err, progress_bars

    records = []
    with progress_bars() as progress:
        for done, record in enumerate(stream, 1):
            records.append(record)
            progress("inspecting", done, total)
            if echo:
                print(record.model_dump_json(), flush=True)
            elif record.model is not None and err.is_terminal:  # what was narrated was about this one
                err.print(f"{record.source}: {outcome(record)}", markup=False, highlight=False)
    return records
