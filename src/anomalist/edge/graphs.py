"""ONNX graphs of the networks: SurfaceNet's trunk and heads, and DINOv2 with the tokens of several layers.

Built node by node from the weights, so that the graph is the same on every machine, and no exporter of torch
is needed. Batch norms and layer scales are folded into the weights before them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import onnx

OPSET, IR_VERSION = 20, 9
"""Versions of the operators and of the file that every onnxruntime since 1.17 reads."""

Shape = Sequence[str | int]
"""Of a value; a name stands for any length."""

Weights = Mapping[str, npt.NDArray[Any]]
"""Arrays of a network by their names in its state."""


class GraphBuilder:
    """Collects the nodes and weights of a graph; values are known by their names.

    Parameters
    ----------
    weights : float arrays by name, as in the state of the network.
    """

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self._nodes: list[onnx.NodeProto] = []
        self._stored: dict[str, onnx.TensorProto] = {}

    def store(self, array: npt.NDArray[Any]) -> str:
        """Add a constant, float32 or int64; returns its name."""
        from onnx import numpy_helper

        kind = np.int64 if array.dtype.kind == "i" else np.float32
        name = f"w{len(self._stored)}"
        self._stored[name] = numpy_helper.from_array(np.ascontiguousarray(array, kind), name)
        return name

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:  # noqa: ANN401
        """Add a node of one output; returns its name."""
        from onnx import helper

        name = f"v{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    def name_output(self, value: str, name: str) -> None:
        """Give a value the name of an output of the graph."""
        from onnx import helper

        self._nodes.append(helper.make_node("Identity", [value], [name]))

    def convolve(self, value: str, weight: npt.NDArray[Any], bias: npt.NDArray[Any], stride: int = 1) -> str:
        """Convolve: same size for odd kernels, or kernels that don't overlap for a stride."""
        side = weight.shape[2]
        pads = [0] * 4 if stride > 1 else [side // 2] * 4
        return self.add(
            "Conv", value, self.store(weight), self.store(bias), pads=pads, strides=[stride, stride]
        )

    def model(self, inputs: Mapping[str, Shape], outputs: Mapping[str, Shape]) -> onnx.ModelProto:
        """The checked model; its inputs and outputs are float32 of these shapes."""
        import onnx
        from onnx import TensorProto, helper

        declared = [
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in each.items()]
            for each in (inputs, outputs)
        ]
        weights = list(self._stored.values())
        graph = helper.make_graph(self._nodes, "anomalist", declared[0], declared[1], weights)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, producer_name="anomalist")
        model.ir_version = IR_VERSION
        onnx.checker.check_model(model)
        return model


def _block(graph: GraphBuilder, value: str, prefix: str) -> str:
    """Two convolutions, each with its batch norm folded in, and their rectifiers."""
    get = graph.weights
    for convolution, norm in ((0, 1), (3, 4)):
        scale = get[f"{prefix}.{norm}.weight"] / np.sqrt(get[f"{prefix}.{norm}.running_var"] + 1e-5)
        weight = get[f"{prefix}.{convolution}.weight"] * scale[:, None, None, None]
        bias = get[f"{prefix}.{norm}.bias"] - get[f"{prefix}.{norm}.running_mean"] * scale
        value = graph.add("Relu", graph.convolve(value, weight, bias))
    return value


