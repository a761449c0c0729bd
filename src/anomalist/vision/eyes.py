"""Run the embedded network over pictures, batch by batch: what every detector sees."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from anomalist.types import FloatArray, UInt8Array
from anomalist.vision.features import TransformersBackbone, as_tensor

if TYPE_CHECKING:
    from torch import Tensor

    from anomalist.vision.network import Head, Seen, SurfaceNet

_BATCH = 4  # more is no faster, and takes more memory


@dataclass(frozen=True, eq=False)
class Look:
    """What was seen on a batch of B pictures of one size (H, W).

    Parameters
    ----------
    indices : which pictures they are.
    pictures : uint8 (H, W, 3) each.
    descriptors : float32 (B, h, w, d), unit vectors, for memory banks.
    seen : the trunk's features.
    network : that saw them.
    """

    indices: tuple[int, ...]
    pictures: tuple[UInt8Array, ...]
    descriptors: FloatArray
    seen: Seen
    network: SurfaceNet
    _sights: dict[Head, FloatArray] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def alone(self) -> Tensor:
        """`kinlessness` of every patch by the trunk's descriptors, float (B, H/8, W/8)."""
        from anomalist.vision.novelty import kinlessness

        return kinlessness(self.seen.descriptors)

    def first_sight(self, head: Head) -> FloatArray:
        """What a head says when each picture is all that is known, near and from afar; float32 (B, H, W).

        The sum of its logits on the pictures and on the pictures at half their size, where large faint
        defects are easier to see, each told how strange patches are to the rest of their own picture. Kept,
        as folds may share a head.
        """
        if head not in self._sights:
            self._sights[head] = self._first_sight(head)
        return self._sights[head]

    def _first_sight(self, head: Head) -> FloatArray:
        import torch
        import torch.nn.functional as F  # noqa: N812

        with torch.inference_mode():
            near = self.logits(head, self.strangeness_within)
            afar = self.from_afar.logits(head, self.from_afar.strangeness_within)
            enlarged = F.interpolate(afar[:, None], near.shape[1:], mode="bilinear")[:, 0]
            return (near + enlarged).numpy()

    @cached_property
    def strangeness_within(self) -> FloatArray:
        """`novelty.strangeness_within` by the trunk's descriptors, float32 (B, H/8, W/8)."""
        from anomalist.vision.novelty import strangeness_within

        return np.asarray(strangeness_within(self.seen.descriptors).numpy())

    @cached_property
    def from_afar(self) -> Look:
        """The same pictures seen at half their size; its descriptors are the network's own."""
        small = tuple(halved(picture) for picture in self.pictures)
        seen = see(self.network, small)
        return Look(self.indices, small, _described(seen), seen, self.network)

    def logits(self, head: Head, strangeness: FloatArray | None) -> Tensor:
        """What a head says, float (B, H, W), told `strange` float32 (B, h, w) of the patches, or nothing."""
        import torch
        import torch.nn.functional as F  # noqa: N812

        from anomalist.vision.novelty import novelty_maps

        known = None if strangeness is None else torch.from_numpy(strangeness)
        if known is not None and known.shape != self.alone.shape:  # a backbone has its own grid
            known = F.interpolate(known[:, None], self.alone.shape[1:], mode="bilinear")[:, 0]
        return head(self.seen.features, novelty_maps(self.alone, known))  # type: ignore[no-any-return]


@dataclass(frozen=True, eq=False)
class Eyes:
    """The shipped network and, where one was asked for, a backbone that describes patches in its place."""

    network: SurfaceNet
    backbone: TransformersBackbone | None = None

    def look(self, working: Sequence[UInt8Array]) -> Iterator[Look]:
        """Look at working pictures, uint8 (H, W, 3), those of one size together, so not in order."""
        by_size: dict[tuple[int, ...], list[int]] = {}
        for index, picture in enumerate(working):
            by_size.setdefault(picture.shape, []).append(index)
        for indices in by_size.values():
            for start in range(0, len(indices), _BATCH):
                batch = indices[start : start + _BATCH]
                yield self._look(tuple(batch), [working[i] for i in batch])

    def _look(self, indices: tuple[int, ...], pictures: Sequence[UInt8Array]) -> Look:
        seen = see(self.network, pictures)
        described = self.backbone.describe(pictures) if self.backbone else _described(seen)
        return Look(indices, tuple(pictures), described, seen, self.network)


def see(network: SurfaceNet, pictures: Sequence[UInt8Array]) -> Seen:
    """Run the trunk over working pictures of one size, without gradients."""
    import torch

    from anomalist.vision.network import standardise

    with torch.no_grad():
        return network.look(standardise(as_tensor(pictures)))


def _described(seen: Seen) -> FloatArray:
    return np.ascontiguousarray(seen.descriptors.permute(0, 2, 3, 1).numpy())


def halved(picture: UInt8Array) -> UInt8Array:
    """A working picture at half its size, to the nearest size that the network takes."""
    import cv2

    from anomalist.vision.network import MULTIPLE

    height, width = (max(MULTIPLE, round(n / 2 / MULTIPLE) * MULTIPLE) for n in picture.shape[:2])
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
