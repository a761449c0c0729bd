"""Motion extraction: background subtraction and optical flow give foreground, objects and cells a frame.

One pass in bounded memory. The background is a temporal median that adapts to light and to lasting changes;
decoding and optical flow can be prefetched in a thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from anomalist.types.clip import TroubleKind
from anomalist.types.common import BoolArray, Box, FloatArray, UInt8Array
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
from anomalist.vision.motion.pacing import GapMonitor, RateMonitor, RepeatMonitor
from anomalist.vision.motion.picture_kind import (
    PictureKindMonitor,
    PictureLook,
    PictureState,
    smooth_noise,
)
from anomalist.vision.motion.tracks import MovingObject, moving_objects
from anomalist.vision.prefetch import prefetch, single_threaded

_MAX_MEDIAN_FRAMES = 120  # more change nothing
_MIN_CONTRAST = 12.0  # grey levels of difference that foreground has at least
_NOISE_FACTOR = 5.0  # and at least so many deviations of the noise of its pixel
_HALF_LIFE = 30.0  # seconds in which the background takes up half of a lasting change
_MAX_ADAPTATION_STEP = 1.0  # seconds that one picture may count for
_MIN_GAIN = 0.25  # of the brightness that was learned, by which the least contrast is lowered
_MAX_ADAPTATION_RATE = 8.0  # grey levels a second, so that what stops for a moment isn't absorbed


@dataclass(frozen=True, eq=False)
class Background:
    """Background model: grey level and noise of every pixel where nothing moves.

    Parameters
    ----------
    grey : float32 (H, W), grey levels.
    noise : float32 (H, W), robust standard deviation (1.48 × median absolute deviation), grey levels.
    contrast : grey levels of difference that foreground has at least.
    """

    grey: FloatArray
    noise: FloatArray
    contrast: float = _MIN_CONTRAST

    def __post_init__(self) -> None:
        if self.grey.ndim != 2 or self.grey.shape != self.noise.shape:
            raise TypeError(f"grey {self.grey.shape} and noise {self.noise.shape} must be one (H, W)")

    @property
    def limit(self) -> FloatArray:
        """float32 (H, W), the difference in grey levels above which a pixel is foreground."""
        out: FloatArray = np.maximum(_NOISE_FACTOR * self.noise, np.float32(self.contrast))
        return out


def median_background(greys: Iterable[UInt8Array]) -> Background:
    """Fit a background: the median over pictures spread in time, and the noise of its pixels.

    Parameters
    ----------
    greys : uint8 (H, W) each, at least one; the first 120 are used.

    Raises
    ------
    ValueError : no picture, or sizes that differ.
    """
    stack = np.stack([grey for grey, _ in zip(greys, range(_MAX_MEDIAN_FRAMES), strict=False)])
    middle = np.median(stack, axis=0).astype(np.float32)
    # The median deviation leaves out what passes by, which is no noise.
    noise = 1.48 * np.median(np.abs(stack - middle), axis=0)
    return Background(middle, noise.astype(np.float32))


class AdaptiveBackground:
    """Adaptive background: follows changes of light at once, and lasting changes slowly."""

    def __init__(self, start: Background) -> None:
        self._limit = start.limit
        self._grey = start.grey.copy()
        self._time: float | None = None

    @property
    def grey(self) -> FloatArray:
        """float32 (H, W), the background now, grey levels."""
        return self._grey

    @property
    def limit(self) -> FloatArray:
        """float32 (H, W), the difference in grey levels above which a pixel is foreground."""
        return self._limit

    def difference(self, grey: UInt8Array, time: float, *, learn: bool = True) -> FloatArray:
        """Subtract the background from a frame, in units of the foreground limit; then adapt the background.

        A global change of light is compensated: its gain is measured and divided out.

        Parameters
        ----------
        grey : uint8 (H, W).
        time : seconds, not before the last call.
        learn : whether the background adapts; it must not to what a covered or moved camera shows.

        Returns
        -------
        float32 (H, W), ≥ 0; 1 is `Background.limit`.
        """
        expected = np.minimum(
            self._grey * self._gain(grey), np.float32(255)
        )  # white doesn't get any brighter
        residual = grey - expected
        # What stands there after a pause has not stood there throughout it.
        elapsed = 0.0 if self._time is None else min(max(time - self._time, 0.0), _MAX_ADAPTATION_STEP)
        self._time = time
        share = 1 - 0.5 ** (elapsed / _HALF_LIFE)
        pace = _MAX_ADAPTATION_RATE * elapsed
        if learn:
            self._grey += np.clip(share * residual, -pace, pace).astype(np.float32)
        out: FloatArray = (np.abs(residual) / self._limit).astype(np.float32)
        return out

    def _gain(self, grey: UInt8Array) -> np.float32:
        """Global gain of the light: median ratio of frame and background, on every fourth pixel."""
        sample = np.s_[::4, ::4]
        ratio = (grey[sample] + 1.0) / (self._grey[sample] + 1.0)
        return np.float32(np.median(ratio))


def foreground_mask(difference: FloatArray, speed: FloatArray, min_speed: float) -> BoolArray:
    """Foreground mask: pixels clearly different from the background, or a little different and moving.

    Parameters
    ----------
    difference : float32 (H, W), from ``AdaptiveBackground.difference``.
    speed : float32 (H, W), pixels a second.
    min_speed : pixels a second that count as moving.

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


