from __future__ import annotations

from pathlib import Path

import numpy as np

from anomalist.eval.multiple_choice_sources import augment, write_augmented
from anomalist.pipeline import Inspector
from anomalist.vision.detectors.reference import load_reference
from anomalist.vision.media.images import load_image
from tests.boards import board, spot
from tests.pictures import write


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
