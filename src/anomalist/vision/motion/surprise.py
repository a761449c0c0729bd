"""Measures of different kinds on one scale: 0 is the middle of normal footage, 1 is hardly ever reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from anomalist.clips import MeasureName
from anomalist.types import FloatArray, Frozen
from anomalist.vision.motion.blocks import DEFAULT_PER_HOUR
from anomalist.vision.motion.measures import MEASURES

_STEEP = 6.0
_LEAST_STEP: Mapping[str, float] = {
    "speed": 0.1,  # of the limit
    "size": 0.1,
    "direction": 0.3,  # powers of ten
    "place": 0.3,
    "dwell": 5.0,  # seconds
    "appearance": 0.05,  # cosine
    "crowding": 0.02,  # of the picture
    "stillness": 0.3,
    "dispersal": 0.1,
}
"""Least distance from the middle to 1, so that footage that is too even makes nobody jump."""


class Norm(Frozen):
    """What a measure is in normal footage: its median over frames, and what it hardly ever exceeds."""

    middle: float
    high: float

    def surprise(self, value: float | FloatArray) -> FloatArray:
        """The value on the common scale."""
        out: FloatArray = ((np.asarray(value, np.float32) - self.middle) / (self.high - self.middle)).astype(
            np.float32
        )
        return out


Norms = Mapping[MeasureName, Norm]


def norms_of(
    frames: FloatArray, blocks: Sequence[npt.NDArray[np.intp]], seconds: float
) -> dict[MeasureName, Norm]:
    """Norms from held-out normal footage.

    Every measure gets an equal share of the false events that are allowed, so what its blocks hardly ever
    exceed lies beyond all that was seen. It is extrapolated by an exponential tail over the median of the
    blocks' maxima (peaks over threshold with shape 0; Coles, "An Introduction to Statistical Modeling of
    Extreme Values", 2001, chapter 4): a measure with a long tail in normal footage must not be louder than
    one without.

    Parameters
    ----------
    frames : float32 (n, 9), the ``MEASURES`` of each frame; frames that were not judged are NaN.
    blocks : indices of the frames of each block, at least one block with a judged frame.
    seconds : length of a block.
    """
    norms: dict[MeasureName, Norm] = {}
    for column, name in enumerate(MEASURES):
        values = frames[:, column]
        tops = np.array([np.nanmax(values[b]) for b in blocks if np.isfinite(values[b]).any()])
        middle = float(np.nanmedian(values))
        norms[name] = Norm(middle=middle, high=max(_hardly_ever(tops, seconds), middle + _LEAST_STEP[name]))
    return norms


def _hardly_ever(tops: npt.NDArray[np.floating], seconds: float) -> float:
    """What a block's maximum exceeds with one measure's share of the false events that are allowed."""
    allowed = max(DEFAULT_PER_HOUR * seconds / 3600, 1 / (len(tops) + 1)) / len(MEASURES)
    start = float(np.median(tops))
    excess = float((tops - start)[tops >= start].mean())
    return max(start + excess * float(np.log(0.5 / allowed)), start)


def leading(values: FloatArray, norms: Norms) -> tuple[FloatArray, npt.NDArray[np.intp]]:
    """The highest surprise among the measures of each frame, and which it is.

    Speed counts at every value. The others are rarities, noise below what normal footage reaches: they fall
    off steeply there (``_STEEP``), so that they speak up only when they have something to say.

    Parameters
    ----------
    values : float32 (n, 9), the ``MEASURES`` of each frame; NaN where not judged.

    Returns
    -------
    float32 (n,), NaN where not judged, and int (n,), index into ``MEASURES``.
    """
    each = np.stack([norms[name].surprise(values[:, i]) for i, name in enumerate(MEASURES)], axis=1)
    each[:, 1:] = np.where(each[:, 1:] < 1, 1 - _STEEP * (1 - each[:, 1:]), each[:, 1:])
    judged = np.isfinite(each).all(axis=1)
    which = np.where(judged, np.nan_to_num(each, nan=-np.inf).argmax(axis=1), 0)
    best = np.where(judged, np.take_along_axis(each, which[:, None], 1)[:, 0], np.nan)
    return best.astype(np.float32), which
