"""Models that anomalib exported, as ONNX or OpenVINO, as a detector: fixed, with calibration of its scores.

Akcay et al. 2022, "Anomalib: A Deep Learning Library for Anomaly Detection". From version 2 on a model
resizes and standardises pictures itself and names its outputs; of older ones ``metadata.json`` says whether
it does.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol, Self

import numpy as np
import numpy.typing as npt

from anomalist.errors import DetectorError
from anomalist.types.common import BoolArray, Box, FloatArray, UInt8Array
from anomalist.types.image import KnownKind, Region
from anomalist.vision.detectors.base import (
    LEARNED_ELSEWHERE,
    DetectorOutput,
    ExpertOutput,
    LearningData,
    LearningSettings,
    NearestPatch,
    Progress,
)
from anomalist.vision.detectors.fusion import resize_map
from anomalist.vision.features.backbones import check_min_size
from anomalist.vision.regions import resize_roi_to_grid

_SCORE, _MAP = "pred_score", "anomaly_map"
_SENSITIVITIES = ("image_sensitivity", "pixel_sensitivity")  # inputs of newer models: 0.5 changes nothing
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_REMEDY = "Give the folder that anomalib wrote: with model.onnx, or with model.xml and model.bin."

Form = Literal["onnx", "openvino"]


@dataclass(frozen=True, eq=False)
class ExportedModel:
    """A model as anomalib exported it.

    Parameters
    ----------
    form : of its files.
    files : their bytes: the ONNX file with its weights, or XML and weights of OpenVINO.
    standardise : whether pictures must be standardised before, by the mean of ImageNet.
    """

    form: Form
    files: tuple[bytes, ...]
    standardise: bool

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read an export folder of anomalib; raises DetectorError when it is none."""
        places = [folder, *(folder / "weights" / form for form in ("onnx", "openvino"))]
        for place in places:
            onnx_file, xml = place / "model.onnx", place / "model.xml"
            try:
                if onnx_file.is_file():
                    return cls("onnx", (_onnx_bytes(onnx_file),), _needs_standardising(place))
                if xml.is_file():
                    files = (xml.read_bytes(), xml.with_suffix(".bin").read_bytes())
                    return cls("openvino", files, _needs_standardising(place))
            except (OSError, ValueError) as error:
                raise DetectorError(f"The model in {place} can't be read: {error}.", _REMEDY) from error
        raise DetectorError(f"There is no model of anomalib in {folder}.", _REMEDY)


def _onnx_bytes(file: Path) -> bytes:
    """The model with the weights that may lie in files beside it; ValueError when it is none."""
    import onnx
    from google.protobuf.message import Error

    try:
        model = onnx.load(str(file))
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString())
    except (Error, onnx.checker.ValidationError) as error:
        raise ValueError(str(error).strip().splitlines()[0] if str(error) else "no ONNX") from error


def _needs_standardising(place: Path) -> bool:
    """Before version 1 the transform was written beside the model, which left it to its caller."""
    file = place / "metadata.json"
    if not file.is_file():
        return False
    content = json.loads(file.read_text(encoding="utf-8"))
    return isinstance(content, dict) and "transform" in content


class _Running(Protocol):
    """A model that is opened: its input's height and width, None where any will do; runs one picture."""

    size: tuple[int, int] | None

    def run(self, picture: FloatArray) -> dict[str, npt.NDArray[Any]]:
        """Outputs by name for float32 (1, 3, H, W)."""
        ...


class _OnnxRunning:
    def __init__(self, data: bytes) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        inputs = {each.name: each for each in self._session.get_inputs()}
        self._fixed = {name: np.array(0.5, np.float32) for name in _SENSITIVITIES if name in inputs}
        (picture,) = (each for name, each in inputs.items() if name not in _SENSITIVITIES)
        self._input = picture.name
        self._names = [each.name for each in self._session.get_outputs()]
        self.size = _size_of(picture.shape)

    def run(self, picture: FloatArray) -> dict[str, npt.NDArray[Any]]:
        found = self._session.run(None, {self._input: picture, **self._fixed})
        return dict(zip(self._names, found, strict=True))


class _OpenvinoRunning:
    def __init__(self, xml: bytes, weights: bytes) -> None:
        import openvino

        core = openvino.Core()
        self._model = core.compile_model(core.read_model(xml, weights), "CPU")
        inputs = {each.get_any_name(): each for each in self._model.inputs}
        self._fixed = {name: np.array(0.5, np.float32) for name in _SENSITIVITIES if name in inputs}
        (picture,) = (each for name, each in inputs.items() if name not in _SENSITIVITIES)
        self._input = picture.get_any_name()
        shape = picture.get_partial_shape()
        self.size = _size_of([each.get_length() if each.is_static else None for each in shape])

    def run(self, picture: FloatArray) -> dict[str, npt.NDArray[Any]]:
        found = self._model({self._input: picture, **self._fixed})
        return {
            (next(iter(output.get_names()), f"output{number}")): np.array(found[output])
            for number, output in enumerate(self._model.outputs)
        }


def _size_of(shape: Sequence[Any]) -> tuple[int, int] | None:
    """Height and width of an input (N, 3, H, W); None where they are open; ValueError for another shape."""
    if len(shape) != 4 or (isinstance(shape[1], int) and shape[1] != 3):
        raise ValueError(f"its input is {list(shape)}, not (N, 3, H, W)")
    height, width = shape[2:]
    return (height, width) if isinstance(height, int) and isinstance(width, int) else None


