"""What the surface detector has learned, as a safetensors file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from anomalist.vision.bank import MemoryBank
from anomalist.vision.eyes import Eyes
from anomalist.vision.features import TransformersBackbone
from anomalist.vision.fusion import Model, Remembered
from anomalist.vision.known import Cases
from anomalist.vision.layers import Fold
from anomalist.vision.scaling import PositionScale

if TYPE_CHECKING:
    from anomalist.vision.network import Head
    from anomalist.vision.surface import SurfaceDetector

State = tuple[Eyes, list["Head"], list[Fold], Cases | None]
"""The arguments of `SurfaceDetector`."""


def save(detector: SurfaceDetector, file: Path) -> None:
    """Write network, heads, folds and cases; weights in half precision, which is what they are rounded to."""
    import torch
    from safetensors.torch import save_file

    tensors: dict[str, torch.Tensor] = {}
    heads = [(f"head.{number}", head) for number, head in enumerate(detector.heads[1:], 1)]
    for prefix, module in (("network", detector.eyes.network), *heads):
        for name, value in module.state_dict().items():
            half = value.half() if value.dtype.is_floating_point else value
            tensors[f"{prefix}.{name}"] = half.contiguous()
    arrays: dict[str, npt.NDArray[Any]] = {}
    for k, fold in enumerate(detector.fitted):
        arrays |= {f"fold.{k}.whole.{name}": array for name, array in _arrays_of(fold.whole).items()}
        if fold.fine is not None:
            arrays |= {f"fold.{k}.fine.{name}": array for name, array in _arrays_of(fold.fine).items()}
    cases, backbone = detector.cases, detector.eyes.backbone
    settings: dict[str, Any] = {"backbone": backbone.name if backbone else None}
    if cases is not None:
        arrays["cases"] = cases.vectors
        settings["cases"] = {"ids": cases.ids, "kinds": cases.kinds, "limit": cases.limit}
    tensors |= {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
    save_file(tensors, file, {"settings": json.dumps(settings)})


def load(file: Path) -> State:
    """Read what `save` wrote."""
    from safetensors import safe_open

    from anomalist.vision.weights import head_of, network_of, part_of

    with safe_open(file, "pt") as opened:
        settings = json.loads(opened.metadata()["settings"])
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    network = network_of(part_of(tensors, "network."))
    heads = [network.head]
    while own := part_of(tensors, f"head.{len(heads)}."):
        heads.append(head_of(own))
    arrays = {n: v.numpy() for n, v in tensors.items() if n.startswith(("fold.", "cases"))}
    folds: list[Fold] = []
    while whole := part_of(arrays, f"fold.{len(folds)}.whole."):
        fine = part_of(arrays, f"fold.{len(folds)}.fine.")
        folds.append(Fold(_model_of(whole), _model_of(fine) if fine else None))
    cases = None
    if known := settings.get("cases"):
        cases = Cases(arrays["cases"], tuple(known["ids"]), tuple(known["kinds"]), known["limit"])
    backbone = settings["backbone"]
    return Eyes(network, TransformersBackbone(backbone) if backbone else None), heads, folds, cases


def _arrays_of(model: Model[Remembered]) -> dict[str, npt.NDArray[Any]]:
    normality = model.normality
    return {
        "head": np.array(model.head),
        "vectors": normality.bank.vectors,
        "pictures": normality.bank.pictures,
        "places": normality.bank.places,
        "numbers": np.array([normality.mean, normality.spread, model.level]),
        "logit_mean": model.logit_scale.mean,
        "logit_spread": model.logit_scale.spread,
        "sight_mean": model.sight_scale.mean,
        "sight_spread": model.sight_scale.spread,
        "bank_mean": model.bank_scale.mean,
        "bank_spread": model.bank_scale.spread,
        "broad_mean": model.broad_scale.mean,
        "broad_spread": model.broad_scale.spread,
    }


def _model_of(arrays: Mapping[str, npt.NDArray[Any]]) -> Model[Remembered]:
    mean, spread, level = arrays["numbers"].tolist()
    bank = MemoryBank(arrays["vectors"], arrays["pictures"], arrays["places"])
    return Model(
        int(arrays["head"].item()),
        Remembered(bank, mean, spread),
        PositionScale(arrays["logit_mean"], arrays["logit_spread"]),
        PositionScale(arrays["sight_mean"], arrays["sight_spread"]),
        PositionScale(arrays["bank_mean"], arrays["bank_spread"]),
        PositionScale(arrays["broad_mean"], arrays["broad_spread"]),
        level,
    )
