"""Live cameras: which ones are followed, by which server, and how they are.

Cameras that are wanted are followed together by one `CameraSet`; when one is lost that is said, and it is
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
from sqlalchemy.exc import SQLAlchemyError

from anomalist.audit.recording import AuditTrail, open_trail
from anomalist.cameras.camera_set import CameraSet, TriagesTogether
from anomalist.cameras.listing import Camera
from anomalist.composition import TriageSettings
from anomalist.errors import AnomalistError
from anomalist.memory.cases import acting_as
from anomalist.publishing.publishers import Publishers
from anomalist.server.database import CameraRow, Database
from anomalist.server.following import MAX_EVENTS, CameraRun
from anomalist.server.jobs import LEASE
from anomalist.server.problems import ConflictError, ForbiddenError, NotFoundError
from anomalist.server.scene_zones import drawn_zones
from anomalist.storage.places import bring_profile, send_soon
from anomalist.streaming import LiveAlert
from anomalist.triage import Triage
from anomalist.vision.media.sources import redact_url, scheme_of
from anomalist.vision.media.streams import RecentFrames

CameraState = Literal["stopped", "connecting", "following", "lost"]

FIRST_WAIT = 5.0
"""Seconds after which a camera that ended or can't be judged is tried again; each time twice as many."""
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


class CameraSession:
    """One camera from when it was begun with until it ends; used by one thread at a time.

    Parameters
    ----------
    camera : as it was when it was begun with.
    triage : of its scene.
    runs : folder of the run folders.
    """

    def __init__(self, camera: KeptCamera, triage: Triage, runs: Path) -> None:
        self.camera = camera
        self.began = time.monotonic()
        self.state: CameraState = "connecting"
        self._triage, self._runs = triage, runs
        self._run: CameraRun | None = None
        self._trail: AuditTrail | None = None
        self._lock = threading.Lock()
        self._is_open = True

    @property
    def source(self) -> tuple[str, str, str]:
        """Scene, address and owner."""
        return self.camera.scene, self.camera.address, self.camera.owner

    @property
    def run(self) -> str:
        """Name of the run that is written; "" for none yet."""
        return "" if self._run is None else self._run.path.name

    def keep(self, alert: LiveAlert, recent: RecentFrames) -> None:
        """Store an alert, also in the audit log; raises DataError where it can't be."""
        with self._lock, acting_as(self.camera.owner):
            if not self._is_open:
                return
            if self._trail is None and (trail := open_trail()) is not None:
                trail.begin_triage(self._triage, "serve")
                self._trail = trail
            if alert.state not in ("lost", "back", "ended"):
                self._keep_in_run(alert, recent)
            if self._trail is not None:
                row = alert.model_dump(mode="json")
                about = {"about": self.camera.name, "profile": self.camera.scene}
                self._trail.write("alert", {"alert": row, **about})

    def close(self) -> None:
        """Let others write; what comes later is not kept."""
        with self._lock:
            self._is_open = False
            if self._run is not None:
                self._run.__exit__()
            if self._trail is not None:
                self._trail.log.close()

    def _keep_in_run(self, alert: LiveAlert, recent: RecentFrames) -> None:
        # Only with a new event: a run that began with a covered camera would not know of it, and be normal.
        if self._run is not None and self._run.events >= MAX_EVENTS and alert.state == "opened":
            self._run.__exit__()
            self._run = None
        if self._run is None:
            name = self.camera.name
            self._run = CameraRun(self._runs / _run_name(name), name, self._triage)
        self._run.keep(alert, recent)
        send_soon(self._run.path)


