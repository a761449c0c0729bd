"""Learn a scene profile from normal footage of one camera, with four-fold cross-calibration.

Three passes: frames spread over the footage for background and perspective, all frames for the histograms,
and all again to score each fold against the other three. Score scales and thresholds rest on those held-out
scores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from anomalist.errors import AnomalistError, DataError, MediaError
from anomalist.storage.artifacts import profile_path
from anomalist.storage.files import utc_now
from anomalist.types.clip import MeasureName, Mode
from anomalist.types.common import Box, FloatArray, UInt8Array
from anomalist.vision.media.frames import Frame, Video
from anomalist.vision.media.sources import list_videos
from anomalist.vision.media.video import distinct_videos, open_video, sample_pictures
from anomalist.vision.motion.appearance import (
    AppearanceNovelty,
    DescriptorReservoir,
    ObjectEmbedder,
    concatenate_banks,
    feature_extractor_for,
)
from anomalist.vision.motion.extractor import (
    AdaptiveBackground,
    Background,
    MotionExtractor,
    foreground_mask,
    median_background,
    working_grey,
    working_size,
)
from anomalist.vision.motion.flow import Perspective, fit_perspective, foreground_blobs, grid_shape
from anomalist.vision.motion.measures import (
    MEASURES,
    MotionHistograms,
    MotionLimits,
    count_frame,
    empty_histograms,
    motion_limits,
)
from anomalist.vision.motion.modes import group_by_look, is_mixed, mode_name, split_by_colour
from anomalist.vision.motion.pacing import ANALYSIS_RATE
from anomalist.vision.motion.picture_kind import PictureLook, colour_of, is_overlay, look_of, overlay_places
from anomalist.vision.motion.scene import (
    MAX_MODES,
    SCENE_KIND,
    LearnedMode,
    Scene,
    SceneArrays,
    TrainingVideo,
    Zone,
    counted_cells,
    save_scene,
)
from anomalist.vision.motion.score_scale import (
    ScoreScale,
    block_length,
    fit_score_scales,
    leading_measure,
    split_blocks,
)
from anomalist.vision.motion.scoring import FrameMeasurer
from anomalist.vision.motion.temporal import covered_seconds, smooth_scores

_MODES: tuple[Mode, ...] = ("causal", "offline")


@dataclass(frozen=True, eq=False)
class HeldOutClip:
    """Measures of one clip, each frame against the folds that it does not belong to.

    Parameters
    ----------
    times : float64 (n,), seconds.
    values : float32 (n, 9), the ``MEASURES``; NaN where a frame was not judged.
    cuts : bool (n,), True where the frame before belongs to another take.
    folds : int (n,), the fold that each frame belongs to.
    """

    times: npt.NDArray[np.float64]
    values: FloatArray
    cuts: npt.NDArray[np.bool_]
    folds: npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class CalibrationBlocks:
    """Block maxima of all clips by mode, float32 (n,) each; seconds of a block and of all footage."""

    maxima: dict[Mode, FloatArray]
    seconds: float
    footage: float


def measure_held_out(
    frames: Iterable[Frame],
    extractor: MotionExtractor,
    limits: Sequence[MotionLimits],
    novelty: Sequence[AppearanceNovelty],
    fold: Callable[[float], int],
    perspective: Perspective,
    zones: Sequence[Zone] = (),
) -> HeldOutClip:
    """Measure a clip held out: the frame at ``time`` by ``limits`` and ``novelty`` number ``fold(time)``.

    Those were learned without the footage of that fold.
    """
    counts = counted_cells(zones, limits[0].speed.shape)
    measurers = [
        FrameMeasurer(limit, perspective, own_novelty, counts)
        for limit, own_novelty in zip(limits, novelty, strict=True)
    ]
    times, values, cuts, folds = [], [], [], []
    for frame_motion in extractor.extract_all(frames):
        times.append(frame_motion.time)
        folds.append(fold(frame_motion.time))
        values.append(measurers[folds[-1]].measure(frame_motion).values)
        cuts.append(frame_motion.cut)
    return HeldOutClip(
        np.array(times, np.float64),
        np.array(values, np.float32).reshape(-1, len(MEASURES)),
        np.array(cuts, np.bool_),
        np.array(folds, np.intp),
    )


def calibrate_scales(clips: Sequence[HeldOutClip]) -> tuple[dict[MeasureName, ScoreScale], CalibrationBlocks]:
    """Fit the score scales of the measures, and take the block maxima that thresholds come from.

    The scales are fitted to all of it. The maxima of a fold are taken on scales that were fitted without it:
    a measure's one high value would widen its own scale and so hide itself, which that of new footage can't.

    Raises DataError when no block could be judged.
    """
    footage = sum(covered_seconds(clip.times, clip.cuts) for clip in clips)
    seconds = block_length(footage)
    parts = [split_blocks(clip.times, seconds) for clip in clips]
    offsets = np.cumsum([0] + [len(clip.times) for clip in clips])
    everything = np.concatenate([clip.values for clip in clips])
    blocks = [offset + block for offset, part in zip(offsets[:-1], parts, strict=True) for block in part]
    if not np.isfinite(everything).all(axis=1).any():
        raise DataError("No frame of this footage could be judged.", "Look at it: is the camera covered?")
    scales = fit_score_scales(everything, blocks, seconds)
    folds = np.concatenate([clip.folds for clip in clips])
    scores = np.split(_held_out_scores(everything, blocks, folds, seconds), offsets[1:-1])
    maxima = {mode: _block_maxima(clips, parts, scores, mode) for mode in _MODES}
    return scales, CalibrationBlocks(maxima, seconds, footage)


def _held_out_scores(
    values: FloatArray,
    blocks: Sequence[npt.NDArray[np.intp]],
    folds: npt.NDArray[np.intp],
    seconds: float,
) -> FloatArray:
    """The leading score of each frame on the scales of the other folds; of its own where there are none."""
    scores = np.full(len(values), np.nan, np.float32)
    for fold in np.unique(folds):
        own = folds == fold
        rest = np.where(own[:, None], np.float32(np.nan), values)
        known = np.isfinite(rest).all(axis=1).any()
        scales = fit_score_scales(rest if known else values, blocks, seconds)
        scores[own] = leading_measure(values[own], scales)[0]
    return scores


def _block_maxima(
    clips: Sequence[HeldOutClip],
    parts: Sequence[list[npt.NDArray[np.intp]]],
    scores: Sequence[FloatArray],
    mode: Mode,
) -> FloatArray:
    found: list[float] = []
    for clip, blocks, values in zip(clips, parts, scores, strict=True):
        score = smooth_scores(clip.times, values, mode, clip.cuts)
        found.extend(float(np.nanmax(score[b])) for b in blocks if np.isfinite(score[b]).any())
    return np.array(found, np.float32)


Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many steps are done, and how many there are."""

