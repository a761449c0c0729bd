from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anomalist.errors import DataError
from anomalist.eval.detection import (
    Contender,
    DetectionResult,
    contenders,
    evaluate_detection,
    run_detection,
)
from anomalist.eval.image_datasets import Split
from anomalist.vision.detectors.base import Progress
from anomalist.vision.evidence import EvidenceSource
from tests.eval.sources import DarknessSource
from tests.pictures import holed, tile, write, write_tiles


class RecordingContender:
    """Makes an evidence source that learns nothing, and records from what."""

    def __init__(self) -> None:
        self.parts: list[Split] = []
        self.seeds: list[int] = []

    def __call__(self, parts: Split, seed: int, folder: Path, progress: Progress) -> EvidenceSource:
        assert folder.is_dir() and not any(folder.iterdir())
        progress("making", 1, 1)
        self.parts.append(parts)
        self.seeds.append(seed)
        return DarknessSource()


def test_what_implements_the_protocol_is_measured(labelled: Path) -> None:
    contender = Contender("darkness", RecordingContender(), effort="fast")
    result = evaluate_detection(labelled, contender, train_normals=4)
    assert (result.image_auroc, result.image_auroc_by_defect) == (1.0, {"hole": 1.0})
    assert result.pixel_auroc == result.aupro == 1.0
    assert (result.peak_on_defect, result.peak_on_defect_by_defect) == (1.0, {"hole": 1.0})
    assert (result.n_train, result.n_test, result.n_test_normals, result.n_errors) == (4, 11, 8, 0)
    assert (result.data, result.contender, result.detector) == ("tiles", "darkness", "darkness")
    assert (result.effort, result.seed, result.split) == ("fast", 0, "pictures")
    assert result.ms_per_image is not None and result.ms_per_image > 0


def test_without_calibration_rates_are_undefined_and_a_note_says_so(labelled: Path) -> None:
    result = evaluate_detection(labelled, Contender("darkness", RecordingContender()), train_normals=0)
    assert (
        result.asked_false_alarm_rate is result.false_alarm_rate is result.false_alarm_rate_interval is None
    )
    assert result.oracle_at_measured_rate is result.oracle_at_asked_rate is None
    assert result.calibration_efficiency is None
    assert "no calibration: the measured false-alarm rate is undefined" in result.notes


@pytest.mark.parametrize(("effort", "learned"), [("fast", 4), (None, 0)])
def test_who_learns_from_nothing_gets_nothing_but_the_same_test(
    labelled: Path, effort: str | None, learned: int
) -> None:
    making = RecordingContender()
    result = evaluate_detection(
        labelled, Contender("darkness", making, effort), train_normals=4, groups=labelled / "groups.csv"
    )
    assert (result.n_train, result.n_test_normals, result.split) == (learned, 8, "groups")
    assert len(making.parts[0].train) == learned


def test_without_training_every_picture_is_tested(labelled: Path) -> None:
    result = evaluate_detection(labelled, Contender("darkness", RecordingContender()), train_normals=0)
    assert (result.n_train, result.n_test, result.n_test_normals) == (0, 15, 12)


def test_pictures_that_cannot_be_read_are_counted(labelled: Path) -> None:
    (labelled / "good" / "00.png").write_bytes(b"no picture")
    result = evaluate_detection(labelled, Contender("darkness", RecordingContender()), train_normals=0)
    assert result.n_errors == 1
    assert result.image_auroc == 1.0


def test_progress_is_reported_while_making_and_inspecting(labelled: Path) -> None:
    heard: list[tuple[str, int, int]] = []
    evaluate_detection(
        labelled,
        Contender("darkness", RecordingContender()),
        train_normals=0,
        progress=lambda what, done, total: heard.append((what, done, total)),
    )
    assert heard[0] == ("making", 1, 1)
    assert heard[1:] == [("inspecting", done, 15) for done in range(1, 16)]


def results_of(data: Path, asked: Sequence[Contender], **options: Any) -> Iterator[DetectionResult]:
    return (DetectionResult.model_validate(run.result) for run in run_detection(data, asked, **options))


def test_every_contender_runs_with_every_seed_once(labelled: Path) -> None:
    first, second = RecordingContender(), RecordingContender()
    contenders = [Contender("first", first, "fast"), Contender("second", second)]
    results = list(results_of(labelled, contenders, train_normals=4, seeds=[0, 1, 0]))
    assert [(result.contender, result.seed) for result in results] == [
        ("first", 0),
        ("first", 1),
        ("second", 0),
        ("second", 1),
    ]
    assert first.seeds == second.seeds == [0, 1]
    assert first.parts[0].train != first.parts[1].train
    assert [parts.test for parts in first.parts] == [parts.test for parts in second.parts]


def test_a_result_comes_before_the_next_run_starts(labelled: Path) -> None:
    making = RecordingContender()
    results = results_of(labelled, [Contender("darkness", making)], train_normals=0, seeds=[0, 1])
    assert next(results).seed == 0
    assert making.seeds == [0]


