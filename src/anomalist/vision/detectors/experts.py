"""Experts of an ensemble: SurfaceNet and two distances of DINOv2 tokens, on one scale.

Their models are fitted to normal pictures, whole ones or tiles; scales and weights rest on pictures that are
scored with their own object left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from anomalist.types.common import BoolArray, FloatArray, UInt8Array
from anomalist.vision.detectors.base import (
    Progress,
)
from anomalist.vision.detectors.expert_weights import draw_trials, expert_weights
from anomalist.vision.detectors.fusion import (
    FusionModel,
    NormalImages,
    PatchBank,
    build_patch_bank,
    fit_model,
    image_score,
    resize_map,
    same_group,
    smooth,
)
from anomalist.vision.detectors.template_memory import TemplateMemory, template_score
from anomalist.vision.detectors.token_memory import (
    HalfArray,
    NormalTokens,
    TokenMemory,
    token_grids,
    top_score,
)
from anomalist.vision.features.extractor import FeatureExtractor, size_batches
from anomalist.vision.regions import reaches_grid, resize_roi_to_grid, roi_of_each
from anomalist.vision.shift.arithmetic import CONTRAST_BLUR, shares_of, with_contrast

if TYPE_CHECKING:
    from anomalist.vision.features.dinov2 import VisionTransformer

SURFACE, NEIGHBOURS, MAHALANOBIS, TEMPLATE = "surface", "neighbours", "mahalanobis", "template"
"""Names of the experts: SurfaceNet, two distances of DINOv2 tokens, and the difference to a template.

The last is asked only where the product always lies alike.
"""
_MAX_ENLARGEMENT = 1.75  # of a picture at working size: a small one shows nothing more, only larger
_GREY = np.uint8(118)  # about the mean of natural pictures
_PATCH_BLUR = 0.6  # in patches
_BROAD_SHARE, _BROAD_BLUR, _BROAD_BOUNDS = 2.0, 4.0, (-2.0, 0.5)
_LEVEL = 0.9  # quantile of the scores of normals at which whole pictures and tiles are made equal

Excluded = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class ExpertMaps:
    """What the experts gave one picture: the map of each, float32 on its own grid, and its score."""

    maps: Mapping[str, FloatArray]
    scores: Mapping[str, float]


@dataclass(frozen=True)
class ExpertScale:
    """Scale of an expert on unseen normal pictures.

    Parameters
    ----------
    centre, spread : median and standard deviation of its scores.
    mean : of its maps.
    top : median of the highest values of its maps.
    """

    centre: float
    spread: float
    mean: float
    top: float

    @classmethod
    def fit(cls, scores: Sequence[float], maps: Sequence[FloatArray]) -> ExpertScale:
        """Estimate from the scores and maps of n pictures."""
        return cls(
            float(np.median(scores)),
            max(float(np.std(scores)), 1e-6),
            float(np.mean([m.mean() for m in maps])),
            float(np.median([m.max() for m in maps])),
        )

    def standardise(self, score: float) -> float:
        """A score in standard deviations above the median."""
        return (score - self.centre) / self.spread

    def standardise_map(self, score_map: FloatArray) -> FloatArray:
        """A map in standard deviations of the score above the usual highest value of a normal picture."""
        return np.asarray((score_map - self.top) / self.spread, np.float32)


@dataclass(frozen=True, eq=False)
class Experts:
    """The networks that describe pictures, and how.

    Parameters
    ----------
    names : of the experts that are asked.
    extractor : runs SurfaceNet.
    side : nominal side of the backbone's input, pixels.
    asked : name of the backbone; None for DINOv2, wherever it is.
    opener : opens the backbone.
    """

    names: tuple[str, ...]
    extractor: FeatureExtractor
    side: int
    asked: str | None
    opener: Callable[[], VisionTransformer] = field(repr=False)

    @cached_property
    def backbone(self) -> VisionTransformer:
        """The vision transformer, opened when it is first needed."""
        return self.opener()

    def tokens(
        self, working: Sequence[UInt8Array], roi: BoolArray | Sequence[BoolArray | None] | None
    ) -> Iterator[tuple[int, FloatArray]]:
        """Yield (index, tokens float32 (h, w, d)) of pictures at working size, not in order.

        ``roi`` is that of all pictures, or one of each.
        """
        rois = roi_of_each(roi, len(working))
        for batch in size_batches(working):
            own = self.grids([working[i] for i in batch], [rois[i] for i in batch])
            yield from zip(batch, own, strict=True)

    def grids(self, pictures: Sequence[UInt8Array], rois: Sequence[BoolArray | None]) -> FloatArray:
        """Tokens of pictures of one size, float32 (B, h, w, d).

        What lies outside the ROI of each is painted over, as a token sees the whole picture.
        """
        painted = [paint_outside(picture, roi) for picture, roi in zip(pictures, rois, strict=True)]
        return token_grids(self.backbone, painted, input_side(pictures[0], self.side))

    def sees(self, picture: UInt8Array, roi: BoolArray | None) -> bool:
        """Whether a token of a picture at working size lies inside its ROI."""
        from anomalist.vision.features.dinov2 import resize_to_patches

        if roi is None:
            return True
        patch = self.backbone.patch_size
        resized = resize_to_patches(picture, input_side(picture, self.side), patch)
        return reaches_grid(roi, (resized.shape[0] // patch, resized.shape[1] // patch))


def input_side(picture: UInt8Array, side: int) -> int:
    """Nominal side of a backbone's input for a picture at working size: ``side``, less for a small one."""
    return min(side, round(_MAX_ENLARGEMENT * math.sqrt(math.prod(picture.shape[:2]))))


