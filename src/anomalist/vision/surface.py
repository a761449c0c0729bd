"""The surface detector: a defect segmenter and a memory bank, brought to one scale and added."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

from anomalist.errors import DetectorError
from anomalist.types import BoolArray, FloatArray, UInt8Array
from anomalist.vision.bank import CANDIDATES, MemoryBank, Patches, build_bank, join_patches, sample_patches
from anomalist.vision.calibration import Partition
from anomalist.vision.detectors import Progress, Scored
from anomalist.vision.features import TransformersBackbone, run_network, working_picture
from anomalist.vision.scaling import PositionScale, cell_peaks

if TYPE_CHECKING:
    import torch

    from anomalist.vision.network import SurfaceNet

EFFORTS = {"fast": 0, "normal": 500, "thorough": 2500}
"""Training steps at most, shared by all folds; 0 takes the shipped network as it is."""

TOP_PIXELS = 20
"""The image score is the mean of this many highest values of the fused map at working size."""

_BATCH = 8
_SCALING_PICTURES = 200
_BANK_BLUR = 1.0  # in patches: neighbours that agree count more than a lone outlier


@dataclass(frozen=True, eq=False)
class Model:
    """What one fold has learned: the patches of its normals and how high its two maps usually are."""

    network: int
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


class SurfaceDetector:
    """Finds what does not belong on a surface that it has seen normal pictures of."""

    name = "surface"

    def __init__(
        self, networks: Sequence[SurfaceNet], models: Sequence[Model], backbone: TransformersBackbone | None
    ) -> None:
        self._networks = tuple(networks)
        self._models = tuple(models)
        self._backbone = backbone

    @property
    def folds(self) -> int:
        """Number of models."""
        return len(self._models)

    @staticmethod
    def prepare(picture: UInt8Array) -> UInt8Array:
        """Resize a picture to working size."""
        return working_picture(picture)

    @classmethod
    def learn(
        cls,
        pictures: Sequence[UInt8Array],
        groups: npt.NDArray[np.int64],
        partition: Partition,
        *,
        roi: BoolArray | None,
        effort: str,
        seed: int,
        backbone: str | None,
        progress: Progress,
    ) -> Self:
        """Learn one model a fold; see `Detector.learn`.

        Each fold's network, bank and scales see only that fold's learning pictures.
        """
        if effort not in EFFORTS:
            raise DetectorError(f"effort {effort!r} is unknown.", f"Known: {', '.join(EFFORTS)}.")
        describer = TransformersBackbone(backbone) if backbone else None
        networks = list(_adapted_networks(pictures, partition, EFFORTS[effort], seed, progress))
        models = []
        for k, (learning, _) in enumerate(partition.folds):
            network = min(k, len(networks) - 1)
            maps = _Maps(networks[network], describer, roi)

            def tick(done: int, total: int, k: int = k) -> None:
                progress("remembering", k * total + done, total * len(partition.folds))

            models.append(
                _fit_model(network, maps, [pictures[i] for i in learning], groups[list(learning)], seed, tick)
            )
        return cls(networks, models, describer)

    def score(
        self, pictures: Sequence[UInt8Array], roi: BoolArray | None = None, fold: int | None = None
    ) -> list[Scored]:
        """Score pictures of any size; see `Detector.score`."""
        import cv2

        models = self._models if fold is None else (self._models[fold],)
        working = [working_picture(picture) for picture in pictures]
        maps: list[list[FloatArray]] = [[] for _ in pictures]
        for number in sorted({model.network for model in models}):
            source = _Maps(self._networks[number], self._backbone, roi)
            for index, logits, descriptors in source.of(working):
                maps[index] += [m.fuse(logits, descriptors) for m in models if m.network == number]
        scored = []
        for picture, several in zip(pictures, maps, strict=True):
            scores = np.array([image_score(m, _resized_roi(roi, m.shape)) for m in several])
            mean = np.mean(several, axis=0, dtype=np.float32)
            size = (picture.shape[1], picture.shape[0])
            enlarged = cv2.resize(mean, size, interpolation=cv2.INTER_LINEAR)
            scored.append(Scored(scores, np.asarray(enlarged, np.float32)))
        return scored

    def save(self, file: Path) -> None:
        """Write the networks, banks and scales as safetensors."""
        import torch
        from safetensors.torch import save_file

        tensors: dict[str, torch.Tensor] = {}
        for j, network in enumerate(self._networks):
            for name, value in network.state_dict().items():
                half = value.half() if value.dtype.is_floating_point else value
                tensors[f"network.{j}.{name}"] = half.contiguous()
        for k, model in enumerate(self._models):
            arrays = {
                "network": np.array(model.network),
                "vectors": model.bank.vectors,
                "pictures": model.bank.pictures,
                "places": model.bank.places,
                "segment_mean": model.segment_scale.mean,
                "segment_spread": model.segment_scale.spread,
                "bank_mean": model.bank_scale.mean,
                "bank_spread": model.bank_scale.spread,
            }
            tensors |= {
                f"model.{k}.{n}": torch.from_numpy(np.ascontiguousarray(a)) for n, a in arrays.items()
            }
        settings = {"backbone": self._backbone.name if self._backbone else None}
        save_file(tensors, file, {"settings": json.dumps(settings)})

    @classmethod
    def load(cls, file: Path) -> Self:
        """Read what `save` wrote; the same scores come out."""
        from safetensors import safe_open

        from anomalist.vision.weights import network_of

        with safe_open(file, "pt") as opened:
            settings = json.loads(opened.metadata()["settings"])
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        networks: list[SurfaceNet] = []
        while any(name.startswith(f"network.{len(networks)}.") for name in tensors):
            networks.append(network_of(_part(tensors, f"network.{len(networks)}.")))
        models: list[Model] = []
        while any(name.startswith(f"model.{len(models)}.") for name in tensors):
            arrays = {n: v.numpy() for n, v in _part(tensors, f"model.{len(models)}.").items()}
            models.append(
                Model(
                    int(arrays["network"].item()),
                    MemoryBank(arrays["vectors"], arrays["pictures"], arrays["places"]),
                    PositionScale(arrays["segment_mean"], arrays["segment_spread"]),
                    PositionScale(arrays["bank_mean"], arrays["bank_spread"]),
                )
            )
        backbone = settings["backbone"]
        return cls(networks, models, TransformersBackbone(backbone) if backbone else None)


def image_score(score_map: FloatArray, inside: BoolArray | None) -> float:
    """Mean of the ``TOP_PIXELS`` highest values of a map, float32 (H, W), inside the ROI."""
    values = score_map.ravel() if inside is None else score_map[inside]
    top = min(TOP_PIXELS, values.size)
    return float(np.partition(values, values.size - top)[values.size - top :].mean())


@dataclass(frozen=True, eq=False)
class _Maps:
    """Runs the network, and the backbone where there is one, over working pictures in batches of one size."""

    network: SurfaceNet
    backbone: TransformersBackbone | None
    roi: BoolArray | None

    def of(self, working: Sequence[UInt8Array]) -> Iterator[tuple[int, FloatArray, FloatArray]]:
        """Yield (index, logits (H, W), descriptors (h, w, d)), not in order."""
        by_size: dict[tuple[int, ...], list[int]] = {}
        for index, picture in enumerate(working):
            by_size.setdefault(picture.shape, []).append(index)
        for indices in by_size.values():
            for start in range(0, len(indices), _BATCH):
                batch = indices[start : start + _BATCH]
                pictures = [working[i] for i in batch]
                logits, descriptors = run_network(self.network, pictures)
                if self.backbone:
                    descriptors = self.backbone.describe(pictures)
                yield from zip(batch, logits, descriptors, strict=True)


def _adapted_networks(
    pictures: Sequence[UInt8Array], partition: Partition, steps: int, seed: int, progress: Progress
) -> Iterator[SurfaceNet]:
    """The shipped network once, or one adapted to each fold's learning pictures."""
    from anomalist.vision.weights import shipped_network

    network = shipped_network()
    if steps == 0:
        yield network
        return
    from anomalist.vision.adaptation import adapt

    share = steps // len(partition.folds)
    for k, (learning, _) in enumerate(partition.folds):

        def tick(done: int, total: int, k: int = k) -> None:
            progress("adapting", k * share + done, len(partition.folds) * share)

        yield adapt(network, [pictures[i] for i in learning], share, seed + k, tick)


