"""Live triage of a video stream: causal event detection, alerts, and their delivery by webhook.

`StreamTriage` turns frames into `LiveAlert`s in bounded memory, with the past alone. `Webhook` posts them
from a thread of its own, so that a slow receiver never holds up the detection.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from queue import Empty, Full, Queue
from threading import Thread
from typing import TYPE_CHECKING, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field

from anomalist.agent.reasoning.policy import Policy, load_policy
from anomalist.agent.reasoning.severity import add_severity
from anomalist.errors import DataError
from anomalist.types.clip import Event, TroubleKind
from anomalist.types.image import Frozen
from anomalist.vision.media.frames import Frame
from anomalist.vision.motion.events import EventBuilder
from anomalist.vision.motion.scene import Scene, Zone
from anomalist.vision.motion.scoring import FrameScore, FrameScorer
from anomalist.vision.motion.temporal import MAX_GAP, CausalAverage, HysteresisSegmenter, TemporalSegment

if TYPE_CHECKING:
    import httpx


_MAX_EVENT_MEMORY = 120.0  # seconds of an event that goes on and on: what it is was seen by then
_HEARTBEAT_SECONDS = 60.0  # seconds of stream time between two signs of life


class LiveAlert(Frozen):
    """One line of ``triage --follow``."""

    state: Literal["opened", "closed", "trouble", "recovered", "watching"]
    source: str
    stream_time: float = Field(description="seconds from the first frame of the stream")
    time: str = Field(description="of the clock, UTC, ISO 8601")
    event: Event | None = Field(None, description='what is known so far ("opened"), or all of it ("closed")')
    trouble: TroubleKind | None = None


class StreamTriage:
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
        self._scorer = FrameScorer(scene, self._zones)
        self._maker = EventBuilder(scene, "causal", size, self._zones)
        self._average = CausalAverage()
        self._motion = _MonitoredScore(threshold, None)
        forbidden = [zone.name for zone in self._zones if zone.kind == "forbidden"]
        self._lines = [self._motion, *(_MonitoredScore(0.5, name) for name in forbidden)]
        self._moments: deque[FrameScore] = deque()
        self._number = 0
        self._trouble: TroubleKind | None = None
        self._alive = 0.0

    def follow(self, frames: Iterable[Frame]) -> Iterator[LiveAlert]:
        """Yield alerts as the frames come; at the end, events that are still open are closed."""
        last = 0.0
        for moment in self._scorer.score_all(frames):
            last = moment.time
            yield from self._after(moment)
        for line in self._lines:
            yield from self._close(line, line.machine.finish(), last)

    def alerts_for(self, frame: Frame) -> Iterator[LiveAlert]:
        """Yield what the next frame brings."""
        return self._after(self._scorer.score(frame))

    def _after(self, moment: FrameScore) -> Iterator[LiveAlert]:
        if moment.cut:
            self._average.reset()
            for line in self._lines:
                yield from self._close(line, line.machine.finish(), moment.time)
        yield from self._camera(moment)
        self._remember(moment)
        smooth = self._average.push(moment.time, moment.score)
        for line in self._lines:
            value = smooth if line.zone is None else float(line.zone in moment.intruded_zones)
            yield from self._close(line, line.machine.push(moment.time, value), moment.time)
            yield from self._open(line, moment.time)
        if moment.time - self._alive >= _HEARTBEAT_SECONDS:
            self._alive = moment.time
            yield self._alert("watching", moment.time)

    def _camera(self, moment: FrameScore) -> Iterator[LiveAlert]:
        if moment.trouble != self._trouble:
            self._trouble = moment.trouble
            state: Literal["trouble", "recovered"] = "trouble" if moment.trouble else "recovered"
            yield self._alert(state, moment.time, trouble=moment.trouble)

    def _remember(self, moment: FrameScore) -> None:
        """Keep the frame scores of what is open, or could become an event, and drop the rest."""
        self._moments.append(moment)
        starts = [line.machine.since for line in self._lines if line.machine.since is not None]
        oldest = max(min([*starts, moment.time]) - MAX_GAP, moment.time - _MAX_EVENT_MEMORY)
        while self._moments and self._moments[0].time < oldest:
            self._moments.popleft()

    def _open(self, line: _MonitoredScore, time: float) -> Iterator[LiveAlert]:
        stretch = line.machine.open
        if stretch is not None and line.number is None:
            self._number += 1
            line.number = self._number
            yield self._alert("opened", time, event=self._event(line, stretch))

    def _close(
        self, line: _MonitoredScore, stretch: TemporalSegment | None, time: float
    ) -> Iterator[LiveAlert]:
        if stretch is not None and line.number is not None:
            yield self._alert("closed", time, event=self._event(line, stretch))
            line.number = None

    def _event(self, line: _MonitoredScore, stretch: TemporalSegment) -> Event:
        moments = [m for m in self._moments if stretch.start <= m.time <= stretch.end and m.judged]
        moments = moments or [m for m in self._moments if m.judged][-1:]
        number = line.number or self._number
        if line.zone is None:
            event = self._maker.event(number, stretch, moments, throughout=False)
        else:
            event = self._maker.intrusion(number, line.zone, stretch, moments)
        return add_severity(self._annotate(event), self._zones, self._policy)

    def _alert(
        self,
        state: Literal["opened", "closed", "trouble", "recovered", "watching"],
        time: float,
        *,
        event: Event | None = None,
        trouble: TroubleKind | None = None,
    ) -> LiveAlert:
        return LiveAlert(
            state=state,
            source=self._source,
            stream_time=round(time, 3),
            time=datetime.now(UTC).isoformat(timespec="milliseconds"),
            event=event,
            trouble=trouble,
        )


class _MonitoredScore:
    """One thing that is followed: the score, or what is in one forbidden zone."""

    def __init__(self, threshold: float, zone: str | None) -> None:
        self.machine = HysteresisSegmenter(threshold)
        self.zone = zone
        self.number: int | None = None


_MAX_QUEUED = 100  # alerts; more are dropped, and counted
_MAX_ATTEMPTS = 3
_REQUEST_TIMEOUT = 5.0  # seconds


class Webhook:
    """Posts JSON to an address, in order; what can't be delivered is told, never raised.

    Parameters
    ----------
    address : http:// or https://.
    on_failure : called with one sentence on what was not delivered, once until something is delivered again.

    Raises DataError for another address.
    """

    def __init__(self, address: str, on_failure: Callable[[str], None]) -> None:
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise DataError(f"{address} is no web address.", "A webhook begins with http:// or https://.")
        self._address = address
        self._shown = f"{parts.scheme}://{parts.hostname}"
        self._complain = on_failure
        self._queue: Queue[str | None] = Queue(_MAX_QUEUED)
        self._failing = False
        self.dropped = 0
        self._thread = Thread(target=self._deliver, name="webhook", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Deliver what waits, for a few seconds at most."""
        deadline = time.monotonic() + _MAX_ATTEMPTS * _REQUEST_TIMEOUT
        try:
            self._queue.put(None, timeout=_REQUEST_TIMEOUT)
        except Full:
            self._queue = Queue()
            return
        self._thread.join(max(deadline - time.monotonic(), 0))

    def send(self, body: str) -> None:
        """Queue one JSON text; when too many wait, the oldest is dropped."""
        while True:
            try:
                self._queue.put_nowait(body)
            except Full:
                try:
                    self._queue.get_nowait()
                    self._lost("it is too slow")
                except Empty:
                    pass
            else:
                return

    def _deliver(self) -> None:
        import httpx

        with httpx.Client(timeout=_REQUEST_TIMEOUT) as client:
            while (body := self._queue.get()) is not None:
                self._post(client, body)

    def _post(self, client: httpx.Client, body: str) -> None:
        import httpx

        reason = ""
        for attempt in range(_MAX_ATTEMPTS):
            time.sleep(0.5 * attempt)
            try:
                reply = client.post(self._address, content=body, headers={"Content-Type": "application/json"})
            except httpx.HTTPError as error:
                reason = type(error).__name__
                continue
            if reply.is_success:
                self._failing = False
                return
            reason = f"it answered {reply.status_code}"
            if reply.status_code < 500:
                break
        self._lost(reason)

    def _lost(self, reason: str) -> None:
        self.dropped += 1
        if not self._failing:
            self._failing = True
            self._complain(f"The webhook at {self._shown} did not take an alert: {reason}.")
