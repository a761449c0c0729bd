"""What one live camera showed: its alerts, with key frames and short clips, in a run folder of clips.

A session of a camera is one run with one record, whose events are what was seen so far: the pages and routes
for triaged clips show, rank and take feedback on it as on any other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

from anomalist.agent.reasoning.policy import decide_clip_label
from anomalist.errors import AnomalistError
from anomalist.report.builder import clip_range
from anomalist.report.figures import render_event_images
from anomalist.storage.files import utc_now, write_atomically
from anomalist.storage.run_folder import ClipRunFolder
from anomalist.streaming import LiveAlert
from anomalist.triage import Triage
from anomalist.types.clip import (
    ClipEvidenceSummary,
    ClipMediaSummary,
    ClipRecord,
    ClipVerdict,
    Event,
    OtherPicture,
    Trouble,
)
from anomalist.vision.media.streams import RecentFrames
from anomalist.vision.media.video import cut_clip
from anomalist.vision.motion.pacing import ANALYSIS_RATE

MAX_EVENTS = 500
"""Events of one run; with more another one begins."""


class CameraRun:
    """The run folder of one session of a camera; a context manager, used by one thread.

    Parameters
    ----------
    path : the run folder; made where there is none.
    source : the camera, as alerts show it.
    triage : of its scene.
    """

    def __init__(self, path: Path, source: str, triage: Triage) -> None:
        self.path = path
        self._source = source
        self._triage = triage
        self._threshold, _ = triage.scene.blocks("causal").threshold(triage.false_events_per_hour)
        self._events: dict[str, Event] = {}
        self._troubles: list[Trouble] = []
        self._pictures: list[OtherPicture] = []
        self._in_trouble = self._other_picture = False
        self._folder = ClipRunFolder.open(path)
        self._began = utc_now()

    def __enter__(self) -> CameraRun:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.close()

    @property
    def events(self) -> int:
        """How many there are so far."""
        return len(self._events)

    def keep(self, alert: LiveAlert, recent: RecentFrames) -> None:
        """Store what an alert says of its event, with its pictures; raises DataError where it can't be.

        ``recent`` holds the last seconds of the camera.
        """
        self._note(alert)
        if (event := alert.event) is not None:
            known = self._events.get(event.id)
            shown = {"key_frame": known.key_frame, "clip": known.clip} if known else {}
            event = event.replace(**shown)
            if event.key_frame is None or alert.state == "closed":
                event = self._pictured(event, recent, whole=alert.state == "closed")
            self._events[event.id] = event
        height, width = recent.size
        events = tuple(sorted(self._events.values(), key=lambda each: each.start))
        spans = [(each.start, each.end) for each in self._troubles]
        spans += [(each.start, each.end) for each in self._pictures]
        judged = 1 - _seconds_in(spans) / max(alert.stream_time, 0.001)
        frames = round(alert.stream_time * ANALYSIS_RATE)
        label, why = decide_clip_label(events, self._troubles, frames, judged, self._pictures)
        record = ClipRecord(
            media=ClipMediaSummary(
                source=self._source, width=width, height=height, duration=max(alert.stream_time, 0.001)
            ),
            evidence=ClipEvidenceSummary(
                events=events,
                troubles=tuple(self._troubles),
                other_pictures=tuple(self._pictures),
                mode="causal",
                threshold=self._threshold,
            ),
            verdict=ClipVerdict(label=label, why_undecided=why),
            status="ok",
            key=self.path.name,
            scene=self._triage.scene.name,
            scene_digest=self._triage.scene.digest,
            time=self._began,
        )
        self._folder.replace([record])

    def _note(self, alert: LiveAlert) -> None:
        """Note since when, and how long, the camera shows nothing or other pictures than were learned."""
        now = alert.stream_time
        if self._in_trouble:
            self._troubles[-1] = self._troubles[-1].replace(end=now)
        if self._other_picture:
            self._pictures[-1] = self._pictures[-1].replace(end=now)
        if alert.state == "recovered":
            self._in_trouble = False
        if alert.trouble is not None:
            self._in_trouble = True
            self._troubles.append(Trouble(kind=alert.trouble, start=now, end=now))
        if alert.picture is not None:
            self._other_picture = bool(alert.picture)
            if alert.picture:
                self._pictures.append(OtherPicture(kind=alert.picture, start=now, end=now))

    def _pictured(self, event: Event, recent: RecentFrames, *, whole: bool) -> Event:
        """With a key frame, and a short clip once it is over; one that can't be made is left out."""
        found: dict[str, str] = {}
        try:
            if event.key_frame is None:
                name = f"frames/{event.id}.jpg"
                write_atomically(self.path / name, render_event_images(recent, event).frame)
                found["key_frame"] = name
            if whole:
                name = f"clips/{event.id}.mp4"
                (self.path / "clips").mkdir(exist_ok=True)
                cut_clip(recent, *clip_range(event), self.path / name)
                found["clip"] = name
        except AnomalistError:  # of an event that was longer than what is remembered
            pass
        return event.replace(**found)


def _seconds_in(spans: Iterable[tuple[float, float]]) -> float:
    """How long it lasts all together that time is in at least one of some spans."""
    seconds, until = 0.0, -math.inf
    for start, end in sorted(spans):
        seconds += max(0.0, end - max(start, until))
        until = max(until, end)
    return seconds
