"""Ensemble of experts: SurfaceNet and two distances of DINOv2 tokens, weighed without labels.

Each expert gives a picture a map and a score, both standardised by its scores of normal pictures that it has
not seen. The anomaly map and the score of the picture are the means of these, weighed by how well each expert
finds synthetic defects on unseen normals. Every normal picture calibrates: its object is left out of the
memories when it is scored (leave-one-group-out, the jackknife of Barber et al. 2021).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from anomalist.errors import DetectorError
from anomalist.types.common import BoolArray, Box, FloatArray, UInt8Array
from anomalist.types.image import KnownKind, Region
from anomalist.vision.detectors.base import (
    LEAVE_ONE_GROUP_OUT,
    DetectorOutput,
    ExpertOutput,
    LearningData,
    LearningSettings,
    NearestPatch,
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
)
from anomalist.vision.detectors.known_kinds import (
    KnownDefect,
    KnownKindClassifier,
    TokenKindClassifier,
    largest_box,
    peak_mask,
    place_token,
    tokens_in_box,
)
from anomalist.vision.detectors.memory_bank import MemoryBank
from anomalist.vision.detectors.multiscale import (
    MultiscaleImage,
    crop_tile,
    is_large,
    multiscale_image,
    stitch_tiles,
    tile_origins,
    to_tiling_size,
)
from anomalist.vision.detectors.surface import arrays_of_model, model_from_arrays
from anomalist.vision.detectors.token_memory import TokenMemory, token_grids, top_score
from anomalist.vision.features.backbones import resolve_device, to_working_size
from anomalist.vision.features.extractor import FeatureExtractor, size_batches
from anomalist.vision.regions import resize_roi_to_grid

if TYPE_CHECKING:
    from anomalist.vision.features.dinov2 import VisionTransformer

SURFACE, NEIGHBOURS, MAHALANOBIS = "surface", "neighbours", "mahalanobis"
"""Names of the experts: SurfaceNet, and two distances of DINOv2 tokens."""
EFFORTS: Mapping[str, tuple[tuple[str, ...], int]] = {
    "fast": ((NEIGHBOURS, MAHALANOBIS), 336),
    "normal": ((SURFACE, NEIGHBOURS, MAHALANOBIS), 336),
    "thorough": ((SURFACE, NEIGHBOURS, MAHALANOBIS), 448),
}
"""Experts, and nominal side of the backbone's input in pixels, by effort."""
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
        self, working: Sequence[UInt8Array], roi: BoolArray | None
    ) -> Iterator[tuple[int, FloatArray]]:
        """Yield (index, tokens float32 (h, w, d)) of pictures at working size, not in order."""
        for batch in size_batches(working):
            yield from zip(batch, self.grids([working[i] for i in batch], roi), strict=True)

    def grids(self, pictures: Sequence[UInt8Array], roi: BoolArray | None) -> FloatArray:
        """Tokens of pictures of one size, float32 (B, h, w, d).

        What lies outside the ROI is painted over, as a token sees the whole picture.
        """
        return token_grids(self.backbone, [_paint_outside(picture, roi) for picture in pictures], self.side)