def paint_outside(picture: UInt8Array, roi: BoolArray | None) -> UInt8Array:
    """The picture, uint8 (H, W, 3), with grey where a mask, bool of any size, says that nothing counts."""
    inside = resize_roi_to_grid(roi, picture.shape)
    return picture if inside is None else np.where(inside[..., None], picture, _GREY).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class EnsembleModel:
    """The experts' models of normal pictures, whole ones or tiles.

    Parameters
    ----------
    memory : of patch tokens.
    surface : of SurfaceNet; None where that is not asked.
    scales : of each expert.
    level : combined score that nine in ten unseen normals stay under.
    template : of a product that always lies alike; None of others.
    """

    memory: TokenMemory
    surface: FusionModel[PatchBank] | None
    scales: Mapping[str, ExpertScale] = field(default_factory=dict)
    level: float = 0.0
    template: TemplateMemory | None = None

    def judge(
        self,
        experts: Experts,
        working: Sequence[UInt8Array],
        roi: BoolArray | Sequence[BoolArray | None] | None = None,
        excluded: Sequence[Excluded | None] | None = None,
        tokens: Mapping[int, HalfArray] | None = None,
    ) -> Iterator[tuple[int, ExpertMaps]]:
        """Yield (index, maps and scores) of pictures at working size, uint8 (H, W, 3), not in order.

        Parameters
        ----------
        roi : of all pictures, or one of each, as of tiles: then the maps are level outside.
        excluded : which pictures to leave out of the memories, for each picture; None for none.
        tokens : of the pictures by index, where they are computed already.
        """
        left_out = list(excluded) if excluded is not None else [None] * len(working)
        rois = roi_of_each(roi, len(working))
        for batch in size_batches(working):
            known: Mapping[int, FloatArray | HalfArray] = tokens or dict(
                zip(
                    batch,
                    experts.grids([working[i] for i in batch], [rois[i] for i in batch]),
                    strict=True,
                )
            )
            surface = self._surface_maps(experts, [working[i] for i in batch], [left_out[i] for i in batch])
            for index, own in zip(batch, surface, strict=True):
                grid = np.asarray(known[index], np.float32)
                maps = self._memory_maps(working[index], grid, left_out[index])
                fused, logits = own or (None, None)
                scores = self._scores(maps, logits, rois[index])
                if fused is not None:
                    maps[SURFACE] = fused
                if not isinstance(roi, np.ndarray):
                    maps = {name: _level_outside(each, rois[index]) for name, each in maps.items()}
                yield index, ExpertMaps(maps, scores)

    def image_scores(
        self,
        experts: Experts,
        working: Sequence[UInt8Array],
        roi: BoolArray | None,
        excluded: Sequence[Excluded],
    ) -> Iterator[Mapping[str, float]]:
        """Yield the experts' scores of pictures of any sizes, not in order; cheaper than with maps."""
        head = experts.extractor.network.head
        for batch in size_batches(working):
            pictures = [working[i] for i in batch]
            logits: list[FloatArray] | list[None] = [None] * len(batch)
            if self.surface is not None:
                (features,) = experts.extractor.extract(pictures)
                logits = list(features.self_reference_logits(head))
            for index, grid, own in zip(
                batch, experts.grids(pictures, [roi] * len(batch)), logits, strict=True
            ):
                maps = self._memory_maps(working[index], grid, excluded[index])
                yield self._scores(maps, own, roi)

    def _memory_maps(
        self, picture: UInt8Array, grid: FloatArray, excluded: Excluded | None
    ) -> dict[str, FloatArray]:
        maps = {
            NEIGHBOURS: self.memory.neighbour_distances(grid, excluded),
            MAHALANOBIS: self.memory.mahalanobis_distances(grid, excluded),
        }
        differences = self.template.differences(picture, excluded) if self.template is not None else None
        return maps if differences is None else maps | {TEMPLATE: differences}

    @staticmethod
    def _scores(
        maps: Mapping[str, FloatArray], logits: FloatArray | None, roi: BoolArray | None
    ) -> dict[str, float]:
        """Scores by the maps and, where SurfaceNet was asked, by its self-reference logits."""
        scores = {
            name: (template_score if name == TEMPLATE else top_score)(own, resize_roi_to_grid(roi, own.shape))
            for name, own in maps.items()
        }
        if logits is not None:
            scores[SURFACE] = image_score(logits, resize_roi_to_grid(roi, logits.shape))
        return scores

    def _surface_maps(
        self, experts: Experts, pictures: Sequence[UInt8Array], excluded: Sequence[Excluded | None]
    ) -> list[tuple[FloatArray, FloatArray]] | list[None]:
        """Fused map and self-reference logits of each picture, float32 (H, W).

        The score rests on the logits alone: what the fused map adds, novelty against normals, is what the
        other experts give already.
        """
        if self.surface is None:
            return [None] * len(pictures)
        normality = self.surface.normality
        (batch,) = experts.extractor.extract(pictures)
        novelty = [
            normality.novelty(grid) if numbers is None else normality.novelty_excluding(grid, numbers)
            for grid, numbers in zip(batch.descriptors, excluded, strict=True)
        ]
        head = experts.extractor.network.head
        fused = self.surface.maps(batch, [head], np.stack(novelty))
        return list(zip(fused, batch.self_reference_logits(head), strict=True))

    def score(self, found: ExpertMaps, weights: Mapping[str, float]) -> float:
        """Weighted mean of the standardised scores."""
        shares = shares_of(found.maps, weights)
        return sum(
            share * self.scales[name].standardise(found.scores[name]) for name, share in shares.items()
        )

    def join(self, found: ExpertMaps, weights: Mapping[str, float]) -> FloatArray:
        """Weighted mean of the standardised maps, float32 on the finest grid.

        A token sees more than its patch, so the maps of tokens are widened by a patch before SurfaceNet's
        says where in it; smoothed broadly and clipped they are added once more, which ranks the pixels of
        large faint defects without making peaks.
        """
        shape = max((m.shape for m in found.maps.values()), key=math.prod)
        joined = np.zeros(shape, np.float32)
        for name, share in shares_of(found.maps, weights).items():
            own, scale = found.maps[name], self.scales[name]
            standard: FloatArray = scale.standardise_map(own)
            if name not in (SURFACE, TEMPLATE):
                broad = (smooth(own, _BROAD_BLUR) - scale.mean) / scale.spread
                faint = np.float32(_BROAD_SHARE) * broad.clip(*_BROAD_BOUNDS)
                standard = np.asarray(smooth(_dilate(standard), _PATCH_BLUR) + faint, np.float32)
            joined += np.float32(share) * resize_map(standard, shape)
        return joined


