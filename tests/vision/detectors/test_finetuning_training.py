"""Adapting: the head learns the product and gets no worse, the trunk and the shipped head stay."""

from __future__ import annotations

import copy
import threading
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from anomalist.types.common import UInt8Array
from anomalist.vision.detectors import finetuning
from anomalist.vision.detectors.finetuning import (
    BATCH_SIZE,
    DefectSampler,
    TrainingSample,
    finetune_head,
    round_to_half,
)
from anomalist.vision.detectors.pretext import segmentation_loss
from anomalist.vision.features.extractor import FeatureExtractor, shipped_network
from anomalist.vision.features.surface_net import SegmentationHead
from anomalist.vision.synthetic_textures import Rng

STEPS = 10


def small(normals: Sequence[UInt8Array]) -> DefectSampler:
    return DefectSampler([picture[:64, :64] for picture in normals])


def untrained() -> SegmentationHead:
    """A head with much to learn, whatever the shipped one knows already."""
    torch.manual_seed(0)
    return round_to_half(SegmentationHead())


@pytest.fixture(scope="module")
def trained(extractor: FeatureExtractor, normals: Sequence[UInt8Array]) -> SegmentationHead:
    """An untrained head after a few steps on tiles of 64×64."""
    return finetune_head(extractor, untrained(), small(normals), np.arange(10), STEPS, seed=1)


def loss_of(extractor: FeatureExtractor, head: SegmentationHead, lessons: Sequence[TrainingSample]) -> float:
    losses = []
    for sample in lessons:
        (batch,) = extractor.extract([sample.picture])
        with torch.no_grad():
            logits = batch.logits(head, batch.intra_image_novelty)
            losses.append(float(segmentation_loss(logits, torch.from_numpy(sample.label[None]))))
    return float(np.mean(losses))


def halves(head: SegmentationHead) -> bool:
    """Whether all weights are numbers that half precision holds."""
    values = [value for value in head.state_dict().values() if value.dtype.is_floating_point]
    return all(torch.equal(value, value.half().float()) and value.dtype == torch.float32 for value in values)


def test_training_changes_weights_but_not_batch_statistics_nor_what_is_shipped(
    extractor: FeatureExtractor, trained: SegmentationHead
) -> None:
    before, after = untrained().state_dict(), trained.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name, _ in trained.named_parameters()}
    fresh = shipped_network().state_dict()
    assert all(torch.equal(value, fresh[name]) for name, value in extractor.network.state_dict().items())


def test_what_is_returned_is_ready_and_rounded_to_what_is_stored(trained: SegmentationHead) -> None:
    assert halves(trained)
    assert not trained.training


def test_rounding_changes_little_and_happens_in_place() -> None:
    torch.manual_seed(0)
    head = SegmentationHead()
    before = copy.deepcopy(head.state_dict())
    assert round_to_half(head) is head
    assert halves(head)
    for name, value in head.state_dict().items():
        assert torch.allclose(value.float(), before[name].float(), rtol=1e-3, atol=1e-6)


def test_on_lessons_that_were_set_apart_the_loss_falls(
    extractor: FeatureExtractor, normals: Sequence[UInt8Array], trained: SegmentationHead
) -> None:
    order = np.random.default_rng((1, 7)).permutation(
        10
    )  # as `finetune_head` sets a tenth of the groups apart
    rng = np.random.default_rng((1, 1_000_000))
    apart = [small(normals).sample(rng, order[:1]) for _ in range(64)]
    before, after = (loss_of(extractor, head, apart) for head in (untrained(), trained))
    assert after < before - 0.005


def test_what_is_returned_lies_between_what_was_given_and_what_was_trained() -> None:
    torch.manual_seed(0)
    first, second = SegmentationHead().state_dict(), SegmentationHead().state_dict()
    for name, value in finetuning.average_weights(first, second).items():
        if value.dtype.is_floating_point:
            assert torch.allclose(value, (first[name] + second[name]) / 2)
        else:
            assert torch.equal(value, first[name])


