"""Runs: pictures inspected or clips triaged into a run folder, with audit entries and reports.

Command line and server write runs with the same functions. What is done stays done: a run that was
interrupted goes on behind its last row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from anomalist.audit.recording import AuditTrail, RunTrail
from anomalist.errors import AnomalistError
from anomalist.feedback import stored_rank_adjustments
from anomalist.pipeline import Inspector
from anomalist.ranking import ClipRanking
from anomalist.records import inspect_to_folder, pending_paths, store_calibrations, store_inspection
from anomalist.report.builder import write_event_files, write_report
from anomalist.report.clip_view import ClipReportView
from anomalist.report.exports import Exporter, run_exporters
from anomalist.report.picture_view import PictureReportView
from anomalist.storage.opening import OpensTogether
from anomalist.storage.run_folder import ClipRunFolder, ImageRunFolder
from anomalist.triage import Triage
from anomalist.types.clip import ClipRecord
from anomalist.types.image import Inspection, Record
from anomalist.vision.media.video import open_video

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
        store_calibrations(inspector, self.folder)

    def keep(self, inspector: Inspector, path: Path, inspection: Inspection) -> Record:
        """Store a picture that was inspected elsewhere, also in the audit log; returns the stored record."""
        (record,) = self._trail.keep([store_inspection(inspector, self.folder, path, inspection)])
        return record

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
            record = self._triage.failed(source, error)
        else:
            done = None
            if self._folder is not None:
                done = self._folder.done(video.source, self._triage.key(video))
            if done is not None:
                return done
            record = self._triage.clip(video, lambda time: seen(time, video.duration))
        if self._folder is not None:
            self._folder.append(record)
        (kept,) = self._trail.keep([record])
        return kept


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
