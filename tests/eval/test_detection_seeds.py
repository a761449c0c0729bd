from __future__ import annotations

import json

from anomalist.eval.detection import (
    AVERAGED_METRICS,
    AVERAGED_METRICS_BY_DEFECT,
    DetectionResult,
    group_runs_by_contender,
    summarize_seeds,
)
from anomalist.eval.metrics import MeanStd
from tests.eval.results import RESULT


def test_runs_of_one_contender_and_effort_belong_together_in_the_order_they_came() -> None:
    runs = [
        RESULT.model_copy(update={"contender": contender, "effort": effort, "seed": seed})
        for seed in (0, 1)
        for contender, effort in (("surface", "thorough"), ("zero-shot", None), ("surface", "fast"))
    ]
    found = [
        [(run.contender, run.effort, run.seed) for run in group] for group in group_runs_by_contender(runs)
    ]
    assert found == [
        [("surface", "thorough", 0), ("surface", "thorough", 1)],
        [("zero-shot", None, 0), ("zero-shot", None, 1)],
        [("surface", "fast", 0), ("surface", "fast", 1)],
    ]


def test_a_summary_holds_every_measure_and_every_kind_of_defect() -> None:
    other = RESULT.model_copy(
        update={"seed": 3, "aupro": None, "image_auroc_by_defect": {"fray": 0.9}, "n_by_defect": {"fray": 4}}
    )
    found = summarize_seeds([RESULT, other])
    assert (found.data, found.contender, found.effort, found.seeds) == ("tiles", "surface", "normal", (0, 3))
    assert found.measures["aupro"] is not None
    assert found.measures["calibration_efficiency"] == MeanStd(mean=0.8, std=0, n=2)
    assert found.by_defect["peak_on_defect_by_defect"]["crack"] == MeanStd(mean=0.66, std=0, n=2)
    assert (found.measures["aupro"].mean, found.measures["aupro"].n) == (0.51, 1)
    by_defect = found.by_defect["image_auroc_by_defect"]
    assert list(by_defect) == ["[bold]dent", "crack", "fray"]
    assert by_defect["[bold]dent"] is None
    assert by_defect["fray"] is not None
    assert by_defect["fray"].mean == 0.9
    assert json.loads(found.model_dump_json())["measures"]["image_auroc"] == {
        "mean": 0.8125,
        "std": 0,
        "n": 2,
    }


def test_what_is_averaged_exists() -> None:
    assert {*AVERAGED_METRICS, *AVERAGED_METRICS_BY_DEFECT} <= set(DetectionResult.model_fields)
