"""What labels, peaks and masks find, against what could be found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from anomalist.eval.image_datasets import GOOD, LabelledImage, Split, load_folder, split_dataset
from anomalist.eval.scoring import DetectionMetrics, score_detection
from anomalist.types.common import BoolArray, DetectorInfo, FloatArray, Label
from anomalist.types.image import Calibration, Evidence, Inspection, Record
from anomalist.vision.media.images import source_of

Seen = dict[str, Inspection]

NORMALS = {"good/0": 10.0, "good/1": 20.0, "good/2": 30.0, "good/3": 40.0, "good/4": 50.0}
DEFECTS = {"scratch/a": 45.0, "scratch/b": 60.0, "dent/c": 70.0, "dent/d": 80.0}
SHAPE = (12, 10)
SQUARE = (slice(4, 7), slice(4, 7))


def calibration(rate: float) -> Calibration:
    return Calibration(
        method="split",
        normals=99,
        groups=99,
        false_alarm_rate=rate,
        reachable=True,
        normals_needed=9,
        instability=0.0,
        approximate=False,
        seed=0,
    )


def inspection(
    path: Path, score: float, label: Label, alarm: bool, shape: tuple[int, int] = SHAPE
) -> Inspection:
    """Nothing but a score: the map is flat and the mask empty."""
    return Inspection(
        Record(source=source_of(path), status="ok", label=label),
        evidence=Evidence(
            detector=DetectorInfo(name="made up", digest="0"),
            score=score,
            score_map=np.zeros(shape, dtype=np.float32),
            mask=np.zeros(shape, dtype=np.bool_),
            roi_area=shape[0] * shape[1],
            p_value=0.01 if alarm else 0.9,
            calibration=calibration(0.2),
        ),
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Empty files of pictures, and a square of ground truth for each defect."""
    truth = np.zeros(SHAPE, dtype=np.uint8)
    truth[SQUARE] = 255
    for name in [*NORMALS, *DEFECTS]:
        (tmp_path / f"{name}.png").parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.png").touch()
    for name in DEFECTS:
        mask = tmp_path / "ground_truth" / f"{name}.png"
        mask.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(truth).save(mask)
    return tmp_path


def seen_with_threshold(data: Path, threshold: float, undecided: str = "") -> Seen:
    """Inspections that call anomalous what is above a threshold."""
    return {
        name: inspection(
            data / f"{name}.png",
            score,
            "undecided" if name == undecided else "anomalous" if score > threshold else "normal",
            alarm=score > threshold,
        )
        for name, score in (NORMALS | DEFECTS).items()
    }


def measured(data: Path, seen: Seen) -> DetectionMetrics:
    return score_detection(split_dataset(load_folder(data), 0, seed=0), seen.values())


def change(seen: Seen, name: str, draw: Callable[[FloatArray, BoolArray], None]) -> None:
    """Draw on the map and the mask of one picture."""
    evidence = seen[name].evidence
    assert evidence is not None
    score_map, mask = evidence.score_map.copy(), evidence.mask.copy()
    draw(score_map, mask)
    seen[name] = replace(seen[name], evidence=replace(evidence, score_map=score_map, mask=mask))


@pytest.mark.parametrize(
    ("threshold", "false_alarms", "found", "oracle"),
    [
        (55, 0, 3 / 4, 3 / 4),  # the best threshold without a false alarm is 50
        (65, 0, 2 / 4, 3 / 4),  # too strict
        (45, 1 / 5, 3 / 4, 1.0),  # with 50 above it, the threshold could have been 40
        (5, 1.0, 1.0, 1.0),
        (90, 0, 0.0, 3 / 4),
    ],
)
def test_what_is_found_against_the_best_threshold_with_as_many_false_alarms(
    data: Path, threshold: float, false_alarms: float, found: float, oracle: float
) -> None:
    metrics = measured(data, seen_with_threshold(data, threshold))
    assert metrics.false_alarm_rate == false_alarms
    assert metrics.found_at_asked_rate == found
    assert metrics.oracle_at_measured_rate == oracle
    assert metrics.oracle_at_asked_rate == 1.0  # one of five above 40
    assert metrics.calibration_efficiency == found / oracle


def test_an_undecided_defect_is_not_found(data: Path) -> None:
    metrics = measured(data, seen_with_threshold(data, 55, undecided="dent/d"))
    assert metrics.found_at_asked_rate == 2 / 4
    assert metrics.calibration_efficiency == (2 / 4) / (3 / 4)


def test_an_undecided_normal_under_the_rate_counts_for_the_oracle_as_for_the_false_alarms(data: Path) -> None:
    metrics = measured(data, seen_with_threshold(data, 45, undecided="good/4"))
    assert (metrics.false_alarm_rate, metrics.oracle_at_measured_rate) == (1 / 5, 1.0)


def test_where_the_oracle_finds_nothing_there_is_no_efficiency(data: Path) -> None:
    seen = seen_with_threshold(data, 95)
    seen["good/4"] = inspection(data / "good/4.png", 90.0, "normal", alarm=False)
    metrics = measured(data, seen)
    assert (metrics.found_at_asked_rate, metrics.oracle_at_measured_rate) == (0.0, 0.0)
    assert metrics.calibration_efficiency is None


