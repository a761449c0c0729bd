"""``anomalist triage --follow``: alerts of a stream as JSON Lines while it runs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Self

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

    keeper = Keeper(out, recent) if out is not None else nullcontext()
    hooked = Webhook(webhook, complain) if webhook is not None else nullcontext()
    with keeper as keep, hooked as hook:
        for alert in follower.follow(recent.passing(video.frames(rate=RATE))):
            shown = keep.keep(alert) if keep is not None else alert
            line = shown.model_dump_json()
            print(line, flush=True)
            if hook is not None:
                hook.send(line)
    for note in video.notes:
        complain(note)


class Keeper:
    """Stores alerts in a folder, with the picture of each event when it opens."""

    def __init__(self, out: Path, recent: RecentFrames) -> None:
        from anomalist.audit.rows import open_rows

        self._out = out
        self._recent = recent
        self._file = open_rows(out, "alerts.jsonl")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def keep(self, alert: Alert) -> Alert:
        """Store an alert; returns it with the path of its picture, relative to the folder."""
        from anomalist.audit.rows import append_row

        if alert.state == "opened" and alert.event is not None:
            event = alert.event.model_copy(update={"key_frame": self._picture(alert.event)})
            alert = alert.model_copy(update={"event": event})
        append_row(self._file, alert.model_dump_json().encode(), self._out)
        return alert

    def _picture(self, event: Event) -> str:
        from anomalist.report.stills import still

        name = f"frames/{event.id}-{event.start:.0f}s.jpg"
        (self._out / "frames").mkdir(exist_ok=True)
        (self._out / name).write_bytes(still(self._recent, event).frame)
        return name
