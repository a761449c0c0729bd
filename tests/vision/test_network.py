"""SurfaceNet: shapes, units, and the same answer on one thread and on two."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from anomalist.vision.network import DESCRIPTOR_SIZE, DESCRIPTOR_STRIDE, MULTIPLE, SurfaceNet, standardise

TOLERANCE = 1e-5
"""How far logits and descriptors may differ between one thread and two."""


@pytest.fixture(scope="module")
def network() -> SurfaceNet:
    torch.manual_seed(0)
    return SurfaceNet().eval()


@pytest.fixture
def pictures() -> torch.Tensor:
    return standardise(torch.rand(2, 3, 96, 64, generator=torch.Generator().manual_seed(0)))


@pytest.fixture
def two_threads() -> Iterator[None]:
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 96), (256, 32)])
@torch.inference_mode()
def test_there_is_a_logit_a_pixel_and_a_unit_vector_a_block(
    network: SurfaceNet, height: int, width: int
) -> None:
    logits, descriptors = network(torch.rand(3, 3, height, width))
    assert logits.shape == (3, 1, height, width)
    assert descriptors.shape == (
        3,
        DESCRIPTOR_SIZE,
        height // DESCRIPTOR_STRIDE,
        width // DESCRIPTOR_STRIDE,
    )
    assert torch.allclose(descriptors.norm(dim=1), torch.ones(()), atol=1e-5)


@pytest.mark.parametrize(
    "shape",
    [(1, 1, 64, 64), (1, 4, 64, 64), (1, 3, 64, 65), (1, 3, 48, 64), (3, 64, 64)],
    ids=["grey", "four channels", "odd width", "half a multiple", "no batch"],
)
def test_pictures_of_another_shape_are_refused(network: SurfaceNet, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"multiples of {MULTIPLE}, got \({shape[0]}, "):
        network(torch.zeros(shape))


def test_two_threads_say_the_same_as_one(
    network: SurfaceNet, pictures: torch.Tensor, request: pytest.FixtureRequest
) -> None:
    with torch.inference_mode():
        alone = network(pictures)
        request.getfixturevalue("two_threads")
        assert torch.get_num_threads() == 2
        together = network(pictures)
    for one, two in zip(alone, together, strict=True):
        assert torch.allclose(one, two, rtol=0, atol=TOLERANCE)


@torch.inference_mode()
def test_a_picture_is_judged_without_its_neighbours_in_the_batch(
    network: SurfaceNet, pictures: torch.Tensor
) -> None:
    for together, alone in zip(network(pictures), network(pictures[:1]), strict=True):
        assert torch.allclose(together[:1], alone, rtol=0, atol=TOLERANCE)


@torch.inference_mode()
def test_a_spot_changes_the_logits_at_its_place_most(network: SurfaceNet) -> None:
    plain = torch.zeros(1, 3, 128, 128)
    spotted = plain.clone()
    spotted[:, :, 88:96, 24:32] = 3
    logits, descriptors = (b - a for a, b in zip(network(plain), network(spotted), strict=True))
    peak = logits[0, 0].abs().flatten().argmax().item()
    assert 80 <= peak // 128 < 104
    assert 16 <= peak % 128 < 40
    block = descriptors[0].norm(dim=0).flatten().argmax().item()
    assert 9 <= block // 16 <= 13
    assert 1 <= block % 16 <= 5


def test_its_filters_are_channels_last_in_memory(network: SurfaceNet) -> None:
    filters = [p for p in network.parameters() if p.ndim == 4]
    assert filters
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in filters)


def test_exposure_is_taken_out() -> None:
    pictures = torch.rand(4, 3, 32, 32)
    standardised = standardise(pictures)
    assert torch.allclose(standardised.mean((1, 2, 3)), torch.zeros(4), atol=1e-5)
    assert torch.allclose(standardise(pictures + 0.3), standardised, atol=1e-5)
    faint = standardise(0.5 * pictures)
    assert torch.allclose(faint / faint.std(), standardised / standardised.std(), atol=0.05)


def test_noise_on_a_plain_picture_is_not_blown_up() -> None:
    assert standardise(0.5 + 0.005 * torch.randn(1, 3, 64, 64)).std() < 0.1
    assert torch.equal(standardise(torch.full((1, 3, 32, 32), 0.25)), torch.zeros(1, 3, 32, 32))
