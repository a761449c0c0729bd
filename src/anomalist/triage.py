"""The pipeline for video: path → Video → FrameScores → Events → severity → ClipRecord."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from anomalist.agent.reasoning.policy import Policy, decide_clip_label, load_policy
from anomalist.agent.reasoning.severity import add_severity
from anomalist.errors import AnomalistError
from anomalist.storage.files import digest_of
from anomalist.types.clip import ClipEvidenceSummary, ClipMediaSummary, ClipRecord, ClipVerdict, Event, Mode
from anomalist.types.common import DetectorInfo
from anomalist.vision.media.frames import Video
from anomalist.vision.motion.events import EventBuilder
from anomalist.vision.motion.learning import ANALYSIS_RATE
from anomalist.vision.motion.scene import Scene, Zone
from anomalist.vision.motion.temporal import CAUSAL_TIME_CONSTANT
from anomalist.vision.motion.timeline import detect_events, downsample_curve, score_clip

EventAnnotator = Callable[[Video, tuple[Event, ...]], tuple[Event, ...]]
"""Adds to events what needs more than motion: words to watch for, a model's opinion."""


@dataclass(frozen=True, eq=False)
class Triage:
    """Finds the temporal segments worth watching in clips of one scene.

    Parameters
    ----------
    scene : what is usual.
    false_events_per_hour : that may be expected at most; None takes one, or what the footage supports.
    mode : "offline" uses the whole clip, "causal" the past alone.
    zones : drawn by a person; None takes those of the scene.
    annotate, annotated_by : adds to events what needs more than motion, and what that is, for the record.
    """

    scene: Scene
    false_events_per_hour: float | None = None
    mode: Mode = "offline"
    zones: Sequence[Zone] | None = None
    policy: Policy | None = None
    annotate: EventAnnotator = lambda _, events: events
    annotated_by: str = ""

    def key(self, video: Video) -> str:
        """What identifies the triage of one clip: its file, the scene, and everything else that counts."""
        drawn = self.scene.manifest.zones if self.zones is None else self.zones
        return digest_of(
            video.source,
            video.sha256,
            self.scene.digest,
            self.mode,
            self.false_events_per_hour,
            json.dumps([zone.model_dump() for zone in drawn]),
            (self.policy or load_policy()).digest,
            self.annotated_by,
        )

    def clip(self, video: Video, seen: Callable[[float], None] = lambda _: None) -> ClipRecord:
        """Triage one clip. What can't be read becomes a record with an error.

        Raises CalibrationError when the asked number of false events is out of reach.
        """
        started = time.perf_counter()
        threshold, calibration = self.scene.blocks(self.mode).threshold(self.false_events_per_hour)
        drawn = self.scene.manifest.zones if self.zones is None else self.zones
        try:
            timeline = score_clip(video.frames(rate=ANALYSIS_RATE), self.scene, threshold, drawn, seen)
            maker = EventBuilder(self.scene, self.mode, video.size, drawn)
            events = self.annotate(video, detect_events(timeline, maker, threshold))
        except AnomalistError as error:
            return self.failed(video.source, error)
        policy = self.policy or load_policy()
        label, why = decide_clip_label(events, timeline.troubles, len(timeline.times), timeline.judged)
        height, width = video.size
        return ClipRecord(
            media=ClipMediaSummary(
                source=video.source,
                sha256=video.sha256,
                width=width,
                height=height,
                duration=max(timeline.times, default=0.0) if video.duration is None else video.duration,
            ),
            evidence=ClipEvidenceSummary(
                events=tuple(add_severity(event, drawn, policy) for event in events),
                troubles=tuple(timeline.troubles),
                frames=len(timeline.times),
                mode=self.mode,
                latency=CAUSAL_TIME_CONSTANT if self.mode == "causal" else 0.0,
                threshold=threshold,
                calibration=calibration,
                curve=downsample_curve(timeline.times, timeline.smooth(self.mode)),
                detector=DetectorInfo(name="motion", digest=self.scene.digest),
            ),
            verdict=ClipVerdict(label=label, why_undecided=why),
            status="ok",
            key=self.key(video),
            notes=video.notes,
            scene=self.scene.name,
            scene_digest=self.scene.digest,
            time=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=round(time.perf_counter() - started, 2),
        )

    def clips(self, videos: Iterable[Video]) -> Iterator[ClipRecord]:
        """Triage many clips; one that fails is a record of its own and the rest goes on."""
        for video in videos:
            yield self.clip(video)

    def failed(self, source: str, error: AnomalistError) -> ClipRecord:
        """The record of a clip that could not be judged."""
        return ClipRecord(
            media=ClipMediaSummary(source=source),
            status="error",
            error=str(error),
            scene=self.scene.name,
            scene_digest=self.scene.digest,
            time=datetime.now(UTC).isoformat(timespec="seconds"),
        )
