"""Several cameras followed at once: received and scored in threads, told as one stream of alerts."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from threading import Condition, Event
from typing import Generic, Protocol, Self, TypeVar

from anomalist.agent.models.selection import EVIDENCE
from anomalist.agent.reasoning.event_reasoner import EventAnnotator
from anomalist.agent.reasoning.vlm_reasoner import CallBudget
from anomalist.cameras.fair_share import FairShare, Turns
from anomalist.cameras.feed import CameraFeed, FeedItem
from anomalist.cameras.line import CameraLine, CameraStatus
from anomalist.cameras.listing import Camera
from anomalist.cameras.progress import CameraProgress
from anomalist.composition import TriageSettings
from anomalist.streaming import MAX_FINAL_WAIT, Annotate, LiveAlert
from anomalist.triage import Triage
from anomalist.types.clip import Event as ClipEvent
from anomalist.vision.media.frames import Video
from anomalist.vision.media.streams import RecentFrames
from anomalist.vision.motion.scene import Zone
from anomalist.vision.prefetch import single_threaded
from anomalist.vision.worker_pool import usable_cores

SILENCE = 10.0
"""Seconds without a frame after which a camera is said to be lost."""

_TICK = 0.5  # seconds after which silence and opinions are looked at, when no frame comes
_MAX_JOIN = 2.0  # seconds that threads have to end; one may wait for a camera that says nothing


def open_triages(cameras: Sequence[Camera], settings: TriageSettings) -> dict[str, Triage]:
    """The triage of each camera, by its name: one a scene, and all ask one model within one budget.

    Parameters
    ----------
    cameras : each with its scene.
    settings : everything else; ``calls_per_minute`` is for all cameras together, by the clock.

    Raises
    ------
    AnomalistError : see `compose_triage`; also CalibrationError where a scene can't support what is promised.
    """
    together = TriagesTogether(settings)
    by_scene: dict[str, Triage] = {}
    for camera in cameras:
        if camera.profile not in by_scene:
            by_scene[camera.profile] = together.open(camera.profile)
    return {camera.name: by_scene[camera.profile] for camera in cameras}


class TriagesTogether:
    """Opens triages that all ask one model within one budget.

    Parameters
    ----------
    settings : everything but scene and zones; ``calls_per_minute`` is for all together, by the clock.
    """

    def __init__(self, settings: TriageSettings) -> None:
        self._settings = settings
        self._annotator: EventAnnotator | None = None

    def open(self, scene: str, zones: tuple[Zone, ...] | None = None) -> Triage:
        """The triage of a scene, with these zones in place of its own; raises as `open_triages` does."""
        model = self._settings.model if self._annotator is None else EVIDENCE
        triage = Triage(replace(self._settings, scene=scene, zones=zones, model=model, mode="causal"))
        triage.scene.blocks("causal").threshold(triage.false_events_per_hour)
        if self._annotator is None:
            budget = CallBudget(self._settings.calls_per_minute, clock=time.monotonic)
            self._annotator = replace(triage.annotator, budget=budget)
        triage.annotator = self._annotator
        return triage


class _Followed(Protocol):
    @property
    def status(self) -> CameraStatus: ...

    @property
    def recent(self) -> RecentFrames: ...

    @property
    def notes(self) -> tuple[str, ...]: ...


FollowedT = TypeVar("FollowedT", bound=_Followed)


class FollowedCameras(Generic[FollowedT]):
    """What can be asked about cameras that are followed, wherever that is done."""

    _lines: dict[str, FollowedT]

    def statuses(self) -> tuple[CameraStatus, ...]:
        """How each camera is doing; may be asked for from any thread."""
        return tuple(line.status for line in self._lines.values())

    def recent(self, name: str) -> RecentFrames:
        """The last seconds of a camera, to show an event."""
        return self._lines[name].recent

    @property
    def notes(self) -> tuple[tuple[str, str], ...]:
        """(camera, note) on how those that have ended were read."""
        return tuple((name, note) for name, line in self._lines.items() for note in line.notes)


class CameraSet(FollowedCameras[CameraLine]):
    """Follows several cameras; a context manager.

    Each is received in a thread of its own. As many threads as there are cores score a frame each at a time,
    of the camera that has had the least of it (`FairShare`): one that needs too much loses frames of its own,
    and no other's. A caller that is slow to take alerts holds back the scoring, and no alert is lost.

    Parameters
    ----------
    cameras : with names that differ.
    triages : by the name of the camera, see `open_triages`.
    before : how far each was followed before, by name; see `read_progress`.
    silence : seconds without a frame after which a camera is said to be lost.
    """

    def __init__(
        self,
        cameras: Sequence[Camera],
        triages: Mapping[str, Triage],
        *,
        before: Mapping[str, CameraProgress] | None = None,
        silence: float = SILENCE,
    ) -> None:
        self._changed = Condition()
        self._share = FairShare()
        self._turns = Turns()
        self._silence = silence
        self._scorers = max(1, usable_cores())  # threads begin when needed; cameras may be added
        self._scored: dict[CameraLine, Future[list[LiveAlert]]] = {}
        self._lines = {camera.name: self._line(camera, triages, before or {}) for camera in cameras}

    def __enter__(self) -> Self:
        for line in self._lines.values():
            if not line.over:
                line.feed.start()
        return self

    def __exit__(self, *_: object) -> None:
        for line in self._lines.values():
            line.feed.stop()
            line.close()
        deadline = time.monotonic() + _MAX_JOIN
        for line in self._lines.values():
            line.feed.join(max(0.0, deadline - time.monotonic()))

    def add(self, camera: Camera, triage: Triage) -> None:
        """Follow one more camera from now on, in place of one of the same name."""
        self.remove(camera.name)
        line = self._line(camera, {camera.name: triage}, {})
        with self._changed:
            self._lines = {**self._lines, camera.name: line}
        line.feed.start()

    def remove(self, name: str) -> None:
        """Follow a camera no longer; nothing more is told of it."""
        with self._changed:
            line = self._lines.get(name)
            self._lines = {other: kept for other, kept in self._lines.items() if other != name}
        if line is not None:
            line.feed.stop()
            line.close()

    def alerts(self, stopped: Event | None = None) -> Iterator[LiveAlert]:
        """Yield the alerts of all cameras, in the order of the clock, until every one has ended.

        Each says its camera. Beside what `StreamTriage` tells there is "lost", "back" and "ended". Opinions
        that are still wanted in the end are waited for, `MAX_FINAL_WAIT` seconds at most. With ``stopped`` it
        goes on until that is set, whatever cameras there are, and waits for nothing.
        """
        with single_threaded(), ThreadPoolExecutor(self._scorers, thread_name_prefix="score") as scoring:
            while not (stopped.is_set() if stopped else self._all_told()):
                self._begin(scoring)
                yield from self._found()
                now = time.monotonic()
                for line in self._lines.values():
                    if line in self._scored:
                        continue
                    if line.silent(self._silence, now):
                        yield from line.lost(f"There was no picture for {self._silence:g} s.")
                    yield from line.new_opinions()
        if stopped:
            return
        deadline = time.monotonic() + MAX_FINAL_WAIT
        for line in self._lines.values():
            yield from line.final_opinions(max(0.0, deadline - time.monotonic()))

    def _line(
        self, camera: Camera, triages: Mapping[str, Triage], before: Mapping[str, CameraProgress]
    ) -> CameraLine:
        triage = triages[camera.name]
        feed = CameraFeed(camera.source, triage.check_shape, self._changed)
        asks = self._in_turn(triage.annotator) if triage.annotator.looks_at_pictures else None
        return CameraLine(camera, triage, feed, before.get(camera.name, CameraProgress()), asks)

    def _in_turn(self, annotator: EventAnnotator) -> Annotate:
        def annotate(video: Video, events: tuple[ClipEvent, ...]) -> tuple[ClipEvent, ...]:
            with self._turns.mine():
                return annotator(video, events)

        return annotate

    def _all_told(self) -> bool:
        with self._changed:
            return not self._scored and all(line.over for line in self._lines.values())

    def _begin(self, scoring: ThreadPoolExecutor) -> None:
        """Have the next items scored of the cameras whose turn it is; waits a while for one, or for a score.

        A camera has one scorer at a time: its frames are scored in their order.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._ready() or self._done(), _TICK)
            while ready := self._ready():
                line = self._lines[self._share.choose(ready)]
                self._scored[line] = scoring.submit(self._taken, line, line.feed.take())
                self._scored[line].add_done_callback(self._wake)
            self._changed.notify_all()

    def _found(self) -> list[LiveAlert]:
        """What the scorers that are done have found, in the order of the clock."""
        with self._changed:
            found = [alert for line in self._done() for alert in self._scored.pop(line).result()]
        return sorted(found, key=lambda alert: alert.time)

    def _done(self) -> list[CameraLine]:
        return [line for line, future in self._scored.items() if future.done()]

    def _ready(self) -> list[str]:
        if len(self._scored) >= self._scorers:
            return []
        lines = self._lines.items()
        return [name for name, line in lines if line.feed.held and not line.over and line not in self._scored]

    def _wake(self, _: object) -> None:
        with self._changed:
            self._changed.notify_all()

    def _taken(self, line: CameraLine, item: FeedItem) -> list[LiveAlert]:
        """What an item brings; the camera is charged with the processor time that it takes."""
        began, told = time.thread_time(), []
        try:
            for alert in line.take(item):
                told.append(alert)
        except Exception as error:  # the other cameras go on
            told += line.broken(error)
        if self._lines.get(line.camera.name) is not line:  # removed meanwhile
            return []
        seconds = time.thread_time() - began
        with self._changed:
            self._share.charge(line.camera.name, seconds)
        line.seconds += seconds
        return told
