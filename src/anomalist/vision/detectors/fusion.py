"""Score fusion: one fold's four anomaly maps, z-scored by position against normals and added.

The maps are the logits of the bank-conditioned head, the self-reference logits of the fold's own head, and
the novelty of patches at two degrees of smoothing. Scores vary with the place (the rim of an object scores
higher than its middle), so each map is standardised in 8×8 cells. Pictures need only be roughly aligned;
where they are not, all positions share one scale.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from anomalist.types.common import BoolArray, FloatArray, UInt8Array
from anomalist.vision.detectors.memory_bank import (
    CORESET_CANDIDATES,
    MemoryBank,
    PatchSample,
    build_bank,
    join_patches,
    sample_patches,
)
from anomalist.vision.features.extractor import FeatureBatch, FeatureExtractor
from anomalist.vision.regions import resize_roi_to_grid, roi_of_each

if TYPE_CHECKING:
    from anomalist.vision.features.surface_net import SegmentationHead


GRID_CELLS = 8
"""Cells on a side of the grid."""
_PRIOR_PICTURES = 8.0  # pictures that the prior, the whole grid's mean and variance, counts for in a cell


def cell_peaks(score_map: FloatArray) -> FloatArray:
    """Highest value in each cell of an 8×8 grid over a map; float32 (8, 8).

    ``score_map`` is float32 (H, W) with sides of at least 1; small maps repeat their pixels.
    """
    top = np.linspace(0, score_map.shape[0], GRID_CELLS, endpoint=False).astype(int)
    left = np.linspace(0, score_map.shape[1], GRID_CELLS, endpoint=False).astype(int)
    return np.asarray(np.maximum.reduceat(np.maximum.reduceat(score_map, top, 0), left, 1), np.float32)


@dataclass(frozen=True, eq=False)
class PositionScale:
    """Mean and spread of the cell peaks of normal pictures, float32 (8, 8) each."""

    mean: FloatArray
    spread: FloatArray

    @classmethod
    def fit(cls, peaks: FloatArray) -> PositionScale:
        """Estimate from the cell peaks of n normal pictures, float32 (n, 8, 8).

        Cells are shrunk towards the whole grid's values, the more so the fewer pictures there are.
        """
        own = len(peaks) / (len(peaks) + _PRIOR_PICTURES)
        mean = own * peaks.mean(0) + (1 - own) * peaks.mean()
        variance = own * peaks.var(0) + (1 - own) * peaks.var(0).mean()
        # A few pictures that agree by chance must not inflate the z-scores.
        floor = max(float(peaks.var()) * 0.01, 1e-8)
        return cls(mean.astype(np.float32), np.sqrt(np.maximum(variance, floor)).astype(np.float32))

    @classmethod
    def flat(cls, peaks: FloatArray) -> PositionScale:
        """Estimate for pictures that aren't aligned: one mean and spread for all positions."""
        shape, spread = peaks.shape[1:], max(float(peaks.std()), 1e-4)
        return cls(np.full(shape, peaks.mean(), np.float32), np.full(shape, spread, np.float32))

    def apply(self, score_map: FloatArray) -> FloatArray:
        """(map − mean) / spread, the grids resized to the map's size by interpolation; float32 (H, W)."""
        import cv2

        size = (score_map.shape[1], score_map.shape[0])
        mean = cv2.resize(self.mean, size, interpolation=cv2.INTER_LINEAR)
        spread = cv2.resize(self.spread, size, interpolation=cv2.INTER_LINEAR)
        return np.asarray((score_map - mean) / spread, np.float32)


TOP_PIXELS = 20
"""The image score is the mean of this many highest values of the fused map at working size."""

_SCALING_PICTURES = 100  # that scales are fitted on at most
_BANK_SHARE, _BANK_BLUR = 0.5, 1.0  # in patches: neighbours that agree count more than a lone outlier
_BROAD_SHARE, _BROAD_BLUR, _BROAD_BOUNDS = 2.0, 4.0, (-4.0, 1.0)

StepProgress = Callable[[int, int], None]
"""Called with how many pictures are done and how many there are."""


class Normality(Protocol):
    """A model of normal patches that gives the novelty of others."""

    def novelty(self, descriptors: FloatArray) -> FloatArray:
        """Novelty of each patch, float32 (…, d) to float32 (…), a clipped z-score."""
        ...

    def novelty_excluding(self, descriptors: FloatArray, pictures: npt.NDArray[np.int32]) -> FloatArray:
        """Novelty of one picture's patches (h, w, d), with ``pictures``, by number, left out."""
        ...


