"""Integral images of what moves: sums over any window are four look-ups then (Crow 1984)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anomalist.types import BoolArray, FloatArray

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums over everything above and to the left of each corner of a pixel.

    Parameters
    ----------
    weight : float64 (H + 1, W + 1), pixels that stand out.
    right, down : likewise, their velocities.
    """

    weight: Doubles
    right: Doubles
    down: Doubles

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the picture, pixels."""
        return self.weight.shape[0] - 1, self.weight.shape[1] - 1


def summed(mask: BoolArray, right: FloatArray, down: FloatArray) -> Sums:
    """Sum up ``mask``, bool (H, W), and the velocities inside it, float32 (H, W) each."""
    import cv2

    weight = mask.astype(np.float32)
    layers = (weight, cv2.multiply(right, weight), cv2.multiply(down, weight))
    return Sums(*(cv2.integral(layer, sdepth=cv2.CV_64F) for layer in layers))
