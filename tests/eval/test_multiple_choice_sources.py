from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from anomalist.eval.image_datasets import LabelledImage
from anomalist.eval.multiple_choice_sources import LabelledCase, augment, judge_by_cases, write_augmented
from anomalist.pipeline import Inspector
from anomalist.types.common import UInt8Array
from anomalist.vision.detectors.reference import load_reference
from anomalist.vision.media.images import load_image
from tests.boards import board, spot
from tests.pictures import holed, tile, write


def test_a_retaken_picture_differs_a_little_and_by_seed() -> None:
    one, same, other = (augment(board(), np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert one.shape == board().shape and one.dtype == np.uint8
    assert (one == same).all()
    assert (one != other).any()
    assert 1 < np.abs(one.astype(int) - board()).mean() < 40


def test_a_retaken_template_is_still_normal_and_a_defect_still_one(tmp_path: Path) -> None:
    inspector = Inspector(load_reference(write(tmp_path / "good.png", board())))
    rng = np.random.default_rng(0)
    bad = write(tmp_path / "bad.png", spot(board(), (245, 165), 8, 220))
    good = write_augmented(tmp_path / "good.png", tmp_path / "again.png", rng)
    assert load_image(good).size == (240, 320)
    assert inspector.inspect(good).record.label == "normal"
    assert (
        inspector.inspect(write_augmented(bad, tmp_path / "bad again.png", rng)).record.label == "anomalous"
    )


def case(kind: str, number: int) -> tuple[UInt8Array, np.ndarray]:
    """A tile with a hole or a scratch, and a map that shows it."""
    bad = holed(number, 96) if kind == "hole" else tile(number, 96)
    if kind == "scratch":
        bad[66:70, 8:88] = 250
    return bad, (bad != tile(number, 96)).any(2).astype(np.float32)


@pytest.mark.parametrize("tokens", [True, False])
@pytest.mark.parametrize("mapped", [True, False])
def test_kinds_are_told_by_labelled_cases_with_and_without_dinov2(
    tokens: bool, mapped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not tokens:
        monkeypatch.setattr("anomalist.vision.features.dinov2.find_dinov2", lambda: None)
    cases = []
    for kind in ("hole", "scratch"):
        for number in range(4):
            bad, where = case(kind, number)
            item = LabelledImage(Path(kind) / f"{number}.png", f"{kind}{number}", kind, None, f"{number}")
            cases.append(LabelledCase(item, bad, where if mapped else None))
    judge = judge_by_cases(cases)
    for kind in ("hole", "scratch"):
        bad, where = case(kind, 9)
        found = judge(bad, where if mapped else None)
        assert max(found.shares, key=lambda name: found.shares[name]) == kind
        assert {cited.split("/")[0] for cited in found.cases} == {f"case:{kind}"}
