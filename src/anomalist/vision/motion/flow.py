"""How fast and where to every pixel moves, followed over half a second so that swinging legs even out."""

from __future__ import annotations

from collections import deque

import numpy as np

from anomalist.types import FloatArray, UInt8Array

SPAN = 0.5  # seconds that a pixel is followed back
_FINEST = 1  # DIS: half of the working size; whole size costs five times as much


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
        self._dis.setFinestScale(_FINEST)
        columns, rows = np.meshgrid(np.arange(width), np.arange(height))
        self._grid = np.stack([columns, rows], axis=-1).astype(np.float32)
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
        if self._last is None:
            self._last = (time, grey)
            return np.zeros_like(self._grid)
        then, before = self._last
        self._steps.appendleft((then, self._dis.calc(grey, before, None)))
        self._last = (time, grey)
        while len(self._steps) > 1 and time - self._steps[-1][0] > SPAN * 1.01:  # 1.01: clocks round
            self._steps.pop()
        return self._way_back() / np.float32(self._steps[-1][0] - time)

    def _way_back(self) -> FloatArray:
        """Where each pixel was when the oldest step began, minus where it is now."""
        import cv2

        way: FloatArray = self._steps[0][1].copy()
        for _, step in list(self._steps)[1:]:
            at = self._grid + way
            way += cv2.remap(step, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return way
