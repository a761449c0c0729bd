"""The surface detector: a memory bank and a segmentation head, fitted to normal pictures and known defects.

Each fold has a patch bank, a head (shipped or fine-tuned) and the scales of its maps. The state is one
safetensors file with weights in half precision; the names of its tensors are the file format.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from anomalist.errors import DetectorError
from anomalist.types.common import BoolArray, Box, FloatArray, UInt8Array
from anomalist.types.image import KnownKind, Region
from anomalist.vision.calibration import Partition
from anomalist.vision.detectors.base import (
    DetectorOutput,
    LearningData,
    LearningSettings,
    NearestPatch,
    Progress,
)
from anomalist.vision.detectors.fusion import (
    FusionModel,
    NormalImages,
    PatchBank,
    PositionScale,
    build_patch_bank,
    fit_model,
    image_score,
    resize_map,
)
from anomalist.vision.detectors.known_kinds import (
    KnownKindClassifier,
    peak_mask,
    region_signature,
    tokens_in_box,
)
from anomalist.vision.detectors.labelled_defects import KnownDefect
from anomalist.vision.detectors.memory_bank import MemoryBank
from anomalist.vision.detectors.multiscale import FoldModel, MultiscaleImage, fold_maps, multiscale_image
from anomalist.vision.features.backbones import open_backbone, to_working_size
from anomalist.vision.features.extractor import FeatureExtractor, half_precision_state
from anomalist.vision.regions import find_regions, resize_roi_to_grid

if TYPE_CHECKING:
    from anomalist.vision.features.surface_net import SegmentationHead


EFFORTS = {"fast": 0, "normal": 500, "thorough": 2000}
"""Fine-tuning steps, shared by all folds; 0 takes the shipped head as it is."""


class SurfaceDetector:
    """PatchCore-style detector with a segmentation head; see `Detector`.

    Parameters
    ----------
    extractor : of the features.
    heads : the shipped head and, if fine-tuned, one a fold.
    folds : model of each fold.
    cases : classifier of regions by known defects, if there are any.
    """

    name = "surface"

    def __init__(
        self,
        extractor: FeatureExtractor,
        heads: Sequence[SegmentationHead],
        folds: Sequence[FoldModel],
        cases: KnownKindClassifier | None = None,
    ) -> None:
        self.extractor = extractor
        self.heads = tuple(heads)
        self.fold_models = tuple(folds)
        self.cases = cases

    @property
    def folds(self) -> int:
        """Number of models."""
        return len(self.fold_models)

    @staticmethod
    def prepare(picture: UInt8Array) -> MultiscaleImage:
        """Reduce a picture to working size, and keep a few tiles of a large one."""
        return multiscale_image(picture)

    @classmethod
    def learn(cls, data: LearningData, settings: LearningSettings, progress: Progress) -> Self:
        """Learn one model a fold; see `Detector.learn`.

        Each fold's head, bank and scales are fitted to its learning pictures alone. Known defects are
        training samples of the heads of all folds (with an effort that trains), and regions are classified by
        them.
        """
        from anomalist.vision.features.extractor import shipped_network

        effort, seed = settings.effort, settings.seed
        if effort not in EFFORTS:
            raise DetectorError(f"effort {effort!r} is unknown.", f"Known: {', '.join(EFFORTS)}.")
        network = shipped_network()
        backbone = open_backbone(settings.backbone) if settings.backbone else None
        extractor = FeatureExtractor(network, backbone)
        heads, folds = [network.head], []
        steps = EFFORTS[effort] // len(data.partition.folds)
        for k, (learning, _) in enumerate(data.partition.folds):
            chosen, groups = [data.pictures[i] for i in learning], data.groups[list(learning)]
            normals = NormalImages([one.whole for one in chosen], groups, seed)
            tick = _fold_progress(progress, "remembering", k, data.partition)
            normality = build_patch_bank(extractor, normals, data.roi, tick)
            if steps:
                tick = _fold_progress(progress, "adapting", k, data.partition)
                heads.append(_finetune_head(extractor, normality, normals, data.defects, steps, k, tick))
            head = len(heads) - 1
            model = fit_model(extractor, heads, head, normality, normals)
            numbers = np.array(learning, np.int32)
            fine = _learn_tiles(extractor, heads, head, chosen, normals)
            folds.append(FoldModel(_with_profile_numbers(model, numbers), fine))
        detector = cls(extractor, heads, folds)
        if not data.defects:
            return detector
        return cls(extractor, heads, folds, detector._learn_kinds(data.defects))

    def score(
        self, pictures: Sequence[UInt8Array], roi: BoolArray | None = None, fold: int | None = None
    ) -> list[DetectorOutput]:
        """Score pictures of any size; see `Detector.score`."""
        folds = self.fold_models if fold is None else (self.fold_models[fold],)
        scored: dict[int, DetectorOutput] = {}
        for index, maps in fold_maps(self.extractor, self.heads, folds, pictures):
            inside = resize_roi_to_grid(roi, maps[0].shape)
            scores = np.array([image_score(m, inside) for m in maps])
            mean = np.asarray(np.mean(maps, axis=0, dtype=np.float32))
            scored[index] = DetectorOutput(scores, resize_map(mean, pictures[index].shape))
        return [scored[index] for index in range(len(pictures))]

    def nearest_normal_patch(self, picture: UInt8Array, box: Box) -> NearestPatch:
        """Normal patch nearest to the most novel patch in a box of a picture, by the first fold's bank."""
        bank = self.fold_models[0].whole.normality.bank
        (batch,) = self.extractor.extract([to_working_size(picture)])
        descriptors = batch.descriptors[0]
        inside = tokens_in_box(descriptors, box, picture.shape)
        row = bank.nearest(inside[int(bank.distances(inside).argmax())])
        x, y = bank.places[row].tolist()
        return NearestPatch(int(bank.pictures[row]), (x, y))

    def name_regions(self, picture: UInt8Array, regions: Sequence[Region]) -> list[KnownKind | None]:
        """Classify each region by the known defects; None for each when there are none."""
        if self.cases is None or not regions:
            return [None] * len(regions)
        return [self.cases.classify(vector) for vector in self._signatures(picture, regions)]

    def save(self, file: Path) -> None:
        """Write the learned state as safetensors."""

        write_state(self, file)

    @classmethod
    def load(cls, file: Path) -> Self:
        """Read what `save` wrote; scores are the same."""

        return cls(*read_state(file))

    def _signatures(self, picture: UInt8Array, regions: Sequence[Region]) -> list[FloatArray]:
        (batch,) = self.extractor.extract([to_working_size(picture)])
        normal = self.fold_models[0].whole.normality.bank.vectors.mean(0)
        size = picture.shape[0], picture.shape[1]
        return [region_signature(batch.descriptors[0], normal, region, size) for region in regions]

    def _learn_kinds(self, defects: Sequence[KnownDefect]) -> KnownKindClassifier:
        """Fit the classifier to a region of each known defect: its largest, or that around the peak."""
        vectors = []
        for defect in defects:
            (scored,) = self.score([defect.picture])
            mask = defect.mask
            if mask is None:
                mask = peak_mask(scored.score_map)
            regions = find_regions(defect.picture, scored.score_map, mask)
            largest = max(regions, key=lambda region: region.area)
            vectors += self._signatures(defect.picture, [largest])
        return KnownKindClassifier.of(
            np.stack(vectors),
            [defect.id for defect in defects],
            [defect.kind for defect in defects],
            [defect.group for defect in defects],
        )


