"""The region of interest, what counts in a picture, at the sizes that it is needed in."""

from __future__ import annotations

import numpy as np

from anomalist.errors import MediaError
from anomalist.types import BoolArray


def fitted_roi(roi: BoolArray | None, size: tuple[int, int]) -> BoolArray | None:
    """Resize a region of interest to a picture's (height, width) in pixels, by nearest neighbour.

    Raises MediaError when nothing is left of it.
    """
    if roi is None or roi.shape == size:
        return roi
    resized = _nearest(roi, size)
    if not resized.any():
        height, width = size
        raise MediaError(
            f"Nothing of the region of interest is left at {width}×{height} pixels.", "Draw it larger."
        )
    return resized


def covering_roi(roi: BoolArray | None, shape: tuple[int, ...]) -> BoolArray | None:
    """Resize it to a grid (h, w); all of the grid counts where it is too coarse to leave anything."""
    if roi is None:
        return None
    resized = _nearest(roi, shape)
    return resized if resized.any() else np.ones(shape[:2], bool)


def _nearest(roi: BoolArray, shape: tuple[int, ...]) -> BoolArray:
    import cv2

    resized = cv2.resize(roi.astype(np.uint8), (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST)
    return np.asarray(resized > 0)
