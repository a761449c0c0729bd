"""Ensemble of experts: SurfaceNet and two distances of DINOv2 tokens, weighed without labels.

Each expert gives a picture a map and a score, both standardised by its scores of normal pictures that it has
not seen. The anomaly map and the score of the picture are the means of these, weighed by how well each expert
finds synthetic defects on unseen normals. Every normal picture calibrates: its object is left out of the
memories when it is scored (leave-one-group-out, the jackknife of Barber et al. 2021).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
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
from anomalist.vision.detectors.experts import (
    MAHALANOBIS,
    NEIGHBOURS,
    SURFACE,
    TEMPLATE,
    EnsembleModel,
    Excluded,
    ExpertMaps,
    Experts,
    ExpertScale,
    fit_ensemble_model,
    learn_weights,
    localized,
    map_weights,
    with_level,
    without_idle,
)
from anomalist.vision.detectors.fusion import NormalImages, resize_map, same_group
from anomalist.vision.detectors.known_kinds import (
    KnownKindClassifier,
    TokenKindClassifier,
    largest_box,
    mirror_images,
    mirrored_boxes,
    peak_mask,
    place_token,
    tokens_in_box,
)
from anomalist.vision.detectors.labelled_defects import KnownDefect
from anomalist.vision.detectors.memory_bank import MemoryBank
from anomalist.vision.detectors.multiscale import (
    MultiscaleImage,
    crop_roi,
    crop_tile,
    is_large,
    multiscale_image,
    stitch_tiles,
    tile_origins,
    to_tiling_size,
)
from anomalist.vision.detectors.surface import arrays_of_model, model_from_arrays
from anomalist.vision.detectors.template_memory import TemplateMemory
from anomalist.vision.detectors.token_memory import TokenMemory
from anomalist.vision.features.backbones import resolve_device, to_working_size
from anomalist.vision.features.extractor import FeatureExtractor, half_precision_state
from anomalist.vision.regions import resize_roi_to_grid

if TYPE_CHECKING:
    from anomalist.vision.features.dinov2 import VisionTransformer

EFFORTS: Mapping[str, tuple[tuple[str, ...], int]] = {
    "fast": ((NEIGHBOURS, MAHALANOBIS, TEMPLATE), 336),
    "normal": ((SURFACE, NEIGHBOURS, MAHALANOBIS, TEMPLATE), 336),
    "thorough": ((SURFACE, NEIGHBOURS, MAHALANOBIS, TEMPLATE), 448),
}
"""Experts, and nominal side of the backbone's input in pixels, by effort."""


