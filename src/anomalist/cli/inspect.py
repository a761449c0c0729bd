"""``anomalist inspect`` and ``anomalist report``: inspect pictures, and write reports of a run again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anomalist.cli.terminal import (
    EXIT_FAIL_ON,
    EXIT_NOT_JUDGED,
    JsonOption,
    RateOption,
    use_passive_wait_policy,
)
from anomalist.errors import DataError

if TYPE_CHECKING:
    from anomalist.agent.reasoning.vlm_prompts import Guidance
    from anomalist.agent.reasoning.vlm_views import NormalCrop
    from anomalist.pipeline import Inspector
    from anomalist.types.image import Record
    from anomalist.vision.evidence import EvidenceSource


_BASIS_REMEDY = (
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
    use_passive_wait_policy()
    from anomalist.agent.models.selection import reasoner_for, select_model
    from anomalist.agent.reasoning.policy import load_policy
    from anomalist.agent.reasoning.recall import PictureMemory
    from anomalist.cli.terminal import err, results_table
    from anomalist.cli.terminal import out as stdout
    from anomalist.pipeline import Inspector
    from anomalist.vision.media.images import list_images
    from anomalist.vision.profile import profile_path

    listing = list_images(paths)
    if listing.skipped:
        err.print(f"{listing.skipped} files that are not pictures by name were left out.")
    if not listing.images:
        raise DataError(f"No pictures in {', '.join(map(str, paths))}.")
    guidance = _load_guidance(product, product_knowledge, watch or (), ignore or ())
    basis = InspectionBasis(profile, reference, unlabelled, false_alarm_rate)
    evidence_source, normal_crop = _open_evidence_source(basis, listing.images)
    rules = load_policy(policy)
    choice = select_model(model)
    err.print(choice.why, markup=False, highlight=False, soft_wrap=True)
    listener = _sentence_printer() if err.is_terminal and not json else None
    reasoner = reasoner_for(choice.spec, guidance=guidance, normal_crop=normal_crop, listener=listener)
    memory = PictureMemory(profile_path(profile).name) if profile is not None else None
    inspector = Inspector(evidence_source, policy=rules, reasoner=reasoner, memory=memory)
    records = _inspect_all(inspector, listing.images, out, echo=json)
    if not json:
        stdout.print(results_table(records))
    if fail_on and any(record.label == fail_on.value for record in records):
        raise typer.Exit(EXIT_FAIL_ON)
    if any(record.error for record in records):
        raise typer.Exit(EXIT_NOT_JUDGED)


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What inspect or triage wrote with --out.")],
    title: Annotated[str | None, typer.Option(help="Heading of the report.")] = None,
) -> None:
    """Write the reports of a run again, from its records alone."""
    from anomalist.cli.triage import refresh_report
    from anomalist.report.builder import write_reports
    from anomalist.storage.run_folder import CLIPS, RunFolder

    if (folder / CLIPS).is_file():
        typer.echo(refresh_report(folder, title))
        return
    run = RunFolder(folder)
    records = run.records()
    typer.echo(write_reports(records, folder, run.calibrations(records), title=title))


@dataclass(frozen=True)
class InspectionBasis:
    """What the pictures are to be compared with, as asked for."""

    profile: str | None
    reference: Path | None
    unlabelled: bool
    rate: float | None


def _open_evidence_source(
    basis: InspectionBasis, images: Sequence[Path]
) -> tuple[EvidenceSource, NormalCrop]:
    """Choose the evidence source, and what gives the normal crop shown beside a region."""
    from anomalist.cli.terminal import err, progress_bars
    from anomalist.vision.evidence import NearestNormalCrop, ProfileEvidence, no_normal_crop, validated_rate
    from anomalist.vision.profile import load_profile

    given = [basis.profile is not None, basis.reference is not None, basis.unlabelled]
    if sum(given) > 1:
        raise DataError("What should the pictures be compared with?", _BASIS_REMEDY)
    if basis.profile is not None:
        learned = load_profile(basis.profile)
        return ProfileEvidence(learned, validated_rate(learned, basis.rate)), NearestNormalCrop(learned)
    if basis.rate is not None:
        raise DataError(
            "--false-alarm-rate has no meaning without --profile.", "Nothing is calibrated: leave it out."
        )
    if basis.reference is not None:
        from anomalist.vision.detectors.reference import AlignedCrop, load_reference

        against = load_reference(basis.reference)
        return against, AlignedCrop(against.reference)
    if basis.unlabelled:
        from anomalist.vision.detectors.unsupervised import MutualEvidence

        with progress_bars() as progress:
            return MutualEvidence(images, progress=progress), no_normal_crop
    from anomalist.vision.detectors.unsupervised import ZeroShotEvidence

    err.print("No profile: each picture is compared with itself alone. Scores rank, they decide nothing.")
    return ZeroShotEvidence(), no_normal_crop


def _load_guidance(
    product: str | None, knowledge: Path | None, watch: Sequence[str], ignore: Sequence[str]
) -> Guidance:
    from anomalist.agent.reasoning.vlm_prompts import Guidance, product_knowledge

    if knowledge is not None and product is None:
        raise DataError("Which product of --product-knowledge?", "Name it with --product.")
    known = product_knowledge(knowledge, product) if knowledge is not None and product is not None else ()
    return Guidance(watch=tuple(watch), ignore=tuple(ignore), product=product, knowledge=known)


def _sentence_printer() -> Callable[[str], None]:
    """Show what a model writes, sentence by sentence, above the progress bar."""
    from anomalist.agent.models.structured import SentenceStream
    from anomalist.cli.terminal import err

    return SentenceStream(
        lambda sentence: err.print(f"  {sentence}", style="dim", markup=False, highlight=False)
    ).feed


def _inspect_all(
    inspector: Inspector, images: tuple[Path, ...], out: Path | None, *, echo: bool
) -> list[Record]:
    """Inspect, into a run folder where one is named; ``echo`` prints each record as it is done."""
    from anomalist.cli.terminal import err
    from anomalist.records import inspect_to_folder, pending_paths
    from anomalist.report.builder import write_reports
    from anomalist.storage.run_folder import RunFolder

    if out is None:
        return _collect_records((i.record for i in inspector.inspect_many(images)), len(images), echo=echo)
    with RunFolder.open(out) as folder:
        open_ones = pending_paths(inspector, folder, images)
        if len(open_ones) < len(images):
            err.print(f"{len(images) - len(open_ones)} of {len(images)} pictures were done before.")
        records = _collect_records(inspect_to_folder(inspector, folder, open_ones), len(open_ones), echo=echo)
        every = folder.records()
        report = write_reports(every, out, folder.calibrations(every))
    err.print(f"Report: {report}", markup=False, soft_wrap=True)
    return records


def _collect_records(stream: Iterable[Record], total: int, *, echo: bool) -> list[Record]:
    """Collect records as they are done, with progress on stderr."""
    from anomalist.cli.terminal import err, progress_bars
    from anomalist.report.wording import outcome

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
