"""Backbones: patch descriptors from a vision model of transformers or a plug-in; working size and device.

Feature maps where the architecture has them (DINOv2, ConvNeXt, ResNet, Swin, …), patch tokens of the
vision tower where not (CLIP, SigLIP). Nothing is downloaded: a name must be in the local Hugging Face
cache.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from anomalist.errors import DetectorError, MediaError
from anomalist.plugins import load_plugin, names_plugin
from anomalist.settings import Settings
from anomalist.types.common import FloatArray, UInt8Array

if TYPE_CHECKING:
    import torch


MAX_WORKING_PIXELS = 384 * 384
"""Pictures with more pixels are reduced before the network runs."""
MIN_WORKING_PIXELS = 192 * 192
"""Pictures with fewer pixels are enlarged, at most twofold."""
MIN_SIDE = 16
"""Side in pixels below which pictures are refused."""
_MAX_SIDE = 2304  # of the working size, pixels, however narrow the picture is
_BACKBONE_SIDE = 256  # of a backbone's input, pixels, rounded down to whole patches
_UNIT_TOLERANCE = 1e-3


def to_working_size(pixels: UInt8Array) -> UInt8Array:
    """Resize a picture to working size: sides in multiples of 32, aspect ratio kept up to rounding.

    Takes and returns uint8 (H, W, 3). Raises MediaError when a side is under ``MIN_SIDE`` pixels.
    """
    import cv2

    check_min_size(pixels)
    height, width = pixels.shape[:2]
    target = _working_size(width, height)
    if target == (width, height):
        return pixels
    shrinking = target[0] * target[1] < width * height
    method = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, target, interpolation=method), np.uint8)


def check_min_size(pixels: UInt8Array) -> None:
    """Raise MediaError when a side of a picture, uint8 (H, W, 3), is under ``MIN_SIDE`` pixels."""
    height, width = pixels.shape[:2]
    if min(height, width) < MIN_SIDE:
        raise MediaError(
            f"The picture is {width}×{height} pixels.",
            f"At least {MIN_SIDE} on each side are needed to judge a surface.",
        )


def _working_size(width: int, height: int) -> tuple[int, int]:
    from anomalist.vision.features.surface_net import SIZE_MULTIPLE

    area = width * height
    if area > MAX_WORKING_PIXELS:
        scale = math.sqrt(MAX_WORKING_PIXELS / area)
    else:
        scale = min(2.0, max(1.0, math.sqrt(MIN_WORKING_PIXELS / area)))

    def fitted(side: int) -> int:
        return min(_MAX_SIDE, max(SIZE_MULTIPLE, round(side * scale / SIZE_MULTIPLE) * SIZE_MULTIPLE))

    return fitted(width), fitted(height)


def as_tensor(pictures: Sequence[UInt8Array]) -> torch.Tensor:
    """Stack pictures of one size: float32 (B, 3, H, W) in [0, 1], channels last in memory."""
    import torch

    stacked = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    return (stacked.float() / 255).contiguous(memory_format=torch.channels_last)


def resolve_device(asked: str | None = None) -> torch.device:
    """The device that networks run on: ``cpu``, ``cuda``, ``mps``, or ``auto``, the first of the others.

    None asks for the setting ``ANOMALIST_DEVICE``. Raises DetectorError for one that is unknown or not there.
    """
    import torch

    name = (asked or Settings().device).strip().lower()
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device, available in there.items() if available)
    if name not in there:
        raise DetectorError(f"The device {name} is unknown.", "Known: auto, cpu, cuda, mps.")
    if not there[name]:
        raise DetectorError(
            f"The device {name} is not there, or this build of torch has no support for it.",
            "Use --device auto (or ANOMALIST_DEVICE=auto), or install the torch that is built for it.",
        )
    return torch.device(name)


def uses_bfloat16(device: torch.device) -> bool:
    """Whether networks run in bfloat16 on a device, because it multiplies that in hardware."""
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and has_fast_bfloat16()


def has_fast_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 in hardware (AMX or AVX-512), where it is about 3× faster.

    Weights trained with and without it differ slightly.
    """
    import torch

    able = torch.cpu.get_capabilities()
    return bool(able.get("amx_bf16", False) or able.get("avx512_bf16", False))


