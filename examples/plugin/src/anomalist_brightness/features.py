"""A feature extractor: colour and gradient of each patch, no network."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from anomalist.types.common import FloatArray, UInt8Array

PATCH = 16
"""Side of a patch, pixels."""


class ColourGradients:
    """Mean and spread of colour, and mean gradient, of patches of 16×16 pixels."""

    def describe(self, pictures: Sequence[UInt8Array]) -> FloatArray:
        """Describe the patches of pictures of one size: float32 (B, H / 16, W / 16, 9), unit vectors."""
        return np.stack([_describe(picture) for picture in pictures])


def _describe(picture: UInt8Array) -> FloatArray:
    colour = np.asarray(picture / 255, np.float32)
    grey = cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY)
    along, down = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    gradients = np.abs(np.stack((along, down), axis=2)).astype(np.float32)
    mean, squares = _patch_means(colour), _patch_means(colour * colour)
    spread = np.sqrt(np.maximum(squares - mean * mean, 0))
    bias = np.ones((*mean.shape[:2], 1), np.float32)  # black patches have a direction, too
    found = np.concatenate((mean, spread, _patch_means(gradients), bias), axis=2)
    return np.asarray(found / np.linalg.norm(found, axis=2, keepdims=True), np.float32)


def _patch_means(channels: FloatArray) -> FloatArray:
    """Mean over patches: float32 (H, W, c) to (H / 16, W / 16, c)."""
    height, width = channels.shape[0] // PATCH, channels.shape[1] // PATCH
    return np.asarray(cv2.resize(channels, (width, height), interpolation=cv2.INTER_AREA))
