"""Runs: pictures inspected or clips triaged into a run folder, with audit entries and reports.

Command line and server write runs with the same functions. What is done stays done: a run that was
interrupted goes on behind its last row.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

from anomalist.agent.models.selection import EVIDENCE
from anomalist.audit.recording import AuditTrail, RunTrail
from anomalist.composition import TriageSettings
from anomalist.errors import AnomalistError, DataError
from anomalist.feedback import stored_rank_adjustments
from anomalist.pipeline import Inspector
from anomalist.ranking import ClipRanking
from anomalist.records import inspect_to_folder, pending_paths, store_inspection, write_calibrations
from anomalist.report.builder import write_event_files, write_report
from anomalist.report.clip_view import ClipReportView
from anomalist.report.exports import Exporter, run_exporters
from anomalist.report.figures import render_event_images
from anomalist.report.picture_view import PictureReportView
from anomalist.storage.files import append_row, open_rows, write_atomically
from anomalist.storage.opening import OpensTogether
from anomalist.storage.run_folder import ALERTS, ClipRunFolder, ImageRunFolder
from anomalist.triage import ClipEvidence, Triage
from anomalist.types.clip import ClipRecord
from anomalist.types.image import Inspection, Record
from anomalist.vision.media.frames import Video
from anomalist.vision.media.video import open_video
from anomalist.vision.parallel import check_version, lost_item
from anomalist.vision.worker_pool import LostItem, Work, work_in_processes

ClipMeasurement = ClipEvidence | ClipRecord | AnomalistError
"""What a process hands over of a clip."""

if TYPE_CHECKING:
    from anomalist.streaming import LiveAlert
    from anomalist.vision.media.streams import RecentFrames

Seen = Callable[[float, float | None], None]
"""Called with the time of a frame and the duration of its clip, seconds; None where that is unknown."""


class ImageRun(OpensTogether):
    """Inspects pictures into a run folder; a context manager that holds the folder against other processes.

    Parameters
    ----------
    path : the run folder; made where there is none.
    trail : the audit trail, after `AuditTrail.begin_inspection`; None writes none.

    Raises
    ------
    DataError : the folder can't be written, or another process writes into it.
    """

    def __init__(self, path: Path, trail: AuditTrail | None) -> None:
        self.path = path
        self._trail = RunTrail(trail, path)

    def _open_all(self, opening: ExitStack) -> None:
        self.folder = opening.enter_context(ImageRunFolder.open(self.path))
        opening.enter_context(self._trail)

    def pending(self, inspector: Inspector, images: Sequence[Path]) -> list[Path]:
        """The pictures that were not inspected in this way yet."""
        return pending_paths(inspector, self.folder, images)

    def inspect(self, inspector: Inspector, images: Iterable[Path]) -> Iterator[Record]:
        """Inspect pictures; yields each record once it is stored and in the audit log."""
        return self._trail.keep(inspect_to_folder(inspector, self.folder, images))

    def keep_calibrations(self, inspector: Inspector) -> None:
        """Keep what p-values rest on; once before `keep`."""
        write_calibrations(inspector.evidence_source, self.folder)

    def keep(self, inspector: Inspector, path: Path, inspection: Inspection) -> Record:
        """Store a picture that was inspected elsewhere, also in the audit log; returns the stored record."""
        (record,) = self._trail.keep([store_inspection(inspector, self.folder, path, inspection)])
        return record

    def keep_records(self, inspector: Inspector, records: Iterable[Record]) -> Iterator[Record]:
        """Store records that were made elsewhere, with their arrays in place already; yields as `inspect`."""
        write_calibrations(inspector.evidence_source, self.folder)
        return self._trail.keep(map(self.folder.append, records))

    def write_report(self, exporters: Sequence[Exporter] = (), title: str | None = None) -> Path:
        """Write the reports of all that is in the folder; returns the page."""
        return _write_picture_report(self.folder, self.path, exporters, title)


class ClipRun(OpensTogether):
    """Triages clips, into a run folder where one is named; a context manager, see `ImageRun`.

    Parameters
    ----------
    triage : judges the clips, or ranks their stretches where nothing was learned.
    path : the run folder; None keeps nothing.
    trail : the audit trail, after `AuditTrail.begin_triage`; None writes none.

    Raises
    ------
    DataError : the folder can't be written, or another process writes into it.
    """

    def __init__(self, triage: Triage | ClipRanking, path: Path | None, trail: AuditTrail | None) -> None:
        self.path = path
        self._triage = triage
        self._trail = RunTrail(trail, path)
        self._folder: ClipRunFolder | None = None

    def _open_all(self, opening: ExitStack) -> None:
        if self.path is not None:
            self._folder = opening.enter_context(ClipRunFolder.open(self.path))
        opening.enter_context(self._trail)

    def records(self) -> list[ClipRecord]:
        """All that is in the folder; nothing without one."""
        return [] if self._folder is None else self._folder.records()

    def clip(self, source: str | Path, seen: Seen) -> ClipRecord:
        """The record of a clip: as it is stored where it was made in this way before, else made now."""
        try:
            video = open_video(source)
        except AnomalistError as error:
            return self._keep(self._triage.failed(source, error))
        done = self._done(video)
        return done or self._keep(self._triage.clip(video, lambda time: seen(time, video.duration)))

    def clips(self, sources: Iterable[str | Path], workers: int) -> Iterator[ClipRecord]:
        """The records of clips, in their order; several are measured at a time, each in a process.

        A clip that has killed two processes gets a record with that error.
        """
        # What is done, or what comes from a process: the clip, if it was opened to see whether it is done.
        plan: deque[ClipRecord | Video | None] = deque()

        def open_ones() -> Iterator[str | Path]:
            for source in sources:
                video = done = None
                if self._folder is not None:
                    with suppress(AnomalistError):  # a process meets it, too
                        video = open_video(source)
                        done = self._done(video)
                plan.append(done or video)
                if done is None:
                    yield source

        triage = self._triage
        for source, measured in work_in_processes(clip_opener(triage), open_ones(), workers):
            while isinstance(planned := plan.popleft(), ClipRecord):
                yield planned
            if isinstance(measured, LostItem):
                yield self._keep(triage.failed(source, lost_item(source, measured.words)))
            else:
                # Each gets what its own measuring gave.
                yield self._keep(triage.judge(planned or source, measured))  # type: ignore[arg-type]
        yield from (planned for planned in plan if isinstance(planned, ClipRecord))

    def _done(self, video: Video) -> ClipRecord | None:
        return None if self._folder is None else self._folder.done(video.source, self._triage.key(video))

    def _keep(self, record: ClipRecord) -> ClipRecord:
        if self._folder is not None:
            self._folder.append(record)
        (kept,) = self._trail.keep([record])
        return kept


def clip_opener(triage: Triage | ClipRanking) -> Callable[[], Work[str | Path, ClipMeasurement]]:
    """What measures clips in another process as ``triage`` does.

    Raises DataError for a scene that was never written to a folder.
    """
    if isinstance(triage, ClipRanking):
        return _open_ranking
    if triage.scene.path is None:
        raise DataError(f"The scene {triage.scene.name} is in no folder, where a process could read it.")
    settings = TriageSettings(
        triage.scene.path.absolute(),
        false_events_per_hour=triage.false_events_per_hour,
        mode=triage.mode,
        zones=triage.zones,
        policy=triage.policy,
        model=EVIDENCE,
        memory=False,
    )
    return partial(_open_triage, settings, triage.scene.digest)


def _open_ranking() -> Work[str | Path, ClipMeasurement]:
    return partial(map, ClipRanking().measure)


def _open_triage(settings: TriageSettings, digest: str) -> Work[str | Path, ClipMeasurement]:
    triage = Triage(settings)
    check_version(triage.scene.name, triage.scene.digest, digest)
    return partial(map, triage.measure)


class AlertRecorder:
    """Stores the alerts of streams in a folder, each event with a picture when it opens.

    Parameters
    ----------
    out : the folder; made where there is none.

    Raises
    ------
    DataError : it can't be written, or another process writes into it.
    """

    def __init__(self, out: Path) -> None:
        self._out = out
        self._file = open_rows(out, ALERTS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def keep(self, alert: LiveAlert, recent: RecentFrames) -> LiveAlert:
        """Store an alert; returns it with the path of its picture, relative to the folder.

        ``recent`` holds the last seconds of the stream that the alert is about.
        """
        if alert.state == "opened" and alert.event is not None:
            camera = "" if alert.camera is None else f"{alert.camera}-"
            stem, number = f"frames/{camera}{alert.event.id}-{alert.event.start:.0f}s", 1
            name = f"{stem}.jpg"
            while (self._out / name).exists():  # of the same stream, when it was followed before
                number += 1
                name = f"{stem}-{number}.jpg"
            write_atomically(self._out / name, render_event_images(recent, alert.event).frame)
            alert = alert.replace(event=alert.event.replace(key_frame=name))
        append_row(self._file, alert.model_dump_json().encode(), self._out)
        return alert


def is_cut_clip(video: str | Path, run: Path | None) -> bool:
    """Whether a video is one of the short clips that an earlier triage cut out into a run folder."""
    return run is not None and isinstance(video, Path) and video.resolve().parent == (run / "clips").resolve()


def finish_clip_run(path: Path) -> Path:
    """Cut pictures and short clips of the events of a run, and write its report; returns the page."""
    records = ClipRunFolder(path).records()
    moved = stored_rank_adjustments(records)
    pictured = write_event_files(records, path, adjustments=moved)
    with ClipRunFolder.open(path) as folder:
        folder.replace(pictured)
    return write_report(pictured, path, ClipReportView(moved))


def _write_picture_report(
    folder: ImageRunFolder, path: Path, exporters: Sequence[Exporter], title: str | None
) -> Path:
    records = folder.records()
    page = write_report(records, path, PictureReportView(folder.calibrations(records)), title=title)
    run_exporters(exporters, records, path)
    return page


def refresh_picture_report(path: Path, exporters: Sequence[Exporter] = (), title: str | None = None) -> Path:
    """Write the reports of inspected pictures again, from their records alone; returns the page."""
    return _write_picture_report(ImageRunFolder(path), path, exporters, title)


def refresh_clip_report(folder: Path, title: str | None = None) -> Path:
    """Write the reports of a triage again, with the ranks that feedback gives today; returns the page."""
    records = ClipRunFolder(folder).records()
    return write_report(records, folder, ClipReportView(stored_rank_adjustments(records)), title=title)