FOLDS = 4
"""Folds of the cross-calibration."""
_BACKGROUND_FRAMES = 120  # over all videos
_MIN_FOOTAGE_SECONDS = 10.0
_MAX_TROUBLE_SHARE = 0.2  # of the frames
_FOLD_SECONDS = 30.0  # seconds that are held out together where the length of a video is unknown


def learn_scene(
    videos: str | Path | Sequence[str | Path | Video],
    name: str | Path,
    *,
    zones: Sequence[Zone] = (),
    backbone: str | None = None,
    seed: int = 0,
    force: bool = False,
    progress: Progress = lambda *_: None,
) -> Scene:
    """Learn a scene profile from normal footage of one camera, and save it.

    Footage whose pictures are of several kinds (by day, infra-red) is grouped, and each group that is long
    enough becomes a mode with all that was learned of its own.

    Parameters
    ----------
    videos : normal footage of one camera, at least 10 s together: a file, a folder of files, or several
        files, folders and opened videos. What can't be read is left out and listed in the manifest.
    name : a name under ``ANOMALIST_HOME``, or a folder.
    zones : drawn by a person; cells of ignored ones don't count.
    backbone : that embeds moving objects, as for `open_backbone`; None takes the shipped network.
    seed : of the reservoir samples.
    force : replace a scene of that name.
    progress : see `Progress`.

    Raises
    ------
    DataError : no usable footage, too little of it, or a camera that moves.
    ProfileError : the folder exists, and must not or can't be replaced.
    """
    path = profile_path(name)
    SCENE_KIND.refuse_overwriting(path, force=force)
    opened, unreadable = _open_footage([videos] if isinstance(videos, str | Path) else videos)
    groups, skipped = _group_footage(opened, progress)
    settings = _ModeSettings(path.name, tuple(zones), backbone, seed, progress)
    arrays, fields = _learn_mode(groups[0], settings)
    others: list[LearnedMode] = []
    left_out = [*unreadable, *skipped]
    for group in groups[1:]:
        try:
            learned, about = _learn_mode(group, settings)
        except DataError as error:
            sources = ", ".join(dict.fromkeys(sampled.video.source for sampled in group))
            left_out.append(f"{sources}: pictures of another kind, no mode of their own: {error.message}")
            continue
        kind = mode_name(_look_and_background(fields, arrays), *_look_and_background(about, learned))
        others.append((learned, {**about, "kind": kind}))
    fields["skipped"] = tuple(left_out)
    return save_scene(path, arrays, modes=others, force=force, **fields)


