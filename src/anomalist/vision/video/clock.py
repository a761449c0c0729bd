"""Times that only grow, from timestamps that may be missing or wrong."""

from __future__ import annotations

import math


class Clock:
    """Turn the timestamps of a source into seconds since its first frame.

    A timestamp that jumps back, or further ahead than ``leap`` and the time waited for it, is wrong: the
    times go on at the nominal rate, or by the time waited, and later timestamps count from there.

    Parameters
    ----------
    step : seconds between frames at the nominal rate.
    zero : timestamp of the first frame in seconds; None takes the first one that comes.
    leap : seconds that a timestamp may be ahead of the one before.
    """

    def __init__(self, step: float, zero: float | None = None, leap: float = math.inf) -> None:
        self._step = step
        self._zero = zero
        self._leap = leap
        self._last: float | None = None
        self._restarted = False
        self._first = 0.0
        self._count = 0

    def time(self, stamp: float | None, waited: float = 0.0) -> float:
        """Return the time of the next frame in seconds.

        Parameters
        ----------
        stamp : its timestamp in seconds; None where it has none.
        waited : seconds that passed between the arrival of the frame before and of this one, where frames
            arrive as they are filmed.
        """
        last = self._last
        if stamp is None or self._zero is None or self._restarted:
            time = 0.0 if last is None else last + max(self._step, waited if self._restarted else 0.0)
            self._zero = self._zero if stamp is None else stamp - time
        else:
            time = self._checked(stamp, last, waited)
        self._last = time
        self._restarted = self._restarted and stamp is None
        return time

    def about(self, stamp: float | None) -> float:
        """Return the time of a frame that was lost, which may come out of order, and forget it."""
        if stamp is None or self._zero is None or self._restarted:
            return 0.0 if self._last is None else self._last + self._step
        return max(stamp - self._zero, 0.0)

    def restart(self) -> None:
        """Take the next timestamp as that of another clock (after a reconnect)."""
        self._restarted = True

    def notes(self) -> list[str]:
        """Return what was wrong with the timestamps, at most one line."""
        if not self._count:
            return []
        jumps = "once" if self._count == 1 else f"{self._count} times, first"
        return [f"wrong clock: timestamps jump {jumps} at {self._first:.1f} s; times go on from there"]

    def _checked(self, stamp: float, last: float | None, waited: float) -> float:
        assert self._zero is not None
        time = stamp - self._zero
        if last is None:
            return max(time, 0.0)
        if last < time <= last + self._leap + waited:
            return time
        if abs(time - last) < self._step / 2:  # rounded to the same moment
            return last + self._step / 100
        time = last + max(self._step, min(waited, self._leap))
        self._first = self._first if self._count else time
        self._count += 1
        self._zero = stamp - time
        return time
