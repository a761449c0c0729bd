"""Pacing of frames: gaps, repeated frames, and whether frames come often enough to follow what moves."""

from __future__ import annotations

from collections import deque
from statistics import median

import numpy as np

from anomalist.types.common import BoolArray, FloatArray, UInt8Array

ANALYSIS_RATE = 10.0
"""Frames a second that are analysed; flow is chained over half a second anyway."""
MIN_GAP_SECONDS = 0.6
"""Seconds between two frames from which nothing is followed across them, where frames come often."""
_GAP_INTERVALS = 4.0  # usual intervals, where frames come seldom
_INTERVALS = 15  # whose median is the usual one
_MIN_INTERVALS = 3  # before which nothing is usual
_REPEAT_LEVELS = 3.0  # grey levels: what encoding a still picture again changes
_REPEAT_SHARE = 1e-4  # of the pixels that may differ by more
_KEY_FRAME_SECONDS = 1.0  # between two key frames at least
_KEY_LEVELS = 5.0  # grey levels in the mean of 5 × 5 pixels that a key frame may change

_MAX_STEP = 0.6
"""Widths of a body that usual motion may take between two frames; beyond that it can't be followed."""
_MIN_BLOB_AREA = 20  # pixels
_MIN_CHANGED = 0.2  # share of the pixels of a blob that moves
_MIN_BLOBS = 8  # blobs that moved, before anything is said of them
_BLOBS = 40  # that are remembered


class RepeatMonitor:
    """Finds pictures that show the same as the one before, but for coding noise."""

    def __init__(self) -> None:
        self._last: UInt8Array | None = None
        self._renewed = -np.inf

    def repeats(self, grey: UInt8Array, time: float) -> bool:
        """Whether a picture, uint8 (H, W), at ``time`` seconds is a repeat of the last that was none."""
        import cv2

        last = self._last
        if last is not None and np.array_equal(last, grey):
            return True
        if last is None or last.shape != grey.shape:
            self._last = grey
            return False
        apart = cv2.blur(cv2.absdiff(last, grey), (3, 3))
        if np.count_nonzero(apart > _REPEAT_LEVELS) <= _REPEAT_SHARE * apart.size:
            return True  # compared with the last that differed: what creeps adds up
        self._last = grey
        coded = cv2.blur(cv2.subtract(grey, last, dtype=cv2.CV_32F), (5, 5))
        # A key frame codes a still picture anew, once in a while; a noisy camera differs every time.
        renewed = time - self._renewed >= _KEY_FRAME_SECONDS and float(np.abs(coded).max()) <= _KEY_LEVELS
        if renewed:
            self._renewed = time
        return renewed


class GapMonitor:
    """Finds gaps between frames, by the usual interval of the last ones."""

    def __init__(self) -> None:
        self._last: float | None = None
        self._intervals: deque[float] = deque(maxlen=_INTERVALS)

    def gap(self, time: float, *, cut: bool = False) -> float:
        """Seconds that are missing before the frame at ``time``; 0 where none are.

        Parameters
        ----------
        cut : whether the source says so already.
        """
        last, self._last = self._last, time
        if last is None or cut:
            return 0.0
        elapsed = time - last
        if len(self._intervals) >= _MIN_INTERVALS:
            usual = median(self._intervals)
            if elapsed > max(MIN_GAP_SECONDS, _GAP_INTERVALS * usual):
                return elapsed - usual
        self._intervals.append(elapsed)
        return 0.0


class RateMonitor:
    """Whether things move so little between two frames that they can be followed.

    Parameters
    ----------
    usual_pace : widths of a body a second that things usually move here; None where that is not known.
    """

    def __init__(self, usual_pace: float | None = None) -> None:
        self._pace = usual_pace
        self._overlaps: deque[float] = deque(maxlen=_BLOBS)
        self._intervals: deque[float] = deque(maxlen=_INTERVALS)
        self._last: tuple[float, UInt8Array, BoolArray] | None = None

    def too_low(self, grey: UInt8Array, mask: BoolArray, limit: FloatArray, time: float) -> bool:
        """Take the next picture that is no repeat.

        Parameters
        ----------
        grey : uint8 (H, W).
        mask : bool (H, W), its foreground.
        limit : float32 (H, W), grey levels by which foreground differs.
        """
        last, self._last = self._last, (time, grey, mask)
        if last is None:
            return False
        self._intervals.append(time - last[0])
        self._overlaps.extend(_overlaps(last[1], last[2], grey, mask, limit))
        step = None if self._pace is None else self._pace * median(self._intervals)
        if step is not None and step > _MAX_STEP:
            return True
        # Where usual things could be followed, those that can't be are fast.
        measured = len(self._overlaps) >= _MIN_BLOBS and median(self._overlaps) < 1 - _MAX_STEP
        return measured and (step is None or step > _MAX_STEP / 2)

    def restart(self) -> None:
        """Compare nothing across a break."""
        self._last = None


def _overlaps(
    before: UInt8Array, was: BoolArray, grey: UInt8Array, mask: BoolArray, limit: FloatArray
) -> list[float]:
    """Of each blob that moved, the share that was foreground in the picture before."""
    import cv2

    inside_blobs = np.flatnonzero(mask)
    if not inside_blobs.size:
        return []
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8))
    blob = labels.ravel()[inside_blobs]
    changed = np.abs(grey.ravel()[inside_blobs].astype(np.float32) - before.ravel()[inside_blobs])
    moved = np.bincount(blob[changed > limit.ravel()[inside_blobs]], minlength=count)
    covered = np.bincount(blob[was.ravel()[inside_blobs]], minlength=count)
    height, width = mask.shape
    found = []
    for index, (x, y, w, h, area) in enumerate(stats.tolist()):
        inside = x > 0 and y > 0 and x + w < width and y + h < height
        if index and inside and area >= _MIN_BLOB_AREA and moved[index] >= _MIN_CHANGED * area:
            found.append(float(covered[index] / area))
    return found
