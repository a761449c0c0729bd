"""Report builder: write every report file of an inspected run or a triage into its folder.

Pictures: report.html, report.md, report.json, results.csv and coco.json. Clips: clips.jsonl, triage.json,
triage.md, triage.html, key frames in frames/ and short clips in clips/. Both can be written again from
the records alone.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomalist.errors import AnomalistError, MediaError
from anomalist.memory.ranking import RankAdjustment
from anomalist.report.alerts import event_key, keys_by_rank, rank_alerts
from anomalist.report.clip_html import close_up_path, write_triage_html
from anomalist.report.clip_summary import TriageReport, find_unjudged, summarise_triage
from anomalist.report.markdown import write_triage_markdown
from anomalist.report.wording import count
from anomalist.storage.files import write_atomically
from anomalist.storage.run_folder import ClipRunFolder
from anomalist.types.clip import ClipRecord, Event
from anomalist.types.image import Record

if TYPE_CHECKING:
    from anomalist.vision.media.frames import Video


def write_reports(
    records: Sequence[Record],
    folder: Path,
    calibrations: Mapping[str, Mapping[str, Any]],
    *,
    title: str | None = None,
) -> Path:
    """Write report.html, report.md, report.json, results.csv and coco.json into ``folder``.

    ``calibrations`` maps profile digests to what `ImageRunFolder.calibration` gives. Returns the HTML file.
    """
    from anomalist.report.exports import write_coco, write_csv
    from anomalist.report.html import write_html
    from anomalist.report.markdown import write_markdown
    from anomalist.report.wording import write_report_json

    write_csv(records, folder / "results.csv")
    write_coco(records, folder, folder / "coco.json")
    write_report_json(records, folder / "report.json")
    write_markdown(records, folder / "report.md", title=title)
    return write_html(records, folder, calibrations, folder / "report.html", title=title)


MAX_CLIP_SECONDS = 20.0
"""Seconds of a short clip, around the peak."""

MAX_PICTURED_EVENTS = 200
"""Events by rank that get pictures and a short clip; that takes up to a second each."""

_CLIP_MARGIN = 1.0  # seconds shown before and after an event

VideoOpener = Callable[[str], "Video"]


def video_opener(videos: Mapping[str, Video] | VideoOpener | None) -> VideoOpener:
    """What opens the video of a source: as given, or files and folders from their paths.

    It raises MediaError for a source that is not among the given ones, and for streams.
    """
    if callable(videos):
        return videos

    def given(source: str) -> Video:
        if videos is None:
            return _reopen_video(source)
        if source not in videos:
            raise MediaError("The video was not kept.")
        return videos[source]

    return given


def _reopen_video(source: str) -> Video:
    from anomalist.vision.media.sources import is_url
    from anomalist.vision.media.video import open_video

    if is_url(source):
        raise MediaError("What a stream showed can't be read again.")
    return open_video(source)


def write_event_pictures(
    record: ClipRecord, wanted: set[str], folder: Path, opened: VideoOpener, *, clips: bool
) -> ClipRecord:
    """Write the pictures of the wanted events (by id) of a clip into frames/ and clips/ of a folder.

    Returns the record with their paths, and with a note for all that is without a picture. Raises DataError
    if a file can't be written.
    """
    problems = []
    if left := len(record.events) - len(wanted):
        problems.append(
            f"No pictures of {count(left, 'event')} beyond the first {MAX_PICTURED_EVENTS} by rank."
        )
    events = list(record.events)
    if wanted:
        try:
            video = opened(record.source)
            if record.sha256 is not None and video.sha256 != record.sha256:
                raise MediaError("The video has changed since it was judged (its SHA-256 differs).")
        except AnomalistError as problem:
            return _add_notes(record, *problems, f"No pictures of its events: {problem}")
        for place, event in enumerate(events):
            if event.id in wanted:
                events[place], said = _write_event_files(
                    video, event, folder, event_file_name(record.source, event.id), clips=clips
                )
                problems += said
    return _add_notes(record.replace(events=tuple(events)), *problems)


def event_file_name(source: str, event_id: str) -> str:
    """Name the files of an event, the same whatever else is triaged: "yard-1f00ba55-E2"."""
    stem = re.sub(r"[^A-Za-z0-9]+", "-", Path(source).stem)[:24].strip("-")
    digest = hashlib.sha256(source.encode("utf-8", "backslashreplace")).hexdigest()[:8]
    return "-".join(filter(None, (stem, digest, event_id)))


def _write_event_files(
    video: Video, event: Event, folder: Path, name: str, *, clips: bool
) -> tuple[Event, list[str]]:
    """The event with the paths of what could be written, and a sentence for what could not be read."""
    from anomalist.report.figures import render_event_images
    from anomalist.vision.media.video import cut_clip

    found = {}
    try:
        made = render_event_images(video, event)
        found["key_frame"] = f"frames/{name}.jpg"
        write_atomically(folder / found["key_frame"], made.frame)
        near = folder / close_up_path(found["key_frame"])
        near.unlink(missing_ok=True)  # of an earlier triage into the same folder
        if made.close_up is not None:
            write_atomically(near, made.close_up)
        if clips:
            (folder / "clips").mkdir(parents=True, exist_ok=True)
            cut_clip(video, *_clip_range(event), folder / "clips" / f"{name}.mp4")
            found["clip"] = f"clips/{name}.mp4"
    except (MediaError, OSError) as problem:  # OSError: a file that went away meanwhile
        what = "short clip" if found else "picture"
        return event.replace(**found), [f"No {what} of {event.id}: {problem}"]
    return event.replace(**found), []


def _clip_range(event: Event) -> tuple[float, float]:
    """From when to when a short clip goes: the event with a little around it, or so much around the peak."""
    start, stop = event.start - _CLIP_MARGIN, event.end + _CLIP_MARGIN
    if stop - start > MAX_CLIP_SECONDS:
        start = min(max(start, event.peak - MAX_CLIP_SECONDS / 2), stop - MAX_CLIP_SECONDS)
        stop = start + MAX_CLIP_SECONDS
    return max(start, 0.0), stop


def _add_notes(record: ClipRecord, *notes: str) -> ClipRecord:
    new = tuple(note for note in notes if note not in record.notes)
    return record.replace(notes=(*record.notes, *new)) if new else record


def write_triage_reports(
    records: Sequence[ClipRecord],
    folder: Path,
    videos: Mapping[str, Video] | VideoOpener | None = None,
    *,
    adjustments: Mapping[str, RankAdjustment] | None = None,
    title: str | None = None,
    clips: bool = True,
) -> Path:
    """Write clips.jsonl, triage.json, triage.md, triage.html, frames/ and clips/ into a folder.

    Parameters
    ----------
    records : one a source.
    videos : by source, or what opens a source; by default files and folders are opened again. A video that
        can't be read any more, or has changed, gives events without pictures, and its record says so.
    adjustments : by ``event_key``, from feedback on past events.
    title : stands above the headline.
    clips : whether to cut short clips.

    Returns
    -------
    The HTML file.

    Raises
    ------
    DataError
        If a file can't be written, or two records are of the same source.
    """
    order = {key: place for place, key in enumerate(keys_by_rank(rank_alerts(records, adjustments)))}
    opened = video_opener(videos)
    records_with_pictures = []
    for record in records:
        wanted = {
            event.id
            for event in record.events
            if order[event_key(record.source, event.id)] < MAX_PICTURED_EVENTS
        }
        records_with_pictures.append(write_event_pictures(record, wanted, folder, opened, clips=clips))
    with ClipRunFolder.open(folder) as run:
        run.replace(records_with_pictures)
    return _write_triage_pages(records_with_pictures, folder, adjustments, title)


def rewrite_triage_reports(
    records: Sequence[ClipRecord],
    folder: Path,
    *,
    adjustments: Mapping[str, RankAdjustment] | None = None,
    title: str | None = None,
) -> Path:
    """Write triage.json, triage.md and triage.html again from records and the pictures of their folder.

    Raises DataError if a file can't be written.
    """
    return _write_triage_pages(records, folder, adjustments, title)


def _write_triage_pages(
    records: Sequence[ClipRecord],
    folder: Path,
    adjustments: Mapping[str, RankAdjustment] | None,
    title: str | None,
) -> Path:
    alerts, unjudged = rank_alerts(records, adjustments), find_unjudged(records)
    report = TriageReport(summary=summarise_triage(records, alerts), alerts=alerts, unjudged=unjudged)
    write_atomically(folder / "triage.json", report.model_dump_json(indent=1) + "\n")
    write_triage_markdown(records, alerts, unjudged, folder / "triage.md", title=title)
    return write_triage_html(records, alerts, unjudged, folder, folder / "triage.html", title=title)
