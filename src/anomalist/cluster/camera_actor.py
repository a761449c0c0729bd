"""What follows cameras on a node: for each a `CameraSet` of one, whose alerts are fetched by the driver.

The driver asks again and again what is new (`CameraActor.take`), and each time brings what a model said
about events that were handed over before. So all cameras share the driver's model and its budget of calls.
"""

from __future__ import annotations

import dataclasses
import os
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from threading import Condition, Lock, Thread
from typing import Any

import numpy as np

from anomalist.agent.models.selection import EVIDENCE
from anomalist.agent.reasoning.event_reasoner import EventAnnotator
from anomalist.agent.reasoning.event_watch import EventWatch
from anomalist.agent.reasoning.policy import Policy
from anomalist.cameras.camera_set import CameraSet
from anomalist.cameras.line import CameraStatus
from anomalist.cameras.listing import Camera
from anomalist.cameras.progress import CameraProgress, utc
from anomalist.composition import TriageSettings
from anomalist.errors import AnomalistError, DataError
from anomalist.storage.files import digest_of
from anomalist.streaming import Annotate, LiveAlert, StreamTriage
from anomalist.triage import Triage
from anomalist.types.clip import Event
from anomalist.vision.media.frames import Frame, Video
from anomalist.vision.media.streams import RecentFrames
from anomalist.vision.motion.pacing import ANALYSIS_RATE
from anomalist.vision.parallel import check_version

MAX_UNTAKEN = 64
"""Alerts that wait for the driver; with more, scoring waits, and none is lost."""

_REHEARSED_FRAMES = 12

Answer = Event | AnomalistError
"""What came of asking about an event."""


@dataclass(frozen=True)
class CameraTask:
    """What an actor is told of a camera.

    Parameters
    ----------
    camera : with the folder of its scene, the same on all nodes.
    before : how far it was followed.
    sent : the driver's clock when this was sent: nodes have clocks of their own.
    scene_digest, memory_digest : of the scene and of what it recalls, as the driver has them.
    false_events_per_hour, policy, memory : of the triage.
    watch, classes : what is watched for, and names that objects may have.
    looks, asks_model : whether events are looked at by the driver, and there by a model.
    silence : seconds without a frame after which it is lost.
    """

    camera: Camera
    before: CameraProgress
    sent: datetime
    scene_digest: str
    memory_digest: str
    false_events_per_hour: float | None
    policy: Policy
    memory: bool
    watch: tuple[str, ...]
    classes: tuple[str, ...]
    looks: bool
    asks_model: bool
    silence: float


@dataclass(frozen=True)
class CameraReply:
    """What is new of one camera.

    Parameters
    ----------
    alerts : each with the last seconds of the stream, where it opens an event.
    asked : events to be looked at, each with its frames.
    status : None until it is followed.
    notes : on how it was read, once it is over.
    error : why it can't be followed on this node.
    """

    alerts: tuple[tuple[LiveAlert, RecentFrames | None], ...] = ()
    asked: tuple[tuple[RecentFrames, Event], ...] = ()
    status: CameraStatus | None = None
    notes: tuple[str, ...] = ()
    over: bool = False
    error: AnomalistError | None = None


@dataclass(frozen=True, eq=False)
class AskingAnnotator(EventAnnotator):
    """An annotator that hands events to the driver; matches them with what is watched for by itself."""

    ask: Annotate | None = None
    model_is_asked: bool = False

    @property
    def asks_model(self) -> bool:
        """Whether the driver asks a language model."""
        return self.model_is_asked

    @property
    def looks_at_pictures(self) -> bool:
        """Whether the driver looks at events again."""
        return self.ask is not None

    def __call__(self, video: Video, events: tuple[Event, ...]) -> tuple[Event, ...]:
        """The events as the driver has annotated them; waits for that."""
        assert self.ask is not None
        return self.ask(video, events)


