"""From normal pictures to calibration: which are taken, how they are grouped, how they are scored."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from anomalist.errors import DataError, MediaError
from anomalist.types.common import BoolArray, UInt8Array
from anomalist.vision.calibration import Partition, partition
from anomalist.vision.detectors.base import DetectorOutput, LearningData, LearningSettings, no_progress
from anomalist.vision.learning import (
    MAX_NORMALS,
    PLACE_SHARE,
    NormalSet,
    calibrate,
    normal_entries,
    read_normals,
    sample_paths,
)
from tests.detectors import GreyDetector
from tests.pictures import write


def even(grey: int, side: int = 8) -> UInt8Array:
    return np.full((side, side, 3), grey, np.uint8)


def normals_in(folder: Path, greys: Sequence[int]) -> NormalSet:
    paths = [write(folder / f"{i:02d}.png", even(grey)) for i, grey in enumerate(greys)]
    return read_normals(paths, None, GreyDetector, no_progress)


# --- which pictures ---------------------------------------------------------------------------------------

MANY = [Path(f"{i:05d}.png") for i in range(MAX_NORMALS + 500)]


@pytest.mark.parametrize(
    ("n", "limit", "kept"),
    [(5, None, 5), (5, 5, 5), (5, 9, 5), (5, 2, 2), (1500, None, 1000), (1500, 1200, 1000), (1500, 100, 100)],
)
def test_at_most_so_many_pictures_are_drawn(n: int, limit: int | None, kept: int) -> None:
    drawn = sample_paths(MANY[:n], limit, seed=0)
    assert len(drawn) == len(set(drawn)) == kept
    assert drawn == sorted(drawn)


def test_the_sample_follows_the_seed_and_is_not_just_the_first() -> None:
    assert sample_paths(MANY, 50, 1) == sample_paths(MANY, 50, 1)
    assert sample_paths(MANY, 50, 1) != sample_paths(MANY, 50, 2)
    assert sample_paths(MANY, 50, 1)[-1] > MANY[750]


@pytest.mark.parametrize("limit", [1, 0, -3])
def test_a_limit_that_leaves_nothing_to_compare_is_refused(limit: int) -> None:
    with pytest.raises(DataError, match="At least 2 pictures"):
        sample_paths(MANY, limit, 0)


# --- reading ----------------------------------------------------------------------------------------------


def test_pictures_are_read_once_and_progress_is_told(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{i}.png", even(i)) for i in range(3)]
    told: list[tuple[str, int, int]] = []
    normals = read_normals(paths, None, GreyDetector, lambda *what: told.append(what))
    assert told == [("reading", 1, 3), ("reading", 2, 3), ("reading", 3, 3)]
    assert normals.paths == tuple(paths)
    assert [int(picture.max()) for picture in normals.pictures] == [0, 1, 2]
    assert normals.groups.tolist() == [0, 1, 2]
    assert normals.names == normals.skipped == ()
    assert len(set(normals.hashes)) == 3


def test_copies_of_one_file_belong_together(tmp_path: Path) -> None:
    first = write(tmp_path / "a.png", even(1))
    other = write(tmp_path / "b.png", even(2))
    copy = Path(shutil.copy(first, tmp_path / "c.png"))
    assert read_normals([first, other, copy], None, GreyDetector, no_progress).groups.tolist() == [0, 1, 0]
    with pytest.raises(DataError, match=r"At least 2 different normal pictures .* found 1\."):
        read_normals([first, copy], None, GreyDetector, no_progress)


def test_copies_of_one_file_in_different_groups_are_an_error_that_names_them(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{i}.png", even(i)) for i in range(2)]
    paths.append(Path(shutil.copy(paths[0], tmp_path / "copy.png")))
    groups = {"0.png": "left", "1.png": "right", "copy.png": "right"}
    with pytest.raises(DataError, match=r"0\.png and .*copy\.png are the same picture .* left and right"):
        read_normals(paths, groups, GreyDetector, no_progress)
    assert read_normals(paths, groups | {"copy.png": "left"}, GreyDetector, no_progress).names[2] == "left"


def test_named_groups_are_kept_with_their_names(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{i}.png", even(i)) for i in range(4)]
    groups = {"0.png": "left", "1.png": "right", "2.png": "left", "3.png": "right", "9.png": "absent"}
    normals = read_normals(paths, groups, GreyDetector, no_progress)
    assert normals.groups.tolist() == [0, 1, 0, 1]
    assert normals.names == ("left", "right", "left", "right")


@pytest.mark.parametrize("groups", [{}, {"0.png": "g"}])
def test_a_picture_without_a_named_group_is_an_error(tmp_path: Path, groups: dict[str, str]) -> None:
    paths = [write(tmp_path / f"{i}.png", even(i)) for i in range(2)]
    with pytest.raises(DataError, match="no group"):
        read_normals(paths, groups, GreyDetector, no_progress)


def test_one_group_alone_is_not_enough(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{i}.png", even(i)) for i in range(3)]
    with pytest.raises(DataError, match="At least 2 groups of normal pictures"):
        read_normals(paths, dict.fromkeys(["0.png", "1.png", "2.png"], "g"), GreyDetector, no_progress)


def test_what_can_not_be_read_or_judged_is_listed_and_the_rest_is_used(tmp_path: Path) -> None:
    good = [write(tmp_path / f"{i}.png", even(i)) for i in range(2)]
    (tmp_path / "text.png").write_text("not a picture", encoding="utf-8")
    speck = write(tmp_path / "speck.png", even(9, side=2))
    paths = [good[0], tmp_path / "text.png", tmp_path / "gone.png", speck, good[1]]
    normals = read_normals(paths, None, GreyDetector, no_progress)
    assert normals.paths == tuple(good)
    assert len(normals.pictures) == len(normals.hashes) == len(normals.groups) == 2
    assert [reason.split(":")[0] for reason in normals.skipped] == [str(path) for path in paths[1:4]]
    assert "too small" in normals.skipped[2]


def test_nothing_readable_is_an_error_that_says_why(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("not a picture", encoding="utf-8")
    with pytest.raises(DataError, match=r"found 0\. Skipped: .*text\.png.* need 19 or more"):
        read_normals([tmp_path / "text.png"], None, GreyDetector, no_progress)


# --- calibration ------------------------------------------------------------------------------------------


def learned(normals: NormalSet, parts: Partition) -> GreyDetector:
    return GreyDetector.learn(
        LearningData(normals.pictures, normals.groups, parts), LearningSettings(), no_progress
    )


def test_every_picture_is_scored_by_the_model_that_has_not_seen_it(tmp_path: Path) -> None:
    greys = [100, 104, 110, 90, 97, 120, 101]
    normals = normals_in(tmp_path, greys)
    parts = partition(normals.groups, seed=1)
    calibration, levels = calibrate(learned(normals, parts), normals, parts, None, 1, no_progress)
    expected = [
        abs(greys[i] - np.mean([greys[j] for j in learning]))
        for learning, apart in parts.folds
        for i in apart
    ]
    assert len(parts.folds) == 4
    assert calibration.scores == pytest.approx(expected)
    assert calibration.folds.tolist() == [k for k, (_, apart) in enumerate(parts.folds) for _ in apart]
    assert calibration.n_groups == 7
    assert calibration.seed == 1
    assert levels.low == pytest.approx(np.median(expected))
    assert levels.place == pytest.approx(max(expected), rel=0.01)


def test_groups_stay_together_in_the_calibration_set(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{i}.png", even(i)) for i in range(8)]
    normals = read_normals(paths, {f"{i}.png": "abcd"[i // 2] for i in range(8)}, GreyDetector, no_progress)
    parts = Partition((((0, 1, 4, 5), (6, 7, 2, 3)),))
    told: list[tuple[str, int, int]] = []
    calibration, _ = calibrate(
        learned(normals, parts), normals, parts, None, 0, lambda *what: told.append(what)
    )
    assert calibration.method == "split"
    assert calibration.groups.tolist() == [1, 1, 0, 0]
    assert told[-1] == ("calibrating", 4, 4)


def test_the_low_level_is_that_of_what_counts(tmp_path: Path) -> None:
    picture = even(100, side=40)
    picture[:, :4] = 250  # a bright rim
    paths = [write(tmp_path / f"{i}.png", picture + np.uint8(i)) for i in range(2)]
    normals = read_normals(paths, None, GreyDetector, no_progress)
    parts = partition(normals.groups, 0)
    inside = np.ones((20, 20), bool)
    inside[:, :3] = False
    detector = GreyDetector(np.array([100.0, 100.0]))
    assert calibrate(detector, normals, parts, None, 0, no_progress)[1].low > 100
    assert calibrate(detector, normals, parts, inside, 0, no_progress)[1].low < 2


class Broken(GreyDetector):
    """Gives no number for the darkest pictures."""

    def score(
        self, pictures: Sequence[UInt8Array], roi: BoolArray | None = None, fold: int | None = None
    ) -> list[DetectorOutput]:
        return [
            DetectorOutput(scored.scores + (np.nan if picture.max() == 0 else 0), scored.score_map)
            for picture, scored in zip(pictures, super().score(pictures, roi, fold), strict=True)
        ]


def test_a_normal_picture_without_a_finite_score_is_an_error_that_names_it(tmp_path: Path) -> None:
    normals = normals_in(tmp_path, [5, 0])
    parts = partition(normals.groups, 0)
    with pytest.raises(MediaError, match=r"no finite score .*01\.png"):
        calibrate(Broken(np.ones(2)), normals, parts, None, 0, no_progress)


def test_the_manifest_lists_what_each_picture_was_used_for(tmp_path: Path) -> None:
    normals = normals_in(tmp_path, [1, 2, 3])
    split = normal_entries(normals, Partition((((0, 2), (1,)),)))
    assert [normal.use for normal in split] == ["learn", "calibrate", "learn"]
    assert [normal.sha256 for normal in split] == list(normals.hashes)
    assert split[0].source == str(normals.paths[0])
    assert split[0].group is None
    crossed = normal_entries(normals, Partition((((0, 2), (1,)), ((1,), (0, 2)))))
    assert [normal.use for normal in crossed] == ["both"] * 3


def test_a_stated_share_of_normal_pixels_reaches_the_level_of_a_place(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = rng.exponential(20, (4, 64, 64, 1)).clip(0, 255).astype(np.uint8)
    paths = [write(tmp_path / f"{i}.png", np.repeat(grey, 3, 2)) for i, grey in enumerate(noise)]
    normals = read_normals(paths, None, GreyDetector, no_progress)
    parts = partition(normals.groups, 0)
    detector = GreyDetector(np.zeros(len(parts.folds)))
    _, levels = calibrate(detector, normals, parts, None, 0, no_progress)
    assert (noise > levels.place).mean() == pytest.approx(PLACE_SHARE, rel=0.3)
