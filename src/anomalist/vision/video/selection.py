"""Which frames of one pass over a video are wanted: a range of times, and so many a second."""

from __future__ import annotations

import math
from dataclasses import replace

from anomalist.vision.video.frames import Frame

CLOSE = 1e-6  # seconds: times are sums of fractions


class Selection:
    """A range of times, sampled by time.

    Parameters
    ----------
    start, stop : seconds; frames with start ≤ time < stop are wanted, None is the end.
    rate : frames a second at most: the first frame at or after each of start, start + 1 / rate, … is
        wanted; None is all.

    Raises
    ------
    ValueError
        If start isn't finite or the rate isn't positive.
    """

    def __init__(self, start: float = 0.0, stop: float | None = None, rate: float | None = None) -> None:
        if not math.isfinite(start):
            raise ValueError(f"start must be finite, got {start}")
        if rate is not None and not rate > 0:
            raise ValueError(f"rate must be positive, got {rate}")
        self.start = max(start, 0.0)
        self.reached = self.start
        """Time of the last frame that was taken."""
        self._stop = math.inf if stop is None else stop
        self._rate = rate
        self._due = self.start
        self._begun = False
        self._cut = False

    def over(self, time: float) -> bool:
        """Say whether this and all later times are past the end."""
        return time >= self._stop - CLOSE

    def wants(self, time: float) -> bool:
        """Say whether the frame at this time is wanted."""
        return time >= self._due - CLOSE and not self.over(time)

    def break_off(self, time: float) -> None:
        """Remember that the source breaks off at this time, for the next frame that is taken."""
        self._cut = self._cut or (self._begun and time > self.reached)

    def take(self, frame: Frame) -> Frame:
        """Return the wanted frame, marked as a cut when the source broke off since the last one."""
        if self._rate is None:
            self._due = frame.time + 2 * CLOSE
        else:
            ticks = math.floor((frame.time - self.start + CLOSE) * self._rate) + 1
            self._due = self.start + ticks / self._rate
        cut = self._cut or frame.cut
        self.reached, self._begun, self._cut = frame.time, True, False
        return replace(frame, cut=cut)
