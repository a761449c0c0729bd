"""Everything a triage leaves for people and programs, with its pictures and short clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from anomalist.clips import ClipRecord
from anomalist.memory.ranking import Adjustment
from anomalist.report.alerts import alerts_of, event_key, keys_by_rank
from anomalist.report.timeline_html import write_timeline
from anomalist.report.triage_markdown import write_triage_markdown
from anomalist.report.triage_pictures import MOST_PICTURED, Opener, opener, with_pictures
from anomalist.report.triage_summary import TriageReport, summarise_triage
from anomalist.report.unjudged import unjudged_of
from anomalist.writing import write_whole

if TYPE_CHECKING:
    from anomalist.vision.video.frames import Video

CLIPS = "clips.jsonl"


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
    opened = opener(videos)
    pictured = []
    for record in records:
        wanted = {
            event.id for event in record.events if order[event_key(record.source, event.id)] < MOST_PICTURED
        }
        pictured.append(with_pictures(record, wanted, folder, opened, clips=clips))
    rows = "".join(f"{record.model_dump_json()}\n" for record in pictured)
    write_whole(folder / CLIPS, rows)
    return _write_reports(pictured, folder, adjustments, title)


def render_triage(
    records: Sequence[ClipRecord],
    folder: Path,
    *,
    adjustments: Mapping[str, Adjustment] | None = None,
    title: str | None = None,
) -> Path:
    """Write triage.json, triage.md and triage.html again from records and the pictures of their folder.

    Raises DataError if a file can't be written.
    """
    return _write_reports(records, folder, adjustments, title)


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
