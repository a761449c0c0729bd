"""Live triage of a video stream: causal event detection, alerts, and a model's opinion.

`StreamTriage` turns frames into `LiveAlert`s in bounded memory, with the past alone. `OpinionQueue` asks a
model about their events in a thread of its own, so that a slow model holds up no frame.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from threading import Condition, Thread
from typing import Literal, Self

from pydantic import Field

from anomalist.agent.reasoning.event_reasoner import EventAnnotator
from anomalist.agent.reasoning.vlm_reasoner import add_note
from anomalist.triage import Triage
from anomalist.types.clip import Event, TroubleKind
from anomalist.types.common import Frozen
from anomalist.vision.media.frames import Frame
from anomalist.vision.media.streams import RecentFrames
from anomalist.vision.motion.events import EventBuilder
from anomalist.vision.motion.scoring import FrameScore, FrameScorer
from anomalist.vision.motion.temporal import MAX_GAP, CausalAverage, HysteresisSegmenter, TemporalSegment

_MAX_EVENT_MEMORY = 120.0  # seconds of an event that goes on and on: what it is was seen by then
_HEARTBEAT_SECONDS = 60.0  # seconds of stream time between two signs of life


AlertState = Literal["opened", "updated", "closed", "trouble", "recovered", "watching"]


class LiveAlert(Frozen):
    """One line of ``triage --follow``.

    An event is "opened" and "closed" as it was measured, at once. Where a model is asked, "updated" follows,
    before or after it is closed: the same event, by its id, with the model's opinion.
    """

    state: AlertState
    source: str
    stream_time: float = Field(description="seconds from the first frame of the stream")
    time: str = Field(description="of the clock, UTC, ISO 8601")
    event: Event | None = Field(
        None,
        description='what is known so far ("opened"), all that was measured ("closed"), or that with the '
        'opinion of a model ("updated")',
    )
    trouble: TroubleKind | None = None


class StreamTriage:
    """Turns the frames of one stream into alerts.

    Parameters
    ----------
    triage : scene, zones, policy and whatever else clips of this camera are triaged with.
    source : the address, as it is shown.
    size : (height, width) of the frames.
    opinions : asks a model about the events; None asks none.

    Raises CalibrationError when the asked number of false events is out of reach.
    """

    def __init__(
        self, triage: Triage, source: str, size: tuple[int, int], *, opinions: OpinionQueue | None = None
    ) -> None:
        scene, zones = triage.scene, triage.zones
        threshold, self.calibration = scene.blocks("causal").threshold(triage.false_events_per_hour)
        self._triage = triage
        self._source = source
        self._opinions = opinions
        self._scorer = FrameScorer(scene, zones)
        self._maker = EventBuilder(scene, "causal", size, zones)
        self._average = CausalAverage()
        self._motion = _MonitoredScore(threshold, None)
        forbidden = [zone.name for zone in zones if zone.kind == "forbidden"]
        self._lines = [self._motion, *(_MonitoredScore(0.5, name) for name in forbidden)]
        self._moments: deque[FrameScore] = deque()
        self._number = 0
        self._trouble: TroubleKind | None = None
        self._alive = 0.0

    def follow(self, frames: Iterable[Frame]) -> Iterator[LiveAlert]:
        """Yield alerts as the frames come; at the end, events that are still open are closed.

        What a model was asked about by then is waited for, `MAX_FINAL_WAIT` seconds at most.
        """
        last = 0.0
        for moment in self._scorer.score_all(frames):
            last = moment.time
            yield from self._after(moment)
        for line in self._lines:
            yield from self._close(line, line.machine.finish(), last)
        if self._opinions is not None:
            yield from (self._updated(event, last) for event in self._opinions.drain(MAX_FINAL_WAIT))

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
        if self._opinions is not None:
            yield from (self._updated(event, moment.time) for event in self._opinions.finished())

    def _camera(self, moment: FrameScore) -> Iterator[LiveAlert]:
        if moment.trouble != self._trouble:
            self._trouble = moment.trouble
            state: AlertState = "trouble" if moment.trouble else "recovered"
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
            yield self._alert("opened", time, event=self._measured(line, stretch))

    def _close(
        self, line: _MonitoredScore, stretch: TemporalSegment | None, time: float
    ) -> Iterator[LiveAlert]:
        if stretch is not None and line.number is not None:
            yield self._alert("closed", time, event=self._measured(line, stretch))
            line.number = None

    def _measured(self, line: _MonitoredScore, stretch: TemporalSegment) -> Event:
        """The event as it is known without a model, which is asked about it in the meantime."""
        event = self._event(line, stretch)
        if self._opinions is not None:
            self._opinions.submit(event)
        return self._triage.judge_event(self._triage.annotator.measured(event))

    def _updated(self, event: Event, time: float) -> LiveAlert:
        return self._alert("updated", time, event=self._triage.judge_event(event))

    def _event(self, line: _MonitoredScore, stretch: TemporalSegment) -> Event:
        moments = [m for m in self._moments if stretch.start <= m.time <= stretch.end and m.judged]
        moments = moments or [m for m in self._moments if m.judged][-1:]
        number = line.number or self._number
        if line.zone is None:
            return self._maker.event(number, stretch, moments, throughout=False)
        return self._maker.intrusion(number, line.zone, stretch, moments)

    def _alert(
        self,
        state: AlertState,
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


MAX_FINAL_WAIT = 60.0
"""Seconds after the end of a stream for which opinions that are still wanted are waited for."""

MAX_WAITING_EVENTS = 8
"""Events that wait for a model; with more, the one that waits longest is not asked about."""


class OpinionQueue:
    """Asks a model about the events of a stream, one after another, in a thread of its own.

    The frames of an event are kept from when it is queued: by the time the model is free, the stream is past
    them. An event that is queued again while it waits is asked about once, as it was measured last.

    Parameters
    ----------
    annotator : asks the model, which may take minutes.
    recent : the latest frames of the stream.
    """

    def __init__(self, annotator: EventAnnotator, recent: RecentFrames) -> None:
        self._annotator = annotator
        self._recent = recent
        self._changed = Condition()
        self._waiting: deque[tuple[RecentFrames, Event]] = deque()
        self._asked: Event | None = None
        self._finished: list[Event] = []
        self._answered: deque[str] = deque(maxlen=2 * MAX_WAITING_EVENTS)
        self._ended = False
        self._thread = Thread(target=self._run, name="opinions", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Ask about nothing more; a call that is under way is not waited for."""
        with self._changed:
            self._ended = True
            self._waiting.clear()
            self._changed.notify_all()

    def submit(self, event: Event) -> None:
        """Queue an event, never waiting."""
        job = self._recent.snapshot(), event
        with self._changed:
            self._waiting = deque(each for each in self._waiting if each[1].id != event.id)
            if len(self._waiting) == MAX_WAITING_EVENTS:
                _, left_out = self._waiting.popleft()
                self._finish(add_note(left_out, "The model was not asked about this event: too many waited."))
            self._waiting.append(job)
            self._changed.notify_all()

    def finished(self) -> list[Event]:
        """The events that are done since the last call, never waiting."""
        with self._changed:
            done, self._finished = self._finished, []
        return done

    def drain(self, seconds: float) -> Iterator[Event]:
        """Yield what is still done within so many seconds, then the rest without an opinion."""
        deadline = time.monotonic() + seconds
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._finished or not self._busy, max(deadline - time.monotonic(), 0)
                )
                done, self._finished = self._finished, []
                if not done:
                    rest = [self._asked] if self._asked is not None else []
                    rest += [event for _, event in self._waiting]
                    self._waiting.clear()
                    break
            yield from done
        note = f"The model gave no opinion within {seconds:g} s of the end of the stream."
        yield from (add_note(event, note) for event in rest if event.id not in self._answered)

    @property
    def _busy(self) -> bool:
        return self._asked is not None or bool(self._waiting)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._ended)
                if self._ended:
                    return
                frames, self._asked = self._waiting.popleft()
            event = self._ask(frames, self._asked)
            with self._changed:
                self._asked = None
                self._finish(event)
                self._changed.notify_all()

    def _ask(self, frames: RecentFrames, event: Event) -> Event:
        try:
            (asked,) = self._annotator(frames, (event,))
        except Exception as error:  # the alert is out, and the next event has its turn
            return add_note(event, f"There is no opinion of the model: {error}")
        return asked

    def _finish(self, event: Event) -> None:
        """An event without an opinion doesn't take back the one that it had."""
        if event.opinion is not None:
            self._answered.append(event.id)
        elif event.id in self._answered:
            return
        self._finished.append(event)