def _paint_outside(picture: UInt8Array, roi: BoolArray | None) -> UInt8Array:
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
    """

    memory: TokenMemory
    surface: FusionModel[PatchBank] | None
    scales: Mapping[str, ExpertScale] = field(default_factory=dict)
    level: float = 0.0

    def judge(
        self,
        experts: Experts,
        working: Sequence[UInt8Array],
        roi: BoolArray | None = None,
        excluded: Sequence[Excluded | None] | None = None,
        tokens: Mapping[int, FloatArray] | None = None,
    ) -> Iterator[tuple[int, ExpertMaps]]:
        """Yield (index, maps and scores) of pictures at working size, uint8 (H, W, 3), not in order.

        Parameters
        ----------
        excluded : which pictures to leave out of the memories, for each picture; None for none.
        tokens : of the pictures by index, where they are computed already.
        """
        left_out = list(excluded) if excluded is not None else [None] * len(working)
        for batch in size_batches(working):
            known = tokens or dict(zip(batch, experts.grids([working[i] for i in batch], roi), strict=True))
            surface = self._surface_maps(experts, [working[i] for i in batch], [left_out[i] for i in batch])
            for index, own in zip(batch, surface, strict=True):
                grid = np.asarray(known[index], np.float32)
                maps = self._token_maps(grid, left_out[index])
                scores = self._token_scores(maps, roi)
                if own is not None:
                    maps[SURFACE], logits = own
                    scores[SURFACE] = image_score(logits, resize_roi_to_grid(roi, logits.shape))
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
            for index, grid, own in zip(batch, experts.grids(pictures, roi), logits, strict=True):
                scores = self._token_scores(self._token_maps(grid, excluded[index]), roi)
                if own is not None:
                    scores[SURFACE] = image_score(own, resize_roi_to_grid(roi, own.shape))
                yield scores

    def _token_maps(self, grid: FloatArray, excluded: Excluded | None) -> dict[str, FloatArray]:
        return {
            NEIGHBOURS: self.memory.neighbour_distances(grid, excluded),
            MAHALANOBIS: self.memory.mahalanobis_distances(grid, excluded),
        }

    @staticmethod
    def _token_scores(maps: Mapping[str, FloatArray], roi: BoolArray | None) -> dict[str, float]:
        return {name: top_score(m, resize_roi_to_grid(roi, m.shape)) for name, m in maps.items()}

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

    def combine(self, found: ExpertMaps, weights: Mapping[str, float]) -> tuple[float, FloatArray]:
        """Weighted means of the standardised scores and maps: a score, and a map on the finest grid.

        A token sees more than its patch, so the maps of tokens are widened by a patch before SurfaceNet's
        says where in it; smoothed broadly and clipped they are added once more, which ranks the pixels of
        large faint defects without making peaks.
        """
        shape = max((m.shape for m in found.maps.values()), key=math.prod)
        score, joined = 0.0, np.zeros(shape, np.float32)
        for name, own in found.maps.items():
            if not weights[name]:
                continue
            scale = self.scales[name]
            score += weights[name] * scale.standardise(found.scores[name])
            standard: FloatArray = scale.standardise_map(own)
            if name != SURFACE:
                broad = (_smooth(own, _BROAD_BLUR) - scale.mean) / scale.spread
                faint = np.float32(_BROAD_SHARE) * broad.clip(*_BROAD_BOUNDS)
                standard = np.asarray(_smooth(_dilate(standard), _PATCH_BLUR) + faint, np.float32)
            joined += np.float32(weights[name]) * resize_map(standard, shape)
        return score, joined


def _smooth(score_map: FloatArray, blur: float) -> FloatArray:
    import cv2

    return np.asarray(cv2.GaussianBlur(score_map, (0, 0), blur), np.float32)


def _dilate(score_map: FloatArray) -> FloatArray:
    import cv2

    return np.asarray(cv2.dilate(score_map, np.ones((3, 3), np.uint8)), np.float32)


class EnsembleDetector:
    """Ensemble of experts, weighed without labels; see `Detector`.

    Parameters
    ----------
    experts : the networks.
    weights : of each expert, summing to one.
    whole : models of whole pictures.
    fine : models of tiles, where the normal pictures were large.
    kinds : classifier of regions by known defects, if there are any.
    """

    name = "ensemble"
    calibration = LEAVE_ONE_GROUP_OUT
    folds = 1

    def __init__(
        self,
        experts: Experts,
        weights: Mapping[str, float],
        whole: EnsembleModel,
        fine: EnsembleModel | None = None,
        kinds: TokenKindClassifier | None = None,
    ) -> None:
        self.experts, self.weights, self.whole, self.fine = experts, dict(weights), whole, fine
        self.kinds = kinds
        self._unseen: _UnseenNormals | None = None

    @staticmethod
    def prepare(picture: UInt8Array) -> MultiscaleImage:
        """Reduce a picture to working size, and keep a few tiles of a large one."""
        return multiscale_image(picture)

    @classmethod
    def learn(cls, data: LearningData, settings: LearningSettings, progress: Progress) -> Self:
        """Learn from all pictures; see `Detector.learn`. Scales and weights rest on unseen normals."""
        from anomalist.vision.features.extractor import shipped_network

        if settings.effort not in EFFORTS:
            raise DetectorError(f"effort {settings.effort!r} is unknown.", f"Known: {', '.join(EFFORTS)}.")
        (names, side), asked = EFFORTS[settings.effort], settings.backbone
        experts = Experts(names, FeatureExtractor(shipped_network()), side, asked, open_backbone_by(asked))
        normals = NormalImages([one.whole for one in data.pictures], data.groups, settings.seed)
        whole, found = fit_ensemble_model(experts, normals, data.roi, progress)
        weights = _learn_weights(experts, whole, found, normals, data.roi, progress)
        whole = _with_level(_without_idle(whole, weights), found.values(), weights)
        tiles = [(tile, number) for number, one in enumerate(data.pictures) for tile in one.tiles]
        fine = None
        owners = np.array([number for _, number in tiles], np.int64)
        if tiles:
            tiled = NormalImages([t for t, _ in tiles], data.groups[owners], settings.seed, aligned=False)
            fine, of_tiles = fit_ensemble_model(experts, tiled, None, progress)
            fine = _with_level(_without_idle(fine, weights), of_tiles.values(), weights)
        detector = cls(experts, weights, whole, fine)
        if data.defects:
            detector.kinds = detector._learn_kinds(data.defects)
        detector._unseen = _UnseenNormals(found, data.groups, owners)
        return detector

    def score(
        self, pictures: Sequence[UInt8Array], roi: BoolArray | None = None, fold: int | None = None
    ) -> list[DetectorOutput]:
        """Score pictures of any size; see `Detector.score`. There is one model, whatever ``fold`` says."""
        working = [to_working_size(picture) for picture in pictures]
        found = dict(self.whole.judge(self.experts, working, roi))
        return [self._output(found[i], picture, roi, None) for i, picture in enumerate(pictures)]

    def score_unseen(
        self, number: int, read: Callable[[], UInt8Array], roi: BoolArray | None = None
    ) -> DetectorOutput:
        """Score a normal picture that was learned from as if it were new: without the pictures of its object.

        ``number`` is that of the picture in the order learned; ``read`` gives it again, uint8 (H, W, 3). Only
        after `learn`: what was kept for it is not saved.
        """
        if self._unseen is None:
            raise DetectorError("Only a detector that has just learned can score its normals as new.")
        return self._output(self._unseen.found[number], read(), roi, number)

    def forget_unseen(self) -> None:
        """Free what `score_unseen` needs."""
        self._unseen = None

    def _output(
        self, found: ExpertMaps, picture: UInt8Array, roi: BoolArray | None, number: int | None
    ) -> DetectorOutput:
        score, joined = self.whole.combine(found, self.weights)
        if self.fine is not None and is_large(picture):
            score, joined = self._with_tiles(self.fine, score, joined, picture, roi, number)
        parts = tuple(
            ExpertOutput(
                name,
                self.whole.scales[name].standardise(found.scores[name]),
                self.weights[name],
                self.whole.scales[name].standardise_map(own),
            )
            for name, own in found.maps.items()
        )
        return DetectorOutput(np.array([score]), resize_map(joined, picture.shape), parts)

    def _with_tiles(
        self,
        fine: EnsembleModel,
        score: float,
        joined: FloatArray,
        picture: UInt8Array,
        roi: BoolArray | None,
        number: int | None,
    ) -> tuple[float, FloatArray]:
        """Maximum of the whole picture's score and map and those of its tiles, at one level of normals."""
        large = to_tiling_size(picture)
        shape, where = large.shape[:2], tile_origins(large.shape)
        leave = None if number is None or self._unseen is None else self._unseen.tiles_of(number)
        tiles = [crop_tile(large, place) for place in where]
        inside = resize_roi_to_grid(roi, shape)
        shift = self.whole.level - fine.level
        maps: list[tuple[tuple[int, int], FloatArray]] = []
        for i, judged in fine.judge(self.experts, tiles, None, [leave] * len(tiles)):
            (top, left), (height, width) = where[i], tiles[i].shape[:2]
            counts = None if inside is None else inside[top : top + height, left : left + width]
            own, tile_map = fine.combine(judged, self.weights)
            maps.append((where[i], resize_map(tile_map, (height, width)) + np.float32(shift)))
            if counts is None or counts.any():
                score = max(score, own + shift)
        return score, np.maximum(resize_map(joined, shape), stitch_tiles(shape, iter(maps)))

    def nearest_normal_patch(self, picture: UInt8Array, box: Box) -> NearestPatch:
        """Normal patch nearest to the most novel patch in a box of a picture."""
        bank = self.whole.memory.bank
        ((_, grid),) = self.experts.tokens([to_working_size(picture)], None)
        row = self.whole.memory.nearest(tokens_in_box(grid, box, picture.shape))
        x, y = bank.places[row].tolist()
        return NearestPatch(int(bank.pictures[row]), (x, y))

    def name_regions(self, picture: UInt8Array, regions: Sequence[Region]) -> list[KnownKind | None]:
        """Classify each region by the known defects; None for each when there are none."""
        if self.kinds is None or not regions:
            return [None] * len(regions)
        tokens = self._place_tokens(picture, [region.box for region in regions])
        return [self.kinds.classify(token) for token in tokens]

    def _place_tokens(self, picture: UInt8Array, boxes: Sequence[Box]) -> list[FloatArray]:
        ((_, grid),) = self.experts.tokens([to_working_size(picture)], None)
        novelty = self.whole.memory.neighbour_distances(grid)
        return [place_token(grid, novelty, box, picture.shape) for box in boxes]

    def _learn_kinds(self, defects: Sequence[KnownDefect]) -> TokenKindClassifier:
        """Fit the classifier to the largest place of each known defect; without a mask, of its map."""
        tokens = []
        for defect in defects:
            mask = defect.mask
            if mask is None or not mask.any():
                (scored,) = self.score([defect.picture])
                mask = peak_mask(scored.score_map)
            tokens += self._place_tokens(defect.picture, [largest_box(mask)])
        return TokenKindClassifier.of(
            np.stack(tokens),
            [defect.id for defect in defects],
            [defect.kind for defect in defects],
            [defect.group for defect in defects],
            self.whole.memory.bank.vectors.mean(0),
        )

    def save(self, file: Path) -> None:
        """Write the learned state as safetensors."""
        write_ensemble(self, file)

    @classmethod
    def load(cls, file: Path) -> Self:
        """Read what `save` wrote; scores are the same."""
        return cls(*read_ensemble(file))


