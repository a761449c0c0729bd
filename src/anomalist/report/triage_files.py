"""Everything a triage leaves for people and programs, with its pictures and short clips."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from anomalist.clips import ClipRecord, Event
from anomalist.errors import AnomalistError, DataError, MediaError
from anomalist.memory.ranking import Adjustment
from anomalist.report.alerts import alerts_of, event_key, keys_by_rank
from anomalist.report.timeline_html import write_timeline
from anomalist.report.timeline_views import close_up_of
from anomalist.report.triage_markdown import write_triage_markdown
from anomalist.report.triage_summary import TriageReport, summarise_triage
from anomalist.report.unjudged import unjudged_of
from anomalist.report.wording import count
from anomalist.report.writing import write_whole

if TYPE_CHECKING:
    from anomalist.vision.video.frames import Video

CLIPS = "clips.jsonl"
LONGEST_CLIP = 20.0
"""Seconds of a short clip, around the peak."""

MOST_PICTURED = 200
"""Events by rank that get pictures and a short clip; that takes up to a second each."""

_BEFORE = 1.0  # seconds shown before and after an event

Opener = Callable[[str], "Video"]


def write_triage(
    records: Sequence[ClipRecord],
    folder: Path,
    videos: Mapping[str, Video] | Opener | None = None,
    *,
    adjustments: Mapping[str, Adjustment] | None = None,
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
    order = {key: place for place, key in enumerate(keys_by_rank(alerts_of(records, adjustments)))}
    opened = _opener(videos)
    pictured = []
    for number, record in enumerate(records, start=1):
        wanted = {
            event.id for event in record.events if order[event_key(record.source, event.id)] < MOST_PICTURED
        }
        pictured.append(_pictured(record, wanted, folder, f"{number:04}", opened, clips=clips))
    rows = "".join(f"{record.model_dump_json()}\n" for record in pictured)
    write_whole(folder / CLIPS, rows)
    return _write_reports(pictured, folder, adjustments, title)


def render_triage(
    folder: Path, *, adjustments: Mapping[str, Adjustment] | None = None, title: str | None = None
) -> Path:
    """Write triage.json, triage.md and triage.html again from clips.jsonl and the pictures of a folder.

    Raises
    ------
    DataError
        If clips.jsonl is missing or damaged, or a file can't be written.
    """
    return _write_reports(read_clips(folder / CLIPS), folder, adjustments, title)


def read_clips(path: Path) -> list[ClipRecord]:
    """Read the records of a triage.

    Raises
    ------
    DataError
        If the file is missing, or a row of it is not a clip record.
    """
    try:
        rows = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as problem:
        raise DataError(f'"{path}" can\'t be read.', "Name the folder of a triage.") from problem
    records = []
    for number, row in enumerate(rows, start=1):
        try:
            records.append(ClipRecord.model_validate_json(row))
        except ValueError as problem:
            raise DataError(f'Row {number} of "{path}" is not a clip record.') from problem
    return records


def _write_reports(
    records: Sequence[ClipRecord],
    folder: Path,
    adjustments: Mapping[str, Adjustment] | None,
    title: str | None,
) -> Path:
    alerts, unjudged = alerts_of(records, adjustments), unjudged_of(records)
    report = TriageReport(summary=summarise_triage(records, alerts), alerts=alerts, unjudged=unjudged)
    write_whole(folder / "triage.json", report.model_dump_json(indent=1) + "\n")
    write_triage_markdown(records, alerts, unjudged, folder / "triage.md", title=title)
    return write_timeline(records, alerts, unjudged, folder, folder / "triage.html", title=title)


def _opener(videos: Mapping[str, Video] | Opener | None) -> Opener:
    if callable(videos):
        return videos

    def given(source: str) -> Video:
        if videos is None:
            return _again(source)
        if source not in videos:
            raise MediaError("The video was not kept.")
        return videos[source]

    return given


def _again(source: str) -> Video:
    from anomalist.vision.video.addresses import is_address
    from anomalist.vision.video.opening import open_video

    if is_address(source):
        raise MediaError("What a stream showed can't be read again.")
    return open_video(source)


def _pictured(
    record: ClipRecord, wanted: set[str], folder: Path, name: str, opened: Opener, *, clips: bool
) -> ClipRecord:
    """The record with the pictures of its events, or with a note that says why there are none."""
    problems = []
    if left := len(record.events) - len(wanted):
        problems.append(f"No pictures of {count(left, 'event')} beyond the first {MOST_PICTURED} by rank.")
    events = list(record.events)
    if wanted:
        try:
            video = opened(record.source)
            if record.sha256 is not None and video.sha256 != record.sha256:
                raise MediaError("The video has changed since it was judged (its SHA-256 differs).")
        except AnomalistError as problem:
            return _noted(record, *problems, f"No pictures of its events: {problem}")
        for place, event in enumerate(events):
            if event.id in wanted:
                events[place], said = _with_files(video, event, folder, f"{name}-{event.id}", clips=clips)
                problems += said
    return _noted(record.model_copy(update={"events": tuple(events)}), *problems)


def _with_files(
    video: Video, event: Event, folder: Path, name: str, *, clips: bool
) -> tuple[Event, list[str]]:
    """The event with the paths of what could be written, and a sentence for what could not be read."""
    from anomalist.report.stills import still
    from anomalist.vision.video.clips import cut_clip

    found = {}
    try:
        made = still(video, event)
        found["key_frame"] = f"frames/{name}.jpg"
        write_whole(folder / found["key_frame"], made.frame)
        near = folder / close_up_of(found["key_frame"])
        near.unlink(missing_ok=True)  # of an earlier triage into the same folder
        if made.close_up is not None:
            write_whole(near, made.close_up)
        if clips:
            (folder / "clips").mkdir(parents=True, exist_ok=True)
            cut_clip(video, *_range(event), folder / "clips" / f"{name}.mp4")
            found["clip"] = f"clips/{name}.mp4"
    except (MediaError, OSError) as problem:  # OSError: a file that went away meanwhile
        what = "short clip" if found else "picture"
        return event.model_copy(update=found), [f"No {what} of {event.id}: {problem}"]
    return event.model_copy(update=found), []


def _range(event: Event) -> tuple[float, float]:
    """From when to when a short clip goes: the event with a little around it, or so much around the peak."""
    start, stop = event.start - _BEFORE, event.end + _BEFORE
    if stop - start > LONGEST_CLIP:
        start = min(max(start, event.peak - LONGEST_CLIP / 2), stop - LONGEST_CLIP)
        stop = start + LONGEST_CLIP
    return max(start, 0.0), stop


def _noted(record: ClipRecord, *notes: str) -> ClipRecord:
    new = tuple(note for note in notes if note not in record.notes)
    return record.model_copy(update={"notes": (*record.notes, *new)}) if new else record
