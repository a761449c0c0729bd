"""Report of a triage of clips: its document, and the alerts and timelines of triage.html.

Not judged are clips with an error, undecided clips, camera trouble, and time spans without a score. None
of these is ever taken for normal. Key frames are embedded in the page; short clips are files beside it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from pydantic import Field

from anomalist.errors import DataError
from anomalist.memory.ranking import RankAdjustment
from anomalist.report.alerts import (
    Alert,
    ClipEvent,
    Occurrence,
    height,
    keys_by_rank,
    rank_alerts,
)
from anomalist.report.document import (
    Column,
    DecisionBasis,
    Entry,
    LinkedClaim,
    MarkdownLayout,
    ReportDocument,
    Section,
    Unjudged,
    clip_duration,
    decision_bases,
    header_facts,
    link_evidence,
    render_html,
    sorted_unique,
    unjudged_entries,
    unjudged_spans,
)
from anomalist.report.figures import (
    close_up_path,
    jpeg_data_uri,
    jpeg_thumbnail,
    read_jpeg,
    resolve_inside,
)
from anomalist.report.plots import TimelinePlot, timeline_plot
from anomalist.report.wording import (
    UNGRADED,
    count,
    count_kinds,
    count_severities,
    explain_calibration,
    explain_timing,
    format_duration,
    format_period,
    format_time_span,
    outcome,
    printable,
    severity_word,
    short_names,
    source_name,
)
from anomalist.types.clip import ClipRecord, Event, event_key
from anomalist.types.common import Frozen

MAX_EMBEDDED_EVENTS = 100
"""Events whose pictures are put into the page; all others are listed without."""

MAX_LISTED_ROWS = 20
"""Alerts, and things not judged, that are listed in Markdown; the rest is counted."""

_MAX_OPEN_EVENTS = 30  # events that are shown with all that is known of them; others open on a click
_TOP_ALERTS = 4  # alerts at the head of the page

TRIAGE_FORMAT = 1


class TriageSummary(Frozen):
    """Counts of one triage. Each clip is counted once among the four outcomes."""

    clips: int
    anomalous: int
    undecided: int
    normal: int
    errors: int = Field(description="clips without a verdict")
    events: int
    alerts: int
    by_severity: dict[str, int] = Field(description="of the alerts, the most severe first")
    by_kind: dict[str, int] = Field(description="of the alerts, the most frequent first")
    watched: int = Field(description="alerts that match what was asked to be watched for")
    footage_seconds: float = Field(description="of all clips whose length is known")
    unjudged_seconds: float = Field(description="of that, what could not be judged")


class TriageReport(Frozen):
    """What ``triage.json`` holds; the clips themselves are rows of ``clips.jsonl``."""

    format: int = TRIAGE_FORMAT
    summary: TriageSummary
    alerts: tuple[Alert, ...]
    unjudged: tuple[Unjudged, ...]


@dataclass(frozen=True, eq=False)
class AlertEntry(Entry[ClipRecord]):
    """An alert; record, name and anchor are those of its leading event."""

    alert: Alert = field(kw_only=True)

    @property
    def outcome(self) -> str:
        """An alert is anomalous, whatever its clip is called as a whole."""
        return "anomalous"


@dataclass(frozen=True)
class EventView:
    """What the page shows of an event."""

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
class ClipView(Section[ClipRecord]):
    """What the page shows of a clip."""

    timeline: TimelinePlot | None
    events: tuple[EventView, ...]
    unjudged: tuple[Unjudged, ...]


@dataclass(frozen=True, eq=False)
class AlertView:
    """What the page shows of an alert: its leading event, its clip, and where else the thing was seen."""

    entry: AlertEntry
    event: EventView
    clip: ClipView
    repeats: tuple[tuple[Occurrence, EventView, ClipView], ...]


@dataclass(frozen=True)
class ClipReportView:
    """View of a triage.

    Parameters
    ----------
    adjustments : by ``event_key``, from feedback on past events.
    """

    adjustments: Mapping[str, RankAdjustment] = field(default_factory=dict)

    stem: ClassVar[str] = "triage"
    layout: ClassVar[MarkdownLayout[AlertEntry]] = MarkdownLayout(
        columns=(
            Column("rank", lambda entry: entry.alert.id[1:], numeric=True),
            Column("severity", lambda entry: severity_word(entry.severity, UNGRADED)),
            Column("clip", lambda entry: entry.name, code=True),
            Column("time", lambda entry: format_time_span(entry.alert.start, entry.alert.end)),
            Column("what", lambda entry: entry.alert.caption),
            Column("why it stands here", lambda entry: entry.reason),
        ),
        entries_heading="In this order",
        unjudged_heading="Not judged",
        page="triage.html",
        max_rows=MAX_LISTED_ROWS,
        basis_unit="clip",
    )

    def document(
        self, records: Sequence[ClipRecord], title: str | None = None
    ) -> ReportDocument[AlertEntry, TriageSummary]:
        """Say what the records hold, one a source, in any order; reads no file.

        Raises DataError for two records of one source.
        """
        alerts = rank_alerts(records, self.adjustments)
        summary = summarise_triage(records, alerts)
        place, names = short_names(records)
        sections = _sections(records, names, alerts)
        unjudged = unjudged_entries(records, sections)
        of_source = {section.record.source: section for section in sections}
        return ReportDocument(
            title=title or "Video triage",
            headline=headline(summary),
            lead=lead(summary),
            open_points=unjudged_sentences(summary, [each.item for each in unjudged]),
            counts="",
            place=place,
            records=tuple(records),
            summary=summary,
            facts=_header_facts(records, place),
            entries=tuple(_entry(alert, of_source[alert.source]) for alert in alerts),
            sections=sections,
            unjudged=unjudged,
            bases=_decision_bases(records),
            versions=sorted_unique(record.version for record in records),
        )

    def page(self, document: ReportDocument[AlertEntry, TriageSummary], folder: Path) -> str:
        """Render the HTML page, with pictures and clips of the folder, as if the page were in it.

        Pictures and clips that are gone are no error: the page says so.
        """
        clips = _clip_views(document, folder)
        of_source = {clip.record.source: clip for clip in clips}
        events = {
            event_key(clip.record.source, view.event.id): view for clip in clips for view in clip.events
        }
        calm = [clip for clip in clips if clip.outcome == "normal" and not clip.events]
        page = {
            "rows": [_alert_view(entry, events, of_source) for entry in document.entries],
            "top": _TOP_ALERTS,
            "clips": [clip for clip in clips if clip not in calm],
            "calm": calm,
        }
        return render_html(document, "triage.html.j2", page, media=True)

    def to_json(self, document: ReportDocument[AlertEntry, TriageSummary]) -> str:
        """Give the text of triage.json."""
        return TriageReport(
            summary=document.summary,
            alerts=tuple(entry.alert for entry in document.entries),
            unjudged=tuple(each.item for each in document.unjudged),
        ).model_dump_json(indent=1)

    def export(self, records: Sequence[ClipRecord], folder: Path) -> None:
        """Clips have no exports yet."""


def summarise_triage(records: Sequence[ClipRecord], alerts: Sequence[Alert]) -> TriageSummary:
    """Count clips by outcome and alerts by severity and kind."""
    outcomes = Counter(outcome(record) for record in records)
    unscored = sum(end - start for record in records for start, end in unjudged_spans(record))
    return TriageSummary(
        clips=len(records),
        anomalous=outcomes["anomalous"],
        undecided=outcomes["undecided"],
        normal=outcomes["normal"],
        errors=outcomes["error"],
        events=sum(len(record.events) for record in records),
        alerts=len(alerts),
        by_severity=count_severities((alert.severity for alert in alerts), UNGRADED),
        by_kind=count_kinds(alert.kind for alert in alerts),
        watched=sum(bool(alert.watched) for alert in alerts),
        footage_seconds=round(sum(map(clip_duration, records)), 3),
        unjudged_seconds=round(unscored, 3),
    )


def headline(summary: TriageSummary) -> str:
    """Say the outcome in one sentence without a full stop."""
    clips = count(summary.clips, "clip")
    if not summary.clips:
        return "No clips were looked at"
    if summary.alerts:
        worst, amount = next(iter(summary.by_severity.items()))
        if summary.alerts == 1:
            return f"1 thing to watch in {clips}, {worst}"
        those = "all" if amount == summary.alerts else f"{amount:,}"
        return f"{summary.alerts:,} things to watch in {clips}, {those} {worst}"
    judged = summary.clips - summary.errors - summary.undecided
    if not judged:
        return "The clip could not be judged" if summary.clips == 1 else f"None of {clips} could be judged"
    if judged == summary.clips:
        return f"Nothing stood out in {clips}"
    return f"Nothing stood out in {judged:,} of {clips}; the others could not be judged"


def lead(summary: TriageSummary) -> str:
    """Say how much was looked at, and what was counted together."""
    if summary.events > summary.alerts:
        merged = "merged where they belong together, repeats counted"
        return f"{count(summary.events, 'event')} in {format_duration(summary.footage_seconds)}, {merged}."
    return f"{format_duration(summary.footage_seconds)} of footage." if summary.footage_seconds else ""


def unjudged_sentences(summary: TriageSummary, unjudged: Sequence[Unjudged]) -> str:
    """Say what could not be judged; "" where all was."""
    sentences = []
    whole = sorted(source_name(item.source) for item in unjudged if item.kind in ("error", "undecided"))
    if whole:
        names = printable(", ".join(whole[:3])) + (", …" if len(whole) > 3 else "")
        verb = "needs" if len(whole) == 1 else "need"
        sentences.append(f"{count(len(whole), 'clip')} could not be judged and {verb} a person: {names}.")
    if summary.unjudged_seconds >= 1:
        sentences.append(f"In all, {format_duration(summary.unjudged_seconds)} could not be judged.")
    return " ".join(sentences)


def _sections(
    records: Sequence[ClipRecord], names: Sequence[str], alerts: Sequence[Alert]
) -> tuple[Section[ClipRecord], ...]:
    """Order the clips: those with alerts by rank, then what was not judged, then the others."""
    ranks = {key: rank for rank, key in enumerate(keys_by_rank(alerts))}

    def order(named: tuple[str, ClipRecord]) -> tuple[int, bool, str]:
        name, record = named
        keys = [event_key(record.source, event.id) for event in record.events]
        return min((ranks[key] for key in keys), default=len(ranks)), outcome(record) == "normal", name

    ordered = sorted(zip(names, records, strict=True), key=order)
    return tuple(
        Section(f"c{number}", name, record) for number, (name, record) in enumerate(ordered, start=1)
    )


def _entry(alert: Alert, section: Section[ClipRecord]) -> AlertEntry:
    return AlertEntry(
        anchor=f"{section.anchor}-{alert.event}",
        name=section.name,
        record=section.record,
        severity=alert.severity,
        reason=alert.reason,
        alert=alert,
    )


def _clip_views(document: ReportDocument[AlertEntry, TriageSummary], folder: Path) -> list[ClipView]:
    alerts = [entry.alert for entry in document.entries]
    of_event = {key: alert for alert in alerts for key in alert.keys}
    ranks = {key: rank for rank, key in enumerate(keys_by_rank(alerts))}
    views = []
    for section in document.sections:
        record = section.record
        events = []
        for event in record.events:
            seen = ClipEvent(record, event)
            anchor = f"{section.anchor}-{event.id}"
            events.append(_event_view(anchor, seen, of_event[seen.key], ranks[seen.key], folder))
        views.append(
            ClipView(
                anchor=section.anchor,
                name=section.name,
                record=record,
                timeline=timeline_plot(record),
                events=tuple(events),
                unjudged=tuple(each.item for each in document.unjudged if each.item.source == record.source),
            )
        )
    return views


def _alert_view(
    entry: AlertEntry, events: Mapping[str, EventView], clips: Mapping[str, ClipView]
) -> AlertView:
    alert = entry.alert
    repeats = (
        (seen, events[event_key(seen.source, seen.events[0])], clips[seen.source]) for seen in alert.repeats
    )
    return AlertView(entry, events[alert.key], clips[alert.source], tuple(repeats))


def _event_view(anchor: str, seen: ClipEvent, alert: Alert, rank: int, folder: Path) -> EventView:
    """``rank`` is that among all events, from 0."""
    event = seen.event
    gone: list[str] = []
    frame = close_up = None
    if event.key_frame is not None and rank >= MAX_EMBEDDED_EVENTS:
        gone.append(
            f"Only the first {MAX_EMBEDDED_EVENTS} events by rank have pictures here: {event.key_frame}"
        )
    elif event.key_frame is not None:
        frame = read_jpeg(folder, event.key_frame)
        close_up = read_jpeg(folder, close_up_path(event.key_frame))
        if frame is None:
            gone.append("The key frame is gone.")
    clip = None
    if event.clip is not None:
        clip = _clip_link(folder, event.clip)
        if clip is None:
            gone.append("The short clip is gone.")
    leading = seen.key == alert.key
    links = {event.id: anchor} | {track.id: f"{anchor}-{track.id}" for track in event.tracks}
    links |= {item.id: f"{anchor}-m{i}" for i, item in enumerate(event.recalled, start=1)}
    return EventView(
        anchor=anchor,
        event=event,
        alert=alert,
        frame=jpeg_data_uri(frame),
        close_up=jpeg_data_uri(close_up),
        clip=clip,
        thumbnail=jpeg_data_uri(jpeg_thumbnail(close_up or frame)) if leading else None,
        gone=tuple(gone),
        height=height(seen),
        claims=tuple(link_evidence(claim, links) for claim in event.claims),
        open=rank < _MAX_OPEN_EVENTS,
        repeat=seen.record.source != alert.source or event.id not in alert.events,
    )


def _clip_link(folder: Path, name: str) -> str | None:
    try:
        there = resolve_inside(folder, name).is_file()
    except (OSError, ValueError, DataError):
        return None
    return quote(Path(name).as_posix()) if there else None


def _header_facts(records: Sequence[ClipRecord], place: str) -> tuple[tuple[str, str], ...]:
    """List what was triaged, with what, and when."""
    return header_facts(
        {
            "Clips from": place,
            "Scene": ", ".join(sorted_unique(record.scene for record in records if record.scene)),
            "Mode": ", ".join(sorted_unique(record.mode for record in records if record.status == "ok")),
            "Time": format_period(sorted(record.time for record in records if record.time)),
        }
    )


def _decision_bases(records: Sequence[ClipRecord]) -> tuple[DecisionBasis[ClipRecord], ...]:
    def key(record: ClipRecord) -> tuple[object, ...]:
        return record.scene, record.scene_digest, record.detector, record.mode, record.calibration

    return decision_bases(records, key, _basis_sentence)


def _basis_sentence(record: ClipRecord) -> str:
    rests = explain_calibration(record.calibration) if record.calibration else "No calibration."
    return f"Scene {record.scene or '–'}: {rests} {explain_timing(record)}"
