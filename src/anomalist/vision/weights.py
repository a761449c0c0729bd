"""The weights that ship with the package, checked by hash before they are used."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, TypeVar

from anomalist.errors import DetectorError
from anomalist.vision.allocator import keep_freed_memory

if TYPE_CHECKING:
    import torch

    from anomalist.vision.network import Head, SurfaceNet

T = TypeVar("T")

NAME = "surfacenet-2.safetensors"
SHA256 = "e61ddc9432fcd56373f32cd5ca0fe02a624e16f8574813b88787628a81f3ef26"


@cache
def _shipped() -> bytes:
    data = (files("anomalist.vision") / "data" / NAME).read_bytes()
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise DetectorError(
            f"the packaged weights {NAME} are damaged.",
            "Install again: pip install --force-reinstall anomalist",
        )
    return data


def shipped_network() -> SurfaceNet:
    """A fresh SurfaceNet with the packaged weights, ready to run."""
    from safetensors.torch import load

    return network_of(load(_shipped()))


def network_of(state: Mapping[str, torch.Tensor]) -> SurfaceNet:
    """A SurfaceNet with the given weights, which may be stored in half precision, ready to run."""
    from anomalist.vision.network import SurfaceNet

    keep_freed_memory()
    network = SurfaceNet()
    network.load_state_dict(dict(state))  # copies into float32 parameters
    network.eval()
    return network


def head_of(state: Mapping[str, torch.Tensor]) -> Head:
    """A head with the given weights, likewise."""
    from anomalist.vision.network import Head

    head = Head()
    head.load_state_dict(dict(state))
    head.eval()
    return head


def part_of(tensors: Mapping[str, T], prefix: str) -> dict[str, T]:
    """The tensors or arrays whose names begin with ``prefix``, named without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
