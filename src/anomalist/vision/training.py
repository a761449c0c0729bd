"""The pretext that pretraining and adaptation share: pairs of views and the losses on them.

A *pair* is two views of the same kind of surface. The first may carry synthetic defects; the second, the
reference, is clean and serves as the memory that the first one's patches are looked up in. Import this module
inside functions only: it needs torch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from anomalist.types import FloatArray, UInt8Array
from anomalist.vision.network import DESCRIPTOR_STRIDE, SurfaceNet, standardise
from anomalist.vision.surfaces import Rng
from anomalist.vision.synthesis import DEFECT, IGNORE, NORMAL, add_defect, disturb

_DEFECT_SHARE = 0.85  # of the first views; the second ones are always clean
_TOP_PIXELS = 20  # the image score is the mean of this many highest logits

View = tuple[FloatArray, UInt8Array]
"""A square picture, float32 (size, size, 3) in [0, 1], and its label, uint8 (size, size)."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """A batch of n pairs: first the n views that may have defects, then their n references.

    Parameters
    ----------
    views : uint8 (2n, size, size, 3), RGB.
    labels : uint8 (2n, size, size), NORMAL, DEFECT or IGNORE.
    """

    views: UInt8Array
    labels: UInt8Array


def _crop(rng: Rng, picture: UInt8Array, size: int) -> FloatArray:
    """A random square crop; pictures smaller than ``size`` are mirrored outwards."""
    lack = [max(0, size - side) for side in picture.shape[:2]]
    if any(lack):
        pads = [(part // 2, part - part // 2) for part in lack]
        picture = np.pad(picture, [*pads, (0, 0)], mode="symmetric")
    y, x = (int(rng.integers(side - size + 1)) for side in picture.shape[:2])
    return np.asarray(picture[y : y + size, x : x + size], np.float32) / np.float32(255)


def make_pair(
    rng: Rng, picture: UInt8Array, reference: UInt8Array, size: int, *, turn: bool
) -> tuple[View, View]:
    """Draw a view that may have defects, and its reference, from two pictures of the same kind of surface.

    Parameters
    ----------
    picture, reference : uint8 (H, W, 3), of any size; they may be the same.
    size : side of the views, pixels.
    turn : also rotate and mirror both views alike, for surfaces without a fixed orientation.
    """
    first, second = _crop(rng, picture, size), _crop(rng, reference, size)
    if turn:
        quarter, mirror = int(rng.integers(4)), rng.random() < 0.5
        first, second = (np.rot90(v, quarter)[:, :: -1 if mirror else 1].copy() for v in (first, second))
    label = np.full((size, size), NORMAL, np.uint8)
    if rng.random() < _DEFECT_SHARE:
        for _ in range(int(rng.choice([1, 1, 2]))):
            first, new = add_defect(rng, first, second)
            label = np.where(new == NORMAL, label, np.where(label == DEFECT, DEFECT, new)).astype(np.uint8)
    return (disturb(rng, first), label), (disturb(rng, second), np.full_like(label, NORMAL))


def make_pairs(
    seed: tuple[int, ...], pictures: list[tuple[UInt8Array, UInt8Array]], size: int, *, turn: bool
) -> Pairs:
    """Draw one batch from (picture, reference) tuples, a function of the arguments alone; see `make_pair`."""
    rng = np.random.default_rng(seed)
    drawn = [make_pair(rng, picture, reference, size, turn=turn) for picture, reference in pictures]
    views = [pair[k] for k in (0, 1) for pair in drawn]
    return Pairs(
        np.stack([(view * 255).round().astype(np.uint8) for view, _ in views]),
        np.stack([label for _, label in views]),
    )


class Pretext(nn.Module):
    """The network with its losses; two learned scalars turn neighbour distances into log-odds."""

    def __init__(self, network: SurfaceNet) -> None:
        super().__init__()
        self.network = network
        self.sharpness = nn.Parameter(torch.tensor(2.0))
        self.limit = nn.Parameter(torch.tensor(0.3))

    def forward(self, pairs: Pairs, *, half: bool) -> Tensor:
        """Loss of a batch, a scalar; ``half`` computes the network in bfloat16."""
        pictures = torch.from_numpy(pairs.views).permute(0, 3, 1, 2).float() / 255
        pictures = standardise(pictures).contiguous(memory_format=torch.channels_last)
        labels = torch.from_numpy(pairs.labels)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            logits, descriptors = self.network(pictures)
        logits = logits.float()[:, 0]
        return (
            pixel_loss(logits, labels)
            + 0.25 * image_loss(logits, labels)
            + 0.5 * self._neighbour_loss(descriptors, labels)
        )

    def _neighbour_loss(self, descriptors: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy on each block's squared distance to its nearest neighbour in the reference.

        A block is defective when a tenth of its pixels are, and normal when all of them are; others don't
        count. Both kinds weigh the same, however rare.
        """
        first, reference = descriptors.flatten(2).chunk(2)  # (n, 64, blocks)
        distance = 2 - 2 * (first.transpose(1, 2) @ reference).amax(2)  # unit vectors
        logits = self.sharpness.exp() * (distance - self.limit)
        blocks = labels.chunk(2)[0].unfold(1, DESCRIPTOR_STRIDE, DESCRIPTOR_STRIDE)
        blocks = blocks.unfold(2, DESCRIPTOR_STRIDE, DESCRIPTOR_STRIDE).flatten(3).flatten(1, 2)
        defective = (blocks == DEFECT).float().mean(2) > 0.1
        normal = (blocks == NORMAL).all(2)
        loss = F.binary_cross_entropy_with_logits(logits, defective.float(), reduction="none")
        total = loss.new_zeros(())
        for kind in (defective, normal):
            if kind.any():
                total = total + loss[kind].mean()
        return total / 2


def pixel_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Focal loss (Lin et al. 2017, γ = 2) plus soft dice (Milletari et al. 2016), ignored pixels left out.

    Defects weigh three times as much in the first; the second is over pictures that have one. ``logits`` is
    float (B, H, W), ``labels`` uint8 (B, H, W).
    """
    known = (labels != IGNORE).float()
    target = (labels == DEFECT).float()
    chance = logits.sigmoid()
    right = torch.where(target > 0, chance, 1 - chance)
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    weight = torch.where(target > 0, 3.0, 1.0)
    focal = ((1 - right).square() * entropy * known * weight).sum() / known.sum().clamp(min=1)
    has_defect = target.sum((1, 2)) > 0
    overlap = (chance * target).sum((1, 2))
    dice = 1 - (2 * overlap + 1) / ((chance * known).sum((1, 2)) + target.sum((1, 2)) + 1)
    return 5 * focal + (dice * has_defect).sum() / has_defect.sum().clamp(min=1)


def image_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy on each picture's score, the mean of its highest logits, so that clean ones stay low.

    Pictures whose only defects are ignored don't count. Shapes as in `pixel_loss`.
    """
    known = torch.where(labels == IGNORE, torch.full_like(logits, -30.0), logits)
    scores = known.flatten(1).topk(_TOP_PIXELS).values.mean(1)
    defective = (labels == DEFECT).flatten(1).any(1)
    clear = defective | (labels == NORMAL).flatten(1).all(1)
    loss = F.binary_cross_entropy_with_logits(scores, defective.float(), reduction="none")
    return (loss * clear).sum() / clear.sum().clamp(min=1)


def half_precision() -> bool:
    """Whether this processor multiplies bfloat16 matrices in hardware (AMX), where it is about 3× faster.

    Weights trained with and without it differ slightly.
    """
    return bool(torch.cpu.get_capabilities().get("amx_bf16", False))
