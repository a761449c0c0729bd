from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from anomalist.eval.mmad.answering import MmadSetup
from anomalist.eval.mmad.benchmark import run_mmad
from anomalist.eval.run_page import roc_points, write_page
from anomalist.eval.saved_runs import SavedRun
from tests.eval.mmad.miniature import write_mmad
from tests.eval.test_saved_runs import detection_run
from tests.pictures import tile, write


def test_the_roc_curve_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    labels = rng.random(50) < 0.4
    scores = rng.integers(0, 9, 50) + 2.0 * labels
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    assert roc_points(scores, labels) == pytest.approx(np.stack([fpr, tpr], axis=1))


def page_of(runs: list[SavedRun], folder: Path) -> str:
    path = write_page(runs, folder)
    first = path.read_bytes()
    assert write_page(runs, folder).read_bytes() == first
    return first.decode()


def test_a_page_shows_curves_figures_and_the_worst_pictures(tmp_path: Path) -> None:
    run = detection_run("tiles <b>surface</b>", 1.0)
    there = write(tmp_path / "a.png", tile(0))
    pictures = [picture.replace(source=str(there), p_value=0.5) for picture in run.pictures]
    result = {"image_auroc": 0.75, "image_auroc_interval": [0.6, 0.9], "notes": ["a note"]}
    text = page_of([run.replace(pictures=tuple(pictures), result=result)], tmp_path)
    assert "tiles &lt;b&gt;surface&lt;/b&gt;" in text
    assert "0.750 (0.600 to 0.900)" in text
    assert text.count("<svg") == 2
    assert "0.5 asked 1.000 measured" in text
    assert text.count('<img src="data:') == 12
    assert "a note" in text
    assert not re.search(r'(?:src|href)="(?:http|/)', text)


def test_pictures_that_are_gone_and_p_values_that_were_never_there_are_left_out(tmp_path: Path) -> None:
    text = page_of([detection_run("tiles", 1.0)], tmp_path)
    assert text.count("<svg") == 1
    assert "no longer there" in text


def test_a_run_of_mmad_is_shown_by_subtask_beside_published_averages(tmp_path: Path) -> None:
    write_mmad(tmp_path / "data")
    run = run_mmad(tmp_path / "data", MmadSetup(shots=1)).saved()
    text = page_of([run], tmp_path / "out")
    for words in ("Defect Localization", "human experts", "86.7", "average by the reference"):
        assert words in text


def test_a_run_of_video_has_its_figures(tmp_path: Path) -> None:
    run = SavedRun(benchmark="video", name="street", result={"frame_auroc": None, "event_iou": 0.25})
    text = page_of([run], tmp_path)
    assert "event IoU" in text and "0.250" in text and "–" in text


def test_several_runs_of_detection_are_in_one_table_with_what_they_cost(tmp_path: Path) -> None:
    cost = {"image_auroc": 0.75, "learn_seconds": 31.0, "ms_per_image": None, "peak_memory_mb": 1480.0}
    ours = detection_run("tiles surface", 1.0).replace(result=cost)
    assert "Side by side" not in page_of([ours], tmp_path)
    text = page_of([ours, detection_run("tiles pyod:KNN", 1.0).replace(result=cost)], tmp_path)
    assert '<td class="n">0.750</td><td class="n">–</td>' in text
    assert '<td class="n">31</td><td class="n">–</td><td class="n">1480</td>' in text