@dataclass(frozen=True, eq=False)
class _UnseenNormals:
    """What scoring the learned pictures as new needs.

    Parameters
    ----------
    found : what the experts gave each, with its object left out.
    groups : int64 (n,), their objects.
    owners : int64 (m,), the picture of each tile.
    """

    found: Mapping[int, ExpertMaps]
    groups: npt.NDArray[np.int64]
    owners: npt.NDArray[np.int64]

    def tiles_of(self, number: int) -> Excluded:
        """Tiles of the same object as a picture."""
        return np.flatnonzero(np.isin(self.owners, same_group(self.groups, number))).astype(np.int32)


def fit_ensemble_model(
    experts: Experts, normals: NormalImages, roi: BoolArray | None, progress: Progress
) -> tuple[EnsembleModel, dict[int, ExpertMaps]]:
    """Fit memories and scales to normal pictures; also what the experts give each of them as a new one."""
    images, count = normals.images, len(normals.images)
    tokens: dict[int, FloatArray] = {}
    for done, (index, grid) in enumerate(experts.tokens(images, roi), 1):
        tokens[index] = grid.astype(np.float16)
        progress("describing", done, count)
    insides = [resize_roi_to_grid(roi, tokens[i].shape[:2]) for i in range(count)]
    memory = TokenMemory.fit([tokens[i] for i in range(count)], insides, normals.seed)
    surface = None
    if SURFACE in experts.names:
        bank = build_patch_bank(
            experts.extractor, normals, roi, lambda done, total: progress("remembering", done, total)
        )
        surface = fit_model(experts.extractor, [experts.extractor.network.head], 0, bank, normals)
    model = EnsembleModel(memory, surface)
    leave = [same_group(normals.groups, i) for i in range(count)]
    found: dict[int, ExpertMaps] = {}
    for index, judged in model.judge(experts, images, roi, leave, tokens):
        found[index] = ExpertMaps({n: _halved(m) for n, m in judged.maps.items()}, judged.scores)
        progress("scoring", len(found), count)
    scales = {
        name: ExpertScale.fit(
            [found[i].scores[name] for i in range(count)], [found[i].maps[name] for i in range(count)]
        )
        for name in experts.names
    }
    return replace(model, scales=scales), found


