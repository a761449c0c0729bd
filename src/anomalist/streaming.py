"""Live triage of a video stream: causal event detection, alerts, and a model's opinion.

`StreamTriage` turns frames into `LiveAlert`s in bounded memory, with the past alone. `OpinionQueue` asks a
model about their events in a thread of its own, so that a slow model holds up no frame.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Condition, Thread
from typing import Literal, Self

from pydantic import Field

from anomalist.agent.reasoning.vlm_reasoner import add_note
from anomalist.triage import Triage
from anomalist.types.clip import Event, TimeJump, TroubleKind
from anomalist.types.common import Frozen, Label
from anomalist.vision.media.frames import Frame, Video
from anomalist.vision.media.streams import RecentFrames
from anomalist.vision.motion.anomalies import AnomalyLinker, LocalAnomaly, is_explained_away
from anomalist.vision.motion.events import EventBuilder, Moment
from anomalist.vision.motion.modes import ModeChooser, split_by_mode
from anomalist.vision.motion.scene import Scene
from anomalist.vision.motion.scoring import FrameScore, FrameScorer
from anomalist.vision.motion.temporal import MAX_GAP, CausalAverage, HysteresisSegmenter, TemporalSegment
from anomalist.vision.motion.timeline import anomaly_floor, jump_of

_MAX_EVENT_MEMORY = 120.0  # seconds of an event that goes on and on: what it is was seen by then
_ONSET_SECONDS = 1.0  # before a thing stands out, which its average counts
_HEARTBEAT_SECONDS = 60.0  # seconds of stream time between two signs of life


AlertState = Literal[
    "opened", "updated", "closed", "trouble", "recovered", "jump", "picture", "watching",
    "lost", "back", "ended",  # with several cameras
]  # fmt: skip


class LiveAlert(Frozen):
    """One line of ``triage --follow``.

    An event is "opened" and "closed" as it was measured, at once. Where a model is asked, "updated" follows,
    before or after it is closed: the same event, by its id, with the model's opinion.
    """

    state: AlertState
    camera: str | None = Field(None, description="its name, where several are followed")
    source: str
    stream_time: float = Field(description="seconds from the first frame of the stream")
    time: str = Field(description="of the clock, UTC, ISO 8601")
    event: Event | None = Field(
        None,
        description='what is known so far ("opened"), all that was measured ("closed"), or that with the '
        'opinion of a model ("updated")',
    )
    trouble: TroubleKind | None = None
    jump: TimeJump | None = Field(None, description="where the time can't be trusted: nothing reaches across")
    picture: str | None = Field(
        None, description='of what kind the picture is now, unlike what was learned; "" as it was learned'
    )
    label: Label | None = Field(
        None, description='how it stands ("watching", "recovered"); None where nothing can be judged'
    )
    why: str | None = Field(
        None, description="why a camera is lost or has ended early, or why how it stands is not decided"
    )
    worst: Event | None = Field(
        None,
        description='of the events that are open ("watching", "recovered"): as measured so far, or as a '
        "model's opinion on it left it",
        exclude_if=lambda event: event is None,
    )


class StreamTriage:
    """Turns the frames of one stream into alerts.

    Parameters
    ----------
    triage : scene, zones, policy and whatever else clips of this camera are triaged with.
    source : the address, as it is shown.
    size : (height, width) of the frames.
    opinions : asks a model about the events; None asks none.
    camera : its name, where several are followed.
    number : of the last event that was told of it before.

    ``last`` is the time of the last frame, seconds.

    Raises CalibrationError when the asked number of false events is out of reach.
    """

    def __init__(
        self,
        triage: Triage,
        source: str,
        size: tuple[int, int],
        *,
        opinions: OpinionQueue | None = None,
        camera: str | None = None,
        number: int = 0,
    ) -> None:
        zones = triage.zones
        _, self.calibration = triage.scene.blocks("causal").threshold(triage.false_events_per_hour)
        self._triage = triage
        self._source = source
        self._size = size
        self._camera_name = camera
        self.opinions = opinions
        self.last = 0.0
        self._chooser = ModeChooser(triage.scene) if triage.scene.others else None
        self._use(triage.scene)
        self._linker = AnomalyLinker()
        forbidden = [zone.name for zone in zones if zone.kind == "forbidden"]
        self._zones = [_Followed(0.5, zone=name) for name in forbidden]
        self._things: dict[int, _Followed] = {}
        self._recent: deque[tuple[float, float]] = deque()
        self._number = number
        self._trouble: TroubleKind | None = None
        self._kind = ""
        self._alive = 0.0
        self._judged = True

    def follow(self, frames: Iterable[Frame]) -> Iterator[LiveAlert]:
        """Yield alerts as the frames come; at the end, events that are still open are closed.

        What a model was asked about by then is waited for, `MAX_FINAL_WAIT` seconds at most.
        """
        for mode, stretch in split_by_mode(self._triage.scene, frames):
            yield from self._change_to(mode)
            for moment in self._scorer.score_all(stretch):
                yield from self._after(moment)
        yield from self.close_events()
        yield from self.final_opinions(MAX_FINAL_WAIT)

    def alerts_for(self, frame: Frame) -> Iterator[LiveAlert]:
        """Yield what the next frame brings."""
        if self._chooser is not None:
            yield from self._change_to(self._chooser.update(frame))
        yield from self._after(self._scorer.score(frame))

    @property
    def number(self) -> int:
        """Of the last event that was told."""
        return self._number

    def close_events(self) -> Iterator[LiveAlert]:
        """Close the events that are open, with the last frame: nothing is seen after it."""
        for line in self._every():
            yield from self._close(line, line.machine.finish(), self.last)

    def new_opinions(self) -> Iterator[LiveAlert]:
        """Yield the opinions of a model that came since the last call, never waiting."""
        if self.opinions is not None:
            yield from (self._updated(event, self.last) for event in self.opinions.finished())

    def final_opinions(self, seconds: float) -> Iterator[LiveAlert]:
        """Yield the opinions that come within so many seconds, then the events that have none."""
        if self.opinions is not None:
            yield from (self._updated(event, self.last) for event in self.opinions.drain(seconds))

    def _change_to(self, mode: Scene) -> Iterator[LiveAlert]:
        """Judge by a mode of the scene, and close what is open where that is another one than before."""
        if mode is not self._mode:
            yield from self._break_off(self.last)
            self._use(mode)

    def _use(self, mode: Scene) -> None:
        """Judge by what was learned of one mode of the scene from here on."""
        self._mode, zones = mode, self._triage.zones
        # The main mode keeps what is asked for, or this would not have begun; another one what it can.
        asked = self._triage.false_events_per_hour
        self._threshold, _ = mode.blocks("causal").threshold(asked, nearest=True)
        self._floor = anomaly_floor(self._threshold)
        self._scorer = FrameScorer(mode, zones, floor=self._floor)
        self._maker = EventBuilder(mode, "causal", self._size, zones)

    def _every(self) -> list[_Followed]:
        return [*self._things.values(), *self._zones]

    def _after(self, moment: FrameScore) -> Iterator[LiveAlert]:
        self.last = moment.time
        if moment.cut:
            yield from self._break_off(moment.time)
            yield self._alert("jump", moment.time, jump=jump_of(moment))
        yield from self._camera(moment)
        if moment.kind != self._kind:
            self._kind = moment.kind
            yield self._alert("picture", moment.time, picture=moment.kind)
        # A thing that isn't listed stood out less than the floor.
        elsewhere = min(moment.score, self._floor) if moment.judged else moment.score
        self._recent.append((moment.time, elsewhere))
        while moment.time - self._recent[0][0] > _ONSET_SECONDS:
            self._recent.popleft()
        shown = self._listed(moment)
        for number, line in self._things.items():
            anomaly = shown.get(number)
            value = elsewhere if anomaly is None else anomaly.score
            yield from self._push(line, moment.time, line.average.push(moment.time, value))
        for line in self._zones:
            inside = line.zone in moment.intruded_zones
            if inside:
                line.inside.append(moment)
            yield from self._push(line, moment.time, float(inside))
        self._drop_what_is_over(moment.time)
        # A single frame without a verdict, such as the first one after a loss, is passed over.
        if moment.time - self._alive >= _HEARTBEAT_SECONDS and (moment.judged or not self._judged):
            self._alive = moment.time
            yield self._standing("watching", moment)
        self._judged = moment.judged
        yield from self.new_opinions()

    def _listed(self, moment: FrameScore) -> dict[int, LocalAnomaly]:
        """What stands out of each thing; a thing that is new is followed from here on."""
        shown = self._linker.highest(moment.anomalies, moment.time)
        for number, anomaly in shown.items():
            if number not in self._things:
                self._things[number] = _Followed(self._threshold)
                for time, value in list(self._recent)[:-1]:
                    self._things[number].average.push(time, value)
            self._things[number].moments.append((moment.time, anomaly))
        return shown

    def _push(self, line: _Followed, time: float, value: float) -> Iterator[LiveAlert]:
        yield from self._close(line, line.machine.push(time, value), time)
        yield from self._open(line, time)

    def _drop_what_is_over(self, time: float) -> None:
        """Forget things that are over, and of the others what is too long ago."""
        for number, line in list(self._things.items()):
            if line.machine.since is None and time - line.moments[-1][0] > MAX_GAP:
                del self._things[number]
            while line.moments[0][0] < time - _MAX_EVENT_MEMORY and len(line.moments) > 1:
                line.moments.popleft()
        for line in self._zones:
            oldest = time if line.machine.since is None else line.machine.since
            while line.inside and line.inside[0].time < max(oldest, time - _MAX_EVENT_MEMORY):
                line.inside.popleft()

    def _break_off(self, time: float) -> Iterator[LiveAlert]:
        """Close what is open: nothing reaches across a cut, or into pictures of another kind."""
        for line in self._every():
            yield from self._close(line, line.machine.finish(), time)
        self._things.clear()
        self._recent.clear()
        self._linker.reset()

    def _camera(self, moment: FrameScore) -> Iterator[LiveAlert]:
        if moment.trouble != self._trouble:
            self._trouble = moment.trouble
            if moment.trouble:
                yield self._alert("trouble", moment.time, trouble=moment.trouble)
            else:
                yield self._standing("recovered", moment)

    def _standing(self, state: AlertState, moment: FrameScore) -> LiveAlert:
        """An alert without an event that says how the stream stands; what can't be judged is not normal."""
        alert = self._alert(state, moment.time)
        why = moment.trouble or (f"{moment.kind} picture, unlike what was learned" if moment.kind else None)
        if not moment.judged:
            return alert.replace(why=why)
        known = [
            line.updated or self._graded(self._event(line, stretch))
            for line in self._every()
            if line.number is not None and (stretch := line.machine.open) is not None
        ]
        if known:
            worst = max(known, key=lambda event: (event.severity, event.score))
            return alert.replace(label="anomalous", worst=worst)
        return alert.replace(label="undecided" if why else "normal", why=why)

    def _open(self, line: _Followed, time: float) -> Iterator[LiveAlert]:
        stretch = line.machine.open
        if stretch is not None and line.number is None and not self._explained_away(line, stretch):
            self._number += 1
            line.number = self._number
            yield self._alert("opened", time, event=self._measured(line, stretch))

    def _close(self, line: _Followed, stretch: TemporalSegment | None, time: float) -> Iterator[LiveAlert]:
        if stretch is not None and line.number is not None:
            yield self._alert("closed", time, event=self._measured(line, stretch))
            line.number = line.updated = None

    def _measured(self, line: _Followed, stretch: TemporalSegment) -> Event:
        """The event as it is known without a model, which is asked about it in the meantime."""
        event = self._event(line, stretch)
        if self.opinions is not None:
            self.opinions.submit(event)
        return self._graded(event)

    def _graded(self, event: Event) -> Event:
        return self._triage.judge_event(self._triage.annotator.measured(event))

    def _updated(self, event: Event, time: float) -> LiveAlert:
        judged = self._triage.judge_event(event)
        for line in self._every():
            if judged.id == f"E{line.number}":
                line.updated = judged
        return self._alert("updated", time, event=judged)

    def _explained_away(self, line: _Followed, stretch: TemporalSegment) -> bool:
        """Whether it is a thing's motion that others, open now, explain; see `is_explained_away`."""
        if line.zone is not None:
            return False
        others = (other.machine.open for other in self._things.values() if other is not line)
        scores = (other.score for other in others if other is not None)
        return is_explained_away(line.moments, stretch.score, scores, other_picture=bool(self._kind))

    def _event(self, line: _Followed, stretch: TemporalSegment) -> Event:
        number = line.number or self._number
        if line.zone is not None:
            return self._maker.intrusion(number, line.zone, stretch, list(line.inside))
        during = [moment for moment in line.moments if stretch.start <= moment[0] <= stretch.end]
        return self._maker.event(number, stretch, during or [line.moments[-1]], throughout=False)

    def _alert(
        self,
        state: AlertState,
        time: float,
        *,
        event: Event | None = None,
        trouble: TroubleKind | None = None,
        jump: TimeJump | None = None,
        picture: str | None = None,
    ) -> LiveAlert:
        return LiveAlert(
            state=state,
            camera=self._camera_name,
            source=self._source,
            stream_time=round(time, 3),
            time=datetime.now(UTC).isoformat(timespec="milliseconds"),
            event=event,
            trouble=trouble,
            jump=jump,
            picture=picture,
        )