def _finetune_head(
    extractor: FeatureExtractor,
    normality: PatchBank,
    normals: NormalImages,
    defects: Sequence[KnownDefect],
    steps: int,
    fold: int,
    tick: Callable[[int, int], None],
) -> SegmentationHead:
    from anomalist.vision.detectors.finetuning import DefectSampler, finetune_head, known_defect_samples

    sampler = DefectSampler(normals.images, known_defect_samples(extractor, normality, defects))
    seed = normals.seed + fold
    return finetune_head(extractor, extractor.network.head, sampler, normals.groups, steps, seed, tick)


def _learn_tiles(
    extractor: FeatureExtractor,
    heads: Sequence[SegmentationHead],
    head: int,
    images: Sequence[MultiscaleImage],
    normals: NormalImages,
) -> FusionModel[PatchBank] | None:
    """Fit the model of tiles of large pictures; None where there are none."""
    tiles = [tile for one in images for tile in one.tiles]
    if not tiles:
        return None
    groups = np.repeat(normals.groups, [len(one.tiles) for one in images])
    tiled = NormalImages(tiles, groups, normals.seed, aligned=False)
    normality = build_patch_bank(extractor, tiled, None, lambda done, total: None)
    return fit_model(extractor, heads, head, normality, tiled)


def _with_profile_numbers(
    model: FusionModel[PatchBank], numbers: npt.NDArray[np.int32]
) -> FusionModel[PatchBank]:
    """The model with the pictures of its bank numbered as in the profile."""
    normality = model.normality
    bank = replace(normality.bank, pictures=numbers[normality.bank.pictures])
    return replace(model, normality=replace(normality, bank=bank))


