"""What a camera sees when nothing moves, and what stands out against it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from anomalist.types import BoolArray, FloatArray, UInt8Array

_MOST_FRAMES = 120  # for the median; more change nothing
_LEAST_CONTRAST = 12.0  # grey levels
_NOISE_FACTOR = 5.0
_HALF_LIFE = 30.0  # seconds in which half of a lasting change is taken up
_FASTEST = 8.0  # grey levels a second, so that what stops for a moment isn't swallowed


@dataclass(frozen=True, eq=False)
class Background:
    """A picture without anything that moves.

    Parameters
    ----------
    grey : float32 (H, W), grey levels.
    noise : float32 (H, W), how far a still pixel strays from it: 1.48 × the median deviation, grey levels.
    """

    grey: FloatArray
    noise: FloatArray

    def __post_init__(self) -> None:
        if self.grey.ndim != 2 or self.grey.shape != self.noise.shape:
            raise TypeError(f"grey {self.grey.shape} and noise {self.noise.shape} must be one (H, W)")

    @property
    def limit(self) -> FloatArray:
        """float32 (H, W), the difference in grey levels above which a pixel stands out."""
        out: FloatArray = np.maximum(_NOISE_FACTOR * self.noise, np.float32(_LEAST_CONTRAST))
        return out


def median_background(greys: Iterable[UInt8Array]) -> Background:
    """The median over pictures spread in time, and how far still pixels stray from it.

    Parameters
    ----------
    greys : uint8 (H, W) each, at least one; the first 120 are used.

    Raises
    ------
    ValueError : no picture, or sizes that differ.
    """
    stack = np.stack([grey for grey, _ in zip(greys, range(_MOST_FRAMES), strict=False)])
    middle = np.median(stack, axis=0).astype(np.float32)
    # What passes by is no noise: of the deviations only the smaller half counts.
    noise = 1.48 * np.median(np.abs(stack - middle), axis=0)
    return Background(middle, noise.astype(np.float32))


class Adapting:
    """A background that follows the light of the day, and lasting changes slowly."""

    def __init__(self, start: Background) -> None:
        self._limit = start.limit
        self._grey = start.grey.copy()
        self._time: float | None = None

    @property
    def grey(self) -> FloatArray:
        """float32 (H, W), what is expected now where nothing moves."""
        return self._grey

    def difference(self, grey: UInt8Array, time: float, *, learn: bool = True) -> FloatArray:
        """How much every pixel stands out, in units of what counts as standing out; then adapt.

        Light that gets brighter or darker as a whole is no difference: the gain is measured and taken out.

        Parameters
        ----------
        grey : uint8 (H, W).
        time : seconds, not before the last call.
        learn : whether this may be the scene at all; a covered camera must not become its background.

        Returns
        -------
        float32 (H, W), ≥ 0; 1 is the limit.
        """
        lit = np.minimum(self._grey * self._gain(grey), np.float32(255))  # white doesn't get any brighter
        gap = grey - lit
        elapsed = 0.0 if self._time is None else max(time - self._time, 0.0)
        self._time = time
        share = 1 - 0.5 ** (elapsed / _HALF_LIFE)
        pace = _FASTEST * elapsed
        if learn:
            self._grey += np.clip(share * gap, -pace, pace).astype(np.float32)
        out: FloatArray = (np.abs(gap) / self._limit).astype(np.float32)
        return out

    def _gain(self, grey: UInt8Array) -> np.float32:
        """The factor that most of the picture has become brighter by."""
        sample = np.s_[::4, ::4]
        ratio = (grey[sample] + 1.0) / (self._grey[sample] + 1.0)
        return np.float32(np.median(ratio))


def standing_out(difference: FloatArray, speed: FloatArray, slowest: float) -> BoolArray:
    """The pixels of whatever moves or is new: clearly different, or a little different and moving.

    Parameters
    ----------
    difference : float32 (H, W), from ``Adapting.difference``.
    speed : float32 (H, W), pixels a second.
    slowest : pixels a second that count as moving.

    Returns
    -------
    bool (H, W), without specks, small gaps closed.
    """
    import cv2

    found = (difference > 1) | ((speed > slowest) & (difference > 0.5))
    two = np.ones((2, 2), np.uint8)
    # Not MORPH_OPEN: with even sizes it shifts everything by a pixel.
    clean = cv2.dilate(cv2.erode(found.astype(np.uint8), two), two, anchor=(0, 0))
    closed = cv2.morphologyEx(clean, cv2.MORPH_CLOSE, np.ones((5, 3), np.uint8))
    mask: BoolArray = closed > 0
    return mask