WORKING_LONGEST_SIDE = 400
"""Longer side that frames are reduced to: a person of 20 working pixels is enough, and a laptop keeps up."""
SURROUNDINGS_SCALE = 2.2
"""Window in which size is measured, in body sizes."""
MIN_SPEED = 0.25
"""Speed that counts as moving, body heights a second."""


@dataclass(frozen=True, eq=False)
class FrameMotion:
    """Motion of one frame: foreground, its velocities, objects and cells.

    Parameters
    ----------
    time : seconds.
    cut : whether the frame before belongs to another take.
    trouble : why it can't be judged, or None.
    fresh : whether there is no motion to measure yet: the first frame, the first after a cut, or one in which
        a camera fault may begin.
    pixels : uint8 (h, w, 3), the frame itself.
    mask : bool (H, W), foreground, working pixels.
    sums : integral images of the mask and of its velocities, working pixels a second.
    min_speed : working pixels a second that count as moving.
    movement, around : by cells, in windows of a body's size and of its surroundings.
    jump : seconds by which the clock jumps, or that are missing, before a cut.
    kind : what the picture is unlike what was learned, in words; "" as it was learned.
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
    jump: float = 0.0
    kind: str = ""

    @cached_property
    def objects(self) -> tuple[MovingObject, ...]:
        """Connected foreground of similar velocity."""
        return tuple(moving_objects(self.sums, self.min_speed))


def working_size(height: int, width: int) -> tuple[int, int]:
    """(height, width) that frames are reduced to; small ones stay as they are."""
    scale = min(1.0, WORKING_LONGEST_SIDE / max(height, width))
    return max(round(height * scale), 2 * CELL_SIZE), max(round(width * scale), 2 * CELL_SIZE)


def working_grey(pixels: UInt8Array, size: tuple[int, int]) -> UInt8Array:
    """Convert a frame, uint8 (H, W, 3), to grey and reduce it to ``size`` (height, width)."""
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
    background : of the scene, (H, W) in working pixels; it adapts to the light of this clip.
    perspective : of the scene.
    moves : whether the scene usually has motion; else a frozen picture is no fault.
    usual_pace : widths of a body a second that things usually move here; None where that is not known.
    look : of the scene's normal footage; None where that is not known.
    """

    def __init__(
        self,
        background: Background,
        perspective: Perspective,
        *,
        moves: bool = True,
        usual_pace: float | None = None,
        look: PictureLook | None = None,
    ) -> None:
        self._size = background.grey.shape
        height, width = self._size
        self._chained_flow = ChainedFlow(height, width)
        self._moves = moves
        self._learned = _Reference(background, moves=moves)
        self._reference = self._learned
        self._kinds = PictureKindMonitor(look, background.grey)
        self._look = look
        self._windows = BodyWindows(height, width, perspective)
        self._surroundings = BodyWindows(height, width, perspective, SURROUNDINGS_SCALE)
        self._slowest = MIN_SPEED * perspective.middle
        self._gaps = GapMonitor()
        self._news = GapMonitor()  # between frames that are no repeats: a frozen picture is a gap, too
        self._rate = RateMonitor(usual_pace)
        self._last: _FrameFlow | None = None
        self._repeats = RepeatMonitor()
        self._slow = self._troubled = False
        self._counts: BoolArray = np.ones(self._size, np.bool_)

    def extract(self, frame: Frame) -> FrameMotion:
        """Extract the motion of a frame that is later than the last one."""
        return self._segment(self._flow(frame))

    def extract_all(self, frames: Iterable[Frame]) -> Iterator[FrameMotion]:
        """Extract the motion of frames in order; decoding and optical flow are prefetched in another thread.

        Until it ends or is closed, OpenCV, numpy and torch have one thread each.
        """
        with single_threaded(), closing(prefetch(self._flows, frames)) as flows:
            for flow in flows:
                yield self._segment(flow)

    def leave_out(self, box: Box) -> None:
        """Take what is in a box for no foreground from here on, working pixels: burned-in text."""
        x0, y0, x1, y1 = box
        self._counts[max(y0, 0) : y1, max(x0, 0) : x1] = False

    def _flows(self, frames: Iterable[Frame]) -> Iterator[_FrameFlow]:
        for frame in frames:
            yield self._flow(frame)

    def _flow(self, frame: Frame) -> _FrameFlow:
        import cv2

        height, width = self._size
        grey = working = working_grey(frame.pixels, (height, width))
        missing = self._gaps.gap(frame.time, cut=frame.cut)
        repeats = self._repeats.repeats(grey, frame.time)
        if repeats and self._last is not None and not (frame.cut or missing):
            # Nothing was filmed in between: what moved is still on its way.
            self._last = replace(
                self._last,
                time=frame.time,
                pixels=frame.pixels,
                cut=False,
                jump=0.0,
                still=0.0,
                repeats=True,
                state=replace(self._last.state, changed=False),
                background=None,
            )
            return self._last
        still = self._news.gap(frame.time, cut=frame.cut or missing > 0)
        cut, jump = frame.cut or missing > 0, frame.jump or missing
        fresh = self._last is None or cut or still > 0
        if fresh:
            self._chained_flow.reset()
        if self._kinds.noisy:
            grey = smooth_noise(grey)
        velocity = self._chained_flow.velocity(grey, frame.time)
        state = self._kinds.update(frame.pixels, working, velocity, frame.time)
        if state.changed:
            self._chained_flow.reset()
        right, down = cv2.split(velocity)
        speed = cv2.magnitude(right, down)
        self._last = _FrameFlow(
            time=frame.time,
            cut=cut,
            fresh=fresh or state.changed,
            pixels=frame.pixels,
            grey=grey,
            velocity=velocity,
            right=right,
            down=down,
            speed=speed,
            state=state,
            background=self._anew(state),
            jump=jump,
            still=still,
        )
        return self._last

    def _anew(self, state: PictureState) -> Background | None:
        """Background of another kind of picture, once there is enough of it."""
        if not state.stills or self._look is None:
            return None
        stills = map(smooth_noise, state.stills) if self._kinds.noisy else state.stills
        found = median_background(stills)
        gain = float(np.median(found.grey)) / max(self._look.level, 1.0)
        return replace(found, contrast=_MIN_CONTRAST * float(np.clip(gain, _MIN_GAIN, 1)))

    def _segment(self, flow: _FrameFlow) -> FrameMotion:
        kind, settled = flow.state.kind, flow.state.settled
        if flow.state.changed and not kind:
            self._reference = self._learned
        elif flow.background is not None or (flow.state.changed and kind):
            self._reference = _Reference(flow.background, moves=self._moves)
        camera, adaptive = self._reference.camera, self._reference.adaptive
        trouble = camera.check(flow.grey, flow.velocity, flow.time)
        if not settled and trouble not in ("black", "frozen"):
            trouble = None  # what was learned tells nothing of it
        mask: BoolArray = np.zeros(self._size, np.bool_)
        if adaptive is not None and settled:
            # A faulty camera's picture must not become the background.
            learns = trouble is None and not camera.suspicious
            difference = adaptive.difference(flow.grey, flow.time, learn=learns)
            mask = foreground_mask(difference, flow.speed, self._slowest) & self._counts
            if flow.fresh:
                self._rate.restart()
            if not flow.repeats:
                self._slow = self._rate.too_low(flow.grey, mask, adaptive.limit, flow.time)
        # A black picture or a frozen one is said to be that, and no gap.
        still = 0.0 if self._troubled else flow.still
        self._troubled = trouble is not None
        if self._slow and trouble is None:
            trouble = "frame rate"
        sums = integral_images(mask, flow.right, flow.down)
        return FrameMotion(
            time=flow.time,
            cut=flow.cut or still > 0,
            trouble=trouble,
            fresh=flow.fresh or not settled or camera.possibly_faulty,
            pixels=flow.pixels,
            mask=mask,
            sums=sums,
            min_speed=self._slowest,
            movement=self._windows.movement(sums),
            around=self._surroundings.movement(sums),
            jump=flow.jump or still,
            kind=kind,
        )


class _Reference:
    """What pictures of one kind are compared with: background and camera; None while it is being learned."""

    def __init__(self, background: Background | None, *, moves: bool) -> None:
        self.adaptive = None if background is None else AdaptiveBackground(background)
        self.camera = CameraMonitor(None if background is None else background.grey, moves=moves)


@dataclass(frozen=True, eq=False)
class _FrameFlow:
    """A frame in grey with its optical flow: vectors, components and length."""

    time: float
    cut: bool
    fresh: bool
    pixels: UInt8Array
    grey: UInt8Array
    velocity: FloatArray
    right: FloatArray
    down: FloatArray
    speed: FloatArray
    state: PictureState
    background: Background | None  # of another kind of picture, when it was learned
    jump: float = 0.0
    still: float = 0.0  # seconds before it in which only repeats came
    repeats: bool = False
