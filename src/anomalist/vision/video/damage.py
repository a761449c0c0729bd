"""What of a video could not be read, and how that is said."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

MOST_FRAMES = 100_000
MOST_NOTES = 5


class Damage:
    """Frames that were lost, gathered over all passes over one source, in bounded memory."""

    def __init__(self) -> None:
        self.end: float | None = None
        """Where the last frame ends in seconds, once that was met."""
        self._lost: dict[int, float] = {}
        self._more = 0
        self._early = ""

    def lost(self, index: int, time: float) -> None:
        """Add the frame with this number, at ``time`` seconds."""
        if len(self._lost) < MOST_FRAMES:
            self._lost.setdefault(index, time)
        elif index not in self._lost:
            self._more += 1

    def lost_between(self, sound: int | None, index: int, times: npt.NDArray[np.float64]) -> None:
        """Add the frames between two sound ones; some never come out of a decoder, not even as refused.

        Parameters
        ----------
        sound, index : numbers of the two; None where the pass began damaged.
        times : of all frames of the source, in seconds.
        """
        if sound is not None:
            for missing in range(sound + 1, index):
                self.lost(missing, float(times[missing]))

    def ended(self, time: float, expected: float | None, tolerance: float) -> None:
        """Compare where the last frame ends with the announced duration; all in seconds."""
        self.end = time
        if expected is not None and expected - time > tolerance:
            self._early = f"cut short: ends at {_down(time)} s of {expected:.1f} s"

    def notes(self) -> list[str]:
        """Return one line for each run of lost frames (the first few), and one for an early end."""
        runs: list[list[int]] = []
        for index in sorted(self._lost):
            if runs and index == runs[-1][-1] + 1:
                runs[-1].append(index)
            else:
                runs.append([index])
        notes = [
            f"damaged: {len(run)} frame{'s' * (len(run) > 1)} from {_down(self._lost[run[0]])} s "
            "could not be decoded"
            for run in runs[:MOST_NOTES]
        ]
        others = sum(map(len, runs[MOST_NOTES:])) + self._more
        if others:
            notes.append(f"damaged: {others} more frames in other places could not be decoded")
        return notes + [self._early] * bool(self._early)


def _down(seconds: float) -> str:
    return f"{math.floor(seconds * 10 + 1e-6) / 10:.1f}"
