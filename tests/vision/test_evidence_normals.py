from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from anomalist.pipeline import Inspector, learn
from anomalist.vision.evidence import NearestNormalCrop
from anomalist.vision.profile import Profile
from anomalist.vision.regions import crop_window
from tests.pictures import holed, tile, write


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    """Tiles that differ in grey, so that it shows which one a patch comes from."""
    folder = tmp_path_factory.mktemp("shades")
    for number in range(6):
        write(folder / "good" / f"{number}.png", (tile(number) // 2 + 20 * number).astype(np.uint8))
    return learn(folder / "good", profile=folder / "profile", effort="fast")


def test_a_region_is_shown_beside_a_patch_of_a_normal_picture(profile: Profile, tmp_path: Path) -> None:
    inspection = Inspector(profile, false_alarm_rate=0.5).inspect(write(tmp_path / "bad.png", holed(3)))
    assert inspection.media is not None
    patch = NearestNormalCrop(profile)(inspection.media, inspection.record.regions[0])
    assert patch is not None and patch.ndim == 3 and min(patch.shape[:2]) >= 8
    assert patch.min() > 20  # the hole is 5, no normal tile is that dark


def test_nothing_is_shown_when_the_normal_pictures_are_gone_or_changed(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / "good" / f"{number}.png", tile(number))
    few = learn(tmp_path / "good", profile=tmp_path / "p", effort="fast")
    inspection = Inspector(few).inspect(write(tmp_path / "bad.png", holed(7)))
    assert inspection.media is not None
    region = inspection.record.regions[0]
    for number in range(3):
        write(tmp_path / "good" / f"{number}.png", tile(100 + number))
    assert NearestNormalCrop(few)(inspection.media, region) is None
    for number in range(3):
        (tmp_path / "good" / f"{number}.png").unlink()
    assert NearestNormalCrop(few)(inspection.media, region) is None


@pytest.mark.parametrize("box", [(0, 0, 1, 1), (60, 30, 64, 34), (0, 0, 64, 48), (10, 40, 50, 48)])
def test_a_window_lies_in_the_picture_and_holds_the_box(box: tuple[int, int, int, int]) -> None:
    left, top, right, bottom = crop_window(box, (48, 64))
    assert 0 <= left <= box[0] and 0 <= top <= box[1]
    assert box[2] <= right <= 64 and box[3] <= bottom <= 48
