"""The surface detector: learned, stored and read again with the same scores, cross-fitted, naming regions."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from anomalist.errors import DetectorError, MediaError
from anomalist.types.common import BoolArray, UInt8Array
from anomalist.vision.calibration import Partition
from anomalist.vision.detectors import surface
from anomalist.vision.detectors.base import (
    DetectorOutput,
    LearningData,
    LearningSettings,
    Progress,
    detector_class,
    no_progress,
)
from anomalist.vision.detectors.labelled_defects import KnownDefect
from anomalist.vision.detectors.multiscale import FoldModel
from anomalist.vision.detectors.surface import SurfaceDetector
from anomalist.vision.regions import find_regions
from tests.pictures import SIDE, holed, tile

FOLDS = Partition((((0, 1, 2, 3), (4, 5, 6, 7)), ((4, 5, 6, 7), (0, 1, 2, 3))))


def scratched(number: int) -> UInt8Array:
    """A tile with a bright line across its lower half."""
    picture = tile(number)
    picture[44:47, 6:58] = 250
    return picture


def mask_of(bad: UInt8Array, number: int) -> BoolArray:
    return np.asarray((bad != tile(number)).any(2))


def defects() -> list[KnownDefect]:
    """Three of either kind; the last has no mask."""
    found = []
    for kind, draw in (("hole", holed), ("scratch", scratched)):
        for number in range(200, 203):
            bad = draw(number)
            mask = None if (kind, number) == ("hole", 202) else mask_of(bad, number)
            found.append(KnownDefect(f"{kind}/{number}", kind, bad, mask))
    return found


def learned(
    pictures: Sequence[UInt8Array],
    parts: Partition,
    *,
    effort: str = "fast",
    known: Sequence[KnownDefect] = (),
    roi: BoolArray | None = None,
    seed: int = 0,
    progress: Progress = no_progress,
) -> SurfaceDetector:
    prepared = [SurfaceDetector.prepare(picture) for picture in pictures]
    data = LearningData(prepared, np.arange(len(pictures)), parts, roi, known)
    return SurfaceDetector.learn(data, LearningSettings(effort, seed), progress)


TILES = [tile(number) for number in range(8)]
NEW = [tile(300), holed(301), scratched(302), tile(303, 96)]


@pytest.fixture(scope="module")
def fast() -> SurfaceDetector:
    return learned(TILES, FOLDS, known=defects())


@pytest.fixture(scope="module")
def trained() -> SurfaceDetector:
    """Two steps for each of two folds, on four normals."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(surface.EFFORTS, "normal", 4)
        parts = Partition((((0, 1), (2, 3)), ((2, 3), (0, 1))))
        return learned(TILES[:4], parts, effort="normal", known=defects()[:2])


def assert_same(first: Sequence[DetectorOutput], second: Sequence[DetectorOutput], tolerance: float) -> None:
    for one, other in zip(first, second, strict=True):
        assert one.scores == pytest.approx(other.scores, abs=tolerance)
        assert one.score_map == pytest.approx(other.score_map, abs=tolerance)


# --- learning ---------------------------------------------------------------------------------------------


def test_the_detector_is_found_by_its_name() -> None:
    assert SurfaceDetector.name == "surface"
    assert detector_class("surface") is SurfaceDetector


def test_every_fold_remembers_its_own_pictures_by_their_numbers(fast: SurfaceDetector) -> None:
    assert fast.folds == len(fast.fold_models) == 2
    for fold, (learning, _) in zip(fast.fold_models, FOLDS.folds, strict=True):
        assert set(fold.whole.normality.bank.pictures.tolist()) == set(learning)
        assert fold.fine is None


def test_a_picture_is_usual_only_for_the_fold_that_knows_it(fast: SurfaceDetector) -> None:
    for fold, (learning, apart) in enumerate(FOLDS.folds):
        known, new = (
            np.mean([scored.scores[0] for scored in fast.score([TILES[i] for i in some], fold=fold)])
            for some in (learning, apart)
        )
        assert known < new


def test_defects_score_higher_than_anything_normal_in_every_fold(fast: SurfaceDetector) -> None:
    good = fast.score([tile(number) for number in range(310, 318)])
    bad = fast.score([holed(320), scratched(321)])
    highest = np.stack([scored.scores for scored in good]).max(0)
    assert (np.stack([scored.scores for scored in bad]).min(0) > highest + 1).all()
    row, column = np.unravel_index(bad[0].score_map.argmax(), (SIDE, SIDE))
    assert abs(row - 16) < 9 and abs(column - 16) < 9


