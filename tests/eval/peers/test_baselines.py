from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from anomalist.errors import DetectorError
from anomalist.eval.peers import baselines
from anomalist.eval.peers.baselines import MODULES, PyodPeer, neighbours
from anomalist.types.common import FloatArray
from anomalist.vision import profile
from anomalist.vision.detectors import ensemble
from anomalist.vision.media.images import load_image
from tests.pictures import holed, tile, write


def describe(path: Path) -> FloatArray:
    """Grey levels of 4×4 cells on a circle: unit vectors, float32 (4, 4, 2)."""
    grey = load_image(path).pixels.mean(2).reshape(4, 16, 4, 16).mean((1, 3)) / 255
    return np.stack([np.cos(grey), np.sin(grey)], -1).astype(np.float32)


@pytest.fixture
def pictures(tmp_path: Path) -> tuple[list[Path], list[Path]]:
    learn = [write(tmp_path / "good" / f"{number}.png", tile(number)) for number in range(12)]
    return learn, [write(tmp_path / "x.png", tile(90)), write(tmp_path / "hole.png", holed(9))]


def test_neighbours_point_to_the_patch_that_no_normal_picture_has(
    pictures: tuple[list[Path], list[Path]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(baselines, "token_describer", lambda: describe)
    given = neighbours(*pictures, 0, tmp_path)
    assert given.scores[0] < given.scores[1]
    hole = given.maps[1]
    assert hole is not None and np.unravel_index(hole.argmax(), hole.shape) in (
        (0, 0),
        (0, 1),
        (1, 0),
        (1, 1),
    )
    monkeypatch.setattr(baselines, "MAX_BANK", 20)
    assert neighbours(*pictures, 0, tmp_path).scores == neighbours(*pictures, 0, tmp_path).scores


@pytest.mark.parametrize("model", ["KNN", "IForest"])
def test_pyod_scores_class_tokens(
    model: str, pictures: tuple[list[Path], list[Path]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("pyod")
    monkeypatch.setattr(ensemble, "open_backbone_by", lambda name: lambda: None)
    monkeypatch.setattr(
        profile,
        "class_tokens",
        lambda backbone, several: np.array(
            [[each.min() / 255, each.std() / 99] for each in several], np.float32
        ),
    )
    given, again = (PyodPeer(model)(*pictures, 3, tmp_path) for _ in range(2))
    assert given.scores == again.scores
    assert given.scores[0] < given.scores[1]
    assert given.maps == [None, None]


def test_a_detector_that_pyod_lacks_is_refused() -> None:
    with pytest.raises(DetectorError, match=", ".join(MODULES)):
        PyodPeer("Nonsense")
