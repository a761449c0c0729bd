"""Reading and writing the model of whole pictures, as safetensors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from anomalist.vision.shift.comparison import MeanPicture
from anomalist.vision.shift.model import InputModel
from anomalist.vision.shift.registration import Grain, Template
from anomalist.vision.shift.statistics import UsualLight


def save_input_model(model: InputModel, file: Path) -> None:
    """Write a model; raises OSError."""
    from safetensors.numpy import save_file

    arrays = {
        "quantiles": model.usual.quantiles,
        "blocks": model.usual.blocks,
        "spreads": model.usual.spreads,
        "normals": model.normals,
        "low": model.low,
        "high": model.high,
        "poses": model.poses,
    }
    if model.template is not None:
        arrays["template"] = model.template.structure
    if model.picture is not None:
        arrays |= {"mean": model.picture.mean, "deviation": model.picture.deviation}
        if model.picture.typical is not None:
            arrays["typical"] = model.picture.typical
    if model.grain is not None:
        arrays["grain"] = model.grain.spectrum
    settings = {
        "size": model.size,
        "expected": model.expected,
        "found": model.found,
        "quality": model.quality,
        "corrections": dict(model.corrections),
        "typical": model.typical,
    }
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    save_file(contiguous, file, {"settings": json.dumps(settings)})


def load_input_model(file: Path) -> InputModel:
    """Read what `save_input_model` wrote; raises OSError, SafetensorError, KeyError and ValueError."""
    from safetensors import safe_open

    with safe_open(file, "numpy") as opened:
        settings = json.loads(opened.metadata()["settings"])
        arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    size, typical = settings["size"], settings["typical"]
    return InputModel(
        size=(size[0], size[1]) if size else None,
        usual=UsualLight(arrays["quantiles"], arrays["blocks"], arrays["spreads"]),
        normals=arrays["normals"],
        low=arrays["low"],
        high=arrays["high"],
        template=Template(arrays["template"]) if "template" in arrays else None,
        grain=Grain(arrays["grain"]) if "grain" in arrays else None,
        poses=arrays["poses"],
        expected=settings["expected"],
        found=settings["found"],
        quality=settings["quality"],
        corrections=settings["corrections"],
        picture=MeanPicture(arrays["mean"], arrays["deviation"], arrays.get("typical"))
        if "mean" in arrays
        else None,
        typical=(typical[0], typical[1]) if typical else None,
    )