class EnsembleDetector:
    """Ensemble of experts, weighed without labels; see `Detector`.

    Parameters
    ----------
    experts : the networks.
    weights : of each expert, summing to one.
    whole : models of whole pictures.
    fine : models of tiles, where the normal pictures were large.
    kinds : classifier of regions by known defects, if there are any.
    strips : whether strips are tiled at a resolution of their own; see `to_tiling_size`.
    map_weights : of the experts in the map; None for the weights of the score.

    Attributes
    ----------
    tiles_in_roi : whether tiles that lie partly inside the region of interest are painted over and scored
        inside it alone; False for what was learned before that.
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
        *,
        strips: bool = True,
        map_weights: Mapping[str, float] | None = None,
    ) -> None:
        self.experts, self.weights, self.whole, self.fine = experts, dict(weights), whole, fine
        self.map_weights = dict(weights if map_weights is None else map_weights)
        self.kinds = kinds
        self.strips, self.tiles_in_roi = strips, True
        self._unseen: _UnseenNormals | None = None

    @staticmethod
    def prepare(picture: UInt8Array) -> MultiscaleImage:
        """Reduce a picture to working size, and keep a few tiles of a large one."""
        return multiscale_image(picture)

    @staticmethod
    def prepare_within(picture: UInt8Array, roi: BoolArray) -> MultiscaleImage:
        """As `prepare`, with tiles of what counts."""
        return multiscale_image(picture, roi)

    @classmethod
    def learn(cls, data: LearningData, settings: LearningSettings, progress: Progress) -> Self:
        """Learn from all pictures; see `Detector.learn`. Scales and weights rest on unseen normals."""
        from anomalist.vision.features.extractor import shipped_network

        if settings.effort not in EFFORTS:
            raise DetectorError(f"effort {settings.effort!r} is unknown.", f"Known: {', '.join(EFFORTS)}.")
        (names, side), asked = EFFORTS[settings.effort], settings.backbone
        experts = Experts(names, FeatureExtractor(shipped_network()), side, asked, open_backbone_by(asked))
        normals = NormalImages([one.whole for one in data.pictures], data.groups, settings.seed)
        whole, found = fit_ensemble_model(experts, normals, data.roi, progress, data.tokens)
        weights = learn_weights(experts, whole, found, normals, data.roi, progress)
        whole = with_level(without_idle(whole, weights), found.values(), weights)
        fine, owners = None, np.empty(0, np.int64)
        if tiles := _counting_tiles(experts, data):
            owners, rois = np.array([one.owner for one in tiles], np.int64), [one.roi for one in tiles]
            images = [one.pixels for one in tiles]
            tiled = NormalImages(images, data.groups[owners], settings.seed, aligned=False)
            inside = None if data.roi is None else rois
            fine, of_tiles = fit_ensemble_model(experts, tiled, inside, progress)
            fine = with_level(without_idle(fine, weights), of_tiles.values(), weights)
        detector = cls(experts, weights, whole, fine, map_weights=map_weights(weights))
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
        several = enumerate(zip(pictures, working, strict=True))
        return [self._output(found[i], picture, own, roi, None) for i, (picture, own) in several]

    def score_unseen(
        self, number: int, read: Callable[[], UInt8Array], roi: BoolArray | None = None
    ) -> DetectorOutput:
        """Score a normal picture that was learned from as if it were new: without the pictures of its object.

        ``number`` is that of the picture in the order learned; ``read`` gives it again, uint8 (H, W, 3). Only
        after `learn`: what was kept for it is not saved.
        """
        if self._unseen is None:
            raise DetectorError("Only a detector that has just learned can score its normals as new.")
        picture = read()
        return self._output(self._unseen.found[number], picture, to_working_size(picture), roi, number)

    def score_changed(self, number: int, picture: UInt8Array, roi: BoolArray | None = None) -> DetectorOutput:
        """Score a changed normal picture, uint8 (H, W, 3), without the pictures of its object.

        ``number`` is as for `score_unseen`; only after `learn`, too.
        """
        if self._unseen is None:
            raise DetectorError("Only a detector that has just learned can score its normals as new.")
        leave = same_group(self._unseen.groups, number)
        working = to_working_size(picture)
        ((_, found),) = self.whole.judge(self.experts, [working], roi, [leave])
        return self._output(found, picture, working, roi, number)

    def forget_unseen(self) -> None:
        """Free what `score_unseen` needs."""
        self._unseen = None
        if self.whole.template is not None:
            self.whole = replace(self.whole, template=self.whole.template.forget())

    def _output(
        self,
        found: ExpertMaps,
        picture: UInt8Array,
        working: UInt8Array,
        roi: BoolArray | None,
        number: int | None,
    ) -> DetectorOutput:
        score = self.whole.score(found, self.weights)
        joined = self._map(self.whole, found, working, roi)
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

    def _map(
        self, model: EnsembleModel, found: ExpertMaps, working: UInt8Array, roi: BoolArray | None
    ) -> FloatArray:
        """Anomaly map of what the experts gave a picture at working size, uint8 (H, W, 3); float32 (H, W)."""
        joined = resize_map(model.join(found, self.map_weights), working.shape)
        patch = working.shape[0] / found.maps[NEIGHBOURS].shape[0]
        return localized(joined, working, patch, resize_roi_to_grid(roi, working.shape))

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
        large = to_tiling_size(picture, strips=self.strips)
        shape, where = large.shape[:2], tile_origins(large.shape)
        leave = None if number is None or self._unseen is None else self._unseen.tiles_of(number)
        inside = resize_roi_to_grid(roi, shape)
        if self.tiles_in_roi:
            sees = self.experts.sees
            where = [place for place in where if sees(crop_tile(large, place), crop_roi(inside, place))]
        tiles = [crop_tile(large, place) for place in where]
        counting = [crop_roi(inside, place) for place in where]
        shift = self.whole.level - fine.level
        maps: list[tuple[tuple[int, int], FloatArray]] = []
        seen = counting if self.tiles_in_roi else None
        for i, judged in fine.judge(self.experts, tiles, seen, [leave] * len(tiles)):
            counts = counting[i]
            tile_map = self._map(fine, judged, tiles[i], counts)
            maps.append((where[i], tile_map + np.float32(shift)))
            if counts is None or counts.any():
                score = max(score, fine.score(judged, self.weights) + shift)
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
        tokens, mirrored = [], []
        for defect in defects:
            mask = defect.mask
            if mask is None or not mask.any():
                (scored,) = self.score([defect.picture])
                mask = peak_mask(scored.score_map)
            box = largest_box(mask)
            tokens += self._place_tokens(defect.picture, [box])
            boxes = mirrored_boxes(box, defect.picture.shape)
            turned = zip(mirror_images(defect.picture), boxes, strict=True)
            mirrored.append(np.stack([self._place_tokens(each, [its])[0] for each, its in turned]))
        return TokenKindClassifier.of(
            np.stack(tokens),
            [defect.id for defect in defects],
            [defect.kind for defect in defects],
            [defect.group for defect in defects],
            self.whole.memory.bank.vectors.mean(0),
            np.stack(mirrored),
        )

    def save(self, file: Path) -> None:
        """Write the learned state as safetensors."""
        write_ensemble(self, file)

    @classmethod
    def load(cls, file: Path) -> Self:
        """Read what `save` wrote; scores are the same."""
        state, options = read_ensemble(file)
        tiles_in_roi = options.pop("tiles_in_roi")
        detector = cls(*state, **options)
        detector.tiles_in_roi = tiles_in_roi
        return detector


@dataclass(frozen=True, eq=False)
class _NormalTile:
    """A tile of a normal picture, uint8 (h, w, 3), the number of the picture, and what counts of the tile."""

    pixels: UInt8Array
    owner: int
    roi: BoolArray | None


def _counting_tiles(experts: Experts, data: LearningData) -> list[_NormalTile]:
    """The tiles of the normal pictures of which a token counts."""
    tiles = [
        _NormalTile(tile, number, roi)
        for number, one in enumerate(data.pictures)
        for tile, roi in zip(one.tiles, one.tile_rois(data.roi), strict=True)
    ]
    return [one for one in tiles if experts.sees(one.pixels, one.roi)]


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
    tensors = half_precision_state(experts.extractor.network, "network.")
    models = {"whole": detector.whole} | ({"fine": detector.fine} if detector.fine else {})
    arrays = {f"{part}.{n}": a for part, model in models.items() for n, a in _arrays_of(model).items()}
    kinds = detector.kinds
    if kinds is not None:
        arrays |= {"kinds.cases": kinds.cases.vectors, "kinds.centre": kinds.centre}
        arrays |= {} if kinds.mirrored is None else {"kinds.mirrored": kinds.mirrored}
    tensors |= {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
    settings = {
        "backbone": experts.asked,
        "digest": experts.backbone.digest,
        "side": experts.side,
        "strips": detector.strips,
        "tiles_in_roi": detector.tiles_in_roi,
        "weights": detector.weights,
        "map_weights": detector.map_weights,
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


def read_ensemble(file: Path) -> tuple[EnsembleState, dict[str, Any]]:
    """Read what `write_ensemble` wrote: what an `EnsembleDetector` is made of, and its options."""
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
        mirrored = tensors.get("kinds.mirrored")
        kinds = TokenKindClassifier(
            cases, tensors["kinds.centre"].numpy(), None if mirrored is None else mirrored.numpy()
        )
    options = {name: settings.get(name, False) for name in ("strips", "tiles_in_roi")}
    options["map_weights"] = settings.get("map_weights")
    return (experts, weights, models["whole"], models.get("fine"), kinds), options


def _arrays_of(model: EnsembleModel) -> dict[str, npt.NDArray[Any]]:
    bank = model.memory.bank
    arrays: dict[str, npt.NDArray[Any]] = {
        "tokens": bank.vectors.astype(np.float16),
        "pictures": bank.pictures,
        "places": bank.places,
    }
    if model.surface is not None:
        arrays |= {f"surface.{name}": array for name, array in arrays_of_model(model.surface).items()}
    if model.template is not None:
        arrays |= {f"template.{name}": array for name, array in model.template.arrays().items()}
    return arrays


def _model_of(
    arrays: Mapping[str, npt.NDArray[Any]], scales: Mapping[str, ExpertScale], level: float
) -> EnsembleModel:
    from anomalist.vision.features.extractor import with_prefix

    bank = MemoryBank(arrays["tokens"].astype(np.float32), arrays["pictures"], arrays["places"])
    surface, template = with_prefix(arrays, "surface."), with_prefix(arrays, "template.")
    return EnsembleModel(
        TokenMemory(bank),
        model_from_arrays(surface) if surface else None,
        scales,
        level,
        TemplateMemory.of_arrays(template) if template else None,
    )