def _fit_model(
    network: int,
    maps: _Maps,
    working: Sequence[UInt8Array],
    groups: npt.NDArray[np.int64],
    seed: int,
    tick: Callable[[int, int], None],
) -> Model:
    """Build the bank, then score the bank's own pictures as if their groups were new, to fit the scales."""
    rng = np.random.default_rng(seed)
    most = max(1, CANDIDATES // len(working))
    scaling = set(rng.permutation(len(working))[:_SCALING_PICTURES].tolist())
    patches: list[Patches] = []
    described: dict[int, FloatArray] = {}
    peaks: list[FloatArray] = []
    for done, (index, logits, descriptors) in enumerate(maps.of(working), 1):
        inside = _resized_roi(maps.roi, descriptors.shape[:2])
        patches.append(sample_patches(descriptors, index, inside, most, rng))
        if index in scaling:
            described[index] = descriptors.astype(np.float16)
            peaks.append(cell_peaks(logits))
        tick(done, len(working))
    bank = build_bank(join_patches(patches), seed)
    bank_peaks = [cell_peaks(m) for m in _as_if_new(bank, described, groups)]
    return Model(network, bank, PositionScale.fit(np.stack(peaks)), PositionScale.fit(np.stack(bank_peaks)))


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


def _resized_roi(roi: BoolArray | None, shape: tuple[int, ...]) -> BoolArray | None:
    import cv2

    if roi is None:
        return None
    inside = cv2.resize(roi.astype(np.uint8), (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST) > 0
    return np.asarray(inside if inside.any() else np.ones(shape[:2], bool))


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