@dataclass(eq=False)
class _Followed:
    """One thing that is followed, or what is in one forbidden zone.

    Parameters
    ----------
    threshold : of its score.
    zone : name of the zone; None for a thing.
    number : of the event that is open.
    updated : that event with what a model said of it.
    """

    threshold: float
    zone: str | None = None
    number: int | None = None
    updated: Event | None = None
    moments: deque[Moment] = field(default_factory=deque)
    inside: deque[FrameScore] = field(default_factory=deque)
    average: CausalAverage = field(default_factory=CausalAverage)
    machine: HysteresisSegmenter = field(init=False)

    def __post_init__(self) -> None:
        self.machine = HysteresisSegmenter(self.threshold)


@contextmanager
def following(triage: Triage, video: Video, recent: RecentFrames) -> Iterator[StreamTriage]:
    """What turns the frames of one video into alerts; who looks at its events again is asked beside it.

    ``recent`` holds the latest frames of the video. One of another shape than the scene raises MediaError.
    """
    triage.check_shape(video)
    with ExitStack() as stack:
        opinions = None
        if triage.annotator.looks_at_pictures:
            asks_model = triage.annotator.asks_model
            opinions = stack.enter_context(OpinionQueue(triage.annotator, recent, asks_model=asks_model))
        yield StreamTriage(triage, video.source, video.size, opinions=opinions)


Annotate = Callable[[Video, tuple[Event, ...]], tuple[Event, ...]]

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
    annotator : asks the model, which may take minutes; an `EventAnnotator`, say.
    recent : the latest frames of the stream.
    asks_model : False where it only names objects; for the notes on what it did not come to.
    """

    def __init__(self, annotator: Annotate, recent: RecentFrames, *, asks_model: bool = True) -> None:
        self._annotator = annotator
        self._not_asked = (
            "The model was not asked about this event" if asks_model else "Its objects were not named"
        )
        self._no_answer = "The model gave no opinion" if asks_model else "Its objects were not named"
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
        self.close()

    def close(self) -> None:
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
                self._finish(add_note(left_out, f"{self._not_asked}: too many waited."))
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
        note = f"{self._no_answer} within {seconds:g} s of the end of the stream."
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
            return add_note(event, f"{self._no_answer}: {error}")
        return asked

    def _finish(self, event: Event) -> None:
        """An event without an opinion doesn't take back the one that it had."""
        if event.opinion is not None:
            self._answered.append(event.id)
        elif event.id in self._answered:
            return
        self._finished.append(event)
