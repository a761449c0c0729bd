"""From frames to what moves in them: one pass, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from anomalist.clips import TroubleKind
from anomalist.types import BoolArray, FloatArray, UInt8Array
from anomalist.vision.motion.ahead import ahead
from anomalist.vision.motion.background import Adapting, Background, standing_out
from anomalist.vision.motion.camera import CameraWatch
from anomalist.vision.motion.flow import Following
from anomalist.vision.motion.movement import CELL, Movement, Windows
from anomalist.vision.motion.objects import MovingObject, moving_objects
from anomalist.vision.motion.perspective import Perspective
from anomalist.vision.motion.sums import Sums, summed
from anomalist.vision.video.frames import Frame

LONGEST_SIDE = 400  # working pixels: a walker of 20 is enough, and a laptop keeps up
SURROUNDINGS = 2.2  # bodies: the window in which size is measured
SLOWEST = 0.25  # bodies a second that count as moving


@dataclass(frozen=True, eq=False)
class Glimpse:
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
    sums: Sums
    slowest: float
    movement: Movement
    around: Movement

    @cached_property
    def objects(self) -> tuple[MovingObject, ...]:
        """What moves as one."""
        return tuple(moving_objects(self.sums, self.slowest))


def working_size(height: int, width: int) -> tuple[int, int]:
    """(height, width) that frames are reduced to; small ones stay as they are."""
    scale = min(1.0, LONGEST_SIDE / max(height, width))
    return max(round(height * scale), 2 * CELL), max(round(width * scale), 2 * CELL)


def working_grey(pixels: UInt8Array, size: tuple[int, int]) -> UInt8Array:
    """A frame (uint8 (H, W, 3)) as grey of ``size`` (height, width)."""
    import cv2

    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    if grey.shape != size:
        grey = cv2.resize(grey, size[::-1], interpolation=cv2.INTER_AREA)
    out: UInt8Array = grey
    return out


class Eye:
    """Looks at the frames of one clip, in order.

    Parameters
    ----------
    background : of the scene, float32 (H, W) in working pixels; it adapts to the light of this clip.
    """

    def __init__(self, background: Background, perspective: Perspective, *, moves: bool = True) -> None:
        self._size = background.grey.shape
        height, width = self._size
        self._following = Following(height, width)
        self._adapting = Adapting(background)
        self._camera = CameraWatch(background.grey, moves=moves)
        self._windows = Windows(height, width, perspective)
        self._surroundings = Windows(height, width, perspective, SURROUNDINGS)
        self._slowest = SLOWEST * perspective.middle
        self._first = True

    def see(self, frame: Frame) -> Glimpse:
        """What moves in ``frame``, whose time is later than that of the last."""
        return self._judge(self._prepare(frame))

    def looking(self, frames: Iterable[Frame]) -> Iterator[Glimpse]:
        """The same for frames in order; reading them and their optical flow run ahead in another thread."""
        return map(self._judge, ahead(frames, self._prepare))

    def _prepare(self, frame: Frame) -> _Prepared:
        import cv2

        height, width = self._size
        grey = working_grey(frame.pixels, (height, width))
        fresh = self._first or frame.cut
        self._first = False
        if fresh:
            self._following.forget()
        velocity = self._following.velocity(grey, frame.time)
        right, down = cv2.split(velocity)
        speed = cv2.magnitude(right, down)
        return _Prepared(frame.time, frame.cut, fresh, frame.pixels, grey, velocity, right, down, speed)

    def _judge(self, seen: _Prepared) -> Glimpse:
        trouble = self._camera.look(seen.grey, seen.velocity, seen.time)
        # What may not be the scene must not become its background.
        learns = trouble is None and not self._camera.suspicious
        difference = self._adapting.difference(seen.grey, seen.time, learn=learns)
        mask = standing_out(difference, seen.speed, self._slowest)
        sums = summed(mask, seen.right, seen.down)
        return Glimpse(
            time=seen.time,
            cut=seen.cut,
            trouble=trouble,
            fresh=seen.fresh or self._camera.doubtful,
            pixels=seen.pixels,
            mask=mask,
            sums=sums,
            slowest=self._slowest,
            movement=self._windows.movement(sums),
            around=self._surroundings.movement(sums),
        )


@dataclass(frozen=True, eq=False)
class _Prepared:
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
