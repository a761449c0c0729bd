"""Key frames and short clips of events, written beside the records that name them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from anomalist.clips import ClipRecord, Event
from anomalist.errors import AnomalistError, MediaError
from anomalist.report.timeline_views import close_up_of
from anomalist.report.wording import count
from anomalist.writing import write_whole

if TYPE_CHECKING:
    from anomalist.vision.video.frames import Video

LONGEST_CLIP = 20.0
"""Seconds of a short clip, around the peak."""

MOST_PICTURED = 200
"""Events by rank that get pictures and a short clip; that takes up to a second each."""

_BEFORE = 1.0  # seconds shown before and after an event

Opener = Callable[[str], "Video"]


def opener(videos: Mapping[str, Video] | Opener | None) -> Opener:
    """What opens the video of a source: as given, or files and folders from their paths.

    It raises MediaError for a source that is not among the given ones, and for streams.
    """
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


def with_pictures(
    record: ClipRecord, wanted: set[str], folder: Path, opened: Opener, *, clips: bool
) -> ClipRecord:
    """Write the pictures of the wanted events (by id) of a clip into frames/ and clips/ of a folder.

    Returns the record with their paths, and with a note for all that is without a picture. Raises DataError
    if a file can't be written.
    """
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
                events[place], said = _with_files(
                    video, event, folder, file_name(record.source, event.id), clips=clips
                )
                problems += said
    return _noted(record.model_copy(update={"events": tuple(events)}), *problems)


def file_name(source: str, event_id: str) -> str:
    """Name the files of an event, the same whatever else is triaged: "yard-1f00ba55-E2"."""
    stem = re.sub(r"[^A-Za-z0-9]+", "-", Path(source).stem)[:24].strip("-")
    digest = hashlib.sha256(source.encode("utf-8", "backslashreplace")).hexdigest()[:8]
    return "-".join(filter(None, (stem, digest, event_id)))


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
