"""Temporal smoothing of scores, and temporal segments above a threshold with hysteresis.

Smoothing is causal (an exponential average, for live use) or offline (a Gaussian over past and future). The
same segmenter serves clips and streams.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anomalist.types.clip import Mode
from anomalist.types.common import FloatArray

CAUSAL_TIME_CONSTANT = 0.3
"""Time constant of the causal average in seconds; it lags by about as much."""
OFFLINE_SIGMA = 0.4
"""Sigma of the offline Gaussian in seconds."""
_TRUNCATE = 3.0  # sigmas


class CausalAverage:
    """An exponential average over time, Σ s·exp(−Δt/τ) / Σ exp(−Δt/τ), from past values only.

    A value that is NaN gives NaN and is left out.
    """

    def __init__(self) -> None:
        self._total = self._weight = 0.0
        self._time: float | None = None

    def reset(self) -> None:
        """Forget the values so far, after a cut."""
        self._total = self._weight = 0.0

    def push(self, time: float, value: float) -> float:
        """The average at ``time`` (seconds, not before the last)."""
        fade = 0.0 if self._time is None else float(np.exp((self._time - time) / CAUSAL_TIME_CONSTANT))
        self._time = time
        self._total, self._weight = self._total * fade, self._weight * fade
        if not np.isfinite(value):
            return float("nan")
        self._total, self._weight = self._total + value, self._weight + 1
        return self._total / self._weight


def covered_seconds(times: npt.ArrayLike, cuts: npt.ArrayLike) -> float:
    """Seconds that the frames of a clip cover: from the first to the last, less what is missing before cuts.

    Parameters
    ----------
    times : float (n,), seconds, rising.
    cuts : bool (n,), True where the frame before belongs to another take.
    """
    known = np.asarray(times, np.float64)
    if not len(known):
        return 0.0
    missing = np.diff(known)[np.asarray(cuts, np.bool_)[1:]]
    return float(known[-1] - known[0] - missing.sum())


def smooth_scores(
    times: npt.NDArray[np.floating], values: FloatArray, mode: Mode, cuts: npt.NDArray[np.bool_] | None = None
) -> FloatArray:
    """Smooth the scores of a clip.

    Parameters
    ----------
    times : float (n,), seconds, rising.
    values : float32 (n,); NaN where a frame was not judged, which stays NaN.
    mode : "causal" for ``CausalAverage``, "offline" for a Gaussian over past and future.
    cuts : bool (n,), True where the frame before belongs to another take.

    Returns
    -------
    float32 (n,).
    """
    starts = np.zeros(len(times), np.bool_) if cuts is None else cuts
    if mode == "causal":
        average = CausalAverage()
        out = np.empty(len(times), np.float32)
        for i, (time, value) in enumerate(zip(times.tolist(), values.tolist(), strict=True)):
            if starts[i]:
                average.reset()
            out[i] = average.push(time, value)
        return out
    pieces = np.split(np.arange(len(times)), np.flatnonzero(starts))
    return np.concatenate([_gaussian_average(times[p], values[p]) for p in pieces] or [values])


def _gaussian_average(times: npt.NDArray[np.floating], values: FloatArray) -> FloatArray:
    """Gaussian-weighted average around each time, by seconds, not by frames."""
    out = np.full(len(times), np.nan, np.float32)
    known = np.isfinite(values)
    low = np.searchsorted(times, times - _TRUNCATE * OFFLINE_SIGMA)
    high = np.searchsorted(times, times + _TRUNCATE * OFFLINE_SIGMA, side="right")
    for i in np.flatnonzero(known):
        near = np.arange(low[i], high[i])[known[low[i] : high[i]]]
        weight = np.exp(-0.5 * ((times[near] - times[i]) / OFFLINE_SIGMA) ** 2)
        out[i] = (weight * values[near]).sum() / weight.sum()
    return out


HYSTERESIS_RATIO = 0.4
"""Lower threshold, as a share of the upper one: between a half and a third (Canny 1986)."""
MAX_GAP = 1.5
"""Seconds below the lower threshold that a segment bridges."""
MIN_DURATION = 0.3
"""Seconds; what is shorter is a flicker."""


@dataclass(frozen=True)
class TemporalSegment:
    """A segment above the lower threshold: start, end and time of the peak in seconds, and the peak score.

    ``closed`` is False while it may still go on.
    """

    start: float
    end: float
    peak: float
    score: float
    closed: bool = False


class HysteresisSegmenter:
    """Detects temporal segments in a score, one value at a time, by two thresholds (hysteresis).

    A segment counts once it exceeds ``threshold``. It starts where the score rose above ``HYSTERESIS_RATIO``
    of it without a gap, so that the onset belongs to it.
    """

    def __init__(self, threshold: float) -> None:
        self._high = threshold
        self._low = HYSTERESIS_RATIO * threshold
        self._open: TemporalSegment | None = None

    @property
    def since(self) -> float | None:
        """Start of the segment that is open or may become one; None when there is none."""
        return None if self._open is None else self._open.start

    @property
    def open(self) -> TemporalSegment | None:
        """The segment that counts and is not over yet; None when there is none."""
        found = self._open
        return found if found is not None and found.score > self._high and self._long(found) else None

    def push(self, time: float, score: float) -> TemporalSegment | None:
        """Take the next score (NaN, not judged, counts as low); returns a segment when it is over."""
        over = self._over(time)
        if score > self._low:
            if self._open is None:
                self._open = TemporalSegment(time, time, time, score)
            else:
                better = score > self._open.score
                peak, top = (time, score) if better else (self._open.peak, self._open.score)
                self._open = TemporalSegment(self._open.start, time, peak, top)
        return over

    def finish(self) -> TemporalSegment | None:
        """End the input; returns the segment that was still open, if it counts."""
        return self._close()

    def _over(self, time: float) -> TemporalSegment | None:
        if self._open is not None and time - self._open.end > MAX_GAP:
            return self._close()
        return None

    def _close(self) -> TemporalSegment | None:
        found, self._open = self.open, None
        if found is None:
            return None
        return TemporalSegment(found.start, found.end, found.peak, found.score, closed=True)

    def _long(self, segment: TemporalSegment) -> bool:
        return segment.end - segment.start >= MIN_DURATION


def temporal_segments(
    times: Sequence[float], scores: Sequence[float], threshold: float, cuts: Sequence[bool] = ()
) -> list[TemporalSegment]:
    """All segments of a clip, in order; each ends at a cut (True where a new take starts)."""
    segmenter = HysteresisSegmenter(threshold)
    found: list[TemporalSegment | None] = []
    for index, (time, score) in enumerate(zip(times, scores, strict=True)):
        if index < len(cuts) and cuts[index]:
            found.append(segmenter.finish())
        found.append(segmenter.push(time, score))
    return [segment for segment in (*found, segmenter.finish()) if segment is not None]
