"""Report builder: write every report file of a run, a triage or a conversation into its folder.

A view says what its records hold and how the page looks; the builder writes page, Markdown, JSON and exports
of any view. Reports can be written again from the records alone; only `write_event_files` reads videos.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from anomalist.errors import AnomalistError, MediaError
from anomalist.report.alerts import keys_by_rank, rank_alerts
from anomalist.report.document import (
    EntryT,
    MarkdownLayout,
    ReportDocument,
    SummaryT,
    escape_markdown,
    render_markdown,
)
from anomalist.report.figures import close_up_path
from anomalist.report.wording import count
from anomalist.storage.files import write_atomically
from anomalist.types.clip import ClipRecord, Event, event_key
from anomalist.types.common import Answer, Claim
from anomalist.types.image import Record

if TYPE_CHECKING:
    from anomalist.memory.ranking import RankAdjustment
    from anomalist.vision.media.frames import Video

AnyRecordT = TypeVar("AnyRecordT")
RecordT_contra = TypeVar("RecordT_contra", contravariant=True)


class ReportView(Protocol[RecordT_contra, EntryT, SummaryT]):
    """What differs between reports of one kind of record and another."""

    @property
    def stem(self) -> str:
        """Name of the HTML, Markdown and JSON file, without suffix."""

    @property
    def layout(self) -> MarkdownLayout[EntryT]:
        """How the Markdown file is laid out."""

    def document(
        self, records: Sequence[RecordT_contra], title: str | None = None
    ) -> ReportDocument[EntryT, SummaryT]:
        """Say what the records hold; reads no file."""

    def page(self, document: ReportDocument[EntryT, SummaryT], folder: Path) -> str:
        """Render the HTML page with pictures of a folder."""

    def to_json(self, document: ReportDocument[EntryT, SummaryT]) -> str:
        """Give the text of the JSON file."""

    def export(self, records: Sequence[RecordT_contra], folder: Path) -> None:
        """Write what else belongs to the report."""


def write_report(
    records: Sequence[AnyRecordT],
    folder: Path,
    view: ReportView[AnyRecordT, EntryT, SummaryT],
    *,
    title: str | None = None,
) -> Path:
    """Write all files of a report: report.* or triage.* (html, md, json), and the view's exports.

    The same records and pictures give the same bytes.

    Parameters
    ----------
    records : what was inspected or triaged.
    folder : where their maps, masks, key frames and clips are; gets the files.
    view : `PictureReportView` or `ClipReportView`.
    title : stands above the headline.

    Returns
    -------
    The HTML file.

    Raises
    ------
    DataError
        If a file can't be written, a mask of an export is missing, or two clips are of the same source.
    """
    document = view.document(records, title)
    write_atomically(folder / f"{view.stem}.json", view.to_json(document) + "\n")
    write_atomically(folder / f"{view.stem}.md", render_markdown(document, view.layout))
    page = write_atomically(folder / f"{view.stem}.html", view.page(document, folder))
    view.export(records, folder)  # last: if it fails, the page is there and says what is missing
    return page


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


def write_event_files(
    records: Sequence[ClipRecord],
    folder: Path,
    videos: Mapping[str, Video] | VideoOpener | None = None,
    *,
    adjustments: Mapping[str, RankAdjustment] | None = None,
    clips: bool = True,
) -> list[ClipRecord]:
    """Write key frames, close-ups and short clips of events into frames/ and clips/.

    Parameters
    ----------
    records : one a source.
    folder : gets the files.
    videos : by source, or what opens a source; by default files and folders are opened again. A video that
        can't be read any more, or has changed, gives events without pictures, and its record says so.
    adjustments : by ``event_key``, from feedback on past events: what ranks high gets pictures.
    clips : whether to cut short clips.

    Returns
    -------
    The records with the paths of what was written, for `ClipRunFolder.replace`.

    Raises
    ------
    DataError
        If a file can't be written, or two records are of the same source.
    """
    ranks = {key: rank for rank, key in enumerate(keys_by_rank(rank_alerts(records, adjustments)))}
    opened = video_opener(videos)
    pictured = []
    for record in records:
        keys = {event.id: event_key(record.source, event.id) for event in record.events}
        wanted = {id_ for id_, key in keys.items() if ranks[key] < MAX_PICTURED_EVENTS}
        pictured.append(_write_clip_pictures(record, wanted, folder, opened, clips=clips))
    return pictured


_PICTURE_NOTE = re.compile(r"No (picture|short clip)s? of ")


def _write_clip_pictures(
    record: ClipRecord, wanted: set[str], folder: Path, opened: VideoOpener, *, clips: bool
) -> ClipRecord:
    """Write the pictures of the wanted events (by id) of a clip into frames/ and clips/ of a folder.

    Returns the record with their paths, and with a note for all that is without a picture, in place of such
    notes of earlier triages into the folder, whose pictures count. Raises DataError if a file can't be
    written.
    """
    problems = []
    events = {event.id: event for event in record.events}
    left = sum(_missing(event, folder) is not None for id_, event in events.items() if id_ not in wanted)
    if left:
        problems.append(
            f"No pictures of {count(left, 'event')} beyond the first {MAX_PICTURED_EVENTS} by rank."
        )
    if wanted:
        try:
            video = opened(record.source)
            if record.sha256 is not None and video.sha256 != record.sha256:
                raise MediaError("The video has changed since it was judged (its SHA-256 differs).")
        except AnomalistError as problem:
            lacking = Counter(_missing(events[id_], folder, clips=clips) for id_ in wanted)
            for what in ("picture", "short clip"):
                if number := lacking[what]:
                    those = "its events" if number == len(events) else count(number, "event")
                    problems.append(f"No {what}s of {those}: {problem}")
        else:
            for id_ in filter(wanted.__contains__, list(events)):
                name = event_file_name(record.source, id_)
                events[id_], failure = _write_event_files(video, events[id_], folder, name, clips=clips)
                if lack := _missing(events[id_], folder, clips=clips):
                    problems.append(f"No {lack} of {id_}: {failure}")
    kept = (note for note in record.notes if not _PICTURE_NOTE.match(note))
    return record.replace(events=tuple(events.values()), notes=(*kept, *problems))


def _missing(event: Event, folder: Path, *, clips: bool = False) -> str | None:
    """What an event has no file of: "picture", "short clip" where that is asked for, or None."""
    if event.key_frame is None or not (folder / event.key_frame).is_file():
        return "picture"
    if clips and (event.clip is None or not (folder / event.clip).is_file()):
        return "short clip"
    return None


def event_file_name(source: str, event_id: str) -> str:
    """Name the files of an event, the same whatever else is triaged: "yard-1f00ba55-E2"."""
    stem = re.sub(r"[^A-Za-z0-9]+", "-", Path(source).stem)[:24].strip("-")
    digest = hashlib.sha256(source.encode("utf-8", "backslashreplace")).hexdigest()[:8]
    return "-".join(filter(None, (stem, digest, event_id)))


def _write_event_files(
    video: Video, event: Event, folder: Path, name: str, *, clips: bool
) -> tuple[Event, Exception | None]:
    """The event with the paths of what could be written, and why not all could."""
    from anomalist.report.figures import render_event_images
    from anomalist.vision.media.video import cut_clip

    found = {}
    try:
        images = render_event_images(video, event)
        found["key_frame"] = f"frames/{name}.jpg"
        write_atomically(folder / found["key_frame"], images.frame)
        near = folder / close_up_path(found["key_frame"])
        near.unlink(missing_ok=True)  # of an earlier triage into the same folder
        if images.close_up is not None:
            write_atomically(near, images.close_up)
        if clips:
            (folder / "clips").mkdir(parents=True, exist_ok=True)
            cut_clip(video, *clip_range(event), folder / "clips" / f"{name}.mp4")
            found["clip"] = f"clips/{name}.mp4"
    except (MediaError, OSError) as problem:  # OSError: a file that went away meanwhile
        return event.replace(**found), problem
    return event.replace(**found), None


def clip_range(event: Event) -> tuple[float, float]:
    """From when to when a short clip goes: the event with a little around it, or so much around the peak."""
    start, stop = event.start - _CLIP_MARGIN, event.end + _CLIP_MARGIN
    if stop - start > MAX_CLIP_SECONDS:
        start = min(max(start, event.peak - MAX_CLIP_SECONDS / 2), stop - MAX_CLIP_SECONDS)
        stop = start + MAX_CLIP_SECONDS
    return max(start, 0.0), stop


MAX_PARAGRAPH_SENTENCES = 4
"""Sentences; more are a list."""

MAX_CITED_IDS = 3
"""Ids that are named behind a sentence."""


def write_conversation(
    answers: Sequence[Answer], records: Sequence[Record], folder: Path, name: str
) -> tuple[Path, ...]:
    """Write ``conversation.md``, and ``report.md`` where there are pictures; returns their paths.

    Raises DataError when they can't be written.
    """
    from anomalist.report.picture_view import PictureReportView

    lines = [f"# {escape_markdown(name)}", "", *conversation_lines(answers)]
    written = [write_atomically(folder / "conversation.md", "\n".join(lines).rstrip() + "\n")]
    if records:
        view = PictureReportView()
        text = render_markdown(view.document(records), view.layout)
        written.append(write_atomically(folder / f"{view.stem}.md", text))
    return tuple(written)


def conversation_lines(answers: Sequence[Answer]) -> list[str]:
    """Questions as quotes, answers below them with the ids that each sentence rests on."""
    lines: list[str] = []
    for answer in answers:
        lines += [f"> {escape_markdown(answer.question)}", "", *answer_lines(answer), ""]
        for note in answer.notes:
            lines += [f"*{escape_markdown(note)}*", ""]
        if answer.dropped:
            lines += [f"*Left out, for lack of evidence: {len(answer.dropped)}*", ""]
    return lines


def answer_lines(answer: Answer) -> list[str]:
    """An answer as a paragraph, or as a list where it has many sentences; its options; what would help."""
    if answer.letter is not None or not answer.claims:
        parts = " ".join(escape_markdown(text) for text in (answer.text, answer.helps) if text)
        options = [escape_markdown(f"{o.letter}: {o.text} ({o.probability:.0%})") for o in answer.options]
        return [parts, *(["", *(f"- {option}" for option in options)] if options else [])]
    first, *others = map(_cited_sentence, answer.claims)
    helps = [escape_markdown(answer.helps)] if answer.helps else []
    if len(others) < MAX_PARAGRAPH_SENTENCES:
        return [" ".join([first, *others, *helps])]
    return [first, "", *(f"- {sentence}" for sentence in others), *(["", *helps] if helps else [])]


def _cited_sentence(claim: Claim) -> str:
    """A sentence with the ids that it does not name itself."""
    cited = [id for id in claim.evidence if id not in claim.text]
    if not cited:
        return escape_markdown(claim.text)
    more = f" and {len(cited) - MAX_CITED_IDS} more" if len(cited) > MAX_CITED_IDS else ""
    ids = "[" + ", ".join(cited[:MAX_CITED_IDS]) + more + "]"
    return f"{escape_markdown(claim.text)} {escape_markdown(ids)}"
