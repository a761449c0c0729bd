"""Scores in time: smoothed with the past alone, to be used live, or with past and future."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from anomalist.clips import Mode
from anomalist.types import FloatArray

MEMORY = 0.3  # seconds: time constant of the causal average, which lags by about as much
SIGMA = 0.4  # seconds, of the offline Gaussian
_REACH = 3.0  # sigmas


class Causal:
    """An exponential average over time, Σ s·exp(−Δt/τ) / Σ exp(−Δt/τ), that never looks ahead.

    A value that is NaN gives NaN and is not remembered.
    """

    def __init__(self) -> None:
        self._total = self._weight = 0.0
        self._time: float | None = None

    def forget(self) -> None:
        """Start again: after a cut nothing of the past belongs to what comes."""
        self._total = self._weight = 0.0

    def push(self, time: float, value: float) -> float:
        """The average at ``time`` (seconds, not before the last)."""
        fade = 0.0 if self._time is None else float(np.exp((self._time - time) / MEMORY))
        self._time = time
        self._total, self._weight = self._total * fade, self._weight * fade
        if not np.isfinite(value):
            return float("nan")
        self._total, self._weight = self._total + value, self._weight + 1
        return self._total / self._weight


def smoothed(
    times: npt.NDArray[np.floating], values: FloatArray, mode: Mode, cuts: npt.NDArray[np.bool_] | None = None
) -> FloatArray:
    """Smooth the scores of a clip.

    Parameters
    ----------
    times : float (n,), seconds, rising.
    values : float32 (n,); NaN where a frame was not judged, which stays NaN.
    mode : "causal" for ``Causal``, "offline" for a Gaussian over past and future.
    cuts : bool (n,), True where what came before doesn't belong to it.

    Returns
    -------
    float32 (n,).
    """
    starts = np.zeros(len(times), np.bool_) if cuts is None else cuts
    if mode == "causal":
        average = Causal()
        out = np.empty(len(times), np.float32)
        for i, (time, value) in enumerate(zip(times.tolist(), values.tolist(), strict=True)):
            if starts[i]:
                average.forget()
            out[i] = average.push(time, value)
        return out
    pieces = np.split(np.arange(len(times)), np.flatnonzero(starts))
    return np.concatenate([_gaussian(times[p], values[p]) for p in pieces] or [values])


def _gaussian(times: npt.NDArray[np.floating], values: FloatArray) -> FloatArray:
    """Average around each time with Gaussian weights, by the times and not by the number of the frame."""
    out = np.full(len(times), np.nan, np.float32)
    known = np.isfinite(values)
    low = np.searchsorted(times, times - _REACH * SIGMA)
    high = np.searchsorted(times, times + _REACH * SIGMA, side="right")
    for i in np.flatnonzero(known):
        near = np.arange(low[i], high[i])[known[low[i] : high[i]]]
        weight = np.exp(-0.5 * ((times[near] - times[i]) / SIGMA) ** 2)
        out[i] = (weight * values[near]).sum() / weight.sum()
    return out
