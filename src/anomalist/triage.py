"""The pipeline for video: path → Video → Evidence → Recall → Verdict → Record.

The stages are those of `anomalist.pipeline`. A model that describes an event is asked before recall, because
its sentence is one of the captions that memory is searched with.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anomalist.agent.reasoning.policy import Policy, decide_clip_label
from anomalist.agent.reasoning.recall import add_recalled
from anomalist.agent.reasoning.severity import add_severity
from anomalist.composition import TriageSettings, compose_triage, override
from anomalist.errors import AnomalistError, MediaError
from anomalist.records import clip_media_summary, failed_clip_record
from anomalist.storage.files import digest_of, utc_now
from anomalist.types.clip import (
    ClipEvidenceSummary,
    ClipMediaSummary,
    ClipRecord,
    ClipVerdict,
    Event,
    EventCalibration,
    Mode,
)
from anomalist.types.common import DetectorInfo
from anomalist.vision.media.frames import Video, lost_seconds
from anomalist.vision.media.video import open_video
from anomalist.vision.motion.captions import place_of, place_words
from anomalist.vision.motion.events import EventBuilder
from anomalist.vision.motion.modes import choose_mode
from anomalist.vision.motion.pacing import ANALYSIS_RATE
from anomalist.vision.motion.scene import Scene, Zone
from anomalist.vision.motion.temporal import CAUSAL_TIME_CONSTANT
from anomalist.vision.motion.timeline import ClipTimeline, detect_events, downsample_curve, score_clip

_MAX_SHAPE_CHANGE = 0.05  # of the logarithm of width by height


@dataclass(frozen=True, eq=False)
class ClipEvidence:
    """What was measured on a clip: its score curve, its events, and what their threshold rests on.

    Parameters
    ----------
    media, notes : of the clip once it was read.
    seconds : that reading and measuring took.
    """

    timeline: ClipTimeline
    events: tuple[Event, ...]
    threshold: float
    calibration: EventCalibration
    media: ClipMediaSummary
    notes: tuple[str, ...]
    seconds: float


class Triage:
    """Finds the temporal segments worth watching in clips of one scene.

    Parameters
    ----------
    scene : name or folder of a scene, or a loaded one; or all settings at once, of which the arguments below
        replace those that are given.
    false_events_per_hour : that may be expected at most. By default one, or what the footage supports.
    mode : "offline" (default) uses the whole clip, "causal" the past alone.
    zones : drawn by a person, or their JSON file; by default those of the scene.
    policy : a policy or its TOML file, in place of the shipped one.
    model : who is asked about events, as after ``--model``: "evidence" for nobody. By default "auto": the
        model of ``ANOMALIST_MODEL`` where it is there.
    watch : what to look out for, in words.

    Raises
    ------
    AnomalistError : see `compose_triage`.

    Examples
    --------
    >>> record = Triage("cam3", mode="causal").clip("night/02.mp4")  # doctest: +SKIP
    >>> [(event.start, event.end, event.severity) for event in record.events]  # doctest: +SKIP
    [(12.4, 15.1, 2)]
    """

    def __init__(
        self,
        scene: str | Path | Scene | TriageSettings,
        *,
        false_events_per_hour: float | None = None,
        mode: Mode | None = None,
        zones: Sequence[Zone] | str | Path | None = None,
        policy: Policy | str | Path | None = None,
        model: str | None = None,
        watch: Sequence[str] | None = None,
    ) -> None:
        settings = override(
            scene if isinstance(scene, TriageSettings) else TriageSettings(scene),
            false_events_per_hour=false_events_per_hour,
            mode=mode,
            zones=zones,
            policy=policy,
            model=model,
            watch=watch,
        )
        parts = compose_triage(settings)
        self.false_events_per_hour = settings.false_events_per_hour
        self.mode = settings.mode
        self.scene = parts.scene
        self.zones = parts.zones
        self.annotator = parts.annotator
        self.memory = parts.memory
        self.policy = parts.policy
        self._annotation_digest = parts.digest

    def clip(self, video: str | Path | Video, seen: Callable[[float], None] = lambda _: None) -> ClipRecord:
        """Triage one clip.

        Parameters
        ----------
        video : a file, a folder of numbered frames, an address, or an opened video.
        seen : called with the time of each frame, in seconds.

        Returns
        -------
        The record: label, and events with start and end in seconds from the first frame. What can't be read
        becomes a record with an error.

        Raises
        ------
        CalibrationError : the asked number of false events is out of reach.
        """
        try:
            opened = open_video(video) if isinstance(video, str | Path) else video
        except AnomalistError as error:
            return self.failed(video, error)
        return self.judge(opened, self.measure(opened, seen))

    def measure(
        self, video: str | Path | Video, seen: Callable[[float], None] = lambda _: None
    ) -> ClipEvidence | AnomalistError:
        """Measure one clip: the part of `clip` that may be done in another process; see there."""
        began = time.perf_counter()
        self.scene.blocks(self.mode).threshold(self.false_events_per_hour)
        try:
            opened = open_video(video) if isinstance(video, str | Path) else video
            self.check_shape(opened)
            scene = choose_mode(self.scene, opened)
            # Of another mode there may be too little footage: then its own promise is told.
            blocks = scene.blocks(self.mode)
            threshold, calibration = blocks.threshold(self.false_events_per_hour, nearest=True)
            timeline = score_clip(opened.frames(rate=ANALYSIS_RATE), scene, threshold, self.zones, seen)
            timeline.lost = lost_seconds(opened)
            builder = EventBuilder(scene, self.mode, opened.size, self.zones)
            events = detect_events(timeline, builder, threshold)
        except AnomalistError as error:
            return error
        media, seconds = clip_media_summary(opened, timeline.times), time.perf_counter() - began
        notes = (*opened.notes, *_mode_notes(scene, calibration), *_overlay_notes(timeline, scene))
        return ClipEvidence(timeline, events, threshold, calibration, media, notes, seconds)

    def judge(self, video: str | Path | Video, evidence: ClipEvidence | AnomalistError) -> ClipRecord:
        """The record of a measured clip: what a model and memory say of its events, severity, and label."""
        if isinstance(evidence, AnomalistError):
            return self.failed(video, evidence)
        began = time.perf_counter()
        try:
            opened = open_video(video) if isinstance(video, str | Path) else video
            described = self.annotator(opened, evidence.events)
            events = tuple(self.judge_event(event) for event in described)
        except AnomalistError as error:
            return self.failed(video, error)
        timeline = evidence.timeline
        label, why = decide_clip_label(
            events,
            timeline.troubles,
            len(timeline.times),
            timeline.judged,
            timeline.other_pictures,
            lost=timeline.lost,
            longest=timeline.longest_judged,
        )
        verdict = ClipVerdict(label=label, why_undecided=why)
        seconds = evidence.seconds + time.perf_counter() - began
        return self._record(self.key(opened), evidence, events, verdict, seconds)

    def clips(self, videos: Iterable[str | Path | Video]) -> Iterator[ClipRecord]:
        """Triage many clips; one that fails is a record of its own and the rest goes on."""
        for video in videos:
            yield self.clip(video)

    def judge_event(self, event: Event) -> Event:
        """The event with what memory recalls to its captions, and its severity by the policy."""
        recalled = event if self.memory is None else add_recalled(event, self.memory)
        return add_severity(recalled, self.zones, self.policy)

    def key(self, video: Video) -> str:
        """What identifies the triage of one clip: its file, the scene, and everything else that counts."""
        return digest_of(
            video.source,
            video.sha256,
            self.scene.digest,
            self.mode,
            self.false_events_per_hour,
            json.dumps([zone.model_dump() for zone in self.zones]),
            self.policy.digest,
            self._annotation_digest,
        )

    def failed(self, video: str | Path | Video, error: AnomalistError) -> ClipRecord:
        """The record of a clip that could not be judged."""
        failed = failed_clip_record(video, error)
        return failed.replace(scene=self.scene.name, scene_digest=self.scene.digest)

    def check_shape(self, video: Video) -> None:
        """Raise MediaError for another shape than that of the scene: every place would be another one."""
        (height, width), about = video.size, self.scene.manifest
        if abs(np.log(width / height) - np.log(about.width / about.height)) > _MAX_SHAPE_CHANGE:
            turned = (
                ", as if it were turned by 90°" if (height > width) != (about.height > about.width) else ""
            )
            raise MediaError(
                f"{video.source} is {width} × {height} pixels, the scene {self.scene.name} was learned from "
                f"{about.width} × {about.height}{turned}: no place in it is the same.",
                "Turn or cut it as it was learned, or learn a scene of its own.",
            )

    def _record(
        self,
        key: str,
        evidence: ClipEvidence,
        events: tuple[Event, ...],
        verdict: ClipVerdict,
        seconds: float,
    ) -> ClipRecord:
        timeline = evidence.timeline
        return ClipRecord(
            media=evidence.media,
            evidence=ClipEvidenceSummary(
                events=events,
                troubles=tuple(timeline.troubles),
                jumps=tuple(timeline.jumps),
                other_pictures=tuple(timeline.other_pictures),
                frames=len(timeline.times),
                mode=self.mode,
                latency=CAUSAL_TIME_CONSTANT if self.mode == "causal" else 0.0,
                threshold=evidence.threshold,
                calibration=evidence.calibration,
                curve=downsample_curve(timeline.times, timeline.smooth(self.mode)),
                detector=DetectorInfo(name="motion", digest=self.scene.digest),
            ),
            verdict=verdict,
            status="ok",
            key=key,
            notes=evidence.notes,
            scene=self.scene.name,
            scene_digest=self.scene.digest,
            time=utc_now(),
            seconds=round(seconds, 2),
        )


def _mode_notes(scene: Scene, calibration: EventCalibration) -> Iterator[str]:
    """Say which mode of a scene a clip was judged by, where that is not the main one, and how far it goes."""
    if kind := scene.manifest.kind:
        yield f"Judged by what was learned of {kind} pictures of this camera."
        if not calibration.supported:
            yield (
                f"So little footage of them supports {calibration.promised_per_hour:.3g} "
                f"false events per hour, not {calibration.asked_per_hour:g}."
            )


def _overlay_notes(timeline: ClipTimeline, scene: Scene) -> list[str]:
    """Say where burned-in text was left out."""
    size = scene.learned.background.grey.shape
    places = dict.fromkeys(place_words(place_of(box, (size[0], size[1]))) for box in timeline.overlays)
    return [f"Burned-in text {', '.join(places)} was left out."] if places else []
