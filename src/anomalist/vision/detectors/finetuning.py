"""Fine-tune the segmentation head to a product, on its normal pictures with synthetic and known defects.

The trunk stays frozen, so that memory banks stay valid and features are computed once; so does the
bank-conditioned head, which fine-tuning makes worse. The result is averaged with the shipped head
(WiSE-FT, Wortsman et al. 2022). Needs torch: import it inside functions only.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from anomalist.types.common import BoolArray, FloatArray, UInt8Array
from anomalist.vision.detectors.fusion import Normality
from anomalist.vision.detectors.labelled_defects import KnownDefect
from anomalist.vision.detectors.pretext import segmentation_loss
from anomalist.vision.features.backbones import to_working_size, uses_bfloat16
from anomalist.vision.features.extractor import FeatureExtractor, to_half_size
from anomalist.vision.features.surface_net import SegmentationHead
from anomalist.vision.prefetch import prefetch
from anomalist.vision.synthetic_defects import DEFECT, IGNORE, NORMAL, add_defect, as_float, augment
from anomalist.vision.synthetic_textures import Rng

_DEFECT_SIDE = 128  # side of the square that synthetic defects are made for
_CLEAN_SHARE, _KNOWN_SHARE = 0.3, 0.4  # of the samples: without a defect; known ones, where there are any
_HALF_SIZE_SHARE = 0.5  # of all samples; inference, too, runs at both scales
_PSEUDO_LABEL_SHARE = 0.01  # of the pixels of a defect without a mask are pseudo-labelled


@dataclass(frozen=True, eq=False)
class TrainingSample:
    """A training sample: a picture with its label.

    Parameters
    ----------
    picture : uint8 (H, W, 3) at working size, or at half of it.
    label : uint8 (H, W), NORMAL, DEFECT or IGNORE.
    source : number of the normal picture that it was made from; −1 for a known defect.
    """

    picture: UInt8Array
    label: UInt8Array
    source: int


@dataclass(frozen=True, eq=False)
class DefectSampler:
    """Draws training samples from normal pictures with synthetic defects, and from known defects.

    Parameters
    ----------
    normals : uint8 (H, W, 3) each, at working size.
    known : real defective pictures with their labels, likewise.
    """

    normals: Sequence[UInt8Array]
    known: Sequence[tuple[UInt8Array, UInt8Array]] = ()

    def sample(self, rng: Rng, among: npt.NDArray[np.int64]) -> TrainingSample:
        """Draw a sample, from the normal pictures with the numbers ``among`` and from all known defects."""
        coarse = rng.random() < _HALF_SIZE_SHARE
        picture, label, source = self._draw(rng, among)
        if coarse:
            return TrainingSample(to_half_size(picture), label_to_half_size(label), source)
        return TrainingSample(picture, label, source)

    def _draw(self, rng: Rng, among: npt.NDArray[np.int64]) -> tuple[UInt8Array, UInt8Array, int]:
        if self.known and rng.random() < _KNOWN_SHARE:
            picture, label = self.known[int(rng.integers(len(self.known)))]
            return _maybe_augment(rng, as_float(picture)), label, -1
        source = int(rng.choice(among))
        normal = as_float(self.normals[source])
        label = np.full(normal.shape[:2], NORMAL, np.uint8)
        if rng.random() > _CLEAN_SHARE:
            donor = self.normals[int(rng.choice(among))]
            for _ in range(int(rng.integers(1, 4))):
                _paste_defect(rng, normal, label, donor)
        return _maybe_augment(rng, normal), label, source


def label_to_half_size(label: UInt8Array) -> UInt8Array:
    """The label of a picture at half its size, see `to_half_size`; mixed pixels are ignored."""
    import cv2

    height, width = to_half_size(label[..., None]).shape[:2]

    def share(of: int) -> FloatArray:
        ones = (label == of).astype(np.float32)
        return np.asarray(cv2.resize(ones, (width, height), interpolation=cv2.INTER_AREA))

    defect, ignored = share(DEFECT), share(IGNORE)
    return np.where(defect >= 0.5, DEFECT, np.where(defect + ignored > 0, IGNORE, NORMAL)).astype(np.uint8)


def _paste_defect(rng: Rng, picture: FloatArray, label: UInt8Array, donor: UInt8Array) -> None:
    """Add a synthetic defect to a square of a picture, float32 (H, W, 3) in [0, 1], in place."""
    side = min(int(_DEFECT_SIDE * rng.choice([0.75, 1, 1.75])), *picture.shape[:2], *donor.shape[:2])
    y, x = (int(rng.integers(length - side + 1)) for length in picture.shape[:2])
    top, left = (int(rng.integers(length - side + 1)) for length in donor.shape[:2])
    other = as_float(donor[top : top + side, left : left + side])
    square = (slice(y, y + side), slice(x, x + side))
    changed, new = add_defect(rng, picture[square], other)
    picture[square] = changed
    old = label[square]
    label[square] = np.where(new == NORMAL, old, np.where(old == DEFECT, DEFECT, new))


def _maybe_augment(rng: Rng, picture: FloatArray) -> UInt8Array:
    """Augment half of the pictures (light, noise, sharpness); takes float32 in [0, 1], returns uint8."""
    if rng.random() < 0.5:
        picture = augment(rng, picture)
    return np.asarray((picture * 255).round(), np.uint8)


def known_defect_samples(
    extractor: FeatureExtractor, normality: Normality, defects: Sequence[KnownDefect]
) -> list[tuple[UInt8Array, UInt8Array]]:
    """Working pictures of known defects with their labels, uint8 (h, w, 3) and (h, w).

    Pixels at the rim of a mask are ignored, as masks are drawn by hand. Without a mask the pixels with the
    highest logits of the shipped network are pseudo-labelled as the defect, and all others ignored.
    """
    import cv2
    import torch

    samples = []
    for defect in defects:
        picture = to_working_size(defect.picture)
        if defect.mask is not None:
            label = _label_from_mask(defect.mask, picture.shape[:2])
        else:
            (batch,) = extractor.extract([picture])
            with torch.inference_mode():
                logits = (
                    batch.logits(extractor.network.head, normality.novelty(batch.descriptors))[0]
                    .cpu()
                    .numpy()
                )
            smooth = cv2.GaussianBlur(logits, (0, 0), 2)
            label = np.full(smooth.shape, IGNORE, np.uint8)
            label[smooth >= np.quantile(smooth, 1 - _PSEUDO_LABEL_SHARE)] = DEFECT
        samples.append((picture, label))
    return samples


def _label_from_mask(mask: BoolArray, shape: tuple[int, ...]) -> UInt8Array:
    import cv2

    size = (shape[1], shape[0])
    share = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    near = cv2.dilate((share > 0).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    label = np.where(near, IGNORE, NORMAL).astype(np.uint8)
    label[share >= min(0.5, float(share.max()))] = DEFECT
    return label


BATCH_SIZE = 4
"""Samples of a training step."""

_LEARNING_RATE = 1e-3
_VALIDATION_SAMPLES = 64
_PREFETCH_STEPS = 3  # whose samples are prefetched


def finetune_head(
    extractor: FeatureExtractor,
    head: SegmentationHead,
    sampler: DefectSampler,
    groups: npt.NDArray[np.int64],
    steps: int,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> SegmentationHead:
    """Return the average of ``head`` and a copy fine-tuned for ``steps`` on samples of ``sampler``.

    ``groups`` are int (n,), of the sampler's normals. A tenth of the groups, when there are ten or more, is
    held out for validation; where training has not helped, ``head`` itself is returned. The result is rounded
    to half precision, as it is stored. Batch statistics stay those of pretraining: batches of a few similar
    pictures have none to estimate.
    """
    order = np.random.default_rng((seed, 7)).permutation(np.unique(groups))
    held_out = np.isin(groups, order[: len(order) // 10])
    training = np.flatnonzero(~held_out)
    validating = np.flatnonzero(held_out) if held_out.any() else training
    rng = np.random.default_rng((seed, 1_000_000))
    validation_samples = [sampler.sample(rng, validating) for _ in range(_VALIDATION_SAMPLES)]

    finetuned = copy.deepcopy(head).eval()  # freezes the batch statistics; the weights still learn
    optimiser = torch.optim.AdamW(finetuned.parameters(), lr=_LEARNING_RATE, weight_decay=0.01)

    def loss_of(samples: Sequence[TrainingSample]) -> Tensor:
        losses = [_sample_loss(extractor, finetuned, sample) for sample in samples]
        return torch.stack(losses).mean()

    def validation_loss() -> float:
        with torch.no_grad():
            return float(loss_of(validation_samples))

    before = validation_loss()
    for step, samples in enumerate(prefetch_samples(sampler, training, steps, seed)):
        for group in optimiser.param_groups:
            group["lr"] = (
                _LEARNING_RATE * min(1.0, (step + 1) / 20) * 0.5 * (1 + math.cos(math.pi * step / steps))
            )
        loss = loss_of(samples)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(finetuned.parameters(), 1.0)
        optimiser.step()
        progress(step + 1, steps)
    finetuned.load_state_dict(average_weights(head.state_dict(), finetuned.state_dict()))
    return round_to_half(finetuned if validation_loss() < before else copy.deepcopy(head))


def average_weights(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Average two sets of weights (WiSE-FT): the first generalises to defects that the samples lack.

    Wortsman et al. 2022, "Robust fine-tuning of zero-shot models".
    """
    return {
        name: (value + second[name]) / 2 if value.dtype.is_floating_point else value
        for name, value in first.items()
    }


