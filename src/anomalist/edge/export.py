"""Export of a profile for the edge: networks as ONNX, one JSON, arrays, and a runner of one file.

What decides the label and the score of a picture is exported; what can't be is refused before anything is
written. What only adds words is left out, and the JSON says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from anomalist.agent.reasoning.policy import Policy
from anomalist.edge.runner.running import FORMAT, MANIFEST
from anomalist.errors import DetectorError, ProfileError
from anomalist.storage.artifacts import ArtifactKind, ArtifactManifest
from anomalist.storage.files import utc_now
from anomalist.types.image import TIE_TOLERANCE
from anomalist.vision.calibration import groups_needed
from anomalist.vision.evidence import validated_rate
from anomalist.vision.profile import MixedProfile, Profile, load_any_profile

if TYPE_CHECKING:
    import onnx

    from anomalist.vision.detectors.ensemble import EnsembleDetector

Arrays = dict[str, npt.NDArray[Any]]

_RUNNER, _ARRAYS, _TRUNK, _TOKENS = "run.py", "arrays.npz", "trunk.onnx", "tokens.onnx"
_HEADS = tuple(f"head{number}.onnx" for number in range(8))
_NOT_NEEDED = ("pictures", "places")  # of a memory: where its patches come from

LEFT_OUT = (
    "regions, masks, severity and kinds: the runner gives the label, the score and the highest place",
    "rules, past cases and language models, which add words and never change the label of the score",
    "the test of a whole run for drift",
    "colour of 16 bit where the profile was learned with its values: the runner refuses such a picture",
)
"""What an export does without."""


class EdgeManifest(ArtifactManifest):
    """``edge.json``: everything that the runner needs but arrays and networks."""

    profile: str = Field(description="digest of the profile, hex SHA-256")
    precision: str = Field(
        "float32", description="that the networks run in; the package takes bfloat16 where that is fast"
    )
    detector: dict[str, Any]
    calibration: dict[str, Any]
    policy: dict[str, Any]
    inputs: dict[str, Any] | None = Field(description="settings of the model of whole pictures")
    scale: tuple[float, float] | None = Field(description="of values of more than 8 bit")
    left_out: tuple[str, ...] = LEFT_OUT
    files: dict[str, str] = Field(description="file name to hex SHA-256")


EDGE_KIND = ArtifactKind(
    noun="export",
    manifest_file=MANIFEST,
    manifest=EdgeManifest,
    format=FORMAT,
    required=(_RUNNER, _ARRAYS),
    optional=(_TRUNK, _TOKENS, *_HEADS, "__pycache__"),
    hashes_of=lambda manifest: manifest.files,
    how_to_learn="Write one: anomalist export --profile NAME",
    others={"profile.json": "a profile", "scene.json": "a scene of a camera"},
)


@dataclass(frozen=True, eq=False)
class ExportParts:
    """What is written: networks by file name, arrays of the detector, and its settings."""

    networks: Mapping[str, onnx.ModelProto]
    arrays: Arrays
    settings: Mapping[str, Any]


def export_profile(
    name: str | Path,
    output: Path,
    *,
    policy: Policy,
    false_alarm_rate: float | None = None,
    force: bool = False,
) -> EdgeManifest:
    """Write a profile for the edge, whole or not at all.

    Parameters
    ----------
    name : of the profile, or its folder.
    output : folder to write; with ``force`` an export that is there is replaced.
    policy : whose limits decide what is too close to call.
    false_alarm_rate : to decide at; None for the default of `validated_rate`.

    Raises
    ------
    ProfileError : there is no such profile, it is of several products, or something is in the way.
    DetectorError : its detector or backbone can't be exported.
    CalibrationError : as `validated_rate` does.
    """
    from anomalist.edge.single_file import runner_source

    EDGE_KIND.refuse_overwriting(output, force=force)
    profile = load_any_profile(name)
    if isinstance(profile, MixedProfile):
        raise ProfileError(
            f"{profile.name} is of several products, which the runner can't tell apart.",
            f"Export the profile of one: anomalist export --profile {profile.products[0].path}",
        )
    rate = validated_rate(profile, false_alarm_rate)
    parts = _parts_of(profile)
    arrays = {f"detector.{part}": array for part, array in parts.arrays.items()}
    inputs = _add_inputs(profile, arrays)
    if profile.roi is not None:
        arrays["roi"] = profile.roi

    def write_files(folder: Path) -> None:
        import onnx

        for file, model in parts.networks.items():
            onnx.save(model, str(folder / file))
        np.savez(folder / _ARRAYS, allow_pickle=False, **arrays)
        (folder / _RUNNER).write_text(runner_source(), encoding="utf-8")

    scale = profile.manifest.scale
    fields = {
        "format": EDGE_KIND.format,
        "name": profile.name,
        "created": utc_now(),
        "profile": profile.digest,
        "detector": parts.settings,
        "calibration": _calibration_of(profile, rate),
        "policy": {"digest": policy.digest, "max_instability": policy.max_instability},
        "inputs": inputs,
        "scale": None if scale is None else (scale.start, scale.stop),
    }
    return EDGE_KIND.save(
        output,
        write_files,
        lambda hashes: EdgeManifest.model_validate(fields | {"files": hashes}),
        force=force,
    )


def _calibration_of(profile: Profile, rate: float) -> dict[str, Any]:
    calibration = profile.calibration
    return {
        "method": calibration.method,
        "false_alarm_rate": rate,
        "reachable": calibration.n_groups >= groups_needed(rate),
        "tie_tolerance": TIE_TOLERANCE,
        "seed": calibration.seed,
        "scores": calibration.scores.tolist(),
        "folds": calibration.folds.tolist(),
        "groups": calibration.groups.tolist(),
    }


def _add_inputs(profile: Profile, arrays: Arrays) -> dict[str, Any] | None:
    """Add the arrays of the model of whole pictures; its settings, or None where there is none."""
    if profile.inputs is None:
        return None
    needed, settings = input_arrays(profile.path / "inputs.safetensors")
    arrays.update({f"inputs.{name}": array for name, array in needed.items()})
    return settings


def input_arrays(file: Path) -> tuple[Arrays, dict[str, Any]]:
    """What the runner needs of the model of whole pictures, from its file: arrays and settings."""
    stored, settings = read_arrays(file)
    # The mean and the deviation say of a region whether something is missing there. The typical normal
    # belongs to them, and fills what a moved picture does not show.
    left_out = {"mean", "deviation"} if "mean" in stored else {"typical"}
    return {name: array for name, array in stored.items() if name not in left_out}, settings


def read_arrays(file: Path) -> tuple[Arrays, dict[str, Any]]:
    """Arrays and settings of a safetensors file of a profile; raises OSError and what safetensors does."""
    from safetensors import safe_open

    with safe_open(file, "numpy") as opened:
        settings = json.loads(opened.metadata()["settings"])
        return {name: opened.get_tensor(name) for name in opened.keys()}, settings  # noqa: SIM118


def _parts_of(profile: Profile) -> ExportParts:
    """Networks, arrays and settings of the detector; DetectorError when it can't be exported."""
    name = profile.manifest.detector
    if name not in ("ensemble", "surface"):
        raise DetectorError(
            f"The detector {name} can't be exported.",
            "Only the ensemble and the surface detector can; learn with one of them.",
        )
    stored, settings = read_arrays(profile.path / "detector.safetensors")
    if name == "surface":
        return _surface_parts(stored, settings)
    from anomalist.vision.detectors.ensemble import EnsembleDetector

    assert isinstance(profile.detector, EnsembleDetector)
    return _ensemble_parts(profile.detector, stored, settings)


