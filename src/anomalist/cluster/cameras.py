"""Several cameras followed on a cluster: one actor a camera, one stream of alerts, one model and its budget.

The driver knows how far each camera was followed from the alerts that it has told, as after a restart on one
machine (`CameraProgress`). So when a node dies, its cameras go on elsewhere with that, and nothing is told
twice: in processes that wait there with all scenes open, since to start one takes too long beside cameras
that keep all cores busy. Alerts get the driver's time: the clocks of nodes order nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, Self

from anomalist.cameras.camera_set import SILENCE, FollowedCameras
from anomalist.cameras.line import CameraStatus, camera_alert, first_state
from anomalist.cameras.listing import Camera
from anomalist.cameras.progress import CameraProgress, utc, what_is_told
from anomalist.cluster.camera_actor import (
    Answer,
    CameraActor,
    CameraReply,
    CameraTask,
    recalled_digest,
    scene_folder,
)
from anomalist.cluster.connection import RayOptions, connected, last_line, told_environment
from anomalist.errors import AnomalistError, DataError, ModelError
from anomalist.streaming import AlertState, LiveAlert
from anomalist.triage import Triage
from anomalist.types.clip import Event
from anomalist.vision.media.images import one_line
from anomalist.vision.media.sources import is_url, redact_url
from anomalist.vision.media.streams import RecentFrames

MAX_DEATHS = 3
"""Processes that a camera may end, with few frames scored in each, before it is set aside."""
_FEW = 1000  # frames
_TAKE_SECONDS = 1.0  # that an actor waits for something new
_SILENT_SECONDS = 5.0  # without any reply after which a node is gone: Ray itself takes half a minute
_HUNG_SECONDS = 300.0  # without a reply after which a process is gone, though others of its node answer
_MAX_STANDBY_CAMERAS = 8  # that one process scores; more get processes of their own
_STANDBY_SECONDS = 5.0  # between looks at which nodes have a standby
_AVOID_SECONDS = 60.0  # for which a node is avoided where an actor has died: it may die altogether

_log = logging.getLogger(__name__)


def choose_node(cores: Mapping[str, float], load: Mapping[str, float], avoided: frozenset[str]) -> str | None:
    """The node with the least load a core among those that aren't avoided, else among all.

    Parameters
    ----------
    cores : of each node, by its id; one without any takes no camera unless there is no other.
    load : cores that its cameras take.
    """
    for able in (
        [node for node, count in cores.items() if count > 0 and node not in avoided],
        [node for node, count in cores.items() if count > 0],
        list(cores),
    ):
        if able:
            return min(able, key=lambda node: (load.get(node, 0.0) / max(cores[node], 1e-3), node))
    return None


@dataclass(eq=False)
class _Host:
    """A process on a node that follows cameras: that of one camera, or a standby.

    Parameters
    ----------
    prepared : reply of a standby when it has opened all scenes.
    reply, asked_at : of a standby: whether it is there; and when it was asked, by the monotonic clock.
    """

    actor: Any
    node: str
    standby: bool = False
    prepared: Any = None
    reply: Any = None
    asked_at: float = 0.0

    def end(self) -> None:
        """End it, also where it hangs."""
        import ray

        if ray.is_initialized():
            ray.kill(self.actor, no_restart=True)


@dataclass(eq=False)
class _Followed:
    """One camera on the cluster.

    Parameters
    ----------
    recent : its last seconds when its last event opened.
    load : cores that it takes, as was measured last.
    frames : that were scored by processes which have ended.
    answered : whether its process has answered, so that it is there.
    deaths : nodes where its process has ended of late.
    over : whether nothing more comes of it; it may have ended before, and wait for a model.
    """

    camera: Camera
    triage: Triage
    progress: CameraProgress
    source: str
    status: CameraStatus
    recent: RecentFrames
    host: _Host | None = None
    node: str | None = None
    reply: Any = None
    asked_at: float = 0.0
    began: float = 0.0
    load: float | None = None
    frames: int = 0
    answered: bool = False
    answers: dict[str, Answer] = field(default_factory=dict)
    deaths: list[str] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    over: bool = False

    def heard(self, status: CameraStatus) -> None:
        """Take note of how it is doing on its node."""
        ran = time.monotonic() - self.began
        if status.frames and ran > _TAKE_SECONDS:
            self.load = status.seconds / ran
        if status.frames > _FEW:
            self.deaths.clear()
        self.status = status.replace(frames=self.frames + status.frames)


class ClusterCameras(FollowedCameras[_Followed]):
    """Follows several cameras on a Ray cluster; a context manager, used as `CameraSet` is.

    Each camera has an actor, on the node whose cameras take least of its cores. Where there are live ones,
    each node has a standby too, which takes cameras that another has left behind. A model is asked in this
    process, one event after another, within the one budget of ``triages``.

    Parameters
    ----------
    cameras, triages, before, silence : see `CameraSet`; scenes are in folders that all nodes see.
    options : which cluster.

    Raises
    ------
    DataError : a scene is in no folder; on entering: the cluster can't be reached.
    """

    def __init__(
        self,
        cameras: Sequence[Camera],
        triages: Mapping[str, Triage],
        options: RayOptions,
        *,
        before: Mapping[str, CameraProgress] | None = None,
        silence: float = SILENCE,
    ) -> None:
        self._options = options
        self._silence = silence
        self._unfit: dict[tuple[str, str], AnomalistError] = {}
        self._avoided: dict[str, float] = {}
        self._standbys: dict[str, _Host] = {}
        self._looked_at = 0.0
        self._questions: SimpleQueue[tuple[_Followed, RecentFrames, Event] | None] = SimpleQueue()
        self._lines = {
            camera.name: _followed(camera, triages[camera.name], (before or {}).get(camera.name))
            for camera in cameras
        }

    def __enter__(self) -> Self:
        with ExitStack() as opening:
            opening.enter_context(connected(self._options))
            Thread(target=self._answer, name="opinions", daemon=True).start()
            opening.callback(self._questions.put, None)
            opening.callback(self._end_all)
            self._closing = opening.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def _end_all(self) -> None:
        for host in [*self._standbys.values(), *(line.host for line in self._lines.values())]:
            if host is not None:
                host.end()

    def alerts(self) -> Iterator[LiveAlert]:
        """Yield the alerts of all cameras, in the order of this machine's clock, until every one has ended.

        A camera whose node is gone is "lost" until it is followed from another, and "back" then.

        Raises
        ------
        AnomalistError : no node has the scene of a camera, in the same version. Once some are followed, such
            a camera has ended, and the others go on.
        """
        import ray

        while open_ones := [line for line in self._lines.values() if not line.over]:
            for line in open_ones:
                if line.reply is None:
                    try:
                        self._ask_what_is_new(line)
                    except AnomalistError as error:
                        if not any(each.status.frames for each in self._lines.values()):
                            raise
                        yield from self._ended(line, error)  # the others go on
            waiting = {line.reply: line for line in open_ones if line.reply is not None}
            if not waiting:
                continue
            ready, _ = ray.wait(list(waiting), num_returns=len(waiting), timeout=0.0)
            if not ready:
                ready, _ = ray.wait(list(waiting), num_returns=1, timeout=_TAKE_SECONDS)
            for reply in ready:
                yield from self._taken(waiting[reply])
            for line in open_ones:
                if line.reply is not None and time.monotonic() - line.asked_at > _HUNG_SECONDS:
                    yield from self._gone(line, "The process that followed it does not answer.")
            for line in self._on_silent_nodes():
                yield from self._gone(line, "The node that followed it does not answer.")
            self._keep_standbys()

    def placed(self) -> dict[str, str | None]:
        """The id of the node that each camera is followed on, by its name."""
        return {name: line.node for name, line in self._lines.items()}

    def ready_standbys(self) -> frozenset[str]:
        """The ids of nodes that can take cameras of others at once."""
        import ray

        waits = {host.prepared: node for node, host in self._standbys.items()}
        ready, _ = ray.wait(list(waits), num_returns=len(waits), timeout=0.0) if waits else ([], [])
        return frozenset(waits[reply] for reply in ready)

    def _ask_what_is_new(self, line: _Followed) -> None:
        if line.host is None:
            self._start(line)
        else:
            given = {event: line.answers.pop(event) for event in list(line.answers)}
            line.reply = line.host.actor.take.remote(line.camera.name, given, _TAKE_SECONDS)
        line.asked_at = time.monotonic()

    def _start(self, line: _Followed) -> None:
        """Follow a camera from the node that has most to spare: by its standby, or by a process of its own.

        One that may be what ends processes gets one of its own.
        """
        cores = _cores()
        unfit = {node: why for (node, scene), why in self._unfit.items() if scene == line.camera.profile}
        fit = {node: count for node, count in cores.items() if node not in unfit}
        now = time.monotonic()
        avoided = frozenset(node for node, until in self._avoided.items() if now < until)
        node = choose_node(fit, self._load(), avoided)
        if node is None:
            raise next(iter(unfit.values()), DataError("No node of the cluster is alive."))
        standby = self._standbys.get(node)
        suspect = sum(dead in cores for dead in line.deaths) > 1
        if line.deaths and standby and not suspect and self._taken_by(standby) < _MAX_STANDBY_CAMERAS:
            line.host = standby
        else:
            line.host = _host(node)
        line.node, line.began, line.answered = node, now, False
        line.reply = line.host.actor.follow.remote(self._task(line), _TAKE_SECONDS)

    def _taken_by(self, host: _Host) -> int:
        return sum(line.host is host for line in self._lines.values())

    def _on_silent_nodes(self) -> list[_Followed]:
        """The cameras of nodes of which nobody has answered for a while who has answered before."""
        import ray

        now = time.monotonic()
        asked: dict[str, list[tuple[Any, float]]] = {}
        for line in self._lines.values():
            if line.host is not None and line.reply is not None and line.answered:
                asked.setdefault(line.host.node, []).append((line.reply, line.asked_at))
        for node in self.ready_standbys():
            standby = self._standbys[node]
            if standby.reply is not None and ray.wait([standby.reply], timeout=0.0)[0]:
                try:
                    ray.get(standby.reply)
                except ray.exceptions.RayError:  # the node gets another one, if it is there
                    del self._standbys[node]
                    continue
                standby.reply = None
            if standby.reply is None:
                standby.reply, standby.asked_at = standby.actor.is_there.remote(), now
            asked.setdefault(node, []).append((standby.reply, standby.asked_at))
        silent = {
            node
            for node, replies in asked.items()
            if all(now - at > _SILENT_SECONDS for _, at in replies)
            and not ray.wait([reply for reply, _ in replies], timeout=0.0)[0]
        }
        return [line for line in self._lines.values() if line.host is not None and line.host.node in silent]

    def _keep_standbys(self) -> None:
        """See to it that each node has a standby, once all cameras that can be followed are."""
        now = time.monotonic()
        open_ones = [line for line in self._lines.values() if not line.over]
        live = [line for line in open_ones if is_url(line.camera.source)]
        starting = any(line.reply is not None and line.status.state == "connecting" for line in open_ones)
        if now - self._looked_at < _STANDBY_SECONDS or not live or starting:
            return
        self._looked_at = now
        nodes = [node for node, count in _cores().items() if count > 0]
        for node in nodes if len(nodes) > 1 else ():
            if node not in self._standbys and now >= self._avoided.get(node, 0.0):
                self._standbys[node] = host = _host(node, standby=True)
                host.prepared = host.actor.prepare.remote([self._task(line) for line in live])

    def _load(self) -> dict[str, float]:
        """Cores that the cameras of each node take; those not measured yet count as the others do."""
        placed = [line for line in self._lines.values() if line.host is not None]
        known = [line.load for line in self._lines.values() if line.load is not None]
        usual = sum(known) / len(known) if known else 1.0
        found: dict[str, float] = {}
        for line in placed:
            load = usual if line.load is None else line.load
            found[str(line.node)] = found.get(str(line.node), 0.0) + load
        return found

    def _task(self, line: _Followed) -> CameraTask:
        triage, annotator = line.triage, line.triage.annotator
        camera = line.camera.replace(profile=f"{scene_folder(triage)}/")
        return CameraTask(
            camera=camera if is_url(camera.source) else camera.replace(source=line.source),
            before=line.progress,
            sent=utc(),
            scene_digest=triage.scene.digest,
            memory_digest=recalled_digest(triage),
            false_events_per_hour=triage.false_events_per_hour,
            policy=triage.policy,
            memory=triage.memory is not None,
            watch=tuple(annotator.watch.items) if annotator.watch else (),
            classes=annotator.naming.classes if annotator.naming else (),
            looks=annotator.looks_at_pictures,
            asks_model=annotator.asks_model,
            silence=self._silence,
        )

    def _taken(self, line: _Followed) -> Iterator[LiveAlert]:
        """What the reply of an actor brings."""
        import ray

        reply, line.reply = line.reply, None
        try:
            new: CameraReply = ray.get(reply)
        except ray.exceptions.RayError as error:
            _log.info("%s: %s", line.camera.name, error)
            yield from self._gone(
                line, f"The process or the node that followed it is gone ({one_line(last_line(error), 160)})."
            )
            return
        line.answered = True
        if new.error is not None and new.status is None:
            self._set_aside(line, new.error)
            return
        if new.status is not None:
            line.heard(new.status)
        for alert, recent in new.alerts:
            line.recent = recent or line.recent
            yield from self._told(line, alert)
        for recent, event in new.asked:
            self._questions.put((line, recent, event))
        if new.over:
            line.notes = new.notes
            yield from self._ended(line, new.error)

    def _told(self, line: _Followed, alert: LiveAlert) -> Iterator[LiveAlert]:
        """An alert that was not told yet, by this machine's clock."""
        if alert.state not in ("updated", "watching") and what_is_told(alert) in line.progress.told:
            return
        alert = alert.replace(time=utc().isoformat(timespec="milliseconds"))
        line.progress.add(alert)
        yield alert

    def _ended(self, line: _Followed, error: AnomalistError | None) -> Iterator[LiveAlert]:
        """A camera that nothing more comes of."""
        _leave(line)
        line.over = True
        if error is not None:
            line.status = line.status.replace(state="ended", why=str(error))
            yield from self._told(line, _said(line, "ended", str(error)))

    def _gone(self, line: _Followed, why: str) -> Iterator[LiveAlert]:
        """Let a camera go on elsewhere, if it is not itself what ends processes."""
        _log.warning("%s: %s", line.camera.name, why)
        self._avoided[str(line.node)] = time.monotonic() + _AVOID_SECONDS
        line.deaths.append(str(line.node))
        if line.host is not None:
            line.host.end()
            if self._standbys.get(line.host.node) is line.host:
                del self._standbys[line.host.node]
        _leave(line)
        line.frames = line.status.frames
        alive = _cores()
        if sum(node in alive for node in line.deaths) >= MAX_DEATHS:
            error = DataError(
                f"{line.camera.name} was set aside: it has ended {MAX_DEATHS} processes. {why}",
                "It takes too much memory or breaks a library, or a node lacks what is needed.",
            )
            yield from self._ended(line, error)
        elif not line.progress.lost:
            line.status = line.status.replace(state="lost", why=why)
            yield from self._told(line, _said(line, "lost", why))

    def _set_aside(self, line: _Followed, error: AnomalistError) -> None:
        """Place no camera of a scene any more on a node that can't follow one."""
        self._unfit[str(line.node), line.camera.profile] = error
        _log.warning("A node takes no cameras of %s: %s", line.triage.scene.name, error)
        _leave(line)

    def _answer(self) -> None:
        """Ask about one event after another, of whatever camera, until there is an end."""
        while (question := self._questions.get()) is not None:
            line, frames, event = question
            try:
                (answer,) = line.triage.annotator(frames, (event,))
                line.answers[event.id] = answer
            except Exception as error:  # the next event has its turn
                line.answers[event.id] = ModelError(str(error))