@dataclass(frozen=True)
class _ModeSettings:
    """What each mode of a scene is learned with; see `learn_scene`."""

    name: str
    zones: tuple[Zone, ...]
    backbone: str | None
    seed: int
    progress: Progress


def _look_and_background(about: dict[str, object], learned: SceneArrays) -> tuple[PictureLook, FloatArray]:
    look = about["look"]
    assert isinstance(look, PictureLook)
    return look, learned.background.grey


def _learn_mode(group: Sequence[_Sampled], settings: _ModeSettings) -> LearnedMode:
    """Learn from footage of one kind; DataError when there is too little of it, or the camera moves."""
    survey = _survey(group)
    usable, progress, zones = [sampled.video for sampled in group], settings.progress, settings.zones
    background, perspective = survey.background, survey.perspective
    counted_cells(zones, empty_histograms_for(background).speeds.shape[1:])  # refused before the long work
    feature_extractor = feature_extractor_for(settings.backbone)

    def embedder() -> ObjectEmbedder:
        return ObjectEmbedder(feature_extractor, perspective)

    reservoirs = [DescriptorReservoir(settings.seed + fold) for fold in range(FOLDS)]
    folds, seconds = _collect_statistics(usable, survey, embedder, reservoirs, progress)
    banks = [reservoir.bank().astype(np.float16).astype(np.float32) for reservoir in reservoirs]  # as stored
    total = sum(seconds)
    if total < _MIN_FOOTAGE_SECONDS:
        raise DataError(f"{total:.1f} s of normal footage is too little.", "A scene needs at least 10 s.")
    limits = [motion_limits(_sum_other_folds(folds, fold)) for fold in range(FOLDS)]
    clips = []
    for index, video in enumerate(usable):
        progress("calibrating", index, len(usable))
        extractor = survey.extractor()
        fold = _fold_function(index, video, len(usable))
        novelty = _held_out_novelty(banks, limits, embedder)
        frames = video.frames(rate=ANALYSIS_RATE)
        clips.append(measure_held_out(frames, extractor, limits, novelty, fold, perspective, zones))
    progress("calibrating", len(usable), len(usable))
    scales, blocks = calibrate_scales(clips)
    height, width = usable[0].size
    learned = SceneArrays(background, sum(folds[1:], folds[0]), blocks.maxima, concatenate_banks(banks))
    return learned, {
        "name": settings.name,
        "created": utc_now(),
        "width": width,
        "height": height,
        "perspective": perspective,
        "look": survey.look,
        "overlays": survey.overlays,
        "norms": scales,
        "frames": sum(fold.frames for fold in folds),
        "block_seconds": blocks.seconds,
        "footage_seconds": blocks.footage,
        "zones": zones,
        "backbone": settings.backbone,
        "seed": settings.seed,
        "footage": tuple(_training_video(*pair) for pair in zip(usable, seconds, strict=True)),
    }


