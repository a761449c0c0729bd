"""``anomalist triage --follow``: alerts of a stream as JSON Lines while it runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from anomalist.errors import DataError

if TYPE_CHECKING:
    from anomalist.clips import Event
    from anomalist.follow import Alert
    from anomalist.triage import Triage
    from anomalist.vision.video.recent import RecentFrames


def follow_stream(run: Triage, paths: Sequence[str], webhook: str | None, out: Path | None) -> None:
    """Follow one stream until it ends or the user stops: each alert is a line on stdout.

    With ``out`` the lines go to ``alerts.jsonl`` there too, and each event's picture to ``frames/``.
    """
    from anomalist.follow import Follower
    from anomalist.terminal import err
    from anomalist.vision.motion.learning import RATE
    from anomalist.vision.video.opening import open_video
    from anomalist.vision.video.recent import RecentFrames
    from anomalist.webhook import Webhook

    if len(paths) != 1:
        raise DataError("--follow takes one stream.", "Start one process a camera.")
    video = open_video(paths[0])
    recent = RecentFrames(video.source)
    follower = Follower(
        run.scene,
        video.source,
        video.size,
        false_events_per_hour=run.false_events_per_hour,
        zones=run.zones,
        policy=run.policy,
        annotate=lambda event: run.annotate(recent, (event,))[0],
    )
    promised = follower.calibration
    err.print(
        f"Following {video.source}: at most {promised.promised_per_hour:.3g} false events per hour expected.",
        markup=False,
        soft_wrap=True,
    )

    def complain(text: str) -> None:
        err.print(text, markup=False, soft_wrap=True)

    keep = _keeper(out, recent) if out is not None else None
    with Webhook(webhook, complain) if webhook is not None else nullcontext() as hook:
        for alert in follower.follow(recent.passing(video.frames(rate=RATE))):
            shown = keep(alert) if keep is not None else alert
            line = shown.model_dump_json()
            print(line, flush=True)
            if hook is not None:
                hook.send(line)
    for note in video.notes:
        complain(note)


def _keeper(out: Path, recent: RecentFrames) -> Callable[[Alert], Alert]:
    """What stores an alert in a folder, with the picture of its event when that opens."""
    from anomalist.audit.rows import append_row, open_rows

    file = open_rows(out, "alerts.jsonl")

    def keep(alert: Alert) -> Alert:
        if alert.state == "opened" and alert.event is not None:
            picture = _picture(out, recent, alert.event)
            alert = alert.model_copy(update={"event": alert.event.model_copy(update={"key_frame": picture})})
        append_row(file, alert.model_dump_json().encode(), out)
        return alert

    return keep


def _picture(out: Path, recent: RecentFrames, event: Event) -> str:
    from anomalist.report.stills import still

    name = f"frames/{event.id}-{event.start:.0f}s.jpg"
    (out / "frames").mkdir(exist_ok=True)
    (out / name).write_bytes(still(recent, event).frame)
    return name
