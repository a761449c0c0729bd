from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from anomalist.errors import DataError
from anomalist.eval.context_checks import (
    distance_score,
    evaluate_checks,
    nearest_distances,
    read_checks,
    render_checks,
)
from anomalist.types.common import FloatArray
from anomalist.vision.media.images import load_image
from tests.eval.mmad.test_benchmark import Lettered
from tests.pictures import holed, tile, write


def row(check: str, image: str, label: str) -> dict[str, Any]:
    return {
        "image": image,
        "check_id": check,
        "check_text": "Check whether the tile is whole.",
        "label": label,
        "boxes": [
            {"category": "object", "bbox": [0, 0, 64, 64]},
            {"category": "Normal" if label == "normal" else "Missing", "bbox": [8, 8, 24, 24]},
        ],
    }


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two checks on whole tiles and tiles with a hole at the upper left; one picture is there twice."""
    rows = []
    for check in ("c01", "c02"):
        for number in range(6):
            name, broken = f"{check}-{number}.png", number >= 4
            write(tmp_path / "images" / name, holed(number) if broken else tile(number))
            rows.append(row(check, name, "anomalous" if broken else "normal"))
    save(tmp_path, [*rows, rows[0]])
    return tmp_path


def save(root: Path, rows: list[dict[str, Any]]) -> None:
    (root / "checks.json").write_text(json.dumps(rows))


def describe(path: Path) -> FloatArray:
    """Mean tone of 8×8 blocks as a direction: dark ones point elsewhere."""
    tones = load_image(path).pixels.mean(2).reshape(8, 8, 8, 8).mean((1, 3)) / 255 * np.pi / 2
    return np.stack([np.cos(tones), np.sin(tones)], axis=2).astype(np.float32)


def test_neighbours_tell_broken_from_whole_and_point_to_the_place(data: Path) -> None:
    result = evaluate_checks(data, describe, references=2)
    assert [(each.normal, each.anomalous) for each in result.checks] == [(2, 2), (2, 2)]
    assert result.means["auroc"] == 1
    assert result.means["pointing"] == 1
    assert result.means["pointing_chance"] == pytest.approx(4 / 64)
    assert result.means["model_balanced_accuracy"] is None
    assert result.means["balanced_accuracy"] is not None
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(render_checks(result))
    assert "mean over checks" in console.export_text()


def test_a_model_reads_the_expectation(data: Path) -> None:
    model = Lettered(likes=("No, something is not as it should be",))
    result = evaluate_checks(data, describe, references=2, model=("m", model))
    assert result.means["model_balanced_accuracy"] == 0.5  # it always says no
    assert all("Check whether the tile is whole. Is it so?" in text for text in model.asked)
    assert len(model.asked) == 2 * 4 * 2  # checks, tested pictures, rotations


def kinds_added(data: Path, kinds: dict[str, str]) -> None:
    rows = json.loads((data / "checks.json").read_text())
    save(data, [each | {"anomaly_type": kinds.get(each["image"])} for each in rows])


def test_kinds_are_those_of_the_most_similar_place_of_another_check(data: Path) -> None:
    light, dark = np.full((64, 64, 3), 255, np.uint8), np.zeros((64, 64, 3), np.uint8)
    for check in ("c01", "c02"):
        write(data / "images" / f"{check}-4.png", light)
        write(data / "images" / f"{check}-5.png", dark)
    pair = {"c01-4.png": "Flash", "c01-5.png": "Missing", "c02-4.png": "Flash"}
    kinds_added(data, pair | {"c02-5.png": "Missing"})
    result = evaluate_checks(data, describe, references=2)
    assert (result.means["kind"], result.means["kind_chance"]) == (1.0, 0.5)
    kinds_added(data, pair | {"c02-4.png": "Missing", "c02-5.png": "Flash"})
    assert evaluate_checks(data, describe, references=2).means["kind"] == 0.0


def test_a_model_chooses_the_kind(data: Path) -> None:
    kinds_added(
        data, {f"c0{check}-{n}.png": "Flash" if n == 4 else "Missing" for check in (1, 2) for n in (4, 5)}
    )
    result = evaluate_checks(data, describe, references=2, model=("m", Lettered(likes=("Missing",))))
    assert result.means["model_kind"] == 0.5


def test_without_kinds_in_the_data_there_is_no_share_of_them(data: Path) -> None:
    result = evaluate_checks(data, describe, references=2)
    assert result.means["kind"] is result.means["kind_chance"] is result.means["model_kind"] is None


def test_references_are_never_tested_and_the_same_for_the_same_seed(data: Path) -> None:
    (check, _) = read_checks(data)
    assert len(check.pictures) == 6
    kept, tested = check.split(3, 1)
    assert {picture.path for picture in kept}.isdisjoint(picture.path for picture in tested)
    assert not any(picture.anomalous for picture in kept)
    assert check.split(3, 1) == (kept, tested)


def test_distances_are_those_to_the_nearest_neighbour() -> None:
    rng = np.random.default_rng(0)
    tokens, bank = rng.normal(size=(3, 4, 5)), rng.normal(size=(7, 5))
    tokens /= np.linalg.norm(tokens, axis=2, keepdims=True)
    bank /= np.linalg.norm(bank, axis=1, keepdims=True)
    found = nearest_distances(tokens.astype(np.float32), bank.astype(np.float32))
    slow = [[min(1 - float(token @ each) for each in bank) for token in line] for line in tokens]
    assert found == pytest.approx(np.array(slow), abs=1e-6)
    assert distance_score(found) == pytest.approx(found.max())


def test_data_that_do_not_fit_are_refused(data: Path) -> None:
    with pytest.raises(DataError, match="too few"):
        evaluate_checks(data, describe, references=1)
    rows = json.loads((data / "checks.json").read_text())
    save(data, [*rows, row("c01", "c01-0.png", "anomalous")])
    with pytest.raises(DataError, match="both normal and anomalous"):
        read_checks(data)
    save(data, [row("c01", "gone.png", "normal")])
    with pytest.raises(DataError, match=r"gone\.png is missing"):
        read_checks(data)
    (data / "checks.json").write_text("[{")
    with pytest.raises(DataError, match="can't be read"):
        read_checks(data)
    save(data, [])
    with pytest.raises(DataError, match="no check"):
        read_checks(data)
