from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from anomalist.eval.detection import DetectionResult, render

RESULT = DetectionResult(
    image_auroc=0.8125,
    image_auroc_interval=(0.75, 0.86),
    image_average_precision=0.7,
    image_auroc_by_defect={"crack": 0.49, "[bold]dent": None},
    pixel_auroc=0.9,
    aupro=0.51,
    asked_false_alarm_rate=0.05,
    false_alarm_rate=0.043,
    false_alarm_rate_interval=(0.02, 0.071),
    undecided_rate=0.1,
    undecided_rate_normals=0.08,
    undecided_rate_defects=0.12,
    n_train=300,
    n_test=946,
    n_test_normals=652,
    n_by_defect={"crack": 57, "[bold]dent": 0},
    n_errors=2,
    n_empty_masks=4,
    split="groups",
    detector="surface",
    notes=("2 pictures could not be judged: [red]x.png",),
    data="tiles",
    seed=0,
    effort="normal",
    learn_seconds=312.0,
    ms_per_image=61.0,
    peak_memory_mb=1480.0,
    threads=2,
)


def printed(result: DetectionResult) -> str:
    stream = io.StringIO()
    Console(file=stream, width=140).print(render(result))
    return stream.getvalue()


@pytest.mark.parametrize(
    "expected",
    [
        "0.812",
        "95 % interval 0.750 to 0.860; 652 normal, 294 defective pictures, split by groups",
        "4.3 %",
        "95 % interval 2 % to 7.1 %; asked 5 %",
        "300 good pictures, effort normal, seed 0",
        "61 ms",
        "[bold]dent",
        "Note: 2 pictures could not be judged: [red]x.png",
    ],
)
def test_the_table_shows_figures_with_what_they_rest_on(expected: str) -> None:
    assert expected in printed(RESULT)


def test_an_undefined_figure_is_a_dash_and_not_a_number() -> None:
    undefined = RESULT.model_copy(
        update={"pixel_auroc": None, "false_alarm_rate": None, "ms_per_image": None}
    )
    lines = {line.split("│")[1].strip(): line for line in printed(undefined).splitlines() if "│" in line}
    for name in ("pixel AUROC", "false alarms", "inspecting"):
        assert lines[name].split("│")[2].strip() == "-"


def test_json_is_one_line_with_the_asked_keys() -> None:
    text = RESULT.model_dump_json()
    keys = set(json.loads(text))
    assert "\n" not in text
    assert {
        "image_auroc",
        "image_auroc_interval",
        "pixel_auroc",
        "aupro",
        "asked_false_alarm_rate",
        "false_alarm_rate",
        "false_alarm_rate_interval",
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
    } <= keys