def test_learning_twice_with_one_seed_gives_the_same_scores(fast: SurfaceDetector) -> None:
    assert_same(learned(TILES, FOLDS).score(NEW[:2]), fast.score(NEW[:2]), 1e-6)


def test_training_gives_every_fold_a_head_of_its_own_and_tells_its_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(surface.EFFORTS, "normal", 2)
    told: list[tuple[str, int, int]] = []
    parts = Partition((((0, 1), (2,)), ((2, 1), (0,))))
    detector = learned(
        [picture[:32, :32] for picture in TILES[:3]],
        parts,
        effort="normal",
        progress=lambda *k: told.append(k),
    )
    assert [fold.whole.head for fold in detector.fold_models] == [1, 2]
    assert len(detector.heads) == 3
    assert told == [
        *(("remembering", 1, 4), ("remembering", 2, 4), ("adapting", 1, 2)),
        *(("remembering", 3, 4), ("remembering", 4, 4), ("adapting", 2, 2)),
    ]


def test_without_training_all_folds_share_the_shipped_head(fast: SurfaceDetector) -> None:
    assert [fold.whole.head for fold in fast.fold_models] == [0, 0]
    assert fast.heads == (fast.extractor.network.head,)


def test_an_effort_that_is_none_is_refused() -> None:
    with pytest.raises(DetectorError, match=r"'extreme' is unknown\. Known: fast, normal, thorough"):
        learned(TILES[:2], Partition((((0,), (1,)),)), effort="extreme")


# --- scoring ----------------------------------------------------------------------------------------------


def test_scores_come_in_order_one_a_fold_with_a_map_of_the_pictures_size(fast: SurfaceDetector) -> None:
    together = fast.score(NEW)
    for picture, scored in zip(NEW, together, strict=True):
        assert scored.scores.shape == (2,)
        assert scored.scores.dtype == np.float64
        assert scored.score_map.shape == picture.shape[:2]
        assert scored.score_map.dtype == np.float32
    assert_same(together, [fast.score([picture])[0] for picture in NEW], 1e-3)
    assert fast.score([]) == []


def test_one_fold_alone_gives_its_own_score_and_all_their_mean_map(fast: SurfaceDetector) -> None:
    both, first, second = (fast.score(NEW[:2], fold=fold) for fold in (None, 0, 1))
    for all_, *each in zip(both, first, second, strict=True):
        assert all_.scores.tolist() == pytest.approx([own.scores[0] for own in each], abs=1e-5)
        assert all_.score_map == pytest.approx(np.mean([own.score_map for own in each], axis=0), abs=1e-4)


def test_what_lies_outside_the_region_of_interest_does_not_raise_the_score(fast: SurfaceDetector) -> None:
    lower = np.zeros((SIDE, SIDE), bool)
    lower[36:] = True
    (inside,), (outside,), (everywhere,) = (fast.score([holed(330)], roi) for roi in (~lower, lower, None))
    assert inside.scores == pytest.approx(everywhere.scores)
    assert outside.scores.max() < everywhere.scores.min() - 1
    assert np.array_equal(outside.score_map, everywhere.score_map)


def test_two_threads_give_the_scores_of_one(fast: SurfaceDetector) -> None:
    one = fast.score(NEW[:1])
    torch.set_num_threads(2)
    try:
        two = fast.score(NEW[:1])
    finally:
        torch.set_num_threads(1)
    assert_same(one, two, 1e-3)


def test_specks_are_refused(fast: SurfaceDetector) -> None:
    for work in (SurfaceDetector.prepare, lambda picture: fast.score([picture])):
        with pytest.raises(MediaError, match="At least 16"):
            work(np.zeros((15, 64, 3), np.uint8))


def test_the_normal_patch_most_like_a_known_picture_is_its_own(fast: SurfaceDetector) -> None:
    alike = fast.nearest_normal_patch(TILES[2], (16, 40, 20, 44))
    assert alike.picture == 2
    assert alike.centre == pytest.approx((18 / SIDE, 42 / SIDE), abs=0.05)
    assert fast.nearest_normal_patch(holed(340), (0, 0, SIDE, SIDE)).picture in (0, 1, 2, 3)


# --- known defects ----------------------------------------------------------------------------------------


def names(detector: SurfaceDetector, bad: UInt8Array, mask: BoolArray) -> list[str | None]:
    regions = find_regions(bad, mask.astype(np.float32), mask)
    return [kind and kind.name for kind in detector.name_regions(bad, regions)]


