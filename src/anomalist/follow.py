"""Video as it comes: alerts while something happens, in bounded memory, with the past alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Literal

from pydantic import Field

from anomalist.agent.event_severity import with_severity
from anomalist.agent.policy import Policy, load_policy
from anomalist.clips import Event, TroubleKind
from anomalist.types import Frozen
from anomalist.vision.motion.events import EventMaker
from anomalist.vision.motion.scene import Scene
from anomalist.vision.motion.smoothing import Causal
from anomalist.vision.motion.stretches import GAP, Stretch, Stretches
from anomalist.vision.motion.watching import Moment, Watcher
from anomalist.vision.motion.zones import Zone
from anomalist.vision.video.frames import Frame

_REMEMBER = 120.0  # seconds of an event that goes on and on: what it is was seen by then
_HEARTBEAT = 60.0  # seconds of stream time between two signs of life


class Alert(Frozen):
    """One line of ``triage --follow``."""

    state: Literal["opened", "closed", "trouble", "recovered", "watching"]
    source: str
    stream_time: float = Field(description="seconds from the first frame of the stream")
    time: str = Field(description="of the clock, UTC, ISO 8601")
    event: Event | None = Field(None, description='what is known so far ("opened"), or all of it ("closed")')
    trouble: TroubleKind | None = None


class Follower:
    """Turns the frames of one stream into alerts.

    Parameters
    ----------
    scene : what is usual.
    source : the address, as it is shown.
    size : (height, width) of the frames.
    false_events_per_hour : that may be expected at most; None takes one, or what the footage supports.
    annotate : adds to an event what needs more than motion; called when it opens and when it closes.

    Raises CalibrationError when the asked number of false events is out of reach.
    """

    def __init__(
        self,
        scene: Scene,
        source: str,
        size: tuple[int, int],
        *,
        false_events_per_hour: float | None = None,
        zones: Sequence[Zone] | None = None,
        policy: Policy | None = None,
        annotate: Callable[[Event], Event] = lambda event: event,
    ) -> None:
        threshold, self.calibration = scene.blocks("causal").threshold(false_events_per_hour)
        self._zones = scene.manifest.zones if zones is None else tuple(zones)
        self._source = source
        self._policy = policy or load_policy()
        self._annotate = annotate
        self._watcher = Watcher(scene, self._zones)
        self._maker = EventMaker(scene, "causal", size, self._zones)
        self._average = Causal()
        self._motion = _Line(threshold, None)
        forbidden = [zone.name for zone in self._zones if zone.kind == "forbidden"]
        self._lines = [self._motion, *(_Line(0.5, name) for name in forbidden)]
        self._moments: deque[Moment] = deque()
        self._number = 0
        self._trouble: TroubleKind | None = None
        self._alive = 0.0

    def follow(self, frames: Iterable[Frame]) -> Iterator[Alert]:
        """Yield alerts as the frames come; at the end, events that are still open are closed."""
        last = 0.0
        for moment in self._watcher.watching(frames):
            last = moment.time
            yield from self._after(moment)
        for line in self._lines:
            yield from self._close(line, line.machine.finish(), last)

    def see(self, frame: Frame) -> Iterator[Alert]:
        """Yield what the next frame brings."""
        return self._after(self._watcher.see(frame))

    def _after(self, moment: Moment) -> Iterator[Alert]:
        if moment.cut:
            self._average.forget()
            for line in self._lines:
                yield from self._close(line, line.machine.finish(), moment.time)
        yield from self._camera(moment)
        self._remember(moment)
        smooth = self._average.push(moment.time, moment.score)
        for line in self._lines:
            value = smooth if line.zone is None else float(line.zone in moment.intruded)
            yield from self._close(line, line.machine.push(moment.time, value), moment.time)
            yield from self._open(line, moment.time)
        if moment.time - self._alive >= _HEARTBEAT:
            self._alive = moment.time
            yield self._alert("watching", moment.time)

    def _camera(self, moment: Moment) -> Iterator[Alert]:
        if moment.trouble != self._trouble:
            self._trouble = moment.trouble
            state: Literal["trouble", "recovered"] = "trouble" if moment.trouble else "recovered"
            yield self._alert(state, moment.time, trouble=moment.trouble)

    def _remember(self, moment: Moment) -> None:
        """Keep the moments of what is open, or could become an event, and let go of the rest."""
        self._moments.append(moment)
        starts = [line.machine.since for line in self._lines if line.machine.since is not None]
        oldest = max(min([*starts, moment.time]) - GAP, moment.time - _REMEMBER)
        while self._moments and self._moments[0].time < oldest:
            self._moments.popleft()

    def _open(self, line: _Line, time: float) -> Iterator[Alert]:
        stretch = line.machine.open
        if stretch is not None and line.number is None:
            self._number += 1
            line.number = self._number
            yield self._alert("opened", time, event=self._event(line, stretch))

    def _close(self, line: _Line, stretch: Stretch | None, time: float) -> Iterator[Alert]:
        if stretch is not None and line.number is not None:
            yield self._alert("closed", time, event=self._event(line, stretch))
            line.number = None

    def _event(self, line: _Line, stretch: Stretch) -> Event:
        moments = [m for m in self._moments if stretch.start <= m.time <= stretch.end and m.judged]
        moments = moments or [m for m in self._moments if m.judged][-1:]
        number = line.number or self._number
        if line.zone is None:
            event = self._maker.event(number, stretch, moments, throughout=False)
        else:
            event = self._maker.intrusion(number, line.zone, stretch, moments)
        return with_severity(self._annotate(event), self._zones, self._policy)

    def _alert(
        self,
        state: Literal["opened", "closed", "trouble", "recovered", "watching"],
        time: float,
        *,
        event: Event | None = None,
        trouble: TroubleKind | None = None,
    ) -> Alert:
        return Alert(
            state=state,
            source=self._source,
            stream_time=round(time, 3),
            time=datetime.now(UTC).isoformat(timespec="milliseconds"),
            event=event,
            trouble=trouble,
        )


class _Line:
    """One thing that is followed: the score, or what is in one forbidden zone."""

    def __init__(self, threshold: float, zone: str | None) -> None:
        self.machine = Stretches(threshold)
        self.zone = zone
        self.number: int | None = None
