"""Scores of normal footage that nothing was learned from: what the scale and the threshold rest on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anomalist.clips import MeasureName, Mode
from anomalist.errors import DataError
from anomalist.types import FloatArray
from anomalist.vision.motion.appearance import Strangeness
from anomalist.vision.motion.blocks import block_seconds, split
from anomalist.vision.motion.eye import Eye
from anomalist.vision.motion.measures import MEASURES, Limits
from anomalist.vision.motion.perspective import Perspective
from anomalist.vision.motion.scoring import Gauge
from anomalist.vision.motion.smoothing import smoothed
from anomalist.vision.motion.surprise import Norm, leading, norms_of
from anomalist.vision.motion.zones import Zone, counting
from anomalist.vision.video.frames import Frame

_MODES: tuple[Mode, ...] = ("causal", "offline")


@dataclass(frozen=True, eq=False)
class HeldOut:
    """The measures of one clip against footage that it is no part of.

    Parameters
    ----------
    times : float64 (n,), seconds.
    values : float32 (n, 9), the ``MEASURES``; NaN where a frame was not judged.
    cuts : bool (n,), where nothing of the past belongs to what follows.
    """

    times: npt.NDArray[np.float64]
    values: FloatArray
    cuts: npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Blocks:
    """Maxima of the blocks of all clips, by mode; float32 (n,) each."""

    maxima: dict[Mode, FloatArray]
    seconds: float
    footage: float


def held_out(
    frames: Iterable[Frame],
    eye: Eye,
    limits: Sequence[Limits],
    looks: Sequence[Strangeness],
    fold: Callable[[float], int],
    perspective: Perspective,
    zones: Sequence[Zone] = (),
) -> HeldOut:
    """Measure a clip; ``limits[fold(time)]`` and ``looks[…]`` are what was learned without that moment."""
    counts = counting(zones, limits[0].speed.shape)
    gauges = [Gauge(limit, perspective, look, counts) for limit, look in zip(limits, looks, strict=True)]
    times, values, cuts = [], [], []
    for glimpse in eye.looking(frames):
        times.append(glimpse.time)
        values.append(gauges[fold(glimpse.time)].measure(glimpse).values)
        cuts.append(glimpse.cut)
    return HeldOut(
        np.array(times, np.float64),
        np.array(values, np.float32).reshape(-1, len(MEASURES)),
        np.array(cuts, np.bool_),
    )


def calibrated(clips: Sequence[HeldOut]) -> tuple[dict[MeasureName, Norm], Blocks]:
    """The scale of the measures, and the maxima that thresholds come from.

    The scale is two numbers a measure, from the same footage as the maxima.

    Raises DataError when no block could be judged.
    """
    footage = sum(float(clip.times[-1]) for clip in clips if len(clip.times))
    seconds = block_seconds(footage)
    parts = [split(clip.times, seconds) for clip in clips]
    offsets = np.cumsum([0] + [len(clip.times) for clip in clips])
    everything = np.concatenate([clip.values for clip in clips])
    blocks = [offset + block for offset, part in zip(offsets[:-1], parts, strict=True) for block in part]
    if not np.isfinite(everything).all(axis=1).any():
        raise DataError("No frame of this footage could be judged.", "Look at it: is the camera covered?")
    norms = norms_of(everything, blocks, seconds)
    maxima = {mode: _maxima(clips, parts, norms, mode) for mode in _MODES}
    return norms, Blocks(maxima, seconds, footage)


def _maxima(
    clips: Sequence[HeldOut],
    parts: Sequence[list[npt.NDArray[np.intp]]],
    norms: dict[MeasureName, Norm],
    mode: Mode,
) -> FloatArray:
    found: list[float] = []
    for clip, blocks in zip(clips, parts, strict=True):
        score = smoothed(clip.times, leading(clip.values, norms)[0], mode, clip.cuts)
        found.extend(float(np.nanmax(score[b])) for b in blocks if np.isfinite(score[b]).any())
    return np.array(found, np.float32)