def test_pictures_with_errors_are_in_no_share(data: Path) -> None:
    seen = seen_with_threshold(data, 55)
    for name in ("dent/d", "good/4"):
        seen[name] = Inspection(
            Record(source=source_of(data / f"{name}.png"), status="error", error="broken")
        )
    metrics = measured(data, seen)
    assert metrics.found_at_asked_rate == 2 / 3
    assert metrics.oracle_at_measured_rate == 1.0
    assert metrics.normal_mask_rate == 0.0


scores = st.lists(st.integers(0, 12), min_size=1, max_size=12)


@given(scores, scores, st.data())
@settings(max_examples=25)
def test_who_calls_as_the_oracle_does_is_fully_efficient(
    normals: list[int], defects: list[int], drawn: st.DataObject
) -> None:
    threshold = drawn.draw(st.sampled_from(normals))
    items = [
        (LabelledImage(Path(f"{kind}{index}.png"), f"{kind}{index}", kind, None, f"{kind}{index}"), score)
        for kind, column in ((GOOD, normals), ("dent", defects))
        for index, score in enumerate(column)
    ]
    seen = [
        inspection(
            item.path, score, "anomalous" if score > threshold else "normal", score > threshold, shape=(1, 1)
        )
        for item, score in items
    ]
    metrics = score_detection(Split((), tuple(item for item, _ in items), grouped=False), seen)
    assert metrics.found_at_asked_rate == pytest.approx(metrics.oracle_at_measured_rate)
    if metrics.found_at_asked_rate:
        assert metrics.calibration_efficiency == pytest.approx(1)
    else:
        assert metrics.calibration_efficiency is None


def test_peaks_and_masks_on_defects_by_hand(data: Path) -> None:
    seen = seen_with_threshold(data, 55)

    def exact(score_map: FloatArray, mask: BoolArray) -> None:
        score_map[SQUARE], mask[SQUARE] = 5, True

    def wide(score_map: FloatArray, mask: BoolArray) -> None:
        score_map[5, 5], mask[4:7, 4:10] = 5, True

    def beside(score_map: FloatArray, mask: BoolArray) -> None:
        score_map[SQUARE], score_map[3, 4], mask[0, 0] = 5, 6, True

    for name, draw in (("scratch/a", beside), ("dent/c", exact), ("dent/d", wide)):
        change(seen, name, draw)
    metrics = measured(data, seen)  # scratch b: a flat map, whose first pixel is its peak, and no mask
    assert metrics.peak_on_defect == 2 / 4
    assert metrics.peak_on_defect_by_defect == {"dent": 1.0, "scratch": 0.0}
    assert metrics.peak_chance == pytest.approx(9 / 120)
    assert metrics.peak_chance_by_defect == {
        "dent": pytest.approx(9 / 120),
        "scratch": pytest.approx(9 / 120),
    }
    assert metrics.mask_iou_median == pytest.approx((0 + 1 / 2) / 2)  # of 0, 0, 1/2, 1
    assert metrics.mask_iou_median_by_defect == {"dent": pytest.approx(3 / 4), "scratch": 0.0}
    assert metrics.empty_mask_rate == 1 / 4
    assert metrics.empty_mask_rate_by_defect == {"dent": 0.0, "scratch": 1 / 2}


def test_masks_on_normals_by_hand(data: Path) -> None:
    seen = seen_with_threshold(data, 55)

    def spot(score_map: FloatArray, mask: BoolArray) -> None:
        mask[SQUARE] = True

    for name in ("good/0", "good/3", "dent/c"):
        change(seen, name, spot)
    metrics = measured(data, seen)
    assert metrics.normal_mask_rate == 2 / 5
    assert metrics.normal_pixel_rate == pytest.approx(2 * 9 / (5 * 120))


def test_a_map_that_is_the_mask_has_its_peak_on_every_defect(data: Path) -> None:
    seen = seen_with_threshold(data, 55)

    def perfect(score_map: FloatArray, mask: BoolArray) -> None:
        score_map[SQUARE], mask[SQUARE] = 1, True

    for name in DEFECTS:
        change(seen, name, perfect)
    metrics = measured(data, seen)
    assert (metrics.peak_on_defect, metrics.mask_iou_median, metrics.empty_mask_rate) == (1.0, 1.0, 0.0)


def test_defects_without_ground_truth_are_in_no_measure_of_place(data: Path) -> None:
    Image.new("L", SHAPE[::-1]).save(data / "ground_truth" / "dent" / "c.png")
    (data / "ground_truth" / "dent" / "d.png").unlink()
    metrics = measured(data, seen_with_threshold(data, 55))
    assert metrics.peak_on_defect_by_defect == {"dent": None, "scratch": 0.0}
    assert metrics.mask_iou_median_by_defect == {"dent": None, "scratch": 0.0}
    assert metrics.empty_mask_rate_by_defect == {"dent": None, "scratch": 1.0}
    assert metrics.found_at_asked_rate == 3 / 4


def test_without_calibration_only_the_labels_say_what_is_found(data: Path) -> None:
    seen = {
        name: replace(one, evidence=replace(one.evidence, p_value=None, calibration=None))
        for name, one in seen_with_threshold(data, 55).items()
        if one.evidence
    }
    metrics = measured(data, seen)
    assert metrics.found_at_asked_rate == 3 / 4
    assert metrics.oracle_at_measured_rate is metrics.oracle_at_asked_rate is None
    assert metrics.calibration_efficiency is None
