"""Graphs of the networks: onnxruntime gives what torch gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from anomalist.edge.graphs import head_graph, token_graph, trunk_graph
from anomalist.edge.runner.networks import TokenNetwork
from anomalist.vision.detectors.token_memory import LAYERS, token_grids
from anomalist.vision.features.dinov2 import VisionTransformer, find_dinov2
from anomalist.vision.features.extractor import shipped_network
from anomalist.vision.features.surface_net import NOVELTY_MAPS
from tests.pictures import holed

RNG = np.random.default_rng(0)


def weights_of(module: torch.nn.Module) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in module.state_dict().items()}


def run(model: Any, **inputs: np.ndarray) -> list[np.ndarray]:
    found: list[np.ndarray] = onnxruntime.InferenceSession(model.SerializeToString()).run(None, inputs)
    return found


def test_surfacenet() -> None:
    network = shipped_network()
    picture = RNG.normal(size=(1, 3, 96, 128)).astype(np.float32)
    novelty = RNG.normal(size=(1, NOVELTY_MAPS, 12, 16)).astype(np.float32)
    with torch.inference_mode():
        trunk = network.forward_features(torch.from_numpy(picture))
        logits = network.head(trunk.features, torch.from_numpy(novelty)).numpy()
    *levels, descriptors = run(trunk_graph(weights_of(network)), picture=picture)
    assert np.allclose(descriptors, trunk.descriptors.numpy(), atol=1e-5)
    for own, theirs in zip(levels, trunk.features, strict=True):
        assert np.allclose(own, theirs.numpy(), atol=1e-4)
    given = {f"level{number}": level for number, level in enumerate(levels)}
    (found,) = run(head_graph(weights_of(network.head)), novelty=novelty, **given)
    assert np.allclose(found, logits, atol=1e-4)


def test_dinov2_with_other_grids_than_it_was_trained_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnx
    from safetensors.numpy import load_file

    monkeypatch.setattr("anomalist.vision.features.dinov2.uses_bfloat16", lambda device: False)
    location = find_dinov2()
    assert location is not None
    backbone = VisionTransformer.open(location, "cpu")
    weights = load_file(location.folder / "model.safetensors")
    config = json.loads((location.folder / "config.json").read_text())
    layers = [round(depth * backbone.depth) for depth in LAYERS]
    onnx.save(token_graph(weights, config["num_attention_heads"], layers, 1e-6), str(tmp_path / "t.onnx"))
    positions = weights["embeddings.position_embeddings"][0]
    settings = {"patch": 14, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    across = round((len(positions) - 1) ** 0.5)
    grid = positions[1:].reshape(across, across, -1)
    network = TokenNetwork(tmp_path / "t.onnx", grid, positions[0], settings)
    picture = holed(3, 196)[:140]  # enlarged by nothing: 10 by 14 patches
    side = round((140 * 196) ** 0.5)
    assert np.allclose(network.tokens(picture, side), token_grids(backbone, [picture], side)[0], atol=1e-4)
