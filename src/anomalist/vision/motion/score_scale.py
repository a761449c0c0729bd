"""Score normalisation and event thresholds from held-out normal footage, by block maxima.

A normalised score of 0 is the median of normal footage, 1 a quantile far in the tail of the block maxima
(peaks over threshold with an exponential tail; Coles 2001, chapter 4). The threshold bounds the expected
false events per hour. Successive frames are not independent; the maxima of blocks of some seconds nearly are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anomalist.errors import CalibrationError
from anomalist.types.clip import EventCalibration, MeasureName
from anomalist.types.common import FloatArray, Frozen
from anomalist.vision.motion.measures import MEASURES

DEFAULT_FALSE_EVENTS_PER_HOUR = 1.0
"""False events that are expected in an hour of normal footage, where none are asked for."""
_MIN_BLOCK_SECONDS, _MAX_BLOCK_SECONDS = 5.0, 60.0
_TARGET_BLOCKS = 200


def block_length(footage: float) -> float:
    """Length of a block in seconds, for so many seconds of footage: about 200 blocks, 5 to 60 s each."""
    return float(np.clip(footage / _TARGET_BLOCKS, _MIN_BLOCK_SECONDS, _MAX_BLOCK_SECONDS))


def split_blocks(times: npt.NDArray[np.floating], seconds: float) -> list[npt.NDArray[np.intp]]:
    """Indices of the frames of each block of one clip; less than half a block at the end joins the last."""
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
        """Lowest rate of false events per hour that n blocks support: 1/(n + 1) a block."""
        return 3600 / (self.seconds * (len(self.maxima) + 1))

    def per_hour(self, score: float) -> float | None:
        """Expected false events per hour at this score; None where no block reached it."""
        above = int((self.maxima >= score).sum())
        return (1 + above) / (len(self.maxima) + 1) * 3600 / self.seconds if above else None

    def threshold(
        self, asked: float | None = None, *, nearest: bool = False
    ) -> tuple[float, EventCalibration]:
        """Score above which at most the asked number of false events per hour is expected.

        Parameters
        ----------
        asked : false events per hour; None takes 1, or the lowest that is supported.
        nearest : take the lowest that is supported also where fewer were asked for.

        Raises
        ------
        CalibrationError : asked for fewer than the footage supports, and not for the nearest.
        """
        wanted = DEFAULT_FALSE_EVENTS_PER_HOUR if asked is None else asked
        if not wanted > 0:
            raise CalibrationError(
                f"{wanted:g} false events per hour can't be promised.", "Ask for more than 0."
            )
        if asked is not None and asked < self.supported and not nearest:
            hours = 1 / asked
            raise CalibrationError(
                f"{self.footage / 60:.1f} minutes of normal footage support no fewer than "
                f"{self.supported:.3g} false events per hour, {asked:g} were asked for.",
                f"Learn from {hours:.3g} hours, or ask for {np.ceil(self.supported):g}.",
            )
        promised = max(wanted, self.supported)
        ordered = np.sort(self.maxima)[::-1]
        allowed = int(promised * self.seconds / 3600 * (len(ordered) + 1)) - 1  # maxima allowed above it
        threshold = float(np.nextafter(ordered[min(max(allowed, 0), len(ordered) - 1)], np.float32(np.inf)))
        return threshold, EventCalibration(
            blocks=len(ordered),
            block_seconds=self.seconds,
            footage_seconds=self.footage,
            asked_per_hour=wanted,
            promised_per_hour=promised,
            supported=wanted >= self.supported,
        )


_SUBTHRESHOLD_SLOPE = 6.0  # of every measure but speed below a normalised score of 1, see `leading_measure`
_MIN_SCALE: Mapping[str, float] = {
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
"""Minimum scale, from the median to a normalised score of 1: very uniform footage must not inflate scores."""


class ScoreScale(Frozen):
    """Linear scale of a measure: ``middle``, its median over normal frames, maps to 0, ``high`` to 1."""

    middle: float
    high: float

    def normalise(self, value: float | FloatArray) -> FloatArray:
        """Normalised score of values, float32 of their shape."""
        out: FloatArray = ((np.asarray(value, np.float32) - self.middle) / (self.high - self.middle)).astype(
            np.float32
        )
        return out


ScoreScales = Mapping[MeasureName, ScoreScale]
"""Score scale of each measure."""


def fit_score_scales(
    frames: FloatArray, blocks: Sequence[npt.NDArray[np.intp]], seconds: float
) -> dict[MeasureName, ScoreScale]:
    """Fit the score scales to held-out normal footage.

    ``high`` is the quantile of the block maxima at each measure's equal share of the allowed false events. It
    lies beyond the observed maxima, so it is extrapolated by an exponential tail over their median (peaks
    over threshold with shape 0; Coles, "An Introduction to Statistical Modeling of Extreme Values", 2001,
    chapter 4): a measure with a long tail in normal footage must not score higher than one without.

    Parameters
    ----------
    frames : float32 (n, 9), the ``MEASURES`` of each frame; frames that were not judged are NaN.
    blocks : indices of the frames of each block, at least one block with a judged frame.
    seconds : length of a block.
    """
    scales: dict[MeasureName, ScoreScale] = {}
    for column, name in enumerate(MEASURES):
        values = frames[:, column]
        tops = np.array([np.nanmax(values[b]) for b in blocks if np.isfinite(values[b]).any()])
        middle = float(np.nanmedian(values))
        scales[name] = ScoreScale(
            middle=middle, high=max(_tail_quantile(tops, seconds), middle + _MIN_SCALE[name])
        )
    return scales


def _tail_quantile(tops: npt.NDArray[np.floating], seconds: float) -> float:
    """Level that a block maximum exceeds with the probability of one measure's share of false events."""
    allowed = max(DEFAULT_FALSE_EVENTS_PER_HOUR * seconds / 3600, 1 / (len(tops) + 1)) / len(MEASURES)
    start = float(np.median(tops))
    excess = float((tops - start)[tops >= start].mean())
    return max(start + excess * float(np.log(0.5 / allowed)), start)