def _held_out_novelty(
    banks: Sequence[FloatArray], limits: Sequence[MotionLimits], embedder: Callable[[], ObjectEmbedder]
) -> list[AppearanceNovelty]:
    """Appearance novelty for each fold, against the descriptors of the other folds."""
    others = [[bank for index, bank in enumerate(banks) if index != fold] for fold in range(FOLDS)]
    return [
        AppearanceNovelty(embedder(), concatenate_banks(rest), limit.speed.shape)
        for rest, limit in zip(others, limits, strict=True)
    ]


def _training_video(video: Video, seconds: float) -> TrainingVideo:
    return TrainingVideo(
        source=video.source, sha256=video.sha256, seconds=round(seconds, 2), notes=video.notes
    )


def _open_footage(videos: Sequence[str | Path | Video]) -> tuple[list[Video], tuple[str, ...]]:
    """The videos among files and folders, then those that are opened already; and why others are left out."""
    opened: list[Video] = []
    unreadable: list[str] = []
    for path in list_videos([each for each in videos if isinstance(each, str | Path)]).videos:
        try:
            opened.append(open_video(path))
        except MediaError as error:
            unreadable.append(str(error))
    opened, left_out = distinct_videos(opened + [each for each in videos if not isinstance(each, str | Path)])
    unreadable += left_out
    if unreadable and not opened:
        raise DataError(f"Nothing can be learned from: {unreadable[0]}")
    return opened, tuple(unreadable)


def empty_histograms_for(background: Background) -> MotionHistograms:
    """Empty histograms for the grid of a background."""
    height, width = background.grey.shape
    return empty_histograms(grid_shape(height, width))


@dataclass(frozen=True, eq=False)
class _Survey:
    """What the footage shows where nothing moves: background, perspective, look, and burned-in text."""

    background: Background
    perspective: Perspective
    look: PictureLook
    overlays: tuple[Box, ...]

    def extractor(self) -> MotionExtractor:
        """A new extractor for a clip of this footage."""
        extractor = MotionExtractor(self.background, self.perspective)
        for box in self.overlays:
            extractor.leave_out(box)
        return extractor


@dataclass(frozen=True, eq=False)
class _Sampled:
    """A video, or a part of one, with pictures from all over it: in grey, and how colourful each is."""

    video: Video
    greys: tuple[UInt8Array, ...]
    colours: tuple[float, ...]

    @property
    def look(self) -> PictureLook:
        """Of these pictures."""
        return look_of(self.colours, self.greys)


def _sample(video: Video, most: int) -> _Sampled:
    few = [
        (working_grey(pixels, working_size(*video.size)), colour_of(pixels))
        for pixels in sample_pictures(video, most)
    ]
    return _Sampled(video, tuple(grey for grey, _ in few), tuple(colour for _, colour in few))


