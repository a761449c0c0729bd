"""Ranking of clips without normal footage: the stretches worth watching first, by each clip itself.

Nothing is calibrated and nothing is decided: every clip is undecided, with its most active stretches.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from anomalist.errors import AnomalistError
from anomalist.records import clip_media_summary, failed_clip_record
from anomalist.storage.files import digest_of, utc_now
from anomalist.types.clip import (
    Caption,
    ClipEvidenceSummary,
    ClipRecord,
    ClipVerdict,
    Event,
    Measured,
)
from anomalist.types.common import Claim, DetectorInfo
from anomalist.vision.media.frames import Video
from anomalist.vision.media.video import open_video
from anomalist.vision.motion.captions import MEASURE_UNITS, place_of, place_words
from anomalist.vision.motion.temporal import TemporalSegment
from anomalist.vision.motion.timeline import downsample_curve
from anomalist.vision.motion.unlearned import ClipActivity, measure_activity

_VERSION = "activity-2"
_MIN_TOLD_SHARE = 0.1  # of a way that leads nowhere, from which that is said
RANKING_DIGEST = digest_of(_VERSION)
"""Says by what clips are ranked, in place of the digest of a scene."""
WHY_UNDECIDED = (
    "Uncalibrated: nothing was learned of this camera. Its stretches are ranked by the clip alone, "
    "which decides nothing."
)
"""Why a clip without normal footage is undecided, where it has stretches."""
NOTHING_TO_RANK = (
    "Uncalibrated: nothing was learned of this camera. No stretch of the clip is ranked, as {}, "
    "which decides nothing."
)
"""The same where it has none, and why that is so."""
_CAMERA_MOVES = "The camera moves: its own motion was taken out."


class ClipRanking:
    """Ranks the stretches of clips by the clips themselves.

    Examples
    --------
    >>> record = ClipRanking().clip("night/02.mp4")  # doctest: +SKIP
    >>> [(event.start, event.end) for event in record.events]  # doctest: +SKIP
    [(12.4, 15.1)]
    """

    def clip(self, video: str | Path | Video, seen: Callable[[float], None] = lambda _: None) -> ClipRecord:
        """Rank the stretches of one clip.

        Parameters
        ----------
        video : a file, a folder of numbered frames, or an opened video.
        seen : called with the time of each frame, in seconds.

        Returns
        -------
        The record: undecided, with the stretches as events. What can't be read becomes a record with an
        error.
        """
        began = time.perf_counter()
        try:
            opened = open_video(video) if isinstance(video, str | Path) else video
            activity = measure_activity(opened, seen)
        except AnomalistError as error:
            return self.failed(video, error)
        events = _events(activity, opened.size)
        why = WHY_UNDECIDED if events else NOTHING_TO_RANK.format(_why_no_stretch(activity))
        return ClipRecord(
            media=clip_media_summary(opened, activity.times),
            evidence=ClipEvidenceSummary(
                events=events,
                troubles=activity.troubles,
                jumps=activity.jumps,
                frames=len(activity.times),
                latency=0.0,
                curve=downsample_curve(activity.times, activity.curve()),
                detector=DetectorInfo(name="activity", digest=RANKING_DIGEST),
            ),
            verdict=ClipVerdict(label="undecided", why_undecided=why),
            status="ok",
            key=self.key(opened),
            notes=(*opened.notes, *([_CAMERA_MOVES] if activity.moving_camera else [])),
            time=utc_now(),
            seconds=round(time.perf_counter() - began, 2),
        )

    measure = clip
    """All of it may be done in another process; see `anomalist.triage.Triage.measure`."""

    def judge(self, video: str | Path | Video, record: ClipRecord) -> ClipRecord:
        """What `measure` gave: there is nothing to add."""
        return record

    def key(self, video: Video) -> str:
        """What identifies the ranking of one clip."""
        return digest_of(video.source, video.sha256, _VERSION)

    def failed(self, video: str | Path | Video, error: AnomalistError) -> ClipRecord:
        """The record of a clip that could not be read."""
        return failed_clip_record(video, error)


def _why_no_stretch(activity: ClipActivity) -> str:
    """Why a clip has no stretch."""
    if len(activity.times) < 2:
        return "one frame alone shows no motion"
    if activity.measured:
        return "no motion was found in it"
    faults = ", ".join(sorted({trouble.kind for trouble in activity.troubles}))
    return f"no motion could be measured in it{f' (camera: {faults})' if faults else ''}"


def _events(activity: ClipActivity, size: tuple[int, int]) -> tuple[Event, ...]:
    """The stretches in order of time."""
    ranked = activity.stretches()
    order = sorted(range(len(ranked)), key=lambda rank: ranked[rank].start)
    return tuple(_event(number, rank, ranked, activity, size) for number, rank in enumerate(order, 1))


def _event(
    number: int, rank: int, ranked: list[TemporalSegment], activity: ClipActivity, size: tuple[int, int]
) -> Event:
    segment = ranked[rank]
    box = activity.box_at(segment.peak)
    where = place_words(place_of(box, size)) if box is not None else ""
    most = "the most in this clip" if not rank else f"number {rank + 1} of its {len(ranked)} busiest"
    at = activity.index_at(segment.peak)
    speed, irregular = float(activity.speed_curve()[at]), float(activity.irregular[at])
    action = f"moves at {speed:.1f} body heights a second"
    if irregular >= _MIN_TOLD_SHARE:
        action += f", {irregular:.0%} of its way to and fro"
    text = f"Something {action}{f' {where}' if where else ''}, {most}."
    return Event(
        id=f"E{number}",
        start=round(segment.start, 3),
        end=round(segment.end, 3),
        peak=round(segment.peak, 3),
        score=round(segment.score, 4),
        false_events_per_hour=None,
        kind="activity",
        measures=(
            Measured(
                name="activity",
                surprise=round(segment.score, 3),
                value=round(speed, 3),
                unit=MEASURE_UNITS["activity"],
            ),
        ),
        box=box,
        caption=Caption(
            text=text,
            subject="something",
            action=action,
            when=f"{segment.start:.1f} s to {segment.end:.1f} s",
            where=where,
        ),
        severity=1,
        claims=(Claim(text=text, evidence=(f"E{number}",)),),
    )
