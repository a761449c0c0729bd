"""Live cameras: which ones are followed, by which server, and how they are.

A camera that is wanted is followed in a thread of its own; when its stream is lost that is said, and it is
tried again. A server that starts goes on with what it followed; one that is silent loses it to another.
"""

from __future__ import annotations

import datetime
import logging
import re
import secrets
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import and_, or_, select, update

from anomalist.audit.recording import open_trail
from anomalist.composition import TriageSettings
from anomalist.errors import AnomalistError
from anomalist.memory.cases import acting_as
from anomalist.publishing.publishers import Publishers
from anomalist.server.database import CameraRow, Database
from anomalist.server.following import MAX_EVENTS, CameraRun, Follow, FollowedAlert, follow_stream
from anomalist.server.jobs import LEASE
from anomalist.server.problems import ConflictError, ForbiddenError, NotFoundError
from anomalist.server.scene_zones import drawn_zones
from anomalist.streaming import LiveAlert
from anomalist.triage import Triage
from anomalist.vision.media.sources import redact_url, scheme_of

CameraState = Literal["stopped", "connecting", "following", "lost"]

FIRST_WAIT = 5.0
"""Seconds after which a lost camera is tried again; each time twice as many, up to ``LONGEST_WAIT``."""
LONGEST_WAIT = 300.0
TICK = 1.0
"""Seconds between two looks at which cameras are wanted."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class KeptCamera:
    """A live camera as it is now.

    Parameters
    ----------
    address : as it is shown, without its password.
    wanted : whether it is to be followed.
    note : why it is lost, or what is wrong with its picture.
    run : of what was seen last; "" for none.
    alerts : how many changes of alerts were told.
    changed : seconds since 1970, UTC.
    """

    name: str
    scene: str
    address: str
    owner: str
    wanted: bool
    state: CameraState
    note: str
    run: str
    alerts: int
    changed: float


class Cameras:
    """The live cameras of the database, and threads that follow them; several threads may use one.

    Parameters
    ----------
    database : where cameras are kept.
    worker : id of this server, and of the folder with its scenes: cameras of others are left to them.
    addresses : that may be followed, with their passwords. No request can add one.
    runs : folder of the run folders.
    model : who is asked about events, as after ``--model``.
    publishers : that alerts go to as well.
    follow : follows one stream.

    Raises MediaError for an address that is none.
    """

    def __init__(
        self,
        database: Database,
        worker: tuple[str, str],
        addresses: tuple[str, ...],
        runs: Path,
        model: str,
        publishers: Publishers,
        follow: Follow = follow_stream,
    ) -> None:
        for address in addresses:
            scheme_of(address)
        self._addresses = {redact_url(address): address for address in addresses}
        self._database = database
        self._worker, self._place = worker
        self._runs = runs
        self._model = model
        self._publishers = publishers
        self._follow = follow
        self._closed = threading.Event()
        self._wake = threading.Event()
        self._followed: dict[str, tuple[threading.Thread, threading.Event]] = {}
        self._thread = threading.Thread(target=self._supervise, name="cameras", daemon=True)

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses that may be followed, as they are shown."""
        return tuple(self._addresses)

    def start(self) -> None:
        """Go on with what an earlier process of this server followed."""
        with self._database.session() as session:
            session.execute(update(CameraRow).where(CameraRow.worker == self._worker).values(beat=0.0))
            session.commit()
        self._thread.start()

    def close(self) -> None:
        """End all threads; what is wanted stays so, for the next server."""
        self._closed.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)
        for _, stopped in self._followed.values():
            stopped.set()
        for thread, _ in self._followed.values():
            thread.join(timeout=5)

    def all(self) -> list[KeptCamera]:
        """The cameras, by name."""
        with self._database.session() as session:
            return [_camera(row) for row in session.scalars(select(CameraRow).order_by(CameraRow.name))]

    def get(self, name: str) -> KeptCamera:
        """A camera. Raises NotFoundError."""
        with self._database.session() as session:
            row = session.get(CameraRow, name)
            if row is None:
                raise NotFoundError(f"There is no camera {name[:80]}.")
            return _camera(row)

    def add(self, name: str, scene: str, address: str, owner: str) -> KeptCamera:
        """Add a camera, and follow it.

        Raises ForbiddenError for an address that is not in the list, ConflictError for a twin.
        """
        shown = redact_url(address)
        if shown not in self._addresses or address not in (shown, self._addresses[shown]):
            raise ForbiddenError(
                "That address is not in the list of cameras.",
                "Whoever starts the server adds it: --camera ADDRESS",
            )
        with self._database.session() as session:
            if session.get(CameraRow, name) is not None:
                raise ConflictError(f"There is a camera {name} already.", "Choose another name.")
            fields = {
                "state": "connecting",
                "note": "",
                "run": "",
                "alerts": 0,
                "worker": self._place,
                "beat": 0.0,
            }
            row = CameraRow(
                name=name, scene=scene, address=shown, owner=owner, wanted=True, changed=time.time(), **fields
            )
            session.add(row)
            session.commit()
            camera = _camera(row)
        self._wake.set()
        return camera

    def want(self, name: str, wanted: bool) -> KeptCamera:
        """Start or stop a camera. Raises NotFoundError."""
        state = "connecting" if wanted else "stopped"
        with self._database.session() as session:
            changed = update(CameraRow).where(CameraRow.name == name, CameraRow.wanted != wanted)
            session.execute(changed.values(wanted=wanted, state=state, note="", changed=time.time()))
            session.commit()
        self._wake.set()
        return self.get(name)

    def restart(self, scene: str) -> None:
        """Begin again with the cameras of a scene, whose zones are others now."""
        for camera in self.all():
            if camera.scene == scene and (found := self._followed.get(camera.name)):
                found[1].set()
        self._wake.set()

    def remove(self, name: str) -> None:
        """Forget a camera; what was seen stays in its runs. Raises NotFoundError."""
        with self._database.session() as session:
            row = session.get(CameraRow, name)
            if row is None:
                raise NotFoundError(f"There is no camera {name[:80]}.")
            session.delete(row)
            session.commit()
        self._wake.set()

    def _supervise(self) -> None:
        while not self._closed.is_set():
            try:
                self._look()
            except Exception:
                _log.exception("The cameras can't be read.")
            self._wake.wait(TICK)
            self._wake.clear()

    def _look(self) -> None:
        """Follow what is wanted and nobody else follows; end what is no longer wanted."""
        self._followed = {
            name: (thread, stopped) for name, (thread, stopped) in self._followed.items() if thread.is_alive()
        }
        now = time.time()
        with self._database.session() as session:
            ours = CameraRow.worker.endswith(self._place)
            free = and_(ours, or_(CameraRow.worker == self._worker, CameraRow.beat < now - LEASE))
            rows = session.scalars(
                select(CameraRow).where(CameraRow.wanted, free).with_for_update(skip_locked=True)
            )
            mine = {row.name: _camera(row) for row in rows}
            session.execute(
                update(CameraRow).where(CameraRow.name.in_(list(mine))).values(worker=self._worker, beat=now)
            )
            session.commit()
        for name, (_, stopped) in self._followed.items():
            if name not in mine:
                stopped.set()
        for name, camera in mine.items():
            if name not in self._followed:
                stopped = threading.Event()
                thread = threading.Thread(
                    target=self._run, args=(camera, stopped), name=f"camera {name}", daemon=True
                )
                self._followed[name] = thread, stopped
                thread.start()

    def _run(self, camera: KeptCamera, stopped: threading.Event) -> None:
        """Follow a camera until it is stopped, and again where it is lost."""
        wait = FIRST_WAIT
        while not stopped.is_set() and not self._closed.is_set():
            began = time.monotonic()
            try:
                with acting_as(camera.owner):
                    self._session(camera, stopped)
                note = "The stream has ended."
            except AnomalistError as error:
                note = str(error)
            except Exception as error:
                _log.exception("The camera %s can't be followed.", camera.name)
                note = f"It failed for a reason that is a fault of anomalist: {error!r}"
            if stopped.is_set() or self._closed.is_set():
                return
            wait = FIRST_WAIT if time.monotonic() - began > LONGEST_WAIT else wait
            self._set(
                camera.name, state="lost", note=f"{note.rstrip('.')}. It is tried again in {wait:.0f} s."
            )
            stopped.wait(wait)
            wait = min(2 * wait, LONGEST_WAIT)

    def _session(self, camera: KeptCamera, stopped: threading.Event) -> None:
        address = self._addresses.get(camera.address)
        if address is None:
            raise ForbiddenError(
                "Its address is not in the list of cameras any more.",
                "Start the server with --camera ADDRESS",
            )
        self._set(camera.name, state="connecting", note=camera.note)
        zones = drawn_zones(self._database, camera.scene)
        triage = Triage(TriageSettings(camera.scene, mode="causal", zones=zones, model=self._model))
        trail = open_trail()
        if trail is not None:
            trail.begin_triage(triage, "serve")
        run: CameraRun | None = None
        try:
            for followed in self._follow(triage, address, stopped):
                if run is None or run.events >= MAX_EVENTS:
                    if run is not None:
                        run.__exit__()
                    run = CameraRun(self._runs / _run_name(camera.name), camera.name, triage)
                run.keep(followed)
                if (alert := followed.alert) is not None:
                    if trail is not None:
                        row = alert.model_dump(mode="json")
                        trail.write("alert", {"alert": row, "about": camera.name, "profile": camera.scene})
                    self._publishers.publish(alert)
                self._told(camera.name, followed, run.path.name)
        finally:
            if run is not None:
                run.__exit__()
            if trail is not None:
                trail.log.close()

    def _told(self, name: str, followed: FollowedAlert, run: str) -> None:
        alert = followed.alert
        fields: dict[str, Any] = {"state": "following", "run": run}
        if (note := "" if alert is None else _note(alert)) is not None:
            fields["note"] = note
        if alert is not None and alert.event is not None:
            fields["alerts"] = CameraRow.alerts + 1
        self._set(name, **fields)

    def _set(self, name: str, **fields: Any) -> None:  # noqa: ANN401
        """Say how a camera is; one that was stopped meanwhile stays so."""
        here = update(CameraRow).where(CameraRow.name == name, CameraRow.wanted)
        with self._database.session() as session:
            session.execute(here.values(**fields, changed=time.time()))
            session.commit()


def _note(alert: LiveAlert) -> str | None:
    """What an alert says of the camera itself; "" where all is well again, None where it says nothing."""
    if alert.state == "trouble":
        return f"The picture shows nothing: {alert.trouble}."
    if alert.state == "picture":
        kind = alert.picture
        return f"The picture is of another kind than what was learned: {kind}." if kind else ""
    return "" if alert.state == "recovered" else None


def _run_name(camera: str) -> str:
    stamp = f"{datetime.datetime.now(datetime.UTC):%Y%m%d-%H%M%S}"
    plain = re.sub(r"[^A-Za-z0-9_-]", "-", camera)[:45]
    return f"live-{plain}-{stamp}-{secrets.token_hex(2)}"


def _camera(row: CameraRow) -> KeptCamera:
    fields = (name for name in KeptCamera.__dataclass_fields__)
    return KeptCamera(**{name: getattr(row, name) for name in fields})
