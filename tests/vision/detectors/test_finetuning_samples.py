"""Training samples: synthetic defects on normal pictures and known ones, labelled by what can be seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from anomalist.errors import MediaError
from anomalist.types.common import BoolArray, UInt8Array
from anomalist.vision.detectors.finetuning import (
    DefectSampler,
    TrainingSample,
    known_defect_samples,
    label_to_half_size,
)
from anomalist.vision.detectors.fusion import PatchBank
from anomalist.vision.detectors.labelled_defects import KnownDefect
from anomalist.vision.features.backbones import to_working_size
from anomalist.vision.features.extractor import FeatureExtractor, to_half_size
from anomalist.vision.synthetic_defects import DEFECT, IGNORE, NORMAL
from tests.pictures import holed, tile

SIDE = 128
PLAIN = [np.full((SIDE, SIDE, 3), 60 + 30 * number, np.uint8) for number in range(4)]


def drawn(
    sampler: DefectSampler, count: int, among: Sequence[int] | None = None, seed: int = 0
) -> list[TrainingSample]:
    rng = np.random.default_rng(seed)
    numbers = np.arange(len(sampler.normals)) if among is None else np.array(among)
    return [sampler.sample(rng, numbers) for _ in range(count)]


SAMPLES = drawn(DefectSampler([tile(number, SIDE) for number in range(4)]), 60)


# --- synthetic ----------------------------------------------------------------------------------------------


def test_a_sample_is_a_picture_with_a_label_for_every_pixel_and_its_source() -> None:
    for sample in SAMPLES:
        assert (sample.picture.dtype, sample.label.dtype) == (np.uint8, np.uint8)
        assert sample.picture.shape == (*sample.label.shape, 3)
        assert set(np.unique(sample.label)) <= {NORMAL, DEFECT, IGNORE}
    assert {sample.source for sample in SAMPLES} == {0, 1, 2, 3}


def test_samples_are_seen_at_both_scales_of_inspection() -> None:
    sides = [sample.picture.shape[0] for sample in SAMPLES]
    assert set(sides) == {SIDE, SIDE // 2}
    assert 0.3 < np.mean([side == SIDE // 2 for side in sides]) < 0.7


def test_some_pictures_stay_clean_and_most_get_a_defect_that_is_small_enough_to_be_one() -> None:
    shares = [np.mean(sample.label == DEFECT) for sample in SAMPLES]
    assert 0.15 < np.mean(np.array(shares) == 0) < 0.7
    assert max(shares) > 0.01
    assert np.median(shares) < 0.2


def test_where_nothing_was_put_nothing_is_called_a_defect() -> None:
    """Undisturbed plain pictures: what is not as before is labelled, and what is as before is normal."""
    clean = compared = 0
    for sample in drawn(DefectSampler(PLAIN), 80):
        before = int(PLAIN[sample.source][0, 0, 0])
        changed = np.abs(sample.picture.astype(int) - before).max(2)
        clean += not (sample.label != NORMAL).any()
        if np.median(changed) == 0:  # neither light nor noise were changed
            compared += 1
            assert (sample.label[changed == 0] != DEFECT).mean() > 0.99
            assert (sample.label[changed > 8] != NORMAL).all()
    assert clean > 5
    assert compared > 10


def test_only_the_pictures_that_were_asked_for_are_used() -> None:
    assert {sample.source for sample in drawn(DefectSampler(PLAIN), 30, among=[1, 3])} == {1, 3}
    assert {sample.source for sample in drawn(DefectSampler(PLAIN), 5, among=[2])} == {2}


def test_samples_follow_the_seed_and_leave_the_normals_as_they_are() -> None:
    normals = [tile(number, SIDE) for number in range(2)]
    first, again, other = (drawn(DefectSampler(normals), 6, seed=seed) for seed in (4, 4, 5))
    assert all(np.array_equal(a.picture, b.picture) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a.picture, b.picture) for a, b in zip(first, other, strict=True))
    assert all(np.array_equal(normal, tile(number, SIDE)) for number, normal in enumerate(normals))


@pytest.mark.parametrize("shape", [(32, 2304), (32, 32), (256, 544)])
def test_normals_of_any_working_size_and_of_several_make_samples(shape: tuple[int, int]) -> None:
    normals = [np.random.default_rng(0).integers(90, 130, (*shape, 3), dtype=np.uint8), tile(1, SIDE)]
    for sample in drawn(DefectSampler(normals), 12):
        normal = normals[sample.source]
        assert sample.picture.shape in (normal.shape, to_half_size(normal).shape)
        assert sample.picture.shape[:2] == sample.label.shape


@pytest.mark.parametrize("shape", [(32, 32), (64, 96), (128, 320)])
def test_a_label_is_halved_as_its_picture_and_only_what_is_mostly_defect_stays_one(
    shape: tuple[int, int],
) -> None:
    label = np.full(shape, NORMAL, np.uint8)
    label[: shape[0] // 2, : shape[1] // 2] = DEFECT
    label[shape[0] // 2 :, shape[1] // 2 :] = IGNORE
    small = label_to_half_size(label)
    assert small.dtype == np.uint8
    assert small.shape == to_half_size(np.zeros((*shape, 3), np.uint8)).shape[:2]
    for half in (label, small):
        rows, columns = (length // 2 for length in half.shape)
        assert (half[: rows - 1, : columns - 1] == DEFECT).all()
        assert (half[rows + 1 :, columns + 1 :] == IGNORE).all()
        assert (half[: rows - 1, columns + 1 :] == NORMAL).all()


@pytest.mark.parametrize(("pixels", "halves_to"), [(0, NORMAL), (1, IGNORE), (2, DEFECT), (4, DEFECT)])
def test_a_pixel_of_the_halved_label_is_the_four_that_it_stands_for(pixels: int, halves_to: int) -> None:
    label = np.full((64, 64), NORMAL, np.uint8)
    block = np.zeros(4, bool)
    block[:pixels] = True
    label[10:12, 20:22] = np.where(block.reshape(2, 2), DEFECT, NORMAL)
    small = label_to_half_size(label)
    assert small[5, 10] == halves_to
    assert (np.delete(small.ravel(), 5 * 32 + 10) == NORMAL).all()


# --- known defects ----------------------------------------------------------------------------------------


def hole_mask(side: int = 64) -> BoolArray:
    y, x = np.mgrid[:side, :side]
    return np.asarray((y - side // 4) ** 2 + (x - side // 4) ** 2 < (side // 10) ** 2)


def known(mask: BoolArray | None, picture: UInt8Array | None = None) -> KnownDefect:
    return KnownDefect("hole/a", "hole", holed(70) if picture is None else picture, mask)


def test_known_defects_are_taught_beside_synthetic_ones_and_come_from_no_normal() -> None:
    label = np.full((SIDE, SIDE), IGNORE, np.uint8)
    label[6:10] = DEFECT
    samples = drawn(DefectSampler(PLAIN, [(tile(9, SIDE), label)]), 60)
    real = [sample for sample in samples if sample.source == -1]
    assert 10 < len(real) < 40
    shares = [np.mean(sample.label == DEFECT) for sample in real]  # at either size
    assert shares == pytest.approx([np.mean(label == DEFECT)] * len(real))
    assert {sample.source for sample in samples} == {-1, 0, 1, 2, 3}


def test_a_mask_is_a_defect_with_a_rim_that_is_ignored(
    extractor: FeatureExtractor, remembered: PatchBank
) -> None:
    ((picture, label),) = known_defect_samples(extractor, remembered, [known(hole_mask())])
    assert np.array_equal(picture, to_working_size(holed(70)))
    assert label.shape == (128, 128)
    enlarged = np.kron(hole_mask(), np.ones((2, 2))) > 0
    assert (label == DEFECT).sum() == pytest.approx(enlarged.sum(), rel=0.05)
    assert (label[enlarged] != NORMAL).all()
    distance = np.hypot(*(np.mgrid[:128, :128] - 32))
    assert (label[distance > 2 * 6 + 8] == NORMAL).all()
    assert (label == IGNORE).any()


def test_a_mask_too_small_for_the_working_size_is_still_a_defect(
    extractor: FeatureExtractor, remembered: PatchBank
) -> None:
    picture, mask = tile(3, 1000), np.zeros((1000, 1000), bool)
    mask[500, 500] = True
    ((_, label),) = known_defect_samples(extractor, remembered, [known(mask, picture)])
    assert label.shape == (384, 384)
    assert 1 <= (label == DEFECT).sum() <= 4


def test_without_a_mask_the_most_suspicious_is_the_defect_and_nothing_is_called_normal(
    extractor: FeatureExtractor, remembered: PatchBank
) -> None:
    ((_, label),) = known_defect_samples(extractor, remembered, [known(None)])
    assert set(np.unique(label)) == {DEFECT, IGNORE}
    rows, columns = np.nonzero(label == DEFECT)
    assert len(rows) == pytest.approx(0.01 * label.size, rel=0.2)
    assert np.median(np.hypot(rows - 32, columns - 32)) < 14


def test_no_known_defects_are_no_samples(extractor: FeatureExtractor, remembered: PatchBank) -> None:
    assert known_defect_samples(extractor, remembered, []) == []


def test_a_known_defect_that_can_not_be_judged_is_refused(
    extractor: FeatureExtractor, remembered: PatchBank
) -> None:
    with pytest.raises(MediaError, match="At least 16"):
        known_defect_samples(extractor, remembered, [known(None, np.zeros((8, 8, 3), np.uint8))])