def _fold_progress(progress: Progress, what: str, k: int, partition: Partition) -> Callable[[int, int], None]:
    """Progress of fold ``k`` as a part of that of all folds."""
    folds = len(partition.folds)
    return lambda done, total: progress(what, k * total + done, total * folds)


DetectorState = tuple[FeatureExtractor, list["SegmentationHead"], list[FoldModel], KnownKindClassifier | None]
"""The arguments of `SurfaceDetector`."""


def write_state(detector: SurfaceDetector, file: Path) -> None:
    """Write network, heads, folds and cases; weights in half precision, to which they are rounded already."""
    import torch
    from safetensors.torch import save_file

    tensors: dict[str, torch.Tensor] = {}
    heads = [(f"head.{number}", head) for number, head in enumerate(detector.heads[1:], 1)]
    for prefix, module in (("network", detector.extractor.network), *heads):
        tensors |= half_precision_state(module, f"{prefix}.")
    arrays: dict[str, npt.NDArray[Any]] = {}
    for k, fold in enumerate(detector.fold_models):
        arrays |= {f"fold.{k}.whole.{name}": array for name, array in arrays_of_model(fold.whole).items()}
        if fold.fine is not None:
            arrays |= {f"fold.{k}.fine.{name}": array for name, array in arrays_of_model(fold.fine).items()}
    cases, backbone = detector.cases, detector.extractor.backbone
    settings: dict[str, Any] = {"backbone": backbone.name if backbone else None}
    if cases is not None:
        arrays["cases"] = cases.vectors
        settings["cases"] = {"ids": cases.ids, "kinds": cases.kinds, "limit": cases.limit}
    tensors |= {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
    save_file(tensors, file, {"settings": json.dumps(settings)})


def read_state(file: Path) -> DetectorState:
    """Read what `write_state` wrote."""
    from safetensors import safe_open

    from anomalist.vision.features.extractor import load_head, load_network, with_prefix

    with safe_open(file, "pt") as opened:
        settings = json.loads(opened.metadata()["settings"])
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    network = load_network(with_prefix(tensors, "network."))
    heads = [network.head]
    while own := with_prefix(tensors, f"head.{len(heads)}."):
        heads.append(load_head(own))
    arrays = {n: v.numpy() for n, v in tensors.items() if n.startswith(("fold.", "cases"))}
    folds: list[FoldModel] = []
    while whole := with_prefix(arrays, f"fold.{len(folds)}.whole."):
        fine = with_prefix(arrays, f"fold.{len(folds)}.fine.")
        folds.append(FoldModel(model_from_arrays(whole), model_from_arrays(fine) if fine else None))
    cases = None
    if known := settings.get("cases"):
        cases = KnownKindClassifier(
            arrays["cases"], tuple(known["ids"]), tuple(known["kinds"]), known["limit"]
        )
    backbone, place = settings["backbone"], f"the profile {file.parent.name}"
    opened_backbone = open_backbone(backbone, stored_in=place) if backbone else None
    return FeatureExtractor(network, opened_backbone), heads, folds, cases


def arrays_of_model(model: FusionModel[PatchBank]) -> dict[str, npt.NDArray[Any]]:
    """The arrays that a fusion model is stored as, by name."""
    normality = model.normality
    return {
        "head": np.array(model.head),
        "vectors": normality.bank.vectors,
        "pictures": normality.bank.pictures,
        "places": normality.bank.places,
        "numbers": np.array([normality.mean, normality.spread, model.level]),
        "logit_mean": model.logit_scale.mean,
        "logit_spread": model.logit_scale.spread,
        "sight_mean": model.self_reference_scale.mean,
        "sight_spread": model.self_reference_scale.spread,
        "bank_mean": model.bank_scale.mean,
        "bank_spread": model.bank_scale.spread,
        "broad_mean": model.broad_scale.mean,
        "broad_spread": model.broad_scale.spread,
    }


def model_from_arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> FusionModel[PatchBank]:
    """A fusion model from what `arrays_of_model` gave."""
    mean, spread, level = arrays["numbers"].tolist()
    bank = MemoryBank(arrays["vectors"], arrays["pictures"], arrays["places"])
    return FusionModel(
        int(arrays["head"].item()),
        PatchBank(bank, mean, spread),
        PositionScale(arrays["logit_mean"], arrays["logit_spread"]),
        PositionScale(arrays["sight_mean"], arrays["sight_spread"]),
        PositionScale(arrays["bank_mean"], arrays["bank_spread"]),
        PositionScale(arrays["broad_mean"], arrays["broad_spread"]),
        level,
    )
