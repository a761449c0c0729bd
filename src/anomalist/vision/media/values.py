"""Deep pictures (16 and 32 bit, float): their values, and the scale by which these become black and white.

A profile learns one scale from all its normal pictures, so that a value means the same in each of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from anomalist.types.common import Frozen, UInt8Array

BIT_DEPTHS = (8, 10, 12, 14, 16)
"""Bit depths that grey values of more than 8 bit are scaled by, where no scale was learned."""

TAIL_SHARE = 0.001
"""Share of a picture's values at either end that don't count for the scale: hot and dead pixels."""
ODD_SHARE = 0.05
"""Share of the pictures, those with the most extreme values, that don't count for the scale."""
MARGIN = 0.25
"""Margin of the scale at either end, as a share of the range of the normals: a bright defect stays apart."""
CLIPPED_SHARE = 0.001
"""Share of the values outside the scale from which a note says so."""

IMPULSE_SHARE = 0.2
"""Share of the scale by which a single pixel must lie beyond all its neighbours to be a hot or dead one."""

Values = npt.NDArray[Any]


class ValueScale(Frozen):
    """The values that become 0 and 255."""

    start: float = Field(allow_inf_nan=False)
    stop: float = Field(allow_inf_nan=False)

    def to_bytes(self, values: Values) -> UInt8Array:
        """Scale values of any shape and type to uint8; those outside become 0 and 255."""
        scaled = values.astype(np.float32)  # one copy, altered in place: strips are large
        scaled -= np.float32(self.start)
        scaled *= np.float32(255 / (self.stop - self.start))
        np.rint(scaled, out=scaled)
        return np.clip(scaled, 0, 255, out=scaled).astype(np.uint8)

    def share_outside(self, values: Values) -> float:
        """Share of the values that are clipped."""
        return float(((values < self.start) | (values > self.stop)).mean())


def replace_impulses(values: Values, scale: ValueScale) -> tuple[Values, int]:
    """Replace single hot and dead pixels by the nearest value around them; returns how many there were.

    Such a pixel lies beyond all its eight neighbours by more than `IMPULSE_SHARE` of the scale: optics spread
    what is really there over more than one.

    Parameters
    ----------
    values : (H, W) or (H, W, 3).
    scale : of the values.
    """
    import cv2

    if min(values.shape[:2]) < 2:
        return values, 0
    work = values if values.dtype in (np.uint16, np.float32) else values.astype(np.float32)
    around = np.ones((3, 3), np.uint8)
    around[1, 1] = 0
    least = IMPULSE_SHARE * (scale.stop - scale.start)
    found = 0
    replaced = work
    for nearest, sign in ((cv2.dilate(work, around), 1.0), (cv2.erode(work, around), -1.0)):
        beyond = sign * (work.astype(np.float32) - nearest.astype(np.float32)) > least
        found += int((beyond.any(axis=2) if beyond.ndim == 3 else beyond).sum())
        if beyond.any():
            replaced = np.where(beyond, nearest, replaced)
    return replaced, found


def robust_range(values: Values) -> tuple[float, float]:
    """Lowest and highest value, without `TAIL_SHARE` at either end."""
    low, high = np.quantile(values, [TAIL_SHARE, 1 - TAIL_SHARE])
    return float(low), float(high)


def fit_scale(ranges: Sequence[tuple[float, float]]) -> ValueScale | None:
    """Fit one scale to the `robust_range` of n pictures; None for none.

    It holds all but `ODD_SHARE` of them at either end, with a `MARGIN`. It begins at 0 or above where no
    value is negative.
    """
    if not ranges:
        return None
    lows, highs = np.array(ranges).T
    low, high = float(np.quantile(lows, ODD_SHARE)), float(np.quantile(highs, 1 - ODD_SHARE))
    span = high - low
    if span <= 0:
        span = max(abs(high), 1.0)
    start = low - MARGIN * span
    return ValueScale(start=max(0.0, start) if low >= 0 else start, stop=high + MARGIN * span)


def scale_of_picture(values: Values) -> ValueScale:
    """The scale of one picture by itself, as its bit depth or range suggests; see `images.load_image`."""
    low, high = float(values.min()), float(values.max())
    if low < 0 or high >= 1 << BIT_DEPTHS[-1]:
        return ValueScale(start=low, stop=high if high > low else low + 1)
    if values.dtype.kind == "f" and high <= 1:
        return ValueScale(start=0.0, stop=1.0)
    return ValueScale(start=0.0, stop=next((1 << bits) - 1.0 for bits in BIT_DEPTHS if high < 1 << bits))


def deep_colour_values(data: bytes, frame: int, orientation: int) -> Values | None:
    """Decode 16-bit colour, of which Pillow keeps the high bytes only; None where OpenCV can't read it.

    Parameters
    ----------
    data : of the file.
    frame : number of the TIFF directory, from 0.
    orientation : of the EXIF data, by which the values are turned. OpenCV does so itself for the orientation
        tag of a TIFF, and for nothing else.

    Returns
    -------
    uint16 (H, W, 3), RGB; opacity is left out.
    """
    import cv2

    encoded = np.frombuffer(data, np.uint8)
    if frame == 0:
        values = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
    else:
        _, pages = cv2.imdecodemulti(encoded, cv2.IMREAD_UNCHANGED, range=(frame, frame + 1))
        values = pages[0] if pages else None
    if values is None or values.dtype != np.uint16 or values.ndim != 3 or values.shape[2] < 3:
        return None
    return np.ascontiguousarray(_turned(values[..., 2::-1], orientation))


def _turned(values: Values, orientation: int) -> Values:
    """Turn and mirror values (H, W, …) as an EXIF orientation says."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values
