"""One camera of several: what its frames bring, its state, and its time across losses and restarts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from pydantic import Field

from anomalist.agent.reasoning.vlm_reasoner import add_note
from anomalist.cameras.feed import CameraFeed, Ended, FeedItem, Lost, Opened
from anomalist.cameras.listing import Camera
from anomalist.cameras.progress import CameraProgress, Told, utc, what_is_told
from anomalist.streaming import AlertState, Annotate, LiveAlert, OpinionQueue, StreamTriage
from anomalist.triage import Triage
from anomalist.types.common import Frozen
from anomalist.vision.media.frames import Frame
from anomalist.vision.media.sources import is_url, redact_url
from anomalist.vision.media.streams import RecentFrames

INTERRUPTED = "Following was interrupted while this event was open: its end was not seen."

MAX_FAILURES = 3
"""Frames that can't be scored, with few others between them, before a camera is given up."""
_FEW = 1000  # frames


CameraState = Literal["connecting", "watching", "lost", "ended"]


class CameraStatus(Frozen):
    """How one camera is doing."""

    name: str
    source: str
    scene: str
    state: CameraState
    why: str | None = Field(None, description="why it is lost, or ended early")
    frames: int = Field(0, description="that were scored")
    passed_over: int = Field(0, description="frames, because scoring was slower than the stream")
    seconds: float = Field(0.0, description="of processor time that its frames took")
    stream_time: float = Field(0.0, description="of the last frame")


def first_state(progress: CameraProgress, source: str) -> CameraState:
    """The state of a camera before it is followed on."""
    return "ended" if progress.is_done(source) else "lost" if progress.lost else "connecting"


def camera_alert(
    camera: str, source: str, stream_time: float, state: AlertState, why: str | None = None
) -> LiveAlert:
    """What is said of a camera itself, now."""
    return LiveAlert(
        state=state,
        camera=camera,
        source=source,
        stream_time=round(stream_time, 3),
        time=utc().isoformat(timespec="milliseconds"),
        why=why,
    )


