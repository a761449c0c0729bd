"""What the network sees: the same for every batch, in its place, and with or without normals to compare."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalist.types.common import FloatArray, UInt8Array
from anomalist.vision.features.backbones import TransformersBackbone
from anomalist.vision.features.extractor import FeatureBatch, FeatureExtractor
from anomalist.vision.features.surface_net import SurfaceNet, isolation


def noise(height: int, width: int, seed: int = 0) -> UInt8Array:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def untrained() -> FeatureExtractor:
    torch.manual_seed(0)
    return FeatureExtractor(SurfaceNet().eval())


def logits(extractor: FeatureExtractor, batch: FeatureBatch, novelty: FloatArray | None) -> FloatArray:
    with torch.inference_mode():
        return np.asarray(batch.logits(extractor.network.head, novelty))


def even(grid: Sequence[int], value: float) -> FloatArray:
    return np.full((1, *grid), value, np.float32)


# --- many pictures ----------------------------------------------------------------------------------------

UNTRAINED = untrained()
SIZES = [(32, 32), (32, 64), (64, 32)]


@settings(max_examples=10)
@given(st.lists(st.sampled_from(SIZES), max_size=12))
def test_every_picture_is_seen_once_in_batches_of_one_size(sizes: list[tuple[int, int]]) -> None:
    batches = list(UNTRAINED.extract([noise(*size) for size in sizes]))
    assert sorted(index for batch in batches for index in batch.indices) == list(range(len(sizes)))
    for batch in batches:
        assert 1 <= len(batch.indices) <= 2
        assert len({sizes[index] for index in batch.indices}) == 1
        height, width = sizes[batch.indices[0]]
        assert batch.descriptors.shape == (len(batch.indices), height // 8, width // 8, 64)
    assert len(batches) == sum(-(-sizes.count(size) // 2) for size in SIZES)


def test_a_picture_looks_the_same_alone_and_among_others() -> None:
    pictures = [noise(*SIZES[k % 3], seed=k) for k in range(9)]
    novelty = {size: np.random.default_rng(9).normal(size=(1, size[0] // 8, size[1] // 8)) for size in SIZES}
    for batch in UNTRAINED.extract(pictures):
        known = novelty[pictures[batch.indices[0]].shape[:2]].astype(np.float32)
        for unknown in (True, False):
            together = logits(
                UNTRAINED, batch, None if unknown else np.repeat(known, len(batch.indices), axis=0)
            )
            for row, index in enumerate(batch.indices):
                (alone,) = UNTRAINED.extract([pictures[index]])
                expected = logits(UNTRAINED, alone, None if unknown else known)[0]
                assert alone.indices == (0,)
                assert batch.descriptors[row] == pytest.approx(alone.descriptors[0], abs=1e-5)
                assert together[row] == pytest.approx(expected, abs=1e-4)


def test_descriptors_are_unit_vectors_for_memory_banks_and_those_of_the_trunk() -> None:
    (batch,) = UNTRAINED.extract([noise(64, 96)])
    assert (batch.descriptors.shape, batch.descriptors.dtype) == ((1, 8, 12, 64), np.float32)
    assert batch.descriptors.flags.c_contiguous
    assert np.linalg.norm(batch.descriptors, axis=3) == pytest.approx(1, abs=1e-5)
    assert np.array_equal(batch.descriptors, batch.trunk.descriptors.permute(0, 2, 3, 1).numpy())
    assert torch.equal(batch.isolation, isolation(batch.trunk.descriptors))
    assert logits(UNTRAINED, batch, None).shape == (1, 64, 96)


def test_nothing_to_look_at_gives_nothing() -> None:
    assert list(UNTRAINED.extract([])) == []


# --- with and without normals -----------------------------------------------------------------------------


def test_no_normals_are_not_the_same_as_normals_that_are_alike(extractor: FeatureExtractor) -> None:
    (batch,) = extractor.extract([noise(64, 64)])
    unknown, usual = logits(extractor, batch, None), logits(extractor, batch, even((8, 8), 0.0))
    assert np.abs(unknown - usual).max() > 1e-3


def test_the_more_novel_a_patch_the_more_likely_a_defect(
    extractor: FeatureExtractor, normals: list[UInt8Array]
) -> None:
    (batch,) = extractor.extract(normals[:1])
    usual = even(batch.isolation.shape[1:], 0.0)
    strange = usual.copy()
    strange[0, 4:7, 10:13] = 8
    raised = logits(extractor, batch, strange)[0] - logits(extractor, batch, usual)[0]
    assert raised[32:56, 80:104].mean() > 1
    assert raised[32:56, 80:104].mean() > 5 * np.abs(raised[:, :40]).mean()


# --- self-reference logits ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "half"),
    [((64, 64), (32, 32)), ((32, 96), (32, 64)), ((128, 192), (64, 96)), ((32, 32), (32, 32))],
)
def test_self_reference_logits_add_those_at_half_the_size(
    size: tuple[int, int], half: tuple[int, int]
) -> None:
    import cv2

    picture = noise(*size)
    small = np.asarray(cv2.resize(picture, half[::-1], interpolation=cv2.INTER_AREA), np.uint8)
    (batch,), (distant,) = UNTRAINED.extract([picture]), UNTRAINED.extract([small])
    coarse = logits(UNTRAINED, distant, distant.intra_image_novelty)[0]
    near = logits(UNTRAINED, batch, batch.intra_image_novelty)[0]
    expected = near + cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_LINEAR)
    self_logits = batch.self_reference_logits(UNTRAINED.network.head)
    assert (self_logits.shape, self_logits.dtype) == ((1, *size), np.float32)
    assert self_logits[0] == pytest.approx(expected, abs=1e-5)


def test_self_reference_logits_do_not_depend_on_the_batch() -> None:
    pictures = [noise(64, 32, seed=k) for k in range(2)]
    (batch,) = UNTRAINED.extract(pictures)
    alone = np.concatenate(
        [
            next(UNTRAINED.extract([picture])).self_reference_logits(UNTRAINED.network.head)
            for picture in pictures
        ]
    )
    assert batch.self_reference_logits(batch.network.head) == pytest.approx(alone, abs=1e-5)


# --- a backbone in its place ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def with_backbone(tmp_path_factory: pytest.TempPathFactory) -> FeatureExtractor:
    """A tiny DINOv2 with random weights, which has a grid of 18×18 patches whatever it is shown."""
    from transformers import Dinov2Config, Dinov2Model

    folder: Path = tmp_path_factory.mktemp("dinov2")
    torch.manual_seed(0)
    config = Dinov2Config(
        hidden_size=16, num_hidden_layers=3, num_attention_heads=2, image_size=56, patch_size=14
    )
    Dinov2Model(config).save_pretrained(folder)
    return FeatureExtractor(untrained().network, TransformersBackbone(str(folder)))


def test_a_backbone_describes_what_the_network_still_judges(with_backbone: FeatureExtractor) -> None:
    pictures = [noise(128, 96), noise(128, 96, seed=1)]
    (batch,) = with_backbone.extract(pictures)
    assert with_backbone.backbone is not None
    assert np.array_equal(batch.descriptors, with_backbone.backbone.describe(pictures))
    assert batch.descriptors.shape == (2, 18, 18, 16)
    (own,) = untrained().extract(pictures)
    assert torch.equal(batch.isolation, own.isolation)
    assert np.array_equal(logits(with_backbone, batch, None), logits(with_backbone, own, None))
    assert np.array_equal(
        batch.self_reference_logits(batch.network.head), own.self_reference_logits(own.network.head)
    )


@pytest.mark.parametrize("value", [-2.0, 0.0, 5.0])
def test_the_grid_of_a_backbone_is_brought_to_that_of_the_head(
    with_backbone: FeatureExtractor, value: float
) -> None:
    (batch,) = with_backbone.extract([noise(128, 96)])
    finer, own = (logits(with_backbone, batch, even(grid, value)) for grid in ((18, 18), (16, 12)))
    assert finer == pytest.approx(own, abs=1e-5)


def test_novelty_on_the_grid_of_a_backbone_stays_on_its_side(with_backbone: FeatureExtractor) -> None:
    (batch,) = with_backbone.extract([noise(128, 128)])
    novelty = even((18, 18), 0.0)
    before = logits(with_backbone, batch, novelty)
    novelty[0, :, 15:] = 10
    changed = np.abs(logits(with_backbone, batch, novelty) - before)[0].max(0)  # by column
    assert changed[:48].max() == 0
    assert changed[112:].max() > 0
