"""``anomalist learn-scene``, ``anomalist triage`` and ``anomalist feedback``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anomalist.commands.following import follow_stream
from anomalist.commands.options import FAIL_ON, NOT_JUDGED, JsonOption, ProfileOption
from anomalist.errors import AnomalistError, DataError

if TYPE_CHECKING:
    from anomalist.agent.annotating import Annotator
    from anomalist.audit.clip_log import ClipFolder
    from anomalist.clips import ClipRecord
    from anomalist.memory.captioned import CaptionMemory
    from anomalist.triage import Triage
    from anomalist.vision.motion.learning import Progress
    from anomalist.vision.motion.scene import Scene

ZonesOption = Annotated[
    Path | None,
    typer.Option(help="JSON with zones to ignore, to watch, or that are forbidden; corners as shares."),
]


class FailOnEvent(StrEnum):
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
        str | None, typer.Option(help="A transformers vision backbone that describes what moves.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the choice of what is remembered.")] = 0,
    force: Annotated[bool, typer.Option(help="Replace a scene that is already there.")] = False,
) -> None:
    """Learn what one camera usually sees, from normal footage."""
    from anomalist.terminal import err, progress_bars
    from anomalist.vision.motion.learning import learn_scene as learn
    from anomalist.vision.motion.zones import read_zones
    from anomalist.vision.video.listing import list_videos
    from anomalist.vision.video.opening import open_video

    opened = []
    for path in list_videos(videos).videos:
        try:
            opened.append(open_video(path))
        except AnomalistError as error:
            err.print(f"Skipped: {error}", markup=False, soft_wrap=True)
    drawn = read_zones(zones) if zones else ()
    with progress_bars() as progress:
        scene = learn(
            opened, profile, zones=drawn, backbone=backbone, seed=seed, force=force, progress=progress
        )
    for reason in scene.manifest.skipped:
        err.print(f"Skipped: {reason}", markup=False, soft_wrap=True)
    typer.echo(_learned(scene), err=True)


def _learned(scene: Scene) -> str:
    from anomalist.vision.motion.blocks import DEFAULT_PER_HOUR

    blocks = scene.blocks("offline")
    seconds = sum(footage.seconds for footage in scene.manifest.footage)
    text = (
        f"Learned the scene {scene.name} from {len(scene.manifest.footage)} videos, "
        f"{seconds / 60:.1f} minutes. They support no fewer than {blocks.supported:.3g} false events an hour."
    )
    if blocks.supported > DEFAULT_PER_HOUR:
        text += (
            f" For {DEFAULT_PER_HOUR:g} an hour learn from {1 / DEFAULT_PER_HOUR:g} hour of footage or more."
        )
    return text


def triage(
    paths: Annotated[
        list[str], typer.Argument(metavar="VIDEO|FOLDER|URL…", help="Clips, folders with clips, streams.")
    ],
    profile: Annotated[str, typer.Option(help="The scene that was learned: a name, or a folder.")],
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
        bool, typer.Option("--follow", help="A stream: alerts as JSON Lines on stdout while it runs.")
    ] = False,
    webhook: Annotated[
        str | None, typer.Option(help="With --follow: web address that every alert is posted to.")
    ] = None,
    watch: Annotated[
        list[str] | None, typer.Option(help="What to look out for, in words. Repeat it for more.")
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
    json: JsonOption = False,
    fail_on: Annotated[
        FailOnEvent | None, typer.Option(help="Exit with 1 when a clip gets this verdict.")
    ] = None,
) -> None:
    """Find the stretches of video worth watching, put them in order, and say why."""
    from anomalist.agent.policy import load_policy
    from anomalist.memory.captioned import CaptionMemory
    from anomalist.memory.rules.of_profile import rules_for
    from anomalist.memory.scenes.camera import memory_digest, memory_of
    from anomalist.triage import Triage
    from anomalist.vision.motion.scene import load_scene
    from anomalist.vision.motion.zones import read_zones

    scene = load_scene(profile)
    drawn = read_zones(zones) if zones else None
    if webhook is not None and not follow:
        raise DataError("--webhook goes with --follow.", "Add --follow, or leave it out.")
    memory = CaptionMemory(rules_for(scene.name), lambda: memory_of(scene.name))
    annotate = _annotator(watch or (), model, memory, vlm_calls_per_minute)
    run = Triage(
        scene,
        false_events_per_hour=false_events_per_hour,
        mode="causal" if causal else "offline",
        zones=drawn,
        policy=load_policy(policy),
        annotate=annotate,
        annotated_by=repr((watch, model, vlm_calls_per_minute, memory.digest, memory_digest(scene.name))),
    )
    if follow:
        follow_stream(run, paths, webhook, out)
        return
    records = _triaged(run, paths, out, echo=json)
    if fail_on and any(record.label == fail_on.value for record in records):
        raise typer.Exit(FAIL_ON)
    if any(record.error for record in records):
        raise typer.Exit(NOT_JUDGED)


def _annotator(watch: Sequence[str], model: str, memory: CaptionMemory, budget: float) -> Annotator:
    from anomalist.agent.annotating import annotator_for
    from anomalist.agent.models import choose
    from anomalist.terminal import err

    choice = choose(model)
    err.print(choice.why, markup=False, highlight=False, soft_wrap=True)
    annotator = annotator_for(choice.spec, watch, memory=memory, calls_per_minute=budget)
    for note in annotator.notes:
        err.print(note, markup=False, highlight=False, soft_wrap=True)
    return annotator


def _triaged(run: Triage, paths: Sequence[str], out: Path | None, *, echo: bool) -> list[ClipRecord]:
    from anomalist.event_feedback import stored_adjustments
    from anomalist.report.alerts import alerts_of
    from anomalist.report.triage_files import write_triage
    from anomalist.report.triage_table import triage_table
    from anomalist.terminal import err
    from anomalist.terminal import out as stdout
    from anomalist.vision.video.listing import list_videos

    listing = list_videos(paths)
    if listing.skipped:
        err.print(f"{listing.skipped} files that are not videos by name were left out.")
    videos = [video for video in listing.videos if not _written_by_a_run(video, out)]
    if not videos:
        raise DataError(f"No videos in {', '.join(paths)}.")
    records = list(_one_by_one(run, videos, out, echo=echo))
    moved = stored_adjustments(records)
    if out is not None:
        report = write_triage(records, out, adjustments=moved)
        err.print(f"Report: {report}", markup=False, soft_wrap=True)
    if not echo:
        stdout.print(triage_table(alerts_of(records, moved), records))
    return records


def _written_by_a_run(video: str | Path, out: Path | None) -> bool:
    """Whether a video is one of the short clips that an earlier run cut out into ``out``."""
    return out is not None and isinstance(video, Path) and video.resolve().parent == (out / "clips").resolve()


def _one_by_one(
    run: Triage, videos: Sequence[str | Path], out: Path | None, *, echo: bool
) -> Iterator[ClipRecord]:
    """Triage each video, into a folder where one is named; what was done there is not done again."""
    from anomalist.audit.clip_log import ClipFolder
    from anomalist.terminal import progress_bars

    with ClipFolder(out) if out is not None else nullcontext() as folder, progress_bars() as progress:
        for number, path in enumerate(videos):
            progress("clips", number, len(videos))
            record = _one(run, path, folder, progress)
            if echo:
                print(record.model_dump_json(), flush=True)
            yield record


def _one(run: Triage, path: str | Path, folder: ClipFolder | None, progress: Progress) -> ClipRecord:
    from anomalist.vision.video.opening import open_video

    try:
        video = open_video(path)
    except AnomalistError as error:
        record = run.failed(str(path), error)
    else:
        done = folder.done(video.source, run.key(video)) if folder is not None else None
        if done is not None:
            return done
        total = max(int(video.duration or 0), 1)
        record = run.clip(video, lambda time: progress("seconds", min(int(time), total), total))
    if folder is not None:
        folder.append(record)
    return record


class Verdict(StrEnum):
    """What a person can say about an event."""

    seen = "seen"
    dismissed = "dismissed"
    escalate = "escalate"


def feedback(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What `triage --out DIR` wrote.")],
    event: Annotated[str, typer.Argument(metavar="EVENT", help="E1 of the only clip, or CLIP.mp4:E1.")],
    verdict: Annotated[
        Verdict | None, typer.Argument(help="dismissed lowers the rank of what is alike, escalate raises it.")
    ] = None,
    note: Annotated[str, typer.Option(help="Why, in words.")] = "",
    undo: Annotated[bool, typer.Option("--undo", help="Take back the last feedback on this event.")] = False,
) -> None:
    """Say of an event that it was seen, is not worth watching, or is urgent; what is alike moves with it."""
    from anomalist.audit.clip_log import read_clips
    from anomalist.event_feedback import find_event, remember, take_back
    from anomalist.memory.cases import CaseStore

    if (verdict is None) != undo:
        raise DataError("What about the event?", "Say seen, dismissed or escalate; or --undo.")
    record, found = find_event(read_clips(folder), event)
    with CaseStore() as store:
        case = (
            take_back(store, record, found)
            if verdict is None
            else remember(store, record, found, verdict.value, note)
        )
    what = "taken back" if undo else f"stored as {case.id}"
    typer.echo(f"{case.action} on {found.id} of {record.source}: {what}.", err=True)
    typer.echo(f"Report: {report_again(folder)}", err=True)


def report_again(folder: Path, title: str | None = None) -> Path:
    """Write the reports of a triage again, with the ranks that feedback gives today; returns the page."""
    from anomalist.audit.clip_log import read_clips
    from anomalist.event_feedback import stored_adjustments
    from anomalist.report.triage_files import render_triage

    records = read_clips(folder)
    return render_triage(records, folder, adjustments=stored_adjustments(records), title=title)
