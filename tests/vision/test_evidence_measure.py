"""From scores to evidence: the rate to decide at, thresholds, regions, and what can't be measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from anomalist.errors import CalibrationError, MediaError
from anomalist.types.common import BoolArray
from anomalist.types.image import Media
from anomalist.vision.calibration import DEFAULT_RATE, CalibrationSet
from anomalist.vision.detectors.base import DetectorOutput
from anomalist.vision.evidence import ScoredInput, measure, validated_rate
from anomalist.vision.profile import Manifest, Profile
from anomalist.vision.regions import resize_roi
from anomalist.vision.shift.fitting import fit_input_model
from anomalist.vision.shift.model import InputSample
from tests.detectors import NAME, GreyDetector

SIZE = (64, 96)


def profile(n: int = 40, *, grouped: bool = False, roi: BoolArray | None = None) -> Profile:
    """Calibration scores 1, 2, … n; regions start above 0.5."""
    manifest = Manifest(
        name="p", created="", detector=NAME, effort="fast", seed=0, backbone=None, grouped=grouped,
        low=0.5, normals=(), files={"detector.safetensors": "ab12"},
    )  # fmt: skip
    calibration = CalibrationSet(np.arange(1.0, n + 1), np.zeros(n, np.int64), np.arange(n))
    return Profile(manifest, Path("p"), GreyDetector(np.zeros(1)), calibration, roi)


def media() -> Media:
    grey = np.random.default_rng(0).integers(100, 130, (*SIZE, 1), dtype=np.uint8)
    return Media("a.png", "00", np.repeat(grey, 3, 2))


def scored(score: float, height: float = 0.0) -> ScoredInput:
    """A flat map with one square of a given height."""
    score_map = np.zeros(SIZE, np.float32)
    score_map[10:20, 60:80] = height
    return ScoredInput(DetectorOutput(np.array([score]), score_map))


def test_a_picture_that_is_longer_than_the_normals_says_what_becomes_of_the_rate() -> None:
    grey = np.random.default_rng(1).integers(100, 130, (3, *SIZE, 1), dtype=np.uint8).repeat(3, 3)
    inputs = fit_input_model([InputSample.of(one, None) for one in grey], lambda n: grey[n], None, 0)
    longer = Media("b.png", "01", np.concatenate([grey[0]] * 5))
    flat = ScoredInput(DetectorOutput(np.array([0.0]), np.zeros(longer.size, np.float32)))
    (note,) = measure(replace(profile(), inputs=inputs), longer, flat, 0.05).notes
    assert note.startswith("5.0 times as large")
    assert measure(replace(profile(), inputs=inputs), media(), scored(0.0), 0.05).notes == ()


# --- the rate ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "rate"), [(2, 0.05), (3, 0.05), (4, 0.2), (8, 1 / 9), (18, 1 / 19), (19, 0.05), (100, 0.05)]
)
def test_without_a_rate_it_is_the_default_or_the_lowest_that_the_normals_support(n: int, rate: float) -> None:
    assert validated_rate(profile(n), None) == rate
    calibration = profile(n).calibration.summary([0.0], rate)
    assert calibration.default_rate == (DEFAULT_RATE if 4 <= n <= 18 else None)
    assert calibration.normals_needed == 19


@pytest.mark.parametrize(("n", "rate"), [(19, 0.05), (9, 0.1), (99, 0.01), (2, 0.5), (40, 0.3)])
def test_a_rate_that_can_be_reached_is_taken(n: int, rate: float) -> None:
    assert validated_rate(profile(n), rate) == rate


@pytest.mark.parametrize(
    ("n", "rate", "message"),
    [
        (
            18,
            0.05,
            r"0\.05 needs 19 normal pictures for calibration; .* has 18, .* 0\.0526 and above",
        ),
        (40, 0.01, r"0\.01 needs 99 normal pictures .* has 40"),
        (40, 1e-6, r"1e-06 needs 999999 normal pictures"),
    ],
)
def test_a_rate_out_of_reach_that_was_asked_for_is_an_error_that_names_the_number(
    n: int, rate: float, message: str
) -> None:
    with pytest.raises(CalibrationError, match=message):
        validated_rate(profile(n), rate)


def test_groups_are_called_groups() -> None:
    with pytest.raises(CalibrationError, match="needs 99 groups of normal pictures"):
        validated_rate(profile(grouped=True), 0.01)


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, 5.0, float("nan")])
def test_what_is_no_rate_is_refused(rate: float) -> None:
    with pytest.raises(CalibrationError, match="between 0 and 1"):
        validated_rate(profile(), rate)


# --- evidence ---------------------------------------------------------------------------------------------


def test_evidence_holds_the_numbers_of_the_calibration() -> None:
    used = profile(40)
    evidence = measure(used, media(), scored(50, height=60), 0.05)
    assert evidence.score == 50
    assert evidence.p_value == pytest.approx(1 / 41)
    assert evidence.threshold == used.calibration.threshold(0.05) == 39
    assert evidence.calibration == used.calibration.summary([50], 0.05)
    assert evidence.detector.digest == "ab12"
    assert evidence.roi_area == SIZE[0] * SIZE[1]
    (region,) = evidence.regions
    assert (region.id, region.box, region.peak) == ("R1", (60, 10, 80, 20), 60)
    assert evidence.mask.sum() == region.area == 200


def test_nothing_below_the_threshold_is_a_region() -> None:
    evidence = measure(profile(40), media(), scored(20, height=30), 0.05)
    assert evidence.regions == ()
    assert not evidence.mask.any()


def test_a_default_rate_out_of_reach_is_said_and_everything_else_is_still_measured() -> None:
    evidence = measure(profile(10), media(), scored(50, height=60), DEFAULT_RATE)
    assert evidence.threshold is None
    assert evidence.p_value == pytest.approx(1 / 11)
    assert evidence.calibration is not None
    assert (evidence.calibration.reachable, evidence.calibration.normals_needed) == (False, 19)
    assert [region.box for region in evidence.regions] == [(60, 10, 80, 20)]
    assert measure(profile(10), media(), scored(5, height=9), DEFAULT_RATE).regions == ()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_are_no_numbers_are_an_error_and_never_normal(bad: float) -> None:
    broken_map = scored(1)
    broken_map.output.score_map[3, 3] = bad
    for broken in (scored(bad), broken_map):
        with pytest.raises(MediaError, match="no finite score"):
            measure(profile(), media(), broken, 0.05)


# --- the region of interest -------------------------------------------------------------------------------


def test_only_what_is_inside_the_region_of_interest_counts() -> None:
    left = np.zeros((32, 48), bool)  # half the size of the picture
    left[:, :24] = True
    evidence = measure(profile(roi=left), media(), scored(50, height=60), 0.05)
    assert evidence.roi_area == SIZE[0] * SIZE[1] // 2
    assert evidence.regions == ()
    evidence = measure(profile(roi=~left), media(), scored(50, height=60), 0.05)
    assert len(evidence.regions) == 1


def test_a_region_of_interest_is_fitted_to_the_picture() -> None:
    roi = np.array([[True, False], [False, False]])
    fitted = resize_roi(roi, (4, 6))
    assert fitted is not None
    assert fitted.dtype == np.bool_
    assert np.argwhere(fitted).max(0).tolist() == [1, 2]
    assert resize_roi(roi, (2, 2)) is roi
    assert resize_roi(None, (4, 6)) is None


def test_a_region_of_interest_that_vanishes_is_an_error() -> None:
    thin = np.zeros((500, 500), bool)
    thin[251, 251] = True
    with pytest.raises(MediaError, match="Nothing of the region of interest is left at 96×64 pixels"):
        measure(profile(roi=thin), media(), scored(1), 0.05)
