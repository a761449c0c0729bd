from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from anomalist.errors import DataError
from anomalist.eval.metrics import image_auroc
from anomalist.eval.saved_runs import (
    AskedQuestion,
    SavedRun,
    ScoredPicture,
    compare_runs,
    load_run,
    save_run,
)


def detection_run(name: str, shift: float, count: int = 60, seed: int = 0) -> SavedRun:
    """Pictures with noise that is the same for all runs; defects lie ``shift`` higher."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=count)
    pictures = tuple(
        ScoredPicture(
            name=f"{number}.png",
            source=f"/nowhere/{number}.png",
            group=f"g{number // 2}",
            defect="good" if number % 3 else "hole",
            normal=number % 3 != 0,
            score=float(noise[number] + shift * (number % 3 == 0)),
            p_value=None,
            label="anomalous" if noise[number] + shift * (number % 3 == 0) > 1 else "normal",
        )
        for number in range(count)
    )
    return SavedRun(benchmark="detection", name=name, result={"image_auroc": 0.5}, pictures=pictures)


def mmad_run(name: str, rights: list[bool]) -> SavedRun:
    questions = tuple(
        AskedQuestion(
            name=f"p{number}#1",
            group=f"p{number}",
            cell=("VisA", "Anomaly Detection", number % 2 == 0)
            if number < 8
            else ("VisA", "Object Analysis", False),
            right=right,
        )
        for number, right in enumerate(rights)
    )
    return SavedRun(benchmark="mmad", name=name, result={}, questions=questions)


def test_a_clear_difference_is_told_from_chance() -> None:
    weak, strong = detection_run("weak", 0.5), detection_run("strong", 2.0)
    found = {each.measure: each for each in compare_runs(weak, strong).differences}
    auroc = found["image AUROC"]
    scores = np.array([picture.score for picture in strong.pictures], float)
    defective = np.array([not picture.normal for picture in strong.pictures])
    assert auroc.second == pytest.approx(image_auroc(scores, defective))
    assert auroc.first is not None and auroc.second is not None
    assert auroc.difference == pytest.approx(auroc.second - auroc.first)
    assert auroc.clear
    assert found["found"].difference is not None and found["found"].difference > 0
    assert found["false alarms"].difference == 0


def test_a_run_does_not_differ_from_itself() -> None:
    run = detection_run("one", 1.0)
    for each in compare_runs(run, run).differences:
        assert (each.difference, each.interval, each.clear) == (0, (0, 0), False)


def test_pairing_tells_what_separate_intervals_cannot() -> None:
    first, second = detection_run("a", 1.0, count=120), detection_run("b", 1.3, count=120)
    paired = next(iter(compare_runs(first, second).differences))
    assert paired.interval is not None
    unpaired = next(iter(compare_runs(first, detection_run("c", 1.3, count=120, seed=1)).differences))
    assert unpaired.interval is not None
    assert paired.interval[1] - paired.interval[0] < unpaired.interval[1] - unpaired.interval[0]


def test_only_what_both_judged_is_compared() -> None:
    first, second = detection_run("a", 1.0), detection_run("b", 1.0)
    fewer = second.replace(pictures=(second.pictures[0].replace(score=None), *second.pictures[1:50]))
    found = compare_runs(first, fewer)
    assert (found.common, found.only_first, found.only_second) == (49, 11, 0)


def test_questions_are_weighed_as_the_benchmark_weighs_them() -> None:
    rights = [True] * 4 + [False] * 4 + [True] * 4
    first, second = mmad_run("a", rights), mmad_run("b", [True] * 12)
    found = {each.measure: each for each in compare_runs(first, second).differences}
    # Detection is the mean of normal (2 of 4) and anomalous (2 of 4), the other subtask is all right.
    assert found["average"].first == pytest.approx((0.5 + 1) / 2)
    assert found["average"].second == 1
    assert found["Object Analysis"].difference == 0


def test_detection_of_one_class_alone_is_no_measure_of_a_comparison() -> None:
    """As in the benchmark's own scores: who always says that something is wrong would be right there."""
    runs = [mmad_run(name, [right] * 8 + [True] * 4) for name, right in (("a", True), ("b", False))]
    first, second = (
        run.replace(questions=tuple(each for each in run.questions if not each.cell[2])) for run in runs
    )
    found = {each.measure: each for each in compare_runs(first, second).differences}
    assert found["Anomaly Detection"].first is None
    assert (found["average"].first, found["average"].second) == (1, 1)


def test_runs_that_cannot_be_compared_are_refused() -> None:
    run = detection_run("a", 1.0)
    with pytest.raises(DataError, match="can't be compared"):
        compare_runs(run, mmad_run("b", [True] * 12))
    with pytest.raises(DataError, match="nothing in common"):
        compare_runs(run, run.replace(pictures=()))
    other = run.pictures[0].replace(normal=True)
    with pytest.raises(DataError, match=r"0\.png is labelled otherwise"):
        compare_runs(run, run.replace(pictures=(other, *run.pictures[1:])))


def test_a_saved_run_is_read_again(tmp_path: Path) -> None:
    run = detection_run("tiles/a surface fast, seed 0", 1.0)
    path = save_run(run, tmp_path)
    assert path.name == "detection-tiles-a-surface-fast--seed-0.json"
    assert load_run(path) == run
    path.write_text(path.read_text()[:100])
    with pytest.raises(DataError, match="no saved run"):
        load_run(path)
    with pytest.raises(DataError, match="can't be read"):
        load_run(tmp_path / "gone.json")