class CameraLine:
    """Follows one camera.

    Parameters
    ----------
    camera, triage, feed : what it is, what it is judged with, and where its frames come from.
    progress : how far it was followed before.
    annotate : asks a model about events; None asks none.
    """

    def __init__(
        self,
        camera: Camera,
        triage: Triage,
        feed: CameraFeed,
        progress: CameraProgress,
        annotate: Annotate | None,
    ) -> None:
        self.camera = camera
        self.triage = triage
        self.feed = feed
        self.source = redact_url(camera.source) if is_url(camera.source) else camera.source
        self.recent = RecentFrames(self.source)
        self.seconds = 0.0
        self._progress = progress
        self._opinions = (
            None
            if annotate is None
            else OpinionQueue(annotate, self.recent, asks_model=triage.annotator.asks_model)
        )
        self._follower: StreamTriage | None = None
        self._state: CameraState = first_state(progress, self.source)
        self._why: str | None = None
        self._notes: tuple[str, ...] = ()
        self._size: tuple[int, int] | None = None
        self._live = False
        self._offset = 0.0
        self._first_index = 0
        self._next_index = 0
        self._fresh = False
        self._again_until: float | None = None
        self._known: set[Told] = set()
        self._arrived = time.monotonic()
        self._frames = 0
        self._failures = 0
        self._failed_at = 0

    @property
    def over(self) -> bool:
        """Whether nothing more comes of it."""
        return self._state == "ended"

    @property
    def failed(self) -> bool:
        """Whether it ended because something is wrong."""
        return self.over and self._why is not None

    @property
    def notes(self) -> tuple[str, ...]:
        """On how it was read, once it is over."""
        return self._notes

    @property
    def status(self) -> CameraStatus:
        """How it is doing."""
        return CameraStatus(
            name=self.camera.name,
            source=self.source,
            scene=self.triage.scene.name,
            state=self._state,
            why=self._why,
            frames=self._frames,
            passed_over=self.feed.passed_over,
            seconds=round(self.seconds, 3),
            stream_time=round(self._last, 3),
        )

    def close(self) -> None:
        """Ask no model any more."""
        if self._opinions is not None:
            self._opinions.close()

    def take(self, item: FeedItem) -> Iterator[LiveAlert]:
        """Yield what the next item brings."""
        if isinstance(item, Opened):
            yield from self._new(self._open(item))
        elif isinstance(item, Frame):
            yield from self._new(self._frame(item))
        elif isinstance(item, Lost):
            yield from self.lost(item.why)
        else:
            yield from self._new(self._end(item))

    def lost(self, why: str) -> Iterator[LiveAlert]:
        """The camera is not there: say so once, and close what is open."""
        self._why = why
        if self._state == "lost":
            return
        self._state = "lost"
        if self._follower is not None:
            yield from self._follower.close_events()
        yield self._said("lost", why)

    def broken(self, error: Exception) -> Iterator[LiveAlert]:
        """Go on after an error of the scorer, with a new one; too many of them end the camera."""
        why = f"A frame can't be scored ({type(error).__name__}: {error})."
        self._failures = 1 if self._frames - self._failed_at > _FEW else self._failures + 1
        self._failed_at = self._frames
        old, number = self._follower, self._progress.number
        if old is not None:
            yield from self._new(old.close_events())
            number = old.number
        self._follower = None if self._size is None else self._new_follower(self._size, number)
        if self._failures < MAX_FAILURES:
            yield from self.lost(why)
            return
        self.feed.stop()
        yield from self._end(Ended(why))

    def silent(self, seconds: float, now: float) -> bool:
        """Whether nothing was heard for so long of a camera that is there."""
        waits = self._live and self._state == "watching" and not self.feed.held
        return waits and now - self.feed.heard > seconds

    def new_opinions(self) -> Iterator[LiveAlert]:
        """Yield the opinions of a model that came since."""
        if self._follower is not None:
            yield from self._follower.new_opinions()

    def final_opinions(self, seconds: float) -> Iterator[LiveAlert]:
        """Yield the opinions that come within so many seconds, then the events that have none."""
        if self._follower is not None:
            yield from self._follower.final_opinions(seconds)

    @property
    def _last(self) -> float:
        return self._progress.time if self._follower is None else self._follower.last

    def _open(self, item: Opened) -> Iterator[LiveAlert]:
        first = self._size is None
        self._live = item.live
        if first:
            yield from self._resume(item)
        elif item.live:
            self._offset = self._last + (time.monotonic() - self._arrived)
            self._first_index = self._next_index
        self._fresh = not first
        if self._follower is None or item.size != self._size:
            if self._follower is not None:
                yield from self._follower.close_events()
            again = self._again_until is not None
            number = self._progress.number if self._follower is None else self._follower.number
            self._follower = self._new_follower(item.size, 0 if again else number)
        self._size = item.size
        if self._state == "connecting":
            self._state = "watching"

    def _resume(self, item: Opened) -> Iterator[LiveAlert]:
        """Go on where it was left: a file is read again up to there, a camera goes on by the clock."""
        before = self._progress
        if before.when is None:
            return
        if not item.live and before.source == self.source:
            self._again_until, self._known = before.time, before.told
            return
        for event in before.open.values():
            yield self._said("closed").replace(event=add_note(event, INTERRUPTED))
        self._offset = before.time + before.seconds_since(utc())

    def _new_follower(self, size: tuple[int, int], number: int) -> StreamTriage:
        asked = None if self._again_until is not None else self._opinions
        last = 0.0 if self._again_until is not None else self._last
        made = StreamTriage(
            self.triage, self.source, size, opinions=asked, camera=self.camera.name, number=number
        )
        made.last = last
        return made

    def _frame(self, frame: Frame) -> Iterator[LiveAlert]:
        assert self._follower is not None
        frame = replace(
            frame,
            index=self._first_index + frame.index,
            time=self._offset + frame.time,
            cut=frame.cut or self._fresh,
        )
        self._fresh, self._arrived, self._next_index = False, time.monotonic(), frame.index + 1
        self._frames += 1
        if self._again_until is not None and frame.time > self._again_until:
            self._again_until = None
            self._follower.opinions = self._opinions
        if self._state == "lost" and self._again_until is None:
            self._state, self._why = "watching", None
            yield self._said("back").replace(stream_time=round(frame.time, 3))
        for kept in self.recent.record([frame]):
            yield from self._follower.alerts_for(kept)

    def _end(self, item: Ended) -> Iterator[LiveAlert]:
        if self._follower is not None:
            yield from self._follower.close_events()
        self._state, self._why, self._notes = "ended", item.why, item.notes
        yield self._said("ended", item.why)

    def _new(self, alerts: Iterator[LiveAlert]) -> Iterator[LiveAlert]:
        """Those that were not told before the restart."""
        for alert in alerts:
            again = alert.state == "watching" and self._again_until is not None
            if not again and (alert.state == "updated" or what_is_told(alert) not in self._known):
                yield alert

    def _said(self, state: AlertState, why: str | None = None) -> LiveAlert:
        return camera_alert(self.camera.name, self.source, self._last, state, why)