def _upsample_and_concat(graph: GraphBuilder, finer: str, coarser: str) -> str:
    twice = graph.store(np.array([1, 1, 2, 2], np.float32))
    enlarged = graph.add(
        "Resize",
        coarser,
        "",
        twice,
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    return graph.add("Concat", finer, enlarged, axis=1)


def trunk_graph(weights: Weights) -> onnx.ModelProto:
    """SurfaceNet's trunk.

    From ``picture``, float32 (1, 3, H, W), standardised, to ``level0`` … ``level2``, the features for a head,
    and ``descriptors``, float32 (1, 64, H/8, W/8), unit vectors.
    """
    from anomalist.vision.features.surface_net import CHANNELS, DESCRIPTOR_SIZE

    graph = GraphBuilder(weights)
    stem = weights["stem.weight"]
    # Blocks of 2×2 pixels: ONNX counts places before channels, torch channels before places.
    stem = stem.reshape(len(stem), 3, 4, 3, 3).transpose(0, 2, 1, 3, 4).reshape(len(stem), 12, 3, 3)
    value = graph.convolve(graph.add("SpaceToDepth", "picture", blocksize=2), stem, weights["stem.bias"])
    encoded: list[str] = []
    for level in range(len(CHANNELS)):
        if level:
            value = graph.add("MaxPool", value, kernel_shape=[2, 2], strides=[2, 2])
        value = _block(graph, value, f"encoder.{level}")
        encoded.append(value)
    value = _context(graph, value)
    for level in (3, 2):
        joined = _upsample_and_concat(graph, encoded[level], value)
        value = _block(graph, joined, f"decoder.{level - 2}")
    described = graph.add("Concat", encoded[2], value, axis=1)
    for number in (0, 2):
        described = graph.add("Relu", described) if number else described
        weight, bias = (weights[f"describe.{number}.{part}"] for part in ("weight", "bias"))
        described = graph.convolve(described, weight, bias)
    length = graph.add("ReduceL2", described, graph.store(np.array([1])), keepdims=1)
    length = graph.add("Max", length, graph.store(np.array(1e-12, np.float32)))
    graph.name_output(graph.add("Div", described, length), "descriptors")
    for number, feature in enumerate((*encoded[:2], value)):
        graph.name_output(feature, f"level{number}")
    outputs = _level_shapes() | {"descriptors": (1, DESCRIPTOR_SIZE, "height2", "width2")}
    return graph.model({"picture": (1, 3, "height", "width")}, outputs)


def _level_shapes() -> dict[str, Shape]:
    from anomalist.vision.features.surface_net import CHANNELS

    return {
        f"level{number}": (1, CHANNELS[number], f"height{number}", f"width{number}") for number in range(3)
    }


def _context(graph: GraphBuilder, value: str) -> str:
    """Mean and standard deviation over the picture, mixed and added to every position."""
    axes = graph.store(np.array([2, 3]))
    mean = graph.add("ReduceMean", value, axes, keepdims=1)
    off = graph.add("Sub", value, mean)
    variance = graph.add("ReduceMean", graph.add("Mul", off, off), axes, keepdims=1)
    spread = graph.add("Sqrt", graph.add("Add", variance, graph.store(np.array(1e-6, np.float32))))
    together = graph.add("Concat", mean, spread, axis=1)
    weight = graph.weights["context.mix.weight"][:, :, None, None]
    mixed = graph.convolve(together, weight, graph.weights["context.mix.bias"])
    return graph.add("Relu", graph.add("Add", value, mixed))


def head_graph(weights: Weights) -> onnx.ModelProto:
    """A segmentation head.

    From ``level0`` … ``level2`` and ``novelty``, float32 (1, 4, H/8, W/8), to ``logits``, float32 (1, H, W).
    """
    from anomalist.vision.features.surface_net import NOVELTY_MAPS

    graph = GraphBuilder(weights)
    value = _block(graph, graph.add("Concat", "level2", "novelty", axis=1), "mix")
    for level in (1, 0):
        value = _block(graph, _upsample_and_concat(graph, f"level{level}", value), f"refine.{level}")
    value = graph.convolve(value, weights["logits.weight"], weights["logits.bias"])
    value = graph.add("DepthToSpace", value, blocksize=2, mode="CRD")
    graph.name_output(graph.add("Squeeze", value, graph.store(np.array([1]))), "logits")
    inputs = _level_shapes() | {"novelty": (1, NOVELTY_MAPS, "height2", "width2")}
    return graph.model(inputs, {"logits": (1, "height", "width")})


def token_graph(weights: Weights, heads: int, layers: Sequence[int], epsilon: float) -> onnx.ModelProto:
    """DINOv2 (Oquab et al. 2024) up to the last of the asked layers.

    From ``picture``, float32 (1, 3, H, W), standardised, and ``positions``, float32 (1, 1 + n, d), to
    ``layer0``, …: patch tokens after the final layer norm, float32 (1, n, d) each.

    Parameters
    ----------
    weights : by their published names.
    heads : of the attention.
    layers : numbers of layers from 1, in the order of the outputs.
    epsilon : of the layer norms.
    """
    graph = GraphBuilder(weights)
    width = weights["layernorm.weight"].shape[0]
    patches = weights["embeddings.patch_embeddings.projection.weight"]
    value = graph.convolve(
        "picture", patches, weights["embeddings.patch_embeddings.projection.bias"], patches.shape[2]
    )
    value = graph.add("Reshape", value, graph.store(np.array([1, width, -1])))
    value = graph.add("Transpose", value, perm=[0, 2, 1])
    value = graph.add("Concat", graph.store(weights["embeddings.cls_token"]), value, axis=1)
    value = graph.add("Add", value, "positions")
    bounds = [graph.store(np.array([number])) for number in (1, np.iinfo(np.int64).max, 1)]
    for number in range(1, max(layers) + 1):
        value = _transformer_layer(graph, value, f"encoder.layer.{number - 1}", heads, epsilon)
        asked = [place for place, layer in enumerate(layers) if layer == number]
        if asked:
            normed = _layer_norm(graph, value, "layernorm", epsilon)
        for place in asked:  # a shallow network is asked for one layer twice
            graph.name_output(graph.add("Slice", normed, *bounds), f"layer{place}")
    outputs = {f"layer{number}": (1, "patches", width) for number in range(len(layers))}
    inputs = {"picture": (1, 3, "height", "width"), "positions": (1, "tokens", width)}
    return graph.model(inputs, outputs)


def _layer_norm(graph: GraphBuilder, value: str, prefix: str, epsilon: float) -> str:
    weight, bias = (graph.store(graph.weights[f"{prefix}.{part}"]) for part in ("weight", "bias"))
    return graph.add("LayerNormalization", value, weight, bias, axis=-1, epsilon=epsilon)


def _linear(graph: GraphBuilder, value: str, prefix: str, scale: float | npt.NDArray[Any] = 1.0) -> str:
    """A linear layer whose output is multiplied by a scale."""
    weight, bias = (graph.weights[f"{prefix}.{part}"] for part in ("weight", "bias"))
    product = graph.add("MatMul", value, graph.store(weight.T * scale))
    return graph.add("Add", product, graph.store(bias * scale))


def _transformer_layer(graph: GraphBuilder, value: str, prefix: str, heads: int, epsilon: float) -> str:
    width = graph.weights["layernorm.weight"].shape[0]
    size = width // heads
    split, whole = (graph.store(np.array(shape)) for shape in ([0, 0, heads, size], [0, 0, width]))
    normed = _layer_norm(graph, value, f"{prefix}.norm1", epsilon)
    parts = []
    for name, order in (("query", [0, 2, 1, 3]), ("key", [0, 2, 3, 1]), ("value", [0, 2, 1, 3])):
        scale = 1 / math.sqrt(size) if name == "query" else 1.0
        projected = _linear(graph, normed, f"{prefix}.attention.attention.{name}", scale)
        parts.append(graph.add("Transpose", graph.add("Reshape", projected, split), perm=order))
    query, key, values = parts
    shares = graph.add("Softmax", graph.add("MatMul", query, key), axis=-1)
    seen = graph.add("Transpose", graph.add("MatMul", shares, values), perm=[0, 2, 1, 3])
    seen = graph.add("Reshape", seen, whole)
    scales = [graph.weights[f"{prefix}.layer_scale{number}.lambda1"] for number in (1, 2)]
    value = graph.add("Add", value, _linear(graph, seen, f"{prefix}.attention.output.dense", scales[0]))
    normed = _layer_norm(graph, value, f"{prefix}.norm2", epsilon)
    hidden = graph.add("Gelu", _linear(graph, normed, f"{prefix}.mlp.fc1"))
    return graph.add("Add", value, _linear(graph, hidden, f"{prefix}.mlp.fc2", scales[1]))
