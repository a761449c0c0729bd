"""Jobs: work that is accepted at once and done in its own time, and that survives the end of the server.

A job is in the database before its acceptance is told. Who does it says so every few seconds; a job whose
worker is silent, or is an earlier process of the same server, is done again from its start. What a job writes
is written so that doing it again changes nothing.
"""

from __future__ import annotations

import json
import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from sqlalchemy import Update, and_, or_, select, update
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError

from anomalist.errors import AnomalistError
from anomalist.memory.cases import acting_as
from anomalist.server.database import Database, JobRow
from anomalist.server.metrics import Metrics
from anomalist.server.problems import ConflictError, NotFoundError
from anomalist.storage.places import PlaceUnreachableError

JobKind = Literal["learn", "learn-products", "check", "learn-scene", "inspect", "triage"]
JOB_KINDS: tuple[JobKind, ...] = get_args(JobKind)
JobState = Literal["queued", "running", "done", "failed", "cancelled"]

LEASE = 60.0
"""Seconds of silence after which another server takes a job over."""
BEAT = 2.0
"""Seconds between two signs of life."""
MAX_ATTEMPTS = 25
"""A job that was begun this often and never ended is not tried again: it may be what ends the server."""

_log = logging.getLogger(__name__)


class JobCancelledError(Exception):
    """Somebody called the job off, or the server ends.

    No AnomalistError: triage takes those for faults of the clip that it reads, and goes on with the next.
    """


@dataclass(frozen=True)
class Job:
    """A job as it is now.

    Parameters
    ----------
    spec, result : as its kind defines them; ``result`` is empty until it is done.
    progress : what is done, how much of it and of how much.
    error : why it failed.
    attempts : how often it was begun.
    """

    id: str
    kind: str
    state: JobState
    owner: str
    spec: dict[str, Any]
    progress: dict[str, Any]
    result: dict[str, Any]
    error: str
    attempts: int
    created: float
    started: float | None
    finished: float | None


Report = Callable[[str, float, float], None]
"""Called with what is done, how far, and of how much; raises JobCancelledError."""
Worker = Callable[[Job, Report], Mapping[str, Any]]


