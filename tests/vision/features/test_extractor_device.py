"""What leaves the processor and comes back: the meta device, which computes shapes alone, refuses any mix."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch

from anomalist.types.common import UInt8Array
from anomalist.vision.detectors import finetuning
from anomalist.vision.detectors.finetuning import TrainingSample
from anomalist.vision.features import backbones, dinov2, extractor
from anomalist.vision.features.backbones import TransformersBackbone
from anomalist.vision.features.dinov2 import BackboneLocation, VisionTransformer
from anomalist.vision.features.extractor import FeatureExtractor, shipped_network

PICTURES: list[UInt8Array] = [np.zeros((64, 96, 3), np.uint8)] * 2


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks are opened on the meta device; what comes back from there is zero."""
    back = torch.Tensor.cpu

    def cpu(tensor: torch.Tensor) -> torch.Tensor:
        return back(torch.zeros(tensor.shape, dtype=tensor.dtype) if tensor.is_meta else tensor)

    monkeypatch.setattr(torch.Tensor, "cpu", cpu)
    for module in (backbones, dinov2, extractor):
        monkeypatch.setattr(module, "resolve_device", lambda asked=None: torch.device("meta"))


def test_the_network_computes_on_its_device_and_arrays_come_back() -> None:
    with pytest.raises(RuntimeError, match="not on the expected device"):
        torch.zeros(1, device="meta") + torch.zeros(1)
    opened = FeatureExtractor(shipped_network())
    (batch,) = opened.extract(PICTURES)
    assert batch.descriptors.shape == (2, 8, 12, 64)
    assert batch.self_reference_logits(opened.network.head).shape == (2, 64, 96)
    for novelty in (None, np.zeros((2, 8, 12), np.float32), np.zeros((2, 5, 5), np.float32)):
        assert batch.logits(opened.network.head, novelty).is_meta


def test_the_head_is_trained_where_the_network_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.autocast", lambda *args, **options: nullcontext())  # unknown on meta
    opened = FeatureExtractor(shipped_network())
    sample = TrainingSample(PICTURES[0], np.zeros(PICTURES[0].shape[:2], np.uint8), 0)
    loss = finetuning._sample_loss(opened, opened.network.head, sample)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.is_meta


def test_backbones_compute_on_their_device(tmp_path: Path) -> None:
    from transformers import Dinov2Config, Dinov2Model

    config = Dinov2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=56, patch_size=14
    )
    Dinov2Model(config).save_pretrained(tmp_path)
    assert TransformersBackbone(str(tmp_path)).describe(PICTURES).shape == (2, 18, 18, 16)
    tokens = VisionTransformer.open(BackboneLocation("tiny", tmp_path, "")).tokens(PICTURES, [1, 2], 56)
    assert tokens.patches.shape == (2, 2, 3, 5, 16)
