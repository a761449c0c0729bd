"""Object detectors of transformers name tracks by overlap; what can't be used is refused with the reason."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from anomalist.errors import DetectorError
from anomalist.vision.naming.looks import Look
from anomalist.vision.naming.object_detector import ObjectDetector, open_object_detector
from scripts.random_models import save_detr, save_yolos

PIXELS = np.random.default_rng(0).integers(0, 255, (96, 160, 3), np.uint8)
MIDDLE = (40, 24, 120, 72)
"""Where a network without training puts every box: the middle half of the picture."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny detector that sees a bicycle in the middle of every picture."""
    from safetensors.torch import load_file, save_file

    saved = save_yolos(tmp_path_factory.mktemp("yolos"), ("person", "N/A", "bicycle"))
    weights = load_file(saved / "model.safetensors")
    bias = next(
        name for name in weights if name.startswith("class_labels_classifier") and "layers.2.bias" in name
    )
    weights[bias][2] += 9
    save_file(weights, saved / "model.safetensors", {"format": "pt"})
    return saved


@pytest.fixture(scope="module")
def detector(folder: Path) -> ObjectDetector:
    return open_object_detector(f"hf:{folder}")


def test_a_track_gets_the_class_of_the_detections_that_overlap_with_it(detector: ObjectDetector) -> None:
    assert detector.classes == ("person", "bicycle")
    (said,) = detector.name("T2", [Look(0.0, PIXELS, MIDDLE)] * 3)
    assert (said.name, said.by, said.looks, said.agreeing) == ("bicycle", "detector", 3, 3)
    assert said.source == detector.source
    assert said.score is not None
    assert said.score > 0.9
    assert said.limit == 0.5


def test_a_track_elsewhere_or_seen_there_too_seldom_gets_none(detector: ObjectDetector) -> None:
    elsewhere = Look(0.0, PIXELS, (0, 0, 20, 20))
    for looks in ([elsewhere], [elsewhere, Look(0.0, PIXELS, MIDDLE)]):
        (said,) = detector.name("T1", looks)
        assert said.name is None
        assert said.why == "nothing that it knows lies there in most of the looks"


def test_other_architectures_need_no_torchvision_either(tmp_path: Path) -> None:
    opened = open_object_detector(str(save_detr(tmp_path / "detr")))
    assert opened.classes == ("person", "bicycle")
    assert isinstance(opened.detect(PIXELS), tuple)


def test_what_is_no_detector_on_this_machine_is_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(DetectorError, match="hf download nobody/nothing"):
        open_object_detector("hf:nobody/nothing")
    with pytest.raises(DetectorError, match=r"has no config\.json"):
        open_object_detector(str(tmp_path))
    (tmp_path / "vit").mkdir()
    (tmp_path / "vit" / "config.json").write_text(json.dumps({"model_type": "vit"}))
    with pytest.raises(DetectorError, match="is a vit, which is no object detector"):
        open_object_detector(str(tmp_path / "vit"))
    (tmp_path / "weightless").mkdir()
    (tmp_path / "weightless" / "config.json").write_bytes((folder / "config.json").read_bytes())
    with pytest.raises(DetectorError, match="can't be loaded"):
        open_object_detector(str(tmp_path / "weightless"))


def test_a_processor_that_needs_torchvision_is_said_to(tmp_path: Path) -> None:
    saved = save_yolos(tmp_path / "yolos")
    settings = saved / "preprocessor_config.json"
    settings.write_text(
        json.dumps(json.loads(settings.read_text()) | {"image_processor_type": "RfDetrImageProcessor"})
    )
    with pytest.raises(DetectorError, match="without torchvision"):
        open_object_detector(str(saved))
    settings.unlink()
    with pytest.raises(DetectorError, match="can't be loaded"):
        open_object_detector(str(saved))


def test_weights_that_lack_a_layer_are_refused(tmp_path: Path, folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    saved = save_yolos(tmp_path / "yolos")
    weights = load_file(saved / "model.safetensors")
    del weights["class_labels_classifier.layers.0.weight"]
    save_file(weights, saved / "model.safetensors", {"format": "pt"})
    with pytest.raises(DetectorError, match="weights lack class_labels_classifier"):
        open_object_detector(str(saved))
