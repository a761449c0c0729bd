"""Processors of transformers without torchvision: pictures through PIL, no videos."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

PIXELS = 1280 * 28 * 28
"""Default for models that take pictures of any size: about 1280 tokens. Some are published with 16 times as
much, which fills the memory with a single photograph."""


def open_processor(folder: Path, model_type: str, max_pixels: int | None) -> Any:  # noqa: ANN401
    """Load the processor of a model.

    Parameters
    ----------
    folder : of the model.
    model_type : as in its config.
    max_pixels : of one picture, as in `limit_pixels`.
    """
    processor = _processor_class(model_type).from_pretrained(folder, local_files_only=True, backend="pil")
    limit_pixels(processor.image_processor, max_pixels)
    processor.image_processor = OncePerPicture(processor.image_processor)
    return processor


def limit_pixels(images: Any, max_pixels: int | None) -> None:  # noqa: ANN401
    """Set how many pixels of a picture are looked at, in the terms of an image processor.

    Parameters
    ----------
    images : image processor. Of one that scales pictures to a fixed size (LLaVA) nothing changes.
    max_pixels : None leaves what the model was published with, but at most `PIXELS` where pictures keep
        their own size (Qwen-VL).
    """
    size = images.size
    if hasattr(images, "merge_size"):  # Qwen-VL: any size; edges stand for areas here
        most = max_pixels or min(size["longest_edge"], PIXELS)
        images.size = {"shortest_edge": min(size["shortest_edge"], most), "longest_edge": most}
    elif max_pixels is None:
        return
    elif hasattr(images, "max_image_size"):  # Idefics3, SmolVLM: square tiles, and the whole in one more
        tile = images.max_image_size["longest_edge"]
        images.size = {"longest_edge": tile * max(1, math.isqrt(max_pixels) // tile)}
    elif hasattr(images, "max_patches"):  # InternVL: tiles of one size, however they are arranged
        images.max_patches = max(1, max_pixels // (size["height"] * size["width"]))


class OncePerPicture:
    """An image processor that keeps what it made of the last pictures.

    Many questions about one picture then cost its scaling and cutting once.
    """

    def __init__(self, images: Any) -> None:  # noqa: ANN401
        self._images = images
        self._key: tuple[Any, ...] = ()
        self._pictures: list[Any] = []
        self._made: Any = None

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._images, name)

    def __call__(self, pictures: Any, **options: Any) -> Any:  # noqa: ANN401
        """Return what the processor makes of the pictures; each call gets a mapping of its own."""
        flat = [one for each in pictures for one in (each if isinstance(each, list | tuple) else [each])]
        key = (*map(id, flat), repr(sorted(options.items(), key=lambda item: item[0])))
        if key != self._key:
            self._made = self._images(pictures, **options)
            # holding the pictures keeps their ids from being given to others
            self._key, self._pictures = key, flat
        return copy.copy(self._made)


def _processor_class(model_type: str) -> Any:  # noqa: ANN401
    """Return the class that reads a processor of this type of model, without its part for videos."""
    from transformers import AutoProcessor, Idefics3Processor
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES, processor_class_from_name

    if model_type == "smolvlm":
        return Idefics3Processor  # the same for pictures; SmolVLM's own wants num2words, for videos only
    name = PROCESSOR_MAPPING_NAMES.get(model_type)
    base = processor_class_from_name(name) if name else AutoProcessor
    if name is None or "video_processor" not in base.get_attributes():
        return AutoProcessor

    class WithoutVideos(base):  # type: ignore[misc, valid-type]
        """The same without the video processor, which needs torchvision."""

        @classmethod
        def get_attributes(cls) -> list[str]:
            return [part for part in super().get_attributes() if part != "video_processor"]

    return WithoutVideos
