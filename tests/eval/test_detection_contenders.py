from __future__ import annotations

from pathlib import Path

import pytest

from anomalist.eval.detection import contenders, evaluate_detection

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
