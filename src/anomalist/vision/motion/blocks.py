"""A threshold per camera: from the maxima of non-overlapping blocks of held-out normal footage.

Frames follow from one another, so they can't be counted as independent; blocks of some seconds nearly can.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anomalist.clips import EventCalibration
from anomalist.errors import CalibrationError
from anomalist.types import FloatArray

DEFAULT_PER_HOUR = 1.0
_SHORTEST, _LONGEST = 5.0, 60.0  # seconds
_WANTED = 200  # blocks


def block_seconds(footage: float) -> float:
    """How long the blocks of so many seconds of footage are: long enough, and still many."""
    return float(np.clip(footage / _WANTED, _SHORTEST, _LONGEST))


def split(times: npt.NDArray[np.floating], seconds: float) -> list[npt.NDArray[np.intp]]:
    """Indices of the frames of each block of one clip; a rest of less than half a block joins the last."""
    if not len(times):
        return []
    number = ((times - times[0]) / seconds).astype(int)
    if number[-1] > 0 and times[-1] - times[0] - number[-1] * seconds < seconds / 2:
        number = np.minimum(number, number[-1] - 1)
    return [np.flatnonzero(number == n) for n in range(number[-1] + 1)]


@dataclass(frozen=True, eq=False)
class BlockMaxima:
    """Maxima of the smoothed scores of held-out normal footage.

    Parameters
    ----------
    maxima : float32 (n,), n ≥ 1.
    seconds : length of a block.
    footage : seconds that the blocks cover together.
    """

    maxima: FloatArray
    seconds: float
    footage: float

    @property
    def supported(self) -> float:
        """False events per hour that so many blocks can promise at least: 1/(n + 1) a block."""
        return 3600 / (self.seconds * (len(self.maxima) + 1))

    def per_hour(self, score: float) -> float | None:
        """How often an hour of normal footage gets this high; None where no block did."""
        above = int((self.maxima >= score).sum())
        return (1 + above) / (len(self.maxima) + 1) * 3600 / self.seconds if above else None

    def threshold(self, asked: float | None = None) -> tuple[float, EventCalibration]:
        """The score above which at most the asked number of false events an hour is expected.

        Parameters
        ----------
        asked : false events per hour; None takes 1, or what is supported where that is more.

        Raises
        ------
        CalibrationError : asked for fewer than the footage supports.
        """
        wanted = DEFAULT_PER_HOUR if asked is None else asked
        if not wanted > 0:
            raise CalibrationError(
                f"{wanted:g} false events per hour can't be promised.", "Ask for more than 0."
            )
        if asked is not None and asked < self.supported:
            hours = 1 / asked
            raise CalibrationError(
                f"{self.footage / 60:.1f} minutes of normal footage support no fewer than "
                f"{self.supported:.3g} false events per hour, {asked:g} were asked for.",
                f"Learn from {hours:.3g} hours, or ask for {np.ceil(self.supported):g}.",
            )
        promised = max(wanted, self.supported)
        ordered = np.sort(self.maxima)[::-1]
        allowed = int(promised * self.seconds / 3600 * (len(ordered) + 1)) - 1  # maxima that may be above
        threshold = float(np.nextafter(ordered[min(max(allowed, 0), len(ordered) - 1)], np.float32(np.inf)))
        return threshold, EventCalibration(
            blocks=len(ordered),
            block_seconds=self.seconds,
            footage_seconds=self.footage,
            asked_per_hour=wanted,
            promised_per_hour=promised,
            supported=wanted >= self.supported,
        )