@dataclass(frozen=True, eq=False)
class PatchBank:
    """Memory bank of normal patches, with mean and spread of the distances of held-out normal patches.

    Parameters
    ----------
    bank : of normal patches.
    mean, spread : of their leave-one-out distances.
    """

    bank: MemoryBank
    mean: float
    spread: float

    def novelty(self, descriptors: FloatArray) -> FloatArray:
        """Nearest-neighbour distance as a z-score; see `Normality.novelty`."""
        flat = descriptors.reshape(-1, descriptors.shape[-1])
        return self._scaled(self.bank.distances(flat)).reshape(descriptors.shape[:-1])

    def novelty_excluding(self, descriptors: FloatArray, pictures: npt.NDArray[np.int32]) -> FloatArray:
        """See `Normality.novelty_excluding`."""
        return self._scaled(distances_excluding(self.bank, descriptors, pictures))

    def _scaled(self, distances: FloatArray) -> FloatArray:
        import torch

        from anomalist.vision.features.surface_net import clipped_z_score

        return clipped_z_score(torch.from_numpy(distances), self.mean, self.spread).numpy()


N = TypeVar("N", bound=Normality)


@dataclass(frozen=True, eq=False)
class FusionModel(Generic[N]):
    """Fusion model of one fold: its normality, and the scales of its four maps on normals.

    Parameters
    ----------
    head : number of the head that gives self-reference logits: the shipped one, 0, or a fine-tuned one.
    logit_scale, self_reference_scale, bank_scale, broad_scale : of its four maps, see `fuse`.
    level : image score that nine in ten normal pictures stay under.
    """

    head: int
    normality: N
    logit_scale: PositionScale
    self_reference_scale: PositionScale
    bank_scale: PositionScale
    broad_scale: PositionScale
    level: float = 0.0

    def maps(
        self, batch: FeatureBatch, heads: Sequence[SegmentationHead], novelty: FloatArray | None = None
    ) -> Iterator[FloatArray]:
        """Anomaly maps float32 (H, W), one a picture of the batch.

        ``novelty`` is that of its patches, float32 (B, h, w), where it is computed already.
        """
        import torch

        if novelty is None:
            novelty = self.normality.novelty(batch.descriptors)
        with torch.inference_mode():
            logits = batch.logits(batch.network.head, novelty).cpu().numpy()
        for maps in zip(logits, batch.self_reference_logits(heads[self.head]), novelty, strict=True):
            yield self.fuse(*maps)

    def fuse(self, logits: FloatArray, self_reference_logits: FloatArray, novelty: FloatArray) -> FloatArray:
        """Anomaly map float32 (H, W) of a picture.

        Parameters
        ----------
        logits : float32 (H, W), of the shipped head, conditioned on the patch bank.
        self_reference_logits : float32 (H, W), of the fold's own head, without the patch bank.
        novelty : float32 (h, w), of the patches. Its weight is a half, as the logits depend on it already.
            Broadly smoothed and clipped it is added once more, which ranks the pixels of large faint defects
            without making peaks.
        """
        head_logits = self.logit_scale.apply(logits) + self.self_reference_scale.apply(self_reference_logits)
        fine = _BANK_SHARE * self.bank_scale.apply(smooth(novelty, _BANK_BLUR))
        broad = self.broad_scale.apply(smooth(novelty, _BROAD_BLUR)).clip(*_BROAD_BOUNDS)
        patches = np.asarray(fine + _BROAD_SHARE * broad, np.float32)
        return head_logits + resize_map(patches, logits.shape)


def image_score(score_map: FloatArray, inside: BoolArray | None) -> float:
    """Mean of the ``TOP_PIXELS`` highest values of a map, float32 (H, W), inside the ROI."""
    values = score_map.ravel() if inside is None else score_map[inside]
    top = min(TOP_PIXELS, values.size)
    return float(np.partition(values, values.size - top)[values.size - top :].mean())


def distances_excluding(
    bank: MemoryBank, descriptors: FloatArray, pictures: npt.NDArray[np.int32]
) -> FloatArray:
    """Distances of patches, float32 (h, w, d), to a bank without ``pictures``; float32 (h, w).

    When the bank holds nothing else, nothing is left out.
    """
    if np.isin(bank.pictures, pictures).all():
        pictures = np.empty(0, np.int32)
    flat = descriptors.reshape(-1, descriptors.shape[-1]).astype(np.float32)
    return bank.distances_excluding(flat, pictures).reshape(descriptors.shape[:-1])


@dataclass(frozen=True, eq=False)
class NormalImages:
    """Normal pictures that one model learns from.

    Parameters
    ----------
    images : n of them at working size, uint8 (h, w, 3).
    groups : int64 (n,), pictures of the same object share a number.
    seed : of every random choice.
    aligned : whether the same place shows the same thing in all of them. Tiles are not aligned: there all
        places share one scale.
    """

    images: Sequence[UInt8Array]
    groups: npt.NDArray[np.int64]
    seed: int = 0
    aligned: bool = True


