"""The pretext task of pretraining and fine-tuning: sets of views with synthetic defects, and their losses.

A *set* is two times ``HALF_SET`` views of one product: the first half may have synthetic defects, the second
half, the references, has none. Each view's patches are compared with those of two references (not itself, nor
its counterpart), as they are with a memory bank at inference. Needs torch: import it inside functions only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from anomalist.types.common import BoolArray, FloatArray, UInt8Array
from anomalist.vision.features.surface_net import (
    DESCRIPTOR_STRIDE,
    SurfaceNet,
    clipped_z_score,
    isolation,
    nearest_distance,
    novelty_maps,
    standardise,
)
from anomalist.vision.synthetic_defects import DEFECT, IGNORE, NORMAL, add_defect, augment
from anomalist.vision.synthetic_textures import Rng

HALF_SET = 3
"""Views of a set that may have defects; as many references."""

_DEFECT_SHARE = 0.85  # of the first views; the references are always clean
_NO_REFERENCE_SHARE = 0.25  # of the sets, so that the head also works without novelty
_TOP_PIXELS = 20  # the image score is the mean of this many highest logits

LabelledView = tuple[FloatArray, UInt8Array]
"""A square picture, float32 (size, size, 3) in [0, 1], and its label, uint8 (size, size)."""


@dataclass(frozen=True, eq=False)
class ViewBatch:
    """A batch of n sets: of each first the ``HALF_SET`` views that may have defects, then its references.

    Parameters
    ----------
    views : uint8 (n, 2·HALF_SET, size, size, 3), RGB.
    labels : uint8 (n, 2·HALF_SET, size, size), NORMAL, DEFECT or IGNORE.
    without_references : bool (n,), sets whose novelty is hidden from the head.
    """

    views: UInt8Array
    labels: UInt8Array
    without_references: BoolArray


@dataclass(frozen=True)
class CropWindow:
    """Where a view is cropped: ``centre`` relative to the picture, ``side`` in pixels.

    ``quarter`` are quarter turns, ``mirror`` flips it, ``angle`` is a further rotation in degrees.
    """

    centre: tuple[float, float]
    side: float
    quarter: int = 0
    mirror: bool = False
    angle: float = 0.0


def _crop_window(picture: UInt8Array, window: CropWindow, size: int) -> FloatArray:
    """Crop a window of a picture, reflected at its borders; float32 (size, size, 3) in [0, 1]."""
    import cv2

    height, width = picture.shape[:2]
    scale = size / window.side
    turn = cv2.getRotationMatrix2D((window.centre[0] * width, window.centre[1] * height), window.angle, scale)
    turn[:, 2] += size / 2 - np.array([window.centre[0] * width, window.centre[1] * height])
    if scale < 0.8:  # or reducing would alias
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), 0.4 / scale), np.uint8)
    cut = cv2.warpAffine(picture, turn, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    cut = np.rot90(cut, window.quarter)[:, :: -1 if window.mirror else 1]
    return np.asarray(cut, np.float32) / np.float32(255)


def _draw_windows(
    rng: Rng, shape: tuple[int, ...], size: int, *, rigid: bool, turn: bool
) -> list[CropWindow]:
    """Draw the windows of one set: anywhere, or nearly the same place where the product is rigid."""
    shorter = min(shape[:2])
    side = size if rng.random() < 0.5 or shorter <= size else rng.uniform(size, shorter)
    quarter, mirror = (int(rng.integers(4)), bool(rng.random() < 0.5)) if turn else (0, False)
    margin = [min(0.5, side / 2 / length) for length in (shape[1], shape[0])]

    def anywhere() -> tuple[float, float]:
        return (float(rng.uniform(margin[0], 1 - margin[0])), float(rng.uniform(margin[1], 1 - margin[1])))

    windows = []
    fixed = anywhere()
    for _ in range(2 * HALF_SET):
        centre = fixed if rigid else anywhere()
        jitter = rng.normal(0, 2.5, 2) if rigid else np.zeros(2)
        place = (centre[0] + float(jitter[0]) / shape[1], centre[1] + float(jitter[1]) / shape[0])
        stretch = float(rng.normal(1, 0.01)) if rigid else 1.0
        windows.append(CropWindow(place, side * stretch, quarter, mirror, float(rng.normal(0, 0.7)) * rigid))
    return windows


def make_view_set(
    rng: Rng, pictures: list[UInt8Array], size: int, *, rigid: bool, turn: bool
) -> tuple[list[LabelledView], list[LabelledView]]:
    """Draw one set: the views that may have defects, and the references.

    Parameters
    ----------
    pictures : 2·HALF_SET of one product, uint8 (H, W, 3) of any size; some may be the same.
    size : side of the views, pixels.
    rigid : whether the product shows the same thing at the same place in all of them.
    turn : also turn and mirror all views alike, for surfaces without a fixed orientation.
    """
    windows = _draw_windows(rng, pictures[0].shape, size, rigid=rigid, turn=turn)
    cuts = [_crop_window(picture, window, size) for picture, window in zip(pictures, windows, strict=True)]
    clean = np.full((size, size), NORMAL, np.uint8)
    first = []
    for view, donor in zip(cuts[:HALF_SET], cuts[HALF_SET:], strict=True):
        label = clean
        if rng.random() < _DEFECT_SHARE:
            for _ in range(int(rng.choice([1, 1, 2]))):
                view, new = add_defect(rng, view, donor)
                label = np.where(new == NORMAL, label, np.where(label == DEFECT, DEFECT, new))
        first.append((augment(rng, view), np.asarray(label, np.uint8)))
    return first, [(augment(rng, view), clean) for view in cuts[HALF_SET:]]


def make_view_batch(
    seed: tuple[int, ...], products: list[tuple[list[UInt8Array], bool]], size: int, *, turn: bool
) -> ViewBatch:
    """Draw one batch from products, (2·HALF_SET pictures, rigid or not) each; see `make_view_set`."""
    rng = np.random.default_rng(seed)
    sets = [make_view_set(rng, pictures, size, rigid=rigid, turn=turn) for pictures, rigid in products]
    rows = [[*first, *references] for first, references in sets]
    views = [np.stack([(view * 255).round().astype(np.uint8) for view, _ in row]) for row in rows]
    labels = [np.stack([label for _, label in row]) for row in rows]
    return ViewBatch(np.stack(views), np.stack(labels), rng.random(len(rows)) < _NO_REFERENCE_SHARE)


class PretextModel(nn.Module):
    """SurfaceNet with its training losses; two learned scalars turn neighbour distances into logits."""

    def __init__(self, network: SurfaceNet) -> None:
        super().__init__()
        self.network = network
        self.sharpness = nn.Parameter(torch.tensor(2.0))
        self.limit = nn.Parameter(torch.tensor(0.3))

    def forward(self, batch: ViewBatch, *, half: bool) -> Tensor:
        """Loss of a batch, a scalar; ``half`` computes the network in bfloat16."""
        logits, distances = self.predict(batch, half=half)
        labels = torch.from_numpy(batch.labels).flatten(0, 1)
        return segmentation_loss(logits, labels) + 0.5 * self.neighbour_loss(distances, labels)

    def predict(self, batch: ViewBatch, *, half: bool) -> tuple[Tensor, Tensor]:
        """Run the network: logits, float (n·2·HALF_SET, size, size), and `reference_distances`."""
        pictures = torch.from_numpy(batch.views).flatten(0, 1).permute(0, 3, 1, 2).float() / 255
        pictures = standardise(pictures).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            output = self.network.forward_features(pictures)
        distances = reference_distances(output.descriptors)
        novelty = _reference_novelty(distances, torch.from_numpy(batch.without_references))
        novelty = novelty_maps(isolation(output.descriptors), novelty)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            return self.network.head(output.features, novelty).float(), distances

    def neighbour_loss(self, distances: Tensor, labels: Tensor) -> Tensor:
        """Balanced binary cross-entropy on each patch's distance to its nearest neighbour among references.

        A patch is defective when more than a tenth of its pixels are, and normal when all of them are; others
        don't count. ``distances`` is float (B, h, w), ``labels`` uint8 (B, 8h, 8w).
        """
        logits = self.sharpness.exp() * (distances - self.limit)
        blocks = labels.unfold(1, DESCRIPTOR_STRIDE, DESCRIPTOR_STRIDE)
        blocks = blocks.unfold(2, DESCRIPTOR_STRIDE, DESCRIPTOR_STRIDE).flatten(3)
        defective = (blocks == DEFECT).float().mean(3) > 0.1
        normal = (blocks == NORMAL).all(3)
        loss = F.binary_cross_entropy_with_logits(logits, defective.float(), reduction="none")
        total = loss.new_zeros(())
        for kind in (defective, normal):
            if kind.any():
                total = total + loss[kind].mean()
        return total / 2


def reference_distances(descriptors: Tensor) -> Tensor:
    """Squared distance of every patch of every view to the nearest in two references of its set.

    View i of either half leaves out reference i, so that all are compared with as many patches.

    ``descriptors`` is float (n·2·HALF_SET, d, h, w). Returns float (n·2·HALF_SET, h, w).
    """
    sets = descriptors.reshape(-1, 2 * HALF_SET, *descriptors.shape[1:])
    references = sets[:, HALF_SET:].flatten(3)  # (n, HALF_SET, d, patches)
    found = []
    for view in range(2 * HALF_SET):
        others = [k for k in range(HALF_SET) if k != view % HALF_SET]
        pool = torch.cat([references[:, k] for k in others], 2)
        found.append(nearest_distance(sets[:, view], pool))
    return torch.stack(found, 1).flatten(0, 1)


def _reference_novelty(distances: Tensor, without_references: Tensor) -> Tensor:
    """Clipped z-score of the distances by those of the set's references; NaN in sets without references."""
    sets = distances.reshape(-1, 2 * HALF_SET, *distances.shape[1:])
    usual = sets[:, HALF_SET:].detach().flatten(1)
    mean, spread = usual.mean(1)[:, None, None, None], usual.std(1)[:, None, None, None]
    result = clipped_z_score(sets, mean, spread)
    return torch.where(without_references[:, None, None, None], torch.nan, result).flatten(0, 1)


def segmentation_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Training loss of the head: `pixel_loss` and a quarter of `image_loss`."""
    return pixel_loss(logits, labels) + 0.25 * image_loss(logits, labels)


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
    """Binary cross-entropy on each picture's score, the mean of its highest logits.

    Pictures whose only defects are ignored don't count. Shapes as in `pixel_loss`.
    """
    scores = image_scores(torch.where(labels == IGNORE, torch.full_like(logits, -30.0), logits))
    defective, normal = defective_and_normal(labels)
    clear = defective | normal
    loss = F.binary_cross_entropy_with_logits(scores, defective.float(), reduction="none")
    return (loss * clear).sum() / clear.sum().clamp(min=1)


def defective_and_normal(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Which pictures have a defect and which are normal all over, bool (B,) each, of uint8 (B, H, W).

    The others have ignored pixels and no defect.
    """
    return (labels == DEFECT).flatten(1).any(1), (labels == NORMAL).flatten(1).all(1)


def image_scores(logits: Tensor) -> Tensor:
    """The mean of each picture's highest logits, float (B,), of float (B, H, W)."""
    return logits.flatten(1).topk(_TOP_PIXELS).values.mean(1)