def map_weights(weights: Mapping[str, float]) -> dict[str, float]:
    """Weights of the experts in the map by those in the score: that of SurfaceNet counts twice.

    Two experts read the same tokens, and it alone is finer than a patch.
    """
    return {name: weight * (2 if name == SURFACE else 1) for name, weight in weights.items()}


def localized(
    score_map: FloatArray, picture: UInt8Array, patch: float, inside: BoolArray | None = None
) -> FloatArray:
    """A map whose highest pixel lies where the picture itself differs from its surroundings.

    The map of tokens is nearly level over a patch or two. Where it is above half of its height, the local
    contrast of the picture is added, a twentieth of the height at most: what stands out of surroundings of
    half a patch decides between pixels that are about as high.

    Parameters
    ----------
    score_map : float32 (H, W).
    picture : uint8 (H, W, 3), RGB.
    patch : side of a token's patch, pixels.
    inside : bool (H, W), what counts; None for all.
    """
    import cv2

    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return with_contrast(score_map, smooth(grey, CONTRAST_BLUR), smooth(grey, patch / 2), inside)


def _dilate(score_map: FloatArray) -> FloatArray:
    import cv2

    return np.asarray(cv2.dilate(score_map, np.ones((3, 3), np.uint8)), np.float32)


def fit_ensemble_model(
    experts: Experts,
    normals: NormalImages,
    roi: BoolArray | Sequence[BoolArray | None] | None,
    progress: Progress,
    known: NormalTokens | None = None,
) -> tuple[EnsembleModel, dict[int, ExpertMaps]]:
    """Fit memories and scales to normal pictures; also what the experts give each of them as a new one.

    ``roi`` is that of all pictures, or one of each, see `EnsembleModel.judge`.
    ``known`` tokens of the pictures are taken where they are of the same backbone and side.
    """
    images, count = normals.images, len(normals.images)
    rois = roi_of_each(roi, count)
    tokens = known.take(experts.backbone.digest, experts.side) if known is not None else {}
    if not tokens:
        for done, (index, grid) in enumerate(experts.tokens(images, roi), 1):
            tokens[index] = grid.astype(np.float16)
            progress("describing", done, count)
    insides = [resize_roi_to_grid(rois[i], tokens[i].shape[:2]) for i in range(count)]
    memory = TokenMemory.fit([tokens[i] for i in range(count)], insides, normals.seed)
    surface = None
    if SURFACE in experts.names:
        bank = build_patch_bank(
            experts.extractor, normals, roi, lambda done, total: progress("remembering", done, total)
        )
        surface = fit_model(experts.extractor, [experts.extractor.network.head], 0, bank, normals)
    model = EnsembleModel(memory, surface, template=_fit_template(experts, normals))
    leave = [same_group(normals.groups, i) for i in range(count)]
    found: dict[int, ExpertMaps] = {}
    for index, judged in model.judge(experts, images, roi, leave, tokens):
        found[index] = ExpertMaps({n: _halved(m) for n, m in judged.maps.items()}, judged.scores)
        progress("scoring", len(found), count)
    names = [name for name in found[0].maps if all(name in each.maps for each in found.values())]
    scales = {
        name: ExpertScale.fit(
            [found[i].scores[name] for i in range(count)], [found[i].maps[name] for i in range(count)]
        )
        for name in names
    }
    return replace(model, scales=scales), found