def test_a_step_that_only_harms_is_not_kept(
    extractor: FeatureExtractor, normals: Sequence[UInt8Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finetuning, "_LEARNING_RATE", 50.0)
    harmed = finetune_head(extractor, extractor.network.head, small(normals), np.arange(10), 2, seed=0)
    before = round_to_half(copy.deepcopy(extractor.network.head)).state_dict()
    assert all(torch.equal(value, before[name]) for name, value in harmed.state_dict().items())


def test_training_follows_the_seed_and_tells_its_steps(
    extractor: FeatureExtractor, normals: Sequence[UInt8Array], trained: SegmentationHead
) -> None:
    told: list[tuple[int, int]] = []
    again = finetune_head(
        extractor,
        untrained(),
        small(normals),
        np.arange(10),
        STEPS,
        1,
        lambda *k: told.append(k),
    )
    assert told == [(step, STEPS) for step in range(1, STEPS + 1)]
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in trained.state_dict().items())


class Noting(DefectSampler):
    """Remembers which pictures were asked for."""

    asked: list[list[int]] = []  # noqa: RUF012

    def sample(self, rng: Rng, among: np.ndarray) -> TrainingSample:
        self.asked.append(among.tolist())
        return super().sample(rng, among)


@pytest.mark.parametrize(
    ("groups", "apart"), [(list(range(10)), 1), ([k // 2 for k in range(10)], 0), ([0] * 10, 0)]
)
def test_whole_groups_are_set_apart_to_check_on_when_there_are_ten(
    extractor: FeatureExtractor, normals: Sequence[UInt8Array], groups: list[int], apart: int
) -> None:
    Noting.asked.clear()
    sampler = Noting([picture[:32, :32] for picture in normals])
    finetune_head(extractor, extractor.network.head, sampler, np.array(groups), 1, seed=0)
    checked, learned = (set(Noting.asked[0]), set(Noting.asked[-1]))
    assert len(Noting.asked) == 64 + BATCH_SIZE
    if apart:
        assert len(checked) == apart
        assert not checked & learned
    assert checked | learned == set(range(10))


# --- the thread that draws ahead --------------------------------------------------------------------------


def test_lessons_come_in_order_and_as_if_drawn_one_by_one(normals: Sequence[UInt8Array]) -> None:
    sampler, among = small(normals), np.arange(10)
    steps = list(finetuning.prefetch_samples(sampler, among, 5, seed=2))
    assert [len(lessons) for lessons in steps] == [BATCH_SIZE] * 5
    for step, lessons in enumerate(steps):
        rng = np.random.default_rng((2, step))
        for sample in lessons:
            expected = sampler.sample(rng, among)
            assert sample.source == expected.source
            assert np.array_equal(sample.picture, expected.picture)
            assert np.array_equal(sample.label, expected.label)


@pytest.mark.parametrize("taken", [1, 3])
def test_who_stops_early_leaves_no_thread_behind(normals: Sequence[UInt8Array], taken: int) -> None:
    before = set(threading.enumerate())
    lessons = finetuning.prefetch_samples(small(normals), np.arange(10), 1000, seed=0)
    for _ in range(taken):
        next(lessons)
    assert set(threading.enumerate()) - before
    lessons.close()
    assert not set(threading.enumerate()) - before


class Broken(DefectSampler):
    def sample(self, rng: Rng, among: np.ndarray) -> TrainingSample:
        raise RuntimeError("no lesson today")


def test_an_error_while_drawing_reaches_the_caller(normals: Sequence[UInt8Array]) -> None:
    before = set(threading.enumerate())
    with pytest.raises(RuntimeError, match="no lesson today"):
        list(finetuning.prefetch_samples(Broken(list(normals)), np.arange(10), 9, seed=0))
    assert not set(threading.enumerate()) - before
