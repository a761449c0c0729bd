"""The surface detector: learned once or cross-fitted, stored as safetensors; a fold is a `fusion.Model`."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from anomalist.errors import DetectorError
from anomalist.types import BoolArray, Box, UInt8Array
from anomalist.vision.bank import MemoryBank
from anomalist.vision.calibration import Partition
from anomalist.vision.detectors import Alike, Progress, Scored
from anomalist.vision.eyes import Eyes
from anomalist.vision.features import TransformersBackbone, working_picture
from anomalist.vision.fusion import Model, Remembered, fit_model, image_score, remember
from anomalist.vision.roi import covering_roi
from anomalist.vision.scaling import PositionScale

if TYPE_CHECKING:
    import torch

    from anomalist.vision.network import Head

EFFORTS = {"fast": 0, "normal": 240, "thorough": 1200}
"""Training steps at most, shared by all folds; 0 takes the shipped network as it is."""


class SurfaceDetector:
    """Finds what does not belong on a surface that it has seen normal pictures of."""

    name = "surface"

    def __init__(self, eyes: Eyes, heads: Sequence[Head], models: Sequence[Model[Remembered]]) -> None:
        self._eyes = eyes
        self._heads = tuple(heads)
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

        Each fold's head, bank and scales see only that fold's learning pictures.
        """
        from anomalist.vision.weights import shipped_network

        if effort not in EFFORTS:
            raise DetectorError(f"effort {effort!r} is unknown.", f"Known: {', '.join(EFFORTS)}.")
        network = shipped_network()
        eyes = Eyes(network, TransformersBackbone(backbone) if backbone else None)
        heads, models = [network.head], []
        share = EFFORTS[effort] // len(partition.folds)
        for k, (learning, _) in enumerate(partition.folds):
            chosen, own = [pictures[i] for i in learning], groups[list(learning)]
            normality = remember(eyes, chosen, own, roi, seed, _part(progress, "remembering", k, partition))
            if share:
                from anomalist.vision.adaptation import Teacher, adapt

                tick = _part(progress, "adapting", k, partition)
                heads.append(
                    adapt(eyes, network.head, normality, Teacher(chosen), own, share, seed + k, tick)
                )
            model = fit_model(eyes, heads, len(heads) - 1, normality, chosen, own, seed)
            bank = normality.bank
            bank = replace(bank, pictures=np.array(learning, np.int32)[bank.pictures])
            models.append(replace(model, normality=replace(normality, bank=bank)))
        return cls(eyes, heads, models)

    def score(
        self, pictures: Sequence[UInt8Array], roi: BoolArray | None = None, fold: int | None = None
    ) -> list[Scored]:
        """Score pictures of any size; see `Detector.score`."""
        import cv2

        models = self._models if fold is None else (self._models[fold],)
        working = [working_picture(picture) for picture in pictures]
        scored: dict[int, Scored] = {}
        for look in self._eyes.look(working):
            for index, *maps in zip(look.indices, *(m.maps(look, self._heads) for m in models), strict=True):
                inside = covering_roi(roi, maps[0].shape)
                scores = np.array([image_score(m, inside) for m in maps])
                mean = np.mean(maps, axis=0, dtype=np.float32)
                size = (pictures[index].shape[1], pictures[index].shape[0])
                enlarged = cv2.resize(mean, size, interpolation=cv2.INTER_LINEAR)
                scored[index] = Scored(scores, np.asarray(enlarged, np.float32))
        return [scored[index] for index in range(len(pictures))]

    def most_alike(self, picture: UInt8Array, box: Box) -> Alike:
        """Find the normal patch most like the oddest patch in a box of a picture, by the first model."""
        bank = self._models[0].normality.bank
        (look,) = self._eyes.look([working_picture(picture)])
        descriptors = look.descriptors[0]
        height, width = descriptors.shape[:2]
        down, across = height / picture.shape[0], width / picture.shape[1]
        top, bottom = int(box[1] * down), max(int(box[1] * down) + 1, math.ceil(box[3] * down))
        left, right = int(box[0] * across), max(int(box[0] * across) + 1, math.ceil(box[2] * across))
        inside = descriptors[top:bottom, left:right].reshape(-1, descriptors.shape[2])
        row = bank.nearest(inside[int(bank.distances(inside).argmax())])
        x, y = bank.places[row].tolist()
        return Alike(int(bank.pictures[row]), (x, y))

    def save(self, file: Path) -> None:
        """Write the network, heads, banks and scales as safetensors."""
        import torch
        from safetensors.torch import save_file

        tensors: dict[str, torch.Tensor] = {}
        for prefix, module in (("network", self._eyes.network), *_numbered(self._heads[1:])):
            for name, value in module.state_dict().items():
                half = value.half() if value.dtype.is_floating_point else value
                tensors[f"{prefix}.{name}"] = half.contiguous()
        for k, model in enumerate(self._models):
            bank = model.normality.bank
            arrays = {
                "head": np.array(model.head),
                "vectors": bank.vectors,
                "pictures": bank.pictures,
                "places": bank.places,
                "usual": np.array([model.normality.mean, model.normality.spread]),
                "logit_mean": model.logit_scale.mean,
                "logit_spread": model.logit_scale.spread,
                "bank_mean": model.bank_scale.mean,
                "bank_spread": model.bank_scale.spread,
            }
            tensors |= {
                f"model.{k}.{n}": torch.from_numpy(np.ascontiguousarray(a)) for n, a in arrays.items()
            }
        backbone = self._eyes.backbone
        settings = {"backbone": backbone.name if backbone else None}
        save_file(tensors, file, {"settings": json.dumps(settings)})

    @classmethod
    def load(cls, file: Path) -> Self:
        """Read what `save` wrote; the same scores come out."""
        from safetensors import safe_open

        from anomalist.vision.weights import head_of, network_of, part_of

        with safe_open(file, "pt") as opened:
            settings = json.loads(opened.metadata()["settings"])
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        network = network_of(part_of(tensors, "network."))
        heads = [network.head]
        while own := part_of(tensors, f"head.{len(heads)}."):
            heads.append(head_of(own))
        models: list[Model[Remembered]] = []
        while own := part_of(tensors, f"model.{len(models)}."):
            models.append(_model_of({name: value.numpy() for name, value in own.items()}))
        backbone = settings["backbone"]
        return cls(Eyes(network, TransformersBackbone(backbone) if backbone else None), heads, models)


def _part(progress: Progress, what: str, k: int, partition: Partition) -> Callable[[int, int], None]:
    """Progress of fold ``k`` as a part of that of all folds."""
    folds = len(partition.folds)
    return lambda done, total: progress(what, k * total + done, total * folds)


def _numbered(heads: Sequence[Head]) -> Iterator[tuple[str, Head]]:
    yield from ((f"head.{number}", head) for number, head in enumerate(heads, 1))


def _model_of(arrays: Mapping[str, npt.NDArray[Any]]) -> Model[Remembered]:
    mean, spread = arrays["usual"].tolist()
    bank = MemoryBank(arrays["vectors"], arrays["pictures"], arrays["places"])
    return Model(
        int(arrays["head"].item()),
        Remembered(bank, mean, spread),
        PositionScale(arrays["logit_mean"], arrays["logit_spread"]),
        PositionScale(arrays["bank_mean"], arrays["bank_spread"]),
    )
