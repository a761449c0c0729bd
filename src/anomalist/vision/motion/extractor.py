"""Motion extraction: background subtraction and optical flow give foreground, objects and cells a frame.

One pass in bounded memory. The background is a median over time that adapts to light and to lasting changes;
decoding and flow can run ahead in a thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from anomalist.types.clip import TroubleKind
from anomalist.types.common import BoolArray, FloatArray, UInt8Array
from anomalist.vision.media.frames import Frame
from anomalist.vision.motion.camera import CameraMonitor
from anomalist.vision.motion.flow import (
    CELL_SIZE,
    BodyWindows,
    ChainedFlow,
    IntegralImages,
    MotionGrid,
    Perspective,
    integral_images,
)
from anomalist.vision.motion.tracks import MovingObject, moving_objects
from anomalist.vision.prefetch import prefetch

_MAX_MEDIAN_FRAMES = 120  # for the median; more change nothing
_MIN_CONTRAST = 12.0  # grey levels
_NOISE_FACTOR = 5.0
_HALF_LIFE = 30.0  # seconds in which half of a lasting change is taken up
_MAX_ADAPTATION_RATE = 8.0  # grey levels a second, so that what stops for a moment isn't absorbed


@dataclass(frozen=True, eq=False)
class Background:
    """A picture without anything that moves.

    Parameters
    ----------
    grey : float32 (H, W), grey levels.
    noise : float32 (H, W), how far a still pixel strays from it: 1.48 × the median deviation, grey levels.
    """

    grey: FloatArray
    noise: FloatArray

    def __post_init__(self) -> None:
        if self.grey.ndim != 2 or self.grey.shape != self.noise.shape:
            raise TypeError(f"grey {self.grey.shape} and noise {self.noise.shape} must be one (H, W)")

    @property
    def limit(self) -> FloatArray:
        """float32 (H, W), the difference in grey levels above which a pixel stands out."""
        out: FloatArray = np.maximum(_NOISE_FACTOR * self.noise, np.float32(_MIN_CONTRAST))
        return out


def median_background(greys: Iterable[UInt8Array]) -> Background:
    """The median over pictures spread in time, and how far still pixels stray from it.

    Parameters
    ----------
    greys : uint8 (H, W) each, at least one; the first 120 are used.

    Raises
    ------
    ValueError : no picture, or sizes that differ.
    """
    stack = np.stack([grey for grey, _ in zip(greys, range(_MAX_MEDIAN_FRAMES), strict=False)])
    middle = np.median(stack, axis=0).astype(np.float32)
    # What passes by is no noise: of the deviations only the smaller half counts.
    noise = 1.48 * np.median(np.abs(stack - middle), axis=0)
    return Background(middle, noise.astype(np.float32))


class AdaptiveBackground:
    """An adaptive background: follows the daylight, and lasting changes slowly."""

    def __init__(self, start: Background) -> None:
        self._limit = start.limit
        self._grey = start.grey.copy()
        self._time: float | None = None

    @property
    def grey(self) -> FloatArray:
        """float32 (H, W), what is expected now where nothing moves."""
        return self._grey

    def difference(self, grey: UInt8Array, time: float, *, learn: bool = True) -> FloatArray:
        """How much every pixel stands out, in units of what counts as standing out; then adapt.

        Light that gets brighter or darker as a whole is no difference: the gain is measured and taken out.

        Parameters
        ----------
        grey : uint8 (H, W).
        time : seconds, not before the last call.
        learn : whether this may be the scene at all; a covered camera must not become its background.

        Returns
        -------
        float32 (H, W), ≥ 0; 1 is the limit.
        """
        lit = np.minimum(self._grey * self._gain(grey), np.float32(255))  # white doesn't get any brighter
        gap = grey - lit
        elapsed = 0.0 if self._time is None else max(time - self._time, 0.0)
        self._time = time
        share = 1 - 0.5 ** (elapsed / _HALF_LIFE)
        pace = _MAX_ADAPTATION_RATE * elapsed
        if learn:
            self._grey += np.clip(share * gap, -pace, pace).astype(np.float32)
        out: FloatArray = (np.abs(gap) / self._limit).astype(np.float32)
        return out

    def _gain(self, grey: UInt8Array) -> np.float32:
        """The factor that most of the picture has become brighter by."""
        sample = np.s_[::4, ::4]
        ratio = (grey[sample] + 1.0) / (self._grey[sample] + 1.0)
        return np.float32(np.median(ratio))


def foreground_mask(difference: FloatArray, speed: FloatArray, min_speed: float) -> BoolArray:
    """The foreground mask: pixels clearly different from the background, or a little different and moving.

    Parameters
    ----------
    difference : float32 (H, W), from ``AdaptiveBackground.difference``.
    speed : float32 (H, W), pixels a second.
    slowest : pixels a second that count as moving.

    Returns
    -------
    bool (H, W), without specks, small gaps closed.
    """
    import cv2

    found = (difference > 1) | ((speed > min_speed) & (difference > 0.5))
    two = np.ones((2, 2), np.uint8)
    # Not MORPH_OPEN: with even sizes it shifts everything by a pixel.
    clean = cv2.dilate(cv2.erode(found.astype(np.uint8), two), two, anchor=(0, 0))
    closed = cv2.morphologyEx(clean, cv2.MORPH_CLOSE, np.ones((5, 3), np.uint8))
    mask: BoolArray = closed > 0
    return mask


WORKING_LONGEST_SIDE = 400  # working pixels: a walker of 20 is enough, and a laptop keeps up
SURROUNDINGS_SCALE = 2.2  # bodies: the window in which size is measured
MIN_SPEED = 0.25  # bodies a second that count as moving


@dataclass(frozen=True, eq=False)
class FrameMotion:
    """What moves in one frame.

    Parameters
    ----------
    time : seconds.
    cut : whether what came before doesn't belong to it.
    trouble : why it can't be judged, or None.
    fresh : whether nothing is known about motion yet: the first frame, the first after a cut, or one that
        looks like the beginning of trouble with the camera.
    pixels : uint8 (h, w, 3), the frame itself.
    mask : bool (H, W), what stands out, working pixels.
    sums : of it, and of its velocities in working pixels a second.
    slowest : working pixels a second that count as moving.
    movement, around : by cells, in windows of a body's size and of its surroundings.
    """

    time: float
    cut: bool
    trouble: TroubleKind | None
    fresh: bool
    pixels: UInt8Array
    mask: BoolArray
    sums: IntegralImages
    min_speed: float
    movement: MotionGrid
    around: MotionGrid

    @cached_property
    def objects(self) -> tuple[MovingObject, ...]:
        """What moves as one."""
        return tuple(moving_objects(self.sums, self.min_speed))


def working_size(height: int, width: int) -> tuple[int, int]:
    """(height, width) that frames are reduced to; small ones stay as they are."""
    scale = min(1.0, WORKING_LONGEST_SIDE / max(height, width))
    return max(round(height * scale), 2 * CELL_SIZE), max(round(width * scale), 2 * CELL_SIZE)


def working_grey(pixels: UInt8Array, size: tuple[int, int]) -> UInt8Array:
    """A frame (uint8 (H, W, 3)) as grey of ``size`` (height, width)."""
    import cv2

    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    if grey.shape != size:
        grey = cv2.resize(grey, size[::-1], interpolation=cv2.INTER_AREA)
    out: UInt8Array = grey
    return out


class MotionExtractor:
    """Extracts motion from the frames of one clip, in order.

    Parameters
    ----------
    background : of the scene, float32 (H, W) in working pixels; it adapts to the light of this clip.
    """

    def __init__(self, background: Background, perspective: Perspective, *, moves: bool = True) -> None:
        self._size = background.grey.shape
        height, width = self._size
        self._chained_flow = ChainedFlow(height, width)
        self._adaptive_background = AdaptiveBackground(background)
        self._camera = CameraMonitor(background.grey, moves=moves)
        self._windows = BodyWindows(height, width, perspective)
        self._surroundings = BodyWindows(height, width, perspective, SURROUNDINGS_SCALE)
        self._slowest = MIN_SPEED * perspective.middle
        self._first = True

    def see(self, frame: Frame) -> FrameMotion:
        """What moves in ``frame``, whose time is later than that of the last."""
        return self._judge(self._prepare(frame))

    def looking(self, frames: Iterable[Frame]) -> Iterator[FrameMotion]:
        """The same for frames in order; reading them and their optical flow run ahead in another thread."""
        return map(self._judge, prefetch(frames, self._prepare))

    def _prepare(self, frame: Frame) -> _FrameFlow:
        import cv2

        height, width = self._size
        grey = working_grey(frame.pixels, (height, width))
        fresh = self._first or frame.cut
        self._first = False
        if fresh:
            self._chained_flow.reset()
        velocity = self._chained_flow.velocity(grey, frame.time)
        right, down = cv2.split(velocity)
        speed = cv2.magnitude(right, down)
        return _FrameFlow(frame.time, frame.cut, fresh, frame.pixels, grey, velocity, right, down, speed)

    def _judge(self, seen: _FrameFlow) -> FrameMotion:
        trouble = self._camera.look(seen.grey, seen.velocity, seen.time)
        # What may not be the scene must not become its background.
        learns = trouble is None and not self._camera.suspicious
        difference = self._adaptive_background.difference(seen.grey, seen.time, learn=learns)
        mask = foreground_mask(difference, seen.speed, self._slowest)
        sums = integral_images(mask, seen.right, seen.down)
        return FrameMotion(
            time=seen.time,
            cut=seen.cut,
            trouble=trouble,
            fresh=seen.fresh or self._camera.possibly_faulty,
            pixels=seen.pixels,
            mask=mask,
            sums=sums,
            min_speed=self._slowest,
            movement=self._windows.movement(sums),
            around=self._surroundings.movement(sums),
        )


@dataclass(frozen=True, eq=False)
class _FrameFlow:
    """A frame in grey, with its optical flow: whole, by direction, and its length."""

    time: float
    cut: bool
    fresh: bool
    pixels: UInt8Array
    grey: UInt8Array
    velocity: FloatArray
    right: FloatArray
    down: FloatArray
    speed: FloatArray
