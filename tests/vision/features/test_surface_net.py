"""SurfaceNet: shapes, units, the weights that ship, and the same answer on one thread and on two."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from importlib.resources import files

import pytest
import torch
from torch import Tensor

from anomalist.errors import DetectorError
from anomalist.vision.features import extractor
from anomalist.vision.features.extractor import (
    WEIGHTS_FILE,
    WEIGHTS_SHA256,
    load_head,
    load_network,
    shipped_network,
    with_prefix,
)
from anomalist.vision.features.surface_net import (
    CHANNELS,
    DESCRIPTOR_SIZE,
    DESCRIPTOR_STRIDE,
    NOVELTY_MAPS,
    SIZE_MULTIPLE,
    SegmentationHead,
    SurfaceNet,
    isolation,
    novelty_maps,
    standardise,
)

TOLERANCE = 1e-5
"""How far descriptors, and logits of random weights, may differ between one thread and two."""


@pytest.fixture(scope="module")
def network() -> SurfaceNet:
    torch.manual_seed(0)
    return SurfaceNet().eval()


@pytest.fixture(scope="module")
def shipped() -> SurfaceNet:
    return shipped_network()


@pytest.fixture
def pictures() -> Tensor:
    return standardise(torch.rand(2, 3, 96, 64, generator=torch.Generator().manual_seed(0)))


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@torch.inference_mode()
def judge(network: SurfaceNet, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of pictures that are compared with nothing but themselves, and descriptors."""
    seen = network.forward_features(pictures)
    return network.head(seen.features, novelty_maps(isolation(seen.descriptors), None)), seen.descriptors


# --- shapes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 96), (256, 32)])
@torch.inference_mode()
def test_there_is_a_logit_a_pixel_and_a_unit_vector_a_block(
    network: SurfaceNet, height: int, width: int
) -> None:
    seen = network.forward_features(torch.rand(3, 3, height, width))
    rows, columns = height // DESCRIPTOR_STRIDE, width // DESCRIPTOR_STRIDE
    assert [tuple(level.shape) for level in seen.features] == [
        (3, CHANNELS[level], height // stride, width // stride) for level, stride in enumerate((2, 4, 8))
    ]
    assert seen.descriptors.shape == (3, DESCRIPTOR_SIZE, rows, columns)
    assert torch.allclose(seen.descriptors.norm(dim=1), torch.ones(()), atol=1e-5)
    assert network.head(seen.features, torch.rand(3, NOVELTY_MAPS, rows, columns)).shape == (3, height, width)


@pytest.mark.parametrize(
    "shape",
    [(1, 1, 64, 64), (1, 4, 64, 64), (1, 3, 64, 65), (1, 3, 48, 64), (3, 64, 64)],
    ids=["grey", "four channels", "odd width", "half a multiple", "no batch"],
)
def test_pictures_of_another_shape_are_refused(network: SurfaceNet, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"multiples of {SIZE_MULTIPLE}, got \({shape[0]}, "):
        network.forward_features(torch.zeros(shape))


def test_its_filters_are_channels_last_in_memory(network: SurfaceNet) -> None:
    filters = [p for p in network.parameters() if p.ndim == 4]
    assert filters
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in filters)


# --- judgement --------------------------------------------------------------------------------------------


def test_two_threads_say_the_same_as_one(
    network: SurfaceNet, pictures: Tensor, request: pytest.FixtureRequest
) -> None:
    alone = judge(network, pictures)
    request.getfixturevalue("two_threads")
    assert torch.get_num_threads() == 2
    for one, two in zip(alone, judge(network, pictures), strict=True):
        assert torch.allclose(one, two, rtol=0, atol=TOLERANCE)


def test_a_picture_is_judged_without_its_neighbours_in_the_batch(
    network: SurfaceNet, pictures: Tensor
) -> None:
    for together, alone in zip(judge(network, pictures), judge(network, pictures[:1]), strict=True):
        assert torch.allclose(together[:1], alone, rtol=0, atol=TOLERANCE)


@torch.inference_mode()
def test_the_head_looks_at_the_novelty_of_the_place_it_judges(network: SurfaceNet) -> None:
    features = network.forward_features(torch.zeros(1, 3, 128, 128)).features
    plain = torch.zeros(1, NOVELTY_MAPS, 16, 16)
    for kind in range(NOVELTY_MAPS):
        novel = plain.clone()
        novel[0, kind, 11, 3] = 3
        change = (network.head(features, novel) - network.head(features, plain)).abs()[0]
        assert change[88:96, 24:32].any()
        change[56:128, 0:64] = 0
        assert not change.any()  # farther than its filters reach