def leading_score(name: MeasureName, value: float, scale: ScoreScale) -> float:
    """Score by which a measure leads, see `leading_measure`: its normalised score, or less below 1."""
    score = float(scale.normalise(value))
    return score if name == "speed" or score >= 1 else 1 - _SUBTHRESHOLD_SLOPE * (1 - score)


def leading_score_inverse(name: MeasureName, score: float) -> float:
    """Normalised score at which a measure leads by ``score``."""
    return score if name == "speed" or score >= 1 else 1 - (1 - score) / _SUBTHRESHOLD_SLOPE


def leading_measure(values: FloatArray, scales: ScoreScales) -> tuple[FloatArray, npt.NDArray[np.intp]]:
    """The highest normalised score among the measures of each frame, and which measure it is.

    Speed counts at every value. The others are noise below a normalised score of 1: there they fall off
    steeply (``_SUBTHRESHOLD_SLOPE``), so that they lead only above it.

    Parameters
    ----------
    values : float32 (n, 9), the ``MEASURES`` of each frame; NaN where not judged.

    Returns
    -------
    float32 (n,), NaN where not judged, and int (n,), index into ``MEASURES``.
    """
    each = np.stack([scales[name].normalise(values[:, i]) for i, name in enumerate(MEASURES)], axis=1)
    each[:, 1:] = np.where(each[:, 1:] < 1, 1 - _SUBTHRESHOLD_SLOPE * (1 - each[:, 1:]), each[:, 1:])
    judged = np.isfinite(each).all(axis=1)
    which = np.where(judged, np.nan_to_num(each, nan=-np.inf).argmax(axis=1), 0)
    best = np.where(judged, np.take_along_axis(each, which[:, None], 1)[:, 0], np.nan)
    return best.astype(np.float32), which
