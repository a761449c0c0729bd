"""Camera tampering and fault detection: black, covered, frozen, moved or moving camera.

A frame with such a fault is not judged. The camera's place is checked by the correlation of edges and by
sub-pixel registration of textured blocks (Lucas and Kanade 1981).
"""

from __future__ import annotations

import numpy as np

from anomalist.types.clip import TroubleKind
from anomalist.types.common import BoolArray, FloatArray, UInt8Array
from anomalist.vision.motion.pacing import RepeatMonitor

FROZEN_SECONDS = 4.0
"""Seconds without any change from which the picture is frozen."""
RECOVERY_SECONDS = 0.7
"""Seconds that a fault must be over before frames are judged again."""
_SUSPECT_SECONDS = 0.25  # seconds without change: repeated frames of a slow camera are fewer
_SHRINK = 2  # reduction of working pixels for all checks
_BLUR = 0.75  # sigma before gradients are taken, reduced pixels, against noise
_BLACK, _FLAT = 20.0, 4.0  # grey levels: brighter than black; less spread than this shows nothing
_GRAIN = 9  # reduced pixels that are averaged, which leaves nothing of the noise
_MIN_EDGE_SHARE = 0.3  # of the scene's edges: what is left through a cloth, or fingers
_BLOCK = 16  # reduced pixels
_TEXTURE = 0.25  # spread of the root gradient magnitude in a textured block
_MIN_VISIBLE_SHARE = 0.3  # of the textured blocks; what passes by may hide the others
_MIN_CORRELATION = 0.6  # of a block's edges with the scene's; noise gives 0, a still camera 0.9 and more
_MAX_SHIFT = 0.9  # working pixels that the picture may be shifted by; vibration by half a pixel stays below
_NO_SHIFT = 0.3  # working pixels: as exactly as can be told
_MIN_BLOCK_SPREAD = 3.0  # grey levels of spread in a block that can be registered, ...
_MIN_CORNERNESS = 1.5  # ... and least gradient energy by its variance: a straight edge can slide along itself
_CLEAR_EDGE = 3.0  # grey levels a pixel: an edge whose motion can be seen
_MIN_CLEAR_EDGES = 10  # of them in a block
_MIN_BLOCKS = 4
_MOVING_BLOCK_SHARE = 0.75  # of the blocks: however full of people a picture is, some of it stands still
_MAX_DRIFT = 1.7  # working pixels a second; vibration by half a pixel stays below
_DRIFT_CAP = 6.0  # times that: a sudden jerk must not count for longer than a fast pan
_DRIFT_TIME_CONSTANT = 0.5  # seconds: a shaking camera is slow where it turns round


