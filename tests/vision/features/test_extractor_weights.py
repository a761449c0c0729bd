"""The packaged weights: checked before use, fresh for everyone, in whatever precision they are stored."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from importlib.resources import files

import pytest
import torch

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
from anomalist.vision.features.surface_net import SegmentationHead, SurfaceNet


def test_the_packaged_file_is_the_one_that_is_named() -> None:
    folder = files("anomalist.vision") / "data"
    assert hashlib.sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest() == WEIGHTS_SHA256
    assert len((folder / WEIGHTS_FILE).read_bytes()) < 5_000_000


@pytest.fixture
def reread() -> Iterator[None]:
    """The weights are read once for all; here and afterwards anew."""
    extractor._shipped_weights.cache_clear()
    yield
    extractor._shipped_weights.cache_clear()


@pytest.mark.usefixtures("reread")
def test_damaged_weights_are_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extractor, "WEIGHTS_SHA256", "0" * 64)
    with pytest.raises(DetectorError, match=rf"{WEIGHTS_FILE} are damaged\. Install again: pip install"):
        shipped_network()


def test_a_shipped_network_is_ready_and_everyone_gets_a_fresh_one() -> None:
    first, second = shipped_network(), shipped_network()
    assert not any(module.training for module in first.modules())
    assert all(parameter.dtype == torch.float32 for parameter in first.parameters())
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.zero_()
    assert all(torch.isfinite(parameter).all() for parameter in second.parameters())
    assert sum(float(parameter.detach().abs().sum()) for parameter in second.parameters()) > 0


def test_half_precision_is_enlarged_and_a_missing_weight_is_an_error() -> None:
    torch.manual_seed(0)
    network = SurfaceNet()
    half = {n: v.half() if v.dtype.is_floating_point else v for n, v in network.state_dict().items()}
    again = load_network(half)
    assert all(value.dtype == torch.float32 for value in again.parameters())
    assert all(torch.equal(value, half[name].float()) for name, value in again.named_parameters())
    half.pop("stem.weight")
    with pytest.raises(RuntimeError, match=r"stem\.weight"):
        load_network(half)


def test_a_head_is_that_of_its_network() -> None:
    torch.manual_seed(0)
    network = SurfaceNet()
    head = load_head(with_prefix(network.state_dict(), "head."))
    assert isinstance(head, SegmentationHead)
    assert not head.training
    expected = network.head.state_dict()
    for one, other in zip(head.parameters(), network.head.parameters(), strict=True):
        assert one.stride() == other.stride()  # in memory too, or rounding would differ
    assert all(torch.equal(value, expected[name]) for name, value in head.state_dict().items())


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [("a.", {"x": 1, "a.y": 2}), ("b", {".z": 3}), ("", {"a.x": 1, "a.a.y": 2, "b.z": 3}), ("c.", {})],
)
def test_a_part_is_what_begins_with_its_prefix_without_it(prefix: str, expected: dict[str, int]) -> None:
    assert with_prefix({"a.x": 1, "a.a.y": 2, "b.z": 3}, prefix) == expected
