"""Build the stored record of a picture from the pipeline's stages, and inspect into a run folder.

What all records of clips have in common is built here, too.

What is done stays done: an unchanged picture under the same profile and settings isn't inspected again.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from anomalist.errors import AnomalistError
from anomalist.storage.files import utc_now
from anomalist.storage.run_folder import ImageRunFolder, inspection_key
from anomalist.types.clip import ClipMediaSummary, ClipRecord
from anomalist.types.common import MediaSummary, Recall, Verdict
from anomalist.types.image import Evidence, EvidenceSummary, Inspection, Media, Record
from anomalist.vision.evidence import EvidenceSource
from anomalist.vision.media.frames import Video
from anomalist.vision.media.images import source_digest, source_of
from anomalist.vision.media.pages import split_page
from anomalist.vision.media.sources import redact_url


def build_record(
    media: Media,
    evidence: Evidence,
    recall: Recall,
    verdict: Verdict,
    evidence_source: EvidenceSource,
    milliseconds: float,
    failure: str | None = None,
) -> Record:
    """The record of a judged picture, without the paths of its stored arrays.

    ``failure`` says why a model that was asked gave no answer; what was measured is stored all the same.
    """
    return Record(
        media=MediaSummary.of(media),
        evidence=EvidenceSummary.of(evidence),
        recall=recall,
        verdict=verdict,
        status="ok",
        error=failure,
        notes=(*media.notes, *evidence.notes),
        profile=evidence_source.name,
        profile_digest=evidence_source.digest,
        time=utc_now(),
        milliseconds=round(milliseconds, 1),
    )


def error_record(
    source: str, media: Media | None, error: AnomalistError, evidence_source: EvidenceSource
) -> Record:
    """The record of a picture that could not be judged."""
    return Record(
        media=MediaSummary(source=source, sha256=media.sha256 if media else None),
        status="error",
        error=str(error),
        profile=evidence_source.name,
        profile_digest=evidence_source.digest,
        time=utc_now(),
    )


class BatchInspector(Protocol):
    """The part of `anomalist.pipeline.Inspector` that a run needs."""

    @property
    def evidence_source(self) -> EvidenceSource:
        """What measures, with its calibration."""
        ...

    @property
    def settings_digest(self) -> str:
        """Hex digest of everything else that a decision depends on."""
        ...

    def inspect_many(self, paths: Iterable[str | Path]) -> Iterator[Inspection]:
        """Inspect pictures in order."""
        ...


def pending_paths(inspector: BatchInspector, folder: ImageRunFolder, paths: Sequence[Path]) -> list[Path]:
    """Leave out the paths whose picture, as it is now, has a row by this profile and these settings."""
    return [
        path
        for path in paths
        if not folder.done(
            source_of(path), _inspection_key_of(inspector, source_of(path), _file_sha256(path))
        )
    ]


def clip_media_summary(video: Video, times: Sequence[float]) -> ClipMediaSummary:
    """What is recorded of a clip as such; it lasts to the last of ``times``, or as long as it announces."""
    height, width = video.size
    return ClipMediaSummary(
        source=video.source,
        sha256=video.sha256,
        width=width,
        height=height,
        duration=max([video.duration or 0.0, *times]),
    )


def failed_clip_record(video: str | Path | Video, error: AnomalistError) -> ClipRecord:
    """The record of a clip that could not be read or judged."""
    source = redact_url(str(video)) if isinstance(video, str | Path) else video.source
    return ClipRecord(media=ClipMediaSummary(source=source), status="error", error=str(error), time=utc_now())


def inspect_to_folder(
    inspector: BatchInspector, folder: ImageRunFolder, paths: Iterable[Path]
) -> Iterator[Record]:
    """Inspect pictures and append each to the folder as soon as it is done; yields the stored records."""
    write_calibrations(inspector.evidence_source, folder)
    listed, waiting = itertools.tee(paths)
    for path, inspection in zip(waiting, inspector.inspect_many(listed), strict=True):
        yield store_inspection(inspector, folder, path, inspection)


def store_inspection(
    inspector: BatchInspector, folder: ImageRunFolder, path: Path, inspection: Inspection
) -> Record:
    """Append one inspected picture to a run folder; returns the stored record.

    A damaged file that could be opened keeps its hash: the same bytes would fail the same way again.
    """
    record = inspection.record
    if record.sha256 is None:
        record = record.replace(sha256=_file_sha256(path))
        inspection = dataclasses.replace(inspection, record=record)
    return folder.append_inspection(inspection, _inspection_key_of(inspector, record.source, record.sha256))


def write_calibrations(evidence_source: EvidenceSource, folder: ImageRunFolder) -> None:
    """Keep the scores of the normals in a run folder, so that reports can draw them without the profile.

    Raises DataError when they can't be written.
    """
    for digest, calibration in evidence_source.calibrations.items():
        folder.write_calibration(
            evidence_source.name,
            digest,
            calibration.scores.tolist(),
            [str(group) for group in calibration.groups],
            {"method": calibration.method},
        )


def _inspection_key_of(inspector: BatchInspector, source: str, sha256: str | None) -> str:
    return inspection_key(source, sha256, inspector.evidence_source.digest, inspector.settings_digest)


def _file_sha256(path: Path) -> str | None:
    """Digest of a file or page, or None when it can't be read: then it is tried again."""
    try:
        if not split_page(path)[0].is_file():  # opening a pipe would wait for ever
            return None
        return source_digest(path)
    except OSError:
        return None
