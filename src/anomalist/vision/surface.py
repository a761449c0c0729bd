"""The surface detector: learned once or cross-fitted, stored as safetensors; a fold is a `fusion.Model`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

from anomalist.errors import DetectorError
from anomalist.types import BoolArray, Box, FloatArray, UInt8Array
from anomalist.vision.bank import MemoryBank
from anomalist.vision.calibration import Partition
from anomalist.vision.detectors import Alike, Progress, Scored
from anomalist.vision.features import TransformersBackbone, working_picture
from anomalist.vision.fusion import Eyes, Model, fit_model, image_score
from anomalist.vision.roi import covering_roi
from anomalist.vision.scaling import PositionScale

if TYPE_CHECKING:
    import torch

    from anomalist.vision.network import SurfaceNet

EFFORTS = {"fast": 0, "normal": 500, "thorough": 2500}
"""Training steps at most, shared by all folds; 0 takes the shipped network as it is."""


class SurfaceDetector:
    """Finds what does not belong on a surface that it has seen normal pictures of."""

    name = "surface"

    def __init__(
        self, networks: Sequence[SurfaceNet], models: Sequence[Model], backbone: TransformersBackbone | None
    ) -> None:
        self._eyes = Eyes(tuple(networks), backbone)
        self._models = tuple(models)

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
        networks = list(_networks(pictures, groups, partition, EFFORTS[effort], seed, progress))
        eyes = Eyes(tuple(networks), describer)
        models = []
        for k, (learning, _) in enumerate(partition.folds):

            def tick(done: int, total: int, k: int = k) -> None:
                progress("remembering", k * total + done, total * len(partition.folds))

            segmenter = k + 1 if len(networks) > 1 else 0
            chosen, own = [pictures[i] for i in learning], groups[list(learning)]
            model = fit_model(eyes, segmenter, chosen, own, roi, seed, tick)
            numbers = np.array(learning, np.int32)[model.bank.pictures]
            models.append(replace(model, bank=replace(model.bank, pictures=numbers)))
        return cls(networks, models, describer)

    def score(
        self, pictures: Sequence[UInt8Array], roi: BoolArray | None = None, fold: int | None = None
    ) -> list[Scored]:
        """Score pictures of any size; see `Detector.score`."""
        import cv2

        models = self._models if fold is None else (self._models[fold],)
        working = [working_picture(picture) for picture in pictures]
        segmenters = sorted({model.segmenter for model in models})
        maps: dict[int, list[FloatArray]] = {}
        for index, logits, descriptors in self._eyes.look(working, segmenters):
            maps[index] = [model.fuse(logits[model.segmenter], descriptors) for model in models]
        scored = []
        for index, picture in enumerate(pictures):
            inside = covering_roi(roi, maps[index][0].shape)
            scores = np.array([image_score(m, inside) for m in maps[index]])
            mean = np.mean(maps[index], axis=0, dtype=np.float32)
            size = (picture.shape[1], picture.shape[0])
            enlarged = cv2.resize(mean, size, interpolation=cv2.INTER_LINEAR)
            scored.append(Scored(scores, np.asarray(enlarged, np.float32)))
        return scored

    def most_alike(self, picture: UInt8Array, box: Box) -> Alike:
        """Find the normal patch most like the oddest patch in a box of a picture, by the first model."""
        bank = self._models[0].bank
        ((_, _, descriptors),) = self._eyes.look([working_picture(picture)], ())
        height, width = descriptors.shape[:2]
        down, across = height / picture.shape[0], width / picture.shape[1]
        top, bottom = int(box[1] * down), max(int(box[1] * down) + 1, math.ceil(box[3] * down))
        left, right = int(box[0] * across), max(int(box[0] * across) + 1, math.ceil(box[2] * across))
        inside = descriptors[top:bottom, left:right].reshape(-1, descriptors.shape[2])
        row = bank.nearest(inside[int(bank.distances(inside).argmax())])
        x, y = bank.places[row].tolist()
        return Alike(int(bank.pictures[row]), (x, y))

    def save(self, file: Path) -> None:
        """Write the networks, banks and scales as safetensors."""
        import torch
        from safetensors.torch import save_file

        tensors: dict[str, torch.Tensor] = {}
        for j, network in enumerate(self._eyes.networks):
            for name, value in network.state_dict().items():
                half = value.half() if value.dtype.is_floating_point else value
                tensors[f"network.{j}.{name}"] = half.contiguous()
        for k, model in enumerate(self._models):
            arrays = {
                "segmenter": np.array(model.segmenter),
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
        settings = {"backbone": self._eyes.backbone.name if self._eyes.backbone else None}
        save_file(tensors, file, {"settings": json.dumps(settings)})

    @classmethod
    def load(cls, file: Path) -> Self:
        """Read what `save` wrote; the same scores come out."""
        from safetensors import safe_open

        from anomalist.vision.weights import network_of, part_of

        with safe_open(file, "pt") as opened:
            settings = json.loads(opened.metadata()["settings"])
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        networks: list[SurfaceNet] = []
        while any(name.startswith(f"network.{len(networks)}.") for name in tensors):
            networks.append(network_of(part_of(tensors, f"network.{len(networks)}.")))
        models: list[Model] = []
        while any(name.startswith(f"model.{len(models)}.") for name in tensors):
            arrays = {n: v.numpy() for n, v in part_of(tensors, f"model.{len(models)}.").items()}
            models.append(
                Model(
                    int(arrays["segmenter"].item()),
                    MemoryBank(arrays["vectors"], arrays["pictures"], arrays["places"]),
                    PositionScale(arrays["segment_mean"], arrays["segment_spread"]),
                    PositionScale(arrays["bank_mean"], arrays["bank_spread"]),
                )
            )
        backbone = settings["backbone"]
        return cls(networks, models, TransformersBackbone(backbone) if backbone else None)


def _networks(
    pictures: Sequence[UInt8Array],
    groups: npt.NDArray[np.int64],
    partition: Partition,
    steps: int,
    seed: int,
    progress: Progress,
) -> Iterator[SurfaceNet]:
    """The shipped network and, when there are steps, one adapted to each fold's learning pictures."""
    from anomalist.vision.weights import shipped_network

    network = shipped_network()
    yield network
    if steps == 0:
        return
    from anomalist.vision.adaptation import adapt

    share = steps // len(partition.folds)
    for k, (learning, _) in enumerate(partition.folds):

        def tick(done: int, total: int, k: int = k) -> None:
            progress("adapting", k * share + done, len(partition.folds) * share)

        chosen, own = [pictures[i] for i in learning], groups[list(learning)]
        yield adapt(network, chosen, own, share, seed + k, tick)
