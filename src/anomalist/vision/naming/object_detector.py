"""Object detection by a model of transformers: classes for tracks, by overlap with their boxes.

Any model that `AutoModelForObjectDetection` knows (DETR, RT-DETR, D-FINE, YOLOS, …) and that is on this
machine; nothing is downloaded, no code from elsewhere is run, and torchvision is not needed.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anomalist.errors import DetectorError
from anomalist.storage.files import digest_of
from anomalist.types.clip import ObjectName
from anomalist.types.common import Box, UInt8Array
from anomalist.vision.features.backbones import is_folder_name, loading, resolve_device
from anomalist.vision.features.dinov2 import cached_folder, weights_digest
from anomalist.vision.motion.tracks import box_iou
from anomalist.vision.naming.looks import MAX_NAME_LENGTH, Look

if TYPE_CHECKING:
    import torch

PREFIX = "hf:"
"""What a name of a model may begin with, as for language models."""
MIN_SCORE = 0.5
"""The model's own score from which a detection counts; it is no calibrated probability."""
MIN_OVERLAP = 0.3
"""Intersection over union of a detection and a track's box, from which they are one thing."""

_MAX_NAMES = 2  # of one track: a rider and what is ridden
_NO_CLASS = "N/A"
_WHAT = "object detector"


@dataclass(frozen=True)
class Detection:
    """One detected object: its class, the model's score, and its box in pixels of the frame."""

    name: str
    score: float
    box: tuple[float, float, float, float]


class ObjectDetector:
    """Names the objects of tracks by the detections that overlap with them; see `open_object_detector`.

    Parameters
    ----------
    source : how the user called it.
    model, processor : of transformers.
    digest : hex, of weights and config.
    device : that the model runs on.
    """

    def __init__(
        self,
        source: str,
        model: Any,  # noqa: ANN401
        processor: Any,  # noqa: ANN401
        digest: str,
        device: torch.device,
    ) -> None:
        self.source = source
        self.digest = digest
        self._model = model.to(device)
        self._processor = processor
        self._device = device
        self._last: tuple[UInt8Array, tuple[Detection, ...]] | None = None

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Every name that it may give."""
        names = self._model.config.id2label
        found = dict.fromkeys(_class_name(names[key]) for key in sorted(names))
        return tuple(name for name in found if name)

    @property
    def notes(self) -> tuple[str, ...]:
        """Nothing."""
        return ()

    def name(self, track: str, looks: Sequence[Look]) -> tuple[ObjectName, ...]:
        """Name the object of a track by the classes that lie there in more than half of the looks at it."""
        scores: dict[str, list[float]] = defaultdict(list)
        for look in looks:
            best: dict[str, float] = {}
            for found in self.detect(look.pixels):
                if _overlap(look.box, found.box) >= MIN_OVERLAP:
                    best[found.name] = max(best.get(found.name, 0.0), found.score)
            for name, score in best.items():
                scores[name].append(score)
        said = ObjectName(
            track=track,
            by="detector",
            source=self.source,
            looks=len(looks),
            agreeing=0,
            name=None,
            limit=MIN_SCORE,
        )
        sure = [name for name, each in scores.items() if 2 * len(each) > len(looks)]
        if not sure:
            return (said.replace(why="nothing that it knows lies there in most of the looks"),)
        ranked = sorted(sure, key=lambda name: (-sum(scores[name]), name))[:_MAX_NAMES]
        return tuple(
            said.replace(
                name=name, agreeing=len(scores[name]), score=round(float(np.median(scores[name])), 3)
            )
            for name in ranked
        )

    def detect(self, pixels: UInt8Array) -> tuple[Detection, ...]:
        """Detect the objects of a frame, uint8 (H, W, 3)."""
        import torch

        if self._last is not None and self._last[0] is pixels:  # tracks share frames
            return self._last[1]
        batch = self._processor(images=[pixels], return_tensors="pt", input_data_format="channels_last")
        with torch.inference_mode():
            output = self._model(**batch.to(self._device))
        (found,) = self._processor.post_process_object_detection(
            output, threshold=MIN_SCORE, target_sizes=[pixels.shape[:2]]
        )
        names = self._model.config.id2label
        rows = zip(found["labels"].tolist(), found["scores"].tolist(), found["boxes"].tolist(), strict=True)
        detected = tuple(
            Detection(_class_name(names[label]), float(score), tuple(box))
            for label, score, box in rows
            if _class_name(names[label])
        )
        self._last = pixels, detected
        return detected


def open_object_detector(name: str) -> ObjectDetector:
    """Open an object detector by ``hf:NAME``, ``hf:FOLDER`` or a folder.

    Raises
    ------
    DetectorError : it is not on this machine, damaged, no object detector, or needs a missing package.
    """
    from transformers import AutoConfig, AutoImageProcessor, AutoModelForObjectDetection
    from transformers.models.auto.modeling_auto import MODEL_FOR_OBJECT_DETECTION_MAPPING

    folder = _find(name)
    with loading(name, "Copy it again.", _WHAT):
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if type(config) not in MODEL_FOR_OBJECT_DETECTION_MAPPING:
        raise DetectorError(
            f"{name} is a {config.model_type}, which is no object detector.",
            "Name one that transformers can open for object detection: DETR, RT-DETR, D-FINE, YOLOS, …",
        )
    with loading(name, "Copy it again.", _WHAT):
        model, report = AutoModelForObjectDetection.from_pretrained(
            folder,
            config=config,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            dtype="float32",
        )
        # transformers fills what the file lacks with random numbers.
        if report["missing_keys"]:
            raise ValueError(f"its weights lack {min(report['missing_keys'])}")
        digest = digest_of(weights_digest(folder), (folder / "config.json").read_text(encoding="utf-8"))
    with loading(
        name, "It needs a preprocessor_config.json of a kind that works without torchvision.", _WHAT
    ):
        processor = AutoImageProcessor.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, backend="pil"
        )
        if not hasattr(processor, "post_process_object_detection"):
            raise ValueError(f"{type(processor).__name__} does not read detections")
    return ObjectDetector(name, model.eval(), processor, digest, resolve_device())


def _find(name: str) -> Path:
    """The folder of a model, as given or in the local Hugging Face cache."""
    asked = name.removeprefix(PREFIX)
    folder = Path(asked).expanduser()
    if not is_folder_name(asked):
        cached = cached_folder(asked, ("config.json",))
        if cached is None:
            raise DetectorError(
                f"The object detector {name} is not on this machine.", f"Run hf download {asked}"
            )
        return cached
    if not (folder / "config.json").is_file():
        raise DetectorError(f"{name} is not a model folder: it has no config.json.", "Name another folder.")
    return folder


def _class_name(label: str) -> str:
    """A class of a model as it stands in sentences; "" for one that means none (COCO's "N/A")."""
    words = " ".join(re.sub(r"[^\w -]|_", " ", str(label)).split()).lower()
    return "" if label == _NO_CLASS else words[:MAX_NAME_LENGTH]


def _overlap(box: Box, other: tuple[float, float, float, float]) -> float:
    return float(box_iou(np.array([box], np.float64), np.array([other], np.float64))[0, 0])