def test_regions_are_named_by_the_known_defects_that_they_are_like(fast: SurfaceDetector) -> None:
    for kind, draw in (("hole", holed), ("scratch", scratched)):
        bad = draw(350)
        mask = mask_of(bad, 350)
        regions = find_regions(bad, mask.astype(np.float32), mask)
        largest = max(regions, key=lambda region: region.area)
        (found,) = fast.name_regions(bad, [largest])
        assert found is not None
        assert found.name in (kind, None)  # a small difference from all may be unlike any
        assert found.cases[0].startswith(f"case:{kind}/")
        assert found.similarity > 0.5


def test_every_known_defect_is_a_case_and_like_itself(fast: SurfaceDetector) -> None:
    assert fast.cases is not None
    assert fast.cases.ids == tuple(defect.id for defect in defects())
    assert fast.cases.kinds == ("hole",) * 3 + ("scratch",) * 3
    assert np.linalg.norm(fast.cases.vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert names(fast, holed(200), mask_of(holed(200), 200)) == ["hole"]


def test_nothing_is_named_where_nothing_is_known_or_nothing_was_found(fast: SurfaceDetector) -> None:
    ignorant = SurfaceDetector(fast.extractor, fast.heads, fast.fold_models)
    assert names(ignorant, holed(200), mask_of(holed(200), 200)) == [None]
    assert fast.name_regions(holed(200), []) == []


# --- storing ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["fast", "trained"])
def test_what_is_read_back_scores_and_names_as_what_was_stored(
    which: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    detector: SurfaceDetector = request.getfixturevalue(which)
    detector.save(tmp_path / "detector.safetensors")
    again = SurfaceDetector.load(tmp_path / "detector.safetensors")
    assert again.folds == detector.folds
    assert_same(again.score(NEW[:2]), detector.score(NEW[:2]), 1e-6)
    assert again.nearest_normal_patch(NEW[0], (3, 3, 9, 9)) == detector.nearest_normal_patch(
        NEW[0], (3, 3, 9, 9)
    )
    assert detector.cases is not None and again.cases is not None
    assert np.array_equal(again.cases.vectors, detector.cases.vectors)
    assert (again.cases.ids, again.cases.kinds) == (detector.cases.ids, detector.cases.kinds)
    assert again.cases.limit == detector.cases.limit
    bad, mask = holed(360), mask_of(holed(360), 360)
    regions = find_regions(bad, mask.astype(np.float32), mask)
    assert again.name_regions(bad, regions) == detector.name_regions(bad, regions)


def test_heads_stay_with_their_folds(trained: SurfaceDetector, tmp_path: Path) -> None:
    trained.save(tmp_path / "detector.safetensors")
    again = SurfaceDetector.load(tmp_path / "detector.safetensors")
    assert [fold.whole.head for fold in again.fold_models] == [1, 2]
    for one, other in zip(trained.heads, again.heads, strict=True):
        state = other.state_dict()
        assert all(torch.equal(value, state[name]) for name, value in one.state_dict().items())
    assert not any(head.training for head in again.heads)


def test_tiles_and_no_cases_are_stored_too(fast: SurfaceDetector, tmp_path: Path) -> None:
    """A fold that knows tiles, as large pictures give it: the file does not care what they show."""
    whole = fast.fold_models[0].whole
    folds = [FoldModel(whole, fast.fold_models[1].whole), FoldModel(copy.deepcopy(whole))]
    detector = SurfaceDetector(fast.extractor, fast.heads, folds)
    detector.save(tmp_path / "detector.safetensors")
    again = SurfaceDetector.load(tmp_path / "detector.safetensors")
    assert again.cases is None
    assert [fold.fine is None for fold in again.fold_models] == [False, True]
    fine, before = again.fold_models[0].fine, detector.fold_models[0].fine
    assert fine is not None and before is not None
    assert np.array_equal(fine.normality.bank.vectors, before.normality.bank.vectors)
    assert np.array_equal(fine.logit_scale.mean, before.logit_scale.mean)
    assert np.array_equal(fine.self_reference_scale.mean, before.self_reference_scale.mean)
    assert np.array_equal(fine.bank_scale.spread, before.bank_scale.spread)
    numbers = (fine.level, fine.normality.mean, fine.normality.spread)
    assert numbers == (before.level, before.normality.mean, before.normality.spread)
    assert again.fold_models[0].whole.level == whole.level != fine.level


def test_the_same_state_is_stored_as_the_same_bytes(fast: SurfaceDetector, tmp_path: Path) -> None:
    fast.save(tmp_path / "one")
    fast.save(tmp_path / "two")
    SurfaceDetector.load(tmp_path / "one").save(tmp_path / "three")
    first, second, third = ((tmp_path / name).read_bytes() for name in ("one", "two", "three"))
    assert first == second == third