class Backbone(Protocol):
    """Feature extractor of patches, for memory banks.

    A plug-in of the group ``anomalist.features`` is a class, or any function, that gives one of these when it
    is called without arguments.
    """

    def describe(self, pictures: Sequence[UInt8Array]) -> FloatArray:
        """Describe the patches of B pictures of one size: float32 (B, h, w, d), unit vectors.

        Pictures are uint8 RGB (H, W, 3), reduced to about 384×384 pixels where they were larger. The grid
        covers the picture evenly, rows going down; h and w may depend on H and W, d is always the same.
        """
        ...


def open_backbone(name: str, *, stored_in: str | None = None) -> TransformersBackbone | PluginBackbone:
    """Open a backbone: a plug-in by name or ``module:factory``, else a transformers model by name or folder.

    ``stored_in`` is as for `load_plugin`. Raises DetectorError when it is missing or can't be loaded.
    """
    if names_plugin("anomalist.features", name):
        return PluginBackbone(name, load_plugin("anomalist.features", name, stored_in=stored_in))
    try:
        return TransformersBackbone(name)
    except DetectorError as error:
        if stored_in is None or "/" in name:  # no name of a plug-in
            raise
        why = f"{error.message.rstrip('.')}, and no plug-in of {stored_in} is installed under this name."
        raise DetectorError(why, f"Install the package that offers it. {error.remedy}") from error


@dataclass(frozen=True)
class PluginBackbone:
    """A backbone of another package, by the name under which it is found again; its output is checked."""

    name: str
    plugin: Backbone

    def describe(self, pictures: Sequence[UInt8Array]) -> FloatArray:
        """Describe the patches of pictures, uint8 (H, W, 3): float32 (B, h, w, d), unit vectors.

        Raises DetectorError when the plug-in gives anything else.
        """
        found = self.plugin.describe(pictures)
        wanted = f"float32 (B, h, w, d) = ({len(pictures)}, h, w, d)"
        if not isinstance(found, np.ndarray):
            raise DetectorError(f"{self.name} must give {wanted}, got {type(found).__name__}.")
        if found.dtype != np.float32 or found.ndim != 4 or len(found) != len(pictures) or not found.size:
            raise DetectorError(f"{self.name} must give {wanted}, got {found.dtype} {found.shape}.")
        lengths = np.linalg.norm(found, axis=3)
        if not np.all(np.abs(lengths - 1) < _UNIT_TOLERANCE):  # NaN fails, too
            raise DetectorError(
                f"{self.name} must give unit vectors, got lengths {lengths.min():g} to {lengths.max():g}."
            )
        return found


