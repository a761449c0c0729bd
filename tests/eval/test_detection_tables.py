from __future__ import annotations

import io

import pytest
from rich.console import Console

from anomalist.eval.detection import DetectionResult
from anomalist.eval.detection_tables import render
from tests.eval.results import RESULT

OTHER = RESULT.model_copy(update={"contender": "zero-shot", "effort": None, "image_auroc": 0.6, "notes": ()})
AGAIN = RESULT.model_copy(
    update={
        "seed": 1,
        "image_auroc": 0.7125,
        "image_auroc_by_defect": {"fray": 1.0},
        "n_by_defect": {"fray": 3},
    }
)


def printed(*results: DetectionResult) -> str:
    stream = io.StringIO()
    Console(file=stream, width=180).print(render(results))
    return stream.getvalue()


def cells(text: str) -> dict[str, list[str]]:
    """Cells of each row by its name; a cell's second line is the row named "" after it, left out here."""
    lines = [line.replace("┃", "│").split("│")[1:-1] for line in text.splitlines() if line[:1] in "│┃"]
    return {line[0].strip(): [cell.strip() for cell in line[1:]] for line in lines if line[0].strip()}


@pytest.mark.parametrize(
    "expected",
    [
        "0.812",
        "95 % interval 0.750 to 0.860; 652 normal, 294 defective pictures, split by groups",
        "95 % interval 0.400 to 0.600; 57 pictures; pixel AUROC 0.910, AUPRO 0.520; "
        "peak on defect 66 %, chance 2 %; mask IoU 0.360, 17 % empty",
        "95 % interval 0.880 to 0.930; 4 empty masks left out",
        "mean over defective pictures, median 0.220, 25 % of them at 0",
        "highest pixel of the map, chance 3 %",
        "median over 290 masks, 15 % found empty",
        "0.1 % of all pixels of normal pictures",
        "best threshold: 50 % at the measured false-alarm rate, 52 % at the asked one",
        "4.3 %",
        "95 % interval 2 % to 7.1 %; asked 5 %",
        "300 good pictures, effort normal, seed 0",
        "61 ms",
        "[bold]dent",
        "Note: 2 pictures could not be judged: [red]x.png",
    ],
)
def test_the_table_of_one_run_shows_figures_with_what_they_rest_on(expected: str) -> None:
    assert expected in printed(RESULT)


@pytest.mark.parametrize("others", [(), (OTHER,)])
def test_an_undefined_figure_is_a_dash_and_not_a_number(others: tuple[DetectionResult, ...]) -> None:
    undefined = RESULT.model_copy(
        update={"pixel_auroc": None, "false_alarm_rate": None, "ms_per_image": None, "aupimo": None}
    )
    rows = cells(printed(undefined, *others))
    for name in ("pixel AUROC", "false alarms", "inspecting", "AUPIMO"):
        assert rows[name][0] == "-"


def test_several_contenders_stand_side_by_side() -> None:
    text = printed(RESULT, OTHER)
    rows = cells(text)
    assert rows["image AUROC"] == ["0.812", "0.600"]
    assert rows["not judged"] == ["2", "2"]
    assert rows["found"] == ["40 %", "40 %"]
    assert rows["calibration efficiency"] == ["0.800", "0.800"]
    assert rows["peak on defect"] == ["64 %", "64 %"]
    assert rows["mask IoU"] == ["0.340", "0.340"]
    assert rows["masks on normals"] == ["9 %", "9 %"]
    assert "surface normal seed 0" in text
    assert "zero-shot seed 0" in text
    assert "0.750 to 0.860" in text
    assert "Note: surface normal seed 0: 2 pictures could not be judged: [red]x.png" in text


def test_seeds_of_one_contender_get_a_column_of_means() -> None:
    text = printed(RESULT, AGAIN)
    rows = cells(text)
    assert rows["image AUROC"] == ["0.812", "0.713", "0.762"]
    assert "± 0.071" in text
    assert rows["fray"] == ["-", "1.000", "1.000"]
    assert "surface normal mean of 2 seeds" in text


def test_several_contenders_with_several_seeds_show_means_only() -> None:
    others = [OTHER, OTHER.model_copy(update={"seed": 1})]
    text = printed(RESULT, AGAIN, *others)
    assert cells(text)["image AUROC"] == ["0.762", "0.600"]
    assert "seed 0 " not in text.split("Note")[0]


def test_the_same_note_is_not_repeated() -> None:
    assert printed(RESULT, RESULT.model_copy(update={"image_auroc": 0.5})).count("could not be judged") == 1
