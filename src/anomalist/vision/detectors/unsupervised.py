"""Detection without normal pictures: zero-shot, or mutual scoring of an unlabelled folder (MuSc).

Zero-shot scores come from self-reference logits: the rest of the picture is taken as normal. Mutual scoring
(MuSc, Li et al. 2024) takes patches as normal that recur in most pictures, so defects must be the exception;
a random sample represents the folder, which bounds time and memory. Neither is calibrated: scores rank
pictures and decide nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from anomalist.errors import AnomalistError, DataError
from anomalist.types.common import DetectorInfo, FloatArray, UInt8Array
from anomalist.types.image import Evidence, Media
from anomalist.vision.calibration import CalibrationSet
from anomalist.vision.detectors.base import DetectorOutput, Progress, no_progress
from anomalist.vision.detectors.fusion import NormalImages, fit_model, image_score, resize_map
from anomalist.vision.detectors.multiscale import (
    crop_tile,
    is_large,
    stitch_tiles,
    tile_origins,
    to_tiling_size,
)
from anomalist.vision.detectors.token_memory import token_grids, top_score
from anomalist.vision.evidence import MeasuredPicture, measure_all, measure_uncalibrated
from anomalist.vision.features.backbones import resolve_device, to_working_size
from anomalist.vision.features.extractor import WEIGHTS_SHA256, shipped_network
from anomalist.vision.media.images import learn_scale, load_image
from anomalist.vision.media.values import ValueScale

if TYPE_CHECKING:
    from anomalist.vision.features.dinov2 import VisionTransformer
    from anomalist.vision.features.extractor import FeatureExtractor


_HIGH_LEVEL, _LOW_LEVEL = 0.0, -3.0
"""Hysteresis levels of a region on self-reference logits (sums of two): even odds, and about one in five."""


class ZeroShotEvidence:
    """Zero-shot evidence from single pictures; see `EvidenceSource`."""

    name = "zero-shot"
    digest = WEIGHTS_SHA256
    rate = normal_crop = None
    calibrations: Mapping[str, CalibrationSet] = MappingProxyType({})
    compared_with = "the picture itself"

    def measure(self, paths: Iterable[str | Path]) -> Iterator[MeasuredPicture]:
        """Measure pictures in order."""
        return measure_all(self._score, self._evidence, paths)

    @cached_property
    def _extractor(self) -> FeatureExtractor:
        from anomalist.vision.features.extractor import FeatureExtractor

        return FeatureExtractor(shipped_network())

    def _score(self, several: list[Media]) -> list[DetectorOutput]:
        scored: dict[int, DetectorOutput] = {}
        for index, own in self._maps([to_working_size(media.pixels) for media in several]):
            pixels = several[index].pixels
            if is_large(pixels):
                fine = to_tiling_size(pixels)
                where = tile_origins(fine.shape)
                tiles = ((where[i], m) for i, m in self._maps([crop_tile(fine, place) for place in where]))
                joined = stitch_tiles((fine.shape[0], fine.shape[1]), tiles)
                own = np.maximum(joined, resize_map(own, joined.shape))
            score_map = resize_map(own, several[index].size)
            scored[index] = DetectorOutput(np.array([image_score(own, None)]), score_map)
        return [scored[index] for index in range(len(several))]

    def _maps(self, working: Sequence[UInt8Array]) -> Iterator[tuple[int, FloatArray]]:
        """Self-reference logits, float32 (H, W) of each picture, not in order."""
        for batch in self._extractor.extract(working):
            yield from zip(
                batch.indices, batch.self_reference_logits(self._extractor.network.head), strict=True
            )

    def _evidence(self, media: Media, scored: DetectorOutput) -> Evidence:
        info = DetectorInfo(name=self.name, digest=self.digest)
        return measure_uncalibrated(media, scored, info, "itself", high=_HIGH_LEVEL, low=_LOW_LEVEL)


SAMPLE_SIZE = 48
"""Pictures in the sample at most."""
MIN_PICTURES = 4
"""Pictures that mutual scoring needs at least."""
_TOKEN_SIDE = 336  # longer side of pictures whose tokens are compared, pixels
_NEAREST_SHARE = (
    0.3  # of the others: MuSc's interval average; normal patches recur in some pictures, defects in none
)


@dataclass(frozen=True, eq=False)
class MutualNormality:
    """Sample of pictures that patches are compared with; a `fusion.Normality`.

    Parameters
    ----------
    descriptors : float32 (n, d) of each picture.
    middle, spread : of the mutual distances of patches: median, and half the width of the central 68 %,
        both robust against a few defects.
    """

    descriptors: tuple[FloatArray, ...]
    middle: float
    spread: float

    def novelty(self, descriptors: FloatArray) -> FloatArray:
        """See `fusion.Normality.novelty`."""
        flat = self.novelty_excluding(descriptors.reshape(-1, 1, descriptors.shape[-1]), _no_pictures())
        return flat.reshape(descriptors.shape[:-1])

    def novelty_excluding(self, descriptors: FloatArray, pictures: npt.NDArray[np.int32]) -> FloatArray:
        """See `fusion.Normality.novelty_excluding`."""
        import torch

        from anomalist.vision.features.surface_net import clipped_z_score

        distances = mutual_distances(descriptors, self.descriptors, pictures)
        return clipped_z_score(torch.from_numpy(distances), self.middle, self.spread).numpy()


def mutual_distances(
    descriptors: FloatArray, others: Sequence[FloatArray], excluded: npt.NDArray[np.int32]
) -> FloatArray:
    """Mutual scoring (MuSc, Li et al. 2024): mean distance of each patch to the nearest 30 % of the others.

    The distance to a picture is that to its nearest patch.

    Parameters
    ----------
    descriptors : float32 (h, w, d), unit vectors.
    others : float32 (n, d) each.
    excluded : numbers of others that are left out.

    Returns
    -------
    float32 (h, w), squared distances.
    """
    flat = np.ascontiguousarray(descriptors.reshape(-1, descriptors.shape[-1]), np.float32)
    compared = [own for number, own in enumerate(others) if number not in excluded]
    nearest = np.stack([2 - 2 * (flat @ own.T).max(1) for own in compared])
    closest = max(1, round(_NEAREST_SHARE * len(compared)))
    mean = np.partition(nearest, closest - 1, 0)[:closest].mean(0)
    return np.asarray(np.maximum(mean, 0), np.float32).reshape(descriptors.shape[:-1])


class MutualScorer(Protocol):
    """Scores pictures against those of a sample."""

    level: float
    """Score that one in ten of the sample reaches."""
    digest: str
    """Hex digest of the features."""
    coarse: bool
    """Whether its maps are coarser than the pictures, so that places are outlined along edges in these."""

    def score(
        self, several: Sequence[UInt8Array], excluded: Sequence[npt.NDArray[np.int32]]
    ) -> Iterator[FloatArray]:
        """Maps, float32 (h, w), of pictures at working size, each without some of the sample."""

    def image_score(self, score_map: FloatArray) -> float:
        """Score of a picture by its map."""


class TokenScorer:
    """Mutual scoring by the patch tokens of a vision transformer (MuSc, Li et al. 2024).

    Parameters
    ----------
    backbone : the transformer.
    working : pictures of the sample at working size, uint8 (H, W, 3).
    """

    coarse = True

    def __init__(
        self, backbone: VisionTransformer, working: Sequence[UInt8Array], progress: Progress
    ) -> None:
        self._backbone, self.digest = backbone, backbone.digest
        grids = [self._grid(picture) for picture in working]
        self._flat = tuple(grid.reshape(-1, grid.shape[-1]) for grid in grids)
        maps = []
        for number, grid in enumerate(grids):
            maps.append(mutual_distances(grid, self._flat, np.array([number], np.int32)))
            progress("comparing", number + 1, len(grids))
        low, self._middle, high = np.quantile(
            np.concatenate([each.ravel() for each in maps]), [0.16, 0.5, 0.84]
        )
        self._spread = max(float(high - low) / 2, 1e-6)
        self.level = float(np.quantile([self.image_score(self._standardised(each)) for each in maps], 0.9))

    def score(
        self, several: Sequence[UInt8Array], excluded: Sequence[npt.NDArray[np.int32]]
    ) -> Iterator[FloatArray]:
        """See `MutualScorer.score`."""
        for picture, without in zip(several, excluded, strict=True):
            yield self._standardised(mutual_distances(self._grid(picture), self._flat, without))

    def image_score(self, score_map: FloatArray) -> float:
        """See `MutualScorer.image_score`."""
        return top_score(score_map, None)

    def _standardised(self, distances: FloatArray) -> FloatArray:
        return np.asarray((distances - self._middle) / self._spread, np.float32)

    def _grid(self, picture: UInt8Array) -> FloatArray:
        grid: FloatArray = token_grids(self._backbone, [picture], _TOKEN_SIDE)[0]
        return grid


class SurfaceScorer:
    """Mutual scoring by SurfaceNet, fused with its self-reference logits; where there is no transformer.

    See `TokenScorer` for the parameters.
    """

    digest = WEIGHTS_SHA256
    coarse = False

    def __init__(self, working: Sequence[UInt8Array], seed: int, progress: Progress) -> None:
        from anomalist.vision.features.extractor import FeatureExtractor

        self._extractor: FeatureExtractor = FeatureExtractor(shipped_network())
        self._normality = _fit_normality(self._extractor, working, progress)
        self._model = fit_model(
            self._extractor,
            [self._extractor.network.head],
            0,
            self._normality,
            NormalImages(working, np.arange(len(working)), seed),
        )
        self.level = self._model.level

    def score(
        self, several: Sequence[UInt8Array], excluded: Sequence[npt.NDArray[np.int32]]
    ) -> Iterator[FloatArray]:
        """See `MutualScorer.score`."""
        found: dict[int, FloatArray] = {}
        for batch in self._extractor.extract(several):
            novelty = np.stack(
                [
                    self._normality.novelty_excluding(own, excluded[index])
                    for index, own in zip(batch.indices, batch.descriptors, strict=True)
                ]
            )
            maps = self._model.maps(batch, [self._extractor.network.head], novelty)
            found |= dict(zip(batch.indices, maps, strict=True))
        yield from (found[index] for index in range(len(several)))

    def image_score(self, score_map: FloatArray) -> float:
        """See `MutualScorer.image_score`."""
        return image_score(score_map, None)


class MutualEvidence:
    """Evidence by mutual scoring of the pictures of a folder (MuSc); see `EvidenceSource`.

    By the tokens of DINOv2 where it is at hand, else by SurfaceNet. ``paths`` are the pictures of the folder;
    what can't be read is left out of the sample. Raises DataError when fewer than ``MIN_PICTURES`` different
    ones can be read.
    """

    name = "unlabelled"
    rate = normal_crop = None
    calibrations: Mapping[str, CalibrationSet] = MappingProxyType({})
    compared_with = "the other pictures"

    def __init__(self, paths: Sequence[str | Path], seed: int = 0, progress: Progress = no_progress) -> None:
        self.paths, self.seed = tuple(paths), seed
        self._scale = learn_scale(paths)
        sample = draw_sample(paths, seed, progress, self._scale)
        if len(sample) < MIN_PICTURES:
            raise DataError(
                f"{len(sample)} different pictures can be read; scoring them against each other takes "
                f"at least {MIN_PICTURES}.",
                "Give more pictures of the same kind, or a --reference.",
            )
        self._numbers = {sha256: number for number, sha256 in enumerate(sample)}
        self._scorer = _open_scorer(list(sample.values()), seed, progress)
        digests = [self._scorer.digest, str(seed), *sample]
        self.digest = hashlib.sha256("".join(digests).encode()).hexdigest()

    def measure(self, paths: Iterable[str | Path]) -> Iterator[MeasuredPicture]:
        """Measure pictures in order, each as if it were not in the sample."""
        return measure_all(self._score, self._evidence, paths, self._scale)

    def _score(self, several: list[Media]) -> list[DetectorOutput]:
        working = [to_working_size(media.pixels) for media in several]
        maps = self._scorer.score(working, [self._own_number(media) for media in several])
        return [
            DetectorOutput(np.array([self._scorer.image_score(own)]), resize_map(own, media.size))
            for media, own in zip(several, maps, strict=True)
        ]

    def _own_number(self, media: Media) -> npt.NDArray[np.int32]:
        number = self._numbers.get(media.sha256)
        return _no_pictures() if number is None else np.array([number], np.int32)

    def _evidence(self, media: Media, scored: DetectorOutput) -> Evidence:
        info = DetectorInfo(name=self.name, digest=self.digest)
        high = max(self._scorer.level, 0.0)  # regions score above nine of ten pictures
        coarse = self._scorer.coarse
        return measure_uncalibrated(
            media, scored, info, "folder", high=high, low=0.0 if coarse else high / 2, outlined=coarse
        )


def _open_scorer(working: Sequence[UInt8Array], seed: int, progress: Progress) -> MutualScorer:
    from anomalist.vision.features.dinov2 import find_dinov2, open_shared

    location = find_dinov2()
    if location is None:
        return SurfaceScorer(working, seed, progress)
    return TokenScorer(open_shared(location, str(resolve_device())), working, progress)


def _no_pictures() -> npt.NDArray[np.int32]:
    return np.empty(0, np.int32)


def draw_sample(
    paths: Sequence[str | Path], seed: int, progress: Progress, scale: ValueScale | None = None
) -> dict[str, UInt8Array]:
    """Draw different pictures at random: at working size by SHA-256, in the order drawn.

    ``scale`` is that of values of more than 8 bit.
    """
    chosen: dict[str, UInt8Array] = {}
    most = min(SAMPLE_SIZE, len(paths))
    for index in np.random.default_rng((seed, 4)).permutation(len(paths)).tolist():
        try:
            media = load_image(paths[index], scale=scale)
            chosen.setdefault(media.sha256, to_working_size(media.pixels))
        except AnomalistError:  # reported when it is measured
            continue
        progress("sampling", len(chosen), most)
        if len(chosen) == most:
            break
    return chosen


def _fit_normality(
    extractor: FeatureExtractor, working: Sequence[UInt8Array], progress: Progress
) -> MutualNormality:
    """Extract the sample's descriptors, and fit the scale of its mutual distances."""
    found: dict[int, FloatArray] = {}
    for batch in extractor.extract(working):
        found |= dict(zip(batch.indices, batch.descriptors, strict=True))
    described = [found[index] for index in range(len(working))]
    flat = tuple(own.reshape(-1, own.shape[-1]) for own in described)
    distances = []
    for number, own in enumerate(described):
        distances.append(mutual_distances(own, flat, np.array([number], np.int32)).ravel())
        progress("comparing", number + 1, len(described))
    low, middle, high = np.quantile(np.concatenate(distances), [0.16, 0.5, 0.84])
    return MutualNormality(flat, float(middle), float(high - low) / 2)
