"""What the page of a triage shows of each clip and event, with pictures read from the run folder."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from anomalist.clips import ClipRecord, Event
from anomalist.errors import DataError
from anomalist.report import triage_words
from anomalist.report.alerts import Alert, event_key, keys_by_rank
from anomalist.report.likeness import Seen
from anomalist.report.pages import LinkedClaim, linked
from anomalist.report.pictures import inside
from anomalist.report.stills import thumbnail_of
from anomalist.report.timeline_plot import Timeline, timeline_of
from anomalist.report.unjudged import Unjudged, outcome

MOST_PICTURES = 100
"""Events whose pictures are put into the page; all others are listed without."""

_OPEN = 30  # events that are shown with all that is known of them; others open on a click


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
    timeline: Timeline | None
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
            anchor, seen = f"c{number}-{event.id}", Seen(record, event)
            events.append(_event_view(anchor, seen, of_event[key], order[key], folder))
        views.append(
            ClipView(
                anchor=f"c{number}",
                name=name,
                record=record,
                outcome=outcome(record),
                timeline=timeline_of(record),
                events=tuple(events),
                unjudged=tuple(item for item in unjudged if item.source == record.source),
            )
        )
    return views


def _event_view(anchor: str, seen: Seen, alert: Alert, place: int, folder: Path) -> EventView:
    """``place`` is the number of the event by rank, from 0."""
    event = seen.event
    gone: list[str] = []
    frame = close_up = None
    if event.key_frame is not None and place >= MOST_PICTURES:
        gone.append(f"Only the first {MOST_PICTURES} events by rank have pictures here: {event.key_frame}")
    elif event.key_frame is not None:
        frame = _read(folder, event.key_frame)
        close_up = _read(folder, close_up_of(event.key_frame))
        if frame is None:
            gone.append("The key frame is gone.")
    clip = None
    if event.clip is not None:
        clip = _link(folder, event.clip)
        if clip is None:
            gone.append("The short clip is gone.")
    leading = (seen.record.source, event.id) == (alert.source, alert.event)
    links = {event.id: anchor} | {track.id: f"{anchor}-{track.id}" for track in event.tracks}
    links |= {item.id: f"{anchor}-m{i}" for i, item in enumerate(event.recalled, start=1)}
    return EventView(
        anchor=anchor,
        event=event,
        alert=alert,
        frame=_uri(frame),
        close_up=_uri(close_up),
        clip=clip,
        thumbnail=_uri(thumbnail_of(close_up or frame)) if leading else None,
        gone=tuple(gone),
        height=triage_words.height(seen),
        claims=tuple(linked(claim, links) for claim in event.claims),
        open=place < _OPEN,
        repeat=seen.record.source != alert.source or event.id not in alert.events,
    )


def close_up_of(key_frame: str) -> str:
    """Name the close-up that belongs to a key frame: "frames/1-E2.jpg" to "frames/1-E2-close.jpg"."""
    path = Path(key_frame)
    return path.with_name(f"{path.stem}-close{path.suffix}").as_posix()


def _read(folder: Path, name: str) -> bytes | None:
    """The bytes of a JPEG file of the folder; None where it is missing, another kind, or lies elsewhere."""
    try:
        data = inside(folder, name).read_bytes()
    except (OSError, ValueError, DataError):
        return None
    return data if data.startswith(b"\xff\xd8") else None


def _uri(data: bytes | None) -> str | None:
    return None if data is None else f"data:image/jpeg;base64,{base64.b64encode(data).decode('ascii')}"


def _link(folder: Path, name: str) -> str | None:
    try:
        there = inside(folder, name).is_file()
    except (OSError, ValueError, DataError):
        return None
    return quote(Path(name).as_posix()) if there else None
