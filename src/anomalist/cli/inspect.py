"""``anomalist inspect`` and ``anomalist report``: inspect pictures, and write reports of a run again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anomalist.cli.terminal import (
    EXIT_FAIL_ON,
    EXIT_NOT_JUDGED,
    DeviceOption,
    JsonOption,
    KeepMediaOption,
    PublishOption,
    RateOption,
    RayOption,
    WorkersOption,
    use_device,
)
from anomalist.errors import DataError

if TYPE_CHECKING:
    from anomalist.agent.reasoning.vlm_prompts import Guidance
    from anomalist.audit.recording import AuditTrail
    from anomalist.cluster.batch import ClusterRun
    from anomalist.composition import InspectionSettings
    from anomalist.pipeline import Inspector
    from anomalist.publishing.publishers import Publishers
    from anomalist.report.exports import Exporter
    from anomalist.types.image import Record


ExportOption = Annotated[
    list[str] | None, typer.Option(help="Another format as well: an exporter's name, or module:function.")
]


class FailOn(StrEnum):
    """Verdicts that make ``inspect`` exit with 1."""

    anomalous = "anomalous"
    undecided = "undecided"


def inspect(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH…", help="Pictures and folders; with --ray also patterns, Parquet lists, addresses."
        ),
    ],
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
            help="Who reasons: hf:NAME_OR_FOLDER, openai:URL#MODEL, scripted:FILE, a plug-in, "
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
    export: ExportOption = None,
    publish: PublishOption = None,
    keep_media: KeepMediaOption = None,
    device: DeviceOption = None,
    workers: WorkersOption = 1,
    ray: RayOption = None,
    ray_gpus: Annotated[
        float, typer.Option(min=0, help="With --ray: GPUs that each actor takes, 0.25 for four on one.")
    ] = 0.0,
) -> None:
    """Inspect pictures: verdict, score, mask, severity and reasons.

    Without --profile, --reference or --unlabelled each picture is only compared with itself: scores rank the
    pictures, nothing is decided.
    """
    from anomalist.audit.recording import open_trail
    from anomalist.cli.terminal import warn
    from anomalist.composition import InspectionSettings
    from anomalist.publishing.publishers import Publishers
    from anomalist.report.exports import load_exporters

    if export and out is None:
        raise DataError("Where should --export write?", "Name a folder with --out.")
    if fail_on is FailOn.anomalous and profile is None and reference is None:
        # Nor does a model or a plug-in: an undecided measurement stays undecided, whatever they say.
        raise DataError(
            "Without --profile or --reference no picture is called anomalous: --fail-on could never fail.",
            "Learn a profile first: anomalist learn NORMAL_DIR --profile NAME",
        )
    use_device(device)
    exporters = load_exporters(export or ())
    if ray is None:
        images, sources = _list_pictures(paths), None
    elif out is None or unlabelled:
        raise DataError(
            "--ray needs --out, and --unlabelled has no meaning with it.",
            "Name a folder that all nodes share, and what pictures are compared with.",
        )
    else:
        images, sources = (), _list_for_cluster(paths)
    settings = InspectionSettings(
        by=profile,
        reference=reference,
        unlabelled=images if unlabelled else (),
        false_alarm_rate=false_alarm_rate,
        policy=policy,
        model=model,
        guidance=_load_guidance(product, product_knowledge, watch or (), ignore or ()),
        workers=workers if ray is None else 1,
    )
    inspector = _open_inspector(settings, quiet=json)
    trail = open_trail(keep_media and keep_media.value)
    if trail is not None:
        trail.begin_inspection(inspector, "inspect")
    with Publishers(publish or (), warn) as published:
        if ray is None or out is None or sources is None:
            records = _inspect_all(inspector, images, out, exporters, published, echo=json, trail=trail)
        else:
            from anomalist.cluster.batch import ClusterRun
            from anomalist.cluster.connection import RayOptions

            asked = RayOptions(ray, workers if workers > 1 else None, ray_gpus)
            cluster = ClusterRun(settings, inspector, sources, asked)
            records = _inspect_on_ray(cluster, out, exporters, published, echo=json, trail=trail)
    _finish(records, table=not json, fail_on=fail_on)


def _list_pictures(paths: Sequence[str]) -> tuple[Path, ...]:
    from anomalist.cli.terminal import err
    from anomalist.vision.media.images import list_images

    listing = list_images([Path(path) for path in paths])
    if listing.skipped:
        err.print(f"Files left out, as their names are not those of pictures: {listing.skipped}.")
    if not listing.images:
        raise DataError(f"No pictures in {', '.join(paths)}.")
    return listing.images


def _list_for_cluster(paths: Sequence[str]) -> list[str]:
    from anomalist.cluster.sources import list_sources

    return list_sources(paths)


def _open_inspector(settings: InspectionSettings, *, quiet: bool) -> Inspector:
    """Say who reasons, and open the inspector; what a model writes is shown unless ``quiet``."""
    from dataclasses import replace

    from anomalist.cli.terminal import announce_model, err, progress_bars
    from anomalist.pipeline import Inspector

    if settings.by is None and settings.reference is None and not settings.unlabelled:
        err.print("No profile: each picture is compared with itself alone. Scores rank, they decide nothing.")
    listener = _sentence_printer() if err.is_terminal and not quiet else None
    model = announce_model(settings.model)
    with progress_bars() as progress:
        return Inspector(replace(settings, model=model, listener=listener, progress=progress))


def _finish(records: Sequence[Record], *, table: bool, fail_on: FailOn | None) -> None:
    """Print the table, and exit with the code that scripts go by."""
    from anomalist.cli.terminal import out, results_table

    if table:
        out.print(results_table(records))
    if fail_on and any(record.label == fail_on.value for record in records):
        raise typer.Exit(EXIT_FAIL_ON)
    if any(record.error for record in records):
        raise typer.Exit(EXIT_NOT_JUDGED)


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What inspect or triage wrote with --out.")],
    title: Annotated[str | None, typer.Option(help="Heading of the report.")] = None,
    export: ExportOption = None,
) -> None:
    """Write the reports of a run again, from its records alone."""
    from anomalist.report.exports import load_exporters, run_exporters
    from anomalist.runs import refresh_clip_report, refresh_picture_report
    from anomalist.storage.run_folder import CLIPS, ClipRunFolder

    exporters = load_exporters(export or ())
    if (folder / CLIPS).is_file():
        written = refresh_clip_report(folder, title)
        run_exporters(exporters, ClipRunFolder(folder).records(), folder)
    else:
        written = refresh_picture_report(folder, exporters, title)
    typer.echo(written)


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
    inspector: Inspector,
    images: tuple[Path, ...],
    out: Path | None,
    exporters: Sequence[Exporter],
    published: Publishers,
    *,
    echo: bool,
    trail: AuditTrail | None,
) -> list[Record]:
    """Inspect, into a run folder where one is named; ``echo`` prints each record as it is done.

    The records are those of all pictures, also where they were done before.
    """
    from anomalist.audit.recording import RunTrail
    from anomalist.cli.terminal import err
    from anomalist.runs import ImageRun
    from anomalist.vision.media.images import source_of

    if out is None:
        with RunTrail(trail, None) as kept:
            found = kept.keep(inspection.record for inspection in inspector.inspect_many(images))
            return _collect_records(published.each(found), len(images), echo=echo)
    with ImageRun(out, trail) as run:
        open_ones = run.pending(inspector, images)
        if len(open_ones) < len(images):
            err.print(f"{len(images) - len(open_ones)} of {len(images)} pictures were done before.")
        found = published.each(run.inspect(inspector, open_ones))
        _collect_records(found, len(open_ones), echo=echo)
        records = run.folder.records_of(map(source_of, images))
        report = run.write_report(exporters)
    err.print(f"Report: {report}", markup=False, soft_wrap=True)
    return records


def _inspect_on_ray(
    cluster: ClusterRun,
    out: Path,
    exporters: Sequence[Exporter],
    published: Publishers,
    *,
    echo: bool,
    trail: AuditTrail | None,
) -> list[Record]:
    """Inspect on a cluster; the records come at the end, in order, also those that were made before."""
    from anomalist.cli.terminal import err, progress_bars
    from anomalist.cluster.sources import named
    from anomalist.runs import ImageRun

    with ImageRun(out, trail) as run:
        with progress_bars() as progress:
            for record in published.each(cluster.records(run, progress)):
                if echo:
                    print(record.model_dump_json(), flush=True)
        records = run.folder.records_of(map(named, cluster.sources))
        report = run.write_report(exporters)
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
