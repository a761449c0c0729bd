"""Everything that the routes work with, opened together and closed in order."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import FileLock, Timeout

from anomalist.composition import Measure
from anomalist.errors import DataError
from anomalist.memory.cases import CaseStore
from anomalist.publishing.publishers import Publishers
from anomalist.server.accounts import Accounts
from anomalist.server.audit_index import AuditIndex
from anomalist.server.cameras import Cameras
from anomalist.server.config import ServerConfig, folder_id
from anomalist.server.database import Database
from anomalist.server.guard import RateLimit
from anomalist.server.inspecting import InspectionService
from anomalist.server.jobs import Jobs
from anomalist.server.lane import Lane
from anomalist.server.metrics import Metrics
from anomalist.server.store import InspectionStore
from anomalist.server.talks import Talks
from anomalist.server.uploads import Uploads
from anomalist.server.work import JobWork
from anomalist.settings import Settings
from anomalist.storage.files import digest_of
from anomalist.storage.places import ArtifactPlace, HomePlace, using_place
from anomalist.storage.row_store import shared_rows

RAY_THREADS = 16
"""Requests that are on their way at a time where a cluster measures: these threads only wait for it."""

_log = logging.getLogger(__name__)


class Services:
    """The parts of a server; a context manager.

    Parameters
    ----------
    config : what the server may do.

    Raises
    ------
    DataError : another server works in the same folder; the database can't be used; or the server would be
        open to others without a password.
    """

    def __init__(self, config: ServerConfig) -> None:
        self.config = config
        self.metrics = Metrics()
        self._lock = FileLock(config.folder / (f".lock-{config.instance}" if config.instance else ".lock"))

    def __enter__(self) -> Self:
        folder = self.config.folder
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise DataError(
                f"Another server works in {folder}.",
                "End it, or set ANOMALIST_HOME for this one, or ANOMALIST_SERVER_INSTANCE to share the work.",
            ) from error
        with ExitStack() as opening:
            opening.callback(self._lock.release)
            self._open(folder, opening)
            self._closing = opening.pop_all()
        return self

    def _open(self, folder: Path, opening: ExitStack) -> None:
        config = self.config
        self.runs = folder / "runs"
        refuse_lonely_database(config)
        check_memory()
        place, server = identity(config, folder)
        self.database = Database(config.database_url)
        opening.callback(self.database.close)
        self.accounts = Accounts(self.database, config.session_hours * 3600)
        refuse_open_server(config, self.accounts)
        self.place = open_place(config, folder, server)
        opening.callback(self.place.close)
        self.place.start()
        opening.enter_context(using_place(self.place))
        self.logins = RateLimit(config.logins_per_minute)
        self.uploads = Uploads(folder / "uploads")
        self.store = InspectionStore(self.database)
        self.audit = AuditIndex()
        self.publishers = opening.enter_context(Publishers((), _log.warning))
        measure = measuring_elsewhere(config, opening)
        self.lane = Lane(config.waiting, threads=2 if measure is None else RAY_THREADS)
        self.inspections = InspectionService(
            self.lane, self.store, self.runs, server, self.metrics, self.publishers, measure
        )
        opening.callback(self.inspections.close)
        opening.callback(self.lane.close)
        self.talks = Talks(self.lane, self.store, self.inspections.loaded, self.runs, config.model)
        work = JobWork(folder, self.store, config.model, self.publishers)
        self.jobs = Jobs(self.database, server, work.workers, self.metrics, place)
        self.cameras = Cameras(
            self.database, (server, place), config.cameras, self.runs, config.model, self.publishers
        )
        self.jobs.start()
        opening.callback(self.jobs.close)
        self.cameras.start()
        opening.callback(self.cameras.close)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.close()


def identity(config: ServerConfig, folder: Path) -> tuple[str, str]:
    """Ids of the place that a server keeps its artefacts at, and of the server, which ends with that."""
    own = folder_id(folder)
    place = digest_of(config.store.rstrip("/"))[:12] if config.store else own
    if not config.is_shared:
        return place, own
    return place, f"{digest_of(config.instance or own)[:6]}-{place}"


def open_place(config: ServerConfig, folder: Path, server: str) -> ArtifactPlace:
    """Where artefacts are kept: the home alone, or a store as well. Raises DataError for a wrong address."""
    if not config.store:
        return HomePlace()
    from anomalist.storage.object_store import ObjectStore
    from anomalist.storage.shared_place import SharedPlace

    return SharedPlace(ObjectStore(config.store), folder, Settings().profiles, server, _log.warning)


def measuring_elsewhere(config: ServerConfig, opening: ExitStack) -> Measure | None:
    """What measures on a Ray cluster until ``opening`` is closed; None where the server measures itself.

    Raises DataError where the cluster does not answer.
    """
    if not config.ray:
        return None
    from anomalist.cluster.connection import RayOptions
    from anomalist.cluster.serving import served

    return opening.enter_context(served(RayOptions(config.ray, gpus=config.ray_gpus)))


def refuse_lonely_database(config: ServerConfig) -> None:
    """Raise DataError where servers are to share the work, and their database can't be shared."""
    if config.is_shared and config.database_url.startswith("sqlite"):
        raise DataError(
            "Servers that share the work need PostgreSQL.",
            "Set ANOMALIST_SERVER_DATABASE, or leave out ANOMALIST_SERVER_INSTANCE and _STORE.",
        )
    if config.store and not Settings().memory.get_secret_value():
        raise DataError(
            "Servers that share a store would each have rules, cases and scenes of their own.",
            "Set ANOMALIST_MEMORY to a PostgreSQL database; ANOMALIST_SERVER_DATABASE will do.",
        )


def check_memory() -> None:
    """Raise DataError where rules and cases are shared in a database, and it can't be used."""
    path = Settings().cases
    if shared_rows(path) is not None:
        CaseStore(path).close()


def refuse_open_server(config: ServerConfig, accounts: Accounts) -> None:
    """Raise DataError where others could reach a server that asks nobody for a password."""
    if not config.is_local and not accounts.any():
        raise DataError(
            f"A server on {config.host} can be reached by others, and there is no account.",
            "Make one first: anomalist accounts add NAME --role admin. Or leave out --host.",
        )