def _learn_weights(
    experts: Experts,
    model: EnsembleModel,
    found: Mapping[int, ExpertMaps],
    normals: NormalImages,
    roi: BoolArray | None,
    progress: Progress,
) -> dict[str, float]:
    """Weights of the experts by trials with synthetic defects; equal ones where all share the same tokens."""
    if SURFACE not in experts.names:
        return dict.fromkeys(experts.names, 1 / len(experts.names))
    trials = draw_trials(normals.images, normals.groups, normals.seed)
    leave = [same_group(normals.groups, index) for index, _ in trials]
    tested: list[Mapping[str, float]] = []
    for scores in model.image_scores(experts, [trial for _, trial in trials], roi, leave):
        tested.append(scores)
        progress("weighing", len(tested), len(trials))
    return expert_weights(
        {name: [found[i].scores[name] for i, _ in trials] for name in experts.names},
        {name: [scores[name] for scores in tested] for name in experts.names},
    )


def _halved(score_map: FloatArray) -> FloatArray:
    """Every other pixel of a fine map: enough to calibrate on, at a quarter of the memory."""
    return score_map[::2, ::2].astype(np.float32) if max(score_map.shape) > 64 else score_map


def _without_idle(model: EnsembleModel, weights: Mapping[str, float]) -> EnsembleModel:
    """The model without SurfaceNet where that has no weight: most of the time of a picture."""
    return model if weights.get(SURFACE) else replace(model, surface=None)


