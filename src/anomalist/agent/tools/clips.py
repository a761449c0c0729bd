"""Clip tools: the events of a clip, and the frame at a time in seconds."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from anomalist.agent.tools.subject import Result, Subject
from anomalist.errors import DataError
from anomalist.types.clip import Event
from anomalist.types.common import SEVERITIES, Box


class FoundEvent(Result):
    """One event of a clip; times are seconds from its start."""

    event: str
    kind: str
    start: float
    end: float
    duration: float
    peak: float
    severity: str
    sentence: str
    where: str
    box: Box | None
    speed_ratio: float | None = Field(description="times the usual speed there, of what did it")
    size_ratio: float | None = Field(description="times the usual size there, of the same")
    score: float = Field(description="how much it stands out; 1 is the most of normal footage")
    zone: str | None


class EventList(Result):
    """What happened in a clip."""

    clip: str
    label: str | None
    duration: float | None
    count: int
    events: tuple[FoundEvent, ...]
    unjudged: tuple[tuple[str, float, float], ...] = Field(
        description="(why, from, to): stretches that could not be judged"
    )
    why_undecided: str | None
    error: str | None = Field(description="why the clip could not be judged at all; its events are not known")
    promised_per_hour: float | None = Field(description="false events that the threshold promises at most")
    footage_seconds: float | None = Field(description="of normal footage that it rests on")
    claims: tuple[str, ...] = Field(description="sentences on the events")


class FrameFound(Result):
    """One frame of a clip."""

    clip: str
    time: float
    index: int
    mean_grey: float
    score: float | None = Field(description="of the curve at that time; None: not judged")
    threshold: float | None
    events: tuple[str, ...] = Field(description="ids of the events at that time")
    file: str | None = Field(description="the picture of it, where one was written")


def list_events(
    subject: Subject, clip: str | None = None, kind: str | None = None, least_severity: int = 0
) -> EventList:
    """List the events of a clip in order of time; only of one kind, or from a severity (0 to 4) up.

    ``clip`` is a file name; leave it out when there is only one.
    """
    record = subject.clip(clip)
    events = tuple(
        event
        for event in record.events
        if (kind is None or event.kind == kind) and event.severity >= least_severity
    )
    return EventList(
        ids=("score", *(event.id for event in events)),
        notes=record.notes,
        clip=Path(record.source).name,
        label=record.label,
        duration=record.duration,
        count=len(events),
        events=tuple(map(found_event, events)),
        unjudged=tuple((trouble.kind, trouble.start, trouble.end) for trouble in record.troubles),
        why_undecided=record.why_undecided,
        error=record.error,
        promised_per_hour=record.calibration and record.calibration.promised_per_hour,
        footage_seconds=record.calibration and record.calibration.footage_seconds,
        claims=tuple(claim.text for event in events for claim in event.claims),
    )


def frame_at(subject: Subject, seconds: float, clip: str | None = None) -> FrameFound:
    """Look at the frame of a clip at a time in seconds from its start."""
    from anomalist.vision.media.video import open_video

    record = subject.clip(clip)
    if record.duration is not None and not 0 <= seconds <= record.duration:
        raise DataError(
            f"The clip {Path(record.source).name} has no {seconds:g} s.",
            f"It ends at {record.duration:.1f} s.",
        )
    path = subject.path_of(record.source)
    if not path.exists():
        raise DataError(f"{record.source} is gone since it was judged.", "Its record can still be asked.")
    video = open_video(path)
    if record.sha256 is not None and video.sha256 not in (None, record.sha256):
        raise DataError(
            f"{record.source} has changed since it was judged: its hash differs.", "Triage it again."
        )
    frame = next(video.frames(start=seconds), None)
    if frame is None:
        raise DataError(f"There is no frame at {seconds:g} s of {record.source}.")
    near = min(record.curve, key=lambda point: abs(point[0] - seconds), default=None)
    return FrameFound(
        ids=tuple(event.id for event in record.events if event.start <= seconds <= event.end) or ("score",),
        clip=Path(record.source).name,
        time=round(frame.time, 2),
        index=frame.index,
        mean_grey=round(float(frame.pixels.mean()), 1),
        score=near[1] if near else None,
        threshold=record.threshold,
        events=tuple(event.id for event in record.events if event.start <= seconds <= event.end),
        file=subject.write_crop(record.source, f"frame-{frame.index}", frame.pixels, "The frame"),
    )


def found_event(event: Event) -> FoundEvent:
    """The `FoundEvent` of an event."""
    track = event.tracks[0] if event.tracks else None
    return FoundEvent(
        ids=(event.id, *(one.id for one in event.tracks)),
        event=event.id,
        kind=event.kind,
        start=round(event.start, 1),
        end=round(event.end, 1),
        duration=round(event.end - event.start, 1),
        peak=round(event.peak, 1),
        severity=SEVERITIES[event.severity],
        sentence=event.caption.text,
        where=event.caption.where,
        box=event.box,
        speed_ratio=None if track is None else round(track.speed_ratio, 1),
        size_ratio=None if track is None else round(track.size_ratio, 1),
        score=round(event.score, 1),
        zone=event.zone,
    )
