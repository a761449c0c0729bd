"""Whether the camera still shows its scene: not black, not covered, not frozen, not moved, not moving."""

from __future__ import annotations

import numpy as np

from anomalist.clips import TroubleKind
from anomalist.types import FloatArray, UInt8Array

_SHRINK = 2
_BLACK, _FLAT = 20.0, 4.0  # grey levels: brighter than black; less spread than this shows nothing
_FROZEN_AFTER = 4.0  # seconds without the slightest change
_LEAST_AGREEMENT = 0.35  # of edges with the scene's; noise gives 0, people passing by leave 0.7 and more
_TEXTURE = 6.0  # grey levels a pixel: an edge whose motion can be seen
_DRIFT = 0.012  # of the picture's width per second, that most edges move by when the camera does
_SETTLE = 0.7  # seconds that a trouble must last, and must be over


class CameraWatch:
    """Watches for trouble with the camera.

    Parameters
    ----------
    scene : float32 (H, W), the background that was learned; None while learning.
    moves : whether the scene usually has movement, so that a frozen picture is trouble.
    """

    def __init__(self, scene: FloatArray | None, *, moves: bool = True) -> None:
        self._edges = None if scene is None else _edges(scene)
        self._moves = moves
        self._last: UInt8Array | None = None
        self._changed: float | None = None
        self._now: TroubleKind | None = None
        self._candidate: TroubleKind | None = None
        self._since = 0.0

    def look(self, grey: UInt8Array, velocity: FloatArray, time: float) -> TroubleKind | None:
        """What is wrong with the camera at ``time``, once it has lasted; None when nothing is.

        Parameters
        ----------
        grey : uint8 (H, W).
        velocity : float32 (H, W, 2), pixels a second.
        """
        found = self._judge(grey, velocity, time)
        if found != self._candidate:
            self._candidate, self._since = found, time
        # What hides the scene counts at once: nothing can be measured. The rest has to last.
        if found in ("black", "frozen") or time - self._since >= _SETTLE:
            self._now = found
        return self._now

    @property
    def suspicious(self) -> bool:
        """Whether the picture looks wrong now, even if it has not lasted long enough to say so."""
        return self._candidate is not None

    def _judge(self, grey: UInt8Array, velocity: FloatArray, time: float) -> TroubleKind | None:
        small = grey[::_SHRINK, ::_SHRINK]
        spread = float(small.std())
        if spread < _FLAT:
            return "black" if small.mean() < _BLACK else "covered"
        if self._frozen(small, time):
            return "frozen"
        if _drift(small, velocity[::_SHRINK, ::_SHRINK]) > _DRIFT * grey.shape[1]:
            return "moving"
        if self._edges is not None and agreement(self._edges, _edges(grey)) < _LEAST_AGREEMENT:
            return "moved"
        return None

    def _frozen(self, small: UInt8Array, time: float) -> bool:
        same = (
            self._last is not None and self._last.shape == small.shape and np.array_equal(self._last, small)
        )
        self._last = small
        if not same or self._changed is None:
            self._changed = time
        return self._moves and time - self._changed >= _FROZEN_AFTER


def _drift(small: UInt8Array, velocity: FloatArray) -> float:
    """Median speed of everything with edges, pixels a second: almost nothing while the camera stands still.

    Of the speeds, not of the velocities: zooming and turning have no direction on the whole.
    """
    textured = _edges(small.astype(np.float32), blur=0) > _TEXTURE
    if textured.sum() < 50:
        return 0.0
    return float(np.median(np.hypot(velocity[textured, 0], velocity[textured, 1])))


def _edges(grey: FloatArray | UInt8Array, blur: float = 1.5) -> FloatArray:
    """Gradient magnitude of a picture, at its size."""
    import cv2

    smooth = np.asarray(grey, np.float32)
    if blur:
        smooth = cv2.GaussianBlur(smooth[::_SHRINK, ::_SHRINK], (0, 0), blur / _SHRINK)
    dx, dy = cv2.Sobel(smooth, -1, 1, 0, scale=1 / 8), cv2.Sobel(smooth, -1, 0, 1, scale=1 / 8)
    out: FloatArray = np.hypot(dx, dy)
    return out


def agreement(a: FloatArray, b: FloatArray) -> float:
    """Correlation of two edge pictures of one shape, −1 to 1; 0 where one has no edges.

    Square roots, so that a single strong edge doesn't decide alone.
    """
    x, y = np.sqrt(a).ravel(), np.sqrt(b).ravel()
    x, y = x - x.mean(), y - y.mean()
    size = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / size if size else 0.0