class Cameras:
    """The live cameras of the database, and what follows them; several threads may use one.

    Parameters
    ----------
    database : where cameras are kept.
    worker : id of this server, and of the place of its scenes: cameras of others are left to them.
    addresses : that may be followed, with their passwords. No request can add one.
    runs : folder of the run folders.
    model : who is asked about events, as after ``--model``; all cameras share one budget of calls.
    publishers : that alerts go to as well.

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
    ) -> None:
        for address in addresses:
            scheme_of(address)
        self._addresses = {redact_url(address): address for address in addresses}
        self._database = database
        self._worker, self._place = worker
        self._runs = runs
        self._publishers = publishers
        self._triages = TriagesTogether(TriageSettings("", model=model))
        self._set = CameraSet((), {})
        self._sessions: dict[str, CameraSession] = {}
        self._again: dict[str, tuple[float, float]] = {}
        self._unsaid: dict[str, dict[str, Any]] = {}
        self._saying = threading.Lock()
        self._closed = threading.Event()
        self._wake = threading.Event()
        self._threads = [
            threading.Thread(target=self._supervise, name="cameras", daemon=True),
            threading.Thread(target=self._follow, name="alerts", daemon=True),
        ]

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses that may be followed, as they are shown."""
        return tuple(self._addresses)

    @property
    def trouble(self) -> str:
        """Why cameras are not followed or their alerts not stored any more; "" where all is well."""
        if self._closed.is_set():
            return ""
        dead = [thread.name for thread in self._threads if not thread.is_alive()]
        return f"No {' and '.join(dead)} are handled any more; the server's log says why." if dead else ""

    def start(self) -> None:
        """Go on with what an earlier process of this server followed."""
        with self._database.session() as session:
            session.execute(update(CameraRow).where(CameraRow.worker == self._worker).values(beat=0.0))
            session.commit()
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End all threads; what is wanted stays so, for the next server."""
        self._closed.set()
        self._wake.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout=10)
        self._set.__exit__()
        for session in self._sessions.values():
            session.close()

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
        for name, session in list(self._sessions.items()):
            if session.camera.scene == scene:
                self._leave(name)
        self._wake.set()

    def remove(self, name: str) -> None:
        """Forget a camera; what was seen stays in its runs. Raises NotFoundError."""
        with self._database.session() as session:
            row = session.get(CameraRow, name)
            if row is None:
                raise NotFoundError(f"There is no camera {name[:80]}.")
            session.delete(row)
            session.commit()
        self._again.pop(name, None)
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
        for name in list(self._unsaid):
            self._say(name)
        for name in {*self._sessions, *self._again} - mine.keys():
            self._again.pop(name, None)
            self._leave(name)
        for name, camera in mine.items():
            current = self._sessions.get(name)
            if current is not None and current.source != (camera.scene, camera.address, camera.owner):
                self._leave(name)  # removed, and added as another one since the last look
            due, _ = self._again.get(name, (0.0, 0.0))
            if name not in self._sessions and time.monotonic() >= due:
                self._begin(camera)
        for status in self._set.statuses():
            current = self._sessions.get(status.name)
            if current is not None and status.state == "watching" and current.state == "connecting":
                current.state = "following"
                self._say(status.name, state="following")

    def _begin(self, camera: KeptCamera) -> None:
        self._say(camera.name, state="connecting", note=camera.note)
        try:
            address = self._addresses.get(camera.address)
            if address is None:
                raise ForbiddenError(
                    "Its address is not in the list of cameras any more.",
                    "Start the server with --camera ADDRESS",
                )
            bring_profile(camera.scene)
            triage = self._triages.open(camera.scene, drawn_zones(self._database, camera.scene))
        except AnomalistError as error:
            self._try_again(camera.name, str(error))
            return
        except Exception as error:
            _log.exception("The camera %s can't be followed.", camera.name)
            self._try_again(camera.name, f"It failed for a reason that is a fault of anomalist: {error!r}")
            return
        self._sessions[camera.name] = CameraSession(camera, triage, self._runs)
        self._set.add(Camera(name=camera.name, source=address, profile=camera.scene), triage)

    def _leave(self, name: str) -> None:
        """Follow a camera no longer."""
        self._set.remove(name)
        if (session := self._sessions.pop(name, None)) is not None:
            session.close()

    def _try_again(self, name: str, why: str) -> None:
        """Leave a camera for a while, and say so."""
        session = self._sessions.get(name)
        _, before = self._again.get(name, (0.0, 0.0))
        lasted = 0.0 if session is None else time.monotonic() - session.began
        wait = min(2 * before, LONGEST_WAIT) if before and lasted <= LONGEST_WAIT else FIRST_WAIT
        self._again[name] = time.monotonic() + wait, wait  # first: the other thread begins what is left
        self._leave(name)
        self._say(name, state="lost", note=f"{why.rstrip('.')}. It is tried again in {wait:.0f} s.")

    def _follow(self) -> None:
        """Take the alerts of all cameras, one after another."""
        for alert in self._set.alerts(self._closed):
            name = str(alert.camera)
            try:
                self._take(name, alert)
            except Exception:  # the other cameras have alerts, too
                _log.exception("The camera %s can't be left.", name)

    def _take(self, name: str, alert: LiveAlert) -> None:
        session = self._sessions.get(name)
        if session is None:  # it was left meanwhile
            return
        try:
            session.keep(alert, self._set.recent(name))
            self._publishers.publish(alert)
            self._told(session, alert)
        except KeyError:  # the same
            return
        except AnomalistError as error:
            self._try_again(name, str(error))
        except Exception as error:
            _log.exception("An alert of the camera %s can't be kept.", name)
            self._try_again(name, f"It failed for a reason that is a fault of anomalist: {error!r}")

    def _told(self, session: CameraSession, alert: LiveAlert) -> None:
        """Say what an alert says of the camera."""
        name = session.camera.name
        if alert.state == "ended":
            self._try_again(name, alert.why or "The stream has ended.")
            return
        if alert.state == "lost":
            session.state = "lost"
            self._say(
                name, state="lost", note=f"{(alert.why or 'Nothing comes').rstrip('.')}. It is tried again."
            )
            return
        session.state = "following"
        fields: dict[str, Any] = {"state": "following"}
        if session.run:
            fields["run"] = session.run
        if (note := _note(alert)) is not None:
            fields["note"] = note
        if alert.event is not None:
            fields["alerts"] = 1
        self._say(name, **fields)

    def _say(self, name: str, **fields: Any) -> None:  # noqa: ANN401
        """Say how a camera is; one that was stopped meanwhile stays so.

        ``alerts`` is how many more there are. What a database that is gone does not take is said later, with
        what is said next: the thread has to go on.
        """
        here = update(CameraRow).where(CameraRow.name == name, CameraRow.wanted)
        with self._saying:
            before = self._unsaid.pop(name, {})
            more = before.pop("alerts", 0) + fields.pop("alerts", 0)
            now = {**before, **fields}
            try:
                with self._database.session() as session:
                    counted = CameraRow.alerts + more
                    session.execute(here.values(**now, alerts=counted, changed=time.time()))
                    session.commit()
            except SQLAlchemyError:
                self._unsaid[name] = now | {"alerts": more}
                _log.exception("How the camera %s is can't be written yet: %s", name, now)


def _note(alert: LiveAlert) -> str | None:
    """What an alert says of the camera itself; "" where all is well again, None where it says nothing."""
    if alert.state == "trouble":
        return f"The picture shows nothing: {alert.trouble}."
    if alert.state == "picture":
        kind = alert.picture
        return f"The picture is of another kind than what was learned: {kind}." if kind else ""
    return "" if alert.state in ("recovered", "back") else None


def _run_name(camera: str) -> str:
    stamp = f"{datetime.datetime.now(datetime.UTC):%Y%m%d-%H%M%S}"
    plain = re.sub(r"[^A-Za-z0-9_-]", "-", camera)[:45]
    return f"live-{plain}-{stamp}-{secrets.token_hex(2)}"


def _camera(row: CameraRow) -> KeptCamera:
    fields = (name for name in KeptCamera.__dataclass_fields__)
    return KeptCamera(**{name: getattr(row, name) for name in fields})
