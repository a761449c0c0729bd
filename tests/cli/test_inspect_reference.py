from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.boards import board, noisy, spot
from tests.cli.running import rows, run
from tests.pictures import write


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return write(tmp_path / "good.png", board())


@pytest.fixture
def new(tmp_path: Path) -> Path:
    """A board with a hole, a good one, and a picture of something else."""
    from skimage import data

    write(tmp_path / "new" / "bad.png", noisy(spot(board(), (250, 165), 8, 220), 3))
    write(tmp_path / "new" / "fine.png", noisy(board(), 3))
    return write(tmp_path / "new" / "other.png", data.coffee()).parent


def test_pictures_are_judged_by_one_good_picture(good: Path, new: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = run("inspect", new, "--reference", good, "--json", "--out", out)
    bad, fine, other = rows(done.stdout)
    assert done.returncode == 3
    assert (bad["label"], fine["label"], other["label"]) == ("anomalous", "normal", None)
    assert bad["basis"] == "reference" and bad["kind"] == "missing material"
    assert [region["change"] for region in bad["regions"]] == ["missing"]  # type: ignore[attr-defined]
    assert "could not be aligned to the reference" in str(other["error"])
    assert "compared with the reference as it lies" in fine["notes"]  # type: ignore[operator]
    page = (out / "report.html").read_text()
    assert "missing against the reference" in page
    assert "aligned to it" in page and "has learned from normal pictures" not in page
    again = run("inspect", new, "--reference", good, "--json", "--out", out)
    assert again.stdout == "" and "3 of 3 pictures were done before" in again.stderr


def test_another_reference_inspects_again(good: Path, new: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run("inspect", new / "fine.png", "--reference", good, "--json", "--out", out)
    other = write(tmp_path / "other-good.png", noisy(board(), 2))
    again = run("inspect", new / "fine.png", "--reference", other, "--json", "--out", out)
    assert len(rows(again.stdout)) == 1


def test_a_reference_and_a_profile_exclude_each_other(good: Path, new: Path) -> None:
    both = run("inspect", new, "--reference", good, "--profile", "housing")
    assert both.returncode == 2 and "--profile" in both.stderr and "--reference" in both.stderr
    rate = run("inspect", new, "--reference", good, "--false-alarm-rate", "0.1")
    assert rate.returncode == 2 and "--false-alarm-rate has no meaning" in rate.stderr
    gone = run("inspect", new, "--reference", good.with_name("gone.png"))
    assert gone.returncode == 2 and "There is no file" in gone.stderr


def test_the_evaluation_prints_one_object(tmp_path: Path) -> None:
    from tests.eval.test_reference import write_pairs

    done = run("eval", "reference", "--data", write_pairs(tmp_path / "pairs"), "--fit", "a", "--json")
    result = json.loads(done.stdout)
    assert done.returncode == 0
    assert {"precision", "recall", "f_score", "kind_accuracy", "ms_per_pair"} <= result.keys()
    assert result["f_score"] == 1
    wrong = run("eval", "reference", "--data", tmp_path / "pairs", "--json")
    assert wrong.returncode == 2 and "starts with '00041'" in wrong.stderr