class Jobs:
    """The jobs of the database, and a thread that does them; several threads may use one.

    Parameters
    ----------
    database : where jobs are kept.
    worker : id of this server: jobs that an earlier process of it was doing are begun again.
    workers : what does a job, by its kind.
    metrics : counts jobs.
    place : id of the folder with uploads and profiles; jobs of servers with another one are left to them.
    """

    def __init__(
        self,
        database: Database,
        worker: str,
        workers: Mapping[JobKind, Worker],
        metrics: Metrics,
        place: str = "",
    ) -> None:
        self._database = database
        self._place = place
        self._worker = worker
        self._workers = workers
        self._metrics = metrics
        self._wake = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)

    def start(self) -> None:
        """Take up what an earlier process left, and begin to work."""
        with self._database.session() as session:
            session.execute(
                update(JobRow)
                .where(JobRow.state == "running", JobRow.worker == self._worker)
                .values(state="queued")
            )
            session.commit()
        self._thread.start()

    def close(self) -> None:
        """End the thread; a running job is begun again by the next server."""
        self._closed.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    @property
    def trouble(self) -> str:
        """Why no job is done any more; "" where they are, or where that was asked for."""
        if self._closed.is_set() or self._thread.is_alive():
            return ""
        return "Jobs are not done any more; the server's log says why."

    def submit(self, kind: JobKind, spec: Mapping[str, Any], owner: str) -> Job:
        """Accept a job; when this returns, no crash loses it."""
        row = JobRow(
            id=secrets.token_hex(8),
            kind=kind,
            state="queued",
            owner=owner,
            spec=json.dumps(spec),
            progress="",
            result="",
            error="",
            attempts=0,
            worker=self._place,
            beat=0.0,
            created=time.time(),
        )
        with self._database.session() as session:
            session.add(row)
            session.commit()
            job = _job(row)
        self._wake.set()
        return job

    def get(self, id: str) -> Job:
        """A job. Raises NotFoundError."""
        with self._database.session() as session:
            row = session.get(JobRow, id)
            if row is None:
                raise NotFoundError(f"There is no job {id[:32]}.")
            return _job(row)

    def latest(self, most: int = 50, kinds: Sequence[str] = ()) -> list[Job]:
        """The newest jobs first; without ``kinds`` of every kind."""
        asked = select(JobRow).order_by(JobRow.created.desc()).limit(most)
        if kinds:
            asked = asked.where(JobRow.kind.in_(kinds))
        with self._database.session() as session:
            return [_job(row) for row in session.scalars(asked)]

    def cancel(self, id: str) -> Job:
        """Call a job off. Raises NotFoundError, or ConflictError where it has ended already."""
        with self._database.session() as session:
            done = session.execute(
                update(JobRow)
                .where(JobRow.id == id, JobRow.state.in_(("queued", "running")))
                .values(state="cancelled", finished=time.time())
            )
            session.commit()
        job = self.get(id)
        if not getattr(done, "rowcount", 0):
            raise ConflictError(f"The job is {job.state} already.")
        return job

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                job = self._claim()
            except Exception:
                _log.exception("The jobs can't be read.")
                job = None
            if job is not None:
                try:
                    self._do(job)
                    continue
                except Exception:  # it is silent now, and is begun again after LEASE
                    _log.exception("What became of the job %s can't be told.", job.id)
            self._wake.wait(1.0)
            self._wake.clear()

    def _claim(self) -> Job | None:
        """Take the oldest job that waits or that its worker has left; nobody else gets it then."""
        silent = and_(JobRow.state == "running", JobRow.beat < time.time() - LEASE)
        free = and_(or_(JobRow.state == "queued", silent), JobRow.worker.endswith(self._place))
        with self._database.session() as session:
            waiting = select(JobRow.id).where(free).order_by(JobRow.created).limit(1)
            id = session.scalar(waiting.with_for_update(skip_locked=True))  # nothing more to SQLite
            if id is None:
                return None
            now = time.time()
            taken = session.execute(
                update(JobRow)
                .where(JobRow.id == id, free)
                .values(
                    state="running",
                    worker=self._worker,
                    beat=now,
                    started=now,
                    attempts=JobRow.attempts + 1,
                )
            )
            session.commit()
            return self.get(id) if getattr(taken, "rowcount", 0) else None

    def _do(self, job: Job) -> None:
        if job.attempts > MAX_ATTEMPTS:
            self._end(job, "failed", error=f"It was begun {MAX_ATTEMPTS} times and never ended.")
            return
        ended = threading.Event()
        beating = threading.Thread(target=self._beat, args=(job.id, ended), daemon=True)
        beating.start()
        try:
            with acting_as(job.owner):
                result = self._workers[job.kind](job, self._report(job.id))  # type: ignore[index]
        except PlaceUnreachableError as error:
            _log.warning("The job %s waits: %s", job.id, error)
            self._put_back(job)
            self._closed.wait(BEAT)
        except JobCancelledError:
            if not self._closed.is_set():  # else the next server begins it again
                self._end(job, "cancelled")
        except AnomalistError as error:
            self._end(job, "failed", error=str(error))
        except (OperationalError, InterfaceError):  # its attempts count: it is not begun again for ever
            _log.exception("The job %s is begun again once the database is there.", job.id)
            self._settle(job, state="queued")
        except Exception as error:
            _log.exception("The job %s failed.", job.id)
            self._end(job, "failed", error=f"It failed for a reason that is a fault of anomalist: {error!r}")
        else:
            self._end(job, "done", result=result)
        finally:
            ended.set()
            beating.join()

    def _put_back(self, job: Job) -> None:
        """Let a job wait again, as if it had not been begun."""
        self._settle(job, state="queued", attempts=JobRow.attempts - 1)

    def _settle(self, job: Job, **values: Any) -> None:  # noqa: ANN401
        """Write what became of a job of this server, as soon as the database is there to take it."""
        while True:
            try:
                with self._database.session() as session:
                    session.execute(self._update_own(job.id).values(**values))
                    session.commit()
                return
            except SQLAlchemyError:
                _log.exception("What became of the job %s can't be written; it is tried again.", job.id)
            if self._closed.wait(BEAT):  # the next server begins it again
                return

    def _update_own(self, id: str) -> Update:
        """A change of a job that this server does, and nobody has called off or taken over."""
        return update(JobRow).where(JobRow.id == id, JobRow.state == "running", JobRow.worker == self._worker)

    def _beat(self, id: str, ended: threading.Event) -> None:
        while not ended.wait(BEAT):
            try:
                with self._database.session() as session:
                    session.execute(update(JobRow).where(JobRow.id == id).values(beat=time.time()))
                    session.commit()
            except Exception:
                _log.exception("A sign of life could not be given.")

    def _report(self, id: str) -> Report:
        last = 0.0

        def report(what: str, done: float, total: float) -> None:
            nonlocal last
            if self._closed.is_set():
                raise JobCancelledError("The server ends.")
            now = time.monotonic()
            if now - last < 0.3 and done < total:
                return
            last = now
            text = json.dumps({"what": what, "done": done, "of": total})
            try:
                with self._database.session() as session:
                    changed = self._update_own(id).values(progress=text, beat=time.time())
                    running = session.execute(changed)
                    session.commit()
            except SQLAlchemyError:
                _log.exception("The progress of the job %s can't be written.", id)
                return
            if not getattr(running, "rowcount", 0):
                raise JobCancelledError("The job was called off.")

        return report

    def _end(
        self, job: Job, state: JobState, *, result: Mapping[str, Any] | None = None, error: str = ""
    ) -> None:
        text = json.dumps(result) if result is not None else ""
        self._settle(job, state=state, result=text, error=error, finished=time.time())
        self._metrics.job(job.kind, state)


def _job(row: JobRow) -> Job:
    return Job(
        id=row.id,
        kind=row.kind,
        state=row.state,  # type: ignore[arg-type]
        owner=row.owner,
        spec=json.loads(row.spec),
        progress=json.loads(row.progress or "{}"),
        result=json.loads(row.result or "{}"),
        error=row.error,
        attempts=row.attempts,
        created=row.created,
        started=row.started,
        finished=row.finished,
    )
