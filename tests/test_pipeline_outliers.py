"""Learning from a folder with defects and other products in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import anomalist
from anomalist.errors import DataError
from anomalist.pipeline import Inspector, check_normals, learn, learn_products
from anomalist.vision.outliers import NormalsCheck
from anomalist.vision.profile import load_profile
from tests.boards import board, noisy
from tests.detectors import NAME
from tests.pictures import holed, write, write_tiles


@pytest.fixture
def contaminated(tmp_path: Path) -> Path:
    """Eighteen good tiles, two with a hole."""
    write_tiles(tmp_path / "normals", 18)
    for number in range(2):
        write(tmp_path / "normals" / f"holed-{number}.png", holed(90 + number))
    return tmp_path / "normals"


def names(check: NormalsCheck | None) -> list[str]:
    assert check is not None
    return [Path(each.source).name for each in check.outliers]


def test_dropped_outliers_are_not_learned_from_and_the_profile_says_which(
    contaminated: Path, tmp_path: Path
) -> None:
    learn(contaminated, profile=tmp_path / "p", effort="fast", outliers="drop")
    stored = load_profile(tmp_path / "p")
    assert names(stored.manifest.check) == ["holed-0.png", "holed-1.png"]
    assert stored.manifest.check is not None and stored.manifest.check.decision == "dropped"
    assert len(stored.manifest.normals) == len(stored.calibration.scores) == 18
    record = Inspector(stored, model="evidence").inspect(write(tmp_path / "bad.png", holed(5))).record
    assert record.label == "anomalous"
    assert not any("outliers" in note for note in record.notes)


def test_kept_outliers_calibrate_and_every_record_says_so(contaminated: Path, tmp_path: Path) -> None:
    profile = learn(contaminated, profile=tmp_path / "p", effort="fast", outliers="keep")
    assert profile.manifest.check is not None and profile.manifest.check.decision == "kept"
    assert len(profile.manifest.normals) == len(profile.calibration.scores) == 20
    record = Inspector(profile, model="evidence").inspect(contaminated / "00.png").record
    assert "outliers kept among the normals: 2; defects like them can pass" in record.notes


def test_dropping_gives_the_profile_of_the_good_pictures(contaminated: Path, tmp_path: Path) -> None:
    dropped = learn(contaminated, profile=tmp_path / "d", effort="fast", outliers="drop")
    good = learn(sorted(contaminated.glob("[0-9]*.png")), profile=tmp_path / "g", effort="fast")
    assert np.array_equal(dropped.calibration.scores, good.calibration.scores)
    assert good.manifest.check == NormalsCheck(pictures=18)
    assert dropped.digest != good.digest


def test_a_second_product_stops_learning_unless_somebody_decides(tmp_path: Path) -> None:
    write_tiles(tmp_path / "both", 12)
    for number in range(4):
        write(tmp_path / "both" / f"board-{number}.png", noisy(board(), 3, number)[::2, 40:280:2])
    with pytest.raises(DataError, match="4 of a second product"):
        learn(tmp_path / "both", profile=tmp_path / "p", effort="fast")
    assert not (tmp_path / "p").exists()
    found = check_normals(tmp_path / "both")
    assert names(found) == [f"board-{number}.png" for number in range(4)]
    assert anomalist.check_normals is check_normals


def test_a_plug_in_detector_is_checked_for_too(contaminated: Path, tmp_path: Path) -> None:
    profile = learn(contaminated, profile=tmp_path / "p", detector=NAME, outliers="drop")
    assert names(profile.manifest.check) == ["holed-0.png", "holed-1.png"]
    assert len(profile.manifest.normals) == 18


def test_each_of_several_products_is_checked_by_itself(contaminated: Path, tmp_path: Path) -> None:
    goods = tmp_path / "goods"
    goods.mkdir()
    contaminated.rename(goods / "tiles")
    for number in range(9):
        write(goods / "boards" / f"{number}.png", noisy(board(), 3, number)[::2, 40:280:2])
    mixed = learn_products(goods, profile=tmp_path / "p", effort="fast", outliers="drop")
    checks = {product.name: product.manifest.check for product in mixed.products}
    assert names(checks["tiles"]) == ["holed-0.png", "holed-1.png"]
    assert names(checks["boards"]) == []


def test_unreadable_pictures_are_named_beside_the_check(contaminated: Path) -> None:
    (contaminated / "broken.png").write_bytes(b"no picture")
    found = check_normals(contaminated)
    assert found.pictures == 20
    assert len(found.skipped) == 1 and "broken.png" in found.skipped[0]
