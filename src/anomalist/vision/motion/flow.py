"""How fast and where to every pixel moves, followed over half a second so that swinging legs even out."""

from __future__ import annotations

from collections import deque

import numpy as np

from anomalist.types import FloatArray, UInt8Array

SPAN = 0.5  # seconds that a pixel is followed back
_REDUCED = 2  # flow is followed at half of the working size; whole size costs five times as much


class Following:
    """Backward optical flow (DIS; Kroeger et al., ECCV 2016), chained over the last ``SPAN`` seconds.

    The velocity of a pixel is the way from where it was half a second ago, by the time between. A limb that
    swings to and fro cancels out, and what the whole body does remains.

    Parameters
    ----------
    height, width : of the grey pictures that will come, pixels.
    """

    def __init__(self, height: int, width: int) -> None:
        import cv2

        self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        self._dis.setFinestScale(0)
        self._size = height, width
        self._reduced = max(height // _REDUCED, 1), max(width // _REDUCED, 1)
        columns, rows = np.meshgrid(*(np.arange(length) for length in self._reduced[::-1]))
        self._grid = np.stack([columns, rows], axis=-1).astype(np.float32)
        self._larger = np.divide(self._size[::-1], self._reduced[::-1]).astype(np.float32)
        self._steps: deque[tuple[float, FloatArray]] = deque()
        self._last: tuple[float, UInt8Array] | None = None

    def forget(self) -> None:
        """Start again: what comes next has nothing to do with what was."""
        self._steps.clear()
        self._last = None

    def velocity(self, grey: UInt8Array, time: float) -> FloatArray:
        """Velocities at ``time``.

        Parameters
        ----------
        grey : uint8 (H, W).
        time : seconds, later than at the last call.

        Returns
        -------
        float32 (H, W, 2), pixels a second to the right and down; zero for the first picture.
        """
        import cv2

        small = cv2.resize(grey, self._reduced[::-1], interpolation=cv2.INTER_AREA)
        if self._last is None:
            self._last = (time, small)
            return np.zeros((*self._size, 2), np.float32)
        then, before = self._last
        self._steps.appendleft((then, self._dis.calc(small, before, None)))
        self._last = (time, small)
        while len(self._steps) > 1 and time - self._steps[-1][0] > SPAN * 1.01:  # 1.01: clocks round
            self._steps.pop()
        velocity = self._way_back() * (self._larger / np.float32(self._steps[-1][0] - time))
        return np.asarray(cv2.resize(velocity, self._size[::-1], interpolation=cv2.INTER_LINEAR), np.float32)

    def _way_back(self) -> FloatArray:
        """Where each pixel of the reduced picture was when the oldest step began, minus where it is now."""
        import cv2

        way: FloatArray = self._steps[0][1].copy()
        for _, step in list(self._steps)[1:]:
            at = self._grid + way
            way += cv2.remap(step, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return way