def test_json_keeps_the_keys_that_others_read(labelled: Path) -> None:
    result = evaluate_detection(labelled, Contender("darkness", RecordingContender()), train_normals=0)
    text = result.model_dump_json()
    assert "\n" not in text
    assert DetectionResult.model_validate_json(text) == result
    assert {
        "image_auroc",
        "image_auroc_interval",
        "pixel_auroc",
        "aupro",
        "asked_false_alarm_rate",
        "false_alarm_rate",
        "false_alarm_rate_interval",
        "found_at_asked_rate",
        "oracle_at_measured_rate",
        "oracle_at_asked_rate",
        "calibration_efficiency",
        "peak_on_defect",
        "peak_on_defect_by_defect",
        "peak_chance",
        "peak_chance_by_defect",
        "mask_iou_median",
        "mask_iou_median_by_defect",
        "empty_mask_rate",
        "empty_mask_rate_by_defect",
        "normal_mask_rate",
        "normal_pixel_rate",
        "undecided_rate",
        "undecided_rate_normals",
        "undecided_rate_defects",
        "learn_seconds",
        "ms_per_image",
        "peak_memory_mb",
        "n_train",
        "n_test",
        "n_test_normals",
        "n_errors",
        "image_auroc_by_defect",
        "seed",
        "effort",
        "split",
        "detector",
        "version",
        "threads",
        "n_empty_masks",
        "notes",
    } <= set(type(result).model_fields)


SURFACE = [("surface", "fast"), ("surface", "normal")]
ZERO_SHOT, UNLABELLED = ("zero-shot", None), ("unlabelled", None)


@pytest.mark.parametrize(
    ("detectors", "train_normals", "expected"),
    [
        (["surface"], 8, SURFACE),
        (["surface"], 0, [ZERO_SHOT]),
        (["zero-shot"], 8, [ZERO_SHOT]),
        (["unlabelled", "surface", "zero-shot"], 8, [UNLABELLED, *SURFACE, ZERO_SHOT]),
        (["surface", "zero-shot", "unlabelled"], 0, [ZERO_SHOT, UNLABELLED]),
        (["surface", "surface"], 8, SURFACE),
    ],
)
def test_only_what_learns_comes_once_an_effort(
    detectors: list[str], train_normals: int, expected: list[tuple[str, str | None]]
) -> None:
    found = contenders(detectors, ["fast", "normal", "fast"], train_normals, None)
    assert [(contender.name, contender.effort) for contender in found] == expected


def test_surface_learns_from_the_normals_of_the_split(labelled: Path) -> None:
    (surface,) = contenders(["surface"], ["fast"], 8, 0.2)
    result = evaluate_detection(labelled, surface, train_normals=8, groups=labelled / "groups.csv")
    assert (result.contender, result.effort, result.detector) == ("surface", "fast", "surface")
    assert (result.n_train, result.n_test_normals, result.n_errors) == (8, 4, 0)
    assert result.asked_false_alarm_rate == 0.2
    assert result.image_auroc == 1.0


@pytest.mark.parametrize("name", ["zero-shot", "unlabelled"])
def test_what_needs_no_normals_is_tested_on_every_picture(labelled: Path, name: str) -> None:
    (contender,) = contenders([name], ["normal"], 0, None)
    result = evaluate_detection(labelled, contender, train_normals=0)
    assert (result.contender, result.effort, result.n_train) == (name, None, 0)
    assert (result.n_test, result.n_errors) == (15, 0)
    assert result.image_auroc is not None and result.image_auroc > 0.9
    assert result.false_alarm_rate is None
    assert any("no calibration" in note for note in result.notes)


def test_a_public_data_set_keeps_its_split_and_each_product_has_its_result(tmp_path: Path) -> None:
    for product in ("cap", "nut"):
        write_tiles(tmp_path / product / "train" / "good", 3)
        write_tiles(
            tmp_path / product / "test" / "good", 2, first=2
        )  # the first of them is learned from, too
        write(tmp_path / product / "test" / "hole" / "0.png", holed(9))
        write(
            tmp_path / product / "ground_truth" / "hole" / "0_mask.png",
            (holed(9) == 5)[..., 0] * np.uint8(255),
        )
    learns = Contender("darkness", RecordingContender(), effort="fast")
    first, second = results_of(tmp_path, [learns], train_normals=None)
    assert (first.data, second.data) == (f"{tmp_path.name}/cap", f"{tmp_path.name}/nut")
    assert (first.n_train, first.n_test, first.n_by_defect) == (3, 3, {"hole": 1})
    assert first.image_auroc == 1
    assert first.seg_f1 == 0  # nothing is in the predicted masks
    assert first.seg_f1_oracle == 1
    assert any("nearly the same as one that is learned from: cap/test/good/00.png" in n for n in first.notes)


def test_what_learns_needs_a_normal_picture(tmp_path: Path) -> None:
    write(tmp_path / "IMAGES" / "a_1.png", tile(0))
    (tmp_path / "ANNOTATIONS").mkdir()
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    (tmp_path / "ANNOTATIONS" / "a_1.xml").write_text(
        f"<annotation><object><name>a</name>{box}</object></annotation>"
    )
    learns = Contender("darkness", RecordingContender(), effort="fast")
    with pytest.raises(DataError, match="no normal picture to learn from"):
        list(results_of(tmp_path, [learns], train_normals=None))
    (result,) = results_of(tmp_path, [Contender("darkness", RecordingContender())], train_normals=0)
    assert (result.image_auroc, result.n_test) == (None, 1)
    assert result.pixel_auroc is not None
