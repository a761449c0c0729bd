"""``anomalist triage --follow``: one stream or several cameras, each alert a line of JSON on stdout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from anomalist.cli.terminal import EXIT_NOT_JUDGED, announce_model, warn

if TYPE_CHECKING:
    from anomalist.audit.recording import AuditTrail
    from anomalist.cameras.camera_set import CameraSet
    from anomalist.cameras.listing import Camera
    from anomalist.cameras.progress import CameraProgress
    from anomalist.cluster.cameras import ClusterCameras
    from anomalist.composition import TriageSettings
    from anomalist.runs import AlertRecorder
    from anomalist.streaming import LiveAlert
    from anomalist.triage import Triage
    from anomalist.vision.media.streams import RecentFrames


@dataclass(frozen=True, eq=False)
class AlertOutput:
    """Where alerts go beside stdout.

    Parameters
    ----------
    out : folder for ``alerts.jsonl`` and pictures.
    addresses : that every alert is published to.
    trail : the audit trail.
    """

    out: Path | None
    addresses: Sequence[str]
    trail: AuditTrail | None

    def begin(self, triages: Sequence[Triage]) -> dict[str, int | None]:
        """Say in the audit log with what is judged; returns the sessions, by digest of the scene."""
        sessions: dict[str, int | None] = {}
        for triage in triages:
            if self.trail is not None and triage.scene.digest not in sessions:
                self.trail.begin_triage(triage, "triage --follow")
                sessions[triage.scene.digest] = self.trail.session
        return sessions

    def recorder(self, opened: ExitStack) -> AlertRecorder | None:
        """What stores alerts in the folder, where one is named."""
        if self.out is None:
            return None
        from anomalist.runs import AlertRecorder

        return opened.enter_context(AlertRecorder(self.out))

    def write(self, alert: LiveAlert, recorder: AlertRecorder | None, recent: RecentFrames) -> LiveAlert:
        """Store an alert, then print it: what was printed is stored."""
        kept = alert if recorder is None else recorder.keep(alert, recent)
        if self.trail is not None:
            about = kept.source if kept.camera is None else kept.camera
            self.trail.write("alert", {"alert": kept.model_dump(mode="json"), "about": about})
        print(kept.model_dump_json(), flush=True)
        return kept


def announced(settings: TriageSettings) -> TriageSettings:
    """The settings with the model that is meant, which is said on stderr."""
    return replace(settings, model=announce_model(settings.model))


def say_notes(triage: Triage) -> None:
    """Say on stderr what nobody can tell."""
    for note in triage.annotator.notes:
        warn(note)


def follow_sources(
    words: Sequence[str],
    profile: str | None,
    settings: TriageSettings,
    output: AlertOutput,
    ray: str | None = None,
) -> None:
    """Follow one source, or the cameras that are named; these on a Ray cluster where one is named."""
    from anomalist.cameras.listing import names_cameras, read_cameras
    from anomalist.triage import Triage

    if names_cameras(words):
        follow_cameras(read_cameras(words, profile), announced(settings), output, ray)
        return
    run = Triage(announced(settings))
    say_notes(run)
    follow_stream(run, words[0], output)


def follow_stream(run: Triage, path: str, output: AlertOutput) -> None:
    """Follow one stream until it ends or the user stops.

    A model is asked beside that: its opinion on an event follows in a line of its own.
    """
    from anomalist.publishing.publishers import Publishers
    from anomalist.streaming import following
    from anomalist.vision.media.streams import RecentFrames
    from anomalist.vision.media.video import open_video
    from anomalist.vision.motion.pacing import ANALYSIS_RATE

    video = open_video(path)
    recent = RecentFrames(video.source)
    with ExitStack() as stack:
        if output.trail is not None:
            stack.enter_context(output.trail)
        output.begin([run])
        follower = stack.enter_context(following(run, video, recent))
        _promise(video.source, run)
        recorder = output.recorder(stack)
        published = stack.enter_context(Publishers(output.addresses, warn, run.scene.name))
        for alert in follower.follow(recent.record(video.frames(rate=ANALYSIS_RATE))):
            published.publish(output.write(alert, recorder, recent))
    for note in video.notes:
        warn(note)


def follow_cameras(
    cameras: Sequence[Camera], settings: TriageSettings, output: AlertOutput, ray: str | None = None
) -> None:
    """Follow several cameras until all have ended or the user stops.

    With a folder, what was told before a restart is not told again.
    """
    from anomalist.cameras.camera_set import open_triages
    from anomalist.cameras.progress import read_progress
    from anomalist.publishing.publishers import Publishers

    triages = open_triages(cameras, settings)
    say_notes(next(iter(triages.values())))
    for camera in cameras:
        _promise(camera.name, triages[camera.name])
    with ExitStack() as stack:
        if output.trail is not None:
            stack.enter_context(output.trail)
        sessions = output.begin(list(triages.values()))
        recorder = output.recorder(stack)
        before = {} if output.out is None else read_progress(output.out)
        published = stack.enter_context(Publishers(output.addresses, warn))
        followed = _followed(cameras, triages, before, ray)
        stack.enter_context(followed)
        for alert in followed.alerts():
            name = str(alert.camera)
            if output.trail is not None:
                output.trail.session = sessions[triages[name].scene.digest]
            published.publish(output.write(alert, recorder, followed.recent(name)))
        for name, note in followed.notes:
            warn(f"{name}: {note}")
        failed = [status for status in followed.statuses() if status.state == "ended" and status.why]
    for status in failed:
        warn(f"{status.name}: {status.why}")
    if failed:
        raise typer.Exit(EXIT_NOT_JUDGED)


def _followed(
    cameras: Sequence[Camera],
    triages: Mapping[str, Triage],
    before: Mapping[str, CameraProgress],
    ray: str | None,
) -> CameraSet | ClusterCameras:
    """What follows the cameras: threads of this process, or actors on a Ray cluster."""
    if ray is None:
        from anomalist.cameras.camera_set import CameraSet

        return CameraSet(cameras, triages, before=before)
    from anomalist.cluster.cameras import ClusterCameras
    from anomalist.cluster.connection import RayOptions

    return ClusterCameras(cameras, triages, RayOptions(ray), before=before)


def _promise(name: str, run: Triage) -> None:
    _, calibration = run.scene.blocks("causal").threshold(run.false_events_per_hour)
    promised = calibration.promised_per_hour
    warn(f"Following {name}: at most {promised:.3g} false events per hour expected.")
