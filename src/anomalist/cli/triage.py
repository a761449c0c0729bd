"""``anomalist learn-scene``, ``triage`` and ``feedback``: video clips and live streams.

Clips give a ranked table or JSON Lines; for streams (``--follow``) see `anomalist.cli.following`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anomalist.cli.terminal import (
    EXIT_FAIL_ON,
    EXIT_NOT_JUDGED,
    JsonOption,
    KeepMediaOption,
    ProfileOption,
    PublishOption,
    WorkersOption,
    say_if_busy,
)
from anomalist.errors import DataError

if TYPE_CHECKING:
    from anomalist.audit.recording import AuditTrail
    from anomalist.publishing.publishers import Publishers
    from anomalist.ranking import ClipRanking
    from anomalist.triage import Triage
    from anomalist.types.clip import ClipRecord
    from anomalist.vision.motion.scene import Scene


ZonesOption = Annotated[
    Path | None,
    typer.Option(help="JSON with zones to ignore, to watch, or that are forbidden; corners as shares."),
]

LEARN_A_SCENE = "Learn a scene first: anomalist learn-scene VIDEO… --profile NAME"


class FailOnClip(StrEnum):
    """Verdicts on clips that make ``triage`` exit with 1."""

    anomalous = "anomalous"
    undecided = "undecided"


def learn_scene(
    videos: Annotated[
        list[str], typer.Argument(metavar="VIDEO…", help="Normal footage of one camera: files, folders.")
    ],
    profile: ProfileOption,
    zones: ZonesOption = None,
    backbone: Annotated[
        str | None,
        typer.Option(help="A transformers vision backbone, or a plug-in, that describes what moves."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the choice of what is remembered.")] = 0,
    force: Annotated[bool, typer.Option(help="Replace a scene that is already there.")] = False,
) -> None:
    """Learn what one camera usually sees, from normal footage."""
    from anomalist.audit.recording import record_learning
    from anomalist.cli.terminal import err, progress_bars
    from anomalist.vision.motion.learning import learn_scene as learn
    from anomalist.vision.motion.scene import read_zones

    say_if_busy()

    drawn = read_zones(zones) if zones else ()
    with progress_bars() as progress:
        scene = learn(
            videos, profile, zones=drawn, backbone=backbone, seed=seed, force=force, progress=progress
        )
    for reason in scene.manifest.skipped:
        err.print(f"Skipped: {reason}", markup=False, soft_wrap=True)
    record_learning(scene)
    typer.echo(_scene_summary(scene), err=True)


def _scene_summary(scene: Scene) -> str:
    from anomalist.vision.motion.score_scale import DEFAULT_FALSE_EVENTS_PER_HOUR

    blocks = scene.blocks("offline")
    seconds = sum(footage.seconds for footage in scene.manifest.footage)
    text = (
        f"Learned the scene {scene.name} from {len(scene.manifest.footage)} videos, "
        f"{seconds / 60:.1f} minutes. They support no fewer than {blocks.supported:.3g} false events an hour."
    )
    if blocks.supported > DEFAULT_FALSE_EVENTS_PER_HOUR:
        hours = 1 / DEFAULT_FALSE_EVENTS_PER_HOUR
        text += (
            f" For {DEFAULT_FALSE_EVENTS_PER_HOUR:g} an hour learn from {hours:g} hour of footage or more."
        )
    for mode in scene.others:
        seconds = sum(footage.seconds for footage in mode.manifest.footage)
        text += f" {seconds / 60:.1f} minutes of {mode.manifest.kind} pictures are a mode of their own."
    return text


def triage(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="VIDEO|FOLDER|URL…",
            help="Clips, folders with clips, streams. With --follow also cameras: NAME=URL…, or a TOML file "
            "with a table for each.",
        ),
    ],
    profile: Annotated[
        str | None,
        typer.Option(
            help="The scene that was learned: a name, or a folder. Without one, stretches are ranked by each "
            "clip alone, uncalibrated."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for records, timeline report, pictures and short clips.")
    ] = None,
    zones: ZonesOption = None,
    false_events_per_hour: Annotated[
        float | None,
        typer.Option(help="That may be expected at most; 1, or what the footage supports, when not asked."),
    ] = None,
    causal: Annotated[
        bool, typer.Option("--causal", help="Use the past alone, as with a live stream.")
    ] = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="Streams: alerts as JSON Lines on stdout while they run.")
    ] = False,
    webhook: Annotated[
        str | None, typer.Option(help="With --follow: web address that every alert is posted to.")
    ] = None,
    publish: PublishOption = None,
    watch: Annotated[
        list[str] | None, typer.Option(help="What to look out for, in words. Repeat it for more.")
    ] = None,
    examples: Annotated[
        Path | None,
        typer.Option(help="Folder of pictures that name what moves: bicycle/*.png, forklift/*.png."),
    ] = None,
    object_detector: Annotated[
        str | None,
        typer.Option(help="A transformers object detector that names what moves: hf:NAME, or a folder."),
    ] = None,
    model: Annotated[
        str, typer.Option(help="Who looks at events, as in inspect: hf:…, openai:…, scripted:…, evidence.")
    ] = "auto",
    vlm_calls_per_minute: Annotated[
        float, typer.Option(help="Budget of calls to the model, per minute of footage.")
    ] = 2.0,
    policy: Annotated[
        Path | None, typer.Option(help="Severity policy (TOML) instead of the shipped one.")
    ] = None,
    keep_media: KeepMediaOption = None,
    workers: WorkersOption = 1,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="With --follow and cameras that have names: follow them on a Ray cluster, as in inspect.",
        ),
    ] = None,
    json: JsonOption = False,
    fail_on: Annotated[
        FailOnClip | None, typer.Option(help="Exit with 1 when a clip gets this verdict.")
    ] = None,
) -> None:
    """Find the stretches of video worth watching, put them in order, and say why."""
    from anomalist.audit.recording import open_trail
    from anomalist.cameras.listing import names_cameras
    from anomalist.cli.following import AlertOutput, announced, follow_sources, say_notes
    from anomalist.cli.terminal import warn
    from anomalist.composition import TriageSettings
    from anomalist.publishing.publishers import Publishers
    from anomalist.triage import Triage

    _check_following(follow, names_cameras(paths), workers, ray, webhook, fail_on)
    if follow and names_cameras(paths):
        if zones is not None:
            raise DataError("--zones are those of one camera.", "Learn each scene with its zones.")
    elif profile is None:
        named = examples is not None or object_detector is not None
        judged = policy is not None or model not in ("auto", "evidence")  # nobody judges what is ranked
        promised = zones is not None or false_events_per_hour is not None
        _check_ranking(bool(follow or causal or watch or named or judged or promised), fail_on)
        from anomalist.ranking import ClipRanking

        trail = open_trail(keep_media and keep_media.value)
        if trail is not None:
            trail.begin_ranking("triage")
        with Publishers(publish or (), warn) as published:
            records = _triage_all(ClipRanking(), paths, out, published, Manner(json, trail, workers))
        _exit_by(records, fail_on)
        return
    settings = TriageSettings(
        profile or "",
        false_events_per_hour=false_events_per_hour,
        mode="causal" if causal else "offline",
        zones=zones,
        policy=policy,
        model=model,
        watch=watch or (),
        calls_per_minute=vlm_calls_per_minute,
        examples=examples,
        object_detector=object_detector,
    )
    trail = open_trail(keep_media and keep_media.value)
    if follow:
        addresses = [*(publish or ()), *([webhook] if webhook is not None else ())]
        follow_sources(paths, profile, settings, AlertOutput(out, addresses, trail), ray)
        return
    run = Triage(announced(settings))
    say_notes(run)
    if trail is not None:
        trail.begin_triage(run, "triage")
    with Publishers(publish or (), warn, run.scene.name) as published:
        records = _triage_all(run, paths, out, published, Manner(json, trail, workers))
    _exit_by(records, fail_on)


def _check_following(
    follow: bool,
    named: bool,
    workers: int,
    ray: str | None,
    webhook: str | None,
    fail_on: FailOnClip | None,
) -> None:
    """Raise DataError for options that have no meaning with, or without, ``--follow``."""
    if follow and fail_on is not None:
        raise DataError(
            "--fail-on is for clips; a stream has no verdict.", "Act on its alerts: --webhook URL"
        )
    if follow and workers > 1:
        raise DataError("--workers is for clips; a stream has one.", "Start one process a camera, or --ray.")
    if ray is not None and not (follow and named):
        raise DataError(
            "--ray is for cameras that are followed.",
            "Name them: triage --follow cam1=rtsp://… cam2=rtsp://…",
        )
    if webhook is not None and not follow:
        raise DataError("--webhook goes with --follow.", "Add --follow, or leave it out.")


def _check_ranking(scene_asked: bool, fail_on: FailOnClip | None) -> None:
    """Raise DataError for options that have no meaning where clips are only ranked."""
    if scene_asked:
        raise DataError(
            "--follow, --causal, --watch, --examples, --object-detector, --model, --policy, --zones and "
            "--false-events-per-hour go with --profile.",
            LEARN_A_SCENE,
        )
    if fail_on is FailOnClip.anomalous:
        raise DataError(
            "Without --profile clips are ranked, none is called anomalous: --fail-on could never fail.",
            LEARN_A_SCENE,
        )


def _exit_by(records: Sequence[ClipRecord], fail_on: FailOnClip | None) -> None:
    if fail_on and any(record.label == fail_on.value for record in records):
        raise typer.Exit(EXIT_FAIL_ON)
    if any(record.error for record in records):
        raise typer.Exit(EXIT_NOT_JUDGED)


@dataclass(frozen=True)
class Manner:
    """How clips are triaged: whether each record is printed, the audit trail, and in how many processes."""

    echo: bool
    trail: AuditTrail | None
    workers: int


def _triage_all(
    run: Triage | ClipRanking,
    paths: Sequence[str],
    out: Path | None,
    published: Publishers,
    manner: Manner,
) -> list[ClipRecord]:
    from anomalist.cli.terminal import err, triage_table
    from anomalist.cli.terminal import out as stdout
    from anomalist.feedback import stored_rank_adjustments
    from anomalist.runs import finish_clip_run, is_cut_clip
    from anomalist.storage.run_folder import ClipRunFolder
    from anomalist.vision.media.sources import list_videos

    listing = list_videos(paths)
    if listing.skipped:
        err.print(f"Files left out, as their names are not those of videos: {listing.skipped}.")
    videos = [video for video in listing.videos if not is_cut_clip(video, out)]
    if not videos:
        raise DataError(f"No videos in {', '.join(paths)}.")
    records = list(published.each(_triage_each(run, videos, out, manner)))
    if out is not None:
        err.print(f"Report: {finish_clip_run(out)}", markup=False, soft_wrap=True)
    if not manner.echo:
        every = records if out is None else ClipRunFolder(out).records()
        stdout.print(triage_table(records, stored_rank_adjustments(every)))
    return records


def _triage_each(
    run: Triage | ClipRanking,
    videos: Sequence[str | Path],
    out: Path | None,
    manner: Manner,
) -> Iterator[ClipRecord]:
    """Triage each video, into a folder where one is named; what was done there is not done again."""
    from anomalist.cli.terminal import progress_bars
    from anomalist.runs import ClipRun

    with ClipRun(run, out, manner.trail) as clips, progress_bars() as progress:

        def seen(time: float, duration: float | None) -> None:
            total = max(int(duration or 0), 1)
            progress("seconds", min(int(time), total), total)

        made = (
            (clips.clip(path, seen) for path in videos)
            if manner.workers == 1
            else clips.clips(videos, manner.workers)
        )
        progress("clips", 0, len(videos))
        for number, record in enumerate(made, 1):
            progress("clips", number, len(videos))
            if manner.echo:
                print(record.model_dump_json(), flush=True)
            yield record


class FeedbackAction(StrEnum):
    """What a person can say about an event."""

    seen = "seen"
    dismissed = "dismissed"
    escalate = "escalate"


def feedback(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What `triage --out DIR` wrote.")],
    event: Annotated[str, typer.Argument(metavar="EVENT", help="E1 of the only clip, or CLIP.mp4:E1.")],
    verdict: Annotated[
        FeedbackAction | None,
        typer.Argument(help="dismissed lowers the rank of what is alike, escalate raises it."),
    ] = None,
    note: Annotated[str, typer.Option(help="Why, in words.")] = "",
    undo: Annotated[bool, typer.Option("--undo", help="Take back the last feedback on this event.")] = False,
) -> None:
    """Say of an event that it was seen, is not worth watching, or is urgent; what is alike moves with it."""
    from anomalist.audit.recording import record_feedback_case
    from anomalist.feedback import find_event, record_event_feedback, undo_event_feedback
    from anomalist.memory.cases import CaseStore
    from anomalist.runs import refresh_clip_report
    from anomalist.storage.run_folder import ClipRunFolder

    if (verdict is None) != undo:
        raise DataError("What about the event?", "Say seen, dismissed or escalate; or --undo.")
    record, found = find_event(ClipRunFolder(folder).records(), event)
    with CaseStore() as store:
        case = (
            undo_event_feedback(store, record, found)
            if verdict is None
            else record_event_feedback(store, record, found, verdict.value, note)
        )
    record_feedback_case(case, undone=undo)
    what = "taken back" if undo else f"stored as {case.id}"
    typer.echo(f"{case.action} on {found.id} of {record.source}: {what}.", err=True)
    typer.echo(f"Report: {refresh_clip_report(folder)}", err=True)
