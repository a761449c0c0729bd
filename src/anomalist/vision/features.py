"""Patch descriptors for the memory bank: from the embedded network or any transformers vision backbone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from anomalist.errors import DetectorError, MediaError
from anomalist.types import FloatArray, UInt8Array

if TYPE_CHECKING:
    import torch

    from anomalist.vision.network import SurfaceNet

MOST_PIXELS = 384 * 384
"""Pictures with more pixels are reduced before they are looked at."""
FEWEST_PIXELS = 192 * 192
"""Pictures with fewer pixels are enlarged, at most twofold."""
SMALLEST_SIDE = 16
"""Below this there is no surface to speak of."""
_BACKBONE_SIDE = 256


class Describer(Protocol):
    """Turns pictures of one size into descriptors of patches on a grid."""

    name: str

    def describe(self, pictures: Sequence[UInt8Array]) -> FloatArray:
        """Return float32 (B, h, w, d) for B pictures, uint8 (H, W, 3), all of one size."""
        ...


def working_picture(pixels: UInt8Array) -> UInt8Array:
    """Resize a picture to the size the network looks at: sides in multiples of 32, proportions kept to that.

    Raises MediaError when a side is under ``SMALLEST_SIDE`` pixels.
    """
    import cv2

    from anomalist.vision.network import MULTIPLE

    height, width = pixels.shape[:2]
    if min(height, width) < SMALLEST_SIDE:
        raise MediaError(
            f"the picture is {width}×{height} pixels;",
            f"at least {SMALLEST_SIDE} on each side are needed to judge a surface.",
        )
    area = height * width
    scale = (
        (MOST_PIXELS / area) ** 0.5
        if area > MOST_PIXELS
        else min(2.0, max(1.0, (FEWEST_PIXELS / area) ** 0.5))
    )
    longest = MOST_PIXELS // (2 * MULTIPLE)
    target = [
        min(longest, max(MULTIPLE, round(side * scale / MULTIPLE) * MULTIPLE)) for side in (width, height)
    ]
    if (width, height) == tuple(target):
        return pixels
    shrinking = target[0] * target[1] < area
    method = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, target, interpolation=method), np.uint8)


def as_tensor(pictures: Sequence[UInt8Array]) -> torch.Tensor:
    """Stack pictures of one size: float32 (B, 3, H, W) in [0, 1], channels last in memory."""
    import torch

    stacked = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    return (stacked.float() / 255).contiguous(memory_format=torch.channels_last)


def run_network(network: SurfaceNet, pictures: Sequence[UInt8Array]) -> tuple[FloatArray, FloatArray]:
    """Defect logits float32 (B, H, W) and descriptors float32 (B, H/8, W/8, 64) of working pictures."""
    import torch

    from anomalist.vision.network import standardise

    with torch.inference_mode():
        logits, descriptors = network(standardise(as_tensor(pictures)))
    return logits[:, 0].numpy(), np.ascontiguousarray(descriptors.permute(0, 2, 3, 1).numpy())


class TransformersBackbone:
    """A pretrained vision backbone by Hugging Face name or local folder; needs no torchvision.

    Uses AutoBackbone feature maps where the architecture has them (DINOv2, ConvNeXt, ResNet, Swin, …) and the
    patch tokens of the vision tower where not (CLIP, SigLIP). Never downloads: a name must be in the local
    Hugging Face cache.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._model, self._mean, self._std, self._patch = _load_backbone(name)

    def describe(self, pictures: Sequence[UInt8Array]) -> FloatArray:
        """Return float32 (B, h, w, d), unit vectors."""
        import cv2
        import torch
        import torch.nn.functional as F  # noqa: N812

        side = _BACKBONE_SIDE // self._patch * self._patch
        resized = [np.asarray(cv2.resize(p, (side, side), interpolation=cv2.INTER_AREA)) for p in pictures]
        batch = (as_tensor(resized) - self._mean) / self._std
        with torch.inference_mode():
            features = F.normalize(_feature_map(self._model, batch, side // self._patch), dim=1)
        return np.ascontiguousarray(features.permute(0, 2, 3, 1).float().numpy())


def _load_backbone(name: str) -> tuple[Any, torch.Tensor, torch.Tensor, int]:
    import torch
    from transformers import AutoBackbone, AutoConfig, AutoModel
    from transformers.models.auto.modeling_auto import MODEL_FOR_BACKBONE_MAPPING
    from transformers.utils import logging

    if (name.startswith((".", "/", "~")) or Path(name).exists()) and not Path(name, "config.json").is_file():
        raise DetectorError(f"{name} is not a model folder: it has no config.json.")
    local = {"local_files_only": True}
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # a backbone leaves the checkpoint's head unused, which is meant
    try:
        config = AutoConfig.from_pretrained(name, **local)
        if type(config) in MODEL_FOR_BACKBONE_MAPPING:
            # the middle of the network: late layers know objects, middle ones know textures
            stages = len(getattr(config, "stage_names", None) or [0]) - 1
            layer = max(1, round(stages * 0.6))
            model = AutoBackbone.from_pretrained(name, out_indices=[layer], use_safetensors=True, **local)
        else:
            model = AutoModel.from_pretrained(name, use_safetensors=True, **local)
            model = getattr(model, "vision_model", model)
    except (OSError, ValueError) as error:
        raise DetectorError(
            f"the backbone {name} can't be loaded: {str(error).splitlines()[0]}",
            f"If it is not on this machine yet: hf download {name}",
        ) from error
    finally:
        logging.set_verbosity(verbosity)
    mean, std = _pixel_statistics(name)
    patch = getattr(getattr(model.config, "vision_config", model.config), "patch_size", None) or 32
    shape = (1, 3, 1, 1)
    return model.eval(), torch.tensor(mean).reshape(shape), torch.tensor(std).reshape(shape), int(patch)


def _pixel_statistics(name: str) -> tuple[list[float], list[float]]:
    """Mean and spread the backbone was trained with; ImageNet's where its folder does not say."""
    import json

    from transformers.utils import cached_file

    found = cached_file(
        name, "preprocessor_config.json", local_files_only=True, _raise_exceptions_for_missing_entries=False
    )
    settings = json.loads(Path(found).read_text(encoding="utf-8")) if found else {}
    return settings.get("image_mean", [0.485, 0.456, 0.406]), settings.get("image_std", [0.229, 0.224, 0.225])


def _feature_map(model: Any, batch: torch.Tensor, grid: int) -> torch.Tensor:  # noqa: ANN401
    """Features (B, d, h, w) from a backbone, or from the tokens of a vision tower."""
    import inspect

    extra = {"interpolate_pos_encoding": True}
    accepts = "interpolate_pos_encoding" in inspect.signature(model.forward).parameters
    output = model(batch, **(extra if accepts else {}))
    if hasattr(output, "feature_maps"):
        return output.feature_maps[-1]  # type: ignore[no-any-return]
    tokens = output.last_hidden_state
    if tokens.ndim == 4:
        return tokens  # type: ignore[no-any-return]
    tokens = tokens[:, tokens.shape[1] - grid * grid :]  # class and register tokens come first
    return tokens.transpose(1, 2).unflatten(2, (grid, grid))  # type: ignore[no-any-return]
