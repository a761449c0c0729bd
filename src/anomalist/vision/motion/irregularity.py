"""Irregular motion: the share of their way by which things go to and fro instead of getting anywhere.

The way of each pixel is followed back over half a second of optical flow, without the motion of the camera:
what is left of its length when the straight distance is taken off led nowhere. Who walks, runs or drives gets
somewhere; who struggles goes to and fro, at whatever distance from the camera, so that clips can be compared.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from anomalist.types.common import BoolArray, FloatArray
from anomalist.vision.media.frames import Video
from anomalist.vision.motion.extractor import working_grey, working_size
from anomalist.vision.motion.flow import FLOW_SPAN, ChainedFlow, pixel_places, remap_flow
from anomalist.vision.motion.pacing import ANALYSIS_RATE, GapMonitor, RepeatMonitor

_FLOW_STEP = 8  # pixels between the places that the camera's motion is fitted to
_FIT_SECONDS = 0.1  # of displacement that it is fitted to
_FIT_TOLERANCE = 0.5  # pixels of it
_MIN_SPEED = 0.05  # heights of the picture a second, from which a pixel moves, ...
_NOISE_RATIO = 3.0  # ... and times the median speed of the picture
_FIT_LEAST = 3  # places to fit the camera to; it always goes through two
_MIN_MOVING = 20  # pixels that move, before a share of their way means anything


def residual_velocity(velocity: FloatArray) -> FloatArray:
    """What is left of a velocity field without the motion of the camera (a similarity, by RANSAC).

    Parameters
    ----------
    velocity : float32 (h, w, 2), pixels a second.

    Returns
    -------
    float32 (h, w, 2); the field itself where no motion of the camera can be fitted.
    """
    import cv2

    places = pixel_places(*velocity.shape[:2])
    sample = np.s_[_FLOW_STEP // 2 :: _FLOW_STEP, _FLOW_STEP // 2 :: _FLOW_STEP]
    start = np.ascontiguousarray(places[sample].reshape(-1, 2))  # of one row it would be a strided view
    end = start + velocity[sample].reshape(-1, 2) * _FIT_SECONDS
    if len(start) < _FIT_LEAST:
        return velocity
    cv2.setRNGSeed(0)
    fitted, _ = cv2.estimateAffinePartial2D(start, end, ransacReprojThreshold=_FIT_TOLERANCE)
    if fitted is None:
        return velocity
    camera = (places @ fitted[:, :2].T.astype(np.float32) + fitted[:, 2].astype(np.float32) - places) / (
        _FIT_SECONDS
    )
    return np.asarray(velocity - camera, np.float32)


def within(places: FloatArray) -> BoolArray:
    """Which places (x, y), float32 (h, w, 2), lie in the picture of that size."""
    size = np.array(places.shape[1::-1], np.float32)
    return np.asarray(((places >= 0) & (places <= size - 1)).all(axis=-1))


class IrregularMotion:
    """Measures the irregular share of the motion in successive pictures of one size.

    Parameters
    ----------
    height, width : of the grey pictures that will come, pixels.
    """

    def __init__(self, height: int, width: int) -> None:
        self._flow = ChainedFlow(height, width)
        self._residuals: deque[FloatArray] = deque()

    def reset(self) -> None:
        """Forget the pictures so far, after a cut."""
        self._flow.reset()
        self._residuals.clear()

    def update(self, grey: np.ndarray, time: float) -> float:
        """The share of the way of what moves that led nowhere in the last half second.

        Parameters
        ----------
        grey : uint8 (H, W), no repeat of the last one.
        time : seconds, later than at the last call.

        Returns
        -------
        0, straight, to 1; 0 where nothing moves, NaN for the first picture.
        """
        self._flow.velocity(grey, time)
        steps = self._flow.steps
        if not steps:
            return float("nan")
        seconds, newest = steps[0]
        self._residuals.appendleft(residual_velocity(newest / np.float32(seconds)))
        while len(self._residuals) > len(steps):
            self._residuals.pop()
        return _irregular_share(steps, list(self._residuals))


def _irregular_share(steps: list[tuple[float, FloatArray]], residuals: list[FloatArray]) -> float:
    """Of displacements back, and of velocities without the camera, (h, w, 2) each, the newest first."""
    height, width = steps[0][1].shape[:2]
    there = pixel_places(height, width)  # where each pixel was
    way = np.zeros(there.shape[:2], np.float32)
    distance = np.zeros_like(there)
    seen = np.ones(there.shape[:2], np.bool_)  # pixels that were in the picture all the way back
    for (seconds, step), residual in zip(steps, residuals, strict=True):
        moved = remap_flow(residual, there) * np.float32(seconds)
        way += np.hypot(moved[..., 0], moved[..., 1])
        distance += moved
        there = there + remap_flow(step, there)
        seen &= within(there)
    elapsed = sum(seconds for seconds, _ in steps)
    if seen.sum() <= _MIN_MOVING:
        return 0.0
    least = max(_NOISE_RATIO * float(np.median(way[seen])), _MIN_SPEED * height * elapsed)
    moves = (way > least) & seen
    if moves.sum() <= _MIN_MOVING:
        return 0.0
    straight = np.hypot(distance[..., 0], distance[..., 1])
    return max(1.0 - float(straight[moves].sum() / way[moves].sum()), 0.0)


def irregular_shares(video: Video) -> tuple[FloatArray, FloatArray]:
    """Times in seconds and irregular shares of the frames of a clip, float32 (n,) each; NaN after a cut."""
    size = working_size(*video.size)
    motion, gaps, repeats = IrregularMotion(*size), GapMonitor(), RepeatMonitor()
    times: list[float] = []
    shares: list[float] = []
    filmed = 0.0  # when the last picture came that was no repeat
    for frame in video.frames(rate=ANALYSIS_RATE):
        grey = working_grey(frame.pixels, size)
        cut = frame.cut or gaps.gap(frame.time, cut=frame.cut) > 0
        if cut:
            motion.reset()
        repeated = repeats.repeats(grey, frame.time) and bool(times) and not cut
        times.append(frame.time)
        if not repeated:
            filmed = frame.time
            shares.append(motion.update(grey, frame.time))
        else:  # what moved is still on its way, for a while
            shares.append(shares[-1] if frame.time - filmed <= FLOW_SPAN else 0.0)
    return np.array(times, np.float32), np.array(shares, np.float32)
