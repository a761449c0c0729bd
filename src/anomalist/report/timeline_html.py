"""A triage as one HTML file: what to watch first, the ranked list, and each clip as a timeline.

Works offline, without scripts, in light and dark, and on paper. Only the short clips are files beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anomalist.clips import ClipRecord
from anomalist.report import triage_words
from anomalist.report.alerts import Alert, event_key
from anomalist.report.pages import page_environment
from anomalist.report.timeline_views import clip_views
from anomalist.report.triage_summary import open_points, summarise_triage, triage_headline, triage_lead
from anomalist.report.unjudged import Unjudged, outcome
from anomalist.report.wording import period, printable
from anomalist.writing import write_whole

_TOP = 4  # alerts at the head of the page


def write_timeline(
    records: Sequence[ClipRecord],
    alerts: Sequence[Alert],
    unjudged: Sequence[Unjudged],
    folder: Path,
    target: Path,
    *,
    title: str | None = None,
) -> Path:
    """Write the page. The same records and files give the same bytes.

    Parameters
    ----------
    records : one a source.
    alerts, unjudged : of these records, as `alerts_of` and `unjudged_of` give them.
    folder : where the paths of key frames and clips start; clips are linked as if the page were in it.
    target : the HTML file, replaced if it is there.
    title : stands above the headline, "Video triage" by default.

    Raises
    ------
    DataError
        If the file can't be written. Pictures and clips that are gone are no error: the page says so.
    """
    summary = summarise_triage(records, alerts)
    place, names = triage_words.clip_names(records)
    clips = clip_views(records, names, alerts, unjudged, folder)
    by_key = {event_key(clip.record.source, view.event.id): view for clip in clips for view in clip.events}
    by_source = {clip.record.source: clip for clip in clips}
    calm = [clip for clip in clips if clip.outcome == "normal" and not clip.events]
    page = _template().render(
        title=title or "Video triage",
        headline=triage_headline(summary),
        lead=triage_lead(summary),
        open_points=open_points(summary, unjudged),
        summary=summary,
        facts=_facts(records, place),
        alerts=[(alert, by_key[alert.key], by_source[alert.source]) for alert in alerts],
        top=_TOP,
        by_key=by_key,
        by_source=by_source,
        unjudged=[(item, by_source[item.source]) for item in unjudged],
        clips=[clip for clip in clips if clip not in calm],
        calm=calm,
        bases=_bases(records),
        versions=sorted({record.version for record in records}),
    )
    return write_whole(target, page)


def _template() -> Any:  # noqa: ANN401 - jinja2 is imported late
    environment = page_environment()
    environment.globals["t"] = triage_words
    environment.globals["event_key"] = event_key
    # No script runs, and nothing is loaded but the clips beside the page.
    environment.globals["security"] = (
        "default-src 'none'; img-src data:; media-src 'self' file:; style-src 'unsafe-inline'"
    )
    return environment.get_template("triage.html.j2")


def _facts(records: Sequence[ClipRecord], place: str) -> list[tuple[str, str]]:
    """List what was looked at, with what, and when, for the head of the page."""
    facts = [
        ("Clips from", place),
        ("Scene", ", ".join(sorted({record.scene for record in records if record.scene}))),
        ("Mode", ", ".join(sorted({record.mode for record in records if record.status == "ok"}))),
        ("Time", period(sorted(record.time for record in records if record.time))),
    ]
    return [(name, printable(value)) for name, value in facts if value]


def _bases(records: Sequence[ClipRecord]) -> list[tuple[int, ClipRecord]]:
    """Give one record for each different basis of decisions, with how many clips rest on it."""
    groups: dict[tuple[object, ...], list[ClipRecord]] = {}
    for record in records:
        if outcome(record) != "error":
            key = (record.scene, record.scene_digest, record.detector, record.mode, record.calibration)
            groups.setdefault(key, []).append(record)
    return [(len(group), group[0]) for group in groups.values()]
