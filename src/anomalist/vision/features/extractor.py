"""Feature extraction: run SurfaceNet, and a backbone if there is one, over pictures in batches of one size.

The packaged weights are checked by SHA-256 before they are used. Networks run on the device that
`resolve_device` gives. glibc's malloc is kept from returning freed memory after every layer, which would cost
half of the processor time.
"""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.resources import files
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from anomalist.errors import DetectorError
from anomalist.types.common import FloatArray, UInt8Array
from anomalist.vision.features.backbones import (
    PluginBackbone,
    TransformersBackbone,
    as_tensor,
    resolve_device,
)

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from anomalist.vision.features.surface_net import SegmentationHead, SurfaceNet, TrunkOutput


_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # names of mallopt(3)


@cache
def keep_freed_memory() -> None:
    """Tell glibc's malloc to keep large blocks for the next use; does nothing elsewhere.

    By default blocks above some megabytes are mapped and unmapped each time, and the kernel clears every page
    again: half of the processor time of a network that works on pictures. ``MALLOC_MMAP_THRESHOLD_`` and
    ``MALLOC_TRIM_THRESHOLD_`` in the environment would do the same.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # another C library
        return
    mallopt(_MMAP_THRESHOLD, 1 << 30)
    mallopt(_TRIM_THRESHOLD, 2**31 - 1)


T = TypeVar("T")

WEIGHTS_FILE = "surfacenet-2.safetensors"
"""Name of the packaged weights of SurfaceNet."""
WEIGHTS_SHA256 = "e61ddc9432fcd56373f32cd5ca0fe02a624e16f8574813b88787628a81f3ef26"
"""Hash that the packaged weights must have."""


@cache
def _shipped_weights() -> bytes:
    data = (files("anomalist.vision") / "data" / WEIGHTS_FILE).read_bytes()
    if hashlib.sha256(data).hexdigest() != WEIGHTS_SHA256:
        raise DetectorError(
            f"the packaged weights {WEIGHTS_FILE} are damaged.",
            "Install again: pip install --force-reinstall anomalist",
        )
    return data


def shipped_network() -> SurfaceNet:
    """A fresh SurfaceNet with the packaged weights, ready to run."""
    from safetensors.torch import load

    return load_network(load(_shipped_weights()))


def load_network(state: Mapping[str, torch.Tensor]) -> SurfaceNet:
    """A SurfaceNet with the given weights, which may be stored in half precision, ready to run."""
    from anomalist.vision.features.surface_net import SurfaceNet

    keep_freed_memory()
    network = SurfaceNet()
    network.load_state_dict(dict(state))  # copies into float32 parameters
    network.eval()
    return network.to(resolve_device())


def load_head(state: Mapping[str, torch.Tensor]) -> SegmentationHead:
    """A segmentation head with the given weights, which may be stored in half precision, ready to run."""
    from anomalist.vision.features.surface_net import SegmentationHead

    head = SegmentationHead()
    head.load_state_dict(dict(state))
    head.eval()
    return head.to(resolve_device())


def half_precision_state(module: torch.nn.Module, prefix: str) -> dict[str, torch.Tensor]:
    """The state of a module as it is stored: in half precision, on the processor, names with a prefix."""
    return {
        f"{prefix}{name}": (value.half() if value.dtype.is_floating_point else value).cpu().contiguous()
        for name, value in module.state_dict().items()
    }


def with_prefix(tensors: Mapping[str, T], prefix: str) -> dict[str, T]:
    """The tensors or arrays whose names begin with ``prefix``, named without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


_BATCH_SIZE = 2  # four at a time are no faster, and take 75 MB more at 352×352 pixels