def _group_footage(
    videos: Sequence[Video], progress: Progress
) -> tuple[list[list[_Sampled]], tuple[str, ...]]:
    """First pass: the usable videos by the kind of their pictures, and what was skipped and why."""
    if not videos:
        raise DataError("There is no footage to learn from.", "Name videos, or folders with videos.")
    found: list[_Sampled] = []
    skipped: list[str] = []
    each = max(_BACKGROUND_FRAMES // len(videos), 4)
    for done, video in enumerate(videos):
        progress("looking", done, len(videos))
        try:
            if found and video.size != found[0].video.size:
                raise DataError(f"{video.source} has another size than {found[0].video.source}.")
            sampled = _sample(video, each)
            parts = split_by_colour(video) if is_mixed(sampled.colours) else []
            several = [_sample(part, each) for part in parts] if len(parts) > 1 else [sampled]
        except AnomalistError as error:
            skipped.append(str(error))
            continue
        found += [one for one in several if one.greys]
    if not found:
        raise DataError(f"Nothing can be learned from: {skipped[0] if skipped else 'no frame'}")
    amounts = [one.video.duration or float(len(one.greys)) for one in found]
    groups = group_by_look([one.look for one in found], amounts)
    for group in groups[MAX_MODES:]:
        skipped += [f"{found[index].video.source}: a kind of picture too many." for index in group]
    return [[found[index] for index in group] for group in groups[:MAX_MODES]], tuple(skipped)


def _survey(group: Sequence[_Sampled]) -> _Survey:
    """What footage of one kind shows where nothing moves."""
    stills = [grey for sampled in group for grey in sampled.greys]
    colours = [colour for sampled in group for colour in sampled.colours]
    background = median_background(stills)
    boxes: list[Box] = []
    overlays: list[Box] = []
    for grey in stills:
        for box in still_blobs(grey, background):
            text = is_overlay(grey, background.grey, background.limit, box)
            (overlays if text else boxes).append(box)
    perspective = fit_perspective(boxes, background.grey.shape[0])
    found = overlay_places(overlays, len(stills), (background.grey.shape[0], background.grey.shape[1]))
    return _Survey(background, perspective, look_of(colours, stills), found)


def still_blobs(grey: UInt8Array, background: Background) -> tuple[Box, ...]:
    """Boxes of what differs from the background in one picture, uint8 (h, w), whether it moves or not."""
    difference = AdaptiveBackground(background).difference(grey, 0.0)
    return foreground_blobs(foreground_mask(difference, np.zeros_like(difference), 1.0))


def _collect_statistics(
    videos: Sequence[Video],
    survey: _Survey,
    embedder: Callable[[], ObjectEmbedder],
    reservoirs: Sequence[DescriptorReservoir],
    progress: Progress,
) -> tuple[list[MotionHistograms], list[float]]:
    """Second pass: histograms of each fold, and the seconds of each video; objects go into the reservoirs."""
    folds = [empty_histograms_for(survey.background) for _ in range(FOLDS)]
    seconds = []
    frames = troubled = 0
    for index, video in enumerate(videos):
        progress("learning", index, len(videos))
        extractor, fold = survey.extractor(), _fold_function(index, video, len(videos))
        object_embedder = embedder()
        times, cuts = [], []
        for frame_motion in extractor.extract_all(video.frames(rate=ANALYSIS_RATE)):
            times.append(frame_motion.time)
            cuts.append(frame_motion.cut)
            frames, troubled = frames + 1, troubled + (frame_motion.trouble is not None)
            if not frame_motion.fresh and frame_motion.trouble is None:
                at = fold(frame_motion.time)
                folds[at] = count_frame(folds[at], frame_motion.movement, frame_motion.around)
                embedded = object_embedder.embed_due(frame_motion)
                if embedded is not None:
                    reservoirs[at].add(embedded[1])
        seconds.append(covered_seconds(times, cuts))
    progress("learning", len(videos), len(videos))
    if troubled > _MAX_TROUBLE_SHARE * frames:
        raise DataError(
            f"In {troubled / frames:.0%} of this footage the camera moves, or shows something else.",
            "A scene is what one camera sees that stands still: leave out the rest.",
        )
    return folds, seconds


def _fold_function(index: int, video: Video, videos: int) -> Callable[[float], int]:
    """Which fold a time of a video belongs to: whole videos where there are enough, else pieces of them."""
    if videos >= FOLDS:
        return lambda _: index % FOLDS
    piece = video.duration / FOLDS if video.duration else _FOLD_SECONDS
    return lambda time: int(time / piece) % FOLDS


def _sum_other_folds(folds: Sequence[MotionHistograms], left_out: int) -> MotionHistograms:
    rest = [fold for index, fold in enumerate(folds) if index != left_out]
    return sum(rest[1:], rest[0])
