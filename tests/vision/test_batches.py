"""Many pictures: each gets its scores or its error, in order, however they are put together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from anomalist.errors import MediaError
from anomalist.types import BoolArray, UInt8Array
from anomalist.vision.batches import score_all
from anomalist.vision.calibration import CalibrationSet
from anomalist.vision.detectors import Scored
from anomalist.vision.profile import Manifest, Profile
from tests.detectors import NAME, GreyDetector
from tests.pictures import write


class Counting(GreyDetector):
    """Remembers how many pictures came at a time."""

    def __init__(self) -> None:
        super().__init__(np.array([0.0]))
        self.batches: list[int] = []

    def score(
        self, pictures: Sequence[UInt8Array], roi: BoolArray | None = None, fold: int | None = None
    ) -> list[Scored]:
        self.batches.append(len(pictures))
        return super().score(pictures, roi, fold)


@pytest.fixture
def detector() -> Counting:
    return Counting()


@pytest.fixture
def profile(detector: Counting, tmp_path: Path) -> Profile:
    manifest = Manifest(
        name="p", created="", detector=NAME, effort="fast", seed=0, backbone=None, grouped=False,
        low=0, normals=(), files={},
    )  # fmt: skip
    calibration = CalibrationSet(np.zeros(2), np.zeros(2, np.int64), np.arange(2))
    return Profile(manifest, tmp_path, detector, calibration, None)


def even(folder: Path, grey: int, side: int = 8) -> Path:
    return write(folder / f"{grey:03d}.png", np.full((side, side, 3), grey, np.uint8))


@pytest.mark.parametrize("n", [0, 1, 15, 16, 17, 40])
def test_pictures_come_back_in_order_with_their_own_scores(
    profile: Profile, detector: Counting, tmp_path: Path, n: int
) -> None:
    paths = [even(tmp_path, grey) for grey in range(n)]
    results = list(score_all(profile, iter(paths)))
    assert [path for path, _, _ in results] == paths
    assert [scored.scores[0] for _, _, scored in results if isinstance(scored, Scored)] == list(range(n))
    assert all(media is not None and media.source == str(path) for path, media, _ in results)
    assert sum(detector.batches) == n
    assert max(detector.batches, default=0) <= 16


def test_an_error_takes_the_place_of_each_bad_picture_and_the_others_are_scored(
    profile: Profile, tmp_path: Path
) -> None:
    (tmp_path / "text.png").write_text("not a picture", encoding="utf-8")
    unreadable = [tmp_path / "text.png", tmp_path / "gone.png"]
    speck = write(tmp_path / "speck.png", np.zeros((2, 2, 3), np.uint8))
    good = [even(tmp_path, grey) for grey in (10, 20, 30)]
    paths = [good[0], unreadable[0], speck, good[1], unreadable[1], good[2]]
    results = list(score_all(profile, paths))
    assert [path for path, _, _ in results] == paths
    assert [media is None for _, media, _ in results] == [False, True, False, False, True, False]
    kinds = [type(scored) for _, _, scored in results]
    assert kinds == [Scored, MediaError, MediaError, Scored, MediaError, Scored]
    assert "text.png" in str(results[1][2])
    assert "too small" in str(results[2][2])
    assert [results[i][2].scores[0] for i in (0, 3, 5)] == [10, 20, 30]  # type: ignore[union-attr]


@pytest.mark.parametrize("count", [1, 3])
def test_nothing_but_bad_pictures_is_nothing_but_errors(
    profile: Profile, detector: Counting, tmp_path: Path, count: int
) -> None:
    paths = [tmp_path / f"{i}.png" for i in range(count)]
    assert all(isinstance(scored, MediaError) for _, _, scored in score_all(profile, paths))
    assert detector.batches == []


def test_a_batch_of_large_pictures_is_shorter(
    profile: Profile, detector: Counting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anomalist.vision.batches._MOST_PIXELS", 3 * 40 * 40)
    assert len(list(score_all(profile, [even(tmp_path, grey, side=40) for grey in range(7)]))) == 7
    assert detector.batches == [3, 3, 1]


def test_scores_do_not_wait_for_pictures_of_later_batches(profile: Profile, tmp_path: Path) -> None:
    paths = [even(tmp_path, grey) for grey in range(16)]

    def endless() -> object:
        yield from paths
        raise AssertionError("a picture of the next batch was read first")

    results = score_all(profile, endless())  # type: ignore[arg-type]
    assert [next(results)[0] for _ in range(16)] == paths