class AnomalibDetector:
    """A model that anomalib exported; see `Detector`. Nothing is learned: all normal pictures calibrate.

    Parameters
    ----------
    model : as it was exported.
    """

    name = "anomalib"
    calibration = LEARNED_ELSEWHERE
    folds = 1
    caution = (
        "the model was trained with anomalib: if it learned from the pictures that calibrate it, more normal "
        "pictures are called anomalous than promised"
    )

    def __init__(self, model: ExportedModel) -> None:
        self.model = model

    @staticmethod
    def prepare(picture: UInt8Array) -> None:
        """Keep nothing of a picture; MediaError when it is too small."""
        check_min_size(picture)

    @classmethod
    def learn(cls, data: LearningData, settings: LearningSettings, progress: Progress) -> Self:
        """Take the model from the folder that ``settings.backbone`` names; see `Detector.learn`.

        Raises DetectorError when there is none, or it can't be opened.
        """
        if settings.backbone is None:
            raise DetectorError("Which model of anomalib?", _REMEDY)
        detector = cls(ExportedModel.read(Path(settings.backbone)))
        _ = detector._running  # what can't be opened is said before anything is calibrated
        progress("opening", 1, 1)
        return detector

    def score(
        self, pictures: Sequence[UInt8Array], roi: BoolArray | None = None, fold: int | None = None
    ) -> list[DetectorOutput]:
        """Score pictures of any size; with a region of interest by the highest place of the map inside it."""
        return [self._score(picture, roi) for picture in pictures]

    def _score(self, picture: UInt8Array, roi: BoolArray | None) -> DetectorOutput:
        import cv2

        check_min_size(picture)
        given, size = picture, self._running.size
        if size is not None and size != picture.shape[:2]:
            shrinking = size[0] * size[1] < picture.shape[0] * picture.shape[1]
            how = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
            given = np.asarray(cv2.resize(picture, size[::-1], interpolation=how), np.uint8)
        values: FloatArray = given.astype(np.float32) / np.float32(255)
        if self.model.standardise:
            values = np.asarray((values - np.array(_MEAN)) / np.array(_STD), np.float32)
        score, score_map = _score_and_map(self._running.run(values.transpose(2, 0, 1)[None]))
        if score_map is None:
            if score is None:
                raise DetectorError("The model of anomalib gives neither a score nor a map.", _REMEDY)
            score_map = np.zeros((1, 1), np.float32)
        elif score is None or roi is not None:
            inside = resize_roi_to_grid(roi, score_map.shape)
            score = float(score_map.max() if inside is None else score_map[inside].max())
        whole = resize_map(score_map, picture.shape)
        expert = ExpertOutput(self.name, score, 1.0, score_map)
        return DetectorOutput(np.array([score], np.float64), whole, (expert,))

    @cached_property
    def _running(self) -> _Running:
        try:
            if self.model.form == "onnx":
                return _OnnxRunning(*self.model.files)
            return _OpenvinoRunning(*self.model.files)
        except ImportError as error:
            package = {"onnx": "onnxruntime", "openvino": "openvino"}[self.model.form]
            extra = {"onnx": "edge", "openvino": "openvino"}[self.model.form]
            raise DetectorError(
                f"The model of anomalib needs the package {package}.", f"pip install 'anomalist[{extra}]'"
            ) from error
        except Exception as error:  # the runtimes raise errors of all kinds
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise DetectorError(f"The model of anomalib can't be opened: {reason}.", _REMEDY) from error

    def nearest_normal_patch(self, picture: UInt8Array, box: Box) -> NearestPatch | None:
        """None: what the model keeps of normal pictures is its own."""
        return None

    def name_regions(self, picture: UInt8Array, regions: Sequence[Region]) -> list[KnownKind | None]:
        """None for each region."""
        return [None] * len(regions)

    def save(self, file: Path) -> None:
        """Write the model as it was exported, its bytes as safetensors."""
        from safetensors.numpy import save_file

        tensors = {
            f"file{number}": np.frombuffer(data, np.uint8) for number, data in enumerate(self.model.files)
        }
        settings = {"form": self.model.form, "standardise": self.model.standardise}
        save_file(tensors, file, {"settings": json.dumps(settings)})

    @classmethod
    def load(cls, file: Path) -> Self:
        """Read what `save` wrote; scores are the same."""
        from safetensors import safe_open

        with safe_open(file, "numpy") as opened:
            settings = json.loads(opened.metadata()["settings"])
            files = tuple(opened.get_tensor(name).tobytes() for name in sorted(opened.keys()))
        detector = cls(ExportedModel(settings["form"], files, settings["standardise"]))
        _ = detector._running  # one error here, in place of one for every picture
        return detector


def _score_and_map(outputs: dict[str, npt.NDArray[Any]]) -> tuple[float | None, FloatArray | None]:
    """Score and map by the outputs' names, or, in models of old versions, by their shapes."""
    score, found = outputs.get(_SCORE), outputs.get(_MAP)
    if score is None and found is None:
        floats = [each for each in outputs.values() if each.dtype.kind == "f"]
        score = next((each for each in floats if each.size == 1), None)
        found = next((each for each in floats if each.ndim >= 2 and min(each.shape[-2:]) > 1), None)
    score_map = None if found is None else np.asarray(found, np.float32).reshape(found.shape[-2:])
    return None if score is None else float(np.asarray(score).ravel()[0]), score_map