def build_patch_bank(
    extractor: FeatureExtractor,
    normals: NormalImages,
    roi: BoolArray | Sequence[BoolArray | None] | None,
    tick: StepProgress,
) -> PatchBank:
    """Build the bank, then estimate the distances of held-out normals by leaving groups out.

    ``roi`` is that of all pictures, or one of each.
    """
    working, groups, seed = normals.images, normals.groups, normals.seed
    rois = roi_of_each(roi, len(working))
    rng = np.random.default_rng(seed)
    most = max(1, CORESET_CANDIDATES // len(working))
    sampled = set(_sample_indices(len(working), seed))
    patches: list[PatchSample] = []
    kept: dict[int, FloatArray] = {}
    done = 0
    for batch in extractor.extract(working):
        for index, descriptors in zip(batch.indices, batch.descriptors, strict=True):
            inside = resize_roi_to_grid(rois[index], descriptors.shape[:2])
            patches.append(sample_patches(descriptors, index, inside, most, rng))
            if index in sampled:
                kept[index] = descriptors.astype(np.float16)
            done += 1
            tick(done, len(working))
    bank = build_bank(join_patches(patches), seed)
    normal_distances: list[FloatArray] = []
    for index in sorted(kept):
        distances = distances_excluding(bank, kept[index], same_group(groups, index))
        inside = resize_roi_to_grid(rois[index], distances.shape)
        normal_distances.append(distances.ravel() if inside is None else distances[inside])
    pooled = np.concatenate(normal_distances)
    return PatchBank(bank, float(pooled.mean()), float(pooled.std()))


def same_group(groups: npt.NDArray[np.int64], index: int) -> npt.NDArray[np.int32]:
    """Pictures to leave out for picture ``index``: its group, or itself alone when there is but one group."""
    members = np.flatnonzero(groups == groups[index])
    return (members if len(members) < len(groups) else np.array([index])).astype(np.int32)


def fit_model(
    extractor: FeatureExtractor,
    heads: Sequence[SegmentationHead],
    head: int,
    normality: N,
    normals: NormalImages,
) -> FusionModel[N]:
    """Fit the scales of the maps on a sample of the normals, leaving their groups out of the bank."""
    import torch

    working, groups, seed = normals.images, normals.groups, normals.seed
    chosen = _sample_indices(len(working), seed)
    halved: list[tuple[FloatArray, FloatArray, FloatArray]] = []
    peaks: list[tuple[FloatArray, ...]] = []
    for batch in extractor.extract([working[i] for i in chosen]):
        rows = zip(batch.indices, batch.descriptors, strict=True)
        novelty = [normality.novelty_excluding(d, same_group(groups, chosen[i])) for i, d in rows]
        with torch.inference_mode():
            logits = batch.logits(batch.network.head, np.stack(novelty)).cpu().numpy()
        self_logits_maps = batch.self_reference_logits(heads[head])
        for own, self_logits, patches in zip(logits, self_logits_maps, novelty, strict=True):
            smoothed = (smooth(patches, blur) for blur in (_BANK_BLUR, _BROAD_BLUR))
            peaks.append(tuple(cell_peaks(m) for m in (own, self_logits, *smoothed)))
            # Every other pixel is enough for the level; a view would keep all of them in memory.
            halved.append((own[::2, ::2].copy(), self_logits[::2, ::2].copy(), patches))
    fit = PositionScale.fit if normals.aligned else PositionScale.flat
    logit, self_logits, bank, broad = (fit(np.stack(column)) for column in zip(*peaks, strict=True))
    model = FusionModel(head, normality, logit, self_logits, bank, broad)
    scores = [image_score(model.fuse(*maps), None) for maps in halved]
    return replace(model, level=float(np.quantile(scores, 0.9)))


def _sample_indices(count: int, seed: int) -> list[int]:
    """Random pictures that distances and scales are estimated on, ascending."""
    return sorted(np.random.default_rng((seed, 1)).permutation(count)[:_SCALING_PICTURES].tolist())


def smooth(novelty: FloatArray, blur: float) -> FloatArray:
    """Smooth a map, float32 (h, w), by a Gaussian whose sigma is in its pixels."""
    import cv2

    return np.asarray(cv2.GaussianBlur(novelty, (0, 0), blur), np.float32)


def resize_map(grid: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """Resize a map to (H, W) by linear interpolation; float32."""
    import cv2

    return np.asarray(cv2.resize(grid, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR), np.float32)
