"""Image operations without OpenCV: the same as with it, to the last digits."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from anomalist.edge.runner import kernels
from anomalist.types.common import UInt8Array
from anomalist.vision import resampling

RNG = np.random.default_rng(0)
MATRIX = np.array([[1.01, 0.02, 0.7], [-0.03, 0.99, -1.3], [0, 0, 1]])


@pytest.fixture(scope="module")
def picture() -> UInt8Array:
    return RNG.integers(0, 256, (161, 183, 3)).astype(np.uint8)


def differing(one: UInt8Array, other: UInt8Array) -> float:
    """Share of the bytes that differ; none by more than one grey level."""
    assert np.abs(one.astype(int) - other).max() <= 1
    return float((one != other).mean())


@pytest.mark.parametrize("size", [(64, 96), (80, 61), (140, 190), (170, 90), (23, 183)])
def test_averaging_to_a_smaller_size(picture: UInt8Array, size: tuple[int, int]) -> None:
    expected = cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA)
    assert differing(kernels.resize_area(picture, size), np.asarray(expected, np.uint8)) < 0.001


@pytest.mark.parametrize("size", [(40, 60), (20, 40), (40, 40), (16, 24), (80, 60)])
def test_averaging_by_whole_factors_rounds_as_opencv_does(size: tuple[int, int]) -> None:
    even = RNG.integers(0, 256, (80, 120, 3)).astype(np.uint8)
    expected = cv2.resize(even, size[::-1], interpolation=cv2.INTER_AREA)
    assert np.array_equal(kernels.resize_area(even, size), expected)


@pytest.mark.parametrize("size", [(322, 366), (224, 200), (64, 96), (161, 300)])
def test_interpolation_of_bytes(picture: UInt8Array, size: tuple[int, int]) -> None:
    linear = cv2.resize(picture, size[::-1], interpolation=cv2.INTER_LINEAR)
    assert np.array_equal(kernels.resize_linear(picture, size), linear)


def test_maps(picture: UInt8Array) -> None:
    values = RNG.normal(size=(60, 70)).astype(np.float32)
    for sigma in (0.6, 1.2, 4.0, 14.0):
        assert np.allclose(
            kernels.gaussian(values, sigma), cv2.GaussianBlur(values, (0, 0), sigma), atol=1e-5
        )
    expected = cv2.resize(values, (200, 90), interpolation=cv2.INTER_LINEAR)
    assert np.allclose(kernels.resize_linear(values, (90, 200)), expected, atol=1e-4)
    reduced = cv2.resize(values, (8, 8), interpolation=cv2.INTER_AREA)
    assert np.allclose(kernels.resize_area(values, (8, 8)), reduced, atol=1e-4)
    assert np.array_equal(kernels.highest_around(values), cv2.dilate(values, np.ones((3, 3), np.uint8)))
    assert np.array_equal(kernels.grey_of(picture), cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY))
    assert np.allclose(kernels.hanning((60, 70)), cv2.createHanningWindow((70, 60), cv2.CV_32F), atol=1e-6)


def test_warps(picture: UInt8Array) -> None:
    values = RNG.normal(size=(60, 70)).astype(np.float32)
    borders = {
        kernels.replicate: cv2.BORDER_REPLICATE,
        kernels.reflect_101: cv2.BORDER_REFLECT_101,
        kernels.zero: cv2.BORDER_CONSTANT,
    }
    for border, how in borders.items():
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        expected = cv2.warpAffine(values, MATRIX[:2], (70, 60), flags=flags, borderMode=how)
        assert np.allclose(kernels.warp_linear(values, MATRIX, (60, 70), border), expected, atol=1e-4)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    size = (picture.shape[1], picture.shape[0])
    moved = cv2.warpAffine(picture, MATRIX[:2], size, flags=flags, borderMode=cv2.BORDER_REFLECT)
    assert differing(resampling.warp_cubic(picture, MATRIX), np.asarray(moved, np.uint8)) < 0.002


def test_a_turn_about_a_point() -> None:
    expected = cv2.getRotationMatrix2D((5, 6), -13, 1.2)
    assert np.allclose(kernels.rotation_about((5, 6), 13, 1.2)[:2], expected)


def test_masks_are_resized_to_the_nearest_pixel() -> None:
    mask = RNG.random((61, 83)) > 0.5
    for size in ((10, 20), (100, 90)):
        expected = cv2.resize(mask.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST)
        assert np.array_equal(kernels.resize_nearest(mask, size), expected > 0)
