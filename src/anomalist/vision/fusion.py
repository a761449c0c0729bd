"""One fold of the surface detector: a segmenter's map and a memory bank's, brought to one scale and added."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from anomalist.types import BoolArray, FloatArray, UInt8Array
from anomalist.vision.bank import CANDIDATES, MemoryBank, Patches, build_bank, join_patches, sample_patches
from anomalist.vision.features import TransformersBackbone, run_network
from anomalist.vision.roi import covering_roi
from anomalist.vision.scaling import PositionScale, cell_peaks

if TYPE_CHECKING:
    from anomalist.vision.network import SurfaceNet

TOP_PIXELS = 20
"""The image score is the mean of this many highest values of the fused map at working size."""

_BATCH = 8
_SCALING_PICTURES = 200
_BANK_BLUR = 1.0  # in patches: neighbours that agree count more than a lone outlier


@dataclass(frozen=True, eq=False)
class Eyes:
    """Runs networks over working pictures, in batches of one size.

    Network 0 is the shipped one, whose descriptors fill the banks unless a backbone does; the others are
    adapted segmenters. Adapted descriptors would know the defects of the pretext better and everything else
    worse.
    """

    networks: tuple[SurfaceNet, ...]
    backbone: TransformersBackbone | None

    def look(
        self, working: Sequence[UInt8Array], segmenters: Sequence[int]
    ) -> Iterator[tuple[int, dict[int, FloatArray], FloatArray]]:
        """Yield (index, logits (H, W) by segmenter, descriptors (h, w, d)), grouped by size, not in order."""
        by_size: dict[tuple[int, ...], list[int]] = {}
        for index, picture in enumerate(working):
            by_size.setdefault(picture.shape, []).append(index)
        for indices in by_size.values():
            for start in range(0, len(indices), _BATCH):
                batch = indices[start : start + _BATCH]
                logits, descriptors = self._see([working[i] for i in batch], segmenters)
                for row, index in enumerate(batch):
                    yield index, {number: maps[row] for number, maps in logits.items()}, descriptors[row]

    def _see(
        self, pictures: Sequence[UInt8Array], segmenters: Sequence[int]
    ) -> tuple[dict[int, FloatArray], FloatArray]:
        needed = set(segmenters) if self.backbone else {0, *segmenters}
        seen = {number: run_network(self.networks[number], pictures) for number in sorted(needed)}
        descriptors = self.backbone.describe(pictures) if self.backbone else seen[0][1]
        return {number: seen[number][0] for number in segmenters}, descriptors


@dataclass(frozen=True, eq=False)
class Model:
    """What one fold has learned: the patches of its normals and how high its two maps usually are.

    ``segmenter`` is the number of its network among those of `Eyes`.
    """

    segmenter: int
    bank: MemoryBank
    segment_scale: PositionScale
    bank_scale: PositionScale

    def fuse(self, logits: FloatArray, descriptors: FloatArray) -> FloatArray:
        """Anomaly map float32 (H, W) from logits (H, W) and descriptors (h, w, d) of one picture."""
        import cv2

        distances = self.bank.distances(descriptors.reshape(-1, descriptors.shape[2]))
        unusual = self.bank_scale.apply(_smooth(distances.reshape(descriptors.shape[:2])))
        size = (logits.shape[1], logits.shape[0])
        enlarged = np.asarray(cv2.resize(unusual, size, interpolation=cv2.INTER_LINEAR), np.float32)
        return self.segment_scale.apply(logits) + enlarged


def image_score(score_map: FloatArray, inside: BoolArray | None) -> float:
    """Mean of the ``TOP_PIXELS`` highest values of a map, float32 (H, W), inside the ROI."""
    values = score_map.ravel() if inside is None else score_map[inside]
    top = min(TOP_PIXELS, values.size)
    return float(np.partition(values, values.size - top)[values.size - top :].mean())


def fit_model(
    eyes: Eyes,
    segmenter: int,
    working: Sequence[UInt8Array],
    groups: npt.NDArray[np.int64],
    roi: BoolArray | None,
    seed: int,
    tick: Callable[[int, int], None],
) -> Model:
    """Build the bank, then score the bank's own pictures as if their groups were new, to fit the scales.

    ``working`` are a fold's learning pictures at working size, ``groups`` int (n,) their groups. ``tick`` is
    called with how many pictures are done and how many there are.
    """
    rng = np.random.default_rng(seed)
    most = max(1, CANDIDATES // len(working))
    scaling = set(rng.permutation(len(working))[:_SCALING_PICTURES].tolist())
    patches: list[Patches] = []
    described: dict[int, FloatArray] = {}
    peaks: list[FloatArray] = []
    for done, (index, logits, descriptors) in enumerate(eyes.look(working, (segmenter,)), 1):
        inside = covering_roi(roi, descriptors.shape[:2])
        patches.append(sample_patches(descriptors, index, inside, most, rng))
        if index in scaling:
            described[index] = descriptors.astype(np.float16)
            peaks.append(cell_peaks(logits[segmenter]))
        tick(done, len(working))
    bank = build_bank(join_patches(patches), seed)
    bank_peaks = [cell_peaks(m) for m in _as_if_new(bank, described, groups)]
    return Model(segmenter, bank, PositionScale.fit(np.stack(peaks)), PositionScale.fit(np.stack(bank_peaks)))


def _as_if_new(
    bank: MemoryBank, described: dict[int, FloatArray], groups: npt.NDArray[np.int64]
) -> Iterator[FloatArray]:
    """Distance maps of pictures in the bank, without the neighbours from their own group."""
    for group in np.unique(groups[list(described)]):
        members = np.flatnonzero(groups == group).astype(np.int32)
        alone = len(np.unique(groups)) == 1  # nothing else to compare with: leave out each picture only
        for index in (i for i in members.tolist() if i in described):
            array = described[index].astype(np.float32)
            left_out = np.array([index], np.int32) if alone else members
            if np.isin(bank.pictures, left_out).all():
                left_out = np.empty(0, np.int32)
            distances = bank.distances_without(array.reshape(-1, array.shape[2]), left_out)
            yield _smooth(distances.reshape(array.shape[:2]))


def _smooth(distances: FloatArray) -> FloatArray:
    import cv2

    return np.asarray(cv2.GaussianBlur(distances, (0, 0), _BANK_BLUR), np.float32)
