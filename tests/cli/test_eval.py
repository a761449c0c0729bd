from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from anomalist.cli.eval import app


def called(data: Path, *words: str) -> str:
    """What ``anomalist eval detection`` prints about a folder with groups, learning fast."""
    fixed = ["detection", "--data", str(data), "--groups", "groups.csv", "--effort", "fast"]
    done = CliRunner().invoke(app, [*fixed, *words], env={"COLUMNS": "160"}, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_one_run_is_one_json_object(labelled: Path) -> None:
    (line,) = called(labelled, "--train-normals", "6", "--json").splitlines()
    result = json.loads(line)
    assert (result["effort"], result["seed"], result["split"]) == ("fast", 0, "groups")


def test_several_seeds_are_json_lines_and_their_mean_the_last(labelled: Path) -> None:
    words = ("--train-normals", "6", "--seed", "0", "--seed", "2", "--json")
    first, second, mean = map(json.loads, called(labelled, *words).splitlines())
    assert (first["seed"], second["seed"], mean["seeds"]) == (0, 2, [0, 2])
    aurocs = [first["image_auroc"], second["image_auroc"]]
    assert mean["measures"]["image_auroc"]["mean"] == pytest.approx(sum(aurocs) / 2)


def test_without_json_it_is_a_table(labelled: Path) -> None:
    text = called(labelled, "--train-normals", "6")
    assert "Detection on tiles: ensemble" in text
    assert "effort fast, seed 0" in text


def test_runs_are_saved_and_those_that_were_made_are_found_again(labelled: Path, tmp_path: Path) -> None:
    kept = ["--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "out"), "--json"]
    words = ("--train-normals", "0", "--detector", "zero-shot", *kept)
    first, second = called(labelled, *words), called(labelled, *words)
    assert first == second  # the times as well: nothing was measured again
    assert (tmp_path / "out" / "evaluation.html").is_file()
    (saved,) = (tmp_path / "out").glob("detection-*.json")
    assert json.loads(saved.read_text())["result"]["n_test"] == json.loads(first)["n_test"]