class CameraMonitor:
    """Detects faults of the camera in one clip, frame by frame.

    Parameters
    ----------
    scene : float32 (H, W), the background that was learned; None while learning.
    moves : whether the scene usually has motion, so that a frozen picture is a fault.

    ``possibly_faulty`` tells whether a fault may begin with the last frame, which should not be measured
    then.
    """

    def __init__(self, scene: FloatArray | None, *, moves: bool = True) -> None:
        self._scene = None if scene is None else np.sqrt(_gradient_magnitude(_downscale(scene)))
        self._anchor = None if scene is None else _BlockRegistration(_downscale(scene))
        self._moves = moves
        self._repeats = RepeatMonitor()
        self._changed = 0.0
        self._drift = 0.0
        self._time: float | None = None
        self._trouble: TroubleKind | None = None
        self._seen = 0.0
        self.possibly_faulty = False

    def check(self, grey: UInt8Array, velocity: FloatArray, time: float) -> TroubleKind | None:
        """The fault of the camera at ``time``, or until a moment ago; None when there is none.

        Parameters
        ----------
        grey : uint8 (H, W).
        velocity : float32 (H, W, 2), pixels a second.
        time : seconds, later than at the last call.
        """
        found = self._judge(grey, velocity, time)
        self._time = time
        if found is not None:
            self._trouble, self._seen = found, time
        elif time - self._seen >= RECOVERY_SECONDS:
            self._trouble = None
        return self._trouble

    @property
    def suspicious(self) -> bool:
        """Whether a fault is present or was until a moment ago."""
        return self._trouble is not None

    def _judge(self, grey: UInt8Array, velocity: FloatArray, time: float) -> TroubleKind | None:
        import cv2

        small = _downscale(grey)
        edges = _gradient_magnitude(small)
        shift = None if self._anchor is None else self._anchor.shift(small)
        now = self._drifting(edges, velocity, shift, time)
        frozen = self._frozen(grey, time)
        flat = float(cv2.blur(small, (_GRAIN, _GRAIN)).std()) < _FLAT
        if flat and small.mean() < _BLACK:
            return "black"
        if frozen:
            return "frozen"
        fits = self._fits(edges, shift)
        if self._hides(edges, flat=flat, fits=fits):
            return "covered"
        self.possibly_faulty = now > _MAX_DRIFT or (self._moves and time - self._changed >= _SUSPECT_SECONDS)
        # Out of its place even a slow drift is one: vibration would bring it back.
        if self._drift > _MAX_DRIFT or (not fits and max(now, self._drift) > _MAX_DRIFT / 2):
            return "moving"
        return None if fits else "moved"

    def _hides(self, edges: FloatArray, *, flat: bool, fits: bool) -> bool:
        """Whether something hides the scene; fog leaves it in its place, however faint."""
        if self._scene is None:
            return flat
        return not fits and bool(flat or edges.mean() < _MIN_EDGE_SHARE * (self._scene**2).mean())

    def _fits(self, edges: FloatArray, shift: float | None) -> bool:
        if self._scene is None:
            return True
        in_place = shift is None or shift <= _MAX_SHIFT / _SHRINK
        # Roots, so that a single strong edge doesn't decide alone.
        return in_place and edge_correlation(self._scene, np.sqrt(edges)) >= _MIN_CORRELATION

    def _frozen(self, grey: UInt8Array, time: float) -> bool:
        if not self._repeats.repeats(grey, time):
            self._changed = time
        return self._moves and time - self._changed >= FROZEN_SECONDS

    def _drifting(self, edges: FloatArray, velocity: FloatArray, shift: float | None, time: float) -> float:
        """Drift of the camera now, pixels a second; ``_drift`` is its running average.

        A camera that is registered to its scene does not drift, whatever moves in front of it.
        """
        h, w = edges.shape
        velocity = velocity[::_SHRINK, ::_SHRINK][:h, :w]
        known = None if self._scene is None else _textured_blocks(_by_block(self._scene))
        in_place = shift is not None and shift <= _NO_SHIFT / _SHRINK
        now = 0.0 if in_place else min(camera_drift(edges, velocity, known), _DRIFT_CAP * _MAX_DRIFT)
        share = 0.0 if self._time is None else 1 - float(np.exp((self._time - time) / _DRIFT_TIME_CONSTANT))
        self._drift += share * (now - self._drift)
        return now


def camera_drift(edges: FloatArray, velocity: FloatArray, where: BoolArray | None = None) -> float:
    """Speed that three quarters of the blocks with edges reach, pixels a second; 0 with too few of them.

    Speeds rather than velocities, as zooming and rotating have no common direction; blocks rather than
    pixels, as noise averages out in them and people in front of a plain wall are few.

    Parameters
    ----------
    edges : float32 (h, w), gradient magnitude.
    velocity : float32 (h, w, 2).
    where : bool (blocks,), which blocks of 16 × 16 pixels count; None takes all.
    """
    clear = _by_block((edges > _CLEAR_EDGE).astype(np.float32))
    count = clear.sum(axis=1)
    tells = count >= _MIN_CLEAR_EDGES
    if where is not None:
        tells &= where
    if tells.sum() < _MIN_BLOCKS:
        return 0.0
    across, down = (
        (clear * _by_block(velocity[..., axis])).sum(axis=1)[tells] / count[tells] for axis in (0, 1)
    )
    return float(np.quantile(np.hypot(across, down), 1 - _MOVING_BLOCK_SHARE))


def edge_correlation(scene: FloatArray, now: FloatArray) -> float:
    """Edge correlation of a picture with the scene in its best blocks, −1 to 1; 1 with too few to compare.

    Parameters
    ----------
    scene, now : float32 (h, w), square root of the gradient magnitude.

    Returns
    -------
    The correlation that three in ten of the textured blocks reach: what passes by may hide the others.
    """
    x, y = _by_block(scene), _by_block(now)
    known = _textured_blocks(x)
    if known.sum() < _MIN_BLOCKS:
        return 1.0
    x, y = (part[known] - part[known].mean(axis=1, keepdims=True) for part in (x, y))
    size = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    return float(np.quantile((x * y).sum(axis=1) / np.maximum(size, 1e-6), 1 - _MIN_VISIBLE_SHARE))