class TransformersBackbone:
    """A pretrained vision backbone by Hugging Face name or local folder; needs no torchvision.

    Uses AutoBackbone feature maps where the architecture has them (DINOv2, ConvNeXt, ResNet, Swin, …) and the
    patch tokens of the vision tower where not (CLIP, SigLIP). Pictures are brought to about 256×256. Never
    downloads: a name must be in the local Hugging Face cache.

    Raises
    ------
    DetectorError : it is missing, damaged, or no vision model.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._device = resolve_device()
        self._model = _load_model(name).to(self._device)
        self._mean, self._std = pixel_statistics(name)
        self._patch = int(getattr(self._model.config, "patch_size", None) or 32)

    def describe(self, pictures: Sequence[UInt8Array]) -> FloatArray:
        """Patch descriptors of pictures, uint8 (H, W, 3) each: float32 (B, h, w, d), unit vectors."""
        import cv2
        import torch
        import torch.nn.functional as F  # noqa: N812

        side = _BACKBONE_SIDE // self._patch * self._patch
        resized = [np.asarray(cv2.resize(p, (side, side), interpolation=cv2.INTER_AREA)) for p in pictures]
        batch = ((as_tensor(resized) - self._mean) / self._std).to(self._device)
        with torch.inference_mode():
            features = F.normalize(_feature_map(self._model, batch, side // self._patch), dim=1)
        return np.ascontiguousarray(features.permute(0, 2, 3, 1).float().cpu().numpy())


def _load_model(name: str) -> Any:  # noqa: ANN401
    """Load a backbone, or the vision tower of a vision-language model, ready to run."""
    from transformers import AutoConfig, AutoModel
    from transformers.models.auto.modeling_auto import MODEL_FOR_BACKBONE_MAPPING

    is_path = is_folder_name(name)
    if is_path and not Path(name, "config.json").is_file():
        raise DetectorError(f"{name} is not a model folder: it has no config.json.")
    options: dict[str, Any] = {"local_files_only": True, "use_safetensors": True}
    remedy = "Copy it again." if is_path else f"If it is not on this machine yet: hf download {name}"
    with loading(name, remedy):
        config = AutoConfig.from_pretrained(name, local_files_only=True)
        if type(config) in MODEL_FOR_BACKBONE_MAPPING:
            # Not AutoBackbone.from_pretrained, which asks the hub even for a folder (transformers 5.23).
            architecture = MODEL_FOR_BACKBONE_MAPPING[type(config)]
            # The middle of the network: textures are best described there, objects later.
            stages = len(getattr(config, "stage_names", None) or [0]) - 1
            options["out_indices"] = [max(1, round(stages * 0.6))]
            model = architecture.from_pretrained(name, **options)
        else:
            model = AutoModel.from_pretrained(name, **options)
            model = getattr(model, "vision_model", model)
    if model.main_input_name != "pixel_values":
        raise DetectorError(f"{name} is not a vision model: it reads {model.main_input_name}.")
    return model.eval()


def is_folder_name(name: str) -> bool:
    """Whether a backbone's name means a folder, there or not, rather than a model of the Hub."""
    return name.startswith((".", "/", "~")) or Path(name).exists()


@contextmanager
def loading(name: str, remedy: str, what: str = "backbone") -> Iterator[None]:
    """Load a model without its progress bars and warnings; what goes wrong becomes a DetectorError."""
    from safetensors import SafetensorError

    try:
        with _quiet():
            yield
    except (OSError, ValueError, RuntimeError, ImportError, SafetensorError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise DetectorError(f"The {what} {name} can't be loaded: {reason}.", remedy) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence progress bars and the warning about the unused weights of the model's head."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def pixel_statistics(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixel mean and standard deviation that a backbone was trained with; by default ImageNet's."""
    import torch
    from transformers.utils import cached_file

    found = cached_file(
        name, "preprocessor_config.json", local_files_only=True, _raise_exceptions_for_missing_entries=False
    )
    try:
        settings = json.loads(Path(found).read_text(encoding="utf-8")) if found else {}
        mean = torch.tensor(settings.get("image_mean") or [0.485, 0.456, 0.406])
        std = torch.tensor(settings.get("image_std") or [0.229, 0.224, 0.225])
        return mean.reshape(1, 3, 1, 1), std.reshape(1, 3, 1, 1)
    except (OSError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise DetectorError(
            f"The backbone {name} can't be loaded: preprocessor_config.json is damaged.", "Copy it again."
        ) from error


def _feature_map(model: Any, batch: torch.Tensor, grid: int) -> torch.Tensor:  # noqa: ANN401
    """Features (B, d, h, w) from a backbone, or from the tokens of a vision tower on a square ``grid``."""
    import inspect

    accepts = "interpolate_pos_encoding" in inspect.signature(model.forward).parameters
    output = model(batch, **({"interpolate_pos_encoding": True} if accepts else {}))
    features: torch.Tensor
    if hasattr(output, "feature_maps"):
        features = output.feature_maps[-1]
    elif output.last_hidden_state.ndim == 4:
        features = output.last_hidden_state
    else:  # class and register tokens come first
        tokens = output.last_hidden_state[:, -grid * grid :]
        features = tokens.transpose(1, 2).unflatten(2, (grid, grid))
    return features