def _with_level(
    model: EnsembleModel, found: Iterable[ExpertMaps], weights: Mapping[str, float]
) -> EnsembleModel:
    scores = [model.combine(one, weights)[0] for one in found]
    return replace(model, level=float(np.quantile(scores, _LEVEL)))


def open_backbone_by(name: str | None, digest: str | None = None) -> Callable[[], VisionTransformer]:
    """How to open a backbone by name (None for DINOv2 wherever it is), which must have a digest, if any.

    Raises DetectorError when it is not there; the weights are loaded when they are first needed.
    """
    from anomalist.vision.features.dinov2 import MISSING, find_backbone, find_dinov2, open_shared

    location = find_dinov2() if name is None else find_backbone(name)
    if location is None:
        raise DetectorError("DINOv2 is needed and is not on this machine.", f"It is {MISSING}.")

    def open_checked() -> VisionTransformer:
        backbone = open_shared(location, str(resolve_device()))
        if digest is not None and backbone.digest != digest:
            raise DetectorError(
                f"This profile was learned with other weights than those of {location.origin}.",
                "Learn again, or name the folder of the weights it was learned with in ANOMALIST_BACKBONE.",
            )
        return backbone

    return open_checked


EnsembleState = tuple[
    Experts, dict[str, float], EnsembleModel, EnsembleModel | None, TokenKindClassifier | None
]
"""The arguments of `EnsembleDetector`."""


