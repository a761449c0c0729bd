"""Statistics of whole pictures."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from anomalist.vision.shift.arithmetic import agreeing, central_part, gains, jpeg_quality, measured_part
from anomalist.vision.shift.nuisances import compress
from anomalist.vision.shift.statistics import measure_statistics
from scripts.generated_parts import make_part

PICTURE = make_part("plate", 3)[0]


@pytest.mark.parametrize("quality", [20, 30, 50, 80])
def test_jpeg_quality_is_read_off_the_pixels(quality: int) -> None:
    assert measure_statistics(compress(PICTURE, quality)).jpeg == quality


def test_pixels_that_were_never_compressed_show_no_quality() -> None:
    assert measure_statistics(PICTURE).jpeg == 100
    assert jpeg_quality(np.zeros((8, 8), np.float32)) == 100


@pytest.mark.parametrize("factor", [0.6, 0.9, 1.1, 1.4])
def test_gain_is_the_factor_of_the_light(factor: float) -> None:
    lit = np.clip(PICTURE * factor, 0, 255).astype(np.uint8)
    found = gains(measure_statistics(lit).quantiles, measure_statistics(PICTURE).quantiles)
    np.testing.assert_allclose(np.exp(found), factor, rtol=0.03)


def test_gain_of_a_saturated_picture_is_told_from_its_dark_parts() -> None:
    label = make_part("label", 1)[0]
    lit = np.clip(label * 1.5, 0, 255).astype(np.uint8)
    found = gains(measure_statistics(lit).quantiles, measure_statistics(label).quantiles)
    assert (np.exp(found) > 1.2).all()


def test_blur_lowers_fine_amplitudes_and_noise_raises_them() -> None:
    import cv2

    usual = measure_statistics(PICTURE)
    blurred = measure_statistics(cv2.GaussianBlur(PICTURE, (0, 0), 2))
    noise = np.random.default_rng(0).normal(0, 10, PICTURE.shape)
    noisy = measure_statistics(np.clip(PICTURE + noise, 0, 255).astype(np.uint8))
    assert blurred.sharpness < usual.sharpness - 0.5
    assert noisy.chroma > usual.chroma + 1


def test_only_what_counts_is_measured() -> None:
    roi = np.zeros((256, 256), bool)
    roi[100:150, 100:150] = True
    other = PICTURE.copy()
    other[:50] = 255
    np.testing.assert_array_equal(
        measure_statistics(PICTURE, roi).quantiles, measure_statistics(other, roi).quantiles
    )


@pytest.mark.parametrize("place", ["a corner", "a ring", "the last rows", "the last columns"])
def test_a_large_picture_is_measured_where_its_region_of_interest_is(place: str) -> None:
    rng = np.random.default_rng(0)
    picture = np.full((1500, 2999, 3), 90, np.uint8)  # its middle shows nothing; no whole blocks of eight
    y, x = np.mgrid[:1500, :2999]
    roi = {
        "a corner": (y > 1350) & (x < 200),
        "a ring": np.hypot(x - 1500, 2 * (y - 750)) > 1450,
        "the last rows": y > 1496,
        "the last columns": x > 2995,
    }[place]
    picture[roi] = rng.normal(128, 20, (int(roi.sum()), 1)).clip(0, 255).astype(np.uint8)
    found = measure_statistics(picture, roi)
    assert found.quantiles[:, 9] == pytest.approx(128, abs=2)
    assert found.texture > measure_statistics(picture).texture + 1
    assert np.isfinite([found.sharpness, found.structure, found.chroma]).all()


@pytest.mark.parametrize("shape", [(1500, 3000), (1501, 2999), (4000, 900)])
def test_the_measured_part_holds_a_region_wherever_it_is_and_keeps_the_grid_of_a_jpeg(
    shape: tuple[int, int],
) -> None:
    for row in (0, 7, shape[0] // 3, shape[0] - 9, shape[0] - 1):
        for column in (0, 5, shape[1] // 2, shape[1] - 8, shape[1] - 1):
            roi = np.zeros(shape, bool)
            roi[row, column] = True
            part = measured_part(shape, roi)
            assert roi[part].any(), (row, column)
            assert [ends.start % 8 for ends in part] == [0, 0]
    roi[shape[0] // 2, shape[1] // 2] = True
    assert measured_part(shape, roi) == measured_part(shape, None) == central_part(shape)


def test_where_to_measure_is_found_without_a_list_of_all_places() -> None:
    roi = np.ones((3000, 3000), bool)
    roi[900:2100, 900:2100] = False
    tracemalloc.start()
    part = measured_part(roi.shape, roi)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert roi[part].any()
    assert peak < roi.nbytes


def test_a_local_defect_does_not_move_the_statistics() -> None:
    rng = np.random.default_rng(0)
    even = np.repeat(rng.normal(120, 4, (64, 64, 1)), 3, 2).clip(0, 255).astype(np.uint8)
    holed = even.copy()
    holed[10:22, 12:26] = 5
    usual, found = measure_statistics(even), measure_statistics(holed)
    assert found.sharpness == pytest.approx(usual.sharpness, abs=0.15)
    assert found.texture == pytest.approx(usual.texture, abs=0.1)
    assert found.chroma == pytest.approx(usual.chroma, abs=0.1)


def test_a_change_counts_as_far_as_most_blocks_show_it() -> None:
    assert agreeing(0.4, 0.38) == 0.4
    assert agreeing(0.4, 0.13) == 0.4  # blocks that are saturated
    assert agreeing(0.4, 0.01) == 0.01  # a large defect
    assert agreeing(0.4, -0.2) == -0.2