@dataclass(frozen=True, eq=False)
class FeatureBatch:
    """Features of a batch of B pictures of one size (H, W).

    Parameters
    ----------
    indices : of the pictures, in the order given to the extractor.
    pictures : uint8 (H, W, 3) each.
    descriptors : float32 (B, h, w, d), unit vectors, for memory banks; the backbone's if there is one.
    trunk : output of the trunk of SurfaceNet.
    network : that computed it.
    """

    indices: tuple[int, ...]
    pictures: tuple[UInt8Array, ...]
    descriptors: FloatArray
    trunk: TrunkOutput
    network: SurfaceNet
    _logits_by_head: dict[SegmentationHead, FloatArray] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def isolation(self) -> Tensor:
        """`isolation` of every patch by the trunk's descriptors, float (B, H/8, W/8)."""
        from anomalist.vision.features.surface_net import isolation

        return isolation(self.trunk.descriptors)

    def self_reference_logits(self, head: SegmentationHead) -> FloatArray:
        """Self-reference logits: a head's logits with only the picture itself as normal; float32 (B, H, W).

        Sum of the logits at full and at half size (large faint defects are clearer there), each conditioned
        on intra-image novelty. Cached, as folds may share a head.
        """
        if head not in self._logits_by_head:
            self._logits_by_head[head] = self._compute_self_reference_logits(head)
        return self._logits_by_head[head]

    def _compute_self_reference_logits(self, head: SegmentationHead) -> FloatArray:
        import torch
        import torch.nn.functional as F  # noqa: N812

        with torch.inference_mode():
            full = self.logits(head, self.intra_image_novelty)
            coarse = self.half_scale.logits(head, self.half_scale.intra_image_novelty)
            enlarged = F.interpolate(coarse[:, None], full.shape[1:], mode="bilinear")[:, 0]
            return (full + enlarged).cpu().numpy()

    @cached_property
    def intra_image_novelty(self) -> FloatArray:
        """Intra-image novelty by the trunk's descriptors, float32 (B, H/8, W/8)."""
        from anomalist.vision.features.surface_net import intra_image_novelty

        return np.asarray(intra_image_novelty(self.trunk.descriptors).cpu().numpy())

    @cached_property
    def half_scale(self) -> FeatureBatch:
        """Features of the same pictures at half their size; descriptors are SurfaceNet's own."""
        small = tuple(to_half_size(picture) for picture in self.pictures)
        trunk = extract_features(self.network, small)
        return FeatureBatch(self.indices, small, _descriptor_grid(trunk), trunk, self.network)

    def logits(self, head: SegmentationHead, novelty: FloatArray | None) -> Tensor:
        """Logits of a head, float (B, H, W), given the novelty of patches, float32 (B, h, w), or None."""
        import torch
        import torch.nn.functional as F  # noqa: N812

        from anomalist.vision.features.surface_net import novelty_maps

        known = None if novelty is None else torch.from_numpy(novelty).to(self.isolation.device)
        if known is not None and known.shape != self.isolation.shape:  # a backbone has its own grid
            known = F.interpolate(known[:, None], self.isolation.shape[1:], mode="bilinear")[:, 0]
        return head(self.trunk.features, novelty_maps(self.isolation, known))  # type: ignore[no-any-return]


def size_batches(pictures: Sequence[UInt8Array]) -> Iterator[tuple[int, ...]]:
    """Indices of pictures in small batches of one size each."""
    by_size: dict[tuple[int, ...], list[int]] = {}
    for index, picture in enumerate(pictures):
        by_size.setdefault(picture.shape, []).append(index)
    for indices in by_size.values():
        for start in range(0, len(indices), _BATCH_SIZE):
            yield tuple(indices[start : start + _BATCH_SIZE])


@dataclass(frozen=True, eq=False)
class FeatureExtractor:
    """Batched feature extraction: SurfaceNet and, if given, a backbone for the descriptors."""

    network: SurfaceNet
    backbone: TransformersBackbone | PluginBackbone | None = None

    @property
    def device(self) -> torch.device:
        """The device that the network runs on."""
        return next(self.network.parameters()).device

    def extract(self, working: Sequence[UInt8Array]) -> Iterator[FeatureBatch]:
        """Extract features of pictures at working size, uint8 (H, W, 3), batched by size, so not in order."""
        for batch in size_batches(working):
            yield self._extract_batch(batch, [working[i] for i in batch])

    def _extract_batch(self, indices: tuple[int, ...], pictures: Sequence[UInt8Array]) -> FeatureBatch:
        trunk = extract_features(self.network, pictures)
        described = self.backbone.describe(pictures) if self.backbone else _descriptor_grid(trunk)
        return FeatureBatch(indices, tuple(pictures), described, trunk, self.network)


def extract_features(network: SurfaceNet, pictures: Sequence[UInt8Array]) -> TrunkOutput:
    """Run the trunk over pictures of one working size, without gradients."""
    import torch

    from anomalist.vision.features.surface_net import standardise

    device = next(network.parameters()).device
    with torch.no_grad():
        return network.forward_features(standardise(as_tensor(pictures).to(device)))


def _descriptor_grid(trunk: TrunkOutput) -> FloatArray:
    return np.ascontiguousarray(trunk.descriptors.permute(0, 2, 3, 1).cpu().numpy())


def to_half_size(picture: UInt8Array) -> UInt8Array:
    """Reduce a picture of working size by half, to the nearest size that the network takes."""
    import cv2

    from anomalist.vision.features.surface_net import SIZE_MULTIPLE

    height, width = (
        max(SIZE_MULTIPLE, round(n / 2 / SIZE_MULTIPLE) * SIZE_MULTIPLE) for n in picture.shape[:2]
    )
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