def round_to_half(head: SegmentationHead) -> SegmentationHead:
    """Round the weights to half precision, in place, keeping them float32."""
    with torch.no_grad():
        for value in head.state_dict().values():
            if value.dtype.is_floating_point:
                value.copy_(value.half().float())
    return head.eval()


def _sample_loss(extractor: FeatureExtractor, head: SegmentationHead, sample: TrainingSample) -> Tensor:
    """Loss of one sample with self-reference logits."""
    (batch,) = extractor.extract([sample.picture])
    novelty, _ = batch.intra_image_novelty, batch.isolation  # computed here in full precision
    device = extractor.device
    with torch.autocast(device.type, torch.bfloat16, enabled=uses_bfloat16(device)):
        logits = batch.logits(head, novelty).float()
    return segmentation_loss(logits, torch.from_numpy(sample.label[None]).to(device))


def prefetch_samples(
    sampler: DefectSampler, among: npt.NDArray[np.int64], steps: int, seed: int
) -> Generator[list[TrainingSample], None, None]:
    """Yield the samples of steps 0 … steps − 1 in order, prefetched in another thread."""

    def draw(step: int) -> list[TrainingSample]:
        rng = np.random.default_rng((seed, step))
        return [sampler.sample(rng, among) for _ in range(BATCH_SIZE)]

    return prefetch(map, draw, range(steps), depth=_PREFETCH_STEPS)
