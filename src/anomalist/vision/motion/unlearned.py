"""Activity of one clip without normal footage: how fast, and how irregularly, things move in it.

Speeds are body heights a second, so that clips can be compared. Where the camera moves, its own motion is
fitted to the flow (a similarity, by RANSAC) and taken out. What goes to and fro counts for more than what
gets somewhere: people who struggle aren't faster than people who run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from anomalist.errors import MediaError
from anomalist.types.clip import TimeJump, Trouble
from anomalist.types.common import BoolArray, Box, FloatArray
from anomalist.vision.media.frames import Video
from anomalist.vision.media.video import sample_pictures
from anomalist.vision.motion.captions import scale_box
from anomalist.vision.motion.extractor import (
    MIN_SPEED,
    Background,
    MotionExtractor,
    median_background,
    working_grey,
    working_size,
)
from anomalist.vision.motion.flow import (
    BodyWindows,
    ChainedFlow,
    MotionGrid,
    Perspective,
    cells_box,
    fit_perspective,
    grid_shape,
    integral_images,
    pixel_places,
)
from anomalist.vision.motion.irregularity import irregular_shares, residual_velocity, within
from anomalist.vision.motion.learning import still_blobs
from anomalist.vision.motion.measures import MIN_OCCUPANCY
from anomalist.vision.motion.pacing import ANALYSIS_RATE, GapMonitor, RepeatMonitor
from anomalist.vision.motion.scoring import FrameScore
from anomalist.vision.motion.temporal import TemporalSegment, smooth_scores, temporal_segments
from anomalist.vision.motion.timeline import ClipTimeline

_STILLS = 60  # pictures that background and perspective are taken from
_TOP_SHARE = 0.2  # of the cells of one body: the mean of so many highest cells is the frame's value
_MOVING_SHARE = 0.3  # of the frames, from which the camera is one that moves
_PEAK_SHARE = 0.7  # of the highest value: the cells that caused it
_USUAL_SHARE = 0.05  # of the way that leads nowhere: of smooth motion
_SHARE_SIGMA = 1.0  # seconds over which it is averaged
_RESIDUAL_DEVIATIONS = 3.0  # of the motion that is left of still things, above which something moves
_OUTSTANDING = 3.0  # robust deviations above the median of the clip
_OUTSTANDING_SHARE = 0.6  # of the highest value of the clip
MAX_STRETCHES = 5
"""Stretches of a clip that are ranked at most."""
_SHORT = 2.0  # seconds around the highest value, where no stretch stands out


@dataclass(eq=False)
class ClipActivity:
    """Activity of one clip.

    Parameters
    ----------
    times, speeds, cuts : of each frame; in body heights a second, NaN where nothing was measured.
    irregular : float32 (n,), averaged share of the way of what moves that leads nowhere; see `irregularity`.
    boxes : around the fastest things, pixels of the frames; None where nothing moves.
    moving_camera : whether the camera's own motion was taken out.
    troubles, jumps : what could not be measured.
    """

    times: list[float] = field(default_factory=list)
    speeds: list[float] = field(default_factory=list)
    cuts: list[bool] = field(default_factory=list)
    boxes: list[Box | None] = field(default_factory=list)
    moving_camera: bool = False
    troubles: tuple[Trouble, ...] = ()
    jumps: tuple[TimeJump, ...] = ()
    irregular: FloatArray = field(default_factory=lambda: np.zeros(0, np.float32))

    def add(self, time: float, speed: float, box: Box | None, *, cut: bool) -> None:
        """Take the next frame."""
        self.times.append(time)
        self.speeds.append(speed)
        self.boxes.append(box)
        self.cuts.append(cut)

    def speed_curve(self) -> FloatArray:
        """The smoothed speeds, float32 (n,); they use past and future."""
        cuts = np.array(self.cuts, np.bool_)
        return smooth_scores(np.array(self.times), np.array(self.speeds, np.float32), "offline", cuts)

    def curve(self) -> FloatArray:
        """The scores that stretches are ranked by, float32 (n,): root of the speed, more where irregular."""
        factor = 1 + self.irregular / _USUAL_SHARE
        return np.asarray(np.sqrt(self.speed_curve()) * factor**2, np.float32)

    @property
    def measured(self) -> bool:
        """Whether motion could be measured in any frame."""
        return bool(np.isfinite(self.speeds).any())

    def stretches(self) -> list[TemporalSegment]:
        """What stands out of the clip, the most active first; at least its most active moment."""
        curve = self.curve()
        known = curve[np.isfinite(curve)]
        if not len(known) or known.max() <= 0:
            return []
        middle = float(np.median(known))
        spread = 1.48 * float(np.median(np.abs(known - middle)))
        threshold = max(middle + _OUTSTANDING * spread, _OUTSTANDING_SHARE * float(known.max()))
        found = temporal_segments(self.times, curve.tolist(), threshold, self.cuts)
        if not found:
            top = int(np.nanargmax(curve))
            peak = self.times[top]
            start, end = max(peak - _SHORT / 2, self.times[0]), min(peak + _SHORT / 2, self.times[-1])
            found = [TemporalSegment(start, end, peak, float(curve[top]), closed=True)]
        return sorted(found, key=lambda segment: -segment.score)[:MAX_STRETCHES]

    def index_at(self, time: float) -> int:
        """Number of the frame nearest to a time."""
        return int(np.abs(np.array(self.times) - time).argmin())

    def box_at(self, time: float) -> Box | None:
        """Box around what moved most at the frame nearest to a time."""
        return self.boxes[self.index_at(time)]


def measure_activity(video: Video, on_frame: Callable[[float], None] = lambda _: None) -> ClipActivity:
    """Measure the activity of a clip; ``on_frame`` is called with the time of each frame.

    Raises MediaError when it has no frame that can be read.
    """
    size = working_size(*video.size)
    stills = [working_grey(pixels, size) for pixels in sample_pictures(video, _STILLS)]
    if not stills:
        raise MediaError(f'No frame of "{video.source}" can be read.', "Copy or record it again.")
    background = median_background(stills)
    boxes = [box for grey in stills for box in still_blobs(grey, background)]
    perspective = fit_perspective(boxes, background.grey.shape[0])
    activity, moving = _of_still_camera(video, background, perspective, on_frame)
    if moving:
        activity = _of_moving_camera(video, size, on_frame)
    activity.irregular = _averaged(*irregular_shares(video), activity)
    return activity


def _averaged(times: FloatArray, shares: FloatArray, activity: ClipActivity) -> FloatArray:
    """Shares at the frames of an activity, averaged over a second or so, take by take."""
    from scipy.ndimage import gaussian_filter1d

    known = np.isfinite(shares)
    if not known.any() or len(activity.times) < 2:
        return np.zeros(len(activity.times), np.float32)
    at = np.interp(activity.times, times[known], shares[known])
    sigma = _SHARE_SIGMA / max(float(np.median(np.diff(activity.times))), 1e-3)
    takes = np.split(at, np.flatnonzero(activity.cuts))
    parts = [gaussian_filter1d(take, sigma) for take in takes if len(take)]
    return np.concatenate(parts).astype(np.float32)


def _of_still_camera(
    video: Video, background: Background, perspective: Perspective, on_frame: Callable[[float], None]
) -> tuple[ClipActivity, bool]:
    """The activity, and whether the camera moves, so that it is worth nothing."""
    activity, timeline = ClipActivity(), ClipTimeline(float("inf"))
    highest = _Highest(perspective, background.grey.shape, video.size)
    moving = 0
    for motion in MotionExtractor(background, perspective).extract_all(video.frames(rate=ANALYSIS_RATE)):
        on_frame(motion.time)
        moving += motion.trouble in ("moving", "moved")
        known = not motion.fresh and motion.trouble is None
        score, box = highest.of(motion.movement) if known else (float("nan"), None)
        activity.add(motion.time, score, box, cut=motion.cut)
        timeline.add(FrameScore(motion.time, motion.cut, motion.trouble, score, jump=motion.jump))
    activity.troubles, activity.jumps = tuple(timeline.troubles), tuple(timeline.jumps)
    return activity, moving > _MOVING_SHARE * len(activity.times)


def _of_moving_camera(video: Video, size: tuple[int, int], on_frame: Callable[[float], None]) -> ClipActivity:
    activity = ClipActivity(moving_camera=True)
    perspective = fit_perspective((), size[0])
    windows, highest = BodyWindows(*size, perspective), _Highest(perspective, size, video.size)
    flow, gaps, repeats = ChainedFlow(*size), GapMonitor(), RepeatMonitor()
    places = pixel_places(*size)
    for frame in video.frames(rate=ANALYSIS_RATE):
        on_frame(frame.time)
        grey = working_grey(frame.pixels, size)
        cut = frame.cut or gaps.gap(frame.time, cut=frame.cut) > 0
        if repeats.repeats(grey, frame.time) and activity.times and not cut:
            activity.add(frame.time, activity.speeds[-1], activity.boxes[-1], cut=False)
            continue
        if cut:
            flow.reset()
        fresh = cut or not activity.times
        velocity = flow.velocity(grey, frame.time)
        left = residual_velocity(velocity)
        seconds = sum(span for span, _ in flow.steps)
        left[~within(places - velocity * np.float32(seconds))] = 0.0  # nobody saw where that was
        score, box = float("nan"), None
        if not fresh:
            mask = _moving_pixels(left, MIN_SPEED * perspective.middle)
            sums = integral_images(
                mask, np.ascontiguousarray(left[..., 0]), np.ascontiguousarray(left[..., 1])
            )
            score, box = highest.of(windows.movement(sums))
        activity.add(frame.time, score, box, cut=cut)
    return activity


def _moving_pixels(left: FloatArray, least: float) -> BoolArray:
    speed = np.hypot(left[..., 0], left[..., 1])
    noise = 1.48 * float(np.median(speed[::4, ::4]))
    moving: BoolArray = speed > max(least, _RESIDUAL_DEVIATIONS * noise)
    return moving


class _Highest:
    """The speed of the fastest things of a frame, and where they are."""

    def __init__(self, perspective: Perspective, working: tuple[int, ...], size: tuple[int, int]) -> None:
        gh, _ = grid_shape(working[0], working[1])
        self._heights = perspective.row_heights(gh)
        self._top = max(round(_TOP_SHARE * perspective.body_cells), 1)
        self._scale = size[1] / working[1], size[0] / working[0]
        self._working = working[0], working[1]

    def of(self, movement: MotionGrid) -> tuple[float, Box | None]:
        """Body heights a second, and the box around the fastest cells, pixels of the frames."""
        import cv2

        speed = np.minimum(movement.occupancy / MIN_OCCUPANCY, 1) * movement.speed / self._heights
        flat = speed.ravel()
        score = float(np.partition(flat, -self._top)[-self._top :].mean())
        if score <= 0:
            return 0.0, None
        peak = np.unravel_index(int(flat.argmax()), speed.shape)
        _, parts = cv2.connectedComponents((speed >= _PEAK_SHARE * speed[peak]).astype(np.uint8))
        rows, columns = np.nonzero(parts == parts[peak])
        return score, scale_box(cells_box(rows, columns, self._working), self._scale)
