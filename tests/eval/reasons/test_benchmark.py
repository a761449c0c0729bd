from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from anomalist.errors import DataError
from anomalist.eval.image_datasets import LabelledImage, Split
from anomalist.eval.reasons.benchmark import (
    ReasonsSetup,
    sample_of,
    set_cases_apart,
    share_of,
    write_cases,
)
from anomalist.vision.detectors.labelled_defects import read_defects
from tests.cli.running import run
from tests.pictures import SIDE, holed, write, write_tiles


def items(good: int, bad: int) -> list[LabelledImage]:
    sides = [("good", number) for number in range(good)] + [("hole", number) for number in range(bad)]
    return [
        LabelledImage(
            Path(f"{kind}/{number}.png"), f"{kind}/{number}.png", kind, None, f"{kind}{number // 2}"
        )
        for kind, number in sides
    ]


def test_a_sample_is_half_defective_where_there_are_as_many() -> None:
    for most, want in ((8, (4, 4)), (16, (10, 6)), (100, (20, 6))):
        drawn = sample_of(items(20, 6), most, 0)
        assert (sum(item.normal for item in drawn), sum(not item.normal for item in drawn)) == want
    assert sample_of(items(20, 6), 8, 0) == sample_of(items(20, 6), 8, 0) != sample_of(items(20, 6), 8, 1)


def test_objects_of_cases_are_not_tested_and_their_pictures_are_learned_from(tmp_path: Path) -> None:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[3:6] = 255
    marked = [
        replace(
            item,
            path=write(tmp_path / item.name, holed(number)),
            mask=write(tmp_path / "ground_truth" / item.name, mask),
        )
        for number, item in enumerate(items(0, 6))
    ]
    cases, rest = set_cases_apart(Split((), (*items(4, 0), *marked), grouped=True), 1, 0)
    (case,) = cases
    assert len(rest.test) == 8
    assert case.group not in {item.group for item in rest.test}
    (defect,) = read_defects(write_cases(cases, tmp_path / "cases")).defects
    assert defect.kind == "hole"
    assert defect.mask is not None and int(defect.mask.sum()) == 3 * SIDE
    with pytest.raises(DataError, match="leave no defect"):
        set_cases_apart(Split((), tuple(marked), grouped=True), 6, 0)


def test_a_share_that_all_agree_on_has_an_interval_with_a_width() -> None:
    share = share_of("x", [(f"g{number}", True) for number in range(10)], 0)
    assert share.share == 1.0 and share.interval is not None
    assert share.interval == pytest.approx((0.6915, 1.0), abs=1e-3)  # Clopper and Pearson, 10 of 10
    mixed = share_of("x", [(f"g{number}", number > 2) for number in range(10)], 0)
    assert mixed.share == 0.7 and mixed.interval is not None
    assert mixed.interval[0] < 0.7 < mixed.interval[1] < 1.0 + 1e-9


def test_reasons_are_tested_of_detectors_that_learn() -> None:
    with pytest.raises(DataError, match="zero-shot"):
        ReasonsSetup(detector="zero-shot")


def test_the_command_tests_reasons_and_saves_a_page(tmp_path: Path) -> None:
    data = tmp_path / "tiles"
    write_tiles(data / "good", 26)
    y, x = np.mgrid[:SIDE, :SIDE]
    hole = (y - SIDE // 4) ** 2 + (x - SIDE // 4) ** 2 < (SIDE // 10) ** 2
    for number in range(4):
        write(data / "hole" / f"{number}.png", holed(100 + number))
        write(data / "ground_truth" / "hole" / f"{number}.png", hole.astype(np.uint8) * 255)
    words = ["--train-normals", 22, "--effort", "fast", "--detector", "surface", "--cases", 1]
    limits = ["--necessity", 1, "--subjects", 1, "--injections", 8]
    done = run(
        "eval", "reasons", "--data", data, *map(str, [*words, *limits]), "--json", "--out", tmp_path / "out"
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    shares = {share["name"]: share for share in result["shares"]}
    assert shares["cited evidence exists"]["share"] == 1.0
    assert shares["stated numbers are right"]["share"] == 1.0, result["failures"]
    assert shares["first cited place overlaps the defect"]["share"] == 1.0
    assert shares["stated kind is the label"]["of"] == 3
    assert shares["alarm needs what it cites"]["of"] == 1
    assert shares["verdict unchanged, all injections"]["share"] == 1.0, result["failures"]
    page = (tmp_path / "out" / "evaluation.html").read_text()
    assert "stated numbers are right" in page