def test_a_spot_changes_the_logits_at_its_place_most(network: SurfaceNet) -> None:
    plain = torch.zeros(1, 3, 128, 128)
    spotted = plain.clone()
    spotted[:, :, 88:96, 24:32] = 3
    logits, descriptors = (b - a for a, b in zip(judge(network, plain), judge(network, spotted), strict=True))
    peak = logits[0].abs().flatten().argmax().item()
    assert 72 <= peak // 128 < 112
    assert 8 <= peak % 128 < 48
    block = descriptors[0].norm(dim=0).flatten().argmax().item()
    assert 9 <= block // 16 <= 13
    assert 1 <= block % 16 <= 5


# --- the weights that ship ----------------------------------------------------------------------------------


def test_the_weights_are_those_whose_hash_is_recorded() -> None:
    data = (files("anomalist.vision") / "data" / WEIGHTS_FILE).read_bytes()
    assert hashlib.sha256(data).hexdigest() == WEIGHTS_SHA256


def test_damaged_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extractor, "WEIGHTS_SHA256", WEIGHTS_SHA256[::-1])
    extractor._shipped_weights.cache_clear()
    with pytest.raises(DetectorError, match="damaged"):
        shipped_network()


def test_the_shipped_network_is_ready_and_each_call_gives_a_fresh_one(shipped: SurfaceNet) -> None:
    assert not shipped.training
    assert all(torch.isfinite(value).all() for value in shipped.state_dict().values())
    assert all(p.dtype == torch.float32 for p in shipped.parameters())
    other = shipped_network()
    with torch.no_grad():
        other.stem.weight.zero_()
    assert shipped.stem.weight.any()


def test_the_shipped_network_scores_the_same_on_two_threads_as_on_one(
    shipped: SurfaceNet, pictures: Tensor, request: pytest.FixtureRequest
) -> None:
    alone = judge(shipped, pictures)
    request.getfixturevalue("two_threads")
    together = judge(shipped, pictures)
    assert torch.allclose(alone[0], together[0], rtol=0, atol=1e-3)
    assert torch.allclose(alone[1], together[1], rtol=0, atol=TOLERANCE)


def test_the_shipped_network_finds_a_spot_on_a_plain_surface(shipped: SurfaceNet) -> None:
    noise = torch.randn(1, 1, 128, 128, generator=torch.Generator().manual_seed(0))
    plain = (0.6 + 0.02 * noise).expand(1, 3, 128, 128)
    spotted = plain.clone()
    spotted[:, :, 88:98, 24:34] -= 0.4
    logits, _ = judge(shipped, standardise(spotted))
    assert logits[0, 90:96, 26:32].mean() > 0
    outside = torch.ones(128, 128, dtype=torch.bool)
    outside[80:106, 16:42] = False
    assert logits[0, outside].max() < 0
    assert judge(shipped, standardise(plain))[0].max() < 0


def test_weights_survive_half_precision_and_a_head_travels_alone(network: SurfaceNet) -> None:
    state = {k: v.half() if v.is_floating_point() else v for k, v in network.state_dict().items()}
    again = load_network(state)
    assert not again.training
    for name, value in network.state_dict().items():
        assert torch.allclose(again.state_dict()[name], value, rtol=1e-3, atol=1e-4)
    head = load_head(with_prefix(state, "head."))
    assert isinstance(head, SegmentationHead)
    assert not head.training
    assert all(torch.equal(value, again.head.state_dict()[name]) for name, value in head.state_dict().items())
    filters = [p for p in again.parameters() if p.ndim == 4]
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in filters)


# --- exposure ---------------------------------------------------------------------------------------------


def test_exposure_is_taken_out() -> None:
    pictures = torch.rand(4, 3, 32, 32)
    standardised = standardise(pictures)
    assert torch.allclose(standardised.mean((1, 2, 3)), torch.zeros(4), atol=1e-5)
    assert torch.allclose(standardise(pictures + 0.3), standardised, atol=1e-5)
    faint = standardise(0.5 * pictures)
    assert torch.allclose(faint / faint.std(), standardised / standardised.std(), atol=0.05)


def test_every_picture_is_standardised_by_itself() -> None:
    pictures = torch.rand(3, 3, 32, 32) * torch.tensor([1.0, 0.5, 0.1])[:, None, None, None]
    alone = torch.cat([standardise(one[None]) for one in pictures])
    assert torch.allclose(standardise(pictures), alone, atol=1e-5)


def test_noise_on_a_plain_picture_is_not_blown_up() -> None:
    assert standardise(0.5 + 0.005 * torch.randn(1, 3, 64, 64)).std() < 0.1
    assert torch.equal(standardise(torch.full((1, 3, 32, 32), 0.25)), torch.zeros(1, 3, 32, 32))
