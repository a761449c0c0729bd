"""Video anomaly detection benchmark: frame and pixel AUROC, event recall, false events, speed."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from pydantic import Field

from anomalist.agent.models.selection import EVIDENCE
from anomalist.composition import TriageSettings
from anomalist.errors import DataError
from anomalist.eval.clip_datasets import LabelledClip, VideoDataset, leave_out_folds
from anomalist.eval.datasets.footage import open_footage
from anomalist.eval.metrics import Interval, average_precision, group_bootstrap, image_auroc
from anomalist.eval.pixel_metrics import PixelCurve
from anomalist.triage import Triage
from anomalist.types.clip import Mode
from anomalist.types.common import FloatArray, Frozen
from anomalist.vision.media.video import open_video
from anomalist.vision.motion.learning import learn_scene
from anomalist.vision.motion.modes import choose_mode
from anomalist.vision.motion.pacing import ANALYSIS_RATE
from anomalist.vision.motion.scene import Scene
from anomalist.vision.motion.scoring import FrameScorer
from anomalist.vision.motion.temporal import smooth_scores
from anomalist.vision.motion.unlearned import ClipActivity, measure_activity

if TYPE_CHECKING:
    from rich.console import RenderableType


Progress = Callable[[str, int, int], None]

FOLDS = 4
"""Folds of the training clips, for false events."""

MIN_TEMPORAL_IOU = 0.5
"""Temporal IoU from which a labelled event counts as found."""

_MODES: tuple[Mode, ...] = ("offline", "causal")


class VideoResult(Frozen):
    """Results on one data set; raw scores, without rescaling by clip or use of the position in the clip."""

    data: str
    frames: int
    anomalous_frames: int
    frame_auroc: float | None = Field(description="offline, all frames of all test clips joined")
    frame_auroc_interval: Interval | None = Field(description="95 %, bootstrap over clips")
    frame_auroc_causal: float | None
    frame_average_precision: float | None = Field(description="offline, all frames joined")
    frame_average_precision_causal: float | None
    clip_mean_auroc: float | None = Field(description="offline, mean over the clips with both labels")
    clips_with_both_labels: int
    pixel_auroc: float | None = Field(description="all pixels of all test frames")
    position_auroc: float | None = Field(description="baseline: the relative position in the clip alone")
    events: int
    event_recall: float | None = Field(description="share found with a temporal IoU of at least 0.5")
    event_recall_always_on: float | None = Field(description="baseline: one event over the whole clip")
    event_recall_causal: float | None
    event_iou: float | None = Field(
        description="offline, mean over labelled events of the temporal IoU with the best reported one"
    )
    event_iou_causal: float | None
    false_events_per_minute: float | None = Field(
        description="offline, on training clips left out in folds, thresholds fixed on the rest"
    )
    false_events_per_minute_causal: float | None
    false_events_per_hour: float | None = Field(description="offline, the same by the hour")
    false_events_per_hour_causal: float | None
    held_out_minutes: float
    fps: float = Field(description="frames per second of triage, decoding included")
    peak_memory_mb: float = Field(description="of the whole process")
    scene: str = Field(description="digest of the learned scene")


class UnlearnedResult(Frozen):
    """Results without normal footage: nothing is learned, each clip is measured by itself."""

    data: str
    frames: int
    anomalous_frames: int
    frame_auroc: float | None = Field(description="offline, all frames of all test clips joined")
    frame_auroc_interval: Interval | None = Field(description="95 %, bootstrap over clips")
    fps: float = Field(description="frames per second, decoding included")


@dataclass(frozen=True, eq=False)
class ScoredClip:
    """The frame scores of one clip, float32 (n,), in each mode."""

    clip: LabelledClip
    offline: FloatArray
    causal: FloatArray


def evaluate_video(data: Path, progress: Progress = lambda *_: None) -> VideoResult:
    """Learn a scene from the training clips and score the test clips, then the training clips in folds.

    Raises DataError when the data are invalid.
    """
    _, footage = open_footage(data)
    with tempfile.TemporaryDirectory() as place:
        scene = _learn_fold(footage.training, Path(place) / "all", progress)
        pixels = PixelCurve()
        scored = []
        for done, clip in enumerate(footage.testing):
            progress("scoring", done, len(footage.testing))
            scored.append(_score_clip(clip, scene, pixels))
        triaged = _triage_clips(footage, scene, progress)
        held_out = _count_false_events(footage, Path(place), progress)
    return _result(data.name, scored, pixels, triaged, held_out, scene.digest)


def evaluate_unlearned(data: Path, progress: Progress = lambda *_: None) -> UnlearnedResult:
    """Score the test clips by themselves; the training clips are not read.

    Raises DataError when the data are invalid.
    """
    clips = open_footage(data)[1].testing
    curves: list[FloatArray] = []
    seconds = 0.0
    for done, clip in enumerate(clips):
        progress("scoring", done, len(clips))
        started = time.perf_counter()
        activity = measure_activity(clip.video())
        seconds += time.perf_counter() - started
        curves.append(_activity_by_frame(clip, activity))
    labels, joined = np.concatenate([clip.labels for clip in clips]), np.concatenate(curves)
    names = [clip.name for clip in clips for _ in clip.labels]
    return UnlearnedResult(
        data=data.name,
        frames=len(labels),
        anomalous_frames=int(labels.sum()),
        frame_auroc=image_auroc(joined, labels),
        frame_auroc_interval=group_bootstrap(
            lambda drawn: image_auroc(joined[drawn], labels[drawn]), names, seed=0
        ),
        fps=len(labels) / seconds,
    )


def _activity_by_frame(clip: LabelledClip, activity: ClipActivity) -> FloatArray:
    """The activity at every frame that has a label, float32 (n,); interpolated where a frame was lost."""
    frames = [(frame.index, frame.time) for frame in clip.video().frames()]
    index = np.array([number for number, _ in frames], np.intp)
    _check_length(clip, index)
    curve = activity.curve()
    known = np.isfinite(curve)
    if not known.any():
        return np.zeros(len(clip.labels), np.float32)
    scores = np.interp([time for _, time in frames], np.array(activity.times)[known], curve[known])
    return interpolate_to_frames(scores.astype(np.float32), index, len(clip.labels), "offline")


def _learn_fold(paths: Sequence[Path], place: Path, progress: Progress) -> Scene:
    return learn_scene([open_video(path) for path in paths], place, progress=progress)


def _score_clip(clip: LabelledClip, scene: Scene, pixels: PixelCurve) -> ScoredClip:
    """Scores of every frame; those between analysed frames are interpolated."""
    video = clip.video()
    scorer = FrameScorer(choose_mode(scene, video))
    index, times, scores, cuts = [], [], [], []
    for frame in video.frames(rate=ANALYSIS_RATE):
        number, scored = frame.index, scorer.score(frame)
        index.append(number)
        times.append(frame.time)
        scores.append(scored.score)
        cuts.append(frame.cut)
        if clip.masks is not None and number < len(clip.labels):
            pixels.add(_resize_map(scorer.last_map, video.size), clip.mask(number, video.size))
    _check_length(clip, np.array(index, np.intp))
    curves = {
        mode: interpolate_to_frames(
            smooth_scores(np.array(times), np.array(scores, np.float32), mode, np.array(cuts)),
            np.array(index),
            len(clip.labels),
            mode,
        )
        for mode in _MODES
    }
    return ScoredClip(clip, curves["offline"], curves["causal"])


def _check_length(clip: LabelledClip, index: npt.NDArray[np.intp]) -> None:
    """Raise DataError unless frames with these numbers can be those that the labels of a clip are about."""
    labels = len(clip.labels)
    frames = int(index[-1]) + 1 if len(index) else 0
    # The end may be damaged, and not every frame is looked at.
    if not labels - labels // 4 <= frames <= labels or not frames:
        raise DataError(
            f"Clip {clip.name} has {labels} labels, and frames up to the {frames}th could be read.",
            "Give each frame its label, or copy the clip again if it is cut short.",
        )


def interpolate_to_frames(
    curve: FloatArray, index: npt.NDArray[np.intp], frames: int, mode: Mode
) -> FloatArray:
    """A score for each frame, float32 (frames,).

    Frames without a score (the first of a clip shows no motion) are interpolated offline; causally they get
    the last score before them, or 0, the middle of normal footage.
    """
    known = np.isfinite(curve)
    if not known.any():
        return np.zeros(frames, np.float32)
    if mode == "offline":
        return np.interp(np.arange(frames), index[known], curve[known]).astype(np.float32)
    last = np.searchsorted(index[known], np.arange(frames), side="right") - 1
    return np.where(last >= 0, curve[known][np.maximum(last, 0)], 0).astype(np.float32)


def _resize_map(values: FloatArray, size: tuple[int, int]) -> FloatArray:
    import cv2

    out: FloatArray = cv2.resize(values, size[::-1], interpolation=cv2.INTER_LINEAR)
    return out


@dataclass(frozen=True, eq=False)
class _TriagedClips:
    """What `Triage` reports for the test clips.

    Parameters
    ----------
    events : (start, end) in seconds, by mode and name of the clip.
    fps : frames a second, decoding included.
    """

    events: dict[Mode, dict[str, list[tuple[float, float]]]]
    fps: float


@dataclass(frozen=True, eq=False)
class _FalseEvents:
    """Events in normal clips that nothing was learned from.

    Parameters
    ----------
    count : by mode; None with too few training clips to leave any out.
    minutes : of those clips.
    """

    count: dict[Mode, int] | None
    minutes: float

    def per_minute(self, mode: Mode) -> float | None:
        """False events a minute; None where none were counted."""
        return self.count[mode] / self.minutes if self.count else None

    def per_hour(self, mode: Mode) -> float | None:
        """False events an hour; None where none were counted."""
        return 60 * self.count[mode] / self.minutes if self.count else None


def _measuring_triage(scene: Scene, mode: Mode) -> Triage:
    """By measurement alone, whatever model and memory this user has."""
    return Triage(TriageSettings(scene, mode=mode, model=EVIDENCE, memory=False))


def _triage_clips(footage: VideoDataset, scene: Scene, progress: Progress) -> _TriagedClips:
    """The events that triage reports for each test clip, by mode, and its frames per second."""
    found: dict[Mode, dict[str, list[tuple[float, float]]]] = {"offline": {}, "causal": {}}
    frames, seconds = 0, 0.0
    for mode in _MODES:
        triage = _measuring_triage(scene, mode)
        for done, clip in enumerate(footage.testing):
            progress(f"triage, {mode}", done, len(footage.testing))
            started = time.perf_counter()
            record = triage.clip(open_video(clip.path))
            seconds += time.perf_counter() - started
            frames += len(clip.labels)
            if record.error is not None:
                raise DataError(f"Clip {clip.name}: {record.error}")
            found[mode][clip.name] = [(event.start, event.end) for event in record.events]
    return _TriagedClips(found, frames / seconds)


def _count_false_events(footage: VideoDataset, place: Path, progress: Progress) -> _FalseEvents:
    """Count the events in held-out normal clips, by mode, and the minutes of these."""
    if len(footage.training) < 2 * FOLDS:
        return _FalseEvents(None, 0.0)
    count: dict[Mode, int] = {"offline": 0, "causal": 0}
    minutes = 0.0
    for fold, (rest, left_out) in enumerate(leave_out_folds(footage.training, FOLDS)):
        scene = _learn_fold(rest, place / f"fold{fold}", progress)
        for path in left_out:
            for mode in _MODES:
                record = _measuring_triage(scene, mode).clip(open_video(path))
                count[mode] += len(record.events)
            minutes += (record.duration or 0.0) / 60
    return _FalseEvents(count, minutes)


def _result(
    name: str,
    scored: Sequence[ScoredClip],
    pixels: PixelCurve,
    triaged: _TriagedClips,
    held_out: _FalseEvents,
    digest: str,
) -> VideoResult:
    labels = np.concatenate([each.clip.labels for each in scored])
    offline = np.concatenate([each.offline for each in scored])
    causal = np.concatenate([each.causal for each in scored])
    clips = np.concatenate([[each.clip.name] * len(each.clip.labels) for each in scored])
    position = np.concatenate([np.linspace(0, 1, len(each.clip.labels)) for each in scored])
    single = [image_auroc(each.offline, each.clip.labels) for each in scored]
    both = [value for value in single if value is not None]
    overlaps = {mode: _event_overlaps(scored, triaged.events[mode]) for mode in _MODES}
    whole = {each.clip.name: [(0.0, float("inf"))] for each in scored}
    return VideoResult(
        data=name,
        frames=len(labels),
        anomalous_frames=int(labels.sum()),
        frame_auroc=image_auroc(offline, labels),
        frame_auroc_interval=group_bootstrap(
            lambda drawn: image_auroc(offline[drawn], labels[drawn]), clips.tolist(), seed=0
        ),
        frame_auroc_causal=image_auroc(causal, labels),
        frame_average_precision=average_precision(offline, labels),
        frame_average_precision_causal=average_precision(causal, labels),
        clip_mean_auroc=float(np.mean(both)) if both else None,
        clips_with_both_labels=len(both),
        pixel_auroc=pixels.counts().auroc(),
        position_auroc=image_auroc(position, labels),
        events=sum(len(each.clip.events) for each in scored),
        event_recall=_event_recall(overlaps["offline"]),
        event_recall_always_on=_event_recall(_event_overlaps(scored, whole)),
        event_recall_causal=_event_recall(overlaps["causal"]),
        event_iou=_mean(overlaps["offline"]),
        event_iou_causal=_mean(overlaps["causal"]),
        false_events_per_minute=held_out.per_minute("offline"),
        false_events_per_minute_causal=held_out.per_minute("causal"),
        false_events_per_hour=held_out.per_hour("offline"),
        false_events_per_hour_causal=held_out.per_hour("causal"),
        held_out_minutes=round(held_out.minutes, 2),
        fps=round(triaged.fps, 1),
        peak_memory_mb=_peak_memory_mb(),
        scene=digest,
    )


def _event_overlaps(scored: Sequence[ScoredClip], found: dict[str, list[tuple[float, float]]]) -> list[float]:
    """Temporal IoU of each labelled event with the reported event that fits it best; 0 without one."""
    best = []
    for each in scored:
        frames = len(each.clip.labels)
        duration = each.clip.video().duration or frames / ANALYSIS_RATE
        for first, last in each.clip.events:
            truth = first / frames * duration, (last + 1) / frames * duration
            overlap = [temporal_iou(truth, (s, min(e, duration))) for s, e in found[each.clip.name]]
            best.append(max(overlap, default=0.0))
    return best


def _event_recall(overlaps: Sequence[float]) -> float | None:
    """Share of the labelled events that a reported event matches."""
    return _mean([overlap >= MIN_TEMPORAL_IOU for overlap in overlaps])


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def temporal_iou(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Temporal intersection over union of two intervals (start, end) in seconds."""
    shared = max(min(a[1], b[1]) - max(a[0], b[0]), 0.0)
    return shared / (max(a[1], b[1]) - min(a[0], b[0]))


def _peak_memory_mb() -> float:
    import resource

    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def render(result: VideoResult | UnlearnedResult) -> RenderableType:
    """The results as a table."""
    from rich.table import Table

    table = Table("measure", "value", title=f"{result.data}: {result.frames} frames", title_justify="left")
    for name, value in result.model_dump(exclude={"data", "frames"}).items():
        text = f"{value:.4g}" if isinstance(value, float) else "–" if value is None else str(value)
        table.add_row(name.replace("_", " "), text)
    return table
