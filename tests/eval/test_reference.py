from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from anomalist.errors import DataError
from anomalist.eval.image_datasets import read_pairs
from anomalist.eval.reference import evaluate_reference, fit_reference, render
from anomalist.types.common import Box, UInt8Array
from tests.boards import HEIGHT, WIDTH, board, noisy, spot
from tests.pictures import write

MARGIN = 9


def hole(number: int) -> tuple[UInt8Array, Box]:
    return spot(board(), (230 + 15 * number, 165), 6, 220), box_around(230 + 15 * number, 165, 6)


def island(number: int) -> tuple[UInt8Array, Box]:
    return spot(board(), (70, 50 + 40 * number), 7, 40), box_around(70, 50 + 40 * number, 7)


def box_around(x: int, y: int, radius: int) -> Box:
    wide = radius + MARGIN
    return x - wide, y - wide, x + wide + 1, y + wide + 1


KINDS: dict[str, Callable[[int], tuple[UInt8Array, Box]]] = {"hole": hole, "island": island}


def write_pairs(folder: Path) -> Path:
    """Pairs of two groups, a to fit on and b to measure on, with one defect each."""
    rows = ["pair,x1,y1,x2,y2,type"]
    for group, noise_seed in (("a", 0), ("b", 10)):
        for kind, draw in KINDS.items():
            for number in range(3):
                name = f"{group}{kind}{number}"
                picture, box = draw(number)
                write_png(folder / f"{name}_temp.jpg", board())
                write_png(folder / f"{name}_test.jpg", noisy(picture, 2, noise_seed + number))
                rows.append(f"{name},{','.join(map(str, box))},{kind}")
    (folder / "boxes.csv").write_text("\n".join(rows))
    return folder


def write_png(path: Path, picture: UInt8Array) -> None:
    """Write a PNG under any name; pictures are recognised by content."""
    write(path.with_suffix(".png"), picture).rename(path)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("pairs"))


def test_what_is_fitted_on_one_group_is_measured_on_the_other(pairs: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    result = evaluate_reference(pairs, fit="a", progress=lambda *step: steps.append(step))
    assert (result.n_fit, result.n_pairs, result.n_boxes, result.n_examples) == (6, 6, 6, 6)
    assert result.f_score == result.precision == result.recall == 1
    assert result.kind_accuracy == result.f_score_with_kind == 1
    assert result.recall_by_kind == {"hole": 1, "island": 1}
    assert result.n_errors == result.n_unlike == 0
    assert result.f_score_interval == result.kind_accuracy_interval == (1, 1)
    assert result.ms_per_pair is not None and result.ms_per_pair > 0
    assert abs(result.margin - MARGIN) <= 3
    assert steps[0] == ("fitting", 1, 6) and steps[-1] == ("comparing", 6, 6)
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(render(result))
    assert "F-score" in console.export_text()


def test_labels_of_the_measured_group_decide_nothing(pairs: Path, tmp_path: Path) -> None:
    """Wrong labels on the other side change the figures, not the fit."""
    fitted = fit_reference([pair for pair in read_pairs(pairs) if pair.name.startswith("a")], seed=0)
    for path in pairs.glob("*.jpg"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    lines = (pairs / "boxes.csv").read_text().splitlines()
    wrong = [line.replace("hole", "island") if line.startswith("bhole") else line for line in lines]
    wrong = [f"{line.split(',')[0].replace('bisland', 'bhole')},{line.split(',', 1)[1]}" for line in wrong]
    (tmp_path / "boxes.csv").write_text("\n".join(wrong))
    again = fit_reference([pair for pair in read_pairs(tmp_path) if pair.name.startswith("a")], seed=0)
    assert again.margin == fitted.margin
    assert again.known.digest == fitted.known.digest


def test_a_pair_that_can_not_be_compared_counts_as_missed(pairs: Path, tmp_path: Path) -> None:
    for path in pairs.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "bhole0_test.jpg").write_text("no picture")
    result = evaluate_reference(tmp_path, fit="a")
    assert result.n_errors == 1
    assert result.recall == pytest.approx(5 / 6)
    assert result.precision == 1


@pytest.mark.parametrize("spoil", ["no table", "columns", "numbers", "no pairs", "half a pair", "one group"])
def test_folders_that_can_not_be_used_are_refused(pairs: Path, tmp_path: Path, spoil: str) -> None:
    for path in pairs.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    table = tmp_path / "boxes.csv"
    if spoil == "no table":
        table.unlink()
    elif spoil == "columns":
        table.write_text("pair,x,y\na,1,2\n")
    elif spoil == "numbers":
        table.write_text("pair,x1,y1,x2,y2,type\nahole0,1,2,three,4,hole\n")
    elif spoil == "no pairs":
        for path in tmp_path.glob("*.jpg"):
            path.unlink()
    elif spoil == "half a pair":
        (tmp_path / "ahole0_test.jpg").unlink()
    with pytest.raises(DataError):
        evaluate_reference(tmp_path, fit="" if spoil == "one group" else "a")


def test_structure_is_the_tone_that_most_references_have_less_of(pairs: Path) -> None:
    fitted = fit_reference([pair for pair in read_pairs(pairs) if pair.name.startswith("a")], seed=0)
    assert fitted.known.figure == "dark"
    assert fitted.known.vectors.shape[0] == len(fitted.known.kinds) == 6
    assert np.linalg.norm(fitted.known.vectors, axis=1) == pytest.approx(1)
    assert board().shape == (HEIGHT, WIDTH, 3)


def test_real_boards_within_the_group_that_may_be_fitted_on(data_dir: Path, tmp_path: Path) -> None:
    """Ten pairs fit, five others of the same group are measured."""
    source = data_dir / "deeppcb"
    if not source.is_dir():
        pytest.skip("no deeppcb in ANOMALIST_DATA")
    names = sorted(path.name.removesuffix("_temp.jpg") for path in source.glob("00041*_temp.jpg"))[:15]
    lines = (source / "boxes.csv").read_text().splitlines()
    rows = [lines[0]]
    for i, name in enumerate(names):
        renamed = f"{'fit' if i < 10 else 'new'}{name}"
        for part in ("temp", "test"):
            (tmp_path / f"{renamed}_{part}.jpg").write_bytes((source / f"{name}_{part}.jpg").read_bytes())
        rows += [line.replace(name, renamed, 1) for line in lines if line.startswith(name)]
    (tmp_path / "boxes.csv").write_text("\n".join(rows))
    result = evaluate_reference(tmp_path, fit="fit")
    assert result.f_score is not None and result.f_score >= 0.9
    assert result.kind_accuracy is not None and result.kind_accuracy >= 0.7
