"""HTML report of a triage: what to watch first, the ranked alerts, and a timeline for each clip.

Works offline, without scripts, in light and dark, and on paper. Key frames are embedded; short clips are
files beside the page. The same records and files give the same bytes.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from anomalist.errors import DataError
from anomalist.report import clip_wording
from anomalist.report.alerts import Alert, ClipEvent, height, keys_by_rank
from anomalist.report.clip_summary import (
    Unjudged,
    outcome,
    summarise_triage,
    triage_headline,
    triage_lead,
    unjudged_sentences,
)
from anomalist.report.figures import jpeg_thumbnail, resolve_inside
from anomalist.report.html import LinkedClaim, link_evidence, template_environment
from anomalist.report.plots import TimelinePlot, timeline_plot
from anomalist.report.wording import format_period, printable
from anomalist.storage.files import write_atomically
from anomalist.types.clip import ClipRecord, Event, event_key

MAX_EMBEDDED_EVENTS = 100
"""Events whose pictures are put into the page; all others are listed without."""

_MAX_OPEN_EVENTS = 30  # events that are shown with all that is known of them; others open on a click


@dataclass(frozen=True)
class EventView:
    """What the template shows of an event."""

    anchor: str
    event: Event
    alert: Alert
    frame: str | None
    close_up: str | None
    clip: str | None
    thumbnail: str | None
    gone: tuple[str, ...]
    height: str
    claims: tuple[LinkedClaim, ...]
    open: bool
    repeat: bool


@dataclass(frozen=True, eq=False)
class ClipView:
    """What the template shows of a clip."""

    anchor: str
    name: str
    record: ClipRecord
    outcome: str
    timeline: TimelinePlot | None
    events: tuple[EventView, ...]
    unjudged: tuple[Unjudged, ...]


def clip_views(
    records: Sequence[ClipRecord],
    names: Sequence[str],
    alerts: Sequence[Alert],
    unjudged: Sequence[Unjudged],
    folder: Path,
) -> list[ClipView]:
    """Make the views of all clips: those with alerts by rank, then what was not judged, then the others."""
    of_event = {key: alert for alert in alerts for key in alert.keys}
    order = {key: number for number, key in enumerate(keys_by_rank(alerts))}

    def best(record: ClipRecord) -> int:
        keys = [event_key(record.source, event.id) for event in record.events]
        return min((order[key] for key in keys), default=len(order))

    ordered = sorted(
        zip(names, records, strict=True),
        key=lambda pair: (best(pair[1]), outcome(pair[1]) == "normal", pair[0]),
    )
    views = []
    for number, (name, record) in enumerate(ordered, start=1):
        events = []
        for event in record.events:
            key = event_key(record.source, event.id)
            anchor, seen = f"c{number}-{event.id}", ClipEvent(record, event)
            events.append(_event_view(anchor, seen, of_event[key], order[key], folder))
        views.append(
            ClipView(
                anchor=f"c{number}",
                name=name,
                record=record,
                outcome=outcome(record),
                timeline=timeline_plot(record),
                events=tuple(events),
                unjudged=tuple(item for item in unjudged if item.source == record.source),
            )
        )
    return views


def _event_view(anchor: str, seen: ClipEvent, alert: Alert, place: int, folder: Path) -> EventView:
    """``place`` is the number of the event by rank, from 0."""
    event = seen.event
    gone: list[str] = []
    frame = close_up = None
    if event.key_frame is not None and place >= MAX_EMBEDDED_EVENTS:
        gone.append(
            f"Only the first {MAX_EMBEDDED_EVENTS} events by rank have pictures here: {event.key_frame}"
        )
    elif event.key_frame is not None:
        frame = _read_jpeg(folder, event.key_frame)
        close_up = _read_jpeg(folder, close_up_path(event.key_frame))
        if frame is None:
            gone.append("The key frame is gone.")
    clip = None
    if event.clip is not None:
        clip = _clip_link(folder, event.clip)
        if clip is None:
            gone.append("The short clip is gone.")
    leading = (seen.record.source, event.id) == (alert.source, alert.event)
    links = {event.id: anchor} | {track.id: f"{anchor}-{track.id}" for track in event.tracks}
    links |= {item.id: f"{anchor}-m{i}" for i, item in enumerate(event.recalled, start=1)}
    return EventView(
        anchor=anchor,
        event=event,
        alert=alert,
        frame=_jpeg_data_uri(frame),
        close_up=_jpeg_data_uri(close_up),
        clip=clip,
        thumbnail=_jpeg_data_uri(jpeg_thumbnail(close_up or frame)) if leading else None,
        gone=tuple(gone),
        height=height(seen),
        claims=tuple(link_evidence(claim, links) for claim in event.claims),
        open=place < _MAX_OPEN_EVENTS,
        repeat=seen.record.source != alert.source or event.id not in alert.events,
    )


def close_up_path(key_frame: str) -> str:
    """Name the close-up that belongs to a key frame: "frames/1-E2.jpg" to "frames/1-E2-close.jpg"."""
    path = Path(key_frame)
    return path.with_name(f"{path.stem}-close{path.suffix}").as_posix()


def _read_jpeg(folder: Path, name: str) -> bytes | None:
    """The bytes of a JPEG file of the folder; None where it is missing, another kind, or lies elsewhere."""
    try:
        data = resolve_inside(folder, name).read_bytes()
    except (OSError, ValueError, DataError):
        return None
    return data if data.startswith(b"\xff\xd8") else None


def _jpeg_data_uri(data: bytes | None) -> str | None:
    return None if data is None else f"data:image/jpeg;base64,{base64.b64encode(data).decode('ascii')}"


def _clip_link(folder: Path, name: str) -> str | None:
    try:
        there = resolve_inside(folder, name).is_file()
    except (OSError, ValueError, DataError):
        return None
    return quote(Path(name).as_posix()) if there else None


_TOP_ALERTS = 4  # alerts at the head of the page


def write_triage_html(
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
    place, names = clip_wording.clip_names(records)
    clips = clip_views(records, names, alerts, unjudged, folder)
    by_key = {event_key(clip.record.source, view.event.id): view for clip in clips for view in clip.events}
    by_source = {clip.record.source: clip for clip in clips}
    calm = [clip for clip in clips if clip.outcome == "normal" and not clip.events]
    page = _template().render(
        title=title or "Video triage",
        headline=triage_headline(summary),
        lead=triage_lead(summary),
        open_points=unjudged_sentences(summary, unjudged),
        summary=summary,
        facts=_header_facts(records, place),
        alerts=[(alert, by_key[alert.key], by_source[alert.source]) for alert in alerts],
        top=_TOP_ALERTS,
        by_key=by_key,
        by_source=by_source,
        unjudged=[(item, by_source[item.source]) for item in unjudged],
        clips=[clip for clip in clips if clip not in calm],
        calm=calm,
        bases=_decision_bases(records),
        versions=sorted({record.version for record in records}),
    )
    return write_atomically(target, page)


def _template() -> Any:  # noqa: ANN401
    environment = template_environment()
    environment.globals["t"] = clip_wording
    environment.globals["event_key"] = event_key
    # No script runs, and nothing is loaded but the clips beside the page.
    environment.globals["security"] = (
        "default-src 'none'; img-src data:; media-src 'self' file:; style-src 'unsafe-inline'"
    )
    return environment.get_template("triage.html.j2")


def _header_facts(records: Sequence[ClipRecord], place: str) -> list[tuple[str, str]]:
    """List what was looked at, with what, and when, for the head of the page."""
    facts = [
        ("Clips from", place),
        ("Scene", ", ".join(sorted({record.scene for record in records if record.scene}))),
        ("Mode", ", ".join(sorted({record.mode for record in records if record.status == "ok"}))),
        ("Time", format_period(sorted(record.time for record in records if record.time))),
    ]
    return [(name, printable(value)) for name, value in facts if value]


def _decision_bases(records: Sequence[ClipRecord]) -> list[tuple[int, ClipRecord]]:
    """Give one record for each different basis of decisions, with how many clips rest on it."""
    groups: dict[tuple[object, ...], list[ClipRecord]] = {}
    for record in records:
        if outcome(record) != "error":
            key = (record.scene, record.scene_digest, record.detector, record.mode, record.calibration)
            groups.setdefault(key, []).append(record)
    return [(len(group), group[0]) for group in groups.values()]
