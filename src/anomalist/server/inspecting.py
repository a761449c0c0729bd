"""Inspecting for people who wait: profiles stay loaded, and all pictures go into one run folder a day.

It happens in the threads of a `Lane`: while one decodes, compares or writes, the other scores.
"""

from __future__ import annotations

import contextlib
import datetime
import itertools
import logging
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from anomalist.agent.models.selection import EVIDENCE, select_model
from anomalist.audit.recording import AuditTrail, open_trail
from anomalist.composition import InspectionSettings, Measure, compose_inspection
from anomalist.errors import AnomalistError, ProfileError
from anomalist.memory.cases import acting_as
from anomalist.pipeline import Inspector
from anomalist.publishing.publishers import Publishers
from anomalist.report.wording import outcome
from anomalist.runs import ImageRun
from anomalist.server.lane import Lane
from anomalist.server.metrics import Metrics
from anomalist.server.store import Inspected, InspectionStore
from anomalist.settings import Settings
from anomalist.storage.artifacts import profile_path
from anomalist.storage.files import file_sha256
from anomalist.storage.places import bring_profile, send_soon
from anomalist.storage.run_folder import ImageRunFolder
from anomalist.types.image import Inspection, Record
from anomalist.vision.evidence import EvidenceSource
from anomalist.vision.learned import describe_learned, learned_folders