def _under(arrays: Arrays, prefix: str) -> Arrays:
    from anomalist.vision.features.extractor import with_prefix

    return with_prefix(arrays, prefix)


def _surface_networks(stored: Arrays) -> dict[str, onnx.ModelProto]:
    """Trunk and heads; their weights are stored in half precision, and run in float32."""
    from anomalist.edge.graphs import head_graph, trunk_graph

    network = _in_float32(_under(stored, "network."))
    networks = {_TRUNK: trunk_graph(network), _HEADS[0]: head_graph(_under(network, "head."))}
    number = 1
    while own := _under(stored, f"head.{number}."):
        networks[_HEADS[number]] = head_graph(_in_float32(own))
        number += 1
    return networks


def _in_float32(arrays: Arrays) -> Arrays:
    return {name: np.asarray(array, np.float32) for name, array in arrays.items()}


def _surface_parts(stored: Arrays, settings: Mapping[str, Any]) -> ExportParts:
    if settings["backbone"]:
        raise DetectorError(
            f"The surface detector with the backbone {settings['backbone']} can't be exported.",
            "Learn without --backbone.",
        )
    folds = {name.split(".")[1] for name in stored if name.startswith("fold.")}
    networks = _surface_networks(stored)
    heads = [name for name in networks if name != _TRUNK]
    return ExportParts(
        networks,
        {name: array for name, array in stored.items() if name.startswith("fold.") and _is_needed(name)},
        {"name": "surface", "folds": len(folds), "heads": heads},
    )