class _BlockRegistration:
    """Sub-pixel registration of the textured blocks of a scene.

    One step of Lucas and Kanade ("An iterative image registration technique", 1981) for every block. Even a
    shift of the camera by less than a pixel makes everything with edges foreground.

    Parameters
    ----------
    scene : float32 (h, w), grey levels.
    """

    def __init__(self, scene: FloatArray) -> None:
        import cv2

        smooth = _smooth(scene)
        blocks = _by_block(smooth)
        spread = np.maximum(blocks.std(axis=1, keepdims=True), 1e-3)
        dx, dy = (_by_block(cv2.Sobel(smooth, -1, *axes, scale=1 / 8)) / spread for axes in ((1, 0), (0, 1)))
        xx, yy, xy = (dx * dx).sum(axis=1), (dy * dy).sum(axis=1), (dx * dy).sum(axis=1)
        weakest = (xx + yy) / 2 - np.hypot((xx - yy) / 2, xy)
        holds = (spread[:, 0] >= _MIN_BLOCK_SPREAD) & (weakest >= _MIN_CORNERNESS)
        self._holds = holds
        self._wanted = _standardise(blocks[holds])
        self._dx, self._dy = dx[holds], dy[holds]
        self._xx, self._yy, self._xy = xx[holds], yy[holds], xy[holds]

    def shift(self, now: FloatArray) -> float | None:
        """Shift of the least shifted blocks (their 30 % quantile), in pixels of ``now``.

        What passes by may hide the other blocks. Exact for shifts of a pixel or two; larger ones can't be
        told from those. None with fewer than four blocks that have corners.

        Parameters
        ----------
        now : float32 (h, w), grey levels.
        """
        if self._holds.sum() < _MIN_BLOCKS:
            return None
        gap = self._wanted - _standardise(_by_block(_smooth(now))[self._holds])
        across, down = (self._dx * gap).sum(axis=1), (self._dy * gap).sum(axis=1)
        size = self._xx * self._yy - self._xy**2
        x = (self._yy * across - self._xy * down) / size
        y = (self._xx * down - self._xy * across) / size
        return float(np.quantile(np.hypot(x, y), _MIN_VISIBLE_SHARE))


def _standardise(blocks: FloatArray) -> FloatArray:
    """Standardise each block to mean 0 and deviation 1, against changes of light."""
    centred = blocks - blocks.mean(axis=1, keepdims=True)
    out: FloatArray = centred / np.maximum(centred.std(axis=1, keepdims=True), 1e-3)
    return out


def _textured_blocks(blocks: FloatArray) -> BoolArray:
    return np.asarray(blocks.std(axis=1) >= _TEXTURE)


def _by_block(values: FloatArray) -> FloatArray:
    """(H, W) as (blocks, pixels); a rest at the right and at the bottom is left out."""
    rows, columns = (max(length // _BLOCK, 1) for length in values.shape)
    high, wide = (min(length, _BLOCK) for length in values.shape)
    blocks = values[: rows * high, : columns * wide].reshape(rows, high, columns, wide)
    return blocks.swapaxes(1, 2).reshape(rows * columns, high * wide)


def _downscale(grey: FloatArray | UInt8Array) -> FloatArray:
    import cv2

    out: FloatArray = cv2.resize(
        np.asarray(grey, np.float32), None, fx=1 / _SHRINK, fy=1 / _SHRINK, interpolation=cv2.INTER_AREA
    )
    return out


def _smooth(small: FloatArray) -> FloatArray:
    import cv2

    out: FloatArray = cv2.GaussianBlur(small, (0, 0), _BLUR)
    return out


def _gradient_magnitude(small: FloatArray) -> FloatArray:
    """Gradient magnitude of a picture, grey levels a pixel."""
    import cv2

    smooth = _smooth(small)
    dx, dy = cv2.Sobel(smooth, -1, 1, 0, scale=1 / 8), cv2.Sobel(smooth, -1, 0, 1, scale=1 / 8)
    out: FloatArray = np.hypot(dx, dy)
    return out