def _followed(camera: Camera, triage: Triage, before: CameraProgress | None) -> _Followed:
    source = redact_url(camera.source) if is_url(camera.source) else str(Path(camera.source).absolute())
    progress = before or CameraProgress()
    state = first_state(progress, source)
    status = CameraStatus(
        name=camera.name,
        source=source,
        scene=triage.scene.name,
        state=state,
        stream_time=round(progress.time, 3),
    )
    return _Followed(camera, triage, progress, source, status, RecentFrames(source), over=state == "ended")


def _said(line: _Followed, state: AlertState, why: str) -> LiveAlert:
    return camera_alert(line.camera.name, line.source, line.status.stream_time, state, why)


def _cores() -> dict[str, float]:
    """Cores of each node that is alive, by its id."""
    import ray

    return {each["NodeID"]: each["Resources"].get("CPU", 0.0) for each in ray.nodes() if each["Alive"]}


def _host(node: str, *, standby: bool = False) -> _Host:
    """Start a process on a node."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    where = NodeAffinitySchedulingStrategy(node, soft=False)
    actor = ray.remote(CameraActor).options(
        num_cpus=0,
        max_restarts=0,
        max_concurrency=2 * _MAX_STANDBY_CAMERAS,  # each waits for its camera
        scheduling_strategy=where,
    )
    return _Host(actor.remote(told_environment()), node, standby)


def _leave(line: _Followed) -> None:
    """Have a camera followed no longer; a process of its own ends."""
    host, line.host, line.reply = line.host, None, None
    line.answers.clear()
    if host is None:
        return
    if host.standby:
        host.actor.leave.remote(line.camera.name)
    else:
        host.end()