def _level_outside(score_map: FloatArray, roi: BoolArray | None) -> FloatArray:
    """A map, float32 (h, w), with its median inside the ROI where nothing counts.

    What is painted over is unlike every normal patch, and a map is widened and smoothed later.
    """
    inside = resize_roi_to_grid(roi, score_map.shape)
    if inside is None:
        return score_map
    return np.where(inside, score_map, np.float32(np.median(score_map[inside])))


def _fit_template(experts: Experts, normals: NormalImages) -> TemplateMemory | None:
    """Template of whole pictures, where they lie alike."""
    asked = TEMPLATE in experts.names and normals.aligned
    return TemplateMemory.fit(normals.images) if asked else None


def learn_weights(
    experts: Experts,
    model: EnsembleModel,
    found: Mapping[int, ExpertMaps],
    normals: NormalImages,
    roi: BoolArray | None,
    progress: Progress,
) -> dict[str, float]:
    """Weights of the experts by trials with synthetic defects; equal ones where all share the same tokens."""
    names = tuple(model.scales)
    if model.surface is None and model.template is None:
        return dict.fromkeys(names, 1 / len(names))
    trials = draw_trials(normals.images, normals.groups, normals.seed)
    leave = [same_group(normals.groups, index) for index, _ in trials]
    tested: list[Mapping[str, float]] = []
    for scores in model.image_scores(experts, [trial for _, trial in trials], roi, leave):
        tested.append(scores)
        progress("weighing", len(tested), len(trials))
    return expert_weights(
        {name: [found[i].scores[name] for i, _ in trials] for name in names},
        {name: [scores[name] for scores in tested] for name in names},
    )


def _halved(score_map: FloatArray) -> FloatArray:
    """Every other pixel of a fine map: enough to calibrate on, at a quarter of the memory."""
    return score_map[::2, ::2].astype(np.float32) if max(score_map.shape) > 64 else score_map


def without_idle(model: EnsembleModel, weights: Mapping[str, float]) -> EnsembleModel:
    """The model without the experts that have no weight and cost time or space."""
    if not weights.get(SURFACE):
        model = replace(model, surface=None)
    return model if weights.get(TEMPLATE) else replace(model, template=None)


def with_level(
    model: EnsembleModel, found: Iterable[ExpertMaps], weights: Mapping[str, float]
) -> EnsembleModel:
    """The model with the level that nine in ten of the given pictures stay under."""
    scores = [model.score(one, weights) for one in found]
    return replace(model, level=float(np.quantile(scores, _LEVEL)))
