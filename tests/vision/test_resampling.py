"""Cubic interpolation: that of OpenCV but for roundings."""

import cv2
import numpy as np
import pytest

from anomalist.vision.resampling import resize_cubic


@pytest.mark.parametrize("size", [(322, 366), (224, 200), (64, 96), (161, 300), (57, 91)])
def test_pictures_are_interpolated_as_by_opencv(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).normal(128, 160, (57, 91, 3)).clip(0, 255)
    picture = cv2.GaussianBlur(noise.astype(np.uint8), (0, 0), 1.0)
    expected = cv2.resize(picture, size[::-1], interpolation=cv2.INTER_CUBIC)
    found = resize_cubic(np.asarray(picture, np.uint8), size)
    off = np.abs(found.astype(int) - expected)
    assert found.dtype == np.uint8
    assert off.max() <= 1
    assert (off > 0).mean() < 0.001
