"""From one score a caption to one a moment: a caption alone is a slip, its neighbours in time are not.

Two modes with two sets of numbers: *offline* uses the future of the clip, *causal* does not. Scores stay on
the scale of similarities and are never taken relative to the clip's own mean, so a clip that is anomalous
from its first frame to its last is so. Both widths were chosen on labelled captions of two cameras, on the
clips with odd numbers.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from anomalist.clips import Mode
from anomalist.types import FloatArray

SPREAD = 18.0
"""Captions: standard deviation of the window of the offline mode, about a second of video."""

MEMORY = 30.0
"""Captions: time constant of the causal mode."""

_REACH = 4  # standard deviations; further away nothing counts

Floats = npt.NDArray[np.float64]


def over_time(
    scores: FloatArray, mode: Mode, *, spread: float = SPREAD, memory: float = MEMORY
) -> FloatArray:
    """Scores of the captions of one clip, smoothed; float32 (n,).

    Parameters
    ----------
    scores : float32 (n,) in the order of time; NaN where a caption says nothing: its neighbours speak for it.
    mode : "causal" uses what came before, "offline" all of the clip.
    spread, memory : widths in captions.

    Returns
    -------
    A score for each caption. Where nothing was said so far (causal), or at all (offline), it is NaN.
    """
    known = np.isfinite(scores)
    values = np.where(known, scores, 0).astype(np.float64)
    weights = known.astype(np.float64)
    total, count = (
        (_decayed(values, memory), _decayed(weights, memory))
        if mode == "causal"
        else (_spread(values, spread), _spread(weights, spread))
    )
    out = np.full(len(scores), np.nan)
    np.divide(total, count, out=out, where=count > 1e-12)
    return out.astype(np.float32)


def _decayed(values: Floats, memory: float) -> Floats:
    from scipy.signal import lfilter

    out: Floats = lfilter([1.0], [1.0, -np.exp(-1 / memory)], values)
    return out


def _spread(values: Floats, spread: float) -> Floats:
    reach = int(_REACH * spread)
    window = np.exp(-0.5 * (np.arange(-reach, reach + 1) / spread) ** 2)
    full = np.convolve(values, window) if len(values) else np.zeros(2 * reach)
    return full[reach : reach + len(values)]