def write_ensemble(detector: EnsembleDetector, file: Path) -> None:
    """Write network, memories, scales, weights and kinds; tokens and network in half precision."""
    import torch
    from safetensors.torch import save_file

    experts = detector.experts
    tensors = {
        f"network.{name}": (value.half() if value.dtype.is_floating_point else value).contiguous()
        for name, value in experts.extractor.network.state_dict().items()
    }
    models = {"whole": detector.whole} | ({"fine": detector.fine} if detector.fine else {})
    arrays = {f"{part}.{n}": a for part, model in models.items() for n, a in _arrays_of(model).items()}
    kinds = detector.kinds
    if kinds is not None:
        arrays |= {"kinds.cases": kinds.cases.vectors, "kinds.centre": kinds.centre}
    tensors |= {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
    settings = {
        "backbone": experts.asked,
        "digest": experts.backbone.digest,
        "side": experts.side,
        "weights": detector.weights,
        "models": {
            part: {
                "level": model.level,
                "scales": {name: astuple(scale) for name, scale in model.scales.items()},
            }
            for part, model in models.items()
        },
        "kinds": kinds and {"ids": kinds.cases.ids, "kinds": kinds.cases.kinds, "limit": kinds.cases.limit},
    }
    save_file(tensors, file, {"settings": json.dumps(settings)})


def read_ensemble(file: Path) -> EnsembleState:
    """Read what `write_ensemble` wrote."""
    from safetensors import safe_open

    from anomalist.vision.features.extractor import load_network, with_prefix

    with safe_open(file, "pt") as opened:
        settings = json.loads(opened.metadata()["settings"])
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    network = load_network(with_prefix(tensors, "network."))
    models: dict[str, EnsembleModel] = {}
    for part, kept in settings["models"].items():
        arrays = {name: value.numpy() for name, value in with_prefix(tensors, f"{part}.").items()}
        scales = {name: ExpertScale(*numbers) for name, numbers in kept["scales"].items()}
        models[part] = _model_of(arrays, scales, kept["level"])
    asked = settings["backbone"]
    opener = open_backbone_by(asked, settings["digest"])
    weights: dict[str, float] = settings["weights"]
    experts = Experts(tuple(weights), FeatureExtractor(network), settings["side"], asked, opener)
    kinds = None
    if known := settings.get("kinds"):
        cases = KnownKindClassifier(
            tensors["kinds.cases"].numpy(), tuple(known["ids"]), tuple(known["kinds"]), known["limit"]
        )
        kinds = TokenKindClassifier(cases, tensors["kinds.centre"].numpy())
    return experts, weights, models["whole"], models.get("fine"), kinds


def _arrays_of(model: EnsembleModel) -> dict[str, npt.NDArray[Any]]:
    bank = model.memory.bank
    arrays: dict[str, npt.NDArray[Any]] = {
        "tokens": bank.vectors.astype(np.float16),
        "pictures": bank.pictures,
        "places": bank.places,
    }
    if model.surface is not None:
        arrays |= {f"surface.{name}": array for name, array in arrays_of_model(model.surface).items()}
    return arrays


def _model_of(
    arrays: Mapping[str, npt.NDArray[Any]], scales: Mapping[str, ExpertScale], level: float
) -> EnsembleModel:
    from anomalist.vision.features.extractor import with_prefix

    bank = MemoryBank(arrays["tokens"].astype(np.float32), arrays["pictures"], arrays["places"])
    surface = with_prefix(arrays, "surface.")
    return EnsembleModel(TokenMemory(bank), model_from_arrays(surface) if surface else None, scales, level)