MAX_LOADED = 4
"""Profiles that stay in memory."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Basis:
    """What pictures are compared with.

    Parameters
    ----------
    profile : name of a profile; None compares each picture with ``reference``, or with itself alone.
    rate : false-alarm rate; None takes the default.
    model : who reasons, as after ``--model``.
    """

    profile: str | None = None
    rate: float | None = None
    reference: Path | None = None
    model: str = "auto"

    @property
    def settings(self) -> InspectionSettings:
        """The same as the composition root takes it."""
        return InspectionSettings(
            self.profile, reference=self.reference, false_alarm_rate=self.rate, model=self.model
        )


class LoadedProfiles:
    """Evidence sources that were loaded; a profile that was learned again is loaded anew.

    Several threads may use one.

    Parameters
    ----------
    measure : measures in place of the sources, see `InspectionSettings`.
    """

    def __init__(self, measure: Measure | None = None) -> None:
        self._measure = measure
        self._sources: OrderedDict[tuple[Basis, str], EvidenceSource] = OrderedDict()
        self._lock = Lock()

    def inspector(self, basis: Basis) -> Inspector:
        """An inspector, with rules and memory as they are now. Raises AnomalistError, see `Inspector`."""
        key = (basis, self._digest(basis))
        with self._lock:
            source = self._sources.pop(key, None)
            if source is None:
                source = compose_inspection(basis.settings).evidence_source
            self._sources[key] = source
            if len(self._sources) > MAX_LOADED:
                self._sources.popitem(last=False)
        return Inspector(InspectionSettings(source, model=basis.model, measure=self._measure))

    def of_record(self, record: Record) -> Inspector | None:
        """What inspected a picture, by measurement alone; None where its profile is gone or another now.

        A reference is found where it was loaded, for as long as it is.
        """
        if record.basis == "reference" and record.detector is not None:
            return self._by_reference(record.detector.digest)
        if record.calibration is None or record.profile_digest is None:
            return None
        for path in learned_folders(Settings().profiles):
            with contextlib.suppress(ProfileError):
                if describe_learned(path).digest == record.profile_digest:
                    rate = record.calibration.false_alarm_rate
                    return self.inspector(Basis(path.name, rate, model=EVIDENCE))
        return None

    def _by_reference(self, digest: str) -> Inspector | None:
        with self._lock:
            sources = (source for (basis, _), source in self._sources.items() if basis.reference)
            found = next((source for source in sources if source.digest == digest), None)
        return None if found is None else Inspector(InspectionSettings(found, model=EVIDENCE))

    @staticmethod
    def _digest(basis: Basis) -> str:
        if basis.reference is not None:
            return file_sha256(basis.reference) if basis.reference.is_file() else ""
        if basis.profile is None:
            return ""
        bring_profile(basis.profile)
        path = profile_path(basis.profile)
        return describe_learned(path).digest if path.is_dir() else ""


class OpenRun:
    """The run folder of today, and the audit session of each way of inspecting; one thread at a time."""

    def __init__(self, runs: Path, server: str) -> None:
        self._runs = runs
        self._server = server
        self._name = ""
        self._run: ImageRun | None = None
        self._trail: AuditTrail | None = None
        self._sessions: dict[tuple[str, str], int | None] = {}

    def keep(self, inspector: Inspector, path: Path, inspection: Inspection) -> Record:
        """Store an inspected picture in the run of today, also in the audit log."""
        run = self._today()
        key = (inspector.evidence_source.digest, inspector.settings_digest)
        if key not in self._sessions:
            run.keep_calibrations(inspector)
            if self._trail is not None:
                self._trail.begin_inspection(inspector, "serve")
            self._sessions[key] = self._trail.session if self._trail else None
        if self._trail is not None:
            self._trail.session = self._sessions[key]
        try:
            return run.keep(inspector, path, inspection)
        except BaseException as error:
            self.close(error)
            raise

    @property
    def name(self) -> str:
        """Of the run that was written last; "" for none."""
        return self._name

    def close(self, error: BaseException | None = None) -> None:
        """Let others write into it.

        After an ``error`` whoever opens it next writes the entry of the audit log that may be missing.
        """
        if self._run is not None:
            self._run.__exit__(None if error is None else type(error), error, None)
        self._run, self._trail = None, None
        self._sessions = {}

    def _today(self) -> ImageRun:
        name = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}-{self._server[:6]}"
        if self._run is None or name != self._name:
            self.close()
            self._trail = open_trail()
            self._run = ImageRun(self._runs / name, self._trail).__enter__()
            self._name = name
        return self._run


class InspectionService:
    """Inspects what is uploaded or named.

    Parameters
    ----------
    lane : the threads that do it.
    store : where the results are listed.
    runs : folder of the run folders.
    server : id of this server.
    metrics : counts pictures.
    publishers : that results go to as well.
    measure : measures elsewhere, see `InspectionSettings`.
    """

    def __init__(
        self,
        lane: Lane,
        store: InspectionStore,
        runs: Path,
        server: str,
        metrics: Metrics,
        publishers: Publishers,
        measure: Measure | None = None,
    ) -> None:
        self._lane = lane
        self._store = store
        self._metrics = metrics
        self._publishers = publishers
        self._open = OpenRun(runs, server)
        self._writing = Lock()
        self.loaded = LoadedProfiles(measure)
        self.runs = runs
        self._adopt(server)

    def inspect(self, basis: Basis, images: Sequence[Path], owner: str) -> Future[list[Inspected]]:
        """Inspect pictures; each becomes a record, with its error where it can't be judged.

        Raises BusyError where too many wait; the future raises AnomalistError for a profile that can't be
        used.
        """

        def work(items: Sequence[tuple[Sequence[Path], str]]) -> list[list[Inspected]]:
            return self._inspect(basis, items)

        alone = select_model(basis.model).spec != EVIDENCE  # a model answers one thread at a time
        return self._lane.submit_batched(basis, (images, owner), work, alone=alone)

    def close(self) -> None:
        """Close the run folder; the lane must have ended."""
        self._open.close()

    def _inspect(self, basis: Basis, items: Sequence[tuple[Sequence[Path], str]]) -> list[list[Inspected]]:
        inspector = self.loaded.inspector(basis)
        stream = inspector.inspect_many([image for images, _ in items for image in images])
        done = []
        for images, owner in items:
            kept: list[tuple[str, Record]] = []
            try:
                for image in images:
                    inspection = next(stream)
                    with self._writing, acting_as(owner):
                        try:
                            record = self._open.keep(inspector, image, inspection)
                        except AnomalistError:
                            kept += self._stored(inspection.record.source)
                            raise
                        kept.append((self._open.name, record))
                        self._metrics.inspected(outcome(record))
                        self._publishers.publish(record)
                    send_soon(image)
                    send_soon(self.runs / self._open.name)
            finally:  # what was stored before something failed is listed, too
                done.append(self._list(kept, owner))
        with contextlib.suppress(StopIteration):
            next(stream)
        return done

    def _stored(self, source: str) -> list[tuple[str, Record]]:
        """What is stored of a picture, though its entry of the audit log could not be written."""
        with contextlib.suppress(AnomalistError):
            records = ImageRunFolder(self.runs / self._open.name).records_of([source])
            return [(self._open.name, record) for record in records]
        return []

    def _list(self, kept: Sequence[tuple[str, Record]], owner: str) -> list[Inspected]:
        """List stored records, each with the name of its run."""
        return [
            listed
            for run, rows in itertools.groupby(kept, key=lambda each: each[0])
            for listed in self._store.add(run, [record for _, record in rows], owner)
        ]

    def _adopt(self, server: str) -> None:
        """List, and write into the audit log, what an earlier process stored when it was killed."""
        own = sorted(self.runs.glob(f"*-{server[:6]}"))[-2:]  # it may have been killed at midnight
        for folder in own:
            try:
                with ImageRun(folder, open_trail()):
                    self._store.adopt(folder.name, folder)
            except AnomalistError as error:
                _log.warning("%s can't be listed: %s", folder, error)
