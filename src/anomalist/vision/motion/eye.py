"""From frames to what moves in them: one pass, in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from anomalist.clips import TroubleKind
from anomalist.types import BoolArray, FloatArray, UInt8Array
from anomalist.vision.motion.background import Adapting, Background, standing_out
from anomalist.vision.motion.camera import CameraWatch
from anomalist.vision.motion.flow import Following
from anomalist.vision.motion.movement import CELL, Movement, Windows
from anomalist.vision.motion.perspective import Perspective
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
    trouble : why it can't be judged, or None.
    fresh : whether nothing is known about motion yet: the first frame, the first after a cut, or one that
        looks like the beginning of trouble with the camera.
    mask : bool (H, W), what stands out, working pixels.
    velocity : float32 (H, W, 2), working pixels a second.
    movement, around : by cells, in windows of a body's size and of its surroundings.
    """

    time: float
    trouble: TroubleKind | None
    fresh: bool
    mask: BoolArray
    velocity: FloatArray
    movement: Movement
    around: Movement


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
        self._start = background
        self._following = Following(height, width)
        self._adapting = Adapting(background)
        self._camera = CameraWatch(background.grey, moves=moves)
        self._windows = Windows(height, width, perspective)
        self._surroundings = Windows(height, width, perspective, SURROUNDINGS)
        self._slowest = SLOWEST * perspective.middle
        self._fresh = True

    @property
    def slowest(self) -> float:
        """Working pixels a second that count as moving."""
        return self._slowest

    def see(self, frame: Frame) -> Glimpse:
        """What moves in ``frame``, whose time is later than that of the last."""
        height, width = self._size
        grey = working_grey(frame.pixels, (height, width))
        if frame.cut:
            self._following.forget()
            self._fresh = True
        velocity = self._following.velocity(grey, frame.time)
        trouble = self._camera.look(grey, velocity, frame.time)
        # What may not be the scene must not become its background.
        learns = trouble is None and not self._camera.suspicious
        difference = self._adapting.difference(grey, frame.time, learn=learns)
        speed = np.hypot(velocity[..., 0], velocity[..., 1])
        mask = standing_out(difference, speed, self._slowest)
        fresh, self._fresh = self._fresh or self._camera.doubtful, False
        return Glimpse(
            time=frame.time,
            trouble=trouble,
            fresh=fresh,
            mask=mask,
            velocity=velocity,
            movement=self._windows.movement(mask, velocity),
            around=self._surroundings.movement(mask, velocity),
        )