def _is_needed(name: str) -> bool:
    return name.rpartition(".")[2] not in _NOT_NEEDED


def _ensemble_parts(detector: EnsembleDetector, stored: Arrays, settings: Mapping[str, Any]) -> ExportParts:
    models = {"whole": detector.whole} | ({"fine": detector.fine} if detector.fine is not None else {})
    arrays = {
        name: array for name, array in stored.items() if name.split(".")[0] in models and _is_needed(name)
    }
    for part, model in models.items():
        arrays[f"{part}.gaussian_mean"], arrays[f"{part}.whitening"] = model.memory.gaussian
    tokens, token_settings = _token_network(detector, arrays)
    networks = {_TOKENS: tokens}
    if any(model.surface is not None for model in models.values()):
        networks |= _surface_networks(stored)
    return ExportParts(
        networks,
        arrays,
        {
            "name": "ensemble",
            "side": settings["side"],
            "strips": settings.get("strips", False),
            "tiles_in_roi": settings.get("tiles_in_roi", False),
            "weights": settings["weights"],
            "map_weights": detector.map_weights,
            "models": settings["models"],
            "heads": [name for name in networks if name in _HEADS],
            "tokens": token_settings,
        },
    )


def _token_network(detector: EnsembleDetector, arrays: Arrays) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """DINOv2 as a graph, and its settings; the embeddings of positions become arrays."""
    from safetensors.numpy import load_file

    from anomalist.edge.graphs import token_graph
    from anomalist.vision.detectors.token_memory import LAYERS
    from anomalist.vision.features.backbones import pixel_statistics
    from anomalist.vision.features.dinov2 import find_backbone, find_dinov2

    asked, backbone = detector.experts.asked, detector.experts.backbone  # opened, and checked by its hash
    location = find_dinov2() if asked is None else find_backbone(asked)
    assert location is not None  # or it could not have been opened
    config = json.loads((location.folder / "config.json").read_text(encoding="utf-8"))
    file = location.folder / "model.safetensors"
    plain = config.get("hidden_act", "gelu") == "gelu" and not config.get("use_swiglu_ffn")
    if config.get("model_type") != "dinov2" or not plain or not file.is_file():
        raise DetectorError(
            f"The ensemble with the backbone {backbone.name} can't be exported.",
            "Only DINOv2 of the small, base and large sizes can; learn without --backbone.",
        )
    weights = _in_float32(load_file(file))
    width = weights["layernorm.weight"].shape[0]
    positions = weights["embeddings.position_embeddings"][0]
    side = round((len(positions) - 1) ** 0.5)
    arrays["class_position"] = positions[0]
    arrays["positions"] = positions[1:].reshape(side, side, width)
    layers = [round(depth * backbone.depth) for depth in LAYERS]
    model = token_graph(
        weights, config["num_attention_heads"], layers, float(config.get("layer_norm_eps", 1e-6))
    )
    mean, std = (value.flatten().tolist() for value in pixel_statistics(str(location.folder)))
    return model, {"patch": backbone.patch_size, "mean": mean, "std": std}