class CameraActor:
    """Follows cameras in one process: one, or as a standby those that a node has left behind.

    What the user can mend is returned, not raised, so that the driver tells it from a node that has died.

    Parameters
    ----------
    environment : variables that the driver has.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        import cv2

        os.environ.update(environment)
        cv2.setNumThreads(1)  # all cores have cameras
        self._opening = Lock()
        self._opened: dict[str, Triage] = {}
        self._followed: dict[str, _Follower] = {}

    def prepare(self, tasks: Sequence[CameraTask]) -> None:
        """Open what cameras will be judged with, and use it once, so that following one begins at once."""
        for task in {task.camera.profile: task for task in tasks}.values():
            with suppress(AnomalistError):  # said of the camera, when it comes
                rehearse(self._triage(task))

    def follow(self, task: CameraTask, seconds: float) -> CameraReply:
        """Begin to follow a camera; the first reply, see `take`."""
        try:
            followed = _Follower(task, self._triage(task))
        except AnomalistError as error:
            return CameraReply(error=error)
        self._followed[task.camera.name] = followed
        return followed.take({}, seconds)

    def take(self, name: str, answers: Mapping[str, Answer], seconds: float) -> CameraReply:
        """Bring answers, by event, and take what is new of a camera; waits so many seconds at most."""
        return self._followed[name].take(answers, seconds)

    def is_there(self) -> bool:
        """Answer, at once."""
        return True

    def leave(self, name: str) -> None:
        """Forget a camera that is over."""
        self._followed.pop(name, None)

    def _triage(self, task: CameraTask) -> Triage:
        with self._opening:
            scene = task.camera.profile
            if scene not in self._opened:
                self._opened[scene] = open_camera_triage(task)
            return self._opened[scene]


class _Follower:
    """Follows one camera in a thread."""

    def __init__(self, task: CameraTask, opened: Triage) -> None:
        self._changed = Condition()
        self._untaken: deque[tuple[LiveAlert, RecentFrames | None]] = deque()
        self._asked: deque[tuple[RecentFrames, Event]] = deque()
        self._answers: dict[str, Answer] = {}
        self._over = False
        self._error: AnomalistError | None = None
        triage = copy(opened)
        triage.annotator = _annotator(task, opened.annotator, self._ask)
        name = task.camera.name
        self._set = CameraSet(
            [task.camera],
            {name: triage},
            before={name: by_this_clock(task.before, task.sent, utc())},
            silence=task.silence,
        )
        Thread(target=self._follow, name="follow", daemon=True).start()

    def take(self, answers: Mapping[str, Answer], seconds: float) -> CameraReply:
        """Bring answers, and take what is new; waits for that so many seconds at most."""
        with self._changed:
            self._answers.update(answers)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._untaken or self._asked or self._over or self._error, seconds)
            alerts, asked = tuple(self._untaken), tuple(self._asked)
            self._untaken.clear()
            self._asked.clear()
            self._changed.notify_all()
            over, error = self._over, self._error
        (status,), notes = self._set.statuses(), tuple(note for _, note in self._set.notes)
        return CameraReply(alerts, asked, status, notes, over, error)

    def _follow(self) -> None:
        try:
            with self._set as followed:
                for alert in followed.alerts():
                    frames = followed.recent(str(alert.camera)) if alert.state == "opened" else None
                    self._tell(alert, None if frames is None else frames.snapshot())
        except Exception as error:  # said by the driver; a thread would end in silence
            with self._changed:
                self._error = DataError(f"Following failed ({type(error).__name__}: {error}).")
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def _tell(self, alert: LiveAlert, frames: RecentFrames | None) -> None:
        with self._changed:
            self._changed.wait_for(lambda: len(self._untaken) < MAX_UNTAKEN)
            self._untaken.append((alert, frames))
            self._changed.notify_all()

    def _ask(self, video: Video, events: tuple[Event, ...]) -> tuple[Event, ...]:
        """Hand events to the driver, and wait for what it says."""
        assert isinstance(video, RecentFrames)
        with self._changed:
            self._asked.extend((video, event) for event in events)
            self._changed.notify_all()
            self._changed.wait_for(lambda: all(event.id in self._answers for event in events))
            answers = [self._answers.pop(event.id) for event in events]
        said = []
        for answer in answers:
            if isinstance(answer, AnomalistError):
                raise answer
            said.append(answer)
        return tuple(said)


def open_camera_triage(task: CameraTask) -> Triage:
    """The triage of a camera on a node, which asks no model.

    Raises ProfileError where its scene or what it recalls is missing, or another version than the driver's.
    """
    triage = Triage(
        TriageSettings(
            task.camera.profile,
            false_events_per_hour=task.false_events_per_hour,
            mode="causal",
            policy=task.policy,
            model=EVIDENCE,
            memory=task.memory,
        )
    )
    check_version(triage.scene.name, triage.scene.digest, task.scene_digest)
    check_version(f"rules or scenes of {triage.scene.name}", recalled_digest(triage), task.memory_digest)
    return triage


def rehearse(triage: Triage) -> None:
    """Judge a second of something that moves, so that all libraries are loaded and have run once."""
    import av  # noqa: F401  # receives

    ground = np.repeat(
        np.clip(triage.scene.learned.background.grey, 0, 255).astype(np.uint8)[..., None], 3, 2
    )
    height, width, _ = ground.shape
    follower = StreamTriage(triage, "rehearsal", (height, width))
    for index in range(_REHEARSED_FRAMES):
        pixels = ground.copy()
        left = width * index // (2 * _REHEARSED_FRAMES)
        pixels[height // 3 : 2 * height // 3, left : left + width // 8] ^= 128
        for _ in follower.alerts_for(Frame(index, index / ANALYSIS_RATE, pixels)):
            pass


def _annotator(task: CameraTask, opened: EventAnnotator, ask: Annotate) -> AskingAnnotator:
    told: dict[str, Any] = {each.name: getattr(opened, each.name) for each in _FIELDS}
    told["watch"] = EventWatch(task.watch, classes=task.classes) if task.watch else None
    return AskingAnnotator(**told, ask=ask if task.looks else None, model_is_asked=task.asks_model)


_FIELDS = dataclasses.fields(EventAnnotator)


def recalled_digest(triage: Triage) -> str:
    """Of the rules and scenes that a triage recalls."""
    from anomalist.memory.scenes.memory import memory_digest

    if triage.memory is None:
        return ""
    return digest_of(triage.memory.digest, memory_digest(triage.scene.name))


def by_this_clock(before: CameraProgress, sent: datetime, now: datetime) -> CameraProgress:
    """How far a camera was followed, in the time of this node's clock."""
    if before.when is None:
        return before
    return dataclasses.replace(before, when=before.when + (now - sent))


def scene_folder(triage: Triage) -> Path:
    """Where the scene of a triage is; raises DataError for one that was never written to a folder."""
    if triage.scene.path is None:
        raise DataError(f"The scene {triage.scene.name} is in no folder, where a node could read it.")
    return triage.scene.path.absolute()
