"""One fold: what is remembered of normals, scales that make maps comparable, and their sum."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalist.types.common import BoolArray, FloatArray, UInt8Array
from anomalist.vision.detectors.fusion import (
    TOP_PIXELS,
    FusionModel,
    NormalImages,
    PatchBank,
    build_patch_bank,
    cell_peaks,
    distances_excluding,
    fit_model,
    image_score,
    same_group,
)
from anomalist.vision.detectors.memory_bank import MemoryBank, build_bank, join_patches, sample_patches
from anomalist.vision.features.backbones import to_working_size
from anomalist.vision.features.extractor import FeatureBatch, FeatureExtractor
from tests.pictures import holed, tile


def units(*shape: int, seed: int = 0) -> FloatArray:
    drawn = np.random.default_rng(seed).normal(size=shape)
    return np.asarray(drawn / np.linalg.norm(drawn, axis=-1, keepdims=True), np.float32)


def numbers(*several: int) -> npt.NDArray[np.int32]:
    return np.array(several, np.int32)


def bank_of(several: Sequence[FloatArray], left_out: Sequence[int] = ()) -> MemoryBank:
    """All patches of pictures (h, w, d) but for those of some."""
    rng = np.random.default_rng(0)
    parts = [sample_patches(own, k, None, 10_000, rng) for k, own in enumerate(several) if k not in left_out]
    return build_bank(join_patches(parts), 0)


def one_look(extractor: FeatureExtractor, picture: UInt8Array) -> FeatureBatch:
    (batch,) = extractor.extract([to_working_size(picture)])
    return batch


# --- novelty ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 4)])
def test_novelty_is_the_distance_as_a_z_score_of_the_normals(shape: tuple[int, ...]) -> None:
    bank = bank_of([units(4, 4, 8)])
    new = units(*shape, 8, seed=1)
    found = PatchBank(bank, 0.3, 0.1).novelty(new)
    expected = (bank.distances(new.reshape(-1, 8)).reshape(shape) - 0.3) / (0.1 + 0.02)
    assert (found.shape, found.dtype) == (shape, np.float32)
    assert found == pytest.approx(np.clip(expected, -4, 12), abs=1e-4)


@pytest.mark.parametrize("left_out", [(), (0,), (1, 2), (0, 1, 3)])
def test_what_is_left_out_might_as_well_never_have_been_seen(left_out: tuple[int, ...]) -> None:
    pictures = [units(4, 5, 8, seed=k) for k in range(4)]
    without = PatchBank(bank_of(pictures, left_out), 0.5, 0.2)
    found = PatchBank(bank_of(pictures), 0.5, 0.2).novelty_excluding(pictures[1], numbers(*left_out))
    assert found.shape == (4, 5)
    assert found == pytest.approx(without.novelty(pictures[1]), abs=1e-5)


def test_a_picture_is_novel_only_when_it_is_left_out() -> None:
    pictures = [units(4, 5, 8, seed=k) for k in range(4)]
    known = PatchBank(bank_of(pictures), 0.1, 0.1)
    assert known.novelty(pictures[2]).max() < 0
    assert known.novelty_excluding(pictures[2], numbers(2)).mean() > 1


def test_when_nothing_else_is_known_nothing_is_left_out() -> None:
    pictures = [units(3, 3, 8, seed=k) for k in range(2)]
    bank = bank_of(pictures)
    for all_of_them in (numbers(0, 1), numbers(1, 0, 7)):
        assert np.array_equal(
            distances_excluding(bank, pictures[0], all_of_them),
            distances_excluding(bank, pictures[0], numbers()),
        )


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.data())
def test_a_picture_is_new_to_all_groups_but_its_own(labels: list[int], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(labels) - 1))
    found = same_group(np.array(labels, np.int64), index)
    assert found.dtype == np.int32
    if len(set(labels)) == 1:
        assert found.tolist() == [index]  # or nothing would be left to compare it with
    else:
        assert found.tolist() == [k for k, label in enumerate(labels) if label == labels[index]]


# --- remembering ------------------------------------------------------------------------------------------


def test_left_out_normal_patches_are_as_novel_as_usual(
    extractor: FeatureExtractor, normals: Sequence[UInt8Array], remembered: PatchBank
) -> None:
    novelty = [
        remembered.novelty_excluding(batch.descriptors[row], numbers(index))
        for batch in extractor.extract(normals)
        for row, index in enumerate(batch.indices)
    ]
    assert len(novelty) == len(normals)
    assert abs(np.mean(novelty)) < 0.1
    assert 0.3 < np.std(novelty) < 1.1


def test_every_picture_is_remembered_and_told(
    extractor: FeatureExtractor, normals: Sequence[UInt8Array]
) -> None:
    told: list[tuple[int, int]] = []
    several, groups = [normals[0], normals[1][:64], normals[2]], np.array([0, 1, 0])
    first, again, other = (
        build_patch_bank(
            extractor, NormalImages(several, groups, seed), None, lambda *what: told.append(what)
        )
        for seed in (1, 1, 2)
    )
    assert told == [(1, 3), (2, 3), (3, 3)] * 3
    assert np.unique(first.bank.pictures).tolist() == [0, 1, 2]
    assert np.array_equal(first.bank.vectors, again.bank.vectors)
    assert (first.mean, first.spread) == (again.mean, again.spread)
    assert other.bank.vectors.shape == first.bank.vectors.shape


def test_what_is_usual_is_how_far_one_group_is_from_the_next(
    extractor: FeatureExtractor, normals: Sequence[UInt8Array]
) -> None:
    several = [normals[0], normals[0], normals[1], normals[1]]  # two of each
    apart = build_patch_bank(
        extractor, NormalImages(several, np.array([0, 1, 2, 3])), None, lambda done, total: None
    )
    grouped = build_patch_bank(
        extractor, NormalImages(several, np.array([0, 0, 1, 1])), None, lambda done, total: None
    )
    assert apart.mean == pytest.approx(0, abs=1e-3)
    assert grouped.mean > apart.mean + 0.01


def test_what_lies_outside_the_region_of_interest_is_neither_remembered_nor_usual(
    extractor: FeatureExtractor, normals: Sequence[UInt8Array]
) -> None:
    marked = [picture.copy() for picture in normals[:4]]
    for picture in marked:
        picture[:, 64:] = np.random.default_rng(int(picture.sum())).integers(0, 256, (128, 64, 3))
    left = np.zeros((64, 64), bool)
    left[:, :24] = True
    known, everything = (
        build_patch_bank(extractor, NormalImages(marked, np.arange(4)), roi, lambda done, total: None)
        for roi in (left, None)
    )
    assert known.bank.places[:, 0].max() < 0.4
    assert everything.bank.places[:, 0].max() > 0.9
    usual = [
        distances_excluding(known.bank, own, numbers(index))[:, :6]
        for batch in extractor.extract(marked)
        for index, own in zip(batch.indices, batch.descriptors, strict=True)
    ]
    assert known.mean == pytest.approx(np.mean(usual), abs=1e-3)
    assert known.spread == pytest.approx(np.std(usual), abs=1e-3)


# --- scales -----------------------------------------------------------------------------------------------


Maps = tuple[FloatArray, FloatArray, FloatArray]


def maps_as_if_new(
    extractor: FeatureExtractor, model: FusionModel[PatchBank], pictures: Sequence[UInt8Array]
) -> list[Maps]:
    """Logits, self-reference logits and novelty of the learning pictures, each as if it were new."""
    import torch

    found: dict[int, Maps] = {}
    for batch in extractor.extract(pictures):
        rows = zip(batch.indices, batch.descriptors, strict=True)
        novelty = np.stack([model.normality.novelty_excluding(d, numbers(i)) for i, d in rows])
        with torch.inference_mode():
            logits = batch.logits(extractor.network.head, novelty).numpy()
        maps = zip(logits, batch.self_reference_logits(batch.network.head), novelty, strict=True)
        found |= dict(zip(batch.indices, maps, strict=True))
    return [found[index] for index in range(len(pictures))]


def test_the_peaks_of_normal_pictures_are_about_0_in_every_map(
    extractor: FeatureExtractor, model: FusionModel[PatchBank], normals: Sequence[UInt8Array]
) -> None:
    maps = maps_as_if_new(extractor, model, normals)
    for scale, column in ((model.logit_scale, 0), (model.self_reference_scale, 1)):
        scaled = np.stack([cell_peaks(scale.apply(several[column])) for several in maps])
        assert abs(scaled.mean()) < 0.5
        assert 0.4 < scaled.std() < 1.6
    fused = np.stack([cell_peaks(model.fuse(*several)) for several in maps])
    assert -3 < fused.mean() < 1


def test_nine_in_ten_normal_pictures_stay_under_the_level(
    extractor: FeatureExtractor, model: FusionModel[PatchBank], normals: Sequence[UInt8Array]
) -> None:
    maps = maps_as_if_new(extractor, model, normals)
    halved = [(logits[::2, ::2], self_logits[::2, ::2], strange) for logits, self_logits, strange in maps]
    scores = np.array([image_score(model.fuse(*several), None) for several in halved])
    assert len(scores) == 10
    assert (scores > model.level).sum() == 1


def test_pictures_that_are_not_aligned_share_one_scale(
    extractor: FeatureExtractor, remembered: PatchBank, normals: Sequence[UInt8Array]
) -> None:
    groups = np.arange(len(normals))
    shared = fit_model(
        extractor, [extractor.network.head], 0, remembered, NormalImages(normals, groups, aligned=False)
    )
    for scale in (shared.logit_scale, shared.self_reference_scale, shared.bank_scale):
        assert np.ptp(scale.mean) == np.ptp(scale.spread) == 0
    placed = fit_model(extractor, [extractor.network.head], 0, remembered, NormalImages(normals, groups))
    assert np.ptp(placed.logit_scale.mean) > 0
    assert shared.logit_scale.mean[0, 0] == pytest.approx(placed.logit_scale.mean.mean(), abs=1e-3)


# --- maps -------------------------------------------------------------------------------------------------


def test_a_hole_is_the_peak_of_its_map_and_higher_than_anything_normal(
    extractor: FeatureExtractor, model: FusionModel[PatchBank]
) -> None:
    heads = [extractor.network.head]
    (bad,) = model.maps(one_look(extractor, holed(700)), heads)
    (good,) = model.maps(one_look(extractor, tile(700)), heads)
    assert bad.shape == good.shape == (128, 128)
    row, column = np.unravel_index(bad.argmax(), bad.shape)
    assert abs(row - 32) < 16 and abs(column - 32) < 16
    assert image_score(bad, None) > image_score(good, None) + 3
    assert image_score(bad, None) > model.level + 3


def test_novelty_that_is_known_already_is_not_computed_again(
    extractor: FeatureExtractor, model: FusionModel[PatchBank]
) -> None:
    batch, heads = one_look(extractor, tile(40)), [extractor.network.head]
    novelty = model.normality.novelty(batch.descriptors)
    (usual,), (given_,) = model.maps(batch, heads), model.maps(batch, heads, novelty)
    assert np.array_equal(usual, given_)
    (raised,) = model.maps(batch, heads, novelty + 5)
    assert raised.mean() > usual.mean()


def flat(value: float = 0.0, shape: tuple[int, int] = (128, 128)) -> FloatArray:
    return np.full(shape, value, np.float32)


def test_all_maps_are_added_in_deviations_and_what_the_head_knows_already_counts_half(
    model: FusionModel[PatchBank],
) -> None:
    far = 12.0  # the broad view of the bank is at its upper bound from here on, and no longer changes
    quiet = model.fuse(flat(), flat(), flat(far, (16, 16)))
    for raised, scale, share in (
        (model.fuse(flat(2), flat(), flat(far, (16, 16))), model.logit_scale, 1.0),
        (model.fuse(flat(), flat(2), flat(far, (16, 16))), model.self_reference_scale, 1.0),
        (model.fuse(flat(), flat(), flat(far + 2, (16, 16))), model.bank_scale, 0.5),
    ):
        cells = cell_peaks(raised - quiet)
        assert cells.mean() == pytest.approx(share * (2 / scale.spread).mean(), rel=0.25)


def test_no_peak_rests_on_the_broad_view_of_the_bank(model: FusionModel[PatchBank]) -> None:
    values = [float(model.fuse(flat(), flat(), flat(v, (16, 16))).mean()) for v in (-100, -50, 0, 50, 100)]
    slope = float((0.5 / model.bank_scale.spread).mean())
    low, high = (values[1] - values[0]) / 50, (values[4] - values[3]) / 50
    assert low == pytest.approx(slope, rel=0.25)
    assert high == pytest.approx(slope, rel=0.25)
    assert values[2] - values[1] > 50 * slope + 2  # in between it adds


@pytest.mark.parametrize("grid", [(16, 16), (18, 18), (4, 7)])
def test_every_map_counts_in_its_place(model: FusionModel[PatchBank], grid: tuple[int, int]) -> None:
    quiet = model.fuse(flat(), flat(), flat(0, grid))
    strange = flat(0, grid)
    strange[0, -1] = 12
    raised = model.fuse(flat(), flat(), strange) - quiet
    row, column = np.unravel_index(raised.argmax(), raised.shape)
    assert row < 128 / grid[0] and column >= 128 - 128 / grid[1]
    assert raised.min() > -1e-4
    dot = flat()
    dot[100, 20] = 3
    for raised in (model.fuse(dot, flat(), flat(0, grid)), model.fuse(flat(), dot, flat(0, grid))):
        assert np.argwhere(np.abs(raised - quiet) > 1e-3).tolist() == [[100, 20]]


def score_by_sorting(score_map: FloatArray, inside: BoolArray) -> float:
    values = sorted(score_map[inside].tolist(), reverse=True)[:TOP_PIXELS]
    return sum(values) / len(values)


@settings(max_examples=50)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 1000))
def test_the_score_is_the_mean_of_the_highest_pixels_that_count(height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    score_map = rng.normal(size=(height, width)).round(1).astype(np.float32)  # with ties
    inside = rng.random((height, width)) < 0.7
    inside[rng.integers(height), rng.integers(width)] = True
    assert image_score(score_map, inside) == pytest.approx(score_by_sorting(score_map, inside), abs=1e-5)
    everything = np.ones_like(inside)
    assert image_score(score_map, None) == pytest.approx(score_by_sorting(score_map, everything), abs=1e-5)
